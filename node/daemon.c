/* daemon.c -- see daemon.h. */
#define _GNU_SOURCE /* prctl's header wants it; getopt_long */
#include "node/daemon.h"

#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "node/rendezvous.h"

#define DAEMON_KEPT_BYTES  (32 << 20) /* at the end of an arena: four windows of chunks */
#define DAEMON_BLOCK_BYTES (32 << 20) /* less is taken from an arena: the most there may be */

static void daemon_help(const char *program)
{
    printf(
        "usage: %s --config FILE [options] [KEY=VALUE ...]\n"
        "\n"
        "One of the processes of a run; `rlhf run FILE` starts them all.  On another machine\n"
        "it is started by hand with the same config file and the run's endpoints.\n"
        "\n"
        "  --config FILE        the run's YAML file; KEY=VALUE after it override keys of it\n"
        "  --name NAME          unique in the run, e.g. actor-3\n"
        "  --control ENDPOINT   the coordinator, e.g. tcp://10.0.0.1:5555\n"
        "  --bulk ENDPOINT      learner: where to serve weights\n"
        "  --http ADDRESS:PORT  coordinator: metrics, health, status\n"
        "  --rendezvous FILE    coordinator: where to write the endpoint it listens at;\n"
        "                       others: where to read it, in place of --control\n"
        "  --job ID             with --rendezvous: what tells this start from others\n"
        "  --log-level LEVEL    debug, info, warn, error (info)\n"
        "  --supervised[=PID]   end when the parent process, PID, does\n"
        "  --help, --version\n",
        program);
}

static int daemon_log_level(const char *word, enum log_level *level)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i]) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

/* The kernel tells of a parent that dies from now on; one that is dead by now is not `parent`. */
static void daemon_follow_parent(const char *parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (parent && getppid() != (pid_t)strtol(parent, NULL, 10))
        raise(SIGTERM);
}

/* -1 to go on. */
static int daemon_check_rendezvous(const struct daemon_options *options)
{
    struct err err = {0};
    if (!options->rendezvous && !options->job)
        return -1;
    if (!options->rendezvous || !options->job) {
        fprintf(stderr, "%s: --rendezvous FILE and --job ID need each other\n",
                options->program);
        return EX_USAGE;
    }
    if (rendezvous_job_check(options->job, &err) == ERR_OK)
        return -1;
    fprintf(stderr, "%s: %s\n", options->program, err.text);
    return EX_USAGE;
}

/* The options; -1 to go on. */
static int daemon_options_read(int argc, char **argv, struct daemon_options *options,
                               enum log_level *level)
{
    static const struct option known[] = {{"config", required_argument, NULL, 'c'},
                                          {"name", required_argument, NULL, 'n'},
                                          {"control", required_argument, NULL, 'e'},
                                          {"bulk", required_argument, NULL, 'b'},
                                          {"http", required_argument, NULL, 'p'},
                                          {"rendezvous", required_argument, NULL, 'r'},
                                          {"job", required_argument, NULL, 'j'},
                                          {"log-level", required_argument, NULL, 'l'},
                                          {"supervised", optional_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'c': options->config_path = optarg; break;
        case 'n': options->name = optarg; break;
        case 'e': options->control = optarg; break;
        case 'b': options->bulk = optarg; break;
        case 'p': options->http = optarg; break;
        case 'r': options->rendezvous = optarg; break;
        case 'j': options->job = optarg; break;
        case 's': daemon_follow_parent(optarg); break;
        case 'h': daemon_help(options->program); return EX_OK;
        case 'V': printf("%s %s\n", options->program, RLHF_VERSION); return EX_OK;
        case 'l':
            if (daemon_log_level(optarg, level) == 0)
                break;
            fprintf(stderr, "%s: --log-level must be debug, info, warn or error, not \"%s\"\n",
                    options->program, optarg);
            return EX_USAGE;
        default: return EX_USAGE; /* getopt_long has said why */
        }
    }
    if (!options->config_path) {
        fprintf(stderr, "%s: --config FILE is missing; --help says more\n", options->program);
        return EX_USAGE;
    }
    return daemon_check_rendezvous(options);
}

uint64_t daemon_files_max(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return 0;
    const rlim_t soft = files.rlim_cur;
    files.rlim_cur = files.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur : soft;
}

void daemon_keep_memory(void)
{
    mallopt(M_TRIM_THRESHOLD, DAEMON_KEPT_BYTES);
    mallopt(M_MMAP_THRESHOLD, DAEMON_BLOCK_BYTES);
}

int daemon_begin(int argc, char **argv, const char *role, struct daemon_options *options,
                 struct run_config *config)
{
    static char program[64], name[64];
    snprintf(program, sizeof program, "rlhf-%s", role);
    snprintf(name, sizeof name, "%s-0", role);
    const bool binds = strcmp(role, "coordinator") == 0;
    *options = (struct daemon_options){.program = program, .name = name};

    enum log_level level = LOG_LEVEL_INFO;
    const int status = daemon_options_read(argc, argv, options, &level);
    if (status >= 0)
        return status;
    log_open(options->name, STDERR_FILENO, level);
    signal(SIGPIPE, SIG_IGN);
    daemon_keep_memory();

    struct err err = {0};
    enum err_code rc =
        fault_arm(getenv("RLHF_FAULT"), getenv("RLHF_FAULT_DIR"), options->name, &err);
    if (rc == ERR_OK)
        rc = run_config_load(config, options->config_path, (const char *const *)argv + optind,
                             (size_t)(argc - optind), &err);
    if (rc) {
        fprintf(stderr, "%s: %s\n", options->program, err.text);
        return err_exit_code(rc);
    }
    if (!options->control)
        options->control = config->control_endpoint;
    if (!options->bulk)
        options->bulk = config->bulk_endpoint;
    if (!options->http)
        options->http = config->http_listen;
    if (options->control[0] == '\0' && (!options->rendezvous || binds)) {
        fprintf(stderr, "%s: no control endpoint: give --control, or endpoints.control in %s\n",
                options->program, options->config_path);
        return EX_USAGE;
    }
    return -1;
}

enum err_code daemon_context(struct wire_context **out, const struct run_config *config,
                             const char *name, const char *serves, struct err *err)
{
    enum err_code rc = serves ? run_config_check_open(config, serves, err) : ERR_OK;
    if (rc == ERR_OK)
        rc = wire_context_new(out, err);
    if (rc == ERR_OK && config->keys[0])
        rc = wire_context_guard(*out, config->keys, name, err);
    return rc;
}

int daemon_end(enum err_code rc, const struct err *err)
{
    if (rc != ERR_OK)
        log_error("END", "%s", err->text);
    return err_exit_code(rc);
}
