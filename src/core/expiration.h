/*-------------------------------------------------------------------------
 *
 * expiration.h
 *	  When credentials expire: the text that AWS's services and credential
 *	  processes give for it, and when to look for others.
 *
 * Pure C11.
 *
 * src/core/expiration.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_EXPIRATION_H
#define ROTATE_EXT_EXPIRATION_H

#include <stdbool.h>
#include <time.h>

/*
 * ISO 8601: "2026-11-22T05:20:54Z", with a fraction of a second (which is cut
 * off), with an offset ("+01:00", "-0330", "+01") in place of the Z.  Without
 * either it is UTC.  A blank may stand for the T.  False: it is none of these.
 */
extern bool expiration_parse(const char *text, time_t *expires);

/*
 * When to renew credentials that were loaded, or could not be renewed, now: 15
 * minutes before they expire.  Later than that a minute from now, and from 10 minutes
 * before they expire 10 seconds from now, or when they expire.  Expired ones, which a metadata service still
 * hands out, 5 to 10 minutes from now, so that not all machines ask at once.  random in
 * [0,1).  expires 0, never: 0.
 */
extern time_t expiration_plan_renewal(time_t now, time_t expires, double random);

#endif /* ROTATE_EXT_EXPIRATION_H */
