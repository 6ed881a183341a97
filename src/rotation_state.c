/*-------------------------------------------------------------------------
 *
 * rotation_state.c
 *	  What every part of a run uses: its time, its transactions, its requests,
 *	  and what it has learnt of logins.
 *
 * src/rotation_state.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "common/pg_prng.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/wait_event.h"

#include "guc.h"
#include "rotation_internal.h"

/* How often a run waits for labels that were moved to be seen, and how long at first: twice as long each time. */
#define MAX_LOOKS_AGAIN 5
#define FIRST_LOOK_WAIT_MS 100

static volatile sig_atomic_t run_timed_out = false;
static volatile sig_atomic_t run_cancelled = false;

/* Which of the user timeouts is ours: a library that is preloaded for the session may have one, too. */
static TimeoutId run_timeout;

/* statement_timeout does nothing in a background worker */
static void
run_timeout_handler(void)
{
	run_timed_out = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/*
 * SIGINT.  It is remembered, since a wait for a synchronous standby takes it for
 * itself.  lock_timeout sends it, too, and is no cancel.
 */
static void
cancel_handler(SIGNAL_ARGS)
{
	int save_errno = errno;

	if (!get_timeout_indicator(LOCK_TIMEOUT, false))
		run_cancelled = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

void
rotation_start_time(void)
{
	pqsignal(SIGINT, cancel_handler);
	run_timed_out = false;
	run_timeout = RegisterTimeout(USER_TIMEOUT, run_timeout_handler);
	enable_timeout_after(run_timeout, rotate_worker_timeout);
}

bool
rotation_stop_time(void)
{
	disable_timeout(run_timeout, false);
	QueryCancelPending = false;
	return run_timed_out;
}

void
rotation_check_time(void)
{
	if (run_timed_out || run_cancelled)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("canceling the run")));
}

void
rotation_begin(void)
{
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
}

void
rotation_commit(void)
{
	MemoryContext context = CurrentMemoryContext;

	/* the time limit ends every wait for a synchronous standby, not only the one that it found */
	if (run_timed_out)
		(void) set_config_option("synchronous_commit", "local", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
								 true, 0, false);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

const char *
rotation_function(const Rotation *rotation)
{
	return rotation->order->operation == OPERATION_ROLLBACK ? "rotate_rollback" : "rotate_now";
}

const char *
rotation_label(const Rotation *rotation, VersionRef ref)
{
	if (ref == VERSION_PENDING && rotation->facts.created_pending && rotation->rollback.target != NULL)
		ref = VERSION_PREVIOUS;
	return version_ref_label(ref);
}

bool
rotation_same_version(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

double
rotation_elapsed_ms(const Rotation *rotation)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, rotation->started);
	return INSTR_TIME_GET_MILLISEC(now);
}

void
rotation_notice(RotationResult *result, int elevel, const char *message, const char *detail, const char *hint)
{
	RotationNotice *notice = palloc(sizeof(RotationNotice));

	notice->elevel = elevel;
	notice->message = pstrdup(message);
	notice->detail = detail ? pstrdup(detail) : NULL;
	notice->hint = hint ? pstrdup(hint) : NULL;
	result->notices = lappend(result->notices, notice);
}

/* Requests are signed by AWS's clock now; this machine's is for a person to set right. */
static void
warn_of_clock(Rotation *rotation)
{
	int64 offset = sm_clock_offset(rotation->client);
	char *message;
	const char *detail = "AWS refused a request for its time. It was sent once more, by AWS's clock, as was "
						 "everything after it.";
	const char *hint = "Set the clock of the database server's machine right.";

	/* it may be a second more or less the next time */
	if (llabs(offset - rotation->told_offset) <= 60)
		return;
	rotation->told_offset = offset;
	message = psprintf("the clock of this machine is " INT64_FORMAT " seconds %s AWS's",
					   offset > 0 ? offset : -offset, offset > 0 ? "behind" : "ahead of");
	rotation_notice(rotation->result, WARNING, message, detail, hint);
	/* the launcher hears no notices */
	if (rotation->order->operation == OPERATION_RECOVER)
		ereport(WARNING,
				(errmsg_internal("%s", message), errdetail_internal("%s", detail), errhint("%s", hint)));
}

/*
 * How long throttling is to be waited for.  Three quarters of the run's time:
 * what comes after the last answer has to fit in, too.  Not at all while the role
 * is locked out: better that AWSCURRENT logs in again, see rotation_wait_for_quota().
 */
static int64
patience(const Rotation *rotation)
{
	if (rotation->lockout_begun && !rotation->lockout_ended)
		return 0;
	return (int64) (rotate_worker_timeout * 0.75 - rotation_elapsed_ms(rotation));
}

bool
rotation_wait_for_quota(Rotation *rotation, RotationAction action)
{
	const SmCall *failure = rotation->move_failure;
	int delay;

	if (action.reason != REFUSE_MOVE_REFUSED || failure == NULL || failure->error.class != AWS_THROTTLED)
		return false;
	delay = aws_retry_delay_ms(AWS_THROTTLED, 3 + rotation->quota_waits,
							   0.5 + pg_prng_double(&pg_global_prng_state) / 2);
	if (delay >= patience(rotation))
		return false;
	rotation->quota_waits++;
	rotation_pause(delay);

	/* from the start, as another run would do it, with the pending version that is there */
	rotation->facts.move = MOVE_NOT_SENT;
	rotation->lockout_begun = false;
	rotation->lockout_ended = false;
	rotation_observe(rotation);
	return true;
}

void
rotation_perform(Rotation *rotation, SmCall **calls, int ncalls)
{
	int i;

	sm_set_patience(rotation->client, patience(rotation));
	sm_perform(rotation->client, calls, ncalls);
	warn_of_clock(rotation);
	for (i = 0; i < ncalls; i++)
		rotation->requests += calls[i]->attempts;
}

void
rotation_pause(long milliseconds)
{
	instr_time start;
	instr_time now;
	long left = milliseconds;

	INSTR_TIME_SET_CURRENT(start);
	while (left > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, start);
		left = milliseconds - (long) INSTR_TIME_GET_MILLISEC(now);
	}
}

bool
rotation_wait_for_labels(Rotation *rotation)
{
	if (rotation->looks_again >= MAX_LOOKS_AGAIN)
		return false;
	rotation_pause(FIRST_LOOK_WAIT_MS << rotation->looks_again++);
	return true;
}

TriedLogin *
rotation_tried_login(const Rotation *rotation, VersionRef ref)
{
	const char *id = rotation->versions[ref].id;
	ListCell *cell;

	foreach (cell, rotation->logins)
	{
		TriedLogin *tried = lfirst(cell);

		if (id != NULL && strcmp(tried->version_id, id) == 0)
			return tried;
	}
	return NULL;
}

void
rotation_forget_proofs(Rotation *rotation)
{
	ListCell *cell;

	foreach (cell, rotation->logins)
	{
		TriedLogin *tried = lfirst(cell);

		if (tried->proof == LOGIN_PROVED)
			tried->proof = LOGIN_NOT_TRIED;
	}
}
