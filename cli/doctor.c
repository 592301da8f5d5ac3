/* doctor.c -- see doctor.h: how a finding looks, and what a directory tells of itself. */
#include "cli/doctor.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/status_screen.h"

void doctor_find(struct doctor *doctor, const char *advice, const char *format, ...)
{
    char text[DOCTOR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_printf(doctor->out, "%2u  ", (unsigned)++doctor->findings);
    status_screen_text(doctor->out, text);
    buf_printf(doctor->out, "\n    -> %s\n", advice);
}

static void doctor_disk(struct doctor *doctor, const char *dir)
{
    struct statvfs fs;
    if (statvfs(dir, &fs) != 0)
        return;
    const uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (left < DOCTOR_DISK_BYTES)
        doctor_find(doctor, "make room: the coordinator ends with 74 where there is none",
                    "the disk of %s has %llu MiB left", dir, (unsigned long long)(left >> 20));
}

/* RUN/gate/NAME.json that was written last; "": there is none. */
static void doctor_newest_verdict(const char *dir, char newest[FILE_PATH_MAX])
{
    char gate[FILE_PATH_MAX], path[FILE_PATH_MAX];
    struct stat about;
    time_t at = 0;
    newest[0] = '\0';
    DIR *names = file_join(gate, dir, "gate", NULL) == ERR_OK ? opendir(gate) : NULL;
    for (struct dirent *entry; names && (entry = readdir(names)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".json") != 0 ||
            file_join(path, gate, entry->d_name, NULL) != ERR_OK || stat(path, &about) != 0 ||
            about.st_mtime < at)
            continue;
        at = about.st_mtime;
        memcpy(newest, path, sizeof path);
    }
    if (names)
        closedir(names);
}

static void doctor_gate(struct doctor *doctor, const char *dir)
{
    char path[FILE_PATH_MAX];
    doctor_newest_verdict(dir, path);
    json_t *verdict = path[0] ? json_read_file(path, (size_t)1 << 20, NULL) : NULL;
    const char *decision = json_string_value(json_object_get(verdict, "decision"));
    const char *why = json_string_value(json_object_get(verdict, "why"));
    if (decision && strcmp(decision, "pass") != 0)
        doctor_find(
            doctor,
            "what was published before stays; lower safety.limit or set "
            "safety.gate_samples, and train on",
            "the gate's last verdict is %s: a mean cost of %.4g, bounded by %.4g, limit "
            "%.4g%s%s (%s)",
            decision, json_number_value(json_object_get(verdict, "mean")),
            json_number_value(json_object_get(verdict, "upper")),
            json_number_value(json_object_get(verdict, "limit")), why && *why ? ": " : "",
            why ? why : "", path);
    json_decref(verdict);
}

void doctor_dir(struct doctor *doctor, const char *dir)
{
    doctor_disk(doctor, dir);
    doctor_gate(doctor, dir);
}
