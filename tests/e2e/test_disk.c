/*
 * test_disk.c -- runs whose disk fills up under them, on a file system of their own.
 *
 * A ballast takes the room that is left, at some moment; the run then stands still or ends with
 * a sentence.  When the ballast is gone, the same command ends with the same weights.  Needs the
 * right to mount; without it the tests are skipped.
 */
#define _DEFAULT_SOURCE /* sys/mount.h */
#include <errno.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "tests/e2e/faults.h"
#include "tests/e2e/held.h"

static bool mounted;

static void disk_unmount(void)
{
    char path[FILE_PATH_MAX];
    scene_path(path, "disk");
    umount2(path, MNT_DETACH);
}

static int disk_setup(void **state)
{
    guard_undo = disk_unmount;
    faults_setup(state);
    char path[FILE_PATH_MAX];
    scene_path(path, "disk");
    check_ok(file_make_dir(path, &err));
    mounted = mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=24m") == 0;
    if (!mounted)
        print_message("no file system of its own: %s\n", strerror(errno));
    return 0;
}

/* All that is left, but for some bytes: a page, or a checkpoint's half. */
static void disk_fill(size_t leave)
{
    static const char zeros[65536];
    char path[FILE_PATH_MAX];
    struct statvfs info;
    scene_path(path, "disk/ballast");
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    for (;;) {
        assert_int_equal(fstatvfs(fd, &info), 0);
        const size_t free_bytes = info.f_bavail * info.f_bsize;
        if (free_bytes <= leave)
            break;
        const size_t n = free_bytes - leave < sizeof zeros ? free_bytes - leave : sizeof zeros;
        if (write(fd, zeros, n) < 0)
            break;
    }
    close(fd);
}

static void disk_free(void)
{
    char path[FILE_PATH_MAX];
    scene_path(path, "disk/ballast");
    unlink(path);
}

static bool disk_said(const char *name, const char *words)
{
    char path[FILE_PATH_MAX], log[128];
    struct buf text;
    buf_init(&text, (size_t)1 << 26);
    snprintf(log, sizeof log, "%s/run.log", name);
    scene_path(path, log);
    const bool said = file_read(path, &text, NULL) == ERR_OK && text.len > 0 &&
                      strstr(text.data, words) != NULL;
    buf_release(&text);
    return said;
}

/* No checkpoint under a final name lacks its manifest, but one that is being removed. */
static void check_nothing_is_half_published(const char *name)
{
    char root[256], path[FILE_PATH_MAX], manifest[FILE_PATH_MAX + 16];
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    snprintf(root, sizeof root, "%s/%s/checkpoints", dir, name);
    DIR *list = opendir(root);
    for (const struct dirent *entry; list && (entry = readdir(list));) {
        if (entry->d_name[0] != 'v')
            continue;
        snprintf(path, sizeof path, "%s/%s", root, entry->d_name);
        snprintf(manifest, sizeof manifest, "%s/MANIFEST.json", path);
        while (!file_exists(manifest) && file_exists(path)) {
            if (clock_mono_ms() > deadline)
                fail_msg("%s has no manifest", path);
            scene_nap(10);
        }
    }
    if (list)
        closedir(list);
}

static void survives_full_disk(const char *name, uint64_t steps, size_t leave)
{
    char run[FILE_PATH_MAX];
    scene_path(run, name);
    held_begin();
    const pid_t pid = faults_start(name, "");
    held_end();
    if (steps > 0)
        held_go_to(pid, run, steps);
    disk_fill(leave);
    for (int i = 0; i < 150; i++) { /* as far as it comes */
        held_go_on(run);
        scene_nap(10);
    }
    check_nothing_is_half_published(name);
    int status = 0;
    const bool ended = waitpid(pid, &status, WNOHANG) == pid;
    print_message("run %s: %s%s\n", name, ended ? "ended" : "stands still",
                  disk_said(name, "CHECKPOINT-FAILED") ? ", a checkpoint failed" : "");
    disk_free();
    if (!ended)
        status = held_wait(pid, run);
    if (ended || status != 0)
        faults_run(name, "");
    faults_check(name);
    faults_remove(name);
}

static void a_full_disk_costs_time_alone(void **state)
{
    (void)state;
    if (!mounted)
        skip();
    static const size_t leave[] = {0, 4096, 100000, 300000, 600000};
    for (uint64_t steps = 0; steps < FAULTS_STEPS; steps++) {
        char name[64];
        snprintf(name, sizeof name, "disk/full-%llu", (unsigned long long)steps);
        survives_full_disk(name, steps, leave[steps]);
    }
    survives_full_disk("disk/full-again", 2, 200000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_costs_time_alone),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/disk", tests, disk_setup, faults_teardown);
}
