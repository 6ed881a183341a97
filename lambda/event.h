/*-------------------------------------------------------------------------
 *
 * event.h
 *	  What the function itself has to know of an event: which step, and what
 *	  may be logged.
 *
 * The event is judged by rotate_event(); here only what must not reach the
 * server at all is refused: text that is not a JSON object.  The server would
 * quote it in its log, RotationToken and all.
 *
 * lambda/event.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_EVENT_H
#define ROTATE_LAMBDA_EVENT_H

#include <stdbool.h>
#include <stddef.h>

#include "failure.h"

typedef enum Step
{
	STEP_UNKNOWN,
	STEP_CREATE,
	STEP_SET,
	STEP_TEST,
	STEP_FINISH
} Step;

/* Printable ASCII, fit for a log; "" where the event has none. */
typedef struct EventFacts
{
	Step step;
	const char *step_name; /* "createSecret", whichever way it was spelled; NULL: unknown */
	char secret[201];
	char version[65]; /* ClientRequestToken, where it looks like one */
} EventFacts;

extern bool event_read(const char *text, size_t length, EventFacts *facts, Failure *failure);

#endif /* ROTATE_LAMBDA_EVENT_H */
