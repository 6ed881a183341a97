/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The launcher's process.
 *
 * One round: take in what has ended, have the tables read where they may have
 * changed, start what is due, sleep until the next due time or the latch.  There
 * is no polling tick.  What is in the tables is never read by this process, so no
 * row in them can bring it down.
 *
 * src/launcher.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "core/retry.h"
#include "guc.h"
#include "launcher.h"
#include "recovery.h"
#include "worker.h"

/* After so long a worker slot is asked for again: nobody announces a free one. */
#define SLOT_RETRY_MS 100

/* Woken, it does not wait for longer to read what it could not read. */
#define WOKEN_RETRY_MS 2000

/* A secret that is due at some time. */
typedef struct PlannedRun
{
	DueSecret due;
	int starts;             /* of workers that left no newer run behind */
	TimestampTz not_before; /* because of them */
} PlannedRun;

/* A worker that was started from here. */
typedef struct Child
{
	MemoryContext context; /* holds all of this */
	WorkerCall *call;
	char *secret; /* NULL: it lists what is due */
} Child;

typedef struct Launcher
{
	TimestampTz since; /* what has had no look since is due, */
	int64 since_run;   /* that is, after this run; -1: not known yet.  The clock can't be trusted with that */
	TimestampTz clock; /* in the round before */
	Oid database;      /* InvalidOid: it does not exist */
	LauncherState state;
	MemoryContext round; /* reset each round */

	bool must_list; /* the tables may have changed */
	int list_failures;
	TimestampTz list_not_before;
	Child *lister;        /* under way, or NULL */
	MemoryContext plan;   /* holds planned */
	List *planned;        /* of PlannedRun; out of date while must_list or lister */
	List *children;       /* of Child */
	TimestampTz slots_at; /* when a worker slot may be asked for again */
} Launcher;

static Child *
start_child(RotationOrder *order, Oid database)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "rotate_ext launcher's worker", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Child *child = palloc0(sizeof(Child));

	child->context = context;
	child->call = worker_begin(order, database);
	if (child->call == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		return NULL;
	}
	if (order->operation != OPERATION_LIST_DUE)
		child->secret = pstrdup(order->secret);
	MemoryContextSwitchTo(old);
	return child;
}

static void
end_child(Child *child)
{
	worker_end(child->call);
	MemoryContextDelete(child->context);
}

static void
set_state(Launcher *launcher, LauncherState state)
{
	if (state == LAUNCHER_OTHER_VERSION && launcher->state != state)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the launcher of rotate_ext is idle: the extension in database \"%s\" is not of "
						"version %s, which this server has loaded",
						rotate_database, ROTATE_EXT_VERSION),
				 errhint("Restart the server to load the installed version; then run ALTER EXTENSION "
						 "rotate_ext UPDATE.")));
	launcher->state = state;
	launcher_set_state(state, launcher->database);
}

/*
 * rotate_ext.database may be dropped, created and renamed at any time.
 *
 * Not get_database_oid(): it insists on the index, which a process without a
 * database can't open before another one has written the shared relcache file.
 */
static void
find_database(Launcher *launcher)
{
	Relation relation;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;

	StartTransactionCommand();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_database_datname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(rotate_database));
	scan = systable_beginscan(relation, DatabaseNameIndexId, criticalSharedRelcachesBuilt, NULL, 1, &key);
	tuple = systable_getnext(scan);
	launcher->database = HeapTupleIsValid(tuple) ? ((Form_pg_database) GETSTRUCT(tuple))->oid : InvalidOid;
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(launcher->round);
}

static PlannedRun *
find_planned(List *planned, const DueSecret *due)
{
	ListCell *cell;

	foreach (cell, planned)
	{
		PlannedRun *run = lfirst(cell);

		if (run->due.last_run_id == due->last_run_id && strcmp(run->due.secret, due->secret) == 0)
			return run;
	}
	return NULL;
}

/* The list is here. */
static void
adopt_list(Launcher *launcher, const RotationResult *result)
{
	MemoryContext plan =
		AllocSetContextCreate(TopMemoryContext, "rotate_ext launcher's plan", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(plan);
	List *planned = NIL;
	ListCell *cell;

	foreach (cell, result->due)
	{
		const DueSecret *due = lfirst(cell);
		const PlannedRun *before = find_planned(launcher->planned, due);
		PlannedRun *run = palloc0(sizeof(PlannedRun));

		if (before != NULL)
			*run = *before;
		run->due = *due;
		run->due.secret = pstrdup(due->secret);
		planned = lappend(planned, run);
	}
	MemoryContextSwitchTo(old);

	if (launcher->plan != NULL)
		MemoryContextDelete(launcher->plan);
	launcher->plan = plan;
	launcher->planned = planned;
	launcher->list_failures = 0;
	launcher->since_run = result->since_run;

	if (strcmp(result->outcome, RECOVERY_NO_EXTENSION) == 0)
		set_state(launcher, LAUNCHER_NO_EXTENSION);
	else if (strcmp(result->outcome, RECOVERY_OTHER_VERSION) == 0)
		set_state(launcher, LAUNCHER_OTHER_VERSION);
	else
		set_state(launcher, LAUNCHER_WORKING);
}

/* Take in what the lister has to say.  Is there a new list? */
static bool
hear_lister(Launcher *launcher, TimestampTz now)
{
	const char *answer;
	Size length;
	WorkerProgress progress = worker_poll(launcher->lister->call, &answer, &length);
	bool listed = progress == WORKER_ANSWERED && worker_message_is_result(answer, length);

	if (progress == WORKER_BUSY)
		return false;
	if (listed)
		adopt_list(launcher, worker_message_read(answer, length));
	else
	{
		/* the server's log has the reason */
		launcher->must_list = true;
		launcher->list_not_before =
			TimestampTzPlusMilliseconds(now, retry_delay_ms(RETRY_SOON, ++launcher->list_failures, 0));
		set_state(launcher, LAUNCHER_CANNOT_LIST);
	}
	end_child(launcher->lister);
	launcher->lister = NULL;
	return listed;
}

/* Rotation workers that have ended: what came of it is in the tables. */
static void
reap_children(Launcher *launcher)
{
	ListCell *cell;

	foreach (cell, launcher->children)
	{
		Child *child = lfirst(cell);
		const char *answer;
		Size length;

		if (worker_poll(child->call, &answer, &length) == WORKER_BUSY)
			continue;
		end_child(child);
		launcher->children = foreach_delete_current(launcher->children, cell);
		launcher->must_list = true;
	}
}

static void
start_lister(Launcher *launcher, TimestampTz now)
{
	RotationOrder *order = MemoryContextAllocZero(launcher->round, sizeof(RotationOrder));
	const Oid before = launcher->database;

	find_database(launcher);
	/* what it has not looked after until now is looked at as after a start */
	if (launcher->database != before || launcher->state == LAUNCHER_OTHER_VERSION)
	{
		launcher->since = now;
		launcher->since_run = -1;
	}
	if (!OidIsValid(launcher->database))
	{
		launcher->must_list = false;
		launcher->planned = NIL;
		set_state(launcher, LAUNCHER_NO_DATABASE);
		return;
	}
	launcher_set_state(launcher->state, launcher->database);

	order->operation = OPERATION_LIST_DUE;
	order->since = launcher->since;
	order->since_run = launcher->since_run;
	launcher->lister = start_child(order, launcher->database);
	if (launcher->lister != NULL)
		launcher->must_list = false;
	else
		launcher->list_not_before = TimestampTzPlusMilliseconds(now, SLOT_RETRY_MS);
}

static bool
has_child(const Launcher *launcher, const char *secret)
{
	ListCell *cell;

	foreach (cell, launcher->children)
	{
		if (strcmp(((const Child *) lfirst(cell))->secret, secret) == 0)
			return true;
	}
	return false;
}

static TimestampTz
start_time(const PlannedRun *run)
{
	return Max(run->due.due_at, run->not_before);
}

/* Start what is due. */
static void
start_due(Launcher *launcher, TimestampTz now)
{
	ListCell *cell;

	foreach (cell, launcher->planned)
	{
		PlannedRun *run = lfirst(cell);
		RotationOrder *order;
		Child *child;

		if (start_time(run) > now || has_child(launcher, run->due.secret))
			continue;
		if (run->due.busy)
		{
			launcher->must_list = true;
			continue;
		}
		if (list_length(launcher->children) >= rotate_max_workers || now < launcher->slots_at)
			return;

		order = MemoryContextAllocZero(launcher->round, sizeof(RotationOrder));
		order->operation = OPERATION_RECOVER;
		strlcpy(order->secret, run->due.secret, sizeof(order->secret));
		strlcpy(order->requested_by, "rotate_ext launcher", sizeof(order->requested_by));
		child = start_child(order, launcher->database);
		if (child == NULL)
		{
			launcher->slots_at = TimestampTzPlusMilliseconds(now, SLOT_RETRY_MS);
			return;
		}
		MemoryContextSwitchTo(TopMemoryContext);
		launcher->children = lappend(launcher->children, child);
		MemoryContextSwitchTo(launcher->round);

		/* one that can't even record its run must not be started over and over */
		run->starts++;
		run->not_before = TimestampTzPlusMilliseconds(now, retry_delay_ms(RETRY_SOON, run->starts, 0));
	}
}

/* Milliseconds to sleep; -1: until the latch is set. */
static long
sleep_time(const Launcher *launcher, TimestampTz now)
{
	TimestampTz next = DT_NOEND;
	ListCell *cell;

	if (launcher->lister != NULL)
		return -1;
	if (launcher->must_list)
		next = launcher->list_not_before;
	else if (list_length(launcher->children) < rotate_max_workers)
	{
		foreach (cell, launcher->planned)
		{
			const PlannedRun *run = lfirst(cell);

			if (!has_child(launcher, run->due.secret))
				next = Min(next, Max(start_time(run), launcher->slots_at));
		}
	}
	if (next == DT_NOEND)
		return -1;

	/* a day at most: the clock may be set */
	return Min(TimestampDifferenceMilliseconds(now, next) + 1, 86400000L);
}

/*
 * The clock was set back.  What is to wait a second would wait until the clock
 * is where it was.
 */
static void
follow_clock(Launcher *launcher, TimestampTz now)
{
	ListCell *cell;

	if (now < launcher->clock)
	{
		foreach (cell, launcher->planned)
			((PlannedRun *) lfirst(cell))->not_before = now;
		launcher->since = Min(launcher->since, now);
		launcher->list_not_before = now;
		launcher->slots_at = now;
		launcher->must_list = true;
	}
	launcher->clock = now;
}

static void
perform_round(Launcher *launcher)
{
	TimestampTz now = GetCurrentTimestamp();

	follow_clock(launcher, now);
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		launcher->must_list = true;
		/* perhaps it is this that makes the database readable */
		launcher->list_failures = 0;
		launcher->list_not_before = now;
	}
	if (launcher_was_woken())
	{
		launcher->must_list = true;
		launcher->list_not_before =
			Min(launcher->list_not_before, TimestampTzPlusMilliseconds(now, WOKEN_RETRY_MS));
	}

	reap_children(launcher);
	/* even where it is out of date already: with runs ending all the time there is no other */
	if (launcher->lister != NULL && hear_lister(launcher, now))
		start_due(launcher, now);
	if (launcher->lister == NULL && launcher->must_list && now >= launcher->list_not_before)
		start_lister(launcher, now);
	if (launcher->lister == NULL && !launcher->must_list)
		start_due(launcher, now);
}

void
rotate_launcher_main(Datum main_arg)
{
	Launcher *launcher;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("rotate_ext launcher");

	launcher = MemoryContextAllocZero(TopMemoryContext, sizeof(Launcher));
	launcher->round = AllocSetContextCreate(TopMemoryContext, "rotate_ext launcher", ALLOCSET_DEFAULT_SIZES);
	launcher->since = GetCurrentTimestamp();
	launcher->since_run = -1;
	launcher->must_list = true;
	launcher_publish();

	for (;;)
	{
		long timeout;

		MemoryContextReset(launcher->round);
		MemoryContextSwitchTo(launcher->round);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		perform_round(launcher);

		timeout = sleep_time(launcher, GetCurrentTimestamp());
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, PG_WAIT_EXTENSION);
	}
}
