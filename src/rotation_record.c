/*-------------------------------------------------------------------------
 *
 * rotation_record.c
 *	  The row of a run: its beginning, its end, and when to try again.
 *
 * A failed call of a function is over, as any failed statement is: what it
 * had not begun is not done later behind its caller's back.  But once it has made an
 * AWSPENDING version the rotation is under way, and stands in the way of the
 * next one; and where it leaves open what AWSCURRENT is, or what the role's
 * password is, that must be settled.  These are the launcher's to go on with,
 * and so is what it began itself.
 *
 * src/rotation_record.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "core/retry.h"
#include "launcher.h"
#include "rotation_internal.h"

/*
 * After the launcher has given a role AWSCURRENT's password it looks once more: a
 * move that a crashed run had sent may have arrived after that.
 */
#define LOOK_AGAIN_MS 60000

/*
 * A step of the service's rotation may leave the role without AWSCURRENT's password
 * (rotate_ext.combine_steps).  The next steps take seconds, and where they do not
 * come at all, nobody can log in.
 */
#define STEPS_MS 300000

/* For so long after a move labels that contradict it are looked at again. */
#define RECENT_SECONDS 300

/* The pause after a run that left open what logs in grows no longer than after this attempt: about a minute. */
#define MAX_OPEN_ATTEMPT 6

/* So many looks, a quarter of an hour, have their password rejected by what is not this server. */
#define MAX_REJECTED_ATTEMPT 10

void
rotation_begin_record(Rotation *rotation)
{
	static const char *const sources[] = {
		[OPERATION_ROTATE] = "rotate_now",           [OPERATION_REGISTER] = "rotate_register",
		[OPERATION_ABANDON] = "rotate_abandon",      [OPERATION_ROLLBACK] = STORE_SOURCE_ROLLBACK,
		[OPERATION_RECOVER] = STORE_SOURCE_LAUNCHER,
	};
	static const char *const steps[] = {
		[REQUEST_CREATE_SECRET] = "rotate_event: createSecret",
		[REQUEST_SET_SECRET] = "rotate_event: setSecret",
		[REQUEST_TEST_SECRET] = "rotate_event: testSecret",
		[REQUEST_FINISH_SECRET] = "rotate_event: finishSecret",
	};
	const RotationOrder *order = rotation->order;
	RunStart start;

	if (order->dry_run || order->operation == OPERATION_REGISTER)
		return;
	rotation_begin();
	store_begin_run(order->secret, rotation->registration,
					order->operation == OPERATION_EVENT ? steps[order->step] : sources[order->operation],
					order->requested_by, &start);
	rotation_commit();
	rotation->run_id = start.run_id;
	rotation->attempt = start.attempt;
	rotation->begun = start.begun;
	rotation->owed_at = start.owed_at;
}

/* May AWSCURRENT not be what logs in? */
static bool
is_open(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;

	if (facts->move == MOVE_SUCCEEDED)
		return false;
	return facts->move_may_arrive ||
		   (rotation->set_version_id != NULL && !rotation->restored && !facts->role_has[VERSION_CURRENT]);
}

/*
 * Has a look of the launcher's found nothing to do, and AWSCURRENT elsewhere than
 * where we have just moved it?  What Secrets Manager shows may be out of date
 * for a moment, and then it looks as if all were well.
 */
static bool
saw_old_labels(const Rotation *rotation)
{
	const char *current = rotation->versions[VERSION_CURRENT].id;
	const char *moved_to;
	bool result;

	if (rotation->order->operation != OPERATION_RECOVER ||
		strcmp(rotation->result->outcome, "completed") == 0 || current == NULL)
		return false;
	rotation_begin();
	moved_to = store_moved_to(rotation->registration->arn, RECENT_SECONDS);
	result = moved_to != NULL && strcmp(moved_to, current) != 0;
	rotation_commit();
	return result;
}

static bool
is_looked_after(void)
{
	bool result;

	rotation_begin();
	result = launcher_looks_after();
	rotation_commit();
	return result;
}

/*
 * Has the run done what the launcher was to look at the secret for?  A call that
 * failed has not, whatever it was refused for; nor has one that succeeded and
 * left the role without AWSCURRENT's password, as rotate_abandon() and the
 * service's steps may; nor one that moved no label, where a move that an earlier
 * run had sent may still arrive.
 */
static bool
takes_place_of_look(const Rotation *rotation, const ErrorData *error)
{
	const RotationFacts *facts = &rotation->facts;
	bool result;

	if (rotation->order->operation == OPERATION_RECOVER)
		return true;
	if (error != NULL)
		return false;
	if (facts->move == MOVE_SUCCEEDED)
		return true;
	rotation_begin();
	result = facts->role_has[VERSION_CURRENT] &&
			 !store_may_have_moved(rotation->registration->arn, RECENT_SECONDS);
	rotation_commit();
	return result;
}

/*
 * Did a look fail before it had seen everything, while the role has a password
 * that a run has left it with?  It is open then what logs in, and whatever kept
 * it from looking may be set right.
 */
static bool
was_kept_from_looking(const Rotation *rotation)
{
	RoleState role;
	bool result;

	if (rotation->observed || rotation->registration == NULL)
		return false;
	rotation_begin();
	result = role_lookup_oid(rotation->registration->role_oid, &role) && role.has_password &&
			 store_is_unsettled_verifier(role.oid, role.verifier_hash);
	rotation_commit();
	return result;
}

/*
 * Is there no way to this server?  The role has the password that was refused
 * here, or could not be sent: after a failover the address may come later than the
 * promotion.  But a copy of the server sees the same, and must not have the
 * original refuse it for ever.
 */
static bool
lacks_way(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;
	VersionRef ref;

	for (ref = VERSION_CURRENT; ref < VERSION_REF_COUNT; ref++)
	{
		const TriedLogin *tried = rotation_tried_login(rotation, ref);

		if (tried == NULL || tried->proof != LOGIN_FAILED)
			continue;
		if (tried->result.outcome == LOGIN_OTHER_SERVER)
			return true;
		if (facts->role_has[ref] && !facts->role_has[VERSION_CURRENT] &&
			(tried->result.outcome != LOGIN_PASSWORD_REJECTED || rotation->attempt < MAX_REJECTED_ATTEMPT))
			return true;
	}
	return false;
}

/* What kind of failure the error is, for when to try again. */
static RetryClass
failure_class(const Rotation *rotation, const ErrorData *error)
{
	RotationOperation operation = rotation->order->operation;

	/* that AWSCURRENT may not log in can't wait for long, whatever the error is */
	if (is_open(rotation) || rotation->timed_out)
		return RETRY_SOON;
	/* what an earlier run had begun is no worse for a rollback that did not come about */
	if (operation == OPERATION_ROLLBACK && rotation->rollback.target == NULL)
		return RETRY_SOON;
	/*
	 * A look that was cancelled has found out nothing, and is made again as one that
	 * is terminated.  So is one that a setting or a file has kept from it, as after
	 * the promotion of a standby that has others: whoever sets that right tells nobody.
	 */
	if (operation == OPERATION_RECOVER &&
		(error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_CONFIG_FILE_ERROR ||
		 lacks_way(rotation) || was_kept_from_looking(rotation)))
		return RETRY_SOON;
	return retry_class(unpack_sql_state(error->sqlerrcode));
}

/* How long to wait with the look at what a run without an error has left; -1: there is none. */
static long
look_delay_ms(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;

	if (strcmp(rotation->result->outcome, "repaired") == 0 || saw_old_labels(rotation))
		return LOOK_AGAIN_MS;
	return facts->move != MOVE_SUCCEEDED && !facts->role_has[VERSION_CURRENT] ? STEPS_MS : -1;
}

/* When the launcher is to look at the secret again, because of this run; 0: it need not. */
static TimestampTz
plan_retry(const Rotation *rotation, const ErrorData *error)
{
	RotationOperation operation = rotation->order->operation;
	bool open = is_open(rotation);
	long delay;

	if (error == NULL)
	{
		delay = look_delay_ms(rotation);
		return delay < 0 ? 0 : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay);
	}
	if (!open && operation != OPERATION_RECOVER && (rotation->begun == NULL || operation == OPERATION_EVENT))
		return 0;

	delay = retry_delay_ms(failure_class(rotation, error),
						   open ? Min(rotation->attempt, MAX_OPEN_ATTEMPT) : rotation->attempt,
						   pg_prng_double(&pg_global_prng_state));
	/* as where it is a success: AWSCURRENT's password was given, and a crashed run's move may arrive after that */
	if (delay < 0 && rotation->repaired)
		delay = LOOK_AGAIN_MS;
	return delay < 0 ? 0 : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay);
}

void
rotation_end_record(Rotation *rotation, const ErrorData *error)
{
	RunEnd end = {.lockout_us = rotation->lockout_ended ? rotation->lockout_us : -1};
	TimestampTz planned = 0;
	RoleState role;
	bool found;

	if (rotation->run_id == 0)
		return;

	if (is_looked_after())
	{
		planned = plan_retry(rotation, error);
		end.retry_at = planned;
		if (!takes_place_of_look(rotation, error) && rotation->owed_at != 0)
			end.retry_at = planned != 0 ? Min(planned, rotation->owed_at) : rotation->owed_at;
	}
	end.outcome = error ? "failed" : rotation->result->outcome;
	end.version_id = rotation->result->version_id;
	end.phases = psprintf("[%s]", rotation->phases.data);
	if (error != NULL)
	{
		end.sqlstate = unpack_sql_state(error->sqlerrcode);
		end.error =
			error->detail ? psprintf("%s\nDETAIL:  %s", error->message, error->detail) : error->message;
		end.hint = error->hint;
	}
	rotation_begin();
	found = rotation->registration != NULL && role_lookup_oid(rotation->registration->role_oid, &role);
	store_end_run(rotation->run_id, &end, found && role.has_password ? role.verifier_hash : NULL,
				  !rotation->unannounced);
	rotation_commit();

	if (error != NULL && planned != 0 && rotation->order->operation != OPERATION_RECOVER)
		rotation_notice(rotation->result, NOTICE,
						psprintf("the launcher tries again at %s", timestamptz_to_str(planned)), NULL, NULL);
}
