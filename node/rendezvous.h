/*
 * rendezvous.h -- where the coordinator listens, told by a file that every machine sees.
 *
 *     job 4711.0
 *     control tcp://10.0.0.1:40217
 *
 * For machines and ports that are not known before a run starts: a batch system's.  The
 * coordinator writes the file once it listens; workers read it before each session, so that a
 * coordinator that comes back elsewhere is found.  `job` is any text without blanks that no other
 * start of the run has, such as the number of the batch job and how often it was started: a file
 * of another job says where somebody listened once, and is as good as none.
 *
 * All calls block on the disk.
 */
#ifndef NODE_RENDEZVOUS_H
#define NODE_RENDEZVOUS_H

#include "base/err.h"
#include "wire/socket.h"

#define RENDEZVOUS_JOB_MAX 64 /* bytes, with the NUL */

/* ERR_USAGE where it is empty, too long, or has blanks or control characters. */
enum err_code rendezvous_job_check(const char *job, struct err *err);

/* Replace the file at `path` in one step.  Mode 0600: who may write it says where workers
 * connect to.  Errors of file_write. */
enum err_code rendezvous_write(const char *path, const char *job, const char *control,
                               struct err *err);

/* The endpoint into `control`.  ERR_UNAVAILABLE where there is no such file, or one of another
 * job; ERR_STATE where it is another user's, or others may write it; ERR_FORMAT where it is
 * none; ERR_IO. */
enum err_code rendezvous_read(const char *path, const char *job,
                              char control[WIRE_ENDPOINT_MAX], struct err *err);

/* Remove it, where it is of this job. */
void rendezvous_remove(const char *path, const char *job);

#endif
