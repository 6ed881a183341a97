/*-------------------------------------------------------------------------
 *
 * recovery.c
 *	  Which registered secrets are to be looked at, and when.
 *
 * Only the rows of runs say so; whether there is anything to be done is found
 * out by the rotation worker that looks.
 *
 * src/recovery.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/retry.h"
#include "db/store.h"
#include "identity.h"
#include "recovery.h"
#include "turn.h"

/* A secret that is being rotated is asked about again after so long: its worker says when it ends, a caller does not. */
#define BUSY_MS 2000

/*
 * When is the secret to be looked at?  0: not at all.
 *
 * A run that was interrupted is followed up at once.  Where that was
 * interrupted too, the pause grows: what takes the server down must not do so
 * again and again.  What is due since some time ago says since when, so that
 * secrets whose looks fail all the time come after those not looked at yet.
 *
 * A run that seems to be still to come is of before the clock was set back, or
 * of an old primary whose clock is ahead: its times say nothing here.  Nor does a
 * time of the next attempt that is further off than any pause.
 */
static TimestampTz
find_due_time(const LastRun *run, bool busy, TimestampTz since, int64 since_run, TimestampTz now)
{
	if (busy)
		return TimestampTzPlusMilliseconds(now, BUSY_MS);
	if (run->started_at > now || run->looked_at > now)
		return since;
	if (run->run_id != 0 && run->unfinished)
	{
		int attempt = Min(run->attempt, run->interruptions + 1);

		return attempt <= 1
				   ? run->started_at
				   : TimestampTzPlusMilliseconds(run->started_at, retry_delay_ms(RETRY_SOON, attempt, 0));
	}
	if (run->looked_run_id <= since_run || run->retry_at > TimestampTzPlusMilliseconds(now, RETRY_LONGEST_MS))
		return since;
	return run->retry_at;
}

static int
compare_due_times(const ListCell *a, const ListCell *b)
{
	const DueSecret *left = lfirst(a);
	const DueSecret *right = lfirst(b);

	return timestamptz_cmp_internal(left->due_at, right->due_at);
}

static void
list_due(const RotationOrder *order, RotationResult *result)
{
	int64 latest;
	List *runs = store_list_last_runs(identity_system(), &latest);
	TimestampTz now = GetCurrentTimestamp();
	ListCell *cell;

	/* the numbers begin anew with the extension, or where its history was truncated */
	result->since_run = order->since_run < 0 ? latest : Min(order->since_run, latest);
	foreach (cell, runs)
	{
		const LastRun *run = lfirst(cell);
		bool busy = turn_is_taken(run->role_oid);
		TimestampTz due_at;
		DueSecret *due;

		/* it may have ended between the look at its row and that at its turn; then it is no interrupted one */
		if (!busy && run->unfinished)
			busy = !store_run_is_unfinished(run->run_id);
		due_at = find_due_time(run, busy, order->since, result->since_run, now);
		if (due_at == 0)
			continue;
		due = palloc(sizeof(DueSecret));
		due->secret = run->secret;
		due->last_run_id = run->run_id;
		due->due_at = due_at;
		due->busy = busy;
		result->due = lappend(result->due, due);
	}
	list_sort(result->due, compare_due_times);
}

void
recovery_list_due(const RotationOrder *order, RotationResult *result)
{
	MemoryContext context = CurrentMemoryContext;
	const char *version;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);

	result->since_run = -1;

	/* an extension that was updated without a restart has tables that this library does not know */
	version = store_extension_version();
	if (version == NULL)
		result->outcome = RECOVERY_NO_EXTENSION;
	else if (strcmp(version, ROTATE_EXT_VERSION) != 0)
		result->outcome = RECOVERY_OTHER_VERSION;
	else
	{
		list_due(order, result);
		result->outcome = "listed";
	}

	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}
