/*-------------------------------------------------------------------------
 *
 * access.c
 *	  rotate_credentials(): with whose AWS credentials, and where, rotations of
 *	  this server are done.
 *
 * For a person who has to find out why AWS refuses: a worker loads credentials
 * as for a rotation, and tells of them what AWS's own console would show.  Works
 * on a standby, too, which will need its own when it is promoted.
 *
 * src/access.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api.h"
#include "rotation_internal.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(rotate_credentials);

void
rotation_show_access(Rotation *rotation)
{
	RotationAccess *access = &rotation->result->access;

	rotation->client = sm_open(NULL);
	access->region = pstrdup(sm_region(rotation->client));
	access->endpoint = pstrdup(sm_endpoint_url(rotation->client));
	access->provider = sm_credentials(rotation->client, &access->access_key_last4, &access->expires);
}

static void
set_text(Datum *value, bool *isnull, const char *string)
{
	*isnull = string == NULL;
	*value = string != NULL ? CStringGetTextDatum(string) : (Datum) 0;
}

Datum
rotate_credentials(PG_FUNCTION_ARGS)
{
	RotationOrder order;
	RotationAccess *access;
	TupleDesc desc;
	Datum values[5];
	bool nulls[5];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function returning record called in context that cannot accept type record")));
	api_begin_order(&order, OPERATION_CREDENTIALS);
	access = &worker_perform(&order, InvalidOid)->access;

	set_text(&values[0], &nulls[0], access->provider);
	set_text(&values[1], &nulls[1], access->access_key_last4);
	nulls[2] = access->expires == 0;
	values[2] = TimestampTzGetDatum(time_t_to_timestamptz((pg_time_t) access->expires));
	set_text(&values[3], &nulls[3], access->region);
	set_text(&values[4], &nulls[4], access->endpoint);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
