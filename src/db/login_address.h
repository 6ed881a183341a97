/*-------------------------------------------------------------------------
 *
 * login_address.h
 *	  Where a host leads, and whether that is this server's own listener.
 *
 * A part of login.h's module.  A name is resolved once, here; libpq gets the
 * addresses, so what was judged is what is connected to.
 *
 * src/db/login_address.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_LOGIN_ADDRESS_H
#define ROTATE_EXT_LOGIN_ADDRESS_H

#include <netdb.h>

/* More than any sane name has; the rest is left out. */
#define LOGIN_MAX_ADDRESSES 16

typedef struct LoginAddress
{
	char text[NI_MAXHOST]; /* numeric, or the socket's directory */
	bool is_socket;        /* a Unix-domain socket */
	bool own_machine;      /* an IP address of this machine */
	bool own_listener;     /* this postmaster listens there */
} LoginAddress;

/*
 * The addresses of a name, a numeric address, or a socket directory ('/' or
 * '@' first), in the resolver's order; of a name that leads to our listener,
 * without other addresses of this machine.  Returns how many; 0: none, and *why
 * says so (static, or the resolver's text).  Raises out of memory only.
 */
extern int login_resolve(const char *host, int port, LoginAddress *addresses, const char **why);

#endif /* ROTATE_EXT_LOGIN_ADDRESS_H */
