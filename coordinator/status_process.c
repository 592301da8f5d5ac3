/* status_process.c -- this process in numbers, under the names that all of Prometheus' client
 * libraries use; what /proc does not tell is left out. */
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "coordinator/status_state.h"

struct status_process {
    double cpu_s, start_s; /* start: after boot */
    double virtual_bytes, resident_bytes;
};

/* proc(5): fields 14, 15 and 22 to 24 of /proc/self/stat, after "(name)", which may hold
 * anything. */
static bool status_process_stat(struct status_process *out)
{
    char text[1024];
    FILE *file = fopen("/proc/self/stat", "r");
    if (!file)
        return false;
    const size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    const char *after = strrchr(text, ')');
    uint64_t utime, stime, start, size, pages;
    if (!after || sscanf(after + 1,
                         " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                         " %*d %*d %*d %*d %*d %*d %" SCNu64 " %" SCNu64 " %" SCNu64,
                         &utime, &stime, &start, &size, &pages) != 5)
        return false;
    const double hertz = (double)sysconf(_SC_CLK_TCK);
    out->cpu_s = (double)(utime + stime) / hertz;
    out->start_s = (double)start / hertz;
    out->virtual_bytes = (double)size;
    out->resident_bytes = (double)pages * (double)sysconf(_SC_PAGESIZE);
    return true;
}

/* Seconds from 1970 to the boot; 0: not told. */
static double status_process_boot(void)
{
    char line[256];
    uint64_t boot = 0;
    FILE *file = fopen("/proc/stat", "r");
    while (file && boot == 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "btime %" SCNu64, &boot) != 1)
            boot = 0;
    if (file)
        fclose(file);
    return (double)boot;
}

/* -1: not told. */
static double status_process_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return -1;
    double n = -1; /* less the one just opened to look */
    for (const struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void status_process_set(struct metrics *metrics, const char *name, const char *help,
                               double value)
{
    metric_set(metrics_gauge(metrics, name, help, NULL, NULL), value);
}

void status_process(struct metrics *metrics)
{
    struct status_process now;
    struct rlimit files;
    if (status_process_stat(&now)) {
        struct metric *cpu =
            metrics_counter(metrics, "process_cpu_seconds_total",
                            "Time of processors used, of user and system, seconds", NULL, NULL);
        const double more = now.cpu_s - metric_value(cpu);
        metric_add(cpu, more > 0.0 ? more : 0.0);
        status_process_set(metrics, "process_resident_memory_bytes",
                           "Memory that is resident, bytes", now.resident_bytes);
        status_process_set(metrics, "process_virtual_memory_bytes",
                           "Memory of the address space, bytes", now.virtual_bytes);
        const double boot_s = status_process_boot();
        if (boot_s > 0.0)
            status_process_set(metrics, "process_start_time_seconds",
                               "Start of the process, seconds since 1970",
                               boot_s + now.start_s);
    }
    const double fds = status_process_fds();
    if (fds >= 0.0)
        status_process_set(metrics, "process_open_fds", "File descriptors open", fds);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        status_process_set(metrics, "process_max_fds", "File descriptors allowed",
                           files.rlim_cur == RLIM_INFINITY ? (double)INFINITY
                                                           : (double)files.rlim_cur);
}
