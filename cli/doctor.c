/* doctor.c -- see doctor.h: how a finding looks, and room on the disk. */
#include "cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/statvfs.h>

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

void doctor_disk(struct doctor *doctor, const char *dir)
{
    struct statvfs fs;
    if (statvfs(dir, &fs) != 0)
        return;
    const uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (left < DOCTOR_DISK_BYTES)
        doctor_find(doctor, "make room: the coordinator ends with 74 where there is none",
                    "the disk of %s has %llu MiB left", dir, (unsigned long long)(left >> 20));
}
