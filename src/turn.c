/*-------------------------------------------------------------------------
 *
 * turn.c
 *	  One rotation at a time for a role, in the whole cluster.
 *
 * Not LockSharedObjectForSession: it is lost at any abort and stays behind at
 * exit.  User locks are kept across aborts and released by ShutdownPostgres()
 * (src/backend/utils/init/postinit.c).
 *
 * src/turn.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"

#include "turn.h"

/* Second key of our advisory locks: "rotE" */
#define TURN_LOCK_CLASS 0x726f7445

static void
turn_tag(LOCKTAG *tag, TurnKind kind, Oid roleid)
{
	SET_LOCKTAG_ADVISORY(*tag, InvalidOid, TURN_LOCK_CLASS, roleid, kind);
}

void
turn_take(TurnKind kind, Oid roleid, bool session, int timeout_ms, const char *secret)
{
	LOCKTAG tag;
	MemoryContext context = CurrentMemoryContext;
	int guc_level;
	char value[32];

	turn_tag(&tag, kind, roleid);
	if (LockAcquire(&tag, ExclusiveLock, session, true) != LOCKACQUIRE_NOT_AVAIL)
		return;

	/* a real wait, in the lock's queue; 0 would mean no limit to lock_timeout */
	snprintf(value, sizeof(value), "%d", Max(timeout_ms, 1));
	guc_level = NewGUCNestLevel();
	(void) set_config_option("lock_timeout", value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);

	PG_TRY();
	{
		(void) LockAcquire(&tag, ExclusiveLock, session, false);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("could not begin: another rotation of secret \"%s\" is under way", secret),
						errdetail("It did not end within %d ms (rotate_ext.start_timeout).", timeout_ms),
						errhint("Look at rotate_history for its outcome and try again.")));
	}
	PG_END_TRY();

	AtEOXact_GUC(false, guc_level);
}

void
turn_release(TurnKind kind, Oid roleid, bool session)
{
	LOCKTAG tag;

	turn_tag(&tag, kind, roleid);
	(void) LockRelease(&tag, ExclusiveLock, session);
}

bool
turn_is_taken(Oid roleid)
{
	LOCKTAG tag;

	/*
	 * By trying.  GetLockConflicts() would leave out a worker that is between
	 * two transactions, as it is whenever it talks to Secrets Manager.
	 */
	turn_tag(&tag, TURN_ROTATION, roleid);
	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, ShareLock, false);
	return false;
}
