/*
 * shape.h -- what small models of a family have in common; a test adds sizes, head and eos:
 *
 *     static const struct model_config llama = {SHAPE_LLAMA, .V = 23, .C = 16, ... .eos = -1};
 */
#ifndef TESTS_SHAPE_H
#define TESTS_SHAPE_H

#include "engine/config.h"

#define SHAPE_LLAMA                                                                          \
    .family = MODEL_LLAMA, .model_type = "llama", .norm_eps = 1e-5f, .rope_theta = 10000.0f, \
    .bos = -1, .pad = -1

#define SHAPE_GPT2                                                               \
    .family = MODEL_GPT2, .model_type = "gpt2", .norm_eps = 1e-5f, .tied = true, \
    .qkv_bias = true, .out_bias = true, .mlp_bias = true, .bos = -1, .pad = -1

#endif
