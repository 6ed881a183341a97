/*-------------------------------------------------------------------------
 *
 * expiration.h
 *	  When credentials expire: the text that AWS's services and credential
 *	  processes give for it.
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

#endif /* ROTATE_EXT_EXPIRATION_H */
