/*-------------------------------------------------------------------------
 *
 * login_filter.h
 *	  Between libpq and a server: lets only some authentication requests
 *	  through.
 *
 * A part of login.h's module, for a libpq without require_auth (before 16),
 * which answers whatever a server asks for, with the password in clear if need
 * be.  To look at the socket first (MSG_PEEK) would not do: between the look
 * and libpq's read another request can arrive, and libpq answers all that it
 * has read.
 *
 * src/db/login_filter.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_LOGIN_FILTER_H
#define ROTATE_EXT_LOGIN_FILTER_H

/* How the server may ask for the password. */
typedef enum LoginMethod
{
	LOGIN_METHOD_ANY,
	LOGIN_METHOD_SCRAM,
	LOGIN_METHOD_MD5
} LoginMethod;

typedef struct LoginFilter LoginFilter;

/* File descriptors that a filter opens, for the caller's accounting. */
#define LOGIN_FILTER_FDS 2

/*
 * Put a filter into a connection without TLS whose startup packet was sent
 * and from which nothing was read yet: socket, libpq's, becomes the filter's,
 * and the filter takes the connection to the server over.  method must not be
 * LOGIN_METHOD_ANY.  NULL: the system refused (errno).
 */
extern LoginFilter *login_filter_install(int socket, LoginMethod method);

/* The socket to wait on for the server, instead of libpq's. */
extern int login_filter_socket(const LoginFilter *filter);

/* Hand on what libpq has written; call it after each of libpq's functions that write. */
extern void login_filter_to_server(LoginFilter *filter);

/* Judge and hand on what the server has sent; never waits. */
extern void login_filter_to_libpq(LoginFilter *filter);

/* What the server asked for and was not let through, or NULL.  Static. */
extern const char *login_filter_refused(const LoginFilter *filter);

/* After PQfinish(), so that the server gets its last message.  NULL is allowed. */
extern void login_filter_remove(LoginFilter *filter);

#endif /* ROTATE_EXT_LOGIN_FILTER_H */
