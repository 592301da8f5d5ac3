"""A whole training step of PPO by PyTorch's autograd and AdamW: tests/golden/train_step.json.

    python tests/golden/train_step.py            (torch 1.13, transformers 4.44)

Policy and critics are tests/golden/models/llama, a critic with a score head of head().  One
batch of six responses, two epochs of two mini-batches, everything switched on: a temperature,
GAE with bootstrapped truncation, whitening, both clips, k3 in the loss, an entropy bonus, a
value coefficient, gradient clipping, weight decay, warm-up; and once ("lagrangian") with a cost
stream beside the rewards, a critic for it, and advantages combined by a multiplier before they
are whitened (Dai et al., arXiv:2310.12773).  The losses are those of the papers
that control/ppo.h and control/gae.h name; every gradient is autograd's.  Sequences run one by
one; all in float64 except where transformers itself casts to float32.
"""
import json
import math
import os

import torch
import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA = os.path.join(HERE, "models", "llama")
PROBES = 24

TEMPERATURE, GAMMA, LAMBDA = 0.7, 0.98, 0.9
CLIP_LOW, CLIP_HIGH, VALUE_CLIP = 0.1, 0.2, 0.05
VALUE_COEF, ENTROPY_COEF, KL_COEF = 0.5, 0.02, 0.1
LR, CRITIC_LR, WARMUP, STEP = 1e-3, 4e-3, 8, 3
BETAS, EPS, DECAY, CLIP = (0.9, 0.95), 1e-3, 0.1, 0.05
MULTIPLIER = 0.75
# rng_permutation(6 rows, seed 11, MINIBATCH, STEP, epoch): which row comes when is data here.
ORDERS = [[4, 5, 2, 1, 3, 0], [1, 3, 5, 0, 2, 4]]
LENGTHS = [(3, 5), (4, 1), (2, 7), (6, 4), (1, 3), (5, 6)]  # prompt, response
CUT = [False, True, False, True, False, True]               # by the length limit


def head(width, factor=7):
    """Exact in any float: the starting head of the critic, or of the cost critic (5)."""
    return torch.tensor([((factor * j) % 11 - 5) / 32 for j in range(width)],
                        dtype=torch.float64)


def load():
    return transformers.AutoModelForCausalLM.from_pretrained(
        LLAMA, attn_implementation="eager").double()


def single(x):
    """What fits into the float32 of a message, as float64."""
    return x.to(torch.float32).to(torch.float64)


def logprobs(policy, row):
    ids, prompt = row["ids"], row["prompt"]
    logits = policy(ids[None]).logits[0].double()[prompt - 1:-1] / TEMPERATURE
    full = torch.log_softmax(logits, -1)
    return full.gather(1, ids[prompt:, None])[:, 0], -(full.exp() * full).sum(-1)


def values(trunk, score, row):
    return trunk(row["ids"][None]).last_hidden_state[0].double() @ score


def gae(token, value, after):
    adv, out = 0.0, torch.zeros(len(value), dtype=torch.float64)
    for t in reversed(range(len(out))):
        adv = token[t] + GAMMA * after - value[t] + GAMMA * LAMBDA * adv
        after, out[t] = value[t], adv
    return out


def update(parameters, optimizer, loss):
    """Clip to the norm by hand (torch adds 1e-6 to it), then step; the norm."""
    optimizer.zero_grad()
    loss.backward()
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
    for g in grads:
        g *= min(1.0, CLIP / norm)
    optimizer.step()
    return norm


def adamw(named, lr):
    decayed = [p for name, p in named if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in named if not (p.dim() == 2 and "embed" not in name)]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY},
                              {"params": others, "weight_decay": 0.0}],
                             lr=lr * (STEP + 1) / WARMUP, betas=BETAS, eps=EPS)


def minibatch(policy, critics, rows, sequence_mean):
    """The losses of one optimizer update, the critics' with their coefficient."""
    tokens = sum(len(row["adv"]) for row in rows)
    policy_loss, critic_losses = 0.0, [0.0] * len(critics)
    kl = 0.0
    for row in rows:
        weight = 1 / (len(rows) * len(row["adv"])) if sequence_mean else 1 / tokens
        logp, entropy = logprobs(policy, row)
        ratio = torch.exp(logp - row["logp_old"])
        clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
        surrogate = -torch.minimum(ratio * row["adv"], clipped * row["adv"])
        d = logp - row["logref"]
        k3 = torch.exp(-d) - 1 + d
        policy_loss = policy_loss + weight * (surrogate + KL_COEF * k3
                                              - ENTROPY_COEF * entropy).sum()
        for i, (trunk, score) in enumerate(critics):
            v = values(trunk, score, row)[row["prompt"] - 1:-1]
            old, ret = row["value"][i], row["ret"][i]
            near = old + (v - old).clamp(-VALUE_CLIP, VALUE_CLIP)
            worst = torch.maximum((v - ret) ** 2, (near - ret) ** 2)
            critic_losses[i] = critic_losses[i] + VALUE_COEF * weight * 0.5 * worst.sum()
        kl += float((ratio - 1 - (logp - row["logp_old"])).detach().sum())
    return policy_loss, critic_losses, kl


def make_rows(policy, critics):
    """One critic: of the rewards; two: of the rewards and of the costs."""
    generator, of_costs = torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)

    def normal(n, std, generator=generator):
        return torch.randn(n, generator=generator, dtype=torch.float64) * std
    rows = []
    for (prompt, response), cut in zip(LENGTHS, CUT):
        ids = torch.randint(8, 97, (prompt + response,), generator=generator)
        row = {"ids": ids, "prompt": prompt, "cut": cut, "reward": single(normal(response, 1))}
        logp, _ = logprobs(policy, row)
        # another version generated them, so that the clips have work from the start
        row["logp_old"] = single((logp + normal(response, 0.15)).clamp(max=0))
        row["logref"] = single((logp + normal(response, 0.3)).clamp(max=0))
        row["cost"] = single(normal(response, 0.7, of_costs))
        row["value"], row["ret"], advs = [], [], []
        for (trunk, score), token in zip(critics, (row["reward"], row["cost"])):
            v = values(trunk, score, row)
            row["value"].append(v[prompt - 1:-1])
            advs.append(gae(token, row["value"][-1], v[-1] if cut else 0.0))
            row["ret"].append(advs[-1] + row["value"][-1])
        row["adv"] = advs[0]
        if len(advs) > 1:
            row["adv"] = (advs[0] - MULTIPLIER * advs[1]) / (1 + MULTIPLIER)
        rows.append(row)
    every = torch.cat([row["adv"] for row in rows])
    scale = torch.sqrt(every.var(unbiased=True) + 1e-8)
    for row in rows:
        row["adv"] = (row["adv"] - every.mean()) / scale
    return rows


def changes(named, before):
    """Of each tensor, elements spread evenly over it: how far they moved."""
    out = {}
    for name, p in named:
        moved = (p.detach() - before[name]).flatten()
        at = [i * moved.numel() // PROBES for i in range(PROBES)]
        out[name] = [float(f"{moved[i]:.9g}") for i in at]
    return out


def step(sequence_mean, factors=(7,)):
    """A critic a factor, of its head."""
    policy = load()
    critics = [(load().model, torch.nn.Parameter(head(policy.config.hidden_size, factor)))
               for factor in factors]
    with torch.no_grad():
        rows = make_rows(policy, critics)
    named = [list(policy.named_parameters())]
    optimizers = [adamw(named[0], LR)]
    for trunk, score in critics:
        named.append([("model." + n, p) for n, p in trunk.named_parameters()])
        optimizers.append(adamw(named[-1], CRITIC_LR))
        # (1, C): a matrix, so it decays
        optimizers[-1].add_param_group({"params": [score], "weight_decay": DECAY})
        named[-1].append(("score.weight", score))
    before = [{n: p.detach().clone() for n, p in part} for part in named]
    norms = [0.0] * len(named)
    for order in ORDERS:
        kl = 0.0
        for part in (order[:3], order[3:]):
            loss, losses, part_kl = minibatch(policy, critics, [rows[i] for i in part],
                                              sequence_mean)
            kl += part_kl
            for i, one in enumerate([loss] + losses):
                norms[i] = max(norms[i], update([p for _, p in named[i]], optimizers[i], one))
    tokens = sum(len(row["adv"]) for row in rows)
    out = {"approx_kl": kl / tokens}
    for i, who in enumerate(["", "critic", "cost_critic"][:len(named)]):
        out[who or "policy"] = changes(named[i], before[i])
        out[(who + "_grad_norm").lstrip("_")] = norms[i]
    return rows, out


def flat(rows, key):
    return [x.item() for row in rows for x in row[key]]


def main():
    rows, token_mean = step(False)
    golden = {"prompt": [row["prompt"] for row in rows],
              "response": [len(row["adv"]) for row in rows], "cut": [int(c) for c in CUT],
              "order": [i for order in ORDERS for i in order], "head": head(32).tolist(),
              "cost_head": head(32, 5).tolist(), "multiplier": MULTIPLIER,
              "token_mean": token_mean, "sequence_mean": step(True)[1],
              "lagrangian": step(False, (7, 5))[1]}
    for key in ("ids", "logp_old", "reward", "logref", "cost"):
        golden[key] = flat(rows, key)
    with open(os.path.join(HERE, "train_step.json"), "w") as out:
        json.dump(golden, out)


main()
