/*-------------------------------------------------------------------------
 *
 * rotation_act.c
 *	  Act: carry out what decide() chose, and bring the facts up to date.
 *
 * Where an action's outcome is certain, the facts are changed here and
 * nothing is asked again (that would cost requests inside the lockout
 * window); where it is not, everything is observed anew.
 *
 * src/rotation_act.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "guc.h"
#include "rotation_internal.h"

/* The shape of AWS's own version ids: a version 4 UUID. */
static char *
new_version_id(void)
{
	uint8 random[16];

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	random[6] = (random[6] & 0x0f) | 0x40;
	random[8] = (random[8] & 0x3f) | 0x80;
	return psprintf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", random[0],
					random[1], random[2], random[3], random[4], random[5], random[6], random[7], random[8],
					random[9], random[10], random[11], random[12], random[13], random[14], random[15]);
}

/* The random password, if it was not fetched along with the values. */
static void
need_random_password(Rotation *rotation)
{
	SmCall *call;

	if (rotation->random_password != NULL)
		return;

	call = rotation_random_password_call(rotation);
	rotation_perform(rotation, &call, 1);
	if (!call->ok)
		sm_ereport(call, ROTATION_SECRET(rotation));
	rotation->random_length = strlen(call->random_password);
	rotation->random_password = pstrdup(call->random_password);
	sm_call_free(call);
}

static void
wipe_random_password(Rotation *rotation)
{
	if (rotation->random_password == NULL)
		return;
	explicit_bzero(rotation->random_password, rotation->random_length);
	pfree(rotation->random_password);
	rotation->random_password = NULL;
}

/* Take the value just written as AWSPENDING's. */
static void
adopt_pending(Rotation *rotation, const char *text, size_t length, char *version_id)
{
	Version *pending = &rotation->versions[VERSION_PENDING];
	SecretValueError error;

	if (pending->has_secret)
		secret_value_free(&pending->secret);
	memset(pending, 0, sizeof(Version));
	pending->id = version_id;
	if (!secret_value_parse(text, length, &pending->secret, &error))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not read back the value made for secret \"%s\"", ROTATION_SECRET(rotation))));
	pending->has_secret = true;

	rotation->facts.pending = VALUE_USABLE;
	rotation->facts.pending_is_current = false;
	rotation->facts.pending_same_password = false;
	rotation->facts.pending_written_by_us = true;
	rotation->facts.role_has[VERSION_PENDING] = false;
	rotation->facts.created_pending = true;
	rotation_derive_facts(rotation);
}

/*
 * Where the event has a RotationToken, the value goes with it.  AWS does not
 * say whether it takes the token from another principal than the function's
 * role; where it does not, our own right to write the secret may be enough.
 */
static SmCall *
put_pending(Rotation *rotation, const char *version_id, const char *text, size_t length)
{
	const char *rotation_token = rotation->order->rotation_token;
	SmCall *call;

	if (rotation_token[0] != '\0')
	{
		call = sm_put_secret_value(rotation->client, rotation->registration->arn, version_id, text, length,
								   version_ref_label(VERSION_PENDING), rotation_token);
		rotation_perform(rotation, &call, 1);
		if (call->ok || call->error.class != AWS_ACCESS_DENIED || call->error.maybe_applied)
			return call;
		sm_call_free(call);
	}
	call = sm_put_secret_value(rotation->client, rotation->registration->arn, version_id, text, length,
							   version_ref_label(VERSION_PENDING), NULL);
	call->withheld = rotation_token[0] != '\0' ? rotation_token : NULL;
	rotation_perform(rotation, &call, 1);
	return call;
}

/* Put the value there, with its id on record before it is. */
static void
put_and_adopt_pending(Rotation *rotation, char *version_id, const char *text, size_t length)
{
	SmCall *call;

	rotation_begin();
	store_run_creates(rotation->run_id, version_id);
	rotation_commit();
	rotation_check_time();
	rotation->begun = pstrdup(version_id);

	call = put_pending(rotation, version_id, text, length);
	if (!call->ok)
	{
		/* what somebody else has put there is not ours */
		if (!call->error.maybe_applied)
		{
			rotation_begin();
			store_run_creates(rotation->run_id, NULL);
			rotation_commit();
			rotation->begun = NULL;
		}
		sm_ereport(call, ROTATION_SECRET(rotation));
	}
	sm_call_free(call);
	adopt_pending(rotation, text, length, version_id);
}

static void
create_pending(Rotation *rotation)
{
	const Version *current = &rotation->versions[VERSION_CURRENT];
	char *version_id;
	char *text;
	size_t length;

	need_random_password(rotation);
	if (secret_password_status(rotation->random_password, rotation->random_length) != SECRET_VALUE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PASSWORD),
				 errmsg("could not use the random password that Secrets Manager made for secret \"%s\"",
						ROTATION_SECRET(rotation))));

	/* the empty version that the service made is filled under its own id */
	if (rotation->facts.pending == VALUE_EMPTY)
		version_id = rotation->versions[VERSION_PENDING].id;
	else
		version_id = new_version_id();

	text = secret_value_with_password(&current->secret, rotation->random_password, &length);
	wipe_random_password(rotation);
	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("could not make a new value for secret \"%s\": it would be longer than 65536 bytes",
						ROTATION_SECRET(rotation)),
				 errhint("Register the secret with a shorter password_length, or take something out of its "
						 "value.")));

	PG_TRY();
	{
		put_and_adopt_pending(rotation, version_id, text, length);
	}
	PG_FINALLY();
	{
		secret_text_free(text, length);
	}
	PG_END_TRY();
}

/* A password checker, or PostgreSQL itself, does not take the password: say whose it is, and what now. */
pg_noreturn static void
refuse_password(const Rotation *rotation, VersionRef ref, const ErrorData *error)
{
	const char *hint = error->hint;

	if (hint == NULL && ref == VERSION_PENDING && rotation->order->operation == OPERATION_ROLLBACK)
		hint = psprintf("It was taken once, by other rules. Call rotate_now('%s') for a new password.",
						ROTATION_SECRET(rotation));
	else if (hint == NULL && ref == VERSION_PENDING)
		hint = psprintf("Call rotate_abandon('%s') to give this version up; rotate_now() then makes another.",
						ROTATION_SECRET(rotation));
	ereport(ERROR,
			(errcode(error->sqlerrcode),
			 errmsg("could not %s secret \"%s\": the password of its %s version was refused: %s",
					rotation->verb, ROTATION_SECRET(rotation), rotation_label(rotation, ref), error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0, hint ? errhint("%s", hint) : 0));
}

static bool
is_refused_password(const ErrorData *error)
{
	int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION || category == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION ||
		   category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION;
}

/*
 * One transaction that writes a password and the hash of its verifier.  A
 * synchronous standby's answer is waited for as the server is set up.
 */
static bool
set_password_once(Rotation *rotation, VersionRef ref, RoleVerifier **old)
{
	const Version *version = &rotation->versions[ref];
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;
	uint8 hash[VERIFIER_HASH_LEN];

	PG_TRY();
	{
		rotation_begin();
		store_run_lock(rotation->run_id);
		MemoryContextSwitchTo(rotation->context);
		*old = role_set_password(&rotation->role, version->secret.password, hash);
		(void) role_lookup_oid(rotation->registration->role_oid, &rotation->role);
		store_run_sets(rotation->run_id, version->id, hash);
		INSTR_TIME_SET_CURRENT(rotation->lockout_start);
		rotation_commit();
		memcpy(rotation->set_hash, hash, VERIFIER_HASH_LEN);
		done = true;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (is_refused_password(error))
		{
			FlushErrorState();
			refuse_password(rotation, ref, error);
		}
		/* someone else altered the role in between: look again */
		if (error->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE)
			PG_RE_THROW();
		FlushErrorState();
		FreeErrorData(error);
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

/* Have the two versions the same password?  No, where the first is not usable. */
static bool
has_password_of(const Rotation *rotation, VersionRef ref, VersionRef other)
{
	const Version *version = &rotation->versions[ref];

	if (ref == VERSION_PENDING && rotation->facts.pending_is_current)
		version = &rotation->versions[VERSION_CURRENT];
	return version->has_secret && version->problem == NULL &&
		   strcmp(version->secret.password, rotation->versions[other].secret.password) == 0;
}

static void
set_password(Rotation *rotation, VersionRef ref)
{
	RotationFacts *facts = &rotation->facts;
	VersionRef other;
	const Version *version = &rotation->versions[ref];
	RoleVerifier *old = NULL;
	TriedLogin *tried;
	bool locks_out = facts->role_has[VERSION_CURRENT] && ref != VERSION_CURRENT;

	/* while the role is locked out there is no time for it */
	if (locks_out)
		sm_renew_credentials(rotation->client);

	rotation_begin();
	store_run_intends(rotation->run_id, version->id);
	rotation_commit();

	/* a dead synchronous standby stops the run here, before anything is changed */
	rotation_check_time();
	rotation_defer_termination();

	if (!set_password_once(rotation, ref, &old))
	{
		rotation_observe(rotation);
		return;
	}

	/* of two in a row the way back is to what the role had before the first */
	if (facts->old_verifier_kept)
		role_verifier_free(old);
	else
	{
		role_verifier_free(rotation->old_verifier);
		rotation->old_verifier = old;
	}
	rotation->set_version_id = pstrdup(version->id);
	rotation->restored = false;
	memcpy(rotation->seen_hash, rotation->set_hash, VERIFIER_HASH_LEN);
	if (locks_out)
		rotation->lockout_begun = true;
	if (ref == VERSION_CURRENT)
		rotation->repaired = true;

	rotation_forget_proofs(rotation);
	tried = rotation_tried_login(rotation, ref);
	if (tried != NULL)
		tried->proof = LOGIN_NOT_TRIED;

	facts->set_by_us = true;
	for (other = VERSION_CURRENT; other < VERSION_REF_COUNT; other++)
		facts->role_has[other] = has_password_of(rotation, other, ref);
	rotation_derive_facts(rotation);
}

static void
end_lockout(Rotation *rotation)
{
	instr_time now;

	if (!rotation->lockout_begun || rotation->lockout_ended)
		return;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, rotation->lockout_start);
	/* there are several where the label's move was throttled */
	rotation->lockout_us += INSTR_TIME_GET_MICROSEC(now);
	rotation->lockout_ended = true;
}

/* The record of the login of the version that carries the label; made where there is none. */
static TriedLogin *
get_tried_login(Rotation *rotation, VersionRef ref)
{
	TriedLogin *tried = rotation_tried_login(rotation, ref);

	if (tried == NULL)
	{
		tried = palloc0(sizeof(TriedLogin));
		tried->version_id = pstrdup(rotation->versions[ref].id);
		rotation->logins = lappend(rotation->logins, tried);
	}
	return tried;
}

/* Has somebody else dropped or renamed the role, or given it another password, since it was looked at? */
static bool
role_was_changed(const Rotation *rotation)
{
	RoleState role;
	bool same;

	rotation_begin();
	same = role_lookup_oid(rotation->registration->role_oid, &role) &&
		   strcmp(NameStr(role.name), rotation->registration->role_name) == 0 &&
		   memcmp(role.verifier_hash, rotation->seen_hash, VERIFIER_HASH_LEN) == 0;
	rotation_commit();
	return !same;
}

static void
prove_login(Rotation *rotation, VersionRef ref)
{
	const Registration *registration = rotation->registration;
	const SecretValue *secret = &rotation->versions[ref].secret;
	TriedLogin *tried = get_tried_login(rotation, ref);
	LoginTarget target = {
		.host = pstrdup(secret->host),
		.port = secret->port,
		.dbname = pstrdup(secret->dbname),
		.user = pstrdup(secret->username),
		.password = secret->password,
		.ssl = secret->ssl,
		.hostaddr = registration->login_host,
		.allow_plaintext_login = registration->allow_plaintext_login,
		.md5_verifier = rotation->role.is_md5,
		.roleid = registration->role_oid,
		.current_user = registration->role_name,
	};

	login_prove(&target, &tried->result);
	target.password = NULL;
	tried->target = target;
	if (tried->result.outcome == LOGIN_OK)
	{
		tried->proof = LOGIN_PROVED;
		strlcpy(rotation->tls, tried->result.tls, sizeof(rotation->tls));
	}
	else if (role_was_changed(rotation))
	{
		/* what the server said of that login is no longer what is wrong, and perhaps nothing is */
		tried->proof = LOGIN_NOT_TRIED;
		rotation_observe_role(rotation);
	}
	else
		tried->proof = LOGIN_FAILED;
	rotation_derive_facts(rotation);
}

/* AWSCURRENT is where AWSPENDING is, and what it left is AWSPREVIOUS: as Secrets Manager has just done it. */
static void
adopt_move(Rotation *rotation)
{
	RotationFacts *facts = &rotation->facts;
	Version *versions = rotation->versions;

	if (versions[VERSION_PREVIOUS].has_secret)
		secret_value_free(&versions[VERSION_PREVIOUS].secret);
	versions[VERSION_PREVIOUS] = versions[VERSION_CURRENT];
	versions[VERSION_CURRENT] = versions[VERSION_PENDING];
	memset(&versions[VERSION_PENDING], 0, sizeof(Version));
	versions[VERSION_PENDING].id = versions[VERSION_CURRENT].id;

	facts->previous = facts->current;
	facts->current = facts->pending;
	facts->role_has[VERSION_PREVIOUS] = facts->role_has[VERSION_CURRENT];
	facts->role_has[VERSION_CURRENT] = facts->role_has[VERSION_PENDING];
	facts->pending_is_current = true;
	facts->pending_same_password = false;
	facts->move = MOVE_SUCCEEDED;
	rotation_derive_facts(rotation);
}

static void
move_current(Rotation *rotation)
{
	RotationFacts *facts = &rotation->facts;
	const bool may_arrive = facts->move_may_arrive;
	SmCall *call;

	if (facts->move == MOVE_UNANSWERED)
	{
		if (rotation->moves_again >= MAX_MOVES_AGAIN)
			rotation_refuse(rotation, (RotationAction){ACTION_REFUSE, VERSION_NONE, REFUSE_MOVE_UNANSWERED});
		rotation_pause(FIRST_MOVE_WAIT_MS << rotation->moves_again++);
	}
	rotation->move_from = pstrdup(rotation->versions[VERSION_CURRENT].id);
	rotation->move_to = pstrdup(rotation->versions[VERSION_PENDING].id);
	call = sm_update_secret_version_stage(rotation->client, rotation->registration->arn,
										  version_ref_label(VERSION_CURRENT), rotation->move_to,
										  rotation->move_from);

	rotation_await_answer(true);
	PG_TRY();
	{
		rotation_perform(rotation, &call, 1);
	}
	PG_CATCH();
	{
		rotation_await_answer(false);
		/* interrupted, perhaps with the request under way */
		if (call->error.maybe_applied)
		{
			facts->move = MOVE_UNANSWERED;
			facts->move_may_arrive = true;
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
	rotation_await_answer(false);
	if (call->ok)
	{
		end_lockout(rotation);
		sm_call_free(call);
		adopt_move(rotation);
		return;
	}

	if (rotation->move_failure != NULL)
		sm_call_free(rotation->move_failure);
	rotation->move_failure = call;
	facts->move = call->error.maybe_applied ? MOVE_UNANSWERED : MOVE_REFUSED;
	facts->move_may_arrive = may_arrive || call->error.maybe_applied;

	/* someone else may have moved the label, or ours may have arrived after all: look again */
	rotation_observe(rotation);

	/* refused for where the label is, yet seen where it was: what was seen is out of date */
	while (facts->move == MOVE_REFUSED && call->error.class == AWS_INVALID &&
		   rotation_wait_for_labels(rotation))
		rotation_observe(rotation);
	if (facts->move == MOVE_SUCCEEDED)
		end_lockout(rotation);
}

void
rotation_restore(Rotation *rotation)
{
	const Oid roleid = rotation->registration->role_oid;
	RoleState role;
	bool restored;
	bool replaced;

	/* no standby may hold up the way back: until this commit ends, nobody can log in */
	rotation_begin();
	(void) set_config_option("synchronous_commit", "local", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true,
							 0, false);
	restored = role_restore_verifier(roleid, rotation->old_verifier, rotation->set_hash);
	replaced = !restored && role_lookup_oid(roleid, &role);
	rotation_commit();
	role_verifier_free(rotation->old_verifier);
	rotation->old_verifier = NULL;
	rotation->restored = true;
	end_lockout(rotation);
	rotation_forget_proofs(rotation);
	rotation_derive_facts(rotation); /* or an error in what follows would have it done once more */

	if (replaced)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" was given another password during the rotation; it is left as it is",
						rotation->registration->role_name)));
}

static void
record_phase(Rotation *rotation, RotationAction action, double started_ms)
{
	appendStringInfo(&rotation->phases, "%s{\"action\": \"%s\"", rotation->phases.len > 0 ? ", " : "",
					 rotation_action_name(action.type));
	if (action.type == ACTION_SET_PASSWORD || action.type == ACTION_PROVE_LOGIN)
		appendStringInfo(&rotation->phases, ", \"version\": \"%s\"", version_ref_label(action.version));
	appendStringInfo(&rotation->phases, ", \"at_ms\": %.3f, \"ms\": %.3f}", started_ms,
					 rotation_elapsed_ms(rotation) - started_ms);
}

void
rotation_act(Rotation *rotation, RotationAction action)
{
	double started_ms = rotation_elapsed_ms(rotation);

	switch (action.type)
	{
		case ACTION_CREATE_PENDING:
			create_pending(rotation);
			break;
		case ACTION_SET_PASSWORD:
			set_password(rotation, action.version);
			break;
		case ACTION_PROVE_LOGIN:
			prove_login(rotation, action.version);
			break;
		case ACTION_MOVE_CURRENT:
			move_current(rotation);
			break;
		case ACTION_RESTORE_PASSWORD:
			rotation_restore(rotation);
			rotation_observe(rotation);
			break;
		default:
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
							errmsg("could not carry out action %s", rotation_action_name(action.type))));
	}
	record_phase(rotation, action, started_ms);
}
