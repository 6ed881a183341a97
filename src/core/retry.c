/*-------------------------------------------------------------------------
 *
 * retry.c
 *	  When a rotation that went wrong is tried again.
 *
 * src/core/retry.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/retry.h"

#include <stddef.h>
#include <string.h>

#define SECOND 1000L
#define MINUTE (60 * SECOND)

static const struct
{
	long base;
	long cap;
} delays[] = {
	[RETRY_SOON] = {2 * SECOND, 15 * MINUTE},
	[RETRY_FEW] = {2 * SECOND, 15 * MINUTE},
	[RETRY_THROTTLED] = {20 * SECOND, 15 * MINUTE},
	[RETRY_QUOTA] = {20 * MINUTE, RETRY_LONGEST_MS},
};

/*
 * By SQLSTATE, or by its class (the first two characters): PostgreSQL's
 * Appendix A.  The first that fits counts; what is not here is final.
 */
static const struct
{
	const char *sqlstate;
	RetryClass class;
} classes[] = {
	{"53000", RETRY_THROTTLED}, /* insufficient_resources: throttled by AWS */
	{"53400", RETRY_QUOTA},     /* configuration_limit_exceeded: LimitExceededException */
	{"08", RETRY_SOON},         /* connection exceptions, the network's and the login's */
	{"28000", RETRY_SOON},      /* credentials expired, or not there yet; a login not let in */
	{"40", RETRY_SOON},         /* transaction rollback: someone else changed the same thing */
	{"53", RETRY_SOON},         /* disk full, out of memory, too many connections */
	{"55006", RETRY_SOON},      /* object_in_use: the service's rotation, a standby that is behind */
	{"55P03", RETRY_SOON},      /* lock_not_available */
	{"57P", RETRY_SOON},        /* shutdown, crash, cannot connect now */
	{"58", RETRY_SOON},         /* system errors, and AWS's own */
	{"XX", RETRY_FEW},
};

RetryClass
retry_class(const char *sqlstate)
{
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		if (strncmp(sqlstate, classes[i].sqlstate, strlen(classes[i].sqlstate)) == 0)
			return classes[i].class;
	}
	return RETRY_NEVER;
}

long
retry_delay_ms(RetryClass class, int attempt, double random)
{
	long delay;

	if (class == RETRY_NEVER || (class == RETRY_FEW && attempt >= RETRY_FEW_ATTEMPTS))
		return -1;
	delay = delays[class].base;
	for (int i = 1; i < attempt && delay < delays[class].cap; i++)
		delay *= 2;
	if (delay > delays[class].cap)
		delay = delays[class].cap;
	return delay - (long) (delay / 2 * random);
}
