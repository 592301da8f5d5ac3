/*
 * clock.h -- the clocks.  Deadlines use the monotonic one; wall time is for people; processor
 * time says what something cost, however busy the machine is.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds / microseconds since an arbitrary start; never goes back. */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);

/* Processor time that the calling thread, or all of the process, has used, microseconds. */
uint64_t clock_thread_us(void);
uint64_t clock_process_us(void);

/* Milliseconds since 1970-01-01 UTC; may jump. */
int64_t clock_wall_ms(void);

#endif
