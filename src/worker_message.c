/*-------------------------------------------------------------------------
 *
 * worker_message.c
 *	  The worker's answer as bytes: notices, and a result or an error.
 *
 * Both ends are this same library in two processes of one server, so there is
 * no version in it and no byte order to mind.
 *
 * src/worker_message.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq/pqformat.h"

#include "compat.h"
#include "worker.h"

#define MESSAGE_RESULT 'R'
#define MESSAGE_ERROR 'E'
#define MESSAGE_FATAL 'F'

static void
put_string(StringInfo buf, const char *value)
{
	uint32 length = value ? (uint32) strlen(value) : PG_UINT32_MAX;

	pq_sendint32(buf, length);
	if (value != NULL)
		appendBinaryStringInfo(buf, value, length);
}

static char *
get_string(StringInfo buf)
{
	uint32 length = pq_getmsgint(buf, 4);

	return length == PG_UINT32_MAX ? NULL : pnstrdup(pq_getmsgbytes(buf, length), length);
}

static void
put_notices(StringInfo buf, const List *notices)
{
	ListCell *cell;

	pq_sendint32(buf, list_length(notices));
	foreach (cell, notices)
	{
		const RotationNotice *notice = lfirst(cell);

		pq_sendint32(buf, notice->elevel);
		put_string(buf, notice->message);
		put_string(buf, notice->detail);
		put_string(buf, notice->hint);
	}
}

static void
read_notices(StringInfo buf)
{
	int n = pq_getmsgint(buf, 4);

	while (n-- > 0)
	{
		int elevel = pq_getmsgint(buf, 4);
		char *message = get_string(buf);
		char *detail = get_string(buf);
		char *hint = get_string(buf);

		ereport(elevel, (errmsg_internal("%s", message), detail ? errdetail_internal("%s", detail) : 0,
						 hint ? errhint("%s", hint) : 0));
	}
}

static void
put_due(StringInfo buf, const List *secrets)
{
	ListCell *cell;

	pq_sendint32(buf, list_length(secrets));
	foreach (cell, secrets)
	{
		const DueSecret *due = lfirst(cell);

		put_string(buf, due->secret);
		pq_sendint64(buf, due->last_run_id);
		pq_sendint64(buf, due->due_at);
		pq_sendbyte(buf, due->busy);
	}
}

static List *
get_due(StringInfo buf)
{
	int n = pq_getmsgint(buf, 4);
	List *secrets = NIL;

	while (n-- > 0)
	{
		DueSecret *due = palloc(sizeof(DueSecret));

		due->secret = get_string(buf);
		due->last_run_id = pq_getmsgint64(buf);
		due->due_at = pq_getmsgint64(buf);
		due->busy = pq_getmsgbyte(buf);
		secrets = lappend(secrets, due);
	}
	return secrets;
}

bool
worker_message_is_result(const char *data, Size length)
{
	return length > 0 && data[0] == MESSAGE_RESULT;
}

void
worker_message_result(StringInfo buf, const RotationResult *result)
{
	pq_sendbyte(buf, MESSAGE_RESULT);
	put_notices(buf, result->notices);
	put_string(buf, result->secret);
	put_string(buf, result->arn);
	put_string(buf, result->role);
	pq_sendint32(buf, result->role_oid);
	put_string(buf, result->host);
	pq_sendint32(buf, result->port);
	put_string(buf, result->instance_hash);
	put_string(buf, result->version_id);
	put_string(buf, result->outcome);
	put_string(buf, result->detail);
	pq_sendint64(buf, result->lockout_us);
	pq_sendint64(buf, result->total_us);
	put_due(buf, result->due);
	pq_sendint64(buf, result->since_run);
	put_string(buf, result->access.provider);
	put_string(buf, result->access.access_key_last4);
	pq_sendint64(buf, result->access.expires);
	put_string(buf, result->access.region);
	put_string(buf, result->access.endpoint);
}

void
worker_message_error(StringInfo buf, const RotationResult *result, const ErrorData *error)
{
	pq_sendbyte(buf, error->elevel >= FATAL ? MESSAGE_FATAL : MESSAGE_ERROR);
	put_notices(buf, result->notices);
	pq_sendint32(buf, error->sqlerrcode);
	put_string(buf, error->message);
	put_string(buf, error->detail);
	put_string(buf, error->hint);
}

pg_noreturn static void
raise_error(StringInfo buf)
{
	int sqlerrcode = pq_getmsgint(buf, 4);
	char *message = get_string(buf);
	char *detail = get_string(buf);
	char *hint = get_string(buf);

	ereport(ERROR, (errcode(sqlerrcode), errmsg_internal("%s", message),
					detail ? errdetail_internal("%s", detail) : 0, hint ? errhint("%s", hint) : 0));
}

/* The process has ended, by an error that its rotation could not catch. */
pg_noreturn static void
raise_fatal(StringInfo buf)
{
	int sqlerrcode = pq_getmsgint(buf, 4);
	char *message = get_string(buf);

	ereport(ERROR, (errcode(sqlerrcode), errmsg(WORKER_GONE_MESSAGE), errdetail_internal("%s", message),
					errhint(WORKER_GONE_HINT)));
}

RotationResult *
worker_message_read(const char *data, Size length)
{
	RotationResult *result = palloc0(sizeof(RotationResult));
	StringInfoData buf;
	int kind;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, data, length);

	kind = pq_getmsgbyte(&buf);
	read_notices(&buf);
	if (kind == MESSAGE_ERROR)
		raise_error(&buf);
	if (kind == MESSAGE_FATAL)
		raise_fatal(&buf);
	result->secret = get_string(&buf);
	result->arn = get_string(&buf);
	result->role = get_string(&buf);
	result->role_oid = pq_getmsgint(&buf, 4);
	result->host = get_string(&buf);
	result->port = pq_getmsgint(&buf, 4);
	result->instance_hash = get_string(&buf);
	result->version_id = get_string(&buf);
	result->outcome = get_string(&buf);
	result->detail = get_string(&buf);
	result->lockout_us = pq_getmsgint64(&buf);
	result->total_us = pq_getmsgint64(&buf);
	result->due = get_due(&buf);
	result->since_run = pq_getmsgint64(&buf);
	result->access.provider = get_string(&buf);
	result->access.access_key_last4 = get_string(&buf);
	result->access.expires = pq_getmsgint64(&buf);
	result->access.region = get_string(&buf);
	result->access.endpoint = get_string(&buf);
	return result;
}
