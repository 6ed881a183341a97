/*-------------------------------------------------------------------------
 *
 * runtime.h
 *	  The Lambda runtime API: the next invocation, and its answer or error.
 *
 * lambda/runtime.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_RUNTIME_H
#define ROTATE_LAMBDA_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>

#include "deadline.h"
#include "failure.h"

#define REQUEST_ID_SIZE 128
#define TRACE_ID_SIZE 512

typedef struct Invocation
{
	char request_id[REQUEST_ID_SIZE];
	Moment deadline; /* Lambda ends the process then */
	char *event;     /* NUL-terminated; NULL where it was empty */
	size_t event_length;
	bool event_too_large;
} Invocation;

typedef enum RuntimeStatus
{
	RUNTIME_OK,
	RUNTIME_TOO_LARGE, /* the answer was refused for its size: send an error instead */
	RUNTIME_REFUSED,   /* this answer was not taken; most likely it came too late */
	RUNTIME_GONE       /* the process must end: that is the contract on a 5xx */
} RuntimeStatus;

/*
 * Once.  False: there is no runtime API in the environment.
 */
extern bool runtime_init(Failure *failure);

/*
 * Wait for the next invocation, however long: the process is frozen meanwhile.
 * Sets _X_AMZN_TRACE_ID.  RUNTIME_OK, or RUNTIME_GONE with *failure.
 */
extern RuntimeStatus runtime_next(Invocation *invocation, Failure *failure);

/* Both give up before the invocation's deadline, with *failure set on anything but RUNTIME_OK. */
extern RuntimeStatus runtime_respond(const Invocation *invocation, const char *body, Failure *failure);
extern RuntimeStatus runtime_fail(const Invocation *invocation, const Failure *what, Failure *failure);

/* The process can't serve and is about to end.  False: nobody took it. */
extern bool runtime_init_error(const Failure *what, Failure *failure);

extern void invocation_done(Invocation *invocation);

#endif /* ROTATE_LAMBDA_RUNTIME_H */
