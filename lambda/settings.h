/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  What the environment says, read and judged once, at the start.
 *
 * docs/lambda.md has the list for users.  A setting that can't be met ends
 * the process: nothing is quietly replaced by something weaker.
 *
 * lambda/settings.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_SETTINGS_H
#define ROTATE_LAMBDA_SETTINGS_H

#include <stdbool.h>

#include "core/endpoint.h"
#include "failure.h"

#define MAX_HOSTS 8

/* Strings live as long as the process; NULL: not set. */
typedef struct Settings
{
	const char *hosts[MAX_HOSTS]; /* of PGHOST, in order */
	const char *ports[MAX_HOSTS]; /* of PGPORT; NULL: the login's own, or 5432 */
	int nhosts;                   /* 0: the host of the login secret */
	const char *dbname;           /* PGDATABASE */
	const char *user;             /* PGUSER */
	const char *sslmode;          /* verify-full or verify-ca */
	const char *ca_file;
	const char *cert_file; /* NULL: none */
	const char *key_file;
	const char *crl_file;
	char *call; /* the one statement */

	/* where the login comes from; NULL: from a client certificate */
	const char *login_secret; /* an ARN */
	AwsEndpoint secrets_manager;
	char region[AWS_REGION_MAX + 1];
	const char *aws_ca_file;
	const char *access_key_id;
	const char *secret_access_key;
	const char *session_token;
} Settings;

extern bool settings_read(Settings *settings, Failure *failure);

#endif /* ROTATE_LAMBDA_SETTINGS_H */
