"""Write rope_golden.h: rotary frequencies, cosines and sines, and a rotated vector, as
transformers computes them.  Run with a Python that has torch and transformers:

    python tests/golden/rope.py > tests/golden/rope_golden.h
"""
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

D = 16
POSITIONS = [0, 1, 7, 100, 1023, 4095]
CASES = {
    "default": dict(rope_type="default"),
    "linear": dict(rope_type="linear", factor=4.0),
    "llama3": dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=256),
}


def row(values):
    return ", ".join(float(v).hex() + "f" for v in values)


print("/* Made by rope.py; D = 16, theta = 10000. */")
print("static const uint32_t golden_position[%d] = {%s};"
      % (len(POSITIONS), ", ".join(map(str, POSITIONS))))
x = torch.linspace(-1, 1, D).reshape(1, 1, 1, D)
print("static const float golden_x[%d] = {%s};" % (D, row(x.flatten())))
print("static const struct golden_rope {")
print("    enum rope_scaling scaling;")
print("    float f[8], cosine[6][8], sine[6][8], y[6][16];")
print("} golden_rope[] = {")
for name, parameters in CASES.items():
    config = LlamaConfig(hidden_size=D, num_attention_heads=1, max_position_embeddings=4096,
                         rope_parameters=dict(parameters, rope_theta=10000.0))
    rope = LlamaRotaryEmbedding(config)
    cos, sin = rope(x, torch.tensor([POSITIONS]))
    y, _ = apply_rotary_pos_emb(x.expand(1, 1, len(POSITIONS), D),
                                x.expand(1, 1, len(POSITIONS), D), cos, sin)
    print("    {ROPE_%s," % name.upper())
    print("     {%s}," % row(rope.inv_freq))
    for table in (cos, sin):
        print("     {" + ",\n      ".join("{%s}" % row(t[:D // 2]) for t in table[0]) + "},")
    print("     {" + ",\n      ".join("{%s}" % row(t) for t in y[0, 0]) + "}},")
print("};")
