/*-------------------------------------------------------------------------
 *
 * store_run.c
 *	  The extension's tables: a row for each run.
 *
 * src/db/store_run.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "commands/async.h"

#include "db/store.h"
#include "db/store_spi.h"
#include "guc.h"
#include "turn.h"

/*
 * The runs of the secret that never ended.  The secret may have been registered
 * for another role before, whose rotation is under way.  Our own role's turn is
 * ours, and would look taken where somebody waits for it.
 */
static void
mark_interrupted(const StoreScope *scope, const char *secret, Oid own_role)
{
	StoreArgs args = {0};
	List *roles = NIL;
	ListCell *cell;
	uint64 nrows;
	uint64 row;

	store_add_text(&args, secret);
	nrows = store_execute(
		scope,
		"SELECT DISTINCT COALESCE(role_oid, 0) FROM %s.rotate_run WHERE secret = $1 AND outcome IS NULL",
		&args, SPI_OK_SELECT);
	for (row = 0; row < nrows; row++)
		roles = lappend_oid(roles, DatumGetObjectId(store_datum(row, 1)));
	foreach (cell, roles)
	{
		StoreArgs of_role = {0};

		if (lfirst_oid(cell) != own_role && turn_is_taken(lfirst_oid(cell)))
			continue;
		store_add_text(&of_role, secret);
		store_add_oid(&of_role, lfirst_oid(cell));
		store_execute(scope,
					  "UPDATE %s.rotate_run SET outcome = 'interrupted', finished_at = clock_timestamp() "
					  "WHERE secret = $1 AND outcome IS NULL AND role_oid IS NOT DISTINCT FROM $2",
					  &of_role, SPI_OK_UPDATE);
	}
}

/* What the latest run of the secret has left undone, into *start. */
static void
find_unfinished(const StoreScope *scope, const char *secret, const char *source, RunStart *start)
{
	StoreArgs args = {0};

	store_add_text(&args, secret);
	if (store_execute(
			scope,
			"SELECT attempt, created_version_id, starts_with(source, 'rotate_event'), "
			"COALESCE(retry_at, clock_timestamp()), outcome IN ('interrupted', 'failed') FROM %s.rotate_run "
			"WHERE secret = $1 AND run_id = (SELECT max(run_id) FROM %s.rotate_run WHERE secret = $1 "
			"AND arn IS NOT NULL) AND (outcome = 'interrupted' OR retry_at IS NOT NULL)",
			&args, SPI_OK_SELECT) == 0)
		return;

	start->owed_at = DatumGetTimestampTz(store_datum(0, 4));
	if (!DatumGetBool(store_datum(0, 5)))
		return;

	/* who calls a function begins anew, also what was tried often */
	if (strcmp(source, STORE_SOURCE_LAUNCHER) == 0)
		start->attempt = DatumGetInt32(store_datum(0, 1)) + 1;

	/* the service itself goes on with what its events have begun */
	if (!DatumGetBool(store_datum(0, 3)))
		start->begun = store_text(scope, 0, 2);
}

void
store_begin_run(const char *secret, const Registration *registration, const char *source,
				const char *requested_by, RunStart *start)
{
	StoreScope scope;
	StoreArgs args = {0};

	start->attempt = 1;
	start->begun = NULL;
	start->owed_at = 0;
	store_begin(&scope);
	if (registration != NULL)
	{
		mark_interrupted(&scope, registration->secret, registration->role_oid);
		find_unfinished(&scope, registration->secret, source, start);
	}
	store_add_text(&args, registration ? registration->secret : secret);
	store_add_text(&args, registration ? registration->arn : NULL);
	store_add_oid(&args, registration ? registration->role_oid : InvalidOid);
	store_add_text(&args, registration ? registration->role_name : NULL);
	store_add_text(&args, source);
	store_add_text(&args, requested_by);
	store_add_int4(&args, start->attempt);
	store_add_text(&args, start->begun);
	store_execute(
		&scope,
		"INSERT INTO %s.rotate_run (secret, arn, role_oid, role_name, source, requested_by, attempt, "
		"created_version_id, started_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp()) RETURNING run_id",
		&args, SPI_OK_INSERT_RETURNING);
	start->run_id = DatumGetInt64(store_datum(0, 1));
	store_finish(&scope);
}

void
store_run_registered(int64 run_id, const Registration *registration)
{
	StoreScope scope;
	StoreArgs args = {0};

	store_begin(&scope);
	store_add_int8(&args, run_id, false);
	store_add_text(&args, registration->arn);
	store_add_oid(&args, registration->role_oid);
	store_add_text(&args, registration->role_name);
	store_execute(&scope,
				  "UPDATE %s.rotate_run SET arn = $2, role_oid = $3, role_name = $4 WHERE run_id = $1", &args,
				  SPI_OK_UPDATE);
	store_finish(&scope);
}

/* Write one version id into a column of the run's row. */
static void
update_run_version(int64 run_id, const char *format, const char *version_id, const uint8 *hash)
{
	StoreScope scope;
	StoreArgs args = {0};

	store_begin(&scope);
	store_add_int8(&args, run_id, false);
	store_add_text(&args, version_id);
	if (hash != NULL)
		store_add_hash(&args, hash);
	store_execute(&scope, format, &args, SPI_OK_UPDATE);
	store_finish(&scope);
}

void
store_run_creates(int64 run_id, const char *version_id)
{
	update_run_version(run_id,
					   "UPDATE %s.rotate_run SET created_version_id = $2, version_id = $2 WHERE run_id = $1",
					   version_id, NULL);
}

void
store_run_gives_up(int64 run_id, const char *begun)
{
	update_run_version(
		run_id, "UPDATE %s.rotate_run SET created_version_id = $2, version_id = NULL WHERE run_id = $1",
		begun, NULL);
}

void
store_run_intends(int64 run_id, const char *version_id)
{
	update_run_version(run_id, "UPDATE %s.rotate_run SET version_id = $2 WHERE run_id = $1", version_id,
					   NULL);
}

void
store_run_lock(int64 run_id)
{
	StoreScope scope;
	StoreArgs args = {0};
	StoreArgs none = {0};

	store_begin(&scope);

	/* as its update will: to ask for more of the table, with a lock on its index, is a deadlock with REINDEX */
	store_execute(&scope, "LOCK TABLE %s.rotate_run IN ROW EXCLUSIVE MODE", &none, SPI_OK_UTILITY);
	store_add_int8(&args, run_id, false);
	store_execute(&scope, "SELECT FROM %s.rotate_run WHERE run_id = $1 FOR NO KEY UPDATE", &args,
				  SPI_OK_SELECT);
	store_finish(&scope);
}

void
store_run_sets(int64 run_id, const char *version_id, const uint8 *hash)
{
	update_run_version(run_id,
					   "UPDATE %s.rotate_run SET set_version_id = $2, verifier_hash = $3 WHERE run_id = $1",
					   version_id, hash);
}

void
store_end_run(int64 run_id, const RunEnd *end, const uint8 *present_hash, bool notify)
{
	StoreScope scope;
	StoreArgs args = {0};
	StoreArgs prune = {0};
	StoreArgs looks = {0};
	char payload[32];

	store_begin(&scope);
	store_add_int8(&args, run_id, false);
	store_add_text(&args, end->outcome);
	store_add_text(&args, end->version_id);
	store_add_text(&args, end->phases);
	store_add_int8(&args, end->lockout_us, end->lockout_us < 0);
	store_add_text(&args, end->sqlstate);
	store_add_text(&args, end->error);
	store_add_text(&args, end->hint);
	store_add_timestamptz(&args, end->retry_at, end->retry_at == 0);
	store_execute(&scope,
				  "UPDATE %s.rotate_run SET finished_at = clock_timestamp(), outcome = $2, "
				  "version_id = COALESCE($3, version_id), phases = $4::jsonb, "
				  "lockout = $5 * interval '1 microsecond', sqlstate = $6, error = $7, hint = $8, "
				  "retry_at = LEAST($9, retry_at) WHERE run_id = $1",
				  &args, SPI_OK_UPDATE);

	store_add_int8(&prune, run_id, false);
	store_add_int4(&prune, rotate_history_retention);
	store_add_hash(&prune, present_hash);
	store_execute(&scope,
				  "DELETE FROM %s.rotate_run r WHERE r.secret = (SELECT s.secret FROM %s.rotate_run s WHERE "
				  "s.run_id = $1) "
				  "AND r.run_id <> $1 AND r.started_at < now() - $2 * interval '1 day' "
				  "AND r.verifier_hash IS DISTINCT FROM $3",
				  &prune, SPI_OK_DELETE);

	/* that the launcher found nothing to do is worth knowing once */
	store_add_int8(&looks, run_id, false);
	store_add_text(&looks, STORE_SOURCE_LAUNCHER);
	store_execute(&scope,
				  "DELETE FROM %s.rotate_run r USING %s.rotate_run s WHERE s.run_id = $1 "
				  "AND r.secret = s.secret AND r.run_id < s.run_id AND s.source = $2 AND r.source = $2 "
				  "AND r.outcome = 'unchanged'",
				  &looks, SPI_OK_DELETE);
	store_finish(&scope);

	/* the id and nothing else: anyone may LISTEN */
	if (notify)
	{
		snprintf(payload, sizeof(payload), INT64_FORMAT, run_id);
		Async_Notify("rotate_ext", payload);
	}
}

void
store_make_due(const char *secret)
{
	StoreScope scope;
	StoreArgs args = {0};

	store_begin(&scope);
	store_add_text(&args, secret);
	store_execute(
		&scope,
		"UPDATE %s.rotate_run SET retry_at = clock_timestamp() "
		"WHERE run_id = (SELECT max(run_id) FROM %s.rotate_run WHERE secret = $1 AND arn IS NOT NULL)",
		&args, SPI_OK_UPDATE);
	store_finish(&scope);
}

/* The first column of the first row, in the caller's context; NULL where there is no row, or it is null. */
static char *
find_text(const char *format, StoreArgs *args)
{
	StoreScope scope;
	char *text = NULL;

	store_begin(&scope);
	if (store_execute(&scope, format, args, SPI_OK_SELECT) > 0)
		text = store_text(&scope, 0, 1);
	store_finish(&scope);
	return text;
}

static bool
has_row(const char *format, StoreArgs *args)
{
	StoreScope scope;
	bool found;

	store_begin(&scope);
	found = store_execute(&scope, format, args, SPI_OK_SELECT) > 0;
	store_finish(&scope);
	return found;
}

bool
store_is_our_verifier(Oid role_oid, const uint8 *hash)
{
	StoreArgs args = {0};

	store_add_oid(&args, role_oid);
	store_add_hash(&args, hash);
	return has_row("SELECT 1 FROM %s.rotate_run WHERE role_oid = $1 AND verifier_hash = $2 LIMIT 1", &args);
}

bool
store_is_unsettled_verifier(Oid role_oid, const uint8 *hash)
{
	StoreArgs args = {0};

	store_add_oid(&args, role_oid);
	store_add_hash(&args, hash);
	return has_row(
		"SELECT 1 FROM %s.rotate_run r WHERE r.role_oid = $1 AND r.verifier_hash = $2 "
		"AND NOT EXISTS (SELECT FROM %s.rotate_run m WHERE m.secret = r.secret "
		"AND m.run_id >= r.run_id AND m.outcome NOT IN ('failed', 'interrupted', 'abandoned')) LIMIT 1",
		&args);
}

bool
store_created_version(const char *arn, const char *version_id)
{
	StoreArgs args = {0};

	store_add_text(&args, arn);
	store_add_text(&args, version_id);
	return has_row("SELECT 1 FROM %s.rotate_run WHERE arn = $1 AND created_version_id = $2 LIMIT 1", &args);
}

bool
store_is_unrecorded_move(const char *arn, const char *version_id)
{
	StoreArgs args = {0};

	store_add_text(&args, arn);
	store_add_text(&args, version_id);
	return has_row(
		"SELECT 1 FROM %s.rotate_run r WHERE r.arn = $1 AND r.created_version_id = $2 "
		"AND NOT EXISTS (SELECT FROM %s.rotate_run m WHERE m.arn = $1 AND m.version_id = $2 "
		"AND m.outcome IN ('rotated', 'completed', 'rolled back') AND m.run_id >= r.run_id) LIMIT 1",
		&args);
}

/* 0: it is infinite. */
static TimestampTz
get_time(uint64 row, int column)
{
	TimestampTz time = DatumGetTimestampTz(store_datum(row, column));

	return TIMESTAMP_NOT_FINITE(time) ? 0 : time;
}

/* One statement that has found the tables in the order in which DROP EXTENSION locks them. */
List *
store_list_last_runs(const char *system_identifier, int64 *latest)
{
	StoreScope scope;
	StoreArgs args = {0};
	List *runs = NIL;
	uint64 nrows;
	uint64 row;

	store_begin(&scope);
	store_add_text(&args, system_identifier);
	nrows = store_execute(
		&scope,
		"SELECT r.secret, r.role_oid, h.run_id, h.attempt, h.outcome IS NULL, h.started_at, "
		"COALESCE(h.retry_at, '-infinity'), COALESCE(l.started_at, '-infinity'), COALESCE(l.run_id, 0), "
		"CASE WHEN h.outcome IS NULL THEN (SELECT count(*)::integer FROM %s.rotate_run u "
		"WHERE u.secret = r.secret AND u.run_id < h.run_id AND u.outcome = 'interrupted' AND u.run_id > "
		"COALESCE((SELECT max(v.run_id) FROM %s.rotate_run v WHERE v.secret = r.secret "
		"AND v.run_id < h.run_id AND v.outcome <> 'interrupted'), 0)) ELSE 0 END, m.latest "
		"FROM %s.rotate_registration r "
		"LEFT JOIN LATERAL (SELECT * FROM %s.rotate_run u WHERE u.secret = r.secret "
		"AND u.arn IS NOT NULL ORDER BY u.run_id DESC LIMIT 1) h ON true "
		"LEFT JOIN LATERAL (SELECT u.run_id, u.started_at FROM %s.rotate_run u WHERE u.secret = r.secret "
		"AND (u.source = '" STORE_SOURCE_LAUNCHER "' OR (u.source IN ('rotate_now', '" STORE_SOURCE_ROLLBACK
		"') AND u.outcome NOT IN ('failed', 'interrupted'))) "
		"ORDER BY u.run_id DESC LIMIT 1) l ON true "
		"RIGHT JOIN (SELECT COALESCE(max(u.run_id), 0) AS latest FROM %s.rotate_run u) m "
		"ON r.system_identifier = $1",
		&args, SPI_OK_SELECT);
	*latest = DatumGetInt64(store_datum(0, 11));
	/* without a secret there is a row, too, for the sake of that */
	if (store_text(&scope, 0, 1) == NULL)
		nrows = 0;
	for (row = 0; row < nrows; row++)
	{
		MemoryContext spi = MemoryContextSwitchTo(scope.caller);
		LastRun *run = palloc0(sizeof(LastRun));

		run->secret = store_text(&scope, row, 1);
		run->role_oid = DatumGetObjectId(store_datum(row, 2));
		run->run_id = DatumGetInt64(store_datum(row, 3));
		if (run->run_id != 0)
		{
			run->attempt = DatumGetInt32(store_datum(row, 4));
			run->unfinished = DatumGetBool(store_datum(row, 5));
			run->started_at = DatumGetTimestampTz(store_datum(row, 6));
			run->retry_at = get_time(row, 7);
			run->looked_at = get_time(row, 8);
			run->looked_run_id = DatumGetInt64(store_datum(row, 9));
			run->interruptions = DatumGetInt32(store_datum(row, 10));
		}
		runs = lappend(runs, run);
		MemoryContextSwitchTo(spi);
	}
	store_finish(&scope);
	return runs;
}

/* An earlier run's unfinished version is in the row of a rollback, too: only its own is in both columns. */
char *
store_open_rollback(const char *arn, int64 run_id)
{
	StoreArgs args = {0};

	store_add_text(&args, arn);
	store_add_int8(&args, run_id, false);
	return find_text("SELECT CASE WHEN outcome IN ('failed', 'interrupted') THEN version_id END "
					 "FROM %s.rotate_run WHERE arn = $1 AND run_id < $2 AND source = '" STORE_SOURCE_ROLLBACK
					 "' AND version_id = created_version_id ORDER BY run_id DESC LIMIT 1",
					 &args);
}

char *
store_moved_to(const char *arn, int seconds)
{
	StoreArgs args = {0};

	store_add_text(&args, arn);
	store_add_int4(&args, seconds);
	return find_text("SELECT version_id FROM %s.rotate_run WHERE arn = $1 "
					 "AND outcome IN ('rotated', 'completed', 'rolled back') "
					 "AND ($2 = 0 OR finished_at > clock_timestamp() - $2 * interval '1 second') "
					 "ORDER BY run_id DESC LIMIT 1",
					 &args);
}

bool
store_may_have_moved(const char *arn, int seconds)
{
	StoreArgs args = {0};

	store_add_text(&args, arn);
	store_add_int4(&args, seconds);
	return has_row("SELECT 1 FROM %s.rotate_run WHERE arn = $1 AND verifier_hash IS NOT NULL "
				   "AND (outcome = 'interrupted' OR sqlstate = '08007') "
				   "AND finished_at > clock_timestamp() - $2 * interval '1 second' LIMIT 1",
				   &args);
}

bool
store_run_is_unfinished(int64 run_id)
{
	StoreArgs args = {0};

	store_add_int8(&args, run_id, false);
	return has_row("SELECT 1 FROM %s.rotate_run WHERE run_id = $1 AND outcome IS NULL", &args);
}
