/*-------------------------------------------------------------------------
 *
 * subprocess.h
 *	  Runs a program and takes what it prints, from a PostgreSQL process.
 *
 * No shell is between: the program gets its words as they are.  It has a
 * process group of its own, which is killed when its time is over, when the
 * caller is interrupted, and when this process ends; of our file descriptors
 * it gets none.  Its standard input is empty; what it writes to its standard error
 * is thrown away, for that may quote what is secret.
 *
 * src/aws/subprocess.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_SUBPROCESS_H
#define ROTATE_EXT_SUBPROCESS_H

#include <stddef.h>

typedef enum SubprocessOutcome
{
	SUBPROCESS_EXITED,    /* status is its exit status */
	SUBPROCESS_SIGNALLED, /* status is the signal */
	SUBPROCESS_NOT_FOUND, /* not in PATH; or status is the errno of why it could not be run */
	SUBPROCESS_TIMED_OUT,
	SUBPROCESS_TOO_LARGE /* it prints more than there is room for */
} SubprocessOutcome;

/*
 * words: the program, by its path or to be found in PATH, and its arguments, ended
 * by NULL.  What it prints goes into output, *length bytes of up to size; on any
 * other outcome than SUBPROCESS_EXITED, and on an error, output is wiped.
 * Processes interrupts.  timeout: ms.
 */
extern SubprocessOutcome subprocess_run(char **words, int timeout, char *output, size_t size, size_t *length,
										int *status);

#endif /* ROTATE_EXT_SUBPROCESS_H */
