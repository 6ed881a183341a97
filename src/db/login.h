/*-------------------------------------------------------------------------
 *
 * login.h
 *	  Prove a login by really logging in, where the applications do.
 *
 * A login is proved when the server asked for the password, accepted it, is
 * this very server (a nonce that the session carries as its application_name
 * is found in our own backend status array, with the expected role), is not
 * behind a pooler, and current_user is the expected role.
 *
 * And it never hands a password to a stranger.  What is demanded of the way
 * there depends on where the secret's host leads, judged for every address
 * that it has before anything is sent to one:
 *
 * (a) This server's own listener: an address of this machine, our port, and
 *	   listen_addresses covers it; or one of our Unix-domain sockets, served by
 *	   our own operating system user.  TLS per the secret's ssl key (true:
 *	   verify-full, false: off, absent: where the server has it), any method
 *	   of asking for the password.
 *
 * (b) Anywhere else, with a libpq that knows require_auth (16 and later): TLS
 *	   as in (a), and where that is not verify-full, only SCRAM, in which the
 *	   password is not sent.  Where the role's verifier is md5's there is no
 *	   such method: verify-full.
 *
 *	   With an older libpq: verify-full.
 *
 * (c) Anywhere else, with the registration's allow_plaintext_login: as (b)
 *	   with require_auth, whatever the libpq, and for an md5 verifier, md5.
 *	   An older libpq can't be told to refuse a method.  It is given a filter
 *	   between it and the socket, which can see that only without TLS, so
 *	   there an absent ssl key means off.
 *
 * A password in clear over a connection that is not verified is thus sent to
 * nobody but (a).  Local users who could listen on our port while we do not
 * are not strangers here: they would need to beat the server at its start.
 *
 * login_*.c is one module: this header is all that others use.
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
	LOGIN_PASSWORD_REJECTED,    /* 28P01: the password, or what PostgreSQL does not tell from it */
	LOGIN_TOO_MANY_CONNECTIONS, /* 53300: the role's or the server's limit */
	LOGIN_HBA_REJECTED,         /* 28000: no pg_hba.conf line, reject, NOLOGIN */
	LOGIN_NO_PASSWORD_ASKED,    /* trust, peer, cert: proves nothing */
	LOGIN_WOULD_EXPOSE,         /* not this server's listener and no verified TLS; nothing was sent */
	LOGIN_METHOD_REFUSED,       /* the server asked for the password in a way that would hand it over */
	LOGIN_CANNOT_CONNECT,       /* name, connect, TLS, timeout, cut off */
	LOGIN_OTHER_SERVER,         /* logged in, but not at this server */
	LOGIN_POOLER,               /* a pooler stands in between */
	LOGIN_WRONG_USER,           /* current_user is not the expected role */
	LOGIN_OTHER_ERROR           /* any other error of the server: starting up, database missing */
} LoginOutcome;

#define LOGIN_MESSAGE_MAX 200

typedef struct LoginTarget
{
	const char *host; /* the secret's */
	int port;
	const char *dbname;
	const char *user;
	const char *password;
	SecretSsl ssl;
	const char *hostaddr;       /* registration's login_host (resolved here), or NULL */
	bool allow_plaintext_login; /* registration's */
	bool md5_verifier;          /* the role's verifier is md5's (RoleState.is_md5) */
	Oid roleid;                 /* who must be logged in */
	const char *current_user;   /* and whom current_user must name (the base role under alternating) */
} LoginTarget;

typedef struct LoginResult
{
	LoginOutcome outcome;
	char sqlstate[6];                    /* of the server's error, or "" */
	char message[LOGIN_MESSAGE_MAX + 1]; /* the reason; printable ASCII, never the password; may be "" */
	char tls[16]; /* "verify-full", "unverified", "off"; "" where no connection came about */
} LoginResult;

/*
 * Try the login.  Takes up to rotate_ext.login_timeout (ms), plus what the
 * system's resolver takes for a host's name, which can't be interrupted.  No
 * transaction may be open.  Raises nothing for what a login can meet: *result
 * says it.  Interrupts are processed.  At its connection limit (53300) it
 * tries again within the timeout.
 *
 * Removes libpq's environment variables (PGSSLMODE, PGSERVICE, PGOPTIONS, ...)
 * from this process, for good: so only call it in a process of one's own.
 */
extern void login_prove(const LoginTarget *target, LoginResult *result);

/* "password rejected" and the like: for messages.  Static. */
extern const char *login_outcome_name(LoginOutcome outcome);

/*
 * Raise what came out, for any outcome but LOGIN_OK: "could not prove the
 * login of role \"%s\" with %s: …", detail and hint; target->password is not
 * used.  The errcode: 28P01 rejected, 53300 too many connections, 28000 by
 * pg_hba.conf or by a method that was refused, 08001 no connection, the
 * server's own for other errors, 55000 where the configuration lets the login
 * prove nothing.
 */
pg_noreturn extern void login_ereport(const LoginTarget *target, const LoginResult *result,
									  const char *label);

#endif /* ROTATE_EXT_LOGIN_H */
