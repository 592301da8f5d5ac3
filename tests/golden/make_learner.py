"""One PPO step by PyTorch, in float64: tests/golden/learner/.

    python tests/golden/make_learner.py           (torch 2, transformers 5, safetensors)

The policy is models/llama; the critic, a Llama with one label, is made here.  A step of two
epochs over four responses: GAE with a bootstrapped end, whitening over the batch, the clipped
policy loss, the clipped value loss, an entropy bonus, k3 to the reference in the loss, gradient
clipping and AdamW a model.  golden.json holds the batch, the settings, and the weights and
statistics afterwards.  Written from the formulas, without the project's code.
"""
import json
import os
import shutil

import torch
import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "learner")
POLICY = os.path.join(HERE, "models", "llama")
PROBES = 24
ROWS = [([3, 8, 15], [20, 31, 2]), ([4, 9, 61, 7], [33, 12, 80, 44, 5]), ([11, 90], [6]),
        ([1, 50, 51], [52, 53, 54, 55, 56, 57, 58])]
FINISH = ["eos", "eos", "eos", "length"]
SET = dict(temperature=0.8, gamma=0.99, lam=0.9, clip_low=0.2, clip_high=0.25, value_clip=0.2,
           value_coef=0.5, entropy_coef=0.02, kl_coef=0.05, lr=3e-4, critic_lr=6e-4, beta1=0.9,
           beta2=0.95, eps=1e-4, decay=0.1, grad_clip=0.5, epochs=2)


def make_critic():
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=97, num_hidden_layers=1, max_position_embeddings=96, bos_token_id=1,
        eos_token_id=2, pad_token_id=0, num_labels=1, attn_implementation="eager")
    critic = transformers.LlamaForSequenceClassification(config)
    generator = torch.Generator().manual_seed(7)
    for name, p in sorted(critic.named_parameters()):
        noise = torch.randn(p.shape, generator=generator)
        p.data = 1 + 0.2 * noise if "norm" in name else 0.25 * noise
    shutil.rmtree(OUT, ignore_errors=True)
    critic.save_pretrained(os.path.join(OUT, "critic"))
    return transformers.LlamaForSequenceClassification.from_pretrained(
        os.path.join(OUT, "critic"), dtype=torch.float64, attn_implementation="eager")


def log_probs(model, prompt, response):
    logits = model(torch.tensor([prompt + response])).logits[0] / SET["temperature"]
    rows = torch.log_softmax(logits[len(prompt) - 1:-1], -1)
    return rows.gather(1, torch.tensor(response)[:, None])[:, 0], -(rows.exp() * rows).sum(-1)


def values(critic, prompt, response):
    hidden = critic.model(torch.tensor([prompt + response])).last_hidden_state[0]
    out = critic.score(hidden)[:, 0]
    return out[len(prompt) - 1:-1], out[-1]


def advantages(reward, value, last, finish):
    adv = torch.zeros_like(reward)
    ahead, running = (last if finish == "length" else 0.0), 0.0
    for t in reversed(range(len(reward))):
        delta = reward[t] + SET["gamma"] * ahead - value[t]
        running = delta + SET["gamma"] * SET["lam"] * running
        adv[t], ahead = running, value[t]
    return adv, adv + value


def decays(name, p):
    return p.dim() == 2 and "embed_tokens" not in name


def optimizer(model, lr):
    groups = [{"params": [p for n, p in model.named_parameters() if decays(n, p)],
               "weight_decay": SET["decay"]},
              {"params": [p for n, p in model.named_parameters() if not decays(n, p)],
               "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(SET["beta1"], SET["beta2"]), eps=SET["eps"])


def probes(model):
    out = {}
    for name, p in model.named_parameters():
        flat = p.detach().reshape(-1)
        at = torch.linspace(0, len(flat) - 1, min(PROBES, len(flat))).round().long()
        out[name] = {"at": at.tolist(), "w": flat[at].tolist()}
    return out


def main():
    critic = make_critic()
    policy = transformers.AutoModelForCausalLM.from_pretrained(
        POLICY, dtype=torch.float64, attn_implementation="eager")
    g = torch.Generator().manual_seed(11)
    old, ref, reward, value, adv, ret = [], [], [], [], [], []
    with torch.no_grad():
        for (prompt, response), finish in zip(ROWS, FINISH):
            n = len(response)
            logp, _ = log_probs(policy, prompt, response)
            old.append((logp + 0.2 * torch.randn(n, generator=g)).float().double().clamp(max=0))
            ref.append((logp + 0.2 * torch.randn(n, generator=g)).float().double().clamp(max=0))
            reward.append(torch.randn(n, generator=g).float().double())
            v, last = values(critic, prompt, response)
            a, r = advantages(reward[-1], v, last, finish)
            value.append(v), adv.append(a), ret.append(r)
    flat = torch.cat(adv)
    adv = [(a - flat.mean()) / torch.sqrt(flat.var() + 1e-8) for a in adv]

    tokens = len(flat)
    opt_p, opt_c = optimizer(policy, SET["lr"]), optimizer(critic, SET["critic_lr"])
    norms, largest = [], []
    for _ in range(SET["epochs"]):
        loss_p = loss_c = 0.0
        stats = dict(policy_loss=0.0, value_loss=0.0, kl_loss=0.0, entropy=0.0, clipped=0.0)
        for i, (prompt, response) in enumerate(ROWS):
            logp, entropy = log_probs(policy, prompt, response)
            rho = torch.exp(logp - old[i])
            low, high = 1 - SET["clip_low"], 1 + SET["clip_high"]
            plain, cut = rho * adv[i], rho.clamp(low, high) * adv[i]
            surrogate = -torch.minimum(plain, cut)
            d = logp - ref[i]
            k3 = torch.exp(-d) - 1 + d
            largest.append(k3.max().item())
            loss_p = loss_p + (surrogate + SET["kl_coef"] * k3
                               - SET["entropy_coef"] * entropy).sum() / tokens
            v, _ = values(critic, prompt, response)
            near = value[i] + (v - value[i]).clamp(-SET["value_clip"], SET["value_clip"])
            square = 0.5 * torch.maximum((v - ret[i]) ** 2, (near - ret[i]) ** 2)
            loss_c = loss_c + SET["value_coef"] * square.sum() / tokens
            stats["policy_loss"] += surrogate.sum().item() / tokens
            stats["value_loss"] += square.sum().item() / tokens
            stats["kl_loss"] += k3.sum().item() / tokens
            stats["entropy"] += entropy.sum().item() / tokens
            stats["clipped"] += (cut < plain).sum().item() / tokens
        for loss, model, opt in ((loss_p, policy, opt_p), (loss_c, critic, opt_c)):
            opt.zero_grad()
            loss.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(),
                                                        SET["grad_clip"]).item())
            opt.step()
    golden = dict(
        settings=SET, tokens=tokens,
        rows=[dict(prompt=p, response=r, finish=f) for (p, r), f in zip(ROWS, FINISH)],
        logp_old=torch.cat(old).tolist(), logref=torch.cat(ref).tolist(),
        reward=torch.cat(reward).tolist(), stats=stats, grad_norm=max(norms[0::2]),
        critic_grad_norm=max(norms[1::2]), policy=probes(policy), critic=probes(critic))
    with open(os.path.join(OUT, "golden.json"), "w") as f:
        json.dump(golden, f)
        f.write("\n")
    print(stats, norms)
    assert max(largest) < 10  # above it the project cuts k3 off, as control/kl.h says


main()
