/*-------------------------------------------------------------------------
 *
 * login.c
 *	  Prove a login by really logging in, where the applications do.
 *
 * The order of things here is the point: every address is judged before
 * anything is sent to one, and who answers is asked for only after it took
 * the password.
 *
 * src/db/login.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "db/login.h"
#include "db/login_address.h"
#include "db/login_connect.h"
#include "guc.h"

/* Between two attempts while the connection limit is used up. */
#define RETRY_DELAY_MS 200

#define NONCE_BYTES 16

/* Names qualified: the role's settings, search_path too, hold in this session. */
#define WHO_ANSWERS "SELECT pg_catalog.pg_backend_pid(), current_user"

static bool
fail(LoginResult *result, const LoginTarget *target, LoginOutcome outcome, const char *why)
{
	result->outcome = outcome;
	login_set_message(result, target, why);
	return false;
}

static bool
would_expose(LoginResult *result, const LoginTarget *target, const LoginAddress *address, const char *why)
{
	char *message =
		psprintf("%s port %d is not this server's own listener, and %s", address->text, target->port, why);

	fail(result, target, LOGIN_WOULD_EXPOSE, message);
	pfree(message);
	return false;
}

/* Off the own listener; see (b) and (c) in login.h. */
static bool
choose_policy_for_stranger(const LoginTarget *target, const LoginAddress *address, LoginPolicy *policy,
						   LoginResult *result)
{
	bool require_auth = login_knows_require_auth();

	if (address->is_socket)
		return would_expose(result, target, address, "a Unix-domain socket has no TLS to verify it by");
	if (target->ssl == SECRET_SSL_ON)
	{
		policy->sslmode = "verify-full";
		return true;
	}
	if (target->allow_plaintext_login || (require_auth && !target->md5_verifier))
	{
		policy->sslmode = target->ssl == SECRET_SSL_OFF || !require_auth ? "disable" : "prefer";
		policy->method = target->md5_verifier ? LOGIN_METHOD_MD5 : LOGIN_METHOD_SCRAM;
		return true;
	}
	if (target->ssl == SECRET_SSL_OFF)
		return would_expose(result, target, address, "the secret's ssl key forbids TLS");
	policy->sslmode = "verify-full";
	return true;
}

static bool
choose_policy(const LoginTarget *target, const LoginAddress *address, LoginPolicy *policy,
			  LoginResult *result)
{
	policy->method = LOGIN_METHOD_ANY;
	if (!address->own_listener)
	{
		if (!choose_policy_for_stranger(target, address, policy, result))
			return false;
	}
	else if (address->is_socket || target->ssl == SECRET_SSL_OFF)
		policy->sslmode = "disable";
	else
		policy->sslmode = target->ssl == SECRET_SSL_ON ? "verify-full" : "prefer";

	if (strcmp(policy->sslmode, "verify-full") != 0 || rotate_login_ca_file[0] != '\0')
		return true;
	if (!address->own_listener && target->ssl != SECRET_SSL_ON)
		return would_expose(result, target, address,
							"rotate_ext.login_ca_file is not set to verify its certificate by");
	return fail(result, target, LOGIN_WOULD_EXPOSE,
				"the secret's ssl key demands TLS, but rotate_ext.login_ca_file is not set to verify the "
				"server's certificate by");
}

static char *
make_nonce(void)
{
	uint8 bytes[NONCE_BYTES];
	StringInfoData nonce;

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random nonce")));
	initStringInfo(&nonce);
	appendStringInfoString(&nonce, "rotate_ext ");
	for (int i = 0; i < NONCE_BYTES; i++)
		appendStringInfo(&nonce, "%02x", bytes[i]);
	return nonce.data;
}

/*
 * Is there a session of this role with this nonce in our own backend status
 * array?  It is there whatever track_activities says: application_name is
 * reported without it.
 */
static bool
is_our_session(const char *nonce, Oid roleid)
{
	pgstat_clear_backend_activity_snapshot();
	for (int i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
		const PgBackendStatus *status = compat_backend_status(i);

		if (status->st_userid == roleid && strcmp(status->st_appname, nonce) == 0)
			return true;
	}
	return false;
}

/* Logged in: but with a password, and where, and as whom? */
static bool
check_session(LoginConnection *connection, const LoginTarget *target, const char *nonce, LoginResult *result)
{
	PGresult *answer;
	bool direct;
	bool expected_user;

	if (!PQconnectionUsedPassword(connection->conn))
		return fail(result, target, LOGIN_NO_PASSWORD_ASKED, "");

	answer = login_query(connection, target, WHO_ANSWERS, result);
	if (answer == NULL)
		return false;
	direct = PQntuples(answer) == 1 && PQnfields(answer) == 2 &&
			 atoi(PQgetvalue(answer, 0, 0)) == PQbackendPID(connection->conn);
	expected_user = direct && strcmp(PQgetvalue(answer, 0, 1), target->current_user) == 0;
	PQclear(answer);

	if (!is_our_session(nonce, target->roleid))
		return fail(result, target, LOGIN_OTHER_SERVER, "");
	if (!direct)
		return fail(result, target, LOGIN_POOLER, "");
	if (!expected_user)
		return fail(result, target, LOGIN_WRONG_USER, "");
	result->outcome = LOGIN_OK;
	return true;
}

/* One address, from connecting to the last check. */
static void
try_address(const LoginTarget *target, const LoginAddress *address, const LoginPolicy *policy,
			TimestampTz deadline, LoginResult *result)
{
	LoginConnection *connection = palloc0(sizeof(LoginConnection));
	char *nonce = make_nonce();

	memset(result, 0, sizeof(*result));
	connection->deadline = deadline;
	PG_TRY();
	{
		if (login_connect(connection, target, address, policy, nonce, result))
			check_session(connection, target, nonce, result);
	}
	PG_FINALLY();
	{
		login_disconnect(connection);
	}
	PG_END_TRY();
	pfree(connection);
	pfree(nonce);
}

/* The milliseconds that are left, 0 at least. */
static long
time_left(TimestampTz deadline)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
}

/*
 * The addresses in the resolver's order, until one answers.  None may use up
 * the time of those after it.
 */
static void
try_addresses(const LoginTarget *target, const LoginAddress *addresses, int count, TimestampTz deadline,
			  LoginResult *result)
{
	LoginPolicy policies[LOGIN_MAX_ADDRESSES];

	for (int i = 0; i < count; i++)
	{
		if (!choose_policy(target, &addresses[i], &policies[i], result))
			return;
	}
	for (int i = 0; i < count; i++)
	{
		TimestampTz until =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), time_left(deadline) / (count - i));

		try_address(target, &addresses[i], &policies[i], until, result);
		if (result->outcome != LOGIN_CANNOT_CONNECT)
			return;
	}
}

static void
sleep_before_retry(void)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_DELAY_MS);
	long remaining;

	while ((remaining = time_left(until)) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, remaining,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
login_prove(const LoginTarget *target, LoginResult *result)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), rotate_login_timeout);
	LoginAddress addresses[LOGIN_MAX_ADDRESSES];
	LoginResult refused;
	const char *why;
	int count;

	memset(result, 0, sizeof(*result));
	memset(&refused, 0, sizeof(refused));
	count = login_resolve(target->hostaddr != NULL ? target->hostaddr : target->host, target->port, addresses,
						  &why);
	if (count == 0)
	{
		fail(result, target, LOGIN_CANNOT_CONNECT, why);
		return;
	}
	if (strchr(target->host, ',') != NULL)
	{
		fail(result, target, LOGIN_CANNOT_CONNECT, "a host name can't hold a comma");
		return;
	}

	for (;;)
	{
		try_addresses(target, addresses, count, deadline, result);

		/* the time was over in the middle of one more try: the server's own answer says more */
		if (result->outcome == LOGIN_CANNOT_CONNECT && refused.outcome == LOGIN_TOO_MANY_CONNECTIONS &&
			time_left(deadline) == 0)
			*result = refused;
		if (result->outcome != LOGIN_TOO_MANY_CONNECTIONS || time_left(deadline) <= RETRY_DELAY_MS)
			break;
		refused = *result;
		sleep_before_retry();
	}
}
