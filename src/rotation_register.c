/*-------------------------------------------------------------------------
 *
 * rotation_register.c
 *	  Check a secret and its role, and make their registration.
 *
 * Registering never rotates and stores nothing by itself: the caller decides
 * in which transaction the row is written.
 *
 * src/rotation_register.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "identity.h"
#include "rotation_internal.h"

/* DescribeSecret for the name that was given; NULL ARN is not possible. */
static char *
describe_secret(Rotation *rotation)
{
	SmCall *call = sm_describe_secret(rotation->client, rotation->order->secret);
	char *arn;

	rotation_perform(rotation, &call, 1);
	if (!call->ok)
		sm_ereport(call, rotation->order->secret);
	rotation_check_description(rotation, &call->description);
	arn = pstrdup(call->description.arn);
	sm_call_free(call);
	return arn;
}

pg_noreturn static void
refuse_value(const Rotation *rotation, const char *version_id, const VersionProblem *problem)
{
	ereport(ERROR,
			(errcode(problem->sqlerrcode),
			 errmsg("could not register secret \"%s\": the value of its AWSCURRENT version cannot be used",
					rotation->order->secret),
			 errdetail("In version %s %s.", version_id, problem->message),
			 problem->hint ? errhint("%s", problem->hint) : 0));
}

/* AWSCURRENT's value, or an error that says why there is none. */
static void
get_current(Rotation *rotation, const char *arn, SecretValue *secret)
{
	const char *label = version_ref_label(VERSION_CURRENT);
	SmCall *call = sm_get_secret_value(rotation->client, arn, NULL, label);
	SecretValueError error;

	rotation_perform(rotation, &call, 1);
	/* the secret is there, DescribeSecret has said so: what is not found is the version or its value */
	if (!call->ok && call->error.class == AWS_NOT_FOUND)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("could not register secret \"%s\": it has no AWSCURRENT version with a value",
							   rotation->order->secret),
						errhint("Store the role's present login in the secret.")));
	if (!call->ok)
		sm_ereport(call, rotation->order->secret);
	if (call->value.secret_string == NULL)
	{
		VersionProblem binary = {ERRCODE_INVALID_PARAMETER_VALUE, "it is binary, not a JSON string",
								 "Store the login with SecretString."};

		refuse_value(rotation, call->value.version_id, &binary);
	}
	if (!secret_value_parse(call->value.secret_string, call->value.length, secret, &error))
		refuse_value(rotation, call->value.version_id, version_problem_from_parse(&error));
	sm_call_free(call);
}

/* The role that the secret is for, which must be the one that was named, if one was. */
static void
find_role(Rotation *rotation, const SecretValue *secret, RoleState *role)
{
	const RegistrationOrder *order = &rotation->order->registration;
	bool found;

	if (order->has_role && strcmp(order->role, secret->username) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not register secret \"%s\": field \"username\" of its AWSCURRENT "
							   "version does not name role \"%s\"",
							   rotation->order->secret, order->role)));

	rotation_begin();
	found = role_lookup_name(secret->username, role);
	rotation_commit();
	if (!found && order->has_role)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("could not register secret \"%s\": role \"%s\" does not exist",
							   rotation->order->secret, order->role)));
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("could not register secret \"%s\": the role that "
														   "its AWSCURRENT version names does not exist",
														   rotation->order->secret)));
}

/* What a copy of this server on another machine does not have. */
static void
bind_to_machine(Rotation *rotation, Registration *registration)
{
	rotation_begin();
	registration->instance_hash = identity_instance(registration->host, registration->login_host);
	rotation_commit();
	if (registration->instance_hash == NULL && identity_is_local_host(registration->host))
		rotation_notice(rotation->result, WARNING,
						psprintf("a copy of this server on another machine could rotate secret \"%s\", too",
								 registration->secret),
						"The secret's host means this machine on every machine.",
						"Set rotate_ext.instance_file and register again.");
}

Registration *
rotation_register(Rotation *rotation)
{
	const RegistrationOrder *order = &rotation->order->registration;
	Registration *registration = palloc0(sizeof(Registration));
	Version *current = &rotation->versions[VERSION_CURRENT]; /* close_run() wipes it */
	const char *verb = rotation->verb;
	const SecretValue *secret = &current->secret;
	RoleState role;
	bool matches;

	/* what goes wrong here goes wrong with registering, also where a rotation is to follow */
	rotation->verb = "register";

	registration->secret = pstrdup(rotation->order->secret);
	registration->arn = describe_secret(rotation);
	get_current(rotation, registration->arn, &current->secret);
	current->has_secret = true;
	find_role(rotation, secret, &role);

	registration->role_oid = role.oid;
	registration->role_name = pstrdup(NameStr(role.name));
	registration->strategy = "single";
	registration->host = pstrdup(secret->host);
	registration->port = secret->port;
	registration->password_length = order->password_length;
	registration->exclude_characters = pstrdup(order->exclude_characters);
	if (order->has_login_host)
		registration->login_host = pstrdup(order->login_host);
	bind_to_machine(rotation, registration);
	registration->allow_plaintext_login = order->allow_plaintext_login;
	registration->allow_privileged = order->allow_privileged;
	registration->repair = order->repair;
	registration->own_pending_only = order->own_pending_only;
	registration->system_identifier = identity_system();
	registration->registered_by = pstrdup(rotation->order->requested_by);

	rotation->registration = registration;
	rotation_begin();
	rotation_check_role(rotation);
	matches = role_password_matches(role.oid, secret->password);
	rotation_commit();
	rotation->verb = verb;

	if (!matches)
		rotation_notice(
			rotation->result, WARNING,
			psprintf("the password of role \"%s\" is not the one in the AWSCURRENT version of secret \"%s\"",
					 registration->role_name, registration->secret),
			NULL,
			"rotate_now() will refuse until the secret holds the role's password, or the role has the "
			"secret's.");
	return registration;
}
