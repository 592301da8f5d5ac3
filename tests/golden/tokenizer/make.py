#!/usr/bin/env python3
"""make.py -- the goldens of test_tokenizer_golden.c, by the `tokenizers` library of Hugging Face.

    python3 tests/golden/tokenizer/make.py

Trains one small tokenizer in each style that the engine reads (NAME/tokenizer.json) and asks
it for the ids and the decoded text of texts that are meant to be hard (NAME/cases.jsonl).
steps.jsonl has one component after another put into a small tokenizer of its own
(steps/tokenizer.json).  Needs tokenizers (made with 0.23.3); everything is seeded, so that
the same version writes the same files.
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors, trainers

HERE = pathlib.Path(__file__).parent
VOCAB = 420

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind; it's asleep.",
    "We'll see what they've done. I'm sure he'd say: \"you're right, that's all there is\".",
    "Human: what is the capital of France?\n\nAssistant: The capital of France is Paris.\n",
    "def add(a, b):\n    return a + b\n\n\nfor i in range(100):\n\tprint(i, add(i, 2024))\n",
    "int main(void)\n{\n        printf(\"%d\\n\", 1234567890);\n        return 0;\n}\n",
    "In 1999, 12345 people paid $3.14 (or 2,718.28) for 100% of it -- twice!!! Really???",
    "Die Größe der Straße überrascht; façade, naïve, Ångström, œuvre, El Niño, coöperate.",
    "Быстрая коричневая лиса прыгает через ленивую собаку. Привет, мир!",
    "敏捷的棕色狐狸跳过了懒狗。今天天气很好，我们去公园吧。",
    "素早い茶色の狐がのろまな犬を飛び越える。カタカナとひらがな。",
    "다람쥐 헌 쳇바퀴에 타고파. 안녕하세요 세계.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول. مرحبا بالعالم",
    "שלום עולם, מה שלומך היום?",
    "🙂 🙃 👍🏽 👨‍👩‍👧‍👦 🚀🚀🚀 ½ ² Ⅷ ﬁ ① ™",
] * 3

TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r\n\r\n", "\n \n", " \n", "\t\n ", "a", " a",
    "a ", "  a  ", "Hello, world!", " Hello  World ", "HELLO", "Hello\nWorld\n", "\nHello",
    "it's he'll I'd we've you're I'm can't", "IT'S HE'LL I'D WE'VE YOU'RE I'M CAN'T",
    "it\u2019s he\u2019ll", "'s 's's 'S'T", "it'ſ ok", "o'clock 'tis", "''' 'll'll", "don't'd've",
    "1", "12", "123", "1234", "12345678", " 1 22 333 4444", "3.14159,2.71", "1a2b3c", "٣٤٥ ६७८ Ⅷ ½²",
    "a\u0301 e\u0301 \u00e9 A\u030a \u212b", "q\u0307\u0323 q\u0323\u0307", "\u1e9b\u0323",
    "\ufb01 \ufb06 \u2460 \uff21\uff42\uff13 \u3392", "\u1100\u1161\u11a8 \uac01 \uac00\u11a8",
    "İıſßẞΣσς ΑΣ", "Ǆǅǆ Ĳ",
    "🙂", "👍🏽", "👨‍👩‍👧‍👦 family", "🇫🇷🇩🇪", "☺️☺︎", "a🙂b 🙂 c", "🚀🚀🚀",
    "中文字符", "今天 天气", "中1文2", "日本語テキスト、ひらがな。", "한국어 텍스트", "ก็ไทย ภาษา",
    "שלום עולם", "مرحبا 123 بالعالم", "\u202eabc\u202c \u200f", "हिन्दी में", "Ελληνικά",
    "x" * 40, "ab" * 30, "a b " * 12, " " * 17, " " * 16 + "x", "x" + " " * 16, "\n" * 9, "\t\t\tx",
    " \t \t x", "a\u00a0b\u2003c\u3000d", "a\u0085b\u2028c\u2029d", "a\u180eb\u200bc\u200dd\ufeffe",
    "\x00", "a\x00b", "\x01\x02\x1b[0m\x7f", "\x1c\x1d\x1e\x1f x", "\ufffd\ufffe", "\ue000 \U0010ffff",
    "\u0378 \U000e0041", "_a_b__c", "foo_bar.baz(qux)", "a->b != c && d || !e", "!!!???...", "$€¥ +=<>^`|~",
    "«quoted» “curly” „low‟ —dash– …", "http://example.com/a?b=c&d=%20", "C:\\dir\\file.txt",
    "<s> </s> <unk>", "<0x41> <0xFF>", "▁ ▁▁ a▁b", "Ġa Ċb", "\u0300abc", "a\r", "\ra", "a\rb\n\rc\r\n",
    "for (int i = 0; i < 10; i++) {\n    x += i;\n}\n", "if a:\n\treturn  b\n\n\n\nelse:\n  c",
    "The quick brown fox jumps over the lazy dog.", "Größe überrascht naïve façade",
    "MiXeD CaSe WoRdS", "camelCaseAndHTTPServer", "١٢٣abc", "x²+y²=z²", "½ cup", "5'10\"",
    "word" + "\u0301" * 20, "e" + "\u0327\u0301" * 5 + "x", "\u0f71\u0f72\u0f74",
    "e\u0327\u1df6\u0301 \u32ff \U000107a1", "x\u00b2 1\u00bd_\u00b9",
]

PARTS = ["a", "b", "th", "The", "é", "e\u0301", "ß", "中", "文", "の", "한", "ع", "ש", "🙂", "👍🏽", "\u200d", "1",
         "23", "٣", "½", " ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "'s", "'LL", "'", "-", "!",
         "...", "_", "$", "<", ">", "\x00", "\x7f", "\u0301", "▁", "Ġ", "\ufffd"]


def texts(extra, seed):
    """The texts above, those of the tokenizer's own, and random ones of nasty parts."""
    rng = random.Random(seed)
    parts = PARTS + extra
    made = ["".join(rng.choice(parts) for _ in range(rng.randint(2, 14))) for _ in range(40)]
    around = [f"{a}{token}{b}" for token in extra for a, b in
              (("", ""), ("x", "y"), (" ", " "), ("a  ", "  b"), ("\n", "\n"), (token, token))]
    return list(dict.fromkeys(TEXTS + around + made))


def case(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    special = tokenizer.encode(text).ids
    one = {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)}
    if special != ids:
        one["special"] = special
    skipped = tokenizer.decode(special, skip_special_tokens=True)
    if skipped != one["decoded"]:
        one["skipped"] = skipped
    return one


def decoded(tokenizer, seed):
    """Ids that no text has: cut-off characters, tokens out of place."""
    rng = random.Random(seed)
    for _ in range(30):
        ids = [rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randint(1, 12))]
        one = {"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)}
        skipped = tokenizer.decode(ids, skip_special_tokens=True)
        yield one if skipped == one["decoded"] else {**one, "skipped": skipped}


def write_lines(path, lines):
    path.write_text("".join(json.dumps(x, ensure_ascii=True) + "\n" for x in lines))


def write(name, tokenizer, extra=()):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n")
    write_lines(folder / "cases.jsonl", [case(tokenizer, t) for t in texts(list(extra), name)]
                + list(decoded(tokenizer, name)))


def byte_trainer(**more):
    return trainers.BpeTrainer(vocab_size=VOCAB, show_progress=False, min_frequency=2,
                               initial_alphabet=sorted(pre.ByteLevel.alphabet()), **more)


def special(content, **more):
    return AddedToken(content, special=True, normalized=False, **more)


def split(pattern):
    return pre.Split(Regex(pattern), "isolated")


def byte_level(pre_tokenizer, added=(), normalizer=None, **model):
    t = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizer
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, byte_trainer())
    t.add_tokens(list(added))
    return t


def with_ignore_merges(t):
    """The trainer drops the flag; the file is where it counts."""
    data = json.loads(t.to_str())
    data["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(data))


def gpt2():
    t = byte_level(pre.ByteLevel(add_prefix_space=False), [special("<|endoftext|>")])
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    write("gpt2", t, ["<|endoftext|>", "<|endof"])


def added():
    """Added tokens of every kind, and a normalizer that they meet or do not."""
    tokens = [special("<left>", lstrip=True), special("<right>", rstrip=True),
              special("<both>", lstrip=True, rstrip=True), special("<word>", single_word=True),
              special("<wo"), special("<wordy>"), AddedToken("Mask", normalized=True, single_word=True),
              AddedToken("ÉTÉ", normalized=True), AddedToken("new york", normalized=True, lstrip=True),
              AddedToken("\u2460", normalized=False), AddedToken("foo", normalized=False)]
    t = byte_level(pre.ByteLevel(add_prefix_space=True), tokens,
                   normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()]))
    write("added", t, ["<left>", "<right>", "<both>", "<word>", "<wordy>", "Mask", "mask", "é", "été", "ÉTÉ",
                       "e\u0301te\u0301", "New York", " foo", "①", "foofoo", "<<left>"])


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")


def llama3():
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    t = byte_level(pre.Sequence([split(LLAMA3), pre.ByteLevel(add_prefix_space=False, use_regex=False)]),
                   [special(n) for n in names])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
        special_tokens=[(names[0], t.token_to_id(names[0]))])])
    write("llama3", with_ignore_merges(t), names)


def qwen2():
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    t = byte_level(pre.Sequence([split(LLAMA3.replace("{1,3}", "")), pre.ByteLevel(False, use_regex=False)]),
                   [special(n) for n in names] + [AddedToken("<tool_call>", normalized=False)], normalizers.NFC())
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    write("qwen2", t, names + ["<tool_call>"])


def starcoder():
    t = byte_level(pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)]),
                   [special("<fim_prefix>"), special("<|endoftext|>")])
    write("starcoder", t, ["<fim_prefix>", "<fim_"])


DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
            r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")


def deepseek():
    begin, end = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
    t = byte_level(pre.Sequence([split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK),
                                 pre.ByteLevel(add_prefix_space=False, use_regex=False)]),
                   [special(begin), special(end)])
    t.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, t.token_to_id(begin))])
    write("deepseek", t, [begin, end])


def deepseek_llm():
    """The first DeepSeek: classes of letters spelled out, an anchor at the end."""
    steps = [split("[\r\n]"), split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆﬀ-ﬆＡ-Ｚａ-ｚ]+"),
             split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"), split("[一-龥ࠀ-一가-퟿]+"), pre.Digits(True),
             pre.ByteLevel(add_prefix_space=False, use_regex=False)]
    write("deepseek-llm", byte_level(pre.Sequence(steps)))


def sentencepiece(name, normalizer, pre_tokenizer, decoder):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if normalizer is not None:
        t.normalizer = normalizer
    if pre_tokenizer is not None:
        t.pre_tokenizer = pre_tokenizer
    names = ["<unk>", "<s>", "</s>"]
    latin = [c for c in CORPUS if c.isascii() or "ö" in c]  # the rest falls back to bytes
    t.train_from_iterator(latin, trainers.BpeTrainer(
        vocab_size=600, show_progress=False, max_token_length=10,
        special_tokens=[special(n) for n in names] + [f"<0x{b:02X}>" for b in range(256)]))
    data = json.loads(t.to_str())  # byte tokens are of the model, not added ones
    data["added_tokens"] = [x for x in data["added_tokens"] if not x["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(data))
    t.decoder = decoder
    t.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    write(name, t, ["<s>", "</s>", "<unk>"])


def llama2():
    sentencepiece("llama2", normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None,
                  decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)]))


def metaspace():
    sentencepiece("metaspace", None, pre.Metaspace("▁", prepend_scheme="first", split=True),
                  decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", prepend_scheme="first")]))


def steps():
    """One component at a time, in a model whose merges know no words."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.train_from_iterator([c + " -- a-b--c -a--b- 12 34" for c in CORPUS[:7] * 4], trainers.BpeTrainer(
        vocab_size=300, show_progress=False, special_tokens=["<unk>"], max_token_length=6))
    folder = HERE / "steps"
    folder.mkdir(exist_ok=True)
    base = json.loads(t.to_str())
    (folder / "tokenizer.json").write_text(json.dumps(base) + "\n")

    behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    patterns = [{"String": "-"}, {"String": "a"}, {"Regex": r"\s+"}, {"Regex": r"\w+|[^\w\s]+"}, {"Regex": "b*"},
                {"Regex": r"(?<=a)-|\b[A-Z]"}, {"Regex": r"^.|.$"}, {"Regex": r"\h{2}|[\d.]{,2}x"}, {"Regex": r"\w"}, {"Regex": r"\W+|[\w]{3}"},
                {"Regex": r"[\p{Han}a]"}]
    first = {"type": "Metaspace", "replacement": "-", "prepend_scheme": "first", "split": False}
    put = [("pre_tokenizer", {"type": "Split", "pattern": p, "behavior": b, "invert": i})
           for p in patterns for b in behaviors for i in (False, True)]
    put += [("pre_tokenizer", {"type": "Digits", "individual_digits": i}) for i in (False, True)]
    put += [("pre_tokenizer", {"type": "Punctuation", "behavior": b}) for b in behaviors]
    put += [("pre_tokenizer", {"type": n}) for n in ("Whitespace", "WhitespaceSplit")]
    put += [("pre_tokenizer", {"type": "Metaspace", "replacement": "-", "prepend_scheme": s, "split": b})
            for s in ("always", "first", "never") for b in (False, True)]
    put += [("normalizer", {"type": n}) for n in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase")]
    put += [("normalizer", {"type": "Strip", "strip_left": a, "strip_right": b})
            for a, b in ((True, False), (False, True), (True, True))]
    put += [("normalizer", {"type": "Prepend", "prepend": "a-"})]
    put += [("normalizer", {"type": "Replace", "pattern": p, "content": c})
            for p in ({"String": " "}, {"String": "--"}, {"Regex": r"\s{2,}"}, {"Regex": "[aeiou]+(?=r)"},
                      {"Regex": "x*"}) for c in ("", "-", "the")]
    put += [("decoder", d) for d in (
        {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 0},
        {"type": "Strip", "content": "b", "start": 0, "stop": 1},
        {"type": "Replace", "pattern": {"Regex": r"[aeiou]|\d+"}, "content": "<>"}, None,
        {"type": "Metaspace", "replacement": " ", "prepend_scheme": "always", "split": True},
        {"type": "Metaspace", "replacement": "e", "prepend_scheme": "never", "split": True})]
    hard = ["a\u00b2-b\u00bd\u0301-", "a、b中", "a-b--c", "--a---b-", "-", "aab bb ab", " The  fox,\n it's\tFAST!! ", "12ab 3x4.5.x (6)", "e\u0301 é ﬁ İ",
            "abc\nab\n", "Dear deer, aardvark  ", "", "   ", "- -"]
    put = [{key: value} for key, value in put]
    put += [{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, first]}}]
    put += [{"pre_tokenizer": first, "normalizer": n} for n in (
        {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Prepend", "prepend": "a"},
        *({"type": "Replace", "pattern": {"Regex": p}, "content": c}
          for p in ("^a", "^..", " ", "-") for c in ("", "b", "bb")))]
    lines = []
    for change in put:
        variant = Tokenizer.from_str(json.dumps({**base, **change}))
        lines.append({"put": change, "cases": [case(variant, x) for x in hard]})
    write_lines(HERE / "steps.jsonl", lines)


if __name__ == "__main__":
    for make in (gpt2, added, llama3, qwen2, starcoder, deepseek, deepseek_llm, llama2, metaspace, steps):
        make()
