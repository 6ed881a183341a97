/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The rotation worker: a dynamic background worker for one order.
 *
 * It is the only process that ever holds a secret: a password's life in memory
 * ends with a process.  The order and the answer go through a DSM segment;
 * the order is wiped as soon as the worker has read it, and the answer holds no
 * secret.
 *
 * src/worker.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_WORKER_H
#define ROTATE_EXT_WORKER_H

#include "lib/stringinfo.h"
#include "port/atomics.h"
#include "storage/shm_mq.h"
#include "utils/elog.h"

#include "rotation.h"

/*
 * What lies in the DSM segment, followed by the answer's queue.  A worker has the
 * library that is installed, and a session the one that was installed when it
 * began: what they take each other's bytes for is at its head.
 */
typedef struct WorkerSegment
{
	char stamp[64];  /* WORKER_STAMP, */
	Size order_size; /* and the size of the order */
	Oid database;
	pg_atomic_uint32 taken; /* by the worker, or back by its caller: the order is the first one's */
	RotationOrder order;    /* wiped by the worker */
	char queue[FLEXIBLE_ARRAY_MEMBER]; /* shm_mq, MAXALIGNed */
} WorkerSegment;

#define WORKER_STAMP "order of rotate_ext, version " ROTATE_EXT_VERSION

#define WORKER_QUEUE_SIZE 65536
#define WORKER_QUEUE_OFFSET MAXALIGN(offsetof(WorkerSegment, queue))

/*
 * Have a worker carry the order out, and wait for its answer, in the current
 * memory context.  roleid, where it is known, is the role whose turn is waited
 * for first.  Raises the worker's error as it was raised there;
 * ERRCODE_INSUFFICIENT_RESOURCES where no worker slot comes free within
 * rotate_ext.start_timeout, or the worker does not take the order;
 * ERRCODE_INTERNAL_ERROR where it ended without an answer.  A cancelled or
 * terminated caller leaves the worker to finish; where there is no worker yet, the
 * order goes with the caller.
 */
extern RotationResult *worker_perform(const RotationOrder *order, Oid roleid);

/*
 * The same without waiting, for the launcher.  worker_begin() returns NULL where
 * no worker slot is free; everything of a call is in the current memory context.
 * worker_poll() never blocks: the process's latch is set when there is news.
 * An answer is read with worker_message_read(), and lasts until worker_end(),
 * which leaves a worker that still runs to finish.
 */
typedef struct WorkerCall WorkerCall;

typedef enum WorkerProgress
{
	WORKER_BUSY,
	WORKER_ANSWERED,
	WORKER_GONE /* without an answer */
} WorkerProgress;

extern WorkerCall *worker_begin(const RotationOrder *order, Oid database);
extern WorkerProgress worker_poll(WorkerCall *call, const char **answer, Size *length);
extern void worker_end(WorkerCall *call);

/* The worker process: the function that the postmaster starts. */
extern PGDLLEXPORT void rotate_worker_main(Datum main_arg);

/* What its caller is told of a worker that has ended before its rotation. */
#define WORKER_GONE_MESSAGE "the rotation worker ended without an answer"
#define WORKER_GONE_HINT "Look at the server's log and at rotate_history. Running the rotation again is safe."

/* worker_message.c: the answer as bytes, and back.  An error may be FATAL. */
extern void worker_message_result(StringInfo buf, const RotationResult *result);
extern void worker_message_error(StringInfo buf, const RotationResult *result, const ErrorData *error);

/* Does the message hold a result, not an error? */
extern bool worker_message_is_result(const char *data, Size length);

/* Raises the error that the message holds, after the notices. */
extern RotationResult *worker_message_read(const char *data, Size length);

#endif /* ROTATE_EXT_WORKER_H */
