#!/usr/bin/env python3
"""Makes hh.jsonl.gz and hh.expected from a file of HH-RLHF (harmless-base, train).

    make_hh.py harmless-base.jsonl.gz

hh.jsonl.gz: every pair of the file with something odd in it (two turns of one speaker, an
answer that is empty or ends in white space, answers of more than one turn, "Human:" within a
turn), and every 100th of the others.

hh.expected, a line a pair, by a parser of its own (a regular expression): turns of the prompt,
turns of the chosen and of the rejected answer, and the CRC-32 of all their texts.
"""
import gzip
import io
import json
import re
import sys
import zlib
from pathlib import Path

MARKER = re.compile(r"\n\n(Human|Assistant): ?")


def turns(text):
    parts = MARKER.split(text)
    assert parts[0] == ""
    return list(zip(parts[1::2], parts[2::2]))


def split(row):
    a, b = turns(row["chosen"]), turns(row["rejected"])
    n = max(i + 1 for i in range(min(len(a), len(b)))
            if a[: i + 1] == b[: i + 1] and a[i][0] == "Human")
    return a[:n], a[n:], b[n:]


def is_odd(row):
    for side in ("chosen", "rejected"):
        said = turns(row[side])
        if any(x[0] == y[0] for x, y in zip(said, said[1:])):
            return True
        if any(t != t.rstrip() or t == "" or "Human:" in t or "Assistant:" in t for _, t in said):
            return True
    return max(map(len, split(row)[1:])) > 1


def main():
    here = Path(__file__).parent
    rows = [json.loads(line) for line in gzip.open(sys.argv[1])]
    kept = [row for i, row in enumerate(rows) if is_odd(row) or i % 100 == 0]
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        for row in kept:
            file.write((json.dumps(row, ensure_ascii=len(row["chosen"]) % 2 == 0) + "\n").encode())
    (here / "hh.jsonl.gz").write_bytes(out.getvalue())
    with open(here / "hh.expected", "w") as file:
        for row in kept:
            parts = split(row)
            text = "\x01".join(t for part in parts for _, t in part)
            print(*map(len, parts), zlib.crc32(text.encode()), file=file)


main()
