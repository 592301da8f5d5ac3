/* host.c -- see host.h. */
#include "bench/workers/host.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/scene.h"

#define HOST_START_MS    20000
#define HOST_STEP_TOKENS 262144u
#define HOST_PROMPTS     256u

extern char **environ;

/* The smallest model there can be: the coordinator reads its config and tokenizer alone. */
static const struct model_config host_model = {
    .family = MODEL_LLAMA,
    .model_type = "llama",
    .C = 8,
    .L = 1,
    .H = 1,
    .G = 1,
    .D = 8,
    .F = 8,
    .T = 1024,
    .norm_eps = 1e-5f,
    .tied = true,
    .rope_theta = 10000,
    .bos = -1,
    .eos = 0,
    .pad = -1,
};

/* A step has as many tokens whatever a response has: they are one message to the learner. */
static void host_write_config(struct host *host, uint32_t tokens)
{
    static struct run_config config;
    char text[1024];
    snprintf(text, sizeof text,
             "run:\n  dir: run\n  steps: 1000000\n"
             "model:\n  policy: model\n"
             "data:\n  prompts: prompts.jsonl\n  prompt_tokens_max: 64\n"
             "pipeline:\n  lag: 4\n  batch: %u\n"
             "sampling:\n  max_new_tokens: %u\n"
             "reward:\n  shaper: none\n  scorers:\n"
             "    - name: score\n      kind: words\n      words: words.txt\n"
             "checkpoint:\n  every: 1\n",
             (unsigned)(HOST_STEP_TOKENS / tokens), (unsigned)tokens);
    bench_dir_write(&host->dir, "words.txt", "a\n", 2);
    scene_config(&host->dir, text, &config);
    run_config_hash(&config, &host->config_hash);
}

static int host_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&at, n) == 0 &&
                       getsockname(fd, (struct sockaddr *)&at, &n) == 0;
    if (fd >= 0)
        close(fd);
    return bound ? ntohs(at.sin_port) : 0;
}

static void host_spawn(struct host *host)
{
    char program[FILE_PATH_MAX], config[FILE_PATH_MAX], log[FILE_PATH_MAX], self[32];
    scene_program("rlhf-coordinator", program);
    bench_dir_at(&host->dir, "run.yaml", config);
    bench_dir_at(&host->dir, "log", log);
    snprintf(self, sizeof self, "--supervised=%ld", (long)getpid());
    static char words[][16] = {"--config", "--control", "--http", "--log-level", "warn"};
    char *argv[] = {program,    words[0], config,   words[1], host->control, words[2],
                    host->http, words[3], words[4], self,     NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const int failed = posix_spawn(&host->pid, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        bench_stop(program, strerror(failed));
}

static int host_connect(const struct host *host)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons((uint16_t)atoi(strrchr(host->http, ':') + 1));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void host_open(struct host *host, uint32_t tokens)
{
    *host = (struct host){.pid = -1};
    bench_dir_open(&host->dir);
    scene_write(&host->dir, &host_model, HOST_PROMPTS);
    host_write_config(host, tokens);
    snprintf(host->control, sizeof host->control, "tcp://127.0.0.1:%d", host_port());
    snprintf(host->http, sizeof host->http, "127.0.0.1:%d", host_port());
    host_spawn(host);
    const uint64_t begin_ms = clock_mono_ms();
    const struct timespec nap = {.tv_nsec = 20000000};
    for (int fd = -1; fd < 0; nanosleep(&nap, NULL)) {
        fd = host_connect(host);
        if (fd >= 0)
            close(fd);
        if (clock_mono_ms() - begin_ms > HOST_START_MS)
            bench_stop(host->dir.path,
                       "the coordinator does not start; see the file log there");
    }
}

void host_close(struct host *host)
{
    kill(host->pid, SIGTERM);
    waitpid(host->pid, NULL, 0);
    bench_dir_close(&host->dir);
}

struct host_use host_use(const struct host *host)
{
    char path[64], line[1024];
    struct host_use use = {0};
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)host->pid);
    FILE *file = fopen(path, "r");
    if (file && fgets(line, sizeof line, file)) {
        unsigned long user = 0, system = 0;
        long pages = 0;
        const char *rest = strrchr(line, ')');
        if (rest && sscanf(rest + 1,
                           " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d "
                           "%*d %*d %*d %*u %*u %ld",
                           &user, &system, &pages) == 3) {
            use.cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
            use.rss_mib = (double)pages * (double)sysconf(_SC_PAGESIZE) / 1048576.0;
        }
    }
    if (file)
        fclose(file);
    snprintf(path, sizeof path, "/proc/%ld/fd", (long)host->pid);
    DIR *files = opendir(path);
    for (const struct dirent *entry; files && (entry = readdir(files));)
        use.files += entry->d_name[0] != '.';
    if (files)
        closedir(files);
    return use;
}

/* Seconds on a processor of one thread. */
static double host_thread_s(const char *task)
{
    char path[128];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "%s/schedstat", task);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%llu", &ns) != 1)
        ns = 0;
    if (file)
        fclose(file);
    return 1e-9 * (double)ns;
}

static bool host_thread_is_zmq(const char *task)
{
    char path[128], name[32] = "";
    snprintf(path, sizeof path, "%s/comm", task);
    FILE *file = fopen(path, "r");
    const bool read = file && fgets(name, sizeof name, file);
    if (file)
        fclose(file);
    return read && strncmp(name, "ZMQ", 3) == 0;
}

struct host_threads host_threads(const struct host *host)
{
    struct host_threads threads = {0};
    char tasks[64], task[96];
    snprintf(tasks, sizeof tasks, "/proc/%ld/task", (long)host->pid);
    DIR *dir = opendir(tasks);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const long id = strtol(entry->d_name, NULL, 10);
        if (id <= 0)
            continue;
        snprintf(task, sizeof task, "%s/%ld", tasks, id);
        if (id == (long)host->pid)
            threads.loop_s += host_thread_s(task);
        else if (host_thread_is_zmq(task))
            threads.zmq_s += host_thread_s(task);
        else
            threads.ledger_s += host_thread_s(task);
    }
    if (dir)
        closedir(dir);
    return threads;
}

double host_scrape(const struct host *host, size_t *bytes)
{
    static const char ask[] = "GET /metrics HTTP/1.0\r\n\r\n";
    char block[65536];
    const uint64_t begin_ms = clock_mono_ms();
    const int fd = host_connect(host);
    *bytes = 0;
    if (fd < 0 || write(fd, ask, sizeof ask - 1) < 0)
        return -1.0;
    for (ssize_t n; (n = read(fd, block, sizeof block)) > 0;)
        *bytes += (size_t)n;
    close(fd);
    return (double)(clock_mono_ms() - begin_ms) / 1000.0;
}
