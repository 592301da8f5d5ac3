/*
 * scene.h -- for tests of whole programs: a directory of one's own with a tiny model, prompts
 * and a run's configuration in it, and a command started there and waited for.
 */
#ifndef TESTS_E2E_SCENE_H
#define TESTS_E2E_SCENE_H

#include <spawn.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "tests/e2e/guard.h"
#include "tests/shape.h"
#include "tests/test.h"
#include "world/world.h"

#define SCENE_DEADLINE_MS 180000u /* of what hangs: no test is to come near it */
#define SCENE_ARGS_MAX    24

extern char **environ;

static char dir[64]; /* the test's own */

static inline void scene_path(char path[FILE_PATH_MAX], const char *name)
{
    check_ok(file_join(path, dir, name, &err));
}

static inline void scene_write_bytes(const char *name, const void *bytes, size_t size)
{
    char path[FILE_PATH_MAX];
    scene_path(path, name);
    check_ok(file_write(path, bytes, size, &err));
}

static inline void scene_write(const char *name, const char *text)
{
    scene_write_bytes(name, text, strlen(text));
}

/* The file's bytes, with a NUL behind them; the caller releases *out. */
static inline void scene_read(const char *name, struct buf *out)
{
    char path[FILE_PATH_MAX];
    scene_path(path, name);
    buf_init(out, (size_t)1 << 26);
    check_ok(file_read(path, out, &err));
    buf_puts(out, "");
}

static inline void scene_write_tokenizer(const char *name, const struct world *world)
{
    struct buf text, json;
    buf_init(&text, 1 << 20);
    buf_init(&json, 1 << 20);
    for (size_t i = 0; i < world->items_n; i += 7) {
        world_prompt(&world->items[i], &text);
        world_answer(&world->items[i], WORLD_polite, 0, &text);
    }
    check_ok(world_tokenizer(text.data, text.len, 300, &json, &err));
    scene_write(name, json.data);
    buf_release(&text);
    buf_release(&json);
}

static inline void scene_write_prompts(const struct world *world)
{
    struct buf lines, prompt;
    buf_init(&lines, 1 << 20);
    buf_init(&prompt, 1 << 12);
    for (size_t i = 0; i < 24; i++) {
        buf_clear(&prompt);
        world_prompt(&world->items[i], &prompt);
        buf_puts(&lines, "{\"prompt\": ");
        buf_json_string(&lines, prompt.data, prompt.len);
        buf_puts(&lines, "}\n");
    }
    scene_write("prompts.jsonl", lines.data);
    scene_write("words.txt", "a\ni\nthe\nis\nyou\no\ne\n");
    buf_release(&lines);
    buf_release(&prompt);
}

static inline void scene_write_model(const char *path)
{
    struct err why = {0};
    struct tokenizer *tokenizer = tokenizer_load(path, &why);
    if (!tokenizer)
        fail_msg("%s", why.text);
    const struct model_config config = {SHAPE_LLAMA, .V = tokenizer_vocabulary(tokenizer),
                                        .C = 32,     .L = 2,
                                        .H = 4,      .G = 2,
                                        .D = 8,      .F = 64,
                                        .T = 96,     .tied = true,
                                        .eos = 0};
    struct model *model = model_new(&config, &why);
    if (!model)
        fail_msg("%s", why.text);
    model_init_random(model, 1, 0.3f);
    check_ok(model_save(model, path, &err));
    model_free(model);
    tokenizer_free(tokenizer);
}

/* The directory, with nothing in it. */
static inline void scene_make_dir(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(dir, sizeof dir, "/tmp/rlhf-e2e-XXXXXX");
    assert_non_null(mkdtemp(dir));
    guard_begin(dir);
}

/* dir/model, dir/prompts.jsonl, dir/words.txt and dir/run.yaml: a run of 6 steps. */
static inline void scene_make(void)
{
    char path[FILE_PATH_MAX];
    struct world world;
    scene_make_dir();
    check_ok(world_init(&world, &err));
    scene_path(path, "model");
    check_ok(file_make_dir(path, &err));
    scene_write_tokenizer("model/tokenizer.json", &world);
    scene_write_model(path);
    scene_write_prompts(&world);
    world_release(&world);
    scene_write("run.yaml", "run:\n  dir: run\n  steps: 6\n  seed: 3\n"
                            "model:\n  policy: model\n"
                            "data:\n  prompts: prompts.jsonl\n  prompt_tokens_max: 64\n"
                            "pipeline:\n  lag: 1\n  batch: 8\n"
                            "sampling:\n  max_new_tokens: 16\n"
                            "reward:\n  references: 2\n  scorers:\n"
                            "    - name: words\n      kind: words\n      words: words.txt\n"
                            "ppo:\n  epochs: 1\n  minibatches: 2\n  micro_tokens: 128\n"
                            "optimizer:\n  lr: 1.0e-3\n  critic_lr: 1.0e-3\n"
                            "checkpoint:\n  every: 2\n"
                            "timeouts:\n  heartbeat_ms: 200\n  dead_ms: 1000\n"
                            "  lease_ms: 2000\n");
}

static inline void scene_nap(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* A process whose command line has all of these words, up to a NULL; 0: there is none now. */
static inline pid_t scene_process(const char *const *words)
{
    DIR *proc = opendir("/proc");
    assert_non_null(proc);
    pid_t found = 0;
    for (const struct dirent *entry; !found && (entry = readdir(proc));) {
        char path[64], line[4096];
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(path, sizeof path, "/proc/%.20s/cmdline", entry->d_name);
        FILE *file = fopen(path, "r");
        const size_t n = file ? fread(line, 1, sizeof line - 1, file) : 0;
        if (file)
            fclose(file);
        for (size_t i = 0; i < n; i++)
            line[i] = line[i] ? line[i] : ' ';
        line[n] = '\0';
        size_t met = 0;
        while (words[met] && strstr(line, words[met]))
            met++;
        if (!words[met])
            found = (pid_t)strtol(entry->d_name, NULL, 10);
    }
    closedir(proc);
    return found;
}

/* What the kernel says of a process behind this word of its status; false: it is gone. */
static inline bool scene_process_says(pid_t pid, const char *word, char said[64])
{
    char path[64], line[256];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "r");
    while (status && !found && fgets(line, sizeof line, status))
        found = strncmp(line, word, strlen(word)) == 0 &&
                sscanf(line + strlen(word), "%63s", said) == 1;
    if (status)
        fclose(status);
    return found;
}

/* The directory, and processes that a test which failed has left at work. */
static inline void scene_remove(void)
{
    check_ok(guard_clear(dir, &err));
}

/* Start `line`, split at blanks ("~" stands for a blank inside a word, "@" at the start of a
 * word for the scene's directory), with dir/in as its standard input where there is one, and
 * these files below dir as the others. */
static inline pid_t scene_start_to(const char *line, const char *said, const char *blamed)
{
    char text[2048], word_at[SCENE_ARGS_MAX][FILE_PATH_MAX], path[3][FILE_PATH_MAX];
    char *argv[SCENE_ARGS_MAX + 1] = {NULL};
    size_t argc = 0;
    assert_true(strlen(line) < sizeof text);
    strcpy(text, line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < SCENE_ARGS_MAX);
        const char *at = strchr(word, '@');
        snprintf(word_at[argc], FILE_PATH_MAX, "%.*s%s%s", at ? (int)(at - word) : 0, word,
                 at ? dir : "", at ? at + 1 : word);
        for (char *c = word_at[argc]; *c; c++)
            *c = *c == '~' ? ' ' : *c;
        argv[argc] = word_at[argc];
        argc++;
    }
    scene_path(path[0], "in");
    scene_path(path[1], said);
    scene_path(path[2], blamed);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, file_exists(path[0]) ? path[0] : "/dev/null",
                                     O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, path[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_addopen(&actions, 2, path[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    char program[FILE_PATH_MAX];
    check_ok(file_join(program, RLHF_BIN, argv[0], &err));
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

/* The same, to dir/out and dir/err. */
static inline pid_t scene_start(const char *line)
{
    return scene_start_to(line, "out", "err");
}

static inline void scene_show(const char *name)
{
    char path[FILE_PATH_MAX];
    struct buf text;
    buf_init(&text, (size_t)1 << 26);
    scene_path(path, name);
    if (file_read(path, &text, NULL) == ERR_OK)
        fprintf(stderr, "--- %s\n%s\n", name,
                text.len > 4000 ? text.data + text.len - 4000
                : text.len      ? text.data
                                : "");
    buf_release(&text);
}

/* Whether the child has not ended yet; what ended is still to be waited for. */
static inline bool scene_lives(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

/* The exit status, 128 + n for signal n; what does not end in time fails the test. */
static inline int scene_wait(pid_t pid)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (clock_mono_ms() > deadline) {
            kill(pid, SIGTERM);
            scene_nap(3000);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            scene_show("err");
            fail_msg("it did not end within %u ms", SCENE_DEADLINE_MS);
        }
        scene_nap(2);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline void scene_sha(const char *name, char hex[HASH_HEX_BYTES])
{
    char path[FILE_PATH_MAX];
    struct hash hash;
    scene_path(path, name);
    check_ok(hash_file_sha256(&hash, path, &err));
    hash_hex(&hash, hex);
}

/* Steps that the run below this directory has done. */
static inline uint64_t scene_steps(const char *run)
{
    char path[FILE_PATH_MAX];
    struct buf text;
    uint64_t lines = 0;
    check_ok(file_join(path, run, "progress.jsonl", &err));
    buf_init(&text, (size_t)1 << 24);
    if (file_read(path, &text, NULL) == ERR_OK)
        for (size_t i = 0; i < text.len; i++)
            lines += text.data[i] == '\n';
    buf_release(&text);
    return lines;
}

/* The process with these words in its command line, a program or a name, that works for the run
 * below this directory; 0: there is none now. */
static inline pid_t scene_find(const char *run, const char *words)
{
    char config[FILE_PATH_MAX];
    assert_null(strstr(run, words)); /* or all of its processes would have them */
    check_ok(file_join(config, run, "config.yaml", &err));
    return scene_process((const char *const[]){words, config, "--supervised", NULL});
}

/* The child of `parent` with this word in its command line. */
static inline pid_t scene_child(pid_t parent, const char *word)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *children = fopen(path, "r");
    assert_non_null(children);
    for (int pid; fscanf(children, "%d", &pid) == 1;) {
        char line[4096] = "";
        snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
        FILE *words = fopen(path, "r");
        if (words) {
            (void)!fread(line, 1, sizeof line - 1, words);
            fclose(words);
        }
        if (strstr(line, word)) {
            fclose(children);
            return pid;
        }
    }
    fail_msg("%s is none of the run's processes", word);
    return 0;
}

#endif
