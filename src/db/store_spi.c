/*-------------------------------------------------------------------------
 *
 * store_spi.c
 *	  How statements on the extension's tables are run.
 *
 * They name the tables, and whoever owns the schema can put something else in
 * their place just then: in one transaction drop the schema, with the extension, and
 * make views of the same names.  A statement that waits for that one finds them,
 * and their functions would run as the bootstrap superuser.  So what a
 * statement has really found, and locked, is looked at before it is planned.
 *
 * src/db/store_spi.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "db/role.h"
#include "db/store.h"
#include "db/store_spi.h"

static post_parse_analyze_hook_type next_analyze_hook = NULL;

static void
add_datum(StoreArgs *args, Oid type, Datum value, bool isnull)
{
	Assert(args->n < (int) lengthof(args->types));
	args->types[args->n] = type;
	args->values[args->n] = value;
	args->nulls[args->n] = isnull ? 'n' : ' ';
	args->n++;
}

void
store_add_text(StoreArgs *args, const char *value)
{
	add_datum(args, TEXTOID, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

void
store_add_oid(StoreArgs *args, Oid value)
{
	add_datum(args, OIDOID, ObjectIdGetDatum(value), !OidIsValid(value));
}

void
store_add_int4(StoreArgs *args, int value)
{
	add_datum(args, INT4OID, Int32GetDatum(value), false);
}

void
store_add_int8(StoreArgs *args, int64 value, bool isnull)
{
	add_datum(args, INT8OID, Int64GetDatum(value), isnull);
}

void
store_add_bool(StoreArgs *args, bool value)
{
	add_datum(args, BOOLOID, BoolGetDatum(value), false);
}

void
store_add_timestamptz(StoreArgs *args, TimestampTz value, bool isnull)
{
	add_datum(args, TIMESTAMPTZOID, TimestampTzGetDatum(value), isnull);
}

void
store_add_hash(StoreArgs *args, const uint8 *hash)
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
 * A worker of ours has one run.  Where the extension was made anew meanwhile,
 * its row has gone, and another run may have its number.
 */
static bool
is_extension_of_worker(Oid extension)
{
	static Oid first = InvalidOid;

	if (MyBgworkerEntry == NULL || strcmp(MyBgworkerEntry->bgw_library_name, "rotate_ext") != 0)
		return true;
	if (!OidIsValid(first))
		first = extension;
	return extension == first;
}

void
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

	if (SPI_execute("SELECT pg_catalog.quote_ident(n.nspname), e.oid FROM pg_catalog.pg_extension e "
					"JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'rotate_ext'",
					true, 1) != SPI_OK_SELECT ||
		SPI_processed == 0 || !is_extension_of_worker(DatumGetObjectId(store_datum(0, 2))))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("could not find the extension \"rotate_ext\" in this database"),
						errhint("Run CREATE EXTENSION rotate_ext.")));
	scope->schema = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

void
store_finish(StoreScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

static Oid
table_owner(Oid table)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

static void
check_table(Oid table)
{
	const Oid extension = get_extension_oid("rotate_ext", true);
	Oid owner;

	if (!OidIsValid(extension) || getExtensionOfObject(RelationRelationId, table) != extension)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("could not use \"%s\": it is not the extension's own table", get_rel_name(table)),
				 errdetail("Something else has taken its place in the schema just now.")));

	/* its triggers, which would run as the bootstrap superuser */
	owner = table_owner(table);
	if (!superuser_arg(owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("could not use table \"%s\": its owner \"%s\" is not a superuser",
							   get_rel_name(table), GetUserNameFromId(owner, true)),
						errhint("Let a superuser own it, with ALTER TABLE ... OWNER TO.")));
}

static bool
check_tables(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		const RangeTblEntry *entry = (const RangeTblEntry *) node;

		if (entry->rtekind == RTE_RELATION)
			check_table(entry->relid);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_tables, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, check_tables, context);
}

/* Only the statement itself, and none that a trigger runs. */
static void
check_analyzed(ParseState *pstate, Query *query, CompatJumbleState *jumble)
{
	post_parse_analyze_hook = next_analyze_hook;
	if (next_analyze_hook)
		next_analyze_hook(pstate, query, jumble);
	(void) check_tables((Node *) query, NULL);
}

/* One-shot: names are looked up once, and what they led to stays locked. */
static int
execute_checked(const char *sql, StoreArgs *args)
{
	int result;

	next_analyze_hook = post_parse_analyze_hook;
	post_parse_analyze_hook = check_analyzed;
	PG_TRY();
	{
		result = SPI_execute_with_args(sql, args->n, args->types, args->values, args->nulls, false, 0);
	}
	PG_FINALLY();
	{
		if (post_parse_analyze_hook == check_analyzed)
			post_parse_analyze_hook = next_analyze_hook;
	}
	PG_END_TRY();
	return result;
}

uint64
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

	result = execute_checked(sql.data, args);
	if (result != expected)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not run a statement on the extension's tables: %s",
							   SPI_result_code_string(result))));
	return SPI_processed;
}

char *
store_text(const StoreScope *scope, uint64 row, int column)
{
	char *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return value ? MemoryContextStrdup(scope->caller, value) : NULL;
}

Datum
store_datum(uint64 row, int column)
{
	bool isnull;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);
}

char *
store_extension_version(void)
{
	MemoryContext caller = CurrentMemoryContext;
	char *version = NULL;

	SPI_connect();
	if (SPI_execute("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'rotate_ext'", true, 1) ==
			SPI_OK_SELECT &&
		SPI_processed > 0)
		version = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	return version;
}
