/*-------------------------------------------------------------------------
 *
 * store.c
 *	  The extension's tables: registrations, and a row for each run.
 *
 * src/db/store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "db/role.h"
#include "db/store.h"
#include "guc.h"

#define REGISTRATION_COLUMNS                                                                                \
	"secret, arn, role_oid, role_name, strategy, host, port, password_length, exclude_characters, "         \
	"login_host, "                                                                                          \
	"instance_hash, allow_plaintext_login, allow_privileged, repair, own_pending_only, system_identifier, " \
	"registered_by"

/* The parameters of one statement. */
typedef struct StoreArgs
{
	int n;
	Oid types[20];
	Datum values[20];
	char nulls[20];
} StoreArgs;

/* What store_begin() changed, to be put back by store_finish(). */
typedef struct StoreScope
{
	MemoryContext caller;
	Oid userid;
	int sec_context;
	int guc_level;
	const char *schema; /* quoted */
} StoreScope;

static void
add_datum(StoreArgs *args, Oid type, Datum value, bool isnull)
{
	Assert(args->n < (int) lengthof(args->types));
	args->types[args->n] = type;
	args->values[args->n] = value;
	args->nulls[args->n] = isnull ? 'n' : ' ';
	args->n++;
}

static void
add_text(StoreArgs *args, const char *value)
{
	add_datum(args, TEXTOID, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

static void
add_oid(StoreArgs *args, Oid value)
{
	add_datum(args, OIDOID, ObjectIdGetDatum(value), !OidIsValid(value));
}

static void
add_int4(StoreArgs *args, int value)
{
	add_datum(args, INT4OID, Int32GetDatum(value), false);
}

static void
add_int8(StoreArgs *args, int64 value, bool isnull)
{
	add_datum(args, INT8OID, Int64GetDatum(value), isnull);
}

static void
add_bool(StoreArgs *args, bool value)
{
	add_datum(args, BOOLOID, BoolGetDatum(value), false);
}

static void
add_hash(StoreArgs *args, const uint8 *hash)
{
	bytea *value = NULL;

	if (hash != NULL)
	{
		value = palloc(VARHDRSZ + VERIFIER_HASH_LEN);
		SET_VARSIZE(value, VARHDRSZ + VERIFIER_HASH_LEN);
		memcpy(VARDATA(value), hash, VERIFIER_HASH_LEN);
	}
	add_datum(args, BYTEAOID, PointerGetDatum(value), value == NULL);
}

/*
 * Become the bootstrap superuser with a search_path that nobody else can put
 * objects into, and connect to SPI.  An error in between is undone by the
 * transaction's abort.
 */
static void
store_begin(StoreScope *scope)
{
	scope->caller = CurrentMemoryContext;
	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, scope->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
	SPI_connect();

	if (SPI_execute("SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e "
					"JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'rotate_ext'",
					true, 1) != SPI_OK_SELECT ||
		SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("could not find the extension \"rotate_ext\" in this database"),
						errhint("Run CREATE EXTENSION rotate_ext.")));
	scope->schema = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

static void
store_finish(StoreScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

/*
 * Run one statement, %s in it being the schema, and check that it was of the
 * kind expected.  Returns the number of rows.
 */
static uint64
store_execute(const StoreScope *scope, const char *format, StoreArgs *args, int expected)
{
	StringInfoData sql;
	const char *p;
	int result;

	initStringInfo(&sql);
	for (p = format; *p; p++)
	{
		if (p[0] == '%' && p[1] == 's')
		{
			appendStringInfoString(&sql, scope->schema);
			p++;
		}
		else
			appendStringInfoChar(&sql, *p);
	}

	result = SPI_execute_with_args(sql.data, args->n, args->types, args->values, args->nulls, false, 0);
	if (result != expected)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not run a statement on the extension's tables: %s",
							   SPI_result_code_string(result))));
	return SPI_processed;
}

/* A column of the first row as text in the caller's context, or NULL. */
static char *
column_text(const StoreScope *scope, int column)
{
	char *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);

	return value ? MemoryContextStrdup(scope->caller, value) : NULL;
}

static Datum
column_datum(int column)
{
	bool isnull;

	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);
}

Registration *
store_find_registration(const char *secret)
{
	StoreScope scope;
	StoreArgs args = {0};
	Registration *found = NULL;

	store_begin(&scope);
	add_text(&args, secret);
	if (store_execute(&scope,
					  "SELECT " REGISTRATION_COLUMNS
					  " FROM %s.rotate_registration WHERE secret = $1 OR arn = $1 "
					  "ORDER BY secret = $1 DESC LIMIT 1",
					  &args, SPI_OK_SELECT) > 0)
	{
		found = MemoryContextAllocZero(scope.caller, sizeof(Registration));
		found->secret = column_text(&scope, 1);
		found->arn = column_text(&scope, 2);
		found->role_oid = DatumGetObjectId(column_datum(3));
		found->role_name = column_text(&scope, 4);
		found->strategy = column_text(&scope, 5);
		found->host = column_text(&scope, 6);
		found->port = DatumGetInt32(column_datum(7));
		found->password_length = DatumGetInt32(column_datum(8));
		found->exclude_characters = column_text(&scope, 9);
		found->login_host = column_text(&scope, 10);
		found->instance_hash = column_text(&scope, 11);
		found->allow_plaintext_login = DatumGetBool(column_datum(12));
		found->allow_privileged = DatumGetBool(column_datum(13));
		found->repair = DatumGetBool(column_datum(14));
		found->own_pending_only = DatumGetBool(column_datum(15));
		found->system_identifier = column_text(&scope, 16);
		found->registered_by = column_text(&scope, 17);
	}
	store_finish(&scope);
	return found;
}

/*
 * The unique constraints would refuse a second registration too, but their
 * message names a constraint; this one names the registration in the way.
 */
static void
check_not_registered(const StoreScope *scope, const Registration *registration)
{
	StoreArgs args = {0};

	add_text(&args, registration->secret);
	add_text(&args, registration->arn);
	add_oid(&args, registration->role_oid);
	add_text(&args, registration->role_name);
	add_text(&args, registration->system_identifier);
	if (store_execute(scope,
					  "SELECT secret, role_name, arn FROM %s.rotate_registration "
					  "WHERE secret = $1 OR arn = $2 OR (role_oid = $3 AND system_identifier = $5) "
					  "OR role_name = $4 "
					  "ORDER BY secret = $1 DESC, arn = $2 DESC LIMIT 1",
					  &args, SPI_OK_SELECT) > 0)
	{
		char *secret = column_text(scope, 1);
		char *role = column_text(scope, 2);
		char *arn = column_text(scope, 3);

		if (strcmp(secret, registration->secret) != 0 && strcmp(arn, registration->arn) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("secret \"%s\" is already registered for role \"%s\", as \"%s\"",
							registration->secret, role, secret),
					 errhint("Name it as it is registered, or use rotate_unregister('%s') first.", secret)));
		if (strcmp(secret, registration->secret) != 0)
			ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
							errmsg("role \"%s\" is already registered for secret \"%s\"",
								   registration->role_name, secret),
							errdetail("Two secrets that rotate one role would undo each other's password."),
							errhint("Use rotate_unregister() on the other secret first.")));
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("secret \"%s\" is already registered for role \"%s\"", secret, role),
						errhint("Use rotate_unregister() first to register it anew.")));
	}
}

void
store_insert_registration(const Registration *registration)
{
	StoreScope scope;
	StoreArgs args = {0};

	store_begin(&scope);

	/* of two at the same time the second waits, and is then told what is in its way */
	store_execute(&scope, "LOCK TABLE %s.rotate_registration IN SHARE ROW EXCLUSIVE MODE", &args,
				  SPI_OK_UTILITY);
	check_not_registered(&scope, registration);
	add_text(&args, registration->secret);
	add_text(&args, registration->arn);
	add_oid(&args, registration->role_oid);
	add_text(&args, registration->role_name);
	add_text(&args, registration->strategy);
	add_text(&args, registration->host);
	add_int4(&args, registration->port);
	add_int4(&args, registration->password_length);
	add_text(&args, registration->exclude_characters);
	add_text(&args, registration->login_host);
	add_text(&args, registration->instance_hash);
	add_bool(&args, registration->allow_plaintext_login);
	add_bool(&args, registration->allow_privileged);
	add_bool(&args, registration->repair);
	add_bool(&args, registration->own_pending_only);
	add_text(&args, registration->system_identifier);
	add_text(&args, registration->registered_by);
	store_execute(
		&scope,
		"INSERT INTO %s.rotate_registration (" REGISTRATION_COLUMNS ", registered_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, now())",
		&args, SPI_OK_INSERT);
	store_finish(&scope);
}

bool
store_delete_registration(const char *secret)
{
	StoreScope scope;
	StoreArgs args = {0};
	uint64 rows;

	store_begin(&scope);
	add_text(&args, secret);
	rows =
		store_execute(&scope, "DELETE FROM %s.rotate_registration WHERE secret = $1", &args, SPI_OK_DELETE);
	store_finish(&scope);
	return rows > 0;
}

void
store_bind_registration(const Registration *registration)
{
	StoreScope scope;
	StoreArgs args = {0};

	store_begin(&scope);
	add_text(&args, registration->secret);
	add_text(&args, registration->system_identifier);
	add_oid(&args, registration->role_oid);
	add_text(&args, registration->instance_hash);
	store_execute(
		&scope,
		"UPDATE %s.rotate_registration SET system_identifier = $2, role_oid = $3, instance_hash = $4 "
		"WHERE secret = $1",
		&args, SPI_OK_UPDATE);
	store_finish(&scope);
}

int64
store_begin_run(const char *secret, const Registration *registration, const char *source,
				const char *requested_by)
{
	StoreScope scope;
	StoreArgs args = {0};
	int64 run_id;

	store_begin(&scope);
	if (registration != NULL)
	{
		StoreArgs earlier = {0};

		add_text(&earlier, registration->secret);
		store_execute(&scope,
					  "UPDATE %s.rotate_run SET outcome = 'interrupted', finished_at = clock_timestamp() "
					  "WHERE secret = $1 AND outcome IS NULL",
					  &earlier, SPI_OK_UPDATE);
	}
	add_text(&args, registration ? registration->secret : secret);
	add_text(&args, registration ? registration->arn : NULL);
	add_oid(&args, registration ? registration->role_oid : InvalidOid);
	add_text(&args, registration ? registration->role_name : NULL);
	add_text(&args, source);
	add_text(&args, requested_by);
	store_execute(
		&scope,
		"INSERT INTO %s.rotate_run (secret, arn, role_oid, role_name, source, requested_by, started_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp()) RETURNING run_id",
		&args, SPI_OK_INSERT_RETURNING);
	run_id = DatumGetInt64(column_datum(1));
	store_finish(&scope);
	return run_id;
}

void
store_run_registered(int64 run_id, const Registration *registration)
{
	StoreScope scope;
	StoreArgs args = {0};

	store_begin(&scope);
	add_int8(&args, run_id, false);
	add_text(&args, registration->arn);
	add_oid(&args, registration->role_oid);
	add_text(&args, registration->role_name);
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
	add_int8(&args, run_id, false);
	add_text(&args, version_id);
	if (hash != NULL)
		add_hash(&args, hash);
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
store_run_intends(int64 run_id, const char *version_id)
{
	update_run_version(run_id, "UPDATE %s.rotate_run SET version_id = $2 WHERE run_id = $1", version_id,
					   NULL);
}

void
store_run_sets(int64 run_id, const char *version_id, const uint8 *hash)
{
	update_run_version(run_id,
					   "UPDATE %s.rotate_run SET set_version_id = $2, verifier_hash = $3 WHERE run_id = $1",
					   version_id, hash);
}

void
store_end_run(int64 run_id, const RunEnd *end, const uint8 *present_hash)
{
	StoreScope scope;
	StoreArgs args = {0};
	StoreArgs prune = {0};
	char payload[32];

	store_begin(&scope);
	add_int8(&args, run_id, false);
	add_text(&args, end->outcome);
	add_text(&args, end->version_id);
	add_text(&args, end->phases);
	add_int8(&args, end->lockout_us, end->lockout_us < 0);
	add_text(&args, end->sqlstate);
	add_text(&args, end->error);
	add_text(&args, end->hint);
	store_execute(
		&scope,
		"UPDATE %s.rotate_run SET finished_at = clock_timestamp(), outcome = $2, "
		"version_id = COALESCE($3, version_id), phases = $4::jsonb, "
		"lockout = $5 * interval '1 microsecond', sqlstate = $6, error = $7, hint = $8 WHERE run_id = $1",
		&args, SPI_OK_UPDATE);

	add_int8(&prune, run_id, false);
	add_int4(&prune, rotate_history_retention);
	add_hash(&prune, present_hash);
	store_execute(&scope,
				  "DELETE FROM %s.rotate_run r WHERE r.secret = (SELECT s.secret FROM %s.rotate_run s WHERE "
				  "s.run_id = $1) "
				  "AND r.run_id <> $1 AND r.started_at < now() - $2 * interval '1 day' "
				  "AND r.verifier_hash IS DISTINCT FROM $3",
				  &prune, SPI_OK_DELETE);
	store_finish(&scope);

	/* the id and nothing else: anyone may LISTEN */
	snprintf(payload, sizeof(payload), INT64_FORMAT, run_id);
	Async_Notify("rotate_ext", payload);
}

char *
store_verifier_version(Oid role_oid, const uint8 *hash)
{
	StoreScope scope;
	StoreArgs args = {0};
	char *version_id = NULL;

	store_begin(&scope);
	add_oid(&args, role_oid);
	add_hash(&args, hash);
	if (store_execute(&scope,
					  "SELECT set_version_id FROM %s.rotate_run WHERE role_oid = $1 AND verifier_hash = $2 "
					  "ORDER BY run_id DESC LIMIT 1",
					  &args, SPI_OK_SELECT) > 0)
		version_id = column_text(&scope, 1);
	store_finish(&scope);
	return version_id;
}

bool
store_created_version(const char *arn, const char *version_id)
{
	StoreScope scope;
	StoreArgs args = {0};
	bool found;

	store_begin(&scope);
	add_text(&args, arn);
	add_text(&args, version_id);
	found = store_execute(&scope,
						  "SELECT 1 FROM %s.rotate_run WHERE arn = $1 AND created_version_id = $2 LIMIT 1",
						  &args, SPI_OK_SELECT) > 0;
	store_finish(&scope);
	return found;
}
