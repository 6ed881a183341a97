/*-------------------------------------------------------------------------
 *
 * role.c
 *	  A role's password in pg_authid: matched, set, and put back.
 *
 * The row is read by index scans under a snapshot of their own, not through
 * the system cache: a decision that follows from a verifier must not rest on
 * one that another session replaced a moment ago, and a cache may still hold
 * that while the invalidation is on its way.
 *
 * Every copy of a verifier or a password that is made here is wiped.  Those
 * that PostgreSQL makes (SASLprep, the system cache) live until the process
 * ends, which is soon: this runs in a rotation worker.
 *
 * src/db/role.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "libpq/crypt.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "db/role.h"

/* How long a transaction that has altered roles is waited for, in ms; and where nobody can log in meanwhile. */
#define ROLE_DDL_WAIT "300"
#define ROLE_DDL_WAIT_LOCKED_OUT "100"

StaticAssertDecl(VERIFIER_HASH_LEN == PG_SHA256_DIGEST_LENGTH, "a verifier's hash is a SHA-256");

struct RoleVerifier
{
	bool present; /* rolpassword is not null */
	size_t length;
	char text[FLEXIBLE_ARRAY_MEMBER]; /* NUL-terminated */
};

/* One version of a pg_authid row, taken apart.  Free it with free_row(). */
typedef struct RoleRow
{
	HeapTuple tuple; /* a copy, with the place it came from */
	RoleState state;
	RoleVerifier *verifier;
} RoleRow;

static RoleVerifier *
make_verifier(const char *text, size_t length, bool present)
{
	RoleVerifier *verifier = palloc0(offsetof(RoleVerifier, text) + length + 1);

	verifier->present = present;
	verifier->length = length;
	if (present)
		memcpy(verifier->text, text, length);
	return verifier;
}

void
role_verifier_free(RoleVerifier *verifier)
{
	if (verifier == NULL)
		return;
	explicit_bzero(verifier, offsetof(RoleVerifier, text) + verifier->length + 1);
	pfree(verifier);
}

void
role_verifier_hash(const RoleVerifier *verifier, uint8 *hash)
{
	pg_cryptohash_ctx *ctx;

	memset(hash, 0, VERIFIER_HASH_LEN);
	if (!verifier->present)
		return;

	ctx = pg_cryptohash_create(PG_SHA256);
	if (ctx == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) verifier->text, verifier->length) < 0 ||
		pg_cryptohash_final(ctx, hash, VERIFIER_HASH_LEN) < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not compute a SHA-256 hash: %s", pg_cryptohash_error(ctx))));
	pg_cryptohash_free(ctx);
}

static void
free_row(RoleRow *row)
{
	explicit_bzero(row->tuple->t_data, row->tuple->t_len);
	heap_freetuple(row->tuple);
	role_verifier_free(row->verifier);
	explicit_bzero(row, sizeof(*row));
}

static RoleVerifier *
row_verifier(HeapTuple tuple, TupleDesc descriptor)
{
	bool isnull;
	Datum datum = heap_getattr(tuple, Anum_pg_authid_rolpassword, descriptor, &isnull);
	text *value;
	RoleVerifier *verifier;

	if (isnull)
		return make_verifier(NULL, 0, false);

	value = DatumGetTextPP(datum);
	verifier = make_verifier(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), true);
	if ((Pointer) value != DatumGetPointer(datum))
	{
		explicit_bzero(value, VARSIZE_ANY(value));
		pfree(value);
	}
	return verifier;
}

static void
row_state(RoleRow *row, TupleDesc descriptor)
{
	Form_pg_authid form = (Form_pg_authid) GETSTRUCT(row->tuple);
	RoleState *state = &row->state;
	bool isnull;
	Datum datum;

	state->oid = form->oid;
	state->name = form->rolname;
	state->superuser = form->rolsuper;
	state->createrole = form->rolcreaterole;
	state->replication = form->rolreplication;
	state->bypassrls = form->rolbypassrls;
	state->canlogin = form->rolcanlogin;
	state->connection_limit = form->rolconnlimit;

	datum = heap_getattr(row->tuple, Anum_pg_authid_rolvaliduntil, descriptor, &isnull);
	state->has_valid_until = !isnull;
	if (!isnull)
		state->valid_until = DatumGetTimestampTz(datum);

	state->has_password = row->verifier->present;
	state->is_md5 = state->has_password && get_password_type(row->verifier->text) == PASSWORD_TYPE_MD5;
	role_verifier_hash(row->verifier, state->verifier_hash);
}

/* Read the row under a new snapshot; false: there is none. */
static bool
read_row(Relation authid, Oid index, ScanKey key, RoleRow *row)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(authid, index, true, snapshot, 1, key);
	HeapTuple tuple = systable_getnext(scan);

	memset(row, 0, sizeof(*row));
	if (HeapTupleIsValid(tuple))
	{
		row->tuple = heap_copytuple(tuple);
		row->verifier = row_verifier(row->tuple, RelationGetDescr(authid));
		row_state(row, RelationGetDescr(authid));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	return row->tuple != NULL;
}

static bool
read_row_by_oid(Relation authid, Oid roleid, RoleRow *row)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_pg_authid_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(roleid));
	return read_row(authid, AuthIdOidIndexId, &key, row);
}

static bool
read_row_by_name(Relation authid, const char *name, RoleRow *row)
{
	ScanKeyData key;
	NameData rolname;

	namestrcpy(&rolname, name);
	ScanKeyInit(&key, Anum_pg_authid_rolname, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&rolname));
	return read_row(authid, AuthIdRolnameIndexId, &key, row);
}

bool
role_lookup_oid(Oid roleid, RoleState *state)
{
	Relation authid = table_open(AuthIdRelationId, AccessShareLock);
	RoleRow row;
	bool found = read_row_by_oid(authid, roleid, &row);

	*state = row.state;
	if (found)
		free_row(&row);
	table_close(authid, AccessShareLock);
	return found;
}

bool
role_lookup_name(const char *name, RoleState *state)
{
	Relation authid;
	RoleRow row;
	bool found;

	memset(state, 0, sizeof(*state));
	if (strlen(name) >= NAMEDATALEN)
		return false;

	authid = table_open(AuthIdRelationId, AccessShareLock);
	found = read_row_by_name(authid, name, &row);
	*state = row.state;
	if (found)
		free_row(&row);
	table_close(authid, AccessShareLock);
	return found;
}

const char *
role_privilege(const RoleState *state)
{
	if (state->superuser)
		return "SUPERUSER";
	if (state->replication)
		return "REPLICATION";
	if (state->bypassrls)
		return "BYPASSRLS";
	if (state->createrole)
		return "CREATEROLE";
	return NULL;
}

static bool
row_matches(const RoleRow *row, const char *password)
{
	const char *logdetail = NULL;

	return row->verifier->present && plain_crypt_verify(NameStr(row->state.name), row->verifier->text,
														password, &logdetail) == STATUS_OK;
}

bool
role_password_matches(Oid roleid, const char *password)
{
	Relation authid = table_open(AuthIdRelationId, AccessShareLock);
	RoleRow row;
	bool matches = false;

	if (read_row_by_oid(authid, roleid, &row))
	{
		matches = row_matches(&row, password);
		free_row(&row);
	}
	table_close(authid, AccessShareLock);
	return matches;
}

/* Wait for the lock, but not for long. */
static void
wait_for_authid(const char *milliseconds)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		int guc_level = NewGUCNestLevel();

		(void) set_config_option("lock_timeout", milliseconds, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
		LockRelationOid(AuthIdRelationId, ShareRowExclusiveLock);
		AtEOXact_GUC(false, guc_level);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error != NULL && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
}

/*
 * Keep others from altering roles until the transaction ends, before pg_authid
 * is opened.
 *
 * ALTER, RENAME and DROP ROLE lock pg_authid, read the role's row, and fail
 * with "tuple concurrently updated" where it has changed before they write it.
 * Who waits for this lock reads the row afterwards.  Nobody who only reads
 * waits, so logins go on.
 *
 * A transaction that has altered some role may stay open for hours, and is not
 * waited for long: then that other statement may get the error after all.
 */
static void
hold_back_role_ddl(const char *milliseconds)
{
	if (!ConditionalLockRelationOid(AuthIdRelationId, ShareRowExclusiveLock))
		wait_for_authid(milliseconds);
}

/* In the handler of an error.  What PostgreSQL says of lock_timeout names no role. */
pg_noreturn static void
explain_lock_timeout(const RoleState *role)
{
	if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
		PG_RE_THROW();
	FlushErrorState();
	ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					errmsg("could not set the password of role \"%s\"", NameStr(role->name)),
					errdetail("A transaction that is still open has changed the role."),
					errhint("End it: in pg_locks it holds RowExclusiveLock on pg_authid.")));
}

/*
 * Lock the row against every other change until the transaction ends.  False:
 * someone changed or removed it since it was read.
 */
static bool
lock_row(Relation authid, RoleRow *row)
{
	TupleTableSlot *slot = table_slot_create(authid, NULL);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TM_FailureData failure;
	volatile TM_Result result = TM_Invisible;

	PG_TRY();
	{
		result = table_tuple_lock(authid, &row->tuple->t_self, snapshot, slot, GetCurrentCommandId(true),
								  LockTupleNoKeyExclusive, LockWaitBlock, 0, &failure);
	}
	PG_CATCH();
	{
		explain_lock_timeout(&row->state);
	}
	PG_END_TRY();
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

/*
 * AlterRole() takes the row from the system cache.  A commit is visible to
 * snapshots shortly before its invalidations are sent, so for a moment the
 * cache can lag behind the row that we have locked.
 */
static bool
cache_has_row(const RoleRow *row)
{
	HeapTuple tuple;
	bool same;

	AcceptInvalidationMessages();
	tuple = SearchSysCache1(AUTHNAME, NameGetDatum(&row->state.name));
	if (!HeapTupleIsValid(tuple))
		return false;
	same = ItemPointerEquals(&tuple->t_self, &row->tuple->t_self);
	ReleaseSysCache(tuple);
	return same;
}

/* 'ALTER ROLE "app" PASSWORD <redacted>' */
static char *
redacted_query(const char *name)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfoString(&query, "ALTER ROLE \"");
	for (const char *p = name; *p != '\0'; p++)
	{
		if (*p == '"')
			appendStringInfoChar(&query, '"');
		appendStringInfoChar(&query, *p);
	}
	appendStringInfoString(&query, "\" PASSWORD <redacted>");
	return query.data;
}

static void
alter_role_error_callback(void *query)
{
	errcontext("SQL statement \"%s\"", (const char *) query);
}

/*
 * Hand an AlterRoleStmt to ProcessUtility, where the hooks are.
 *
 * As PROCESS_UTILITY_QUERY, the context of statements that are run through
 * SPI: complete, audited by pgaudit, but not sent by a client.  The node has
 * no query id, so pg_stat_statements leaves it out; the location spans the
 * whole query string, because pgaudit cuts the text by it.
 */
static void
run_alter_role(const char *name, const char *password, char *query)
{
	char *copy = pstrdup(password);
	AlterRoleStmt *statement = makeNode(AlterRoleStmt);
	RoleSpec *role = makeNode(RoleSpec);
	PlannedStmt *planned = makeNode(PlannedStmt);
	ErrorContextCallback callback;

	role->roletype = ROLESPEC_CSTRING;
	role->rolename = pstrdup(name);
	role->location = -1;
	statement->role = role;
	statement->action = +1;
	statement->options = list_make1(makeDefElem("password", (Node *) makeString(copy), -1));
	planned->commandType = CMD_UTILITY;
	planned->utilityStmt = (Node *) statement;
	planned->stmt_location = 0;
	planned->stmt_len = strlen(query);

	callback.callback = alter_role_error_callback;
	callback.arg = query;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	PG_TRY();
	{
		ProcessUtility(planned, query, false, PROCESS_UTILITY_QUERY, NULL, NULL, None_Receiver, NULL);
	}
	PG_FINALLY();
	{
		explicit_bzero(copy, strlen(password));
	}
	PG_END_TRY();
	error_context_stack = callback.previous;
}

static void
changed_meanwhile(const RoleState *expected)
{
	ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					errmsg("could not set the password of role \"%s\"", NameStr(expected->name)),
					errdetail("The role was changed at the same time.")));
}

/* Is the row still what the caller decided upon? */
static bool
row_is_as_expected(const RoleRow *row, const RoleState *expected)
{
	return strcmp(NameStr(row->state.name), NameStr(expected->name)) == 0 &&
		   row->state.has_password == expected->has_password &&
		   memcmp(row->state.verifier_hash, expected->verifier_hash, VERIFIER_HASH_LEN) == 0;
}

/*
 * The new verifier must be this password's, or the login that follows could
 * not work: whatever a hook did to it, and whatever form of ready-made
 * verifier a later PostgreSQL takes the password for.
 */
static void
check_new_verifier(Relation authid, const RoleState *expected, const char *password, uint8 *new_hash)
{
	RoleRow row;
	bool matches = false;

	if (read_row_by_oid(authid, expected->oid, &row))
	{
		matches = row_matches(&row, password);
		memcpy(new_hash, row.state.verifier_hash, VERIFIER_HASH_LEN);
		free_row(&row);
	}
	if (!matches)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("could not set the password of role \"%s\"", NameStr(expected->name)),
						errdetail("PostgreSQL stored a verifier that this password does not match."),
						errhint("Passwords that look like a ready-made verifier can't be used.")));
}

RoleVerifier *
role_set_password(const RoleState *expected, const char *password, uint8 *new_hash)
{
	Relation authid;
	RoleVerifier *old;
	RoleRow row;
	char *query;

	hold_back_role_ddl(ROLE_DDL_WAIT);
	authid = table_open(AuthIdRelationId, RowExclusiveLock);
	if (!read_row_by_oid(authid, expected->oid, &row))
		changed_meanwhile(expected);
	if (!row_is_as_expected(&row, expected) || !lock_row(authid, &row) || !cache_has_row(&row))
	{
		free_row(&row);
		changed_meanwhile(expected);
	}
	old = make_verifier(row.verifier->text, row.verifier->length, row.verifier->present);
	free_row(&row);

	query = redacted_query(NameStr(expected->name));
	PushActiveSnapshot(GetTransactionSnapshot());
	run_alter_role(NameStr(expected->name), password, query);
	PopActiveSnapshot();
	CommandCounterIncrement();
	pfree(query);

	check_new_verifier(authid, expected, password, new_hash);
	table_close(authid, NoLock);
	return old;
}

/*
 * Read and lock the row, if its verifier has this hash.  Another attribute may
 * be changed at the same time, which is no reason to give up: look again.
 */
static bool
lock_row_with(Relation authid, Oid roleid, const uint8 *present_hash, RoleRow *row)
{
	while (read_row_by_oid(authid, roleid, row))
	{
		bool present =
			row->state.has_password && memcmp(row->state.verifier_hash, present_hash, VERIFIER_HASH_LEN) == 0;

		if (present && lock_row(authid, row))
			return true;
		free_row(row);
		if (!present)
			return false;
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

bool
role_restore_verifier(Oid roleid, const RoleVerifier *old, const uint8 *present_hash)
{
	Relation authid;
	Datum values[Natts_pg_authid] = {0};
	bool nulls[Natts_pg_authid] = {false};
	bool replace[Natts_pg_authid] = {false};
	HeapTuple tuple;
	RoleRow row;
	text *value = NULL;

	hold_back_role_ddl(ROLE_DDL_WAIT_LOCKED_OUT);
	authid = table_open(AuthIdRelationId, RowExclusiveLock);
	if (!lock_row_with(authid, roleid, present_hash, &row))
	{
		table_close(authid, RowExclusiveLock);
		return false;
	}

	replace[Anum_pg_authid_rolpassword - 1] = true;
	nulls[Anum_pg_authid_rolpassword - 1] = !old->present;
	if (old->present)
	{
		value = cstring_to_text_with_len(old->text, old->length);
		values[Anum_pg_authid_rolpassword - 1] = PointerGetDatum(value);
	}
	tuple = heap_modify_tuple(row.tuple, RelationGetDescr(authid), values, nulls, replace);
	CatalogTupleUpdate(authid, &row.tuple->t_self, tuple);
	InvokeObjectPostAlterHook(AuthIdRelationId, roleid, 0);
	CommandCounterIncrement();

	explicit_bzero(tuple->t_data, tuple->t_len);
	heap_freetuple(tuple);
	if (value != NULL)
	{
		explicit_bzero(value, VARSIZE(value));
		pfree(value);
	}
	free_row(&row);
	table_close(authid, NoLock);
	return true;
}
