/*-------------------------------------------------------------------------
 *
 * rotation_observe.c
 *	  Observe: the facts of Secrets Manager and of pg_authid.
 *
 * Two round trips: DescribeSecret, then every value that is needed at the same
 * time, and beside them the random password where a new version will be
 * made.  AWSPREVIOUS costs a third, and is read only where the role's password
 * is neither AWSCURRENT's nor AWSPENDING's.
 *
 * src/rotation_observe.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "rotation_internal.h"

static VersionProblem *
make_problem(int sqlerrcode, char *message, const char *hint)
{
	VersionProblem *problem = palloc(sizeof(VersionProblem));

	problem->sqlerrcode = sqlerrcode;
	problem->message = message;
	problem->hint = hint ? pstrdup(hint) : NULL;
	return problem;
}

void
rotation_forget_values(Rotation *rotation)
{
	int i;

	for (i = 0; i < VERSION_REF_COUNT; i++)
	{
		Version *version = &rotation->versions[i];

		if (version->has_secret)
			secret_value_free(&version->secret);
		memset(version, 0, sizeof(Version));
	}
}

void
rotation_check_description(const Rotation *rotation, const SmDescription *description)
{
	const char *secret = ROTATION_SECRET(rotation);

	if (description->deleted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not %s secret \"%s\": it is scheduled for deletion", rotation->verb, secret),
				 errhint("Cancel the deletion with RestoreSecret, or call rotate_unregister().")));
	if (description->owning_service != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not %s secret \"%s\": it is managed by the AWS service \"%s\"", rotation->verb,
						secret, description->owning_service),
				 errhint("Only that service may rotate it; keep this login in a secret of your own.")));
	if (description->primary_region != NULL &&
		strcmp(description->primary_region, sm_region(rotation->client)) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not %s secret \"%s\": it is a replica of the secret in region \"%s\"",
							   rotation->verb, secret, description->primary_region),
						errhint("Register the secret of the primary region; its replicas follow.")));
}

static void
find_labels(Rotation *rotation, const SmDescription *description)
{
	int i;
	int j;

	for (i = 0; i < description->nversions; i++)
	{
		const SmVersion *version = &description->versions[i];

		for (j = 0; j < version->nstages; j++)
		{
			VersionRef ref;

			for (ref = VERSION_CURRENT; ref < VERSION_REF_COUNT; ref++)
			{
				if (strcmp(version->stages[j], version_ref_label(ref)) == 0)
					rotation->versions[ref].id = pstrdup(version->version_id);
			}
		}
	}
}

VersionProblem *
version_problem_from_parse(const SecretValueError *error)
{
	static const char *shape =
		"A PostgreSQL secret is a JSON object with the strings engine (\"postgres\"), host, username and "
		"password, and, where they differ from the defaults, port and dbname.";

	switch (error->status)
	{
		case SECRET_VALUE_OK:
			return NULL;
		case SECRET_VALUE_NOT_JSON:
			return make_problem(
				ERRCODE_INVALID_JSON_TEXT,
				psprintf("it is not valid JSON (line %d, column %d)", error->line, error->column), shape);
		case SECRET_VALUE_NUMBER_TOO_LARGE:
			return make_problem(
				ERRCODE_INVALID_JSON_TEXT,
				psprintf("a number in it is too large (line %d, column %d)", error->line, error->column),
				NULL);
		case SECRET_VALUE_DUPLICATE_KEY:
			return make_problem(
				ERRCODE_INVALID_JSON_TEXT,
				psprintf("it has two keys of one name (line %d, column %d)", error->line, error->column),
				"Readers of JSON disagree on which of the two counts.");
		case SECRET_VALUE_NOT_OBJECT:
			return make_problem(ERRCODE_INVALID_PARAMETER_VALUE, pstrdup("it is not a JSON object"), shape);
		case SECRET_VALUE_FIELD_MISSING:
			return make_problem(ERRCODE_INVALID_PARAMETER_VALUE,
								psprintf("field \"%s\" is missing", error->field), shape);
		case SECRET_VALUE_FIELD_TYPE:
			return make_problem(ERRCODE_INVALID_PARAMETER_VALUE,
								psprintf("field \"%s\" is not %s", error->field, error->expected), shape);
		case SECRET_VALUE_FIELD_INVALID:
			return make_problem(ERRCODE_INVALID_PARAMETER_VALUE,
								psprintf("field \"%s\" is not %s", error->field, error->expected), shape);
		case SECRET_VALUE_WRONG_ENGINE:
			return make_problem(ERRCODE_INVALID_PARAMETER_VALUE,
								pstrdup("field \"engine\" is neither \"postgres\" nor \"aurora-postgresql\""),
								shape);
		case SECRET_VALUE_PASSWORD_EMPTY:
			return make_problem(ERRCODE_INVALID_PASSWORD, pstrdup("field \"password\" is empty"),
								"PostgreSQL lets nobody log in with an empty password.");
		case SECRET_VALUE_PASSWORD_NUL:
			return make_problem(ERRCODE_INVALID_PASSWORD, pstrdup("field \"password\" holds a NUL character"),
								"PostgreSQL's protocol cannot carry it.");
		case SECRET_VALUE_PASSWORD_IS_VERIFIER:
			return make_problem(ERRCODE_INVALID_PASSWORD,
								pstrdup("field \"password\" has the form of a password verifier"),
								"PostgreSQL would store it as it is, and nobody could log in with it.");
		case SECRET_VALUE_PASSWORD_TOO_LONG:
			return make_problem(ERRCODE_INVALID_PASSWORD, pstrdup("field \"password\" is too long"), NULL);
		case SECRET_VALUE_OUT_OF_MEMORY:
			break;
		default:
			break;
	}
	return make_problem(ERRCODE_OUT_OF_MEMORY, pstrdup("out of memory"), NULL);
}

/* Does the value name the registered role, host and port?  Invariant 3. */
static VersionProblem *
check_names(const Rotation *rotation, const SecretValue *secret)
{
	const Registration *registration = rotation->registration;
	static const char *hint = "If the change is meant, call rotate_unregister() and rotate_register() again.";

	if (strcmp(secret->username, registration->role_name) != 0)
		return make_problem(
			ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			psprintf("field \"username\" does not name the registered role \"%s\"", registration->role_name),
			hint);
	if (pg_strcasecmp(secret->host, registration->host) != 0)
		return make_problem(
			ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			psprintf("field \"host\" does not name the registered host \"%s\"", registration->host), hint);
	if (secret->port != registration->port)
		return make_problem(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							psprintf("field \"port\" is not the registered port %d", registration->port),
							hint);
	return NULL;
}

/* What GetSecretValue said of one version. */
static VersionValue
judge_value(Rotation *rotation, VersionRef ref, const SmCall *call)
{
	Version *version = &rotation->versions[ref];
	SecretValueError error;

	if (!call->ok)
	{
		if (call->error.class != AWS_NOT_FOUND)
			sm_ereport(call, ROTATION_SECRET(rotation));
		return VALUE_EMPTY;
	}
	if (call->value.secret_string == NULL)
	{
		version->problem =
			make_problem(ERRCODE_INVALID_PARAMETER_VALUE, pstrdup("it is binary, not a JSON string"),
						 "Store the login with SecretString.");
		return VALUE_UNUSABLE;
	}
	if (!secret_value_parse(call->value.secret_string, call->value.length, &version->secret, &error))
	{
		version->problem = version_problem_from_parse(&error);
		return VALUE_UNUSABLE;
	}
	version->has_secret = true;
	version->problem = check_names(rotation, &version->secret);
	return version->problem == NULL ? VALUE_USABLE : VALUE_UNUSABLE;
}

static SmCall *
get_value_call(Rotation *rotation, VersionRef ref)
{
	return sm_get_secret_value(rotation->client, rotation->registration->arn, rotation->versions[ref].id,
							   version_ref_label(ref));
}

SmCall *
rotation_random_password_call(Rotation *rotation)
{
	const Registration *registration = rotation->registration;
	MemoryContext context = CurrentMemoryContext;
	char *exclude = registration->exclude_characters;

	/* conversions are looked up in a catalog, and their result would go with the transaction */
	rotation_begin();
	exclude = MemoryContextStrdup(context, pg_server_to_any(exclude, strlen(exclude), PG_UTF8));
	rotation_commit();
	return sm_get_random_password(rotation->client, registration->password_length, exclude);
}

static void
keep_random_password(Rotation *rotation, SmCall *call)
{
	if (!call->ok)
		sm_ereport(call, ROTATION_SECRET(rotation));
	rotation->random_length = strlen(call->random_password);
	rotation->random_password = pstrdup(call->random_password);
}

/* Will this run make a value, as far as the labels tell? */
static bool
needs_random_password(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;

	if (rotation->random_password != NULL || facts->move != MOVE_NOT_SENT || rotation->order->dry_run)
		return false;
	if (facts->request == REQUEST_CREATE_SECRET)
		return facts->token == TOKEN_ON_PENDING;
	return facts->request == REQUEST_ROTATE_NOW && rotation->order->operation == OPERATION_ROTATE &&
		   (rotation->versions[VERSION_PENDING].id == NULL || facts->pending_is_current);
}

/* Where the event's token stands among the labels. */
static TokenPosition
find_token(const Rotation *rotation)
{
	const char *token = rotation->order->token;

	if (rotation->order->operation != OPERATION_EVENT)
		return TOKEN_NONE;
	if (rotation_same_version(token, rotation->versions[VERSION_CURRENT].id))
		return TOKEN_ON_CURRENT;
	if (rotation_same_version(token, rotation->versions[VERSION_PENDING].id))
		return TOKEN_ON_PENDING;
	return TOKEN_ELSEWHERE;
}

/* Is the label on another version than DescribeSecret has just said? */
static bool
label_is_elsewhere(const SmCall *call)
{
	return call != NULL && !call->ok && call->error.class == AWS_INVALID &&
		   strcmp(call->error.code, "InvalidRequestException") == 0;
}

/*
 * AWSCURRENT, AWSPENDING and perhaps a random password, all at the same time.
 * False: the labels are not where they were said to be, and are to be looked at
 * again.
 */
static bool
observe_values(Rotation *rotation)
{
	RotationFacts *facts = &rotation->facts;
	Version *versions = rotation->versions;
	SmCall *calls[3];
	SmCall *current = NULL;
	SmCall *pending = NULL;
	SmCall *random = NULL;
	int ncalls = 0;

	if (versions[VERSION_CURRENT].id != NULL)
		calls[ncalls++] = current = get_value_call(rotation, VERSION_CURRENT);
	if (versions[VERSION_PENDING].id != NULL && !facts->pending_is_current)
		calls[ncalls++] = pending = get_value_call(rotation, VERSION_PENDING);
	if (needs_random_password(rotation))
		calls[ncalls++] = random = rotation_random_password_call(rotation);

	if (ncalls > 0)
		rotation_perform(rotation, calls, ncalls);
	if ((label_is_elsewhere(current) || label_is_elsewhere(pending)) && rotation_wait_for_labels(rotation))
	{
		if (random != NULL)
			keep_random_password(rotation, random);
		while (ncalls > 0)
			sm_call_free(calls[--ncalls]);
		return false;
	}

	facts->current = current ? judge_value(rotation, VERSION_CURRENT, current) : VALUE_NO_VERSION;
	if (pending != NULL)
		facts->pending = judge_value(rotation, VERSION_PENDING, pending);
	else
		facts->pending = facts->pending_is_current ? facts->current : VALUE_NO_VERSION;
	if (random != NULL)
		keep_random_password(rotation, random);

	while (ncalls > 0)
		sm_call_free(calls[--ncalls]);

	facts->pending_same_password =
		pending != NULL && versions[VERSION_CURRENT].has_secret && versions[VERSION_PENDING].has_secret &&
		strcmp(versions[VERSION_CURRENT].secret.password, versions[VERSION_PENDING].secret.password) == 0;
	return true;
}

void
rotation_check_role(Rotation *rotation)
{
	const Registration *registration = rotation->registration;
	RoleState *role = &rotation->role;
	bool tests;

	if (!role_lookup_oid(registration->role_oid, role))
	{
		if (role_lookup_name(registration->role_name, role))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("could not %s secret \"%s\": role \"%s\" is not the one that was registered",
							rotation->verb, registration->secret, registration->role_name),
					 errdetail("That one was dropped, and another role has its name."),
					 errhint("If the secret is for this role too, call rotate_unregister() and "
							 "rotate_register() again.")));
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("could not %s secret \"%s\": role \"%s\" does not exist", rotation->verb,
						registration->secret, registration->role_name),
				 errhint("Create the role and call rotate_unregister() and rotate_register() again.")));
	}
	if (strcmp(NameStr(role->name), registration->role_name) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not %s secret \"%s\": role \"%s\" is now called \"%s\"", rotation->verb,
							   registration->secret, registration->role_name, NameStr(role->name)),
						errhint("Put the new name into the secret, then call rotate_unregister() and "
								"rotate_register() again.")));
	if (!registration->allow_privileged && role_privilege(role) != NULL)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("could not %s secret \"%s\": role \"%s\" has the attribute %s", rotation->verb,
							   registration->secret, registration->role_name, role_privilege(role)),
						errdetail("Whoever can write the secret would gain that privilege."),
						errhint("Take the attribute away, or register with allow_privileged => true.")));
	/* testSecret asks about the login, and gets the answer that the server would give it */
	tests = rotation->order->step == REQUEST_TEST_SECRET;
	if (!role->canlogin)
		ereport(ERROR, (errcode(tests ? ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION
									  : ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not %s secret \"%s\": role \"%s\" is not permitted to log in",
							   rotation->verb, registration->secret, registration->role_name),
						errhint("Use ALTER ROLE ... LOGIN.")));
	if (role->has_valid_until && role->valid_until < GetCurrentTimestamp())
		ereport(ERROR, (errcode(tests ? ERRCODE_INVALID_PASSWORD : ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not %s secret \"%s\": the password of role \"%s\" has expired",
							   rotation->verb, registration->secret, registration->role_name),
						errhint("Use ALTER ROLE ... VALID UNTIL.")));
}

static bool
matches(const Rotation *rotation, VersionRef ref)
{
	const Version *version = &rotation->versions[ref];

	return version->has_secret && version->problem == NULL &&
		   role_password_matches(rotation->role.oid, version->secret.password);
}

/* Where the latest move stands, now that the labels have been seen.  See MoveState. */
static MoveState
derive_move(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;
	const char *current = rotation->versions[VERSION_CURRENT].id;
	const char *pending = rotation->versions[VERSION_PENDING].id;

	switch (facts->move)
	{
		case MOVE_UNANSWERED:
			return rotation_same_version(current, rotation->move_to) ? MOVE_SUCCEEDED : MOVE_UNANSWERED;
		case MOVE_REFUSED:
			/* refused because an earlier one, never answered, had arrived */
			if (facts->move_may_arrive && rotation_same_version(current, rotation->move_to))
				return MOVE_SUCCEEDED;
			return rotation_same_version(current, rotation->move_from) &&
						   rotation_same_version(pending, rotation->move_to)
					   ? MOVE_REFUSED
					   : MOVE_NOT_SENT;
		default:
			return facts->move;
	}
}

void
rotation_derive_facts(Rotation *rotation)
{
	RotationFacts *facts = &rotation->facts;
	VersionRef ref;

	for (ref = VERSION_CURRENT; ref < VERSION_REF_COUNT; ref++)
	{
		const TriedLogin *tried = rotation_tried_login(rotation, ref);

		facts->login[ref] = tried ? tried->proof : LOGIN_NOT_TRIED;
	}
	facts->password_changed =
		rotation->set_version_id != NULL &&
		memcmp(rotation->role.verifier_hash, rotation->set_hash, VERIFIER_HASH_LEN) == 0;
	facts->old_verifier_kept =
		facts->password_changed && rotation->old_verifier != NULL &&
		!rotation_same_version(rotation->versions[VERSION_CURRENT].id, rotation->set_version_id);
}

void
rotation_observe_role(Rotation *rotation)
{
	RotationFacts *facts = &rotation->facts;
	Version *versions = rotation->versions;

	rotation_begin();
	rotation_check_role(rotation);

	facts->role_has[VERSION_CURRENT] = matches(rotation, VERSION_CURRENT);
	facts->role_has[VERSION_PENDING] =
		facts->pending_is_current ? facts->role_has[VERSION_CURRENT] : matches(rotation, VERSION_PENDING);
	facts->role_has[VERSION_PREVIOUS] = matches(rotation, VERSION_PREVIOUS);
	facts->set_by_us = rotation->role.has_password &&
					   store_is_our_verifier(rotation->role.oid, rotation->role.verifier_hash);
	facts->pending_written_by_us =
		versions[VERSION_PENDING].id != NULL &&
		store_created_version(rotation->registration->arn, versions[VERSION_PENDING].id);
	rotation_commit();

	/* changed by somebody else since we proved a login? */
	if (memcmp(rotation->role.verifier_hash, rotation->seen_hash, VERIFIER_HASH_LEN) != 0)
		rotation_forget_proofs(rotation);
	memcpy(rotation->seen_hash, rotation->role.verifier_hash, VERIFIER_HASH_LEN);
}

/* The labels, and the values of AWSCURRENT and AWSPENDING.  False as observe_values(). */
static bool
observe_secret(Rotation *rotation)
{
	RotationFacts *facts = &rotation->facts;
	Version *versions = rotation->versions;
	SmCall *describe;

	describe = sm_describe_secret(rotation->client, rotation->registration->arn);
	rotation_perform(rotation, &describe, 1);
	if (!describe->ok)
		sm_ereport(describe, ROTATION_SECRET(rotation));
	rotation_check_description(rotation, &describe->description);
	rotation_forget_values(rotation);
	find_labels(rotation, &describe->description);
	facts->rotation_enabled = describe->description.rotation_enabled;
	sm_call_free(describe);

	/* a rollback has moved AWSPENDING to its version; on another one it is somebody else's, to be left alone */
	if (rotation->rollback.moved_label &&
		!rotation_same_version(versions[VERSION_PENDING].id, rotation->rollback.target))
		versions[VERSION_PENDING].id = NULL;
	facts->pending_is_current =
		rotation_same_version(versions[VERSION_PENDING].id, versions[VERSION_CURRENT].id);
	facts->token = find_token(rotation);
	return observe_values(rotation);
}

/* Can AWSPREVIOUS matter?  See RotationFacts. */
static bool
needs_previous(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;

	if (rotation->versions[VERSION_PREVIOUS].id == NULL)
		return false;
	/* to be AWSPENDING's */
	if (rotation->order->operation == OPERATION_ROLLBACK && !facts->created_pending)
		return true;
	return !facts->role_has[VERSION_CURRENT] &&
		   !(facts->role_has[VERSION_PENDING] && (facts->pending_written_by_us || !facts->own_pending_only));
}

/* AWSPREVIOUS, and whether the role has its password.  False as observe_values(). */
static bool
observe_previous(Rotation *rotation)
{
	SmCall *call = get_value_call(rotation, VERSION_PREVIOUS);

	rotation_perform(rotation, &call, 1);
	if (label_is_elsewhere(call) && rotation_wait_for_labels(rotation))
	{
		sm_call_free(call);
		return false;
	}
	rotation->facts.previous = judge_value(rotation, VERSION_PREVIOUS, call);
	sm_call_free(call);
	rotation_observe_role(rotation);
	return true;
}

void
rotation_observe(Rotation *rotation)
{
	RotationFacts *facts = &rotation->facts;

	do
	{
		while (!observe_secret(rotation))
			;
		facts->previous = VALUE_NO_VERSION;
		rotation_observe_role(rotation);
	} while (needs_previous(rotation) && !observe_previous(rotation));
	rotation_observe_standbys(rotation);
	facts->move = derive_move(rotation);
	rotation_derive_facts(rotation);
	rotation->observed = true;
}

static void
append_fact(StringInfo json, const char *name, const char *value)
{
	appendStringInfo(json, "%s\"%s\": \"%s\"", json->len > 1 ? ", " : "", name, value);
}

static const char *
value_name(VersionValue value)
{
	switch (value)
	{
		case VALUE_NO_VERSION:
			return "no version";
		case VALUE_EMPTY:
			return "without value";
		case VALUE_UNUSABLE:
			return "unusable";
		default:
			return "usable";
	}
}

char *
rotation_facts_json(const Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;
	StringInfoData json;
	VersionRef ref;
	const char *role_has = NULL;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_fact(&json, "AWSCURRENT", value_name(facts->current));
	append_fact(&json, "AWSPENDING",
				facts->pending_is_current ? "on AWSCURRENT's version" : value_name(facts->pending));
	for (ref = VERSION_CURRENT; ref < VERSION_REF_COUNT; ref++)
	{
		if (role_has == NULL && facts->role_has[ref])
			role_has = version_ref_label(ref);
	}
	if (role_has == NULL)
		role_has = facts->set_by_us ? "set by us for a version without label" : "unknown";
	append_fact(&json, "password of the role", role_has);
	for (ref = VERSION_CURRENT; ref < VERSION_REF_COUNT; ref++)
	{
		const VersionProblem *problem = rotation->versions[ref].problem;

		if (problem != NULL)
		{
			appendStringInfo(&json, ", \"problem of %s\": ", version_ref_label(ref));
			escape_json(&json, problem->message);
		}
	}
	rotation_append_standbys(&json, rotation);
	appendStringInfoChar(&json, '}');
	return json.data;
}
