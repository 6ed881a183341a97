/*-------------------------------------------------------------------------
 *
 * login_connect.h
 *	  One connection to one address over libpq, interruptible.
 *
 * A part of login.h's module.
 *
 * src/db/login_connect.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_LOGIN_CONNECT_H
#define ROTATE_EXT_LOGIN_CONNECT_H

#include "datatype/timestamp.h"
#include "libpq-fe.h"

#include "db/login.h"
#include "db/login_address.h"
#include "db/login_filter.h"

/* What is demanded of the way to an address: see login.h. */
typedef struct LoginPolicy
{
	const char *sslmode; /* libpq's: "verify-full", "prefer", "disable" */
	LoginMethod method;  /* by require_auth; if libpq lacks that by a filter, and sslmode is "disable" */
} LoginPolicy;

typedef struct LoginConnection
{
	PGconn *conn;
	LoginFilter *filter; /* or NULL */
	int fds;             /* accounted with AcquireExternalFD() */
	TimestampTz deadline;
} LoginConnection;

/* Does this libpq, the one at run time, know require_auth? */
extern bool login_knows_require_auth(void);

/*
 * Connect and log in.  *connection must be zeroed but for its deadline, and
 * is to be closed with login_disconnect() in any case, after an error that
 * is raised from here too (an interrupt).  False: *result says why.
 */
extern bool login_connect(LoginConnection *connection, const LoginTarget *target, const LoginAddress *address,
						  const LoginPolicy *policy, const char *application_name, LoginResult *result);

/* Run one statement.  Its result, to be cleared, or NULL: *result says why. */
extern PGresult *login_query(LoginConnection *connection, const LoginTarget *target, const char *query,
							 LoginResult *result);

extern void login_disconnect(LoginConnection *connection);

/* Set result's message: printable, on one line, and not where the password is in it. */
extern void login_set_message(LoginResult *result, const LoginTarget *target, const char *message);

#endif /* ROTATE_EXT_LOGIN_CONNECT_H */
