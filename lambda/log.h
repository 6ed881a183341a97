/*-------------------------------------------------------------------------
 *
 * log.h
 *	  One line of JSON for each invocation, on standard output.
 *
 * What is logged is what has a member here, and nothing else is.
 *
 * lambda/log.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_LOG_H
#define ROTATE_LAMBDA_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* NULL and "" are left out. */
typedef struct LogLine
{
	const char *outcome; /* "ok", "error", or "unanswered": the runtime API did not take the answer */
	const char *request_id;
	const char *trace_id;
	const char *step;
	const char *secret;
	const char *version;
	const char *result; /* "outcome" of rotate_event's answer */
	const char *host;
	bool kept; /* the connection of the step before was used */
	bool reconnected;
	int connect_ms;
	int64_t duration_ms; /* -1: left out */
	const char *error_type;
	const char *error;
	const char *warning;
} LogLine;

extern void log_line(const LogLine *line);

#endif /* ROTATE_LAMBDA_LOG_H */
