/*-------------------------------------------------------------------------
 *
 * retry.h
 *	  When a rotation that went wrong is tried again.
 *
 * Not to be confused with the retries of one call to AWS (aws_error.h), which
 * take seconds: this is about whole runs, over minutes and days.
 *
 * Pure C11.  A failed run is judged by its SQLSTATE, the one thing that every
 * error has, whether it came from Secrets Manager, from a login or from this
 * server.
 *
 * src/core/retry.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_RETRY_H
#define ROTATE_EXT_RETRY_H

typedef enum RetryClass
{
	RETRY_NEVER,     /* nothing will change by itself: a wrong secret, a denied action, a refused password */
	RETRY_SOON,      /* it passes: networks, timeouts, 5xx, a server that shuts down */
	RETRY_FEW,       /* it may pass, and may not: an internal error; RETRY_FEW_ATTEMPTS in all */
	RETRY_THROTTLED, /* too many requests, or no worker slot */
	RETRY_QUOTA      /* AWS's LimitExceededException: not before 10 minutes */
} RetryClass;

#define RETRY_FEW_ATTEMPTS 5

/* No pause is longer: two hours. */
#define RETRY_LONGEST_MS 7200000L

/* sqlstate: five characters. */
extern RetryClass retry_class(const char *sqlstate);

/*
 * Milliseconds from the end of attempt n (from 1) to the next one, or -1:
 * there is none.  random in [0,1).
 *
 * Doubles with each attempt, from 2 s (throttled: 20 s; quota: 20 minutes) to
 * 15 minutes (quota: 2 hours), of which a random half is taken away: secrets
 * that failed together must not come back together.
 */
extern long retry_delay_ms(RetryClass class, int attempt, double random);

#endif /* ROTATE_EXT_RETRY_H */
