/*-------------------------------------------------------------------------
 *
 * rotation.c
 *	  One run: observe, decide, act, until DONE or REFUSE, and its record.
 *
 * Whatever goes wrong on the way, the run's row says so, and a role whose
 * password was changed gets its old verifier back as long as no label move can
 * have reached Secrets Manager.
 *
 * src/rotation.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "guc.h"
#include "identity.h"
#include "rotation_internal.h"
#include "turn.h"

/* More actions than any run needs without someone else changing labels or passwords under it. */
#define MAX_ACTIONS 40

/* How often what must still happen after the outcome is tried, where it is cancelled. */
#define MAX_STEP_TRIES 3

/* The region in an ARN (arn:aws:secretsmanager:eu-central-1:…), or NULL where the name is no ARN. */
static char *
region_of(const char *secret)
{
	const char *start = secret;
	const char *end;
	int i;

	if (strncmp(secret, "arn:", 4) != 0)
		return NULL;
	for (i = 0; i < 3 && start != NULL; i++)
	{
		start = strchr(start, ':');
		if (start != NULL)
			start++;
	}
	end = start ? strchr(start, ':') : NULL;
	return end ? pnstrdup(start, end - start) : NULL;
}

static void
find_registration(Rotation *rotation)
{
	rotation_begin();
	rotation->registration = store_find_registration(rotation->order->secret);
	rotation_commit();
}

static void
take_turn(Rotation *rotation)
{
	rotation_begin();
	turn_take(TURN_ROTATION, rotation->registration->role_oid, true, rotate_start_timeout,
			  rotation->registration->secret);
	rotation->turn_of = rotation->registration->role_oid;
	rotation_commit();
}

/* The secret is not registered: register it, where that was asked for. */
static void
register_first(Rotation *rotation)
{
	const char *secret = rotation->order->secret;

	if (!rotation->order->may_register)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("secret \"%s\" is not registered", secret),
						errhint("Register it with rotate_register('%s').", secret)));

	rotation_begin_record(rotation);
	rotation_check_time();
	rotation->client = sm_open(region_of(secret));
	rotation_register(rotation);
	/* before anyone else can see the registration, and begin a rotation */
	take_turn(rotation);
	if (rotation->order->dry_run)
		return;
	rotation_begin();
	store_insert_registration(rotation->registration);
	store_run_registered(rotation->run_id, rotation->registration);
	rotation_commit();
	rotation_notice(
		rotation->result, NOTICE,
		psprintf("secret \"%s\" was registered for role \"%s\"", secret, rotation->registration->role_name),
		NULL, NULL);
}

/* The registration once more: it may have been changed while the run waited for the role's turn. */
static void
read_registration_again(Rotation *rotation)
{
	const Oid role_oid = rotation->registration->role_oid;

	find_registration(rotation);
	if (rotation->registration == NULL || rotation->registration->role_oid != role_oid)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the registration of secret \"%s\" was changed while its rotation waited for its turn",
					rotation->order->secret),
			 errhint("Try again.")));
}

/* The registration, the role's turn and the run's row, in that order where there is a registration. */
static void
open_run(Rotation *rotation)
{
	bool registered;

	find_registration(rotation);
	registered = rotation->registration != NULL;
	if (!registered)
		register_first(rotation);
	else
		take_turn(rotation);
	if (registered || !rotation->order->dry_run)
		read_registration_again(rotation);
	if (registered)
	{
		rotation_begin_record(rotation);
		rotation_check_time();
	}
	rotation_begin();
	identity_check(rotation->registration);
	rotation_commit();
	if (rotation->client == NULL)
		rotation->client = sm_open(region_of(rotation->registration->arn));
}

static void
set_asked_facts(Rotation *rotation)
{
	RotationFacts *facts = &rotation->facts;

	facts->request =
		rotation->order->operation == OPERATION_RECOVER ? REQUEST_OBSERVE : rotation->order->step;
	facts->strategy = STRATEGY_SINGLE;
	facts->force = rotation->order->force;
	facts->own_pending_only = rotation->registration->own_pending_only;
	facts->repair = rotation->registration->repair;
	facts->combine_steps = rotate_combine_steps;
}

/*
 * Who recovers begins nothing; but a rotation that we had begun, with a version
 * that still carries AWSPENDING, was asked for by somebody, and is finished.
 */
static void
choose_recovery(Rotation *rotation)
{
	const char *pending = rotation->versions[VERSION_PENDING].id;
	bool begun = !rotation->facts.pending_is_current && rotation_same_version(rotation->begun, pending);

	if (rotation->order->operation == OPERATION_RECOVER)
		rotation->facts.request = begun ? REQUEST_ROTATE_NOW : REQUEST_OBSERVE;
}

/*
 * AWS's own functions treat a testSecret of a finished rotation as a success,
 * and so does this one where the login could not be tried at all; where it was
 * tried and refused, that is worth an error.
 */
static bool
is_finished_but_untested(const Rotation *rotation, RotationAction action)
{
	const TriedLogin *tried = rotation_tried_login(rotation, VERSION_CURRENT);

	return rotation->facts.request == REQUEST_TEST_SECRET && rotation->facts.token == TOKEN_ON_CURRENT &&
		   action.reason == REFUSE_CURRENT_LOGIN_FAILED && tried != NULL &&
		   (tried->result.outcome == LOGIN_CANNOT_CONNECT ||
			tried->result.outcome == LOGIN_TOO_MANY_CONNECTIONS);
}

static char *
describe_action(RotationAction action)
{
	if (action.type == ACTION_REFUSE)
		return psprintf("would refuse: %s", refuse_reason_name(action.reason));
	if (action.type == ACTION_SET_PASSWORD || action.type == ACTION_PROVE_LOGIN)
		return psprintf("would %s(%s)", rotation_action_name(action.type), version_ref_label(action.version));
	return psprintf("would %s", rotation_action_name(action.type));
}

/*
 * Has AWSCURRENT come to a version of ours with no run to say so?  One that was
 * killed right after its move could not; the first to find that does.
 */
static bool
finds_unrecorded_move(const Rotation *rotation)
{
	bool unrecorded;

	if (!rotation->facts.role_has[VERSION_CURRENT])
		return false;
	rotation_begin();
	unrecorded =
		store_is_unrecorded_move(rotation->registration->arn, rotation->versions[VERSION_CURRENT].id);
	rotation_commit();
	return unrecorded;
}

/* What came of a run that is done. */
static char *
name_outcome(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;

	if (rotation->order->operation == OPERATION_ROLLBACK)
		return "rolled back";
	/* by our move, or by whoever else moved the label to the version made here */
	if (facts->move == MOVE_SUCCEEDED || (facts->created_pending && facts->pending_is_current))
		return facts->created_pending ? "rotated" : "completed";
	if (rotation->repaired)
		return "repaired";
	if (facts->created_pending)
		return "created";
	if (facts->password_changed)
		return "set";
	if (facts->request == REQUEST_TEST_SECRET)
		return "proved";
	if (finds_unrecorded_move(rotation))
		return "completed";
	if (rotation->order->operation == OPERATION_RECOVER && rotation->attempt > 1)
		return "settled";
	return "unchanged";
}

static void
rotate(Rotation *rotation)
{
	RotationAction action;
	bool done = false;
	int actions = 0;

	set_asked_facts(rotation);
	rotation_observe(rotation);
	appendStringInfo(&rotation->phases, "{\"action\": \"OBSERVE\", \"at_ms\": 0, \"ms\": %.3f}",
					 rotation_elapsed_ms(rotation));
	if (rotation->order->operation == OPERATION_ROLLBACK)
		done = !rotation_rollback(rotation);

	while (!done)
	{
		CHECK_FOR_INTERRUPTS();
		choose_recovery(rotation);
		action = decide(&rotation->facts);
		if (rotation->order->dry_run)
		{
			rotation->result->outcome = describe_action(action);
			rotation->result->detail = rotation_facts_json(rotation);
			return;
		}
		if (action.type == ACTION_DONE)
			break;
		if (action.type == ACTION_REFUSE && is_finished_but_untested(rotation, action))
		{
			rotation->result->outcome = "unproved";
			break;
		}
		if (action.type == ACTION_REFUSE && rotation_wait_for_quota(rotation, action))
		{
			actions = 0;
			continue;
		}
		if (action.type == ACTION_REFUSE)
			rotation_refuse(rotation, action);
		if (++actions > MAX_ACTIONS)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not rotate secret \"%s\": its labels or the role's password keep changing",
							ROTATION_SECRET(rotation)),
					 errhint("Find out who else rotates it.")));
		rotation_check_termination();
		rotation_act(rotation, action);
	}

	if (rotation->result->outcome == NULL)
		rotation->result->outcome = name_outcome(rotation);
	rotation->result->version_id =
		pstrdup(rotation->order->operation == OPERATION_EVENT ? rotation->order->token
															  : rotation->versions[VERSION_CURRENT].id);
	rotation->result->detail = psprintf("{\"tls\": \"%s\", \"requests\": %d, \"phases\": [%s]}",
										rotation->tls, rotation->requests, rotation->phases.data);
}

/*
 * Carry out what must still happen once the outcome is clear, an error or not,
 * and never let that raise one of its own: the outcome is what to tell.  False:
 * it failed, and the server's log says why.
 *
 * A cancel must not keep it from happening, but can't just be held off:
 * lock_timeout comes as a cancel, and a wait for somebody's lock has to end.
 *
 * Nor must anyone who listens and does not read: once the server's queue of
 * notifications is full, whoever sends one can't commit.
 */
static bool
try_step(Rotation *rotation, void (*step)(Rotation *, const ErrorData *), const ErrorData *error)
{
	volatile bool done = false;
	volatile bool cancelled = true;
	volatile int tries = 0;

	while (!done && cancelled && tries++ < MAX_STEP_TRIES)
	{
		PG_TRY();
		{
			step(rotation, error);
			done = true;
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(rotation->context);
			cancelled = geterrcode() == ERRCODE_QUERY_CANCELED;
			if (geterrcode() == ERRCODE_PROGRAM_LIMIT_EXCEEDED && !rotation->unannounced)
				rotation->unannounced = cancelled = true;
			EmitErrorReport();
			FlushErrorState();
			AbortOutOfAnyTransaction();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(rotation->context);
	}
	return done;
}

/* The role's old verifier, where decide() would still allow it. */
static void
restore_after_error(Rotation *rotation, const ErrorData *error)
{
	const RotationFacts *facts = &rotation->facts;

	if (facts->old_verifier_kept && !facts->move_may_arrive && !facts->role_has[VERSION_CURRENT] &&
		facts->move != MOVE_SUCCEEDED)
		rotation_restore(rotation);
}

/*
 * However the run ended, a move without an answer is what matters about it:
 * the role keeps the new password, and AWSCURRENT may not log in.
 */
static void
explain_unanswered_move(const Rotation *rotation, ErrorData *error)
{
	const char *secret;

	if (!rotation->facts.move_may_arrive || rotation->facts.move == MOVE_SUCCEEDED)
		return;
	secret = ROTATION_SECRET(rotation);
	error->sqlerrcode = ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN;
	error->detail =
		psprintf("Role \"%s\" was left with the password of version %s, to which the label may still move. "
				 "The run ended with: %s",
				 rotation->registration->role_name, rotation->move_to, error->message);
	error->message = psprintf("could not learn whether AWSCURRENT of secret \"%s\" was moved", secret);
	error->hint = psprintf("Call %s('%s') again: it looks where the label is, and goes on from there.",
						   rotation_function(rotation), secret);
}

/* A run is cancelled by its time limit and by SIGTERM, too. */
static void
explain_cancel(ErrorData *error, bool timed_out)
{
	if (error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		return;
	if (rotation_is_terminated())
	{
		error->sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
		error->message = "terminating the rotation due to administrator command";
		error->hint = "Running the rotation again is safe.";
	}
	else if (timed_out)
		error->message =
			psprintf("the run took longer than rotate_ext.worker_timeout (%d ms)", rotate_worker_timeout);
	else
	{
		error->message = "canceling the run due to user request";
		error->hint = "Running it again is safe.";
	}
}

/* Wipe what is secret: the process may live on for a while, to be heard. */
static void
close_run(Rotation *rotation)
{
	rotation_end_termination();
	rotation_forget_values(rotation);
	role_verifier_free(rotation->old_verifier);
	rotation->old_verifier = NULL;
	if (rotation->random_password != NULL)
		explicit_bzero(rotation->random_password, rotation->random_length);
	if (rotation->client != NULL)
		sm_close(rotation->client);
	rotation->client = NULL;

	/* the process may stay for a moment (pace_linger()), and must not hold up the next one */
	if (OidIsValid(rotation->turn_of))
		turn_release(TURN_ROTATION, rotation->turn_of, true);
	rotation->turn_of = InvalidOid;
}

/* A variable or a file that is quoted may not be in the database's encoding, and rotate_history has to be readable. */
static void
mend_encoding(char *text)
{
	if (text == NULL || pg_verifymbstr(text, (int) strlen(text), true))
		return;
	for (; *text != '\0'; text++)
	{
		if (IS_HIGHBIT_SET(*text))
			*text = '?';
	}
}

pg_noreturn static void
fail(Rotation *rotation)
{
	ErrorData *error;

	MemoryContextSwitchTo(rotation->context);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(rotation->context);
	mend_encoding(error->message);
	mend_encoding(error->detail);
	mend_encoding(error->hint);

	rotation->timed_out = rotation_stop_time();
	explain_cancel(error, rotation->timed_out);
	explain_unanswered_move(rotation, error);

	/* a standby that does not answer is no reason to leave this undone, nor to wait for it any longer */
	(void) set_config_option("synchronous_commit", "local", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0,
							 false);
	(void) try_step(rotation, restore_after_error, error);
	(void) try_step(rotation, rotation_rollback_undo, error);

	/* a server that is gone is no failure of the rotation: it is interrupted, and followed up as such */
	if (!PostmasterIsAlive())
		proc_exit(1);
	(void) try_step(rotation, rotation_end_record, error);
	close_run(rotation);
	ReThrowError(error);
}

static void
run(Rotation *rotation)
{
	RotationResult *result = rotation->result;

	switch (rotation->order->operation)
	{
		case OPERATION_ROTATE:
		case OPERATION_EVENT:
		case OPERATION_RECOVER:
			rotation->verb = "rotate";
			open_run(rotation);
			rotate(rotation);
			break;
		case OPERATION_ROLLBACK:
			rotation->verb = "roll back";
			open_run(rotation);
			rotate(rotation);
			break;
		case OPERATION_REGISTER:
			rotation->verb = "register";
			rotation->client = sm_open(region_of(rotation->order->secret));
			rotation_register(rotation);
			result->outcome = "checked";
			break;
		case OPERATION_LIST_DUE:
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("a list of what is due is no rotation")));
			break;
		case OPERATION_ABANDON:
			rotation->verb = "abandon";
			open_run(rotation);
			rotation_abandon(rotation);
			break;
		case OPERATION_CREDENTIALS:
			rotation_show_access(rotation);
			return;
	}

	result->secret = rotation->registration->secret;
	result->arn = rotation->registration->arn;
	result->role = rotation->registration->role_name;
	result->role_oid = rotation->registration->role_oid;
	result->host = rotation->registration->host;
	result->port = rotation->registration->port;
	result->instance_hash = rotation->registration->instance_hash;
	result->lockout_us = rotation->lockout_ended ? rotation->lockout_us : -1;
	if (!try_step(rotation, rotation_end_record, NULL))
		rotation_notice(result, WARNING, "the outcome of this run could not be recorded in rotate_history",
						NULL, "The server's log says why.");
}

void
rotation_run(const RotationOrder *order, RotationResult *result)
{
	Rotation *rotation = palloc0(sizeof(Rotation));
	MemoryContext caller = CurrentMemoryContext;

	rotation->context = AllocSetContextCreate(CurrentMemoryContext, "rotation", ALLOCSET_DEFAULT_SIZES);
	rotation->order = order;
	rotation->result = result;
	INSTR_TIME_SET_CURRENT(rotation->started);

	rotation_start_time();

	MemoryContextSwitchTo(rotation->context);
	initStringInfo(&rotation->phases);
	PG_TRY();
	{
		run(rotation);
	}
	PG_CATCH();
	{
		fail(rotation);
	}
	PG_END_TRY();
	(void) rotation_stop_time();

	result->total_us = (int64) (rotation_elapsed_ms(rotation) * 1000);
	close_run(rotation);
	MemoryContextSwitchTo(caller);
}
