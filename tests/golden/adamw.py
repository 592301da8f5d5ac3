"""adamw.json: eight updates of torch.optim.AdamW on two tensors, one of them not decayed.

Run:  python tests/golden/adamw.py > tests/golden/adamw.json
Numbers are float32 written with enough digits to come back the same.
"""
import json

import torch

torch.manual_seed(20240607)
ROWS, COLS, BIAS, STEPS = 3, 7, 5, 8
LR = [1e-2, 2e-2, 3e-2, 3e-2, 2e-2, 1e-2, 5e-3, 1e-3]

matrix = torch.nn.Parameter(torch.randn(ROWS, COLS))
bias = torch.nn.Parameter(torch.randn(BIAS))
optimizer = torch.optim.AdamW(
    [{"params": [matrix], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}],
    betas=(0.9, 0.999), eps=1e-8, foreach=False)


def flat(*tensors):
    return [float(f"{x:.9g}") for t in tensors for x in t.detach().flatten().tolist()]


out = {"rows": ROWS, "cols": COLS, "bias": BIAS, "lr": LR, "decay": 0.1, "start": flat(matrix, bias),
       "grad": [], "want": []}
for lr in LR:
    for group in optimizer.param_groups:
        group["lr"] = lr
    matrix.grad = torch.randn(ROWS, COLS) * 0.3
    bias.grad = torch.randn(BIAS) * 3.0
    out["grad"].append(flat(matrix.grad, bias.grad))
    optimizer.step()
    out["want"].append(flat(matrix, bias))
print(json.dumps(out))
