/*-------------------------------------------------------------------------
 *
 * rotation_abandon.c
 *	  Give a pending version up: take AWSPENDING off it.
 *
 * Only where the role's password is not that version's, or nobody could log
 * in with what is left.  And only where a login shows that this is the server
 * that the secret is for: a copy of it would take the label from under a
 * rotation of the original.
 *
 * src/rotation_abandon.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rotation_internal.h"

/* The login with what the role has, or an error. */
static void
prove_way_in(Rotation *rotation)
{
	const RotationFacts *facts = &rotation->facts;
	const char *secret = ROTATION_SECRET(rotation);
	RotationAction proof = {ACTION_PROVE_LOGIN, VERSION_CURRENT, REFUSE_NOTHING};

	if (!facts->role_has[VERSION_CURRENT])
		proof.version = VERSION_PREVIOUS;
	if (!facts->role_has[proof.version])
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("could not abandon the pending version of secret \"%s\": no login can be proved", secret),
			 errdetail("Role \"%s\" has neither AWSCURRENT's password nor AWSPREVIOUS's, so nothing shows "
					   "that this is not a copy of the server that the secret is for.",
					   rotation->registration->role_name),
			 facts->set_by_us
				 ? errhint("Call rotate_now('%s') to go on with that version, or set the role's password to "
						   "AWSCURRENT's.",
						   secret)
				 : errhint("Set the role's password to AWSCURRENT's.")));

	rotation_act(rotation, proof);
	if (facts->login[proof.version] != LOGIN_PROVED)
		rotation_refuse(rotation,
						(RotationAction){ACTION_REFUSE, proof.version, REFUSE_CURRENT_LOGIN_FAILED});
}

void
rotation_abandon(Rotation *rotation)
{
	const char *secret = ROTATION_SECRET(rotation);
	const Version *pending = &rotation->versions[VERSION_PENDING];
	SmCall *call;

	rotation_observe(rotation);
	if (pending->id == NULL || rotation->facts.pending_is_current)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not abandon the pending version of secret \"%s\": there is none", secret),
				 errdetail("%s",
						   pending->id == NULL
							   ? "No version carries AWSPENDING."
							   : "AWSPENDING is on AWSCURRENT's version: the latest rotation is finished.")));
	/* a pending version with AWSCURRENT's own password is in nobody's way */
	if (!rotation->facts.role_has[VERSION_CURRENT] && rotation->facts.role_has[VERSION_PENDING])
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("could not abandon the pending version of secret \"%s\": role \"%s\" has its password",
					secret, rotation->registration->role_name),
			 errhint("Call rotate_now('%s') to finish the rotation.", secret)));
	prove_way_in(rotation);

	call = sm_update_secret_version_stage(rotation->client, rotation->registration->arn,
										  version_ref_label(VERSION_PENDING), NULL, pending->id);
	rotation_perform(rotation, &call, 1);
	if (!call->ok)
		sm_ereport(call, secret);
	sm_call_free(call);
	rotation->result->version_id = pstrdup(pending->id);
	rotation->result->outcome = "abandoned";
}
