/*-------------------------------------------------------------------------
 *
 * turn.h
 *	  One rotation at a time for a role, in the whole cluster.
 *
 * A turn is an advisory lock with database 0, which no SQL function can take
 * or release.  DDL on the role is not blocked by it.  There are two:
 *
 * TURN_ROTATION is held by the worker that rotates, at session level: until the run is over, or it exits.
 * TURN_QUEUE is held by the one caller that may start the next worker, so that the others
 * wait in their own backends, in order, and not in worker slots.
 *
 * src/turn.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_TURN_H
#define ROTATE_EXT_TURN_H

typedef enum TurnKind
{
	TURN_ROTATION = 3,
	TURN_QUEUE = 4
} TurnKind;

/*
 * Take the role's turn, waiting up to timeout_ms.  session: held until
 * turn_release() or exit, else until turn_release() or the end of the
 * transaction.  Needs a transaction.  Raises ERRCODE_LOCK_NOT_AVAILABLE,
 * naming the secret, when the time is over.
 */
extern void turn_take(TurnKind kind, Oid roleid, bool session, int timeout_ms, const char *secret);
extern void turn_release(TurnKind kind, Oid roleid, bool session);

/* Does any process hold the role's TURN_ROTATION? */
extern bool turn_is_taken(Oid roleid);

#endif /* ROTATE_EXT_TURN_H */
