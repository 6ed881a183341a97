/*-------------------------------------------------------------------------
 *
 * no_proxy.h
 *	  Which hosts a proxy is not asked for: the variable NO_PROXY.
 *
 * There is no standard for it.  What is understood here is what curl, Python
 * and Go have in common, and networks.  Our own, since what libcurl understands
 * differs from version to version.
 *
 * Pure C11.
 *
 * src/core/no_proxy.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_NO_PROXY_H
#define ROTATE_EXT_NO_PROXY_H

#include <stdbool.h>

/*
 * Is the host, in lower case, in the list?  Its entries are separated by commas
 * and blanks, in any case:
 *
 *	*				every host
 *	example.com		that host and all below it; ".example.com" and "*.example.com" mean the same
 *	10.0.0.1		that address
 *	10.0.0.0/8		a network of addresses; for hosts given as an address only
 *
 * each but a network with ":port" at its end where only that port is meant;
 * "[::1]:443" for an IPv6 address.
 */
extern bool no_proxy_matches(const char *list, const char *host, int port);

#endif /* ROTATE_EXT_NO_PROXY_H */
