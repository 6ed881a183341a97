/*-------------------------------------------------------------------------
 *
 * rotation_access.c
 *	  With whose AWS credentials, and where, rotations of this server are done.
 *
 * For a person who has to find out why AWS refuses: credentials are loaded as
 * for a rotation, and of them what AWS's own console would show is told.
 *
 * src/rotation_access.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rotation_internal.h"

void
rotation_show_access(Rotation *rotation)
{
	RotationAccess *access = &rotation->result->access;

	rotation->client = sm_open(NULL);
	access->region = pstrdup(sm_region(rotation->client));
	access->endpoint = pstrdup(sm_endpoint_url(rotation->client));
	access->provider = sm_credentials(rotation->client, &access->access_key_last4, &access->expires);
}
