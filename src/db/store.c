/*-------------------------------------------------------------------------
 *
 * store.c
 *	  The extension's tables: registrations.  Runs are in store_run.c.
 *
 * src/db/store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"

#include "db/store.h"
#include "db/store_spi.h"

#define REGISTRATION_COLUMNS                                                                                \
	"secret, arn, role_oid, role_name, strategy, host, port, password_length, exclude_characters, "         \
	"login_host, "                                                                                          \
	"instance_hash, allow_plaintext_login, allow_privileged, repair, own_pending_only, system_identifier, " \
	"registered_by"

Registration *
store_find_registration(const char *secret)
{
	StoreScope scope;
	StoreArgs args = {0};
	Registration *found = NULL;

	store_begin(&scope);
	store_add_text(&args, secret);
	if (store_execute(&scope,
					  "SELECT " REGISTRATION_COLUMNS
					  " FROM %s.rotate_registration WHERE secret = $1 OR arn = $1 "
					  "ORDER BY secret = $1 DESC LIMIT 1",
					  &args, SPI_OK_SELECT) > 0)
	{
		found = MemoryContextAllocZero(scope.caller, sizeof(Registration));
		found->secret = store_text(&scope, 0, 1);
		found->arn = store_text(&scope, 0, 2);
		found->role_oid = DatumGetObjectId(store_datum(0, 3));
		found->role_name = store_text(&scope, 0, 4);
		found->strategy = store_text(&scope, 0, 5);
		found->host = store_text(&scope, 0, 6);
		found->port = DatumGetInt32(store_datum(0, 7));
		found->password_length = DatumGetInt32(store_datum(0, 8));
		found->exclude_characters = store_text(&scope, 0, 9);
		found->login_host = store_text(&scope, 0, 10);
		found->instance_hash = store_text(&scope, 0, 11);
		found->allow_plaintext_login = DatumGetBool(store_datum(0, 12));
		found->allow_privileged = DatumGetBool(store_datum(0, 13));
		found->repair = DatumGetBool(store_datum(0, 14));
		found->own_pending_only = DatumGetBool(store_datum(0, 15));
		found->system_identifier = store_text(&scope, 0, 16);
		found->registered_by = store_text(&scope, 0, 17);
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

	store_add_text(&args, registration->secret);
	store_add_text(&args, registration->arn);
	store_add_oid(&args, registration->role_oid);
	store_add_text(&args, registration->role_name);
	store_add_text(&args, registration->system_identifier);
	if (store_execute(scope,
					  "SELECT secret, role_name, arn FROM %s.rotate_registration "
					  "WHERE secret = $1 OR arn = $2 OR (role_oid = $3 AND system_identifier = $5) "
					  "OR role_name = $4 "
					  "ORDER BY secret = $1 DESC, arn = $2 DESC LIMIT 1",
					  &args, SPI_OK_SELECT) > 0)
	{
		char *secret = store_text(scope, 0, 1);
		char *role = store_text(scope, 0, 2);
		char *arn = store_text(scope, 0, 3);

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
store_lock_registrations(void)
{
	StoreScope scope;
	StoreArgs args = {0};

	store_begin(&scope);
	store_execute(&scope, "LOCK TABLE %s.rotate_registration IN SHARE ROW EXCLUSIVE MODE", &args,
				  SPI_OK_UTILITY);
	store_finish(&scope);
}

void
store_insert_registration(const Registration *registration)
{
	StoreScope scope;
	StoreArgs args = {0};

	/* of two at the same time the second waits, and is then told what is in its way */
	store_lock_registrations();
	store_begin(&scope);
	check_not_registered(&scope, registration);
	store_add_text(&args, registration->secret);
	store_add_text(&args, registration->arn);
	store_add_oid(&args, registration->role_oid);
	store_add_text(&args, registration->role_name);
	store_add_text(&args, registration->strategy);
	store_add_text(&args, registration->host);
	store_add_int4(&args, registration->port);
	store_add_int4(&args, registration->password_length);
	store_add_text(&args, registration->exclude_characters);
	store_add_text(&args, registration->login_host);
	store_add_text(&args, registration->instance_hash);
	store_add_bool(&args, registration->allow_plaintext_login);
	store_add_bool(&args, registration->allow_privileged);
	store_add_bool(&args, registration->repair);
	store_add_bool(&args, registration->own_pending_only);
	store_add_text(&args, registration->system_identifier);
	store_add_text(&args, registration->registered_by);
	store_execute(
		&scope,
		"INSERT INTO %s.rotate_registration (" REGISTRATION_COLUMNS ", registered_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, now())",
		&args, SPI_OK_INSERT);
	store_finish(&scope);
}

void
store_delete_registration(const char *secret)
{
	StoreScope scope;
	StoreArgs args = {0};

	store_begin(&scope);
	store_add_text(&args, secret);
	store_execute(&scope, "DELETE FROM %s.rotate_registration WHERE secret = $1", &args, SPI_OK_DELETE);
	store_finish(&scope);
}

void
store_bind_registration(const Registration *registration)
{
	StoreScope scope;
	StoreArgs args = {0};

	store_begin(&scope);
	store_add_text(&args, registration->secret);
	store_add_text(&args, registration->system_identifier);
	store_add_oid(&args, registration->role_oid);
	store_add_text(&args, registration->instance_hash);
	store_execute(
		&scope,
		"UPDATE %s.rotate_registration SET system_identifier = $2, role_oid = $3, instance_hash = $4 "
		"WHERE secret = $1",
		&args, SPI_OK_UPDATE);
	store_finish(&scope);
}
