/*-------------------------------------------------------------------------
 *
 * deadline.h
 *	  Moments in milliseconds of the monotonic clock, and what is left.
 *
 * Lambda gives a deadline by the wall clock; it is turned into a moment of
 * this clock once (runtime.c), so that a corrected clock moves nothing.
 *
 * lambda/deadline.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_DEADLINE_H
#define ROTATE_LAMBDA_DEADLINE_H

#include <stdint.h>
#include <time.h>

typedef int64_t Moment;

static inline int64_t
clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline Moment
now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

/* 0 where the moment has passed. */
static inline int
ms_until(Moment moment)
{
	int64_t left = moment - now_ms();

	if (left < 0)
		return 0;
	return left > INT32_MAX ? INT32_MAX : (int) left;
}

static inline Moment
earlier(Moment a, Moment b)
{
	return a < b ? a : b;
}

#endif /* ROTATE_LAMBDA_DEADLINE_H */
