/*
 * test_node_weights_memory.c -- memory that one process shares and others map.
 *
 * Oracle: the bytes that were put in, libsodium's BLAKE2b called here on them, and what the
 * kernel answers to whoever tries to change what is sealed.  Other processes are forked.
 */
#define _GNU_SOURCE /* memfd_create, F_SEAL_* */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/weights_memory.h"
#include "tests/chunk_hash.h"
#include "tests/test.h"

#define SIZE   (3u * 1024u * 1024u + 12u)
#define NOBODY 65534

static unsigned char *bytes;  /* (SIZE) */
static struct hash hashes[4]; /* of chunks of 1 MiB */
#define CHUNK (1024u * 1024u)

static int group_setup(void **state)
{
    (void)state;
    bytes = malloc(SIZE);
    uint32_t x = 1;
    for (size_t i = 0; bytes && i < SIZE; i++)
        bytes[i] = (unsigned char)((x = x * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; bytes && i < COUNT(hashes); i++)
        hashes[i] = chunk_hash(bytes + i * CHUNK, i < 3 ? CHUNK : SIZE - 3 * CHUNK);
    return bytes ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    free(bytes);
    return 0;
}

static uint64_t me(void)
{
    return (uint64_t)getpid();
}

static size_t descriptors(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* How often shared memory is mapped here. */
static size_t mappings(void)
{
    char line[512];
    size_t n = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        n += strstr(line, "memfd:rlhf-weights") != NULL;
    fclose(maps);
    return n;
}

/* What the descriptor is must not be mapped, for this reason; nothing is held then. */
static void check_refused(uint64_t pid, int fd, enum err_code code, const char *words)
{
    struct weights_memory memory;
    const size_t before = descriptors();
    check_fails(weights_memory_map(&memory, pid, (uint32_t)fd, SIZE, hashes, CHUNK, &err), code,
                words);
    assert_null(memory.bytes);
    assert_int_equal(descriptors(), before);
}

static int check_nothing_is_held(void **state)
{
    (void)state;
    return mappings() == 0 ? 0 : -1;
}

static int child_status(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void shared_memory_is_mapped_by_another_process(void **state)
{
    (void)state;
    struct weights_memory made;
    check_ok(weights_memory_new(&made, bytes, SIZE, &err));
    assert_memory_equal(made.bytes, bytes, SIZE);
    const pid_t child = fork();
    if (child == 0) {
        struct weights_memory mapped;
        close(made.fd); /* it has none of its own */
        const enum err_code rc = weights_memory_map(
            &mapped, (uint64_t)getppid(), (uint32_t)made.fd, SIZE, hashes, CHUNK, NULL);
        const bool same = rc == ERR_OK && mapped.fd < 0 && mapped.size == SIZE &&
                          memcmp(mapped.bytes, bytes, SIZE) == 0;
        weights_memory_release(&mapped);
        _exit(same ? 0 : 1);
    }
    assert_int_equal(child_status(child), 0);
    weights_memory_release(&made);
    weights_memory_release(&made);
}

static void shared_memory_can_be_changed_by_nobody(void **state)
{
    (void)state;
    struct weights_memory made;
    struct stat info;
    check_ok(weights_memory_new(&made, bytes, SIZE, &err));
    assert_int_equal(fstat(made.fd, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0400);
    assert_int_equal(pwrite(made.fd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(made.fd, 0), -1);
    assert_int_equal(ftruncate(made.fd, SIZE + 1), -1);
    assert_ptr_equal(mmap(NULL, SIZE, PROT_WRITE, MAP_SHARED, made.fd, 0), MAP_FAILED);
    assert_int_equal(fcntl(made.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    weights_memory_release(&made);
}

static void a_mapping_outlives_what_it_was_made_from(void **state)
{
    (void)state;
    struct weights_memory made, mapped;
    const size_t before = descriptors();
    check_ok(weights_memory_new(&made, bytes, SIZE, &err));
    const int fd = made.fd;
    check_ok(weights_memory_map(&mapped, me(), (uint32_t)fd, SIZE, hashes, CHUNK, &err));
    weights_memory_release(&made);
    assert_int_equal(descriptors(), before);
    assert_memory_equal(mapped.bytes, bytes, SIZE);
    check_refused(me(), fd, ERR_UNAVAILABLE, "No such file");
    weights_memory_release(&mapped);
    assert_null(mapped.bytes);
}

static void memory_of_another_size_or_with_other_bytes_is_refused(void **state)
{
    (void)state;
    struct weights_memory made;
    check_ok(weights_memory_new(&made, bytes, SIZE - 1, &err));
    check_refused(me(), made.fd, ERR_FORMAT, "has 3145739 bytes, not 3145740");
    weights_memory_release(&made);
    bytes[SIZE / 2] ^= 1;
    check_ok(weights_memory_new(&made, bytes, SIZE, &err));
    bytes[SIZE / 2] ^= 1;
    check_refused(me(), made.fd, ERR_FORMAT, "is not what the manifest says");
    weights_memory_release(&made);
}

static void what_is_not_there_is_refused(void **state)
{
    (void)state;
    check_refused(me(), 1 << 20, ERR_UNAVAILABLE, "/fd/1048576: No such file");
    check_refused(UINT64_MAX, 3, ERR_UNAVAILABLE, "/proc/18446744073709551615/fd/3");
}

/* A lie may name any descriptor of any process of this user. */
static void what_is_no_sealed_memory_is_refused(void **state)
{
    (void)state;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    check_refused(me(), pipes[0], ERR_FORMAT, "is no memory");
    const int null = open("/dev/null", O_RDONLY), dir = open("/", O_RDONLY);
    check_refused(me(), null, ERR_FORMAT, "is no memory");
    check_refused(me(), dir, ERR_FORMAT, "is no memory");

    char path[] = "/tmp/weights-memory-XXXXXX";
    const int file = mkstemp(path);
    assert_true(file >= 0);
    unlink(path);
    assert_int_equal(write(file, bytes, SIZE), SIZE);
    check_refused(me(), file, ERR_FORMAT, "is not sealed: it might change");

    const int loose = memfd_create("loose", MFD_ALLOW_SEALING);
    assert_int_equal(write(loose, bytes, SIZE), SIZE);
    check_refused(me(), loose, ERR_FORMAT, "is not sealed");
    assert_int_equal(fcntl(loose, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    check_refused(me(), loose, ERR_FORMAT, "is not sealed");

    const int fds[] = {pipes[0], pipes[1], null, dir, file, loose};
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
}

static void memory_of_another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct weights_memory made;
    check_ok(weights_memory_new(&made, bytes, SIZE, &err));
    const pid_t child = fork();
    if (child == 0) { /* who may not look */
        struct weights_memory mapped;
        const bool refused = setuid(NOBODY) == 0 &&
                             weights_memory_map(&mapped, (uint64_t)getppid(), (uint32_t)made.fd,
                                                SIZE, hashes, CHUNK, NULL) == ERR_UNAVAILABLE;
        _exit(refused ? 0 : 1);
    }
    assert_int_equal(child_status(child), 0);
    /* root may, and is not to */
    assert_int_equal(fchown(made.fd, NOBODY, NOBODY), 0);
    check_refused(me(), made.fd, ERR_FORMAT, "belongs to user 65534");
    weights_memory_release(&made);
}

static void no_room_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    struct weights_memory made;
    struct rlimit before, small;
    const size_t open_before = descriptors();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = SIZE / 2, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct err err = {0};
    const enum err_code rc = weights_memory_new(&made, bytes, SIZE, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, ERR_IO);
    assert_non_null(strstr(err.text, "write shared memory"));
    assert_null(made.bytes);
    assert_int_equal(descriptors(), open_before);
}

static void private_memory_is_a_copy_that_nobody_can_map(void **state)
{
    (void)state;
    struct weights_memory made;
    check_ok(weights_memory_new_private(&made, bytes, SIZE, &err));
    assert_memory_equal(made.bytes, bytes, SIZE);
    assert_int_equal(made.fd, -1);
    weights_memory_release(&made);
    assert_null(made.bytes);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(f, check_nothing_is_held)
    const struct CMUnitTest tests[] = {
        TEST(shared_memory_is_mapped_by_another_process),
        TEST(shared_memory_can_be_changed_by_nobody),
        TEST(a_mapping_outlives_what_it_was_made_from),
        TEST(memory_of_another_size_or_with_other_bytes_is_refused),
        TEST(what_is_not_there_is_refused),
        TEST(what_is_no_sealed_memory_is_refused),
        TEST(memory_of_another_user_is_refused),
        TEST(no_room_is_an_error_and_leaves_nothing),
        TEST(private_memory_is_a_copy_that_nobody_can_map),
    };
    return cmocka_run_group_tests_name("node/weights_memory", tests, group_setup,
                                       group_teardown);
}
