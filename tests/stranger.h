/*
 * stranger.h -- something else at the address of a peer: it speaks ZMTP and then nonsense,
 * whereupon libzmq calls there no more.
 */
#ifndef TESTS_STRANGER_H
#define TESTS_STRANGER_H

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/test.h"

#define STRANGER_WAIT_MS 20000 /* for the first call */

struct stranger {
    int listener;
    struct sockaddr_un at;
};

/* It is there, and has answered nobody yet. */
static inline void stranger_come(struct stranger *s, const char *endpoint)
{
    *s = (struct stranger){.at = {.sun_family = AF_UNIX},
                           .listener = socket(AF_UNIX, SOCK_STREAM, 0)};
    const char *path = endpoint + strlen("ipc://");
    assert_in_range(strlen(path), 1, sizeof s->at.sun_path - 1);
    memcpy(s->at.sun_path, path, strlen(path));
    assert_int_equal(bind(s->listener, (struct sockaddr *)&s->at, sizeof s->at), 0);
    assert_int_equal(listen(s->listener, 4), 0);
}

/* It answers until nobody calls for a second, and is gone. */
static inline void stranger_answer(struct stranger *s)
{
    static const char nonsense[64] = "\xff\0\0\0\0\0\0\0\1\x7f\3\0NONSENSE";
    struct pollfd caller = {.fd = s->listener, .events = POLLIN};
    int calls = 0;
    for (; poll(&caller, 1, calls > 0 ? 1000 : STRANGER_WAIT_MS) == 1; calls++) {
        const int fd = accept(s->listener, NULL, NULL);
        char greeting[64];
        (void)!send(fd, nonsense, sizeof nonsense, MSG_NOSIGNAL);
        while (recv(fd, greeting, sizeof greeting, 0) > 0)
            ;
        close(fd);
    }
    close(s->listener);
    unlink(s->at.sun_path);
    assert_true(calls > 0);
}

#endif
