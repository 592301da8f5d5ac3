/* scene.h -- the files of a run: a model with random weights, a tokenizer, prompts, run.yaml. */
#ifndef BENCH_SCENE_H
#define BENCH_SCENE_H

#include "bench/bench.h"
#include "engine/model.h"
#include "node/run_config.h"

#define SCENE_VOCABULARY 300u /* tokens of the tokenizer, at most */

/* DIR/model and DIR/prompts.jsonl, of n questions of the built-in world.  A model of 0 tokens gets
 * as many as the tokenizer has.  What cannot be written ends the program. */
void scene_write(const struct bench_dir *dir, const struct model_config *model, size_t prompts);

/* DIR/run.yaml and the empty DIR/run, and the config that they make. */
void scene_config(const struct bench_dir *dir, const char *yaml, struct run_config *config);

/* Where the program of this name is: beside this one. */
void scene_program(const char *name, char path[FILE_PATH_MAX]);

#endif
