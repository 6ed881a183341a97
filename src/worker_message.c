/*-------------------------------------------------------------------------
 *
 * worker_message.c
 *	  The worker's answer as bytes: notices, then a result or an error.
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

void
worker_message_result(StringInfo buf, const RotationResult *result)
{
	put_notices(buf, result->notices);
	pq_sendbyte(buf, MESSAGE_RESULT);
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
}

void
worker_message_error(StringInfo buf, const RotationResult *result, const ErrorData *error)
{
	put_notices(buf, result->notices);
	pq_sendbyte(buf, MESSAGE_ERROR);
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

RotationResult *
worker_message_read(const char *data, Size length)
{
	RotationResult *result = palloc0(sizeof(RotationResult));
	StringInfoData buf;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, data, length);

	read_notices(&buf);
	if (pq_getmsgbyte(&buf) == MESSAGE_ERROR)
		raise_error(&buf);
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
	return result;
}
