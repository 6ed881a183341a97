/*-------------------------------------------------------------------------
 *
 * standby.c
 *	  The servers that replicate from this one, and the one that this one
 *	  replicates from.
 *
 * src/db/standby.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlogrecovery.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "libpq-fe.h"
#include "replication/walreceiver.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "core/aws_error.h"
#include "db/standby.h"
#include "guc.h"

/* Of a host, and of a list of them. */
#define PRINTABLE_MAX 200

static char *
printable(const char *text)
{
	char buffer[PRINTABLE_MAX + 1];

	aws_printable(buffer, sizeof(buffer), text, strlen(text));
	return pstrdup(buffer);
}

/* Case does not matter, as in synchronous_standby_names. */
static bool
is_ignored(const List *ignored, const char *name)
{
	ListCell *cell;

	foreach (cell, ignored)
	{
		if (pg_strcasecmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

List *
standby_list_behind(int64 limit, bool slots)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[2] = {INT8OID, BOOLOID};
	Datum values[2] = {Int64GetDatum(limit), BoolGetDatum(slots)};
	List *ignored = NIL;
	List *behind = NIL;
	uint64 row;

	(void) SplitGUCList(pstrdup(rotate_ignore_standbys), ',', &ignored);
	SPI_connect();
	if (SPI_execute_with_args(
			"SELECT s.name, s.inactive, s.lag, pg_catalog.pg_size_pretty(s.lag) FROM ("
			"SELECT r.application_name, false, "
			"pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn)::pg_catalog.int8 "
			"FROM pg_catalog.pg_stat_replication r "
			"WHERE r.replay_lsn IS NOT NULL AND r.state IN ('streaming', 'catchup') "
			"AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots l "
			"WHERE l.active_pid = r.pid AND l.slot_type = 'logical') "
			"UNION ALL SELECT p.slot_name::pg_catalog.text, true, "
			"pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), p.restart_lsn)::pg_catalog.int8 "
			"FROM pg_catalog.pg_replication_slots p "
			"WHERE p.slot_type = 'physical' AND NOT p.active AND p.restart_lsn IS NOT NULL"
			") s (name, inactive, lag) WHERE CASE WHEN s.inactive THEN $2 ELSE s.lag > $1 END "
			"ORDER BY s.inactive, s.lag DESC, s.name",
			2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not look at the standbys")));
	for (row = 0; row < SPI_processed; row++)
	{
		HeapTuple tuple = SPI_tuptable->vals[row];
		TupleDesc desc = SPI_tuptable->tupdesc;
		char *name = SPI_getvalue(tuple, desc, 1);
		bool isnull;
		MemoryContext spi;
		StandbyLag *standby;

		if (is_ignored(ignored, name))
			continue;
		spi = MemoryContextSwitchTo(caller);
		standby = palloc(sizeof(StandbyLag));
		standby->name = printable(name);
		standby->inactive_slot = DatumGetBool(SPI_getbinval(tuple, desc, 2, &isnull));
		standby->lag = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));
		standby->lag_text = TextDatumGetCString(SPI_getbinval(tuple, desc, 4, &isnull));
		behind = lappend(behind, standby);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return behind;
}

/* Where it streams from now.  False: it does not. */
static bool
find_sender(char **host, char **port)
{
	char name[NI_MAXHOST];
	int number;

	SpinLockAcquire(&WalRcv->mutex);
	memcpy(name, WalRcv->sender_host, sizeof(name));
	number = WalRcv->ready_to_display ? WalRcv->sender_port : 0;
	SpinLockRelease(&WalRcv->mutex);
	if (number == 0 || name[0] == '\0')
		return false;
	*host = printable(name);
	*port = psprintf("%d", number);
	return true;
}

/* Where primary_conninfo says that it should. */
static void
find_configured(char **host, char **port)
{
	PQconninfoOption *options = PQconninfoParse(PrimaryConnInfo ? PrimaryConnInfo : "", NULL);
	const PQconninfoOption *option;

	for (option = options; option != NULL && option->keyword != NULL; option++)
	{
		if (option->val == NULL || option->val[0] == '\0')
			continue;
		if (strcmp(option->keyword, "host") == 0 ||
			(*host == NULL && strcmp(option->keyword, "hostaddr") == 0))
			*host = printable(option->val);
		else if (strcmp(option->keyword, "port") == 0)
			*port = printable(option->val);
	}
	if (options != NULL)
		PQconninfoFree(options);
}

char *
standby_describe_source(void)
{
	char *host = NULL;
	char *port = NULL;

	if (!find_sender(&host, &port))
		find_configured(&host, &port);
	if (host == NULL)
		return NULL;
	return port ? psprintf("host \"%s\", port %s", host, port) : psprintf("host \"%s\"", host);
}
