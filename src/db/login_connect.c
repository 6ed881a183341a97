/*-------------------------------------------------------------------------
 *
 * login_connect.c
 *	  One connection to one address over libpq, interruptible.
 *
 * libpq takes what it is not told from its environment variables and from
 * files in a home directory.  An empty value counts as not told.  Whoever
 * started the server must not decide over a password's way by accident, so
 * every parameter that matters gets a value, files get a path that can't
 * exist, and the variables are removed.
 *
 * What a server says is told apart by its SQLSTATE, never by its text, which
 * lc_messages translates.  libpq has no SQLSTATE for a connection that failed;
 * it is in the message where verbosity is set to that in time.
 *
 * src/db/login_connect.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <pwd.h>
#include <unistd.h>

#include "libpq-fe.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "core/aws_error.h"
#include "db/login_connect.h"
#include "guc.h"

/* libpq takes ENOTDIR for "no such file", and nobody can ever put one there. */
#define NO_FILE "/dev/null/none"

#define MAX_PARAMETERS 40

typedef struct Parameters
{
	PQconninfoOption *known;
	int count;
	const char *keywords[MAX_PARAMETERS + 1];
	const char *values[MAX_PARAMETERS + 1];
} Parameters;

static PQconninfoOption *
known_options(void)
{
	PQconninfoOption *options = PQconndefaults();

	if (options == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return options;
}

static bool
is_known(const PQconninfoOption *options, const char *keyword)
{
	for (; options->keyword != NULL; options++)
	{
		if (strcmp(options->keyword, keyword) == 0)
			return true;
	}
	return false;
}

bool
login_knows_require_auth(void)
{
	PQconninfoOption *options = known_options();
	bool result = is_known(options, "require_auth");

	PQconninfoFree(options);
	return result;
}

/*
 * service, options, sslcrldir, ssl_max_protocol_version and others have no
 * value that means "none", so their variables have to go; and with them those
 * that a later libpq may add.  Three more are no parameters: libpq sends them
 * as settings of the session, and a value that the server refuses fails the
 * login.
 */
static void
remove_environment(const PQconninfoOption *options)
{
	static const char *const settings[] = {"PGDATESTYLE", "PGTZ", "PGGEQO"};

	for (int i = 0; i < (int) lengthof(settings); i++)
		unsetenv(settings[i]);
	for (; options->keyword != NULL; options++)
	{
		if (options->envvar != NULL)
			unsetenv(options->envvar);
	}
}

/* A parameter that this libpq does not know would be an error. */
static void
add(Parameters *parameters, const char *keyword, const char *value)
{
	if (!is_known(parameters->known, keyword))
		return;
	Assert(parameters->count < MAX_PARAMETERS);
	parameters->keywords[parameters->count] = keyword;
	parameters->values[parameters->count] = value;
	parameters->count++;
}

static const char *
require_auth(LoginMethod method)
{
	switch (method)
	{
		case LOGIN_METHOD_SCRAM:
			return "scram-sha-256";
		case LOGIN_METHOD_MD5:
			return "md5";
		case LOGIN_METHOD_ANY:
			break;
	}
	return "";
}

/* Of a Unix-domain socket: whoever serves it must be the user that we are. */
static const char *
own_user_name(void)
{
	struct passwd *entry = getpwuid(geteuid());

	return entry != NULL ? pstrdup(entry->pw_name) : "";
}

static void
add_parameters(Parameters *parameters, const LoginTarget *target, const LoginAddress *address,
			   const LoginPolicy *policy, const char *application_name)
{
	bool verify = strcmp(policy->sslmode, "verify-full") == 0;

	add(parameters, "host", address->is_socket ? address->text : target->host);
	add(parameters, "hostaddr", address->is_socket ? "" : address->text);
	add(parameters, "port", psprintf("%d", target->port));
	add(parameters, "dbname", target->dbname);
	add(parameters, "user", target->user);
	add(parameters, "password", target->password);
	add(parameters, "passfile", NO_FILE);
	add(parameters, "application_name", application_name);
	add(parameters, "client_encoding", "SQL_ASCII"); /* names as bytes, as in pg_authid */
	add(parameters, "target_session_attrs", "any");
	add(parameters, "load_balance_hosts", "disable");
	add(parameters, "requirepeer", address->is_socket ? own_user_name() : "");
	add(parameters, "require_auth", require_auth(policy->method));
	add(parameters, "channel_binding", "prefer");
	add(parameters, "sslmode", policy->sslmode);
	add(parameters, "sslnegotiation", "postgres");

	/* with a CA, libpq's "prefer" would fall back to no TLS for an unknown certificate */
	add(parameters, "sslrootcert", verify ? rotate_login_ca_file : NO_FILE);
	add(parameters, "sslcert", NO_FILE);
	add(parameters, "sslkey", NO_FILE);
	add(parameters, "sslcertmode", "disable");
	add(parameters, "sslcrl", NO_FILE);
	add(parameters, "sslcompression", "0");
	add(parameters, "sslsni", "1");
	add(parameters, "ssl_min_protocol_version", "TLSv1.2");
	add(parameters, "gssencmode", "disable");
	add(parameters, "gssdelegation", "0");
	add(parameters, "krbsrvname", "postgres");
	parameters->keywords[parameters->count] = NULL;
	parameters->values[parameters->count] = NULL;
}

static void
ignore_notice(void *arg, const PGresult *notice)
{
}

static PGconn *
start_connection(const LoginTarget *target, const LoginAddress *address, const LoginPolicy *policy,
				 const char *application_name)
{
	Parameters parameters = {.known = known_options()};
	PGconn *conn;

	remove_environment(parameters.known);
	add_parameters(&parameters, target, address, policy, application_name);
	conn = PQconnectStartParams(parameters.keywords, parameters.values, 0);
	PQconninfoFree(parameters.known);
	if (conn == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));

	PQsetNoticeReceiver(conn, ignore_notice, NULL);
	PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
	return conn;
}

void
login_set_message(LoginResult *result, const LoginTarget *target, const char *message)
{
	char *line = pstrdup(message);
	size_t length = 0;

	if (strstr(message, target->password) != NULL)
	{
		strlcpy(result->message, "the message is left out, the password is in it", sizeof(result->message));
		explicit_bzero(line, strlen(line));
		pfree(line);
		return;
	}

	for (const char *p = message; *p != '\0'; p++)
	{
		if (!isspace((unsigned char) *p))
			line[length++] = *p;
		else if (length > 0 && line[length - 1] != ' ')
			line[length++] = ' ';
	}
	if (length > 0 && line[length - 1] == ' ')
		length--;
	aws_printable(result->message, sizeof(result->message), line, length);
	pfree(line);
}

/* Set the outcome of an error that the server reported with this SQLSTATE. */
static void
set_outcome(LoginResult *result, const char *sqlstate)
{
	strlcpy(result->sqlstate, sqlstate, sizeof(result->sqlstate));
	if (strcmp(sqlstate, "28P01") == 0)
		result->outcome = LOGIN_PASSWORD_REJECTED;
	else if (strcmp(sqlstate, "53300") == 0)
		result->outcome = LOGIN_TOO_MANY_CONNECTIONS;
	else if (strcmp(sqlstate, "28000") == 0)
		result->outcome = LOGIN_HBA_REJECTED;
	else
		result->outcome = LOGIN_OTHER_ERROR;
}

/* The next "SEVERITY:  XXXXX: " in the text: where its SQLSTATE starts, or NULL. */
static const char *
next_sqlstate(const char *text)
{
	while ((text = strstr(text, ":  ")) != NULL)
	{
		text += 3;
		if (strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && text[5] == ':' && text[6] == ' ')
			return text;
	}
	return NULL;
}

/*
 * The error of a connection that failed.  There can be several: with "prefer"
 * libpq tries again without TLS whatever the server's error was.  Then the
 * first counts, unless only a later one says that it was the password.
 */
static bool
find_server_error(const char *text, char *sqlstate, char **message)
{
	const char *found = next_sqlstate(text);
	const char *start;

	if (found == NULL)
		return false;
	for (const char *p = found; p != NULL; p = next_sqlstate(p))
	{
		if (strncmp(p, "28P01", 5) == 0)
		{
			found = p;
			break;
		}
	}
	strlcpy(sqlstate, found, 6);
	start = found + 7;
	*message = pnstrdup(start, strcspn(start, "\n"));
	return true;
}

/* why: where libpq does not know it */
static bool
fail(LoginResult *result, const LoginTarget *target, LoginOutcome outcome, const char *why)
{
	result->outcome = outcome;
	login_set_message(result, target, why);
	return false;
}

/*
 * Was it libpq that refused the server's way of asking, by require_auth?  It
 * has no code for that.  Its message, translated or not, quotes the value.
 */
static bool
is_method_refused(const LoginConnection *connection, const LoginPolicy *policy)
{
	return connection->filter == NULL && policy->method != LOGIN_METHOD_ANY &&
		   strstr(PQerrorMessage(connection->conn), require_auth(policy->method)) != NULL;
}

/* libpq gave up: why? */
static bool
connection_failed(const LoginConnection *connection, const LoginTarget *target, const LoginPolicy *policy,
				  LoginResult *result)
{
	const char *text = PQerrorMessage(connection->conn);
	char sqlstate[6];
	char *message;

	if (connection->filter != NULL && login_filter_refused(connection->filter) != NULL)
		return fail(result, target, LOGIN_METHOD_REFUSED, login_filter_refused(connection->filter));
	if (find_server_error(text, sqlstate, &message))
	{
		set_outcome(result, sqlstate);
		login_set_message(result, target, message);
		pfree(message);
		return false;
	}
	return fail(result, target,
				is_method_refused(connection, policy) ? LOGIN_METHOD_REFUSED : LOGIN_CANNOT_CONNECT, text);
}

/* Wait until the server's socket is ready; false: the deadline has passed. */
static bool
wait_for_socket(const LoginConnection *connection, int event)
{
	pgsocket socket = PQsocket(connection->conn);

	if (connection->filter != NULL)
	{
		/* libpq writes into the pair, which has room */
		if (event == WL_SOCKET_WRITEABLE)
			return true;
		socket = login_filter_socket(connection->filter);
	}

	for (;;)
	{
		long timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), connection->deadline);
		int ready;

		if (timeout <= 0)
			return false;
		ready = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | event, socket,
								  timeout, PG_WAIT_EXTENSION);
		if (ready & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		if (ready & event)
			break;
	}
	if (connection->filter != NULL)
		login_filter_to_libpq(connection->filter);
	return true;
}

static bool
acquire_fds(LoginConnection *connection, int count)
{
	for (; count > 0; count--)
	{
		if (!AcquireExternalFD())
			return false;
		connection->fds++;
	}
	return true;
}

/* The login's state machine, up to a session that is ready for a statement. */
static bool
poll_connection(LoginConnection *connection, const LoginTarget *target, const LoginPolicy *policy,
				bool filter, LoginResult *result)
{
	PostgresPollingStatusType polling = PGRES_POLLING_WRITING;

	if (PQstatus(connection->conn) == CONNECTION_BAD)
		return connection_failed(connection, target, policy, result);

	for (;;)
	{
		if (!wait_for_socket(connection,
							 polling == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE))
			return fail(result, target, LOGIN_CANNOT_CONNECT, "timeout expired");

		polling = PQconnectPoll(connection->conn);
		if (connection->filter != NULL)
			login_filter_to_server(connection->filter);
		if (polling == PGRES_POLLING_OK)
			return true;
		if (polling == PGRES_POLLING_FAILED)
			return connection_failed(connection, target, policy, result);

		/* the startup packet is sent, nothing is read yet */
		if (filter && connection->filter == NULL &&
			PQstatus(connection->conn) == CONNECTION_AWAITING_RESPONSE)
		{
			connection->filter = login_filter_install(PQsocket(connection->conn), policy->method);
			if (connection->filter == NULL)
				return fail(result, target, LOGIN_CANNOT_CONNECT, "could not create a pair of sockets");
		}
	}
}

bool
login_connect(LoginConnection *connection, const LoginTarget *target, const LoginAddress *address,
			  const LoginPolicy *policy, const char *application_name, LoginResult *result)
{
	bool filter = policy->method != LOGIN_METHOD_ANY && !login_knows_require_auth();
	const char *tls = "off";

	Assert(!filter || strcmp(policy->sslmode, "disable") == 0);
	if (!acquire_fds(connection, filter ? 1 + LOGIN_FILTER_FDS : 1))
		return fail(result, target, LOGIN_CANNOT_CONNECT, "too many open files in this process");

	connection->conn = start_connection(target, address, policy, application_name);
	if (!poll_connection(connection, target, policy, filter, result))
		return false;

	if (PQsslInUse(connection->conn))
		tls = strcmp(policy->sslmode, "verify-full") == 0 ? "verify-full" : "unverified";
	strlcpy(result->tls, tls, sizeof(result->tls));
	return true;
}

PGresult *
login_query(LoginConnection *connection, const LoginTarget *target, const char *query, LoginResult *result)
{
	PGresult *answer;
	bool sent = PQsendQuery(connection->conn, query);

	while (sent)
	{
		if (connection->filter != NULL)
			login_filter_to_server(connection->filter);
		if (!PQisBusy(connection->conn))
			break;
		if (!wait_for_socket(connection, WL_SOCKET_READABLE))
		{
			fail(result, target, LOGIN_CANNOT_CONNECT, "timeout expired");
			return NULL;
		}
		sent = PQconsumeInput(connection->conn);
	}
	if (!sent)
	{
		fail(result, target, LOGIN_CANNOT_CONNECT, PQerrorMessage(connection->conn));
		return NULL;
	}

	answer = PQgetResult(connection->conn);
	if (PQresultStatus(answer) != PGRES_TUPLES_OK)
	{
		const char *sqlstate = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
		const char *message = PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY);

		set_outcome(result, sqlstate != NULL ? sqlstate : "");
		login_set_message(result, target, message != NULL ? message : PQerrorMessage(connection->conn));
		PQclear(answer);
		return NULL;
	}
	return answer;
}

void
login_disconnect(LoginConnection *connection)
{
	PQfinish(connection->conn);
	connection->conn = NULL;
	login_filter_remove(connection->filter);
	connection->filter = NULL;
	for (; connection->fds > 0; connection->fds--)
		ReleaseExternalFD();
}
