"""Tiny random models and what transformers computes with them: tests/golden/models/.

    python tests/golden/make_models.py            (torch 2, transformers 5, safetensors)

Each directory is a Hugging Face model plus golden.json: a ragged batch, log-probs and entropies
at a temperature (or scores), a loss that is linear in them with random coefficients, and the
gradient of every parameter in the engine's layout (GPT-2's Conv1D weights turned to (out, in)):
norm, dot product with cos(0.37 k), and elements spread evenly over it.  Sequences run one by
one, so padding plays no part; all in float64 except where transformers itself casts to float32.
"""
import json
import os
import shutil

import torch
import transformers
from transformers.pytorch_utils import Conv1D

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")
PROBES = 32
TEMPERATURE = 0.7
LENGTHS = [5, 1, 70, 23, 64, 2]  # a block of keys is 64: below, at and above it

LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
SMALL = dict(vocab_size=97, num_hidden_layers=2, max_position_embeddings=96, bos_token_id=1,
             eos_token_id=2, pad_token_id=0, attn_implementation="eager")

MODELS = {
    # name: class, config, dtype on disk, most bytes of a file
    "gpt2": ("GPT2LMHeadModel", transformers.GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=80, bos_token_id=1,
        eos_token_id=2, attn_implementation="eager"), torch.float32, None),
    # untied, grouped, llama3 scaling, several ends of text
    "llama": ("LlamaForCausalLM", transformers.LlamaConfig(
        hidden_size=32, intermediate_size=56, num_attention_heads=4, num_key_value_heads=2,
        rope_parameters=LLAMA3, rms_norm_eps=1e-5, **{**SMALL, "eos_token_id": [2, 5, 7]}),
        torch.float32, None),
    # sizes that leave gaps between tensors, so that no product can be joined
    "qwen2": ("Qwen2ForCausalLM", transformers.Qwen2Config(
        hidden_size=36, intermediate_size=50, num_attention_heads=2, num_key_value_heads=1,
        tie_word_embeddings=True, **SMALL), torch.float16, "30KB"),
    # heads wider than the model
    "qwen3": ("Qwen3ForCausalLM", transformers.Qwen3Config(
        hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, tie_word_embeddings=True, **SMALL), torch.float32, None),
    "mistral": ("MistralForCausalLM", transformers.MistralConfig(
        hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2,
        sliding_window=72, **SMALL), torch.bfloat16, None),
    # biases that leave gaps where weights leave none
    "score": ("LlamaForSequenceClassification", transformers.LlamaConfig(
        hidden_size=32, intermediate_size=40, num_attention_heads=4, num_key_value_heads=1,
        attention_bias=True, mlp_bias=True, num_labels=2,
        rope_parameters={"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0}, **SMALL),
        torch.float32, None),
}


def randomize(model, generator):
    """Weights large enough that attention is far from uniform; norms near 1; biases not 0."""
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=generator)
        norm = "norm" in name or ".ln_" in name
        p.data = (1.0 if norm and name.endswith("weight") else 0.0) + noise * (
            0.2 if p.dim() == 1 else 0.25)


def older_config(path):
    """As transformers 4 wrote it: rope_theta, rope_scaling, torch_dtype."""
    with open(path) as f:
        config = json.load(f)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    with open(path, "w") as f:
        json.dump(config, f, indent=2)


def gradients(model):
    turned = {id(m.weight) for m in model.modules() if isinstance(m, Conv1D)}
    out = {}
    for name, p in model.named_parameters():
        g = (p.grad.T if id(p) in turned else p.grad).reshape(-1)
        n = g.numel()
        probes = min(PROBES, n)
        out[name] = {"norm": g.norm().item(),
                     "dot": (g * torch.cos(0.37 * torch.arange(n, dtype=g.dtype))).sum().item(),
                     "probe": [float(f"{g[i * n // probes].item():.9g}") for i in range(probes)]}
    return out


def make(name, class_name, config, dtype, shard):
    generator = torch.Generator().manual_seed(sum(name.encode()))
    path = os.path.join(HERE, name)
    shutil.rmtree(path, ignore_errors=True)
    model = getattr(transformers, class_name)(config)
    randomize(model, generator)
    model.tie_weights()
    model = model.to(dtype)
    model.save_pretrained(path, **({"max_shard_size": shard} if shard else {}))
    if os.path.exists(os.path.join(path, "generation_config.json")):
        os.remove(os.path.join(path, "generation_config.json"))
    if name == "llama":
        older_config(os.path.join(path, "config.json"))
    # What is on disk is the model, rounding and all.
    model = getattr(transformers, class_name).from_pretrained(
        path, attn_implementation="eager", dtype=torch.float64).eval()

    # torch gives the padding id's embedding no gradient; here nothing is padding.
    model.get_input_embeddings().padding_idx = None

    def integers(n, high):
        return torch.randint(0, high, (n,), generator=generator)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    ids = [integers(n, 97).tolist() for n in LENGTHS]
    hidden = torch.cat([model.base_model(torch.tensor([s])).last_hidden_state[0] for s in ids])
    tokens = len(hidden)
    golden = {"ids": ids}
    if hasattr(model, "score"):
        at = torch.cat([torch.arange(tokens), integers(9, tokens)])
        scores = model.score(hidden)[at]
        pooled = model(torch.tensor([ids[3]])).logits[0]
        last = sum(LENGTHS[:4]) - 1
        assert torch.allclose(pooled, model.score(hidden)[last], atol=1e-6)
        coefficient = normal(len(at), scores.shape[1])
        loss = (coefficient * scores).sum()
        golden.update(at=at.tolist(), coefficient=coefficient.reshape(-1).tolist(),
                      score=scores.reshape(-1).tolist())
    else:
        at = torch.cat([torch.randperm(tokens, generator=generator)[:tokens - 20],
                        integers(30, tokens)])
        target = integers(len(at), 97)
        logp_all = torch.log_softmax(model.lm_head(hidden)[at] / TEMPERATURE, -1)
        logp = logp_all.gather(1, target[:, None])[:, 0]
        entropy = -(logp_all.exp() * logp_all).sum(-1)
        coefficient, coefficient_entropy = normal(len(at)), normal(len(at))
        loss = (coefficient * logp + coefficient_entropy * entropy).sum()
        golden.update(temperature=TEMPERATURE, at=at.tolist(), target=target.tolist(),
                      coefficient=coefficient.tolist(),
                      coefficient_entropy=coefficient_entropy.tolist(), logp=logp.tolist(),
                      entropy=entropy.tolist(),
                      argmax=model.lm_head(hidden)[at].argmax(-1).tolist())
    loss.backward()
    golden.update(loss=loss.item(), gradient=gradients(model))
    for key in ("coefficient", "coefficient_entropy", "logp", "entropy", "score"):
        if key in golden:
            golden[key] = [float(f"{x:.10g}") for x in golden[key]]
    with open(os.path.join(path, "golden.json"), "w") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    for name, (class_name, config, dtype, shard) in MODELS.items():
        make(name, class_name, config, dtype, shard)
        print(name)
