/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The rotation worker's process: its session, its order, its answer.
 *
 * What a database owner can set for the database (ALTER DATABASE SET role,
 * search_path, password_encryption, default_transaction_read_only,
 * synchronous_commit, …) reaches every session in it, this one too.  So the
 * values that matter are taken from the server before the database is
 * connected to, or set to what they must be afterwards.
 *
 * src/worker.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "aws/pace.h"
#include "core/secret_value.h"
#include "launcher.h"
#include "recovery.h"
#include "worker.h"

/* Settings that keep the server-wide value whatever the database says; not all are in every version. */
static const char *const server_settings[] = {
	"password_encryption",
	"scram_iterations",
	"synchronous_commit",
};

/* Settings that must be this, whatever anyone says. */
static const struct
{
	const char *name;
	const char *value;
} fixed_settings[] = {
	{"role", "none"},
	{"search_path", "pg_catalog, pg_temp"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_deferrable", "off"},
	{"row_security", "off"},
	{"session_replication_role", "origin"},
	{"exit_on_error", "off"}, /* would end the process past every PG_CATCH */
	{"statement_timeout", "0"},
	{"lock_timeout", "10s"}, /* the caller may hold the lock, and waits for us */
	{"idle_in_transaction_session_timeout", "0"},
	{"transaction_timeout", "0"},
};

/* The caller's end, while it has no answer. */
static shm_mq_handle *waiting = NULL;

static emit_log_hook_type next_emit_log_hook = NULL;

static void
set_option(const char *name, const char *value)
{
	if (GetConfigOption(name, true, false) != NULL)
		(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
}

/* The password must not reach a core file, nor another process of the same user by ptrace. */
static void
protect_memory(void)
{
	struct rlimit none = {0, 0};

	if (prctl(PR_SET_DUMPABLE, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
		ereport(WARNING, (errcode(ERRCODE_SYSTEM_ERROR),
						  errmsg("could not keep the rotation worker's memory out of core files: %m")));
}

static void
connect_database(Oid database)
{
	char *kept[lengthof(server_settings)];
	int i;

	for (i = 0; i < (int) lengthof(server_settings); i++)
	{
		const char *value = GetConfigOption(server_settings[i], true, false);

		kept[i] = value ? MemoryContextStrdup(TopMemoryContext, value) : NULL;
	}

	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);

	/* SET session_authorization for a database reaches a worker too; before role, which it resets */
	StartTransactionCommand();
	if (GetSessionUserId() != BOOTSTRAP_SUPERUSERID)
		set_option("session_authorization", GetUserNameFromId(BOOTSTRAP_SUPERUSERID, false));
	for (i = 0; i < (int) lengthof(fixed_settings); i++)
		set_option(fixed_settings[i].name, fixed_settings[i].value);
	for (i = 0; i < (int) lengthof(server_settings); i++)
	{
		if (kept[i] != NULL)
			set_option(server_settings[i], kept[i]);
	}
	/* what is on record here, and the password, must outlive a crash as what Secrets Manager was told does */
	if (synchronous_commit < SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		set_option("synchronous_commit", "local");
	CommitTransactionCommand();
}

/* A caller that is gone is no reason to fail. */
static void
answer_caller(StringInfo buf)
{
	shm_mq_handle *caller = waiting;

	waiting = NULL;
	if (caller != NULL)
		(void) shm_mq_send(caller, buf->len, buf->data, false, true);
}

/* FATAL ends the process where it stands, past every PG_CATCH: the caller is told why from here. */
static void
answer_before_end(ErrorData *error)
{
	if (error->elevel == FATAL && waiting != NULL)
	{
		const RotationResult none = {0};
		StringInfoData buf;

		initStringInfo(&buf);
		worker_message_error(&buf, &none, error);
		answer_caller(&buf);
	}
	if (next_emit_log_hook)
		next_emit_log_hook(error);
}

static void
carry_out(const RotationOrder *order)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "rotation worker", ALLOCSET_DEFAULT_SIZES);
	RotationResult *result;
	StringInfoData buf;

	MemoryContextSwitchTo(context);
	result = palloc0(sizeof(RotationResult));
	result->lockout_us = -1;
	initStringInfo(&buf);

	PG_TRY();
	{
		if (order->operation == OPERATION_LIST_DUE)
			recovery_list_due(order, result);
		else
		{
			/* password checkers may be loaded this way, and background workers leave it out */
			process_session_preload_libraries();
			rotation_run(order, result);
		}
		worker_message_result(&buf, result);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(context);
		worker_message_error(&buf, result, error);
	}
	PG_END_TRY();

	answer_caller(&buf);
}

void
rotate_worker_main(Datum main_arg)
{
	dsm_segment *segment;
	WorkerSegment *shared;
	RotationOrder *order;
	shm_mq *queue;
	Oid database;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	protect_memory();
	secret_value_init();

	CurrentResourceOwner = ResourceOwnerCreate(NULL, "rotation worker");
	segment = dsm_attach(DatumGetUInt32(main_arg));
	/* the caller has gone, and its order with it */
	if (segment == NULL)
		return;
	dsm_pin_mapping(segment);
	shared = dsm_segment_address(segment);
	if (strncmp(shared->stamp, WORKER_STAMP, sizeof(shared->stamp)) != 0 ||
		shared->order_size != sizeof(RotationOrder))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not take a rotation's order: it is of another version of rotate_ext"),
						errdetail("The installed library is of version %s, and was loaded by this worker.",
								  ROTATE_EXT_VERSION),
						errhint("Start a new session: the library was replaced under the one that asks.")));
	if (pg_atomic_exchange_u32(&shared->taken, 1) != 0)
		return;

	order = MemoryContextAlloc(TopMemoryContext, sizeof(RotationOrder));
	*order = shared->order;
	explicit_bzero(&shared->order, sizeof(shared->order));
	database = shared->database;

	queue = (shm_mq *) ((char *) shared + WORKER_QUEUE_OFFSET);
	shm_mq_set_sender(queue, MyProc);
	waiting = shm_mq_attach(queue, segment, NULL);
	next_emit_log_hook = emit_log_hook;
	emit_log_hook = answer_before_end;

	connect_database(database);
	if (order->operation != OPERATION_LIST_DUE)
	{
		/* what it leaves undone is the launcher's, even if it is terminated */
		before_shmem_exit(launcher_wake_at_exit, (Datum) 0);
		pgstat_report_activity(STATE_RUNNING, "rotation of a secret");
	}
	carry_out(order);
	explicit_bzero(order, sizeof(*order));
	dsm_detach(segment);
	pace_linger();
}
