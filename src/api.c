/*-------------------------------------------------------------------------
 *
 * api.c
 *	  The SQL functions: their arguments, who may call them and when, their rows.
 *
 * No function takes or returns a password.
 *
 * src/api.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "api.h"
#include "db/role.h"
#include "db/standby.h"
#include "db/store.h"
#include "identity.h"
#include "launcher.h"
#include "turn.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(rotate_register);
PG_FUNCTION_INFO_V1(rotate_unregister);
PG_FUNCTION_INFO_V1(rotate_enable);
PG_FUNCTION_INFO_V1(rotate_now);
PG_FUNCTION_INFO_V1(rotate_abandon);
PG_FUNCTION_INFO_V1(rotate_rollback);
PG_FUNCTION_INFO_V1(rotate_is_running);
PG_FUNCTION_INFO_V1(rotate_recovery);
PG_FUNCTION_INFO_V1(rotate_credentials);

/* AWS's PostgreSQL rotation templates leave these out of passwords, and take 32 characters. */
#define DEFAULT_EXCLUDE_CHARACTERS ":/@\"'\\"
#define DEFAULT_PASSWORD_LENGTH 32
#define MIN_PASSWORD_LENGTH 8
#define MAX_PASSWORD_LENGTH 1024

/* A rotation changes a role, which only a primary can. */
static void
check_primary(const char *function)
{
	char *source;

	if (!RecoveryInProgress())
		return;
	source = standby_describe_source();
	ereport(
		ERROR,
		(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION), errmsg("cannot execute %s() on a standby", function),
		 source ? errhint("Call it on the primary; the standbys follow. This one replicates from %s.", source)
				: errhint("Call it on the primary; the standbys follow.")));
}

/* As nextval() and ALTER ROLE do, although what is written is written by another transaction. */
void
api_check_writable(const char *function)
{
	check_primary(function);
	PreventCommandIfReadOnly(psprintf("%s()", function));
}

/*
 * The worker would wait for a row that this transaction has locked, and this
 * transaction for the worker: no deadlock detector sees that.
 */
void
api_check_nothing_written(const char *function)
{
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot execute %s() in a transaction that has already written", function),
				 errdetail("The rotation runs in a transaction of its own, which could wait for this one."),
				 errhint("Commit first, and call it in a transaction by itself.")));
}

void
api_copy_secret(char *dst, const char *secret)
{
	const char *p;

	for (p = secret; *p; p++)
	{
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
			  strchr("/_+=.@-:", *p) != NULL))
			break;
	}
	if (secret[0] == '\0' || *p != '\0' || strlen(secret) > SECRET_NAME_MAX)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid name of a secret"),
			 errdetail(
				 "A name has 1 to 512 of the characters a-z, A-Z, 0-9 and /_+=.@-; an ARN has colons too."),
			 errhint("Use the secret's name or its full ARN.")));
	strcpy(dst, secret);
}

void
api_begin_order(RotationOrder *order, RotationOperation operation)
{
	memset(order, 0, sizeof(*order));
	order->operation = operation;
	strlcpy(order->requested_by, GetUserNameFromId(GetSessionUserId(), false), sizeof(order->requested_by));
	order->registration.password_length = DEFAULT_PASSWORD_LENGTH;
	strcpy(order->registration.exclude_characters, DEFAULT_EXCLUDE_CHARACTERS);
	order->registration.repair = true;
}

/* Copy a text argument into an order, which has room for max bytes and the NUL. */
static void
copy_text(char *dst, size_t max, const char *name, const text *value)
{
	char *string = text_to_cstring(value);

	if (strlen(string) > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("parameter \"%s\" is too long", name),
				 errdetail("It has %zu bytes, and may have %zu.", strlen(string), max)));
	strcpy(dst, string);
}

static void
check_not_null(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("parameter \"%s\" must not be null", name)));
}

static Datum
make_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function returning record called in context that cannot accept type record")));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static void
set_text(Datum *value, bool *isnull, const char *string)
{
	*isnull = string == NULL;
	*value = string ? CStringGetTextDatum(string) : (Datum) 0;
}

static void
set_interval(Datum *value, bool *isnull, int64 microseconds)
{
	Interval *interval = palloc0(sizeof(Interval));

	*isnull = microseconds < 0;
	interval->time = microseconds;
	*value = IntervalPGetDatum(interval);
}

static void
read_registration_arguments(FunctionCallInfo fcinfo, RotationOrder *order)
{
	static const char *const names[] = {"secret",
										"role",
										"strategy",
										"password_length",
										"exclude_characters",
										"login_host",
										"allow_plaintext_login",
										"allow_privileged",
										"repair",
										"own_pending_only"};
	RegistrationOrder *registration = &order->registration;
	int i;

	for (i = 0; i < (int) lengthof(names); i++)
	{
		if (i != 1 && i != 5)
			check_not_null(fcinfo, i, names[i]);
	}

	api_copy_secret(order->secret, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	registration->has_role = !PG_ARGISNULL(1);
	if (registration->has_role)
		copy_text(registration->role, NAMEDATALEN - 1, "role", PG_GETARG_TEXT_PP(1));
	if (strcmp(text_to_cstring(PG_GETARG_TEXT_PP(2)), "single") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid value for parameter \"strategy\""),
				 errhint("The strategy is 'single'.")));
	registration->password_length = PG_GETARG_INT32(3);
	if (registration->password_length < MIN_PASSWORD_LENGTH ||
		registration->password_length > MAX_PASSWORD_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("password_length %d is out of range", registration->password_length),
				 errdetail("It may be %d to %d characters.", MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH)));
	copy_text(registration->exclude_characters, EXCLUDE_CHARACTERS_MAX, "exclude_characters",
			  PG_GETARG_TEXT_PP(4));
	registration->has_login_host = !PG_ARGISNULL(5);
	if (registration->has_login_host)
		copy_text(registration->login_host, LOGIN_HOST_MAX, "login_host", PG_GETARG_TEXT_PP(5));
	registration->allow_plaintext_login = PG_GETARG_BOOL(6);
	registration->allow_privileged = PG_GETARG_BOOL(7);
	registration->repair = PG_GETARG_BOOL(8);
	registration->own_pending_only = PG_GETARG_BOOL(9);
}

/* What kept earlier looks of the launcher's from the secret may be so no more: once this has committed it looks. */
static void
have_looked_at(const char *secret)
{
	if (launcher_looks_after())
		store_make_due(secret);
	launcher_wake_at_commit();
}

/*
 * The worker looks at the secret and the role; the row is written here, in
 * the caller's transaction, so that ROLLBACK takes it back.
 */
Datum
rotate_register(PG_FUNCTION_ARGS)
{
	RotationOrder order;
	RotationResult *result;
	Registration registration = {0};
	Datum values[5];
	bool nulls[5] = {0};

	api_check_writable("rotate_register");
	api_begin_order(&order, OPERATION_REGISTER);
	read_registration_arguments(fcinfo, &order);
	result = worker_perform(&order, InvalidOid);

	registration.secret = order.secret;
	registration.arn = result->arn;
	registration.role_oid = result->role_oid;
	registration.role_name = result->role;
	registration.strategy = "single";
	registration.host = result->host;
	registration.port = result->port;
	registration.password_length = order.registration.password_length;
	registration.exclude_characters = order.registration.exclude_characters;
	registration.login_host = order.registration.has_login_host ? order.registration.login_host : NULL;
	registration.instance_hash = result->instance_hash;
	registration.allow_plaintext_login = order.registration.allow_plaintext_login;
	registration.allow_privileged = order.registration.allow_privileged;
	registration.repair = order.registration.repair;
	registration.own_pending_only = order.registration.own_pending_only;
	registration.system_identifier = identity_system();
	registration.registered_by = order.requested_by;
	store_insert_registration(&registration);
	have_looked_at(order.secret);

	set_text(&values[0], &nulls[0], order.secret);
	set_text(&values[1], &nulls[1], result->arn);
	set_text(&values[2], &nulls[2], result->role);
	set_text(&values[3], &nulls[3], result->host);
	values[4] = Int32GetDatum(result->port);
	PG_RETURN_DATUM(make_row(fcinfo, values, nulls));
}

/* The registration, or an error. */
static Registration *
get_registration(const char *secret)
{
	Registration *registration = store_find_registration(secret);

	if (registration == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("secret \"%s\" is not registered", secret),
						errhint("Register it with rotate_register('%s').", secret)));
	return registration;
}

Datum
rotate_unregister(PG_FUNCTION_ARGS)
{
	char secret[SECRET_NAME_MAX + 1];

	api_check_writable("rotate_unregister");
	api_copy_secret(secret, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	store_lock_registrations();
	store_delete_registration(get_registration(secret)->secret);
	launcher_wake_at_commit();
	PG_RETURN_VOID();
}

/* Bind a registration to this cluster, which has taken over from the one it was made in. */
Datum
rotate_enable(PG_FUNCTION_ARGS)
{
	char secret[SECRET_NAME_MAX + 1];
	Registration *registration;
	RoleState role;

	api_check_writable("rotate_enable");
	api_copy_secret(secret, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	store_lock_registrations();
	registration = get_registration(secret);
	if (!role_lookup_name(registration->role_name, &role))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("could not enable secret \"%s\": role \"%s\" does not exist",
							   registration->secret, registration->role_name)));
	registration->role_oid = role.oid;
	registration->system_identifier = identity_system();
	registration->instance_hash = identity_instance(registration->host, registration->login_host);
	store_bind_registration(registration);
	have_looked_at(registration->secret);
	PG_RETURN_VOID();
}

/*
 * The registration, with no lock on its table left behind.  This transaction
 * waits for the worker; DDL on the extension that waited for this transaction
 * would make the worker wait, and no deadlock detector would see the circle.
 */
static Registration *
find_registration_unlocked(const char *secret)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Registration *volatile registration = NULL;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		registration = store_find_registration(secret);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error != NULL)
		ReThrowError(error);
	return registration;
}

Oid
api_find_turn(RotationOrder *order)
{
	Registration *registration = find_registration_unlocked(order->secret);

	if (registration == NULL)
	{
		order->may_register = order->operation == OPERATION_ROTATE && superuser();
		if (!order->may_register)
			(void) get_registration(order->secret);
		return InvalidOid;
	}
	return registration->role_oid;
}

/* What the functions that change a role have in common; their first argument is the secret. */
static void
begin_rotation(FunctionCallInfo fcinfo, const char *function, RotationOperation operation, bool dry_run,
			   RotationOrder *order)
{
	if (dry_run)
		check_primary(function);
	else
		api_check_writable(function);
	api_check_nothing_written(function);
	api_begin_order(order, operation);
	order->dry_run = dry_run;
	api_copy_secret(order->secret, text_to_cstring(PG_GETARG_TEXT_PP(0)));
}

Datum
rotate_now(PG_FUNCTION_ARGS)
{
	RotationOrder order;
	RotationResult *result;
	Datum values[7];
	bool nulls[7] = {0};

	begin_rotation(fcinfo, "rotate_now", OPERATION_ROTATE, PG_GETARG_BOOL(1), &order);
	order.force = PG_GETARG_BOOL(2);
	result = worker_perform(&order, api_find_turn(&order));

	set_text(&values[0], &nulls[0], result->secret);
	set_text(&values[1], &nulls[1], result->role);
	set_text(&values[2], &nulls[2], result->version_id);
	set_text(&values[3], &nulls[3], result->outcome);
	set_interval(&values[4], &nulls[4], result->lockout_us);
	set_interval(&values[5], &nulls[5], result->total_us);
	nulls[6] = result->detail == NULL;
	if (result->detail != NULL)
		values[6] = DirectFunctionCall1(jsonb_in, CStringGetDatum(result->detail));
	PG_RETURN_DATUM(make_row(fcinfo, values, nulls));
}

Datum
rotate_abandon(PG_FUNCTION_ARGS)
{
	RotationOrder order;
	RotationResult *result;
	Datum values[3];
	bool nulls[3] = {0};

	begin_rotation(fcinfo, "rotate_abandon", OPERATION_ABANDON, false, &order);
	result = worker_perform(&order, api_find_turn(&order));

	set_text(&values[0], &nulls[0], result->secret);
	set_text(&values[1], &nulls[1], result->version_id);
	set_text(&values[2], &nulls[2], result->outcome);
	PG_RETURN_DATUM(make_row(fcinfo, values, nulls));
}

Datum
rotate_rollback(PG_FUNCTION_ARGS)
{
	RotationOrder order;
	RotationResult *result;
	Datum values[6];
	bool nulls[6] = {0};

	begin_rotation(fcinfo, "rotate_rollback", OPERATION_ROLLBACK, false, &order);
	result = worker_perform(&order, api_find_turn(&order));

	set_text(&values[0], &nulls[0], result->secret);
	set_text(&values[1], &nulls[1], result->role);
	set_text(&values[2], &nulls[2], result->version_id);
	set_text(&values[3], &nulls[3], result->outcome);
	set_interval(&values[4], &nulls[4], result->lockout_us);
	set_interval(&values[5], &nulls[5], result->total_us);
	PG_RETURN_DATUM(make_row(fcinfo, values, nulls));
}

Datum
rotate_is_running(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_BOOL(turn_is_taken(PG_GETARG_OID(0)) ||
				   (!PG_ARGISNULL(1) && !store_run_is_unfinished(PG_GETARG_INT64(1))));
}

Datum
rotate_recovery(PG_FUNCTION_ARGS)
{
	char *problem = launcher_problem();

	PG_RETURN_TEXT_P(cstring_to_text(problem == NULL ? "on" : psprintf("off: %s", problem)));
}

/* Works on a standby, too, which needs credentials of its own when it is promoted. */
Datum
rotate_credentials(PG_FUNCTION_ARGS)
{
	RotationOrder order;
	RotationAccess *access;
	Datum values[5];
	bool nulls[5] = {0};

	api_begin_order(&order, OPERATION_CREDENTIALS);
	access = &worker_perform(&order, InvalidOid)->access;

	set_text(&values[0], &nulls[0], access->provider);
	set_text(&values[1], &nulls[1], access->access_key_last4);
	nulls[2] = access->expires == 0;
	values[2] = TimestampTzGetDatum(time_t_to_timestamptz((pg_time_t) access->expires));
	set_text(&values[3], &nulls[3], access->region);
	set_text(&values[4], &nulls[4], access->endpoint);
	PG_RETURN_DATUM(make_row(fcinfo, values, nulls));
}
