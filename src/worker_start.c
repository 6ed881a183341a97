/*-------------------------------------------------------------------------
 *
 * worker_start.c
 *	  The caller's side: start a rotation worker and wait for its answer.
 *
 * A caller may go away at any moment; the worker then finishes alone.  Where no
 * worker has taken the order yet, it is withdrawn: nothing has begun, and an order
 * that outlived its caller would stay for ever where no worker can be started.
 *
 * src/worker_start.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "guc.h"
#include "turn.h"
#include "worker.h"

/* How long to sleep between looks for a free worker slot: nobody announces one. */
#define SLOT_POLL_MS 50

struct WorkerCall
{
	dsm_segment *segment;
	BackgroundWorkerHandle *handle;
	shm_mq_handle *receiver;
};

/* The caller leaves the segment.  An order that nobody has taken yet is nobody's any more. */
static void
withdraw_order(dsm_segment *segment, Datum arg)
{
	WorkerSegment *shared = dsm_segment_address(segment);

	if (pg_atomic_exchange_u32(&shared->taken, 1) == 0)
		explicit_bzero(&shared->order, sizeof(shared->order));
}

static dsm_segment *
make_segment(const RotationOrder *order, Oid database)
{
	dsm_segment *segment = dsm_create(WORKER_QUEUE_OFFSET + WORKER_QUEUE_SIZE, 0);
	WorkerSegment *shared = dsm_segment_address(segment);
	shm_mq *queue;

	strlcpy(shared->stamp, WORKER_STAMP, sizeof(shared->stamp));
	shared->order_size = sizeof(RotationOrder);
	pg_atomic_init_u32(&shared->taken, 0);
	on_dsm_detach(segment, withdraw_order, (Datum) 0);
	shared->database = database;
	shared->order = *order;
	queue = shm_mq_create((char *) shared + WORKER_QUEUE_OFFSET, WORKER_QUEUE_SIZE);
	shm_mq_set_receiver(queue, MyProc);
	return segment;
}

/* False: all worker slots are in use. */
static bool
register_worker(dsm_segment *segment, BackgroundWorkerHandle **handle)
{
	const WorkerSegment *shared = dsm_segment_address(segment);
	const char *name = shared->order.operation == OPERATION_LIST_DUE ? "rotate_ext recovery worker"
																	 : "rotate_ext rotation worker";
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* a standby rotates nothing, but may be asked for its credentials */
	worker.bgw_start_time = shared->order.operation == OPERATION_CREDENTIALS ? BgWorkerStart_ConsistentState
																			 : BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "rotate_ext", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "rotate_worker_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, name, BGW_MAXLEN);
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	worker.bgw_notify_pid = MyProcPid;

	return RegisterDynamicBackgroundWorker(&worker, handle);
}

static void
start_worker(dsm_segment *segment, BackgroundWorkerHandle **handle)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), rotate_start_timeout);

	while (!register_worker(segment, handle))
	{
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() >= give_up)
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
							errmsg("could not start a rotation worker: all worker slots are in use"),
							errdetail("None came free within %d ms (rotate_ext.start_timeout).",
									  rotate_start_timeout),
							errhint("Increase max_worker_processes, or try again when fewer workers run.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, SLOT_POLL_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

static shm_mq_handle *
attach_queue(dsm_segment *segment, BackgroundWorkerHandle *handle)
{
	WorkerSegment *shared = dsm_segment_address(segment);

	return shm_mq_attach((shm_mq *) ((char *) shared + WORKER_QUEUE_OFFSET), segment, handle);
}

/*
 * There will be no answer.  What has ended the worker may be about to end this
 * session, too, and is what its client should be told then.
 */
pg_noreturn static void
report_no_answer(WorkerSegment *shared)
{
	CHECK_FOR_INTERRUPTS();
	if (!PostmasterIsAlive())
		ereport(FATAL, (errcode(ERRCODE_ADMIN_SHUTDOWN),
						errmsg("terminating connection due to unexpected postmaster exit")));
	if (pg_atomic_read_u32(&shared->taken) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("could not start a rotation worker"),
				 errdetail("Its process was not started, or ended before it took its order."),
				 errhint("Look at the server's log. Nothing has been changed; try again, in a new session "
						 "if rotate_ext was updated.")));
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg(WORKER_GONE_MESSAGE), errhint(WORKER_GONE_HINT)));
}

/* The worker's answer; interrupts are served while waiting. */
static RotationResult *
receive_answer(dsm_segment *segment, BackgroundWorkerHandle *handle)
{
	shm_mq_handle *receiver = attach_queue(segment, handle);
	Size length;
	void *data;

	if (shm_mq_receive(receiver, &length, &data, false) != SHM_MQ_SUCCESS)
		report_no_answer(dsm_segment_address(segment));
	return worker_message_read(data, length);
}

RotationResult *
worker_perform(const RotationOrder *order, Oid roleid)
{
	dsm_segment *segment;
	BackgroundWorkerHandle *handle;
	RotationResult *result;

	if (!IsUnderPostmaster)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not start a rotation worker: the server runs in single-user mode"),
						errhint("Start it in the ordinary way.")));

	/* one caller at a time goes on to start a worker; it waits until the worker before it is gone */
	if (OidIsValid(roleid))
	{
		turn_take(TURN_QUEUE, roleid, false, rotate_start_timeout, order->secret);
		turn_take(TURN_ROTATION, roleid, false, rotate_start_timeout, order->secret);
		turn_release(TURN_ROTATION, roleid, false);
	}

	segment = make_segment(order, MyDatabaseId);
	start_worker(segment, &handle);
	result = receive_answer(segment, handle);
	dsm_detach(segment);
	if (OidIsValid(roleid))
		turn_release(TURN_QUEUE, roleid, false);
	return result;
}

WorkerCall *
worker_begin(const RotationOrder *order, Oid database)
{
	WorkerCall *call = palloc(sizeof(WorkerCall));

	call->segment = make_segment(order, database);
	if (!register_worker(call->segment, &call->handle))
	{
		dsm_detach(call->segment);
		pfree(call);
		return NULL;
	}
	call->receiver = attach_queue(call->segment, call->handle);
	return call;
}

WorkerProgress
worker_poll(WorkerCall *call, const char **answer, Size *length)
{
	void *data;

	switch (shm_mq_receive(call->receiver, length, &data, true))
	{
		case SHM_MQ_SUCCESS:
			*answer = data;
			return WORKER_ANSWERED;
		case SHM_MQ_WOULD_BLOCK:
			return WORKER_BUSY;
		default:
			return WORKER_GONE;
	}
}

void
worker_end(WorkerCall *call)
{
	shm_mq_detach(call->receiver);
	dsm_detach(call->segment);
	pfree(call->handle);
	pfree(call);
}
