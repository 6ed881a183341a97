/*-------------------------------------------------------------------------
 *
 * rotation_rollback.c
 *	  Back to AWSPREVIOUS: move AWSPENDING to its version.
 *
 * The rest is an ordinary rotation, as safe to interrupt as any.  So
 * everything that can be checked is checked before the label is moved, the way
 * in is proved included: a copy of the server moves no label.  And the run's
 * row holds the version before the label is on it, as with a version that we
 * create: who comes next knows whose it is.
 *
 * A rollback that fails puts AWSPENDING back where it was, unless the role may
 * be left with the old password, or the run was told to stop.
 *
 * src/rotation_rollback.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rotation_internal.h"

/* Is AWSPENDING on a version of its own, which is not where it is to go? */
static bool
has_other_pending(const Rotation *rotation)
{
	const Version *versions = rotation->versions;

	return versions[VERSION_PENDING].id != NULL && !rotation->facts.pending_is_current &&
		   !rotation_same_version(versions[VERSION_PENDING].id, versions[VERSION_PREVIOUS].id);
}

/* The role has the password of an unfinished rotation, which AWSPENDING alone leads to. */
static bool
role_has_other_pending(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;

	return has_other_pending(rotation) && facts->role_has[VERSION_PENDING] &&
		   !facts->role_has[VERSION_CURRENT] && !facts->role_has[VERSION_PREVIOUS];
}

static void
check_target(Rotation *rotation)
{
	const char *secret = ROTATION_SECRET(rotation);
	const RotationFacts *facts = &rotation->facts;
	const Version *versions = rotation->versions;
	const Version *target = &versions[VERSION_PREVIOUS];

	if (target->id == NULL || rotation_same_version(target->id, versions[VERSION_CURRENT].id))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not roll back secret \"%s\": there is nothing to go back to", secret),
						errdetail("%s", target->id == NULL ? "No version carries AWSPREVIOUS."
														   : "AWSPREVIOUS is on AWSCURRENT's version."),
						errhint("Call rotate_now('%s') for a new password.", secret)));
	if (facts->previous == VALUE_EMPTY)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not roll back secret \"%s\": its AWSPREVIOUS version has no value", secret),
				 errhint("Call rotate_now('%s') for a new password.", secret)));
	if (facts->previous == VALUE_UNUSABLE)
		rotation_refuse_value(rotation, VERSION_PREVIOUS);
	if (facts->current == VALUE_USABLE &&
		strcmp(target->secret.password, versions[VERSION_CURRENT].secret.password) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PASSWORD),
						errmsg("could not roll back secret \"%s\": the AWSPREVIOUS version has the same "
							   "password as AWSCURRENT",
							   secret),
						errhint("Call rotate_now('%s') for a new password.", secret)));
	/* the label alone is wrong, and decide() moves none away from a value that it can't judge */
	if ((facts->current == VALUE_UNUSABLE || facts->current == VALUE_EMPTY) &&
		facts->role_has[VERSION_PREVIOUS])
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("could not roll back secret \"%s\": the value of its AWSCURRENT version cannot be "
					"used",
					secret),
			 errdetail("Role \"%s\" has the password of the AWSPREVIOUS version.",
					   rotation->registration->role_name),
			 errhint("Move AWSCURRENT to version %s by hand, with UpdateSecretVersionStage.", target->id)));
}

/* AWSPENDING leads to what may not be lost, or not be taken from the service. */
static void
check_pending(Rotation *rotation)
{
	const char *secret = ROTATION_SECRET(rotation);
	const RotationFacts *facts = &rotation->facts;
	const Version *pending = &rotation->versions[VERSION_PENDING];

	if (!has_other_pending(rotation))
		return;
	if (facts->pending == VALUE_EMPTY)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("could not roll back secret \"%s\": a rotation that Secrets Manager started is under way",
					secret),
			 errdetail("The AWSPENDING version %s has no value yet.", pending->id),
			 errhint("Wait for it to end. If it is stuck, call rotate_abandon('%s') first.", secret)));
	if (role_has_other_pending(rotation) && !facts->set_by_us)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg(
				 "could not roll back secret \"%s\": role \"%s\" has the password of its AWSPENDING version",
				 secret, rotation->registration->role_name),
			 errdetail("Someone else has set it. Without AWSPENDING it would be known to nobody."),
			 errhint("Call rotate_now('%s') to finish that rotation.", secret)));
}

/* The facts, with AWSPENDING on AWSPREVIOUS's version. */
static RotationFacts
facts_of_rollback(const Rotation *rotation)
{
	RotationFacts facts = rotation->facts;

	facts.pending = facts.previous;
	facts.pending_is_current = false;
	facts.pending_same_password = false;
	facts.pending_written_by_us = true; /* for own_pending_only: it was AWSCURRENT */
	facts.role_has[VERSION_PENDING] = facts.role_has[VERSION_PREVIOUS];
	facts.login[VERSION_PENDING] = facts.login[VERSION_PREVIOUS];
	facts.created_pending = true; /* nothing is created in this run */
	return facts;
}

/* Has some login been proved with the role as it is? */
static bool
has_proof(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;
	VersionRef ref;

	for (ref = VERSION_CURRENT; ref < VERSION_REF_COUNT; ref++)
	{
		if (facts->role_has[ref] && facts->login[ref] == LOGIN_PROVED)
			return true;
	}
	return false;
}

/*
 * The role has a password that we set for a version without a label, so there
 * is no login to prove: give it AWSCURRENT's, whose login is proved then.
 */
static void
repair_first(Rotation *rotation)
{
	RotationFacts *facts = &rotation->facts;
	const bool repair = facts->repair;
	RotationAction action;

	facts->request = REQUEST_OBSERVE;
	facts->repair = true;
	for (action = decide(facts); action.type != ACTION_DONE; action = decide(facts))
	{
		if (action.type == ACTION_REFUSE)
			rotation_refuse(rotation, action);
		rotation_check_termination();
		rotation_act(rotation, action);
	}
	facts->request = REQUEST_ROTATE_NOW;
	facts->repair = repair;
}

/* Refuse what the rotation would refuse, and prove the way in.  False: look at everything again. */
static bool
prove_way_in(Rotation *rotation)
{
	const RotationFacts facts = facts_of_rollback(rotation);
	RotationAction action = decide(&facts);

	if (action.type == ACTION_REFUSE)
		rotation_refuse(rotation, action);
	if (action.type == ACTION_PROVE_LOGIN && action.version == VERSION_PENDING)
		action.version = VERSION_PREVIOUS;
	else if (action.type != ACTION_PROVE_LOGIN)
	{
		if (has_proof(rotation))
			return true;
		if (!role_has_other_pending(rotation))
		{
			repair_first(rotation);
			return false;
		}
		action = (RotationAction){ACTION_PROVE_LOGIN, VERSION_PENDING, REFUSE_NOTHING};
	}

	rotation_act(rotation, action);
	if (rotation->facts.login[action.version] != LOGIN_PROVED)
	{
		action.type = ACTION_REFUSE;
		action.reason = REFUSE_CURRENT_LOGIN_FAILED;
		rotation_refuse(rotation, action);
	}
	return false;
}

/* The row says where AWSPENDING is to go, before it goes there. */
static void
record_target(Rotation *rotation, const char *version_id)
{
	rotation_begin();
	store_run_creates(rotation->run_id, version_id);
	rotation_commit();
	rotation_check_time();
	if (rotation->rollback.target == NULL)
		rotation->rollback.begun = rotation->begun;
	rotation->rollback.target = pstrdup(version_id);
	rotation->begun = rotation->rollback.target;
}

/* AWSPENDING is not there, and will not come: the row is as it was. */
static void
forget_target(Rotation *rotation)
{
	rotation_begin();
	store_run_gives_up(rotation->run_id, rotation->rollback.begun);
	rotation_commit();
	rotation->begun = rotation->rollback.begun;
	rotation->rollback.target = NULL;
}

/* AWSPENDING is on AWSPREVIOUS's version. */
static void
adopt_target(Rotation *rotation)
{
	Version *pending = &rotation->versions[VERSION_PENDING];
	Version *previous = &rotation->versions[VERSION_PREVIOUS];

	rotation->facts = facts_of_rollback(rotation);
	if (pending->has_secret)
		secret_value_free(&pending->secret);
	*pending = *previous;
	memset(previous, 0, sizeof(Version));
	previous->id = pstrdup(pending->id);
	/* as where it is not fetched: see RotationFacts */
	rotation->facts.previous = VALUE_NO_VERSION;
	rotation->facts.role_has[VERSION_PREVIOUS] = false;
	rotation_derive_facts(rotation);
}

/* Send the label once.  The call, with its outcome. */
static SmCall *
send_label(Rotation *rotation, const char *move_to, const char *remove_from)
{
	RollbackState *rollback = &rotation->rollback;
	SmCall *call = sm_update_secret_version_stage(rotation->client, rotation->registration->arn,
												  version_ref_label(VERSION_PENDING), move_to, remove_from);

	PG_TRY();
	{
		rotation_perform(rotation, &call, 1);
	}
	PG_CATCH();
	{
		/* interrupted, perhaps with the request under way */
		rollback->label_may_arrive |= call->error.maybe_applied;
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!call->ok)
		rollback->label_may_arrive |= call->error.maybe_applied;
	return call;
}

/* The label was refused, and so was each before it. */
pg_noreturn static void
raise_refused(Rotation *rotation, SmCall *call)
{
	if (!rotation->rollback.label_may_arrive)
		forget_target(rotation);
	sm_ereport(call, ROTATION_SECRET(rotation));
}

/* Move AWSPENDING.  False: look at everything again. */
static bool
move_pending(Rotation *rotation)
{
	RollbackState *rollback = &rotation->rollback;
	const Version *versions = rotation->versions;
	const char *from = versions[VERSION_PENDING].id;
	const char *to = versions[VERSION_PREVIOUS].id;
	SmCall *call;

	if (!rotation_same_version(rollback->target, to))
		record_target(rotation, to);
	rollback->from = from ? pstrdup(from) : NULL;
	if (rotation_same_version(from, to))
	{
		/* an earlier run has moved it: where a finished rotation leaves it is as good as where it was */
		rollback->from = pstrdup(versions[VERSION_CURRENT].id);
		rollback->moved_label = true;
		return true;
	}

	call = send_label(rotation, to, from);
	if (call->ok)
	{
		sm_call_free(call);
		rollback->moved_label = true;
		return true;
	}
	if ((!call->error.maybe_applied && call->error.class != AWS_INVALID) ||
		rollback->tries >= MAX_MOVES_AGAIN)
		raise_refused(rotation, call);
	sm_call_free(call);

	/* it may have arrived, or someone else may have moved the label: look again */
	rotation_pause(FIRST_MOVE_WAIT_MS << rollback->tries++);
	rotation_observe(rotation);
	if (rollback->label_may_arrive && rotation_same_version(versions[VERSION_PENDING].id, rollback->target))
		rollback->moved_label = true;
	return false;
}

/*
 * An earlier rollback was interrupted, and AWSCURRENT has arrived since where
 * that one was to take it.  To call again is to ask for the same, and not for
 * the way back.
 */
static bool
is_done_already(Rotation *rotation)
{
	const Version *versions = rotation->versions;
	const char *secret = ROTATION_SECRET(rotation);
	char *target;

	if (versions[VERSION_CURRENT].id == NULL || has_other_pending(rotation))
		return false;
	rotation_begin();
	target = store_open_rollback(rotation->registration->arn, rotation->run_id);
	rotation_commit();
	if (!rotation_same_version(target, versions[VERSION_CURRENT].id))
		return false;
	repair_first(rotation);
	record_target(rotation, target);
	rotation_notice(rotation->result, NOTICE,
					psprintf("an earlier rollback of secret \"%s\" was interrupted, and is done", secret),
					psprintf("AWSCURRENT is on version %s, which that rollback went back to.", target),
					psprintf("Call rotate_rollback('%s') again to leave that version, too.", secret));
	return true;
}

/*
 * Does Secrets Manager show the labels as they were before a rotation of ours
 * that has just ended?  Then AWSPREVIOUS is not yet where it should be.
 */
static bool
is_out_of_date(Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;
	const Version *versions = rotation->versions;
	char *moved_to;

	if (facts->role_has[VERSION_CURRENT])
		return false;
	rotation_begin();
	moved_to = store_moved_to(rotation->registration->arn, 0);
	rotation_commit();
	return (facts->role_has[VERSION_PENDING] &&
			rotation_same_version(moved_to, versions[VERSION_PENDING].id)) ||
		   (facts->role_has[VERSION_PREVIOUS] &&
			rotation_same_version(moved_to, versions[VERSION_PREVIOUS].id));
}

bool
rotation_rollback(Rotation *rotation)
{
	RollbackState *rollback = &rotation->rollback;
	double started_ms;

	if (is_done_already(rotation))
		return false;
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		check_target(rotation);
		check_pending(rotation);
		if (is_out_of_date(rotation) && rotation_wait_for_labels(rotation))
		{
			rotation_observe(rotation);
			continue;
		}
		if (!prove_way_in(rotation))
			continue;
		started_ms = rotation_elapsed_ms(rotation);
		if (move_pending(rotation))
			break;
	}
	adopt_target(rotation);
	memcpy(rollback->verifier_hash, rotation->role.verifier_hash, VERIFIER_HASH_LEN);
	rollback->role_had_target = rotation->facts.role_has[VERSION_PENDING];
	appendStringInfo(&rotation->phases, ", {\"action\": \"MOVE_PENDING\", \"at_ms\": %.3f, \"ms\": %.3f}",
					 started_ms, rotation_elapsed_ms(rotation) - started_ms);
	return true;
}

/* Has the role a password that AWSPENDING need not lead to? */
static bool
role_is_as_before(Rotation *rotation)
{
	const RollbackState *rollback = &rotation->rollback;
	RoleState role;
	bool same;

	rotation_begin();
	same = role_lookup_oid(rotation->registration->role_oid, &role) &&
		   memcmp(role.verifier_hash, rollback->verifier_hash, VERIFIER_HASH_LEN) == 0;
	rotation_commit();
	return same && !rollback->role_had_target;
}

void
rotation_rollback_undo(Rotation *rotation, const ErrorData *error)
{
	RollbackState *rollback = &rotation->rollback;
	const char *secret = ROTATION_SECRET(rotation);
	SmCall *call;

	if (rollback->target == NULL || (!rollback->moved_label && !rollback->label_may_arrive))
		return;
	/* told to stop: whoever comes next finishes the rollback, as after a crash */
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		return;
	/* which it is not, either, while AWSCURRENT's move may arrive */
	if (rollback->moved_label && !role_is_as_before(rotation))
		return;

	call = send_label(rotation, rollback->from, rollback->target);
	if (call->ok && !rollback->label_may_arrive)
		forget_target(rotation);
	if (!call->ok)
		rotation_notice(
			rotation->result, WARNING,
			psprintf("AWSPENDING of secret \"%s\" may have been left on version %s", secret,
					 rollback->target),
			psprintf("It could not be put back%s%s.", call->error.code[0] != '\0' ? ": " : "",
					 call->error.code),
			psprintf(
				"Call rotate_rollback('%s') again to go back to that version, or rotate_abandon('%s') to "
				"stay with AWSCURRENT.",
				secret, secret));
	sm_call_free(call);
}
