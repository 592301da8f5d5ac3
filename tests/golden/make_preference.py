"""Score models trained by PyTorch, in float64: tests/golden/preference/.

    python tests/golden/make_preference.py        (torch 1.13, transformers 4.44, safetensors)

Three small random *ForSequenceClassification models.  golden.json of each holds ragged
sequences, their scores as transformers gives them, and six full-batch steps of AdamW with a
clipped gradient on a loss of reward, cost or regression: the loss and the gradient's norm of
each step, and how far elements of every parameter moved in all (GPT-2's Conv1D weights turned to
(out, in)).  Written from the formulas of the papers, without the project's code.
"""
import json
import os
import shutil

import torch
import transformers
from torch.nn.functional import logsigmoid
from transformers.pytorch_utils import Conv1D

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "preference")
PROBES, STEPS, V = 24, 6, 41
ADAMW = dict(lr=2e-3, beta1=0.9, beta2=0.95, eps=1e-4, decay=0.1, grad_clip=0.5)

LLAMA = dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=48,
             bos_token_id=1, eos_token_id=2, pad_token_id=None, attn_implementation="eager")
MODELS = {
    "reward": ("LlamaForSequenceClassification",
               transformers.LlamaConfig(num_labels=1, **LLAMA)),
    "cost": ("GPT2ForSequenceClassification", transformers.GPT2Config(
        vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=48, num_labels=1,
        bos_token_id=1, eos_token_id=2, pad_token_id=None, attn_implementation="eager",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)),
    "regression": ("LlamaForSequenceClassification", transformers.LlamaConfig(
        num_labels=3, id2label={0: "helpfulness", 1: "honesty", 2: "verbosity"},
        label2id={"helpfulness": 0, "honesty": 1, "verbosity": 2}, **LLAMA)),
}


def randomize(model, generator):
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=generator)
        norm = "norm" in name or ".ln_" in name
        p.data = (1.0 if norm and name.endswith("weight") else 0.0) + noise * (
            0.2 if p.dim() == 1 else 0.25)


def loss_reward(scores, said):
    """Pairs: Bradley-Terry with margins, label smoothing, Safe RLHF's regulariser, TRL's centring."""
    c, r = scores[0::2, 0], scores[1::2, 0]
    margin = said["margin_constant"] + said["margin_scale"] * torch.tensor(said["margin"])
    d, s = c - r - margin, said["smoothing"]
    loss = -(1 - s) * logsigmoid(d) - s * logsigmoid(-d)
    square = torch.stack([c, r]).square().mean(0)
    return (loss + said["reg"] * square + said["center"] * (c + r) ** 2).mean()


def loss_cost(scores, said):
    """Safe RLHF: pairs of (less safe, safer), and the sign of either."""
    u, l = scores[0::2, 0], scores[1::2, 0]
    sign = torch.tensor(said["sign"], dtype=scores.dtype)
    square = torch.stack([u, l]).square().mean(0)
    return (-logsigmoid(u - l) - logsigmoid(sign[:, 0] * u) - logsigmoid(sign[:, 1] * l)
            + said["reg"] * square).mean()


def loss_regression(scores, said):
    want = torch.tensor([[float("nan") if x is None else x for x in row]
                         for row in said["want"]], dtype=scores.dtype)
    there = ~torch.isnan(want)
    return torch.nn.functional.mse_loss(scores[there], want[there])


def flat(model):
    turned = {id(m.weight) for m in model.modules() if isinstance(m, Conv1D)}
    return {name: (p.detach().T if id(p) in turned else p.detach()).reshape(-1).clone()
            for name, p in model.named_parameters()}


def train(model, ids, loss_of, said):
    decays = [(p.dim() == 2 and not any(w in n for w in ("embed", "wte", "wpe")), p)
              for n, p in model.named_parameters()]
    groups = [{"params": [p for d, p in decays if d], "weight_decay": ADAMW["decay"]},
              {"params": [p for d, p in decays if not d], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=ADAMW["lr"], eps=ADAMW["eps"],
                                  betas=(ADAMW["beta1"], ADAMW["beta2"]))
    before, losses, norms = flat(model), [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        scores = torch.cat([model(torch.tensor([s])).logits for s in ids])
        loss = loss_of(scores, said)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(),
                                                    ADAMW["grad_clip"]).item())
        optimizer.step()
        losses.append(loss.item())
    moved = {}
    for name, after in flat(model).items():
        n = after.numel()
        probes = min(PROBES, n)
        moved[name] = [float(f"{(after - before[name])[i * n // probes].item():.9g}")
                       for i in range(probes)]
    return losses, norms, moved


def make(kind, class_name, config):
    generator = torch.Generator().manual_seed(sum(kind.encode()))
    path = os.path.join(OUT, kind)
    shutil.rmtree(path, ignore_errors=True)
    model = getattr(transformers, class_name)(config)
    randomize(model, generator)
    model.save_pretrained(path)
    model = getattr(transformers, class_name).from_pretrained(
        path, attn_implementation="eager").double().eval()

    def numbers(n, low, high):
        return torch.randint(low, high, (n,), generator=generator).tolist()

    lengths = [5, 9, 1, 30, 12, 12, 17, 3, 8, 2, 40, 6]
    ids = [numbers(n, 0, V) for n in lengths]
    pairs = len(ids) // 2
    if kind == "reward":
        said = dict(margin_constant=0.1, margin_scale=0.5, smoothing=0.05, reg=0.001, center=0.01,
                    margin=[x / 8 for x in numbers(pairs, 0, 8)])
        loss_of = loss_reward
    elif kind == "cost":
        said = dict(reg=0.001, sign=[[1, -1], [1, 1], [-1, -1], [1, -1], [1, 1], [-1, -1]])
        loss_of = loss_cost
    else:
        said = dict(want=[[x / 4 for x in numbers(3, 0, 17)] for _ in ids])
        for row, column in ((1, 0), (4, 2), (4, 1), (9, 0)):
            said["want"][row][column] = None
        loss_of = loss_regression
    with torch.no_grad():
        scores = torch.cat([model(torch.tensor([s])).logits[0] for s in ids])
    losses, norms, moved = train(model, ids, loss_of, said)
    golden = dict(ids=ids, score=scores.tolist(), said=said, adamw=ADAMW, steps=STEPS,
                  loss=losses, grad_norm=norms, moved=moved)
    with open(os.path.join(path, "golden.json"), "w") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")
    print(kind, losses, norms)
    assert max(norms) > ADAMW["grad_clip"]


if __name__ == "__main__":
    for kind, (class_name, config) in MODELS.items():
        make(kind, class_name, config)
