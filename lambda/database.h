/*-------------------------------------------------------------------------
 *
 * database.h
 *	  The connection to the primary, and the one call: rotate_event().
 *
 * One connection at most.  It is kept between the steps of a rotation, while
 * the process is frozen, so it may be dead when the next step comes: it is
 * tried out before the call is sent, and made anew where that fails.  A call
 * that may have been sent is never sent again.
 *
 * lambda/database.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_DATABASE_H
#define ROTATE_LAMBDA_DATABASE_H

#include <stdbool.h>

#include "deadline.h"
#include "failure.h"
#include "settings.h"

/* What is worth a log line about one call. */
typedef struct CallFacts
{
	char host[256];    /* that the call went to */
	bool reconnected;  /* a kept connection had died */
	bool kept;         /* a kept connection was used */
	int connect_ms;    /* 0 where kept */
	char warning[512]; /* the server's first WARNING */
} CallFacts;

/*
 * Send the event, as it came, and wait for the answer: *answer is the jsonb's
 * text, by malloc.  It is over by the deadline, with an error if need be.
 * False: *failure is set, with the SQLSTATE as its type where the server
 * raised an error.
 */
extern bool database_call(const Settings *settings, const char *event, Moment deadline, char **answer,
						  CallFacts *facts, Failure *failure);

/* Close the connection, where there is one. */
extern void database_close(void);

#endif /* ROTATE_LAMBDA_DATABASE_H */
