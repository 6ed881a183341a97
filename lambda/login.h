/*-------------------------------------------------------------------------
 *
 * login.h
 *	  The function's own login: a client certificate, or what one secret in
 *	  Secrets Manager holds.
 *
 * Fetched for every connection and kept no longer: the secret is itself
 * rotated.
 *
 * lambda/login.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_LOGIN_H
#define ROTATE_LAMBDA_LOGIN_H

#include <stdbool.h>

#include "core/secret_value.h"
#include "deadline.h"
#include "failure.h"
#include "settings.h"

typedef struct Login
{
	SecretValue value; /* empty with a client certificate */
	const char *user;
	const char *password; /* NULL: none */
	const char *dbname;
	const char *host; /* where PGHOST names none */
	char port[8];     /* where PGPORT names none */
} Login;

/* Free with login_free(), which wipes. */
extern bool login_get(const Settings *settings, Moment deadline, Login *login, Failure *failure);
extern void login_free(Login *login);

#endif /* ROTATE_LAMBDA_LOGIN_H */
