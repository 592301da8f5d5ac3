/*
 * wire_scene.h -- for tests with sockets: a context of its own, and a directory with the path of
 * a socket in it.
 */
#ifndef TESTS_UNIT_WIRE_SCENE_H
#define TESTS_UNIT_WIRE_SCENE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/wire_messages.h"
#include "wire/socket.h"

static struct wire_context *context;
static char dir[32], ipc[64];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/wire-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(ipc, sizeof ipc, "ipc://%s/s", dir);
    return wire_context_new(&context, NULL);
}

/* The end of every test.  One that fails does not come here: its sockets are still open. */
static void finish(void)
{
    wire_context_free(context);
}

static int teardown(void **state)
{
    (void)state;
    unlink(ipc + strlen("ipc://"));
    return rmdir(dir);
}

#endif
