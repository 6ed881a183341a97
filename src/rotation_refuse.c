/*-------------------------------------------------------------------------
 *
 * rotation_refuse.c
 *	  Refuse: what decide() would not do, said to a person.
 *
 * src/rotation_refuse.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rotation_internal.h"

void
rotation_refuse_value(const Rotation *rotation, VersionRef ref)
{
	const VersionProblem *problem = rotation->versions[ref].problem;
	const char *label = version_ref_label(ref);

	if (problem == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not %s secret \"%s\": the value of its %s version cannot be used",
							   rotation->verb, ROTATION_SECRET(rotation), label)));
	ereport(ERROR, (errcode(problem->sqlerrcode),
					errmsg("could not %s secret \"%s\": the value of its %s version cannot be used",
						   rotation->verb, ROTATION_SECRET(rotation), label),
					errdetail("In version %s %s.", rotation->versions[ref].id, problem->message),
					ref == VERSION_PENDING
						? errhint("Correct the value, or call rotate_abandon('%s') to give this version up.",
								  ROTATION_SECRET(rotation))
						: (problem->hint ? errhint("%s", problem->hint) : 0)));
}

pg_noreturn static void
refuse_login(const Rotation *rotation, VersionRef ref)
{
	const TriedLogin *tried = rotation_tried_login(rotation, ref);

	if (tried == NULL)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not %s secret \"%s\": a login failed that was not tried",
							   rotation->verb, ROTATION_SECRET(rotation))));
	login_ereport(&tried->target, &tried->result, rotation_label(rotation, ref));
}

pg_noreturn static void
refuse_move(const Rotation *rotation)
{
	if (rotation->move_failure == NULL)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not %s secret \"%s\": a label move failed that was not sent",
							   rotation->verb, ROTATION_SECRET(rotation))));
	sm_ereport(rotation->move_failure, ROTATION_SECRET(rotation));
}

void
rotation_refuse(Rotation *rotation, RotationAction action)
{
	const char *secret = ROTATION_SECRET(rotation);
	const char *role = rotation->registration->role_name;

	switch (action.reason)
	{
		case REFUSE_NO_CURRENT:
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
							errmsg("could not %s secret \"%s\": it has no AWSCURRENT version with a value",
								   rotation->verb, secret),
							errhint("Store the role's present login in the secret.")));
			break;
		case REFUSE_CURRENT_UNUSABLE:
			rotation_refuse_value(rotation, VERSION_CURRENT);
			break;
		case REFUSE_PENDING_UNUSABLE:
			rotation_refuse_value(rotation, VERSION_PENDING);
			break;
		case REFUSE_PASSWORD_UNKNOWN:
			if (rotation->facts.role_has[VERSION_PENDING])
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PASSWORD),
						 errmsg("could not %s secret \"%s\": the password of role \"%s\" is not the "
								"one in the secret",
								rotation->verb, secret, role),
						 errdetail("It is AWSPENDING's, which was written by someone else, and the secret is "
								   "registered with own_pending_only."),
						 errhint("If that rotation is to be kept, move AWSCURRENT to the AWSPENDING version; "
								 "else set the role's password to AWSCURRENT's.")));
			ereport(ERROR, (errcode(ERRCODE_INVALID_PASSWORD),
							errmsg("could not %s secret \"%s\": the password of role \"%s\" is not the "
								   "one in the secret",
								   rotation->verb, secret, role),
							errdetail("It is none of AWSCURRENT's, AWSPENDING's and AWSPREVIOUS's, and none "
									  "that rotate_ext set."),
							errhint("Someone changed it by hand: put the role's password into the secret, or "
									"set the role's password to AWSCURRENT's.")));
			break;
		case REFUSE_CURRENT_LOGIN_FAILED:
			refuse_login(rotation, action.version == VERSION_NONE ? VERSION_CURRENT : action.version);
			break;
		case REFUSE_PENDING_LOGIN_FAILED:
			refuse_login(rotation, action.version == VERSION_NONE ? VERSION_PENDING : action.version);
			break;
		case REFUSE_PENDING_EMPTY:
			ereport(
				ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("could not %s secret \"%s\": a rotation that Secrets Manager started is under way",
						rotation->verb, secret),
				 errdetail("The AWSPENDING version %s has no value yet.",
						   rotation->versions[VERSION_PENDING].id),
				 errhint("Wait for it to end. If it is stuck, call rotate_abandon('%s'), or rotate_now('%s', "
						 "force => true) to fill that version.",
						 secret, secret)));
			break;
		case REFUSE_PENDING_SAME_PASSWORD:
			ereport(ERROR, (errcode(ERRCODE_INVALID_PASSWORD),
							errmsg("could not %s secret \"%s\": the AWSPENDING version has the same "
								   "password as AWSCURRENT",
								   rotation->verb, secret),
							errhint("Call rotate_abandon('%s') to give this version up.", secret)));
			break;
		case REFUSE_PENDING_NOT_OURS:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("could not %s secret \"%s\": the AWSPENDING version was written by someone else",
							rotation->verb, secret),
					 errdetail("The secret is registered with own_pending_only."),
					 errhint("Call rotate_abandon('%s') to give this version up.", secret)));
			break;
		case REFUSE_PENDING_GONE:
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("could not %s secret \"%s\": AWSPENDING was taken off the version "
								   "during the rotation",
								   rotation->verb, secret),
							errdetail("The role's password is as it was before."),
							errhint("Call %s('%s') again.", rotation_function(rotation), secret)));
			break;
		case REFUSE_MOVE_REFUSED:
		case REFUSE_MOVE_UNANSWERED: /* rotation.c adds what this leaves behind */
			refuse_move(rotation);
			break;
		case REFUSE_TOKEN_NOT_PENDING:
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("could not %s secret \"%s\": the version of the event's "
								   "ClientRequestToken does not carry AWSPENDING",
								   rotation->verb, secret)));
			break;
		case REFUSE_ROTATION_DISABLED:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("could not %s secret \"%s\": its rotation is turned off in Secrets Manager",
							rotation->verb, secret)));
			break;
		case REFUSE_NOT_YET_SET:
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("could not test secret \"%s\": role \"%s\" does not have the password of "
								   "the AWSPENDING version",
								   secret, role)));
			break;
		case REFUSE_STANDBYS_BEHIND:
			rotation_refuse_standbys(rotation);
			break;
		case REFUSE_REPAIR_DISABLED:
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("role \"%s\" does not have AWSCURRENT's password of secret \"%s\", and "
								   "repair is turned off for it",
								   role, secret),
							errhint("Call rotate_now('%s') to go on.", secret)));
			break;
		case REFUSE_NOTHING:
			break;
	}
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
					errmsg("could not %s secret \"%s\": refused without a reason", rotation->verb, secret)));
}
