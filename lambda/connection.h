/*-------------------------------------------------------------------------
 *
 * connection.h
 *	  libpq with deadlines: find the primary, run a statement.
 *
 * lambda/connection.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_CONNECTION_H
#define ROTATE_LAMBDA_CONNECTION_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "deadline.h"
#include "failure.h"
#include "login.h"
#include "settings.h"

typedef enum RunStatus
{
	RUN_DONE,   /* *result is set, be it an error of the server's */
	RUN_LATE,   /* no answer by the deadline */
	RUN_BROKEN, /* the connection is of no more use; PQerrorMessage() says why */
} RunStatus;

/*
 * The first of the hosts that takes the login and lets a session write.  Each
 * gets its share of the time.  NULL: *failure says what each of them answered.
 */
extern PGconn *connection_open(const Settings *settings, const Login *login, Moment deadline,
							   Failure *failure);

/* parameter: NULL for a statement without one.  After anything but RUN_DONE only PQfinish() is left. */
extern RunStatus connection_run(PGconn *conn, const char *sql, const char *parameter, Moment deadline,
								PGresult **result);

#endif /* ROTATE_LAMBDA_CONNECTION_H */
