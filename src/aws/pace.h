/*-------------------------------------------------------------------------
 *
 * pace.h
 *	  The rotations of a server send no more writes than AWS takes.
 *
 * Secrets Manager takes 50 writes a second in a region, of all its clients
 * together.  Time is cut into slots, each for two writes, and a write takes a
 * place in a slot: an advisory lock with database 0, which no SQL function can
 * take, on the region and the slot's number.  So nothing is needed in shared
 * memory, nobody waits for a lock, and a process that dies gives its places back.
 *
 * A PutSecretValue begins what a label move ends, and between the two the role
 * may be locked out: so one of the two places is for moves only.
 *
 * In a second there are at most rotate_ext.writes_per_second and two more, since
 * it need not begin where a slot does.
 *
 * src/aws/pace.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_PACE_H
#define ROTATE_EXT_PACE_H

/*
 * Take a place for a write; returns when to send it, by http_clock_ms(): now,
 * where nobody is in the way.  move: it is no PutSecretValue.
 */
extern int64 pace_reserve(const char *region, bool move);

/*
 * A place is given up when the process ends, and somebody else would take it
 * at once: so wait until its slot is over.  Processes interrupts.
 */
extern void pace_linger(void);

#endif /* ROTATE_EXT_PACE_H */
