/*
 * replay_scene.h -- a finished run of 4 steps of 8 slots in dir/run, with references, a chain of
 * shapers, costs and a multiplier, a monitor and a breaker that trips on nothing.
 */
#ifndef TESTS_E2E_REPLAY_SCENE_H
#define TESTS_E2E_REPLAY_SCENE_H

#include "tests/e2e/scene.h"

/* -1: the run failed, and said why. */
static inline int replay_scene_make(void)
{
    scene_make();
    scene_write("run.yaml",
                "run:\n  dir: run\n  steps: 4\n  seed: 3\n"
                "model:\n  policy: model\n"
                "data:\n  prompts: prompts.jsonl\n  prompt_tokens_max: 64\n"
                "pipeline:\n  lag: 1\n  batch: 8\n"
                "sampling:\n  max_new_tokens: 16\n"
                "reward:\n  references: 2\n  shapers: [meanstd, par]\n  scorers:\n"
                "    - {name: words, kind: words, words: words.txt, weight: 2}\n"
                "    - {name: harm, kind: length, min_tokens: 1, max_tokens: 8, role: cost}\n"
                "    - {name: watch, kind: words, words: words.txt, role: monitor}\n"
                "kl:\n  controller: adaptive\n  coef: 0.1\n"
                "  target_nats_per_sequence: 1\n  horizon: 100\n"
                "safety:\n  controller: lagrangian\n  cost: score\n  limit: 0.3\n  lr: 1\n"
                "breaker:\n  window: 4\n  warmup: 3\n"
                "  limits: [{signal: kl, high: 1000, outcome: skip}]\n"
                "ppo:\n  epochs: 1\n  minibatches: 2\n  micro_tokens: 128\n"
                "optimizer:\n  lr: 1.0e-3\n  critic_lr: 1.0e-3\n"
                "checkpoint:\n  every: 2\n");
    if (scene_wait(scene_start("rlhf run @/run.yaml --quiet")) == 0)
        return 0;
    scene_show("err");
    return -1;
}

#endif
