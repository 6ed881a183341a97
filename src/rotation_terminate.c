/*-------------------------------------------------------------------------
 *
 * rotation_terminate.c
 *	  A worker that is told to end puts the role's password back first.
 *
 * die() ends a process where it stands: between SET_PASSWORD and MOVE_CURRENT
 * that would leave the role with a password that AWSCURRENT does not have,
 * until somebody looks after the server's restart.  So from SET_PASSWORD on,
 * SIGTERM cancels the run, whose error puts the old verifier back: one local
 * transaction.  While the label's move is under way it waits a moment for the
 * answer, since without it nothing may be put back.
 *
 * A watchdog keeps that short, whatever the run is caught in: a fast shutdown
 * waits for this process.
 *
 * src/rotation_terminate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "rotation_internal.h"

#define WATCHDOG_MS 250

/* Rounds of the watchdog after SIGTERM: a move's answer is waited for no longer, and the process dies. */
#define CANCEL_ROUNDS 3
#define DIE_ROUNDS 6

static volatile sig_atomic_t terminated = false;
static volatile sig_atomic_t awaits_answer = false;
static volatile sig_atomic_t rounds = 0;
static bool deferred = false;
static TimeoutId watchdog;

/* SIGTERM */
static void
cancel_run(SIGNAL_ARGS)
{
	int save_errno = errno;

	terminated = true;
	if (!awaits_answer)
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
	SetLatch(MyLatch);
	errno = save_errno;
}

static void
watch(void)
{
	if (!terminated)
		return;
	rounds++;
	if (rounds == CANCEL_ROUNDS)
		QueryCancelPending = true;
	if (rounds >= DIE_ROUNDS)
		ProcDiePending = true;
	if (rounds >= CANCEL_ROUNDS)
	{
		InterruptPending = true;
		SetLatch(MyLatch);
	}
}

void
rotation_defer_termination(void)
{
	if (deferred)
		return;
	pqsignal(SIGTERM, cancel_run);
	deferred = true;
	watchdog = RegisterTimeout(USER_TIMEOUT, watch);
	enable_timeout_every(watchdog, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), WATCHDOG_MS),
						 WATCHDOG_MS);

	/* what came before is served before anything is changed */
	CHECK_FOR_INTERRUPTS();
}

void
rotation_await_answer(bool awaits)
{
	awaits_answer = awaits;
}

bool
rotation_is_terminated(void)
{
	return terminated;
}

void
rotation_check_termination(void)
{
	if (terminated)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("canceling the run")));
}

void
rotation_end_termination(void)
{
	if (!deferred)
		return;
	pqsignal(SIGTERM, die);
	disable_timeout(watchdog, false);
	QueryCancelPending = false;
}
