/*-------------------------------------------------------------------------
 *
 * login.h
 *	  Prove a login by really logging in, where the applications do.
 *
 * A login is proved when the server asked for the password, accepted it, is
 * this very server (a nonce that the session carries as its application_name
 * is found in our own backend status array, with the expected role), is not
 * behind a pooler, and current_user is the expected role.  And it never hands
 * a password to a stranger: see login_prove().
 *
 * src/db/login.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_LOGIN_H
#define ROTATE_EXT_LOGIN_H

#include "compat.h"
#include "core/secret_value.h"

typedef enum LoginOutcome
{
	LOGIN_OK,
	LOGIN_PASSWORD_REJECTED,	/* 28P01: the password, or what PostgreSQL does not tell from it */
	LOGIN_TOO_MANY_CONNECTIONS, /* 53300: the role's or the server's limit */
	LOGIN_HBA_REJECTED,			/* 28000: no pg_hba.conf line, reject, NOLOGIN */
	LOGIN_NO_PASSWORD_ASKED,	/* trust, peer, cert: proves nothing */
	LOGIN_WOULD_EXPOSE,			/* not this machine's server and no verified TLS; nothing was sent */
	LOGIN_METHOD_REFUSED,		/* the server asked for the password in clear or as md5 */
	LOGIN_CANNOT_CONNECT,		/* name, connect, TLS, timeout, cut off */
	LOGIN_OTHER_SERVER,			/* logged in, but not at this server */
	LOGIN_POOLER,				/* a pooler stands in between */
	LOGIN_WRONG_USER,			/* current_user is not the expected role */
	LOGIN_OTHER_ERROR			/* any other error of the server: starting up, database missing */
} LoginOutcome;

typedef struct LoginTarget
{
	const char *host;			/* the secret's */
	int			port;
	const char *dbname;
	const char *user;
	const char *password;
	SecretSsl	ssl;
	const char *hostaddr;		/* registration's login_host (resolved here), or NULL */
	bool		allow_plaintext_login;	/* registration's */
	Oid			roleid;			/* who must be logged in */
	const char *current_user;	/* and whom current_user must name (the base role under alternating) */
} LoginTarget;

typedef struct LoginResult
{
	LoginOutcome outcome;
	char		sqlstate[6];	/* of the server's error, or "" */
	char		message[201];	/* printable ASCII, never the password */
	char		tls[16];		/* "verify-full", "unverified", "off" */
} LoginResult;

/*
 * Try the login.  Takes up to rotate_ext.login_timeout (ms).  No transaction
 * may be open.  Raises nothing for what a login can meet: *result says it.
 * Interrupts are processed.  At its connection limit (53300) it tries again
 * within the timeout.
 */
extern void login_prove(const LoginTarget *target, LoginResult *result);

/* "password authentication failed" and the like: for messages.  Static. */
extern const char *login_outcome_name(LoginOutcome outcome);

/*
 * Raise what came out, for any outcome but LOGIN_OK: errcode, "could not
 * prove the login of role \"%s\" with %s: …", detail and hint.
 */
pg_noreturn extern void login_ereport(const LoginTarget *target, const LoginResult *result, const char *label);

#endif							/* ROTATE_EXT_LOGIN_H */
