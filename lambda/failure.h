/*-------------------------------------------------------------------------
 *
 * failure.h
 *	  Why an invocation failed, as Secrets Manager and a person are told.
 *
 * The text reaches CloudWatch and whoever may read the function's errors, so
 * it is built from what is meant for people: our own words, and messages of
 * the server, of libpq, of libcurl and of AWS.  Never from the event.
 *
 * lambda/failure.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_FAILURE_H
#define ROTATE_LAMBDA_FAILURE_H

#include <stddef.h>

#define FAILURE_TYPE_SIZE 64
#define FAILURE_MESSAGE_SIZE 2048

typedef struct Failure
{
	char type[FAILURE_TYPE_SIZE];       /* a SQLSTATE, or "Database.ConnectionFailed" */
	char message[FAILURE_MESSAGE_SIZE]; /* UTF-8, one line */
} Failure;

/* Sets both; the text goes through one_line(). */
extern void failure_set(Failure *failure, const char *type, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Copy what others wrote: control characters and runs of blanks become one
 * blank, blanks at the ends go, and what is cut is cut between characters.
 * Text that is not UTF-8 (a server that speaks another encoding before the
 * session's is set) keeps its ASCII, with '?' for the rest.
 */
extern void one_line(char *dst, size_t size, const char *src);

#endif /* ROTATE_LAMBDA_FAILURE_H */
