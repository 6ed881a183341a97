/*-------------------------------------------------------------------------
 *
 * launcher_shared.c
 *	  The launcher as other processes see it, and how they wake it.
 *
 * src/launcher_shared.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h" /* get_database_name(); from 19 in lsyscache.h */
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/lsyscache.h"

#include "guc.h"
#include "launcher.h"

/* Seconds until a launcher that was terminated, or met an error, is started again. */
#define RESTART_SECONDS 2

typedef struct LauncherShared
{
	slock_t mutex;
	Latch *latch; /* of the launcher's PGPROC, hence in shared memory; NULL: it does not run */
	Oid database; /* which it looks after; stays when it ends */
	LauncherState state;
	bool woken;
} LauncherShared;

/* NULL: the library is not preloaded. */
static LauncherShared *shared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static bool wake_at_commit = false;

static void
request_shared_memory(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(LauncherShared)));
}

static void
start_shared_memory(void)
{
	bool found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("rotate_ext launcher", sizeof(LauncherShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(*shared));
		SpinLockInit(&shared->mutex);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
launcher_register(void)
{
	BackgroundWorker worker = {0};

	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;

	/* on a standby it comes with the promotion */
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "rotate_ext", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "rotate_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "rotate_ext launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "rotate_ext launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

static void
withdraw(int code, Datum arg)
{
	SpinLockAcquire(&shared->mutex);
	shared->latch = NULL;
	SpinLockRelease(&shared->mutex);
}

void
launcher_publish(void)
{
	before_shmem_exit(withdraw, (Datum) 0);
	SpinLockAcquire(&shared->mutex);
	shared->latch = MyLatch;
	shared->state = LAUNCHER_STARTING;
	shared->woken = false;
	SpinLockRelease(&shared->mutex);
}

void
launcher_set_state(LauncherState state, Oid database)
{
	SpinLockAcquire(&shared->mutex);
	shared->state = state;
	shared->database = database;
	SpinLockRelease(&shared->mutex);
}

bool
launcher_was_woken(void)
{
	bool woken;

	SpinLockAcquire(&shared->mutex);
	woken = shared->woken;
	shared->woken = false;
	SpinLockRelease(&shared->mutex);
	return woken;
}

void
launcher_wake(void)
{
	Latch *latch;

	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	shared->woken = true;
	latch = shared->latch;
	SpinLockRelease(&shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

void
launcher_wake_at_exit(int code, Datum arg)
{
	launcher_wake();
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	/* whoever commits it then knows nothing of the launcher */
	if (event == XACT_EVENT_PRE_PREPARE && wake_at_commit)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has changed a registration of rotate_ext")));
	if (event == XACT_EVENT_COMMIT && wake_at_commit)
		launcher_wake();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		wake_at_commit = false;
}

void
launcher_wake_at_commit(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(at_transaction_end, NULL);
	registered = true;
	wake_at_commit = true;
}

/* Is the present database rotate_ext.database?  By its name: one that was made anew has another oid. */
static bool
is_in_its_database(void)
{
	char *name = get_database_name(MyDatabaseId);

	return name != NULL && strcmp(name, rotate_database) == 0;
}

bool
launcher_looks_after(void)
{
	bool other_version;

	if (shared == NULL)
		return false;
	SpinLockAcquire(&shared->mutex);
	other_version = shared->database == MyDatabaseId && shared->state == LAUNCHER_OTHER_VERSION;
	SpinLockRelease(&shared->mutex);
	return !other_version && is_in_its_database();
}

char *
launcher_problem(void)
{
	LauncherShared seen;
	bool own;

	if (shared == NULL)
		return pstrdup("rotate_ext is not in shared_preload_libraries");
	if (RecoveryInProgress())
		return pstrdup("this server is a standby; it begins with the promotion");
	SpinLockAcquire(&shared->mutex);
	seen = *shared;
	SpinLockRelease(&shared->mutex);

	if (seen.latch == NULL)
		return pstrdup("the launcher is not running; the server's log says why");
	/* in the middle of a statement a reload has not come to this session yet */
	own = ConfigReloadPending ? seen.database == MyDatabaseId : is_in_its_database();
	if (seen.state != LAUNCHER_STARTING && own != (seen.database == MyDatabaseId))
	{
		/* renamed, or restored from a dump, it had no registration made that would have told */
		launcher_wake();
		if (own)
			return pstrdup("the launcher has just been told of this database");
	}
	if (seen.state == LAUNCHER_NO_DATABASE)
		return psprintf("database \"%s\" (rotate_ext.database) does not exist", rotate_database);
	if (!own && seen.state != LAUNCHER_STARTING)
		return psprintf("rotate_ext.database is \"%s\", not this database", rotate_database);
	if (seen.state == LAUNCHER_CANNOT_LIST)
	{
		/* whoever opens the database again, or ends the session that has locked them, tells nobody */
		launcher_wake();
		return pstrdup("the launcher could not read its tables; the server's log says why");
	}
	if (seen.state == LAUNCHER_OTHER_VERSION)
	{
		/* ALTER EXTENSION UPDATE tells nobody */
		launcher_wake();
		return pstrdup("the server has version " ROTATE_EXT_VERSION
					   " of the library loaded, and the extension here is of another; "
					   "restart the server, or run ALTER EXTENSION rotate_ext UPDATE");
	}
	/* an extension that has come since is no problem; but registrations restored with it wake nobody */
	if (seen.state == LAUNCHER_NO_EXTENSION)
		launcher_wake();
	if (seen.state == LAUNCHER_STARTING)
		return pstrdup("the launcher is just starting");
	return NULL;
}
