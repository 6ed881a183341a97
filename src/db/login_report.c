/*-------------------------------------------------------------------------
 *
 * login_report.c
 *	  What to tell a person about a login that was not proved.
 *
 * src/db/login_report.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/aws_error.h"
#include "db/login.h"

typedef struct LoginReport
{
	const char *name;
	int sqlstate;
	const char *detail; /* where the result has no message */
	const char *hint;
} LoginReport;

static const LoginReport reports[] = {
	[LOGIN_OK] = {"proved", 0, NULL, NULL},
	[LOGIN_PASSWORD_REJECTED] =
		{"the password was rejected", ERRCODE_INVALID_PASSWORD, NULL,
		 "The server's log has the reason. If the password is right, look at the role's VALID UNTIL, and at "
		 "password_encryption: a verifier of md5 can't answer a pg_hba.conf line that demands "
		 "scram-sha-256."},
	[LOGIN_TOO_MANY_CONNECTIONS] = {"there are too many connections", ERRCODE_TOO_MANY_CONNECTIONS, NULL,
									"A proof needs one connection: raise the role's CONNECTION LIMIT, the "
									"database's, or max_connections."},
	[LOGIN_HBA_REJECTED] =
		{"the server refused the role", ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, NULL,
		 "The role needs LOGIN, and pg_hba.conf a line for this role, database and address with the method "
		 "scram-sha-256."},
	[LOGIN_NO_PASSWORD_ASKED] = {"no password was asked for", ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
								 "The server let the role in by trust, peer, a certificate or the like, so "
								 "its password is not proved.",
								 "Give pg_hba.conf a line for this role, database and address with the "
								 "method scram-sha-256, above the one "
								 "that matches now."},
	[LOGIN_WOULD_EXPOSE] =
		{"the password could reach a stranger", ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, NULL,
		 "Set \"ssl\" to true in the secret and rotate_ext.login_ca_file to the CA of the server's "
		 "certificate, let "
		 "the login go to this server's own address, or register the secret with allow_plaintext_login."},
	[LOGIN_METHOD_REFUSED] =
		{"the server asked for the password in a way that would hand it over",
		 ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, NULL,
		 "Make sure that host and port lead to this server. Where they do, pg_hba.conf needs the method "
		 "scram-sha-256, or the login verified TLS (\"ssl\": true in the secret, rotate_ext.login_ca_file)."},
	[LOGIN_CANNOT_CONNECT] = {"no connection came about", ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
							  NULL,
							  "Look at host, port and ssl in the secret, at listen_addresses, firewalls, and "
							  "with \"ssl\": true at the "
							  "server's certificate and rotate_ext.login_ca_file."},
	[LOGIN_OTHER_SERVER] =
		{"it reached another server", ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
		 "The login was accepted, but the session is not one of this server's.",
		 "Correct host and port in the secret. A copy of a database must have secrets of its own."},
	[LOGIN_POOLER] = {"a connection pooler stands in between", ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  "The login proves the pooler's list of passwords, not the server's.",
					  "Register the secret with login_host, so that the login goes to the server itself."},
	[LOGIN_WRONG_USER] = {"the session runs as another role", ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, NULL,
						  "Look at the role's settings (ALTER ROLE ... SET role) and at its membership."},
	[LOGIN_OTHER_ERROR] = {"the server reported an error", ERRCODE_CONNECTION_FAILURE, NULL, NULL},
};

const char *
login_outcome_name(LoginOutcome outcome)
{
	return reports[outcome].name;
}

/*
 * The server's own SQLSTATE, if it is one of an error.  But that the session's
 * statement was cancelled, by a statement_timeout of the role's, is no cancel of
 * the run, and may pass.
 */
static int
errcode_of_server(const char *sqlstate, int otherwise)
{
	if (strspn(sqlstate, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 || sqlstate[5] != '\0' ||
		strncmp(sqlstate, "00", 2) == 0 || strncmp(sqlstate, "01", 2) == 0 ||
		strncmp(sqlstate, "02", 2) == 0 || strcmp(sqlstate, "57014") == 0)
		return otherwise;
	return MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
}

void
login_ereport(const LoginTarget *target, const LoginResult *result, const char *label)
{
	const LoginReport *report = &reports[result->outcome];
	int sqlstate = report->sqlstate;
	const char *reason = result->message;
	char host[LOGIN_MESSAGE_MAX + 1];

	if (result->outcome == LOGIN_OTHER_ERROR)
		sqlstate = errcode_of_server(result->sqlstate, sqlstate);
	if (reason[0] == '\0')
		reason = report->detail;
	aws_printable(host, sizeof(host), target->host, strlen(target->host));

	ereport(ERROR, (errcode(sqlstate),
					errmsg("could not prove the login of role \"%s\" with %s: %s", target->user, label,
						   report->name),
					reason != NULL ? errdetail("At host \"%s\", port %d: %s", host, target->port, reason)
								   : errdetail("At host \"%s\", port %d.", host, target->port),
					report->hint != NULL ? errhint("%s", report->hint) : 0));
	pg_unreachable();
}
