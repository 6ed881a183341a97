/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  libpq with deadlines: find the primary, run a statement.
 *
 * Not by libpq's own list of hosts: connect_timeout has no effect on a
 * connection that is made without blocking, and one host that swallows
 * packets would use up the time of all.
 *
 * lambda/connection.c
 *
 *-------------------------------------------------------------------------
 */
#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* No one host may take longer, however much time there is. */
#define MAX_HOST_MS 10000

/* Packets that nobody acknowledges: the connection is dead.  As text, in ms. */
#define TCP_USER_TIMEOUT "10000"

#define MAX_PARAMETERS 24

typedef struct Parameters
{
	const char *keywords[MAX_PARAMETERS];
	const char *values[MAX_PARAMETERS];
	int n;
} Parameters;

static void
add(Parameters *parameters, const char *keyword, const char *value)
{
	if (value == NULL)
		return;
	parameters->keywords[parameters->n] = keyword;
	parameters->values[parameters->n] = value;
	parameters->n++;
}

/* False: the deadline came first. */
static bool
wait_for(PGconn *conn, short events, Moment deadline)
{
	struct pollfd fd = {.fd = PQsocket(conn), .events = events};
	int n;

	do
	{
		n = poll(&fd, 1, ms_until(deadline));
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

/* Append to the failure's message, for one host among several. */
static void
add_reason(Failure *failure, const char *reason)
{
	size_t length = strlen(failure->message);

	if (length < sizeof(failure->message) - 3)
	{
		if (length > 0)
			length += (size_t) snprintf(failure->message + length, sizeof(failure->message) - length, "; ");
		one_line(failure->message + length, sizeof(failure->message) - length, reason);
	}
}

static PGconn *
start(const Settings *settings, const Login *login, const char *host, const char *port)
{
	Parameters parameters = {.n = 0};

	add(&parameters, "host", host);
	add(&parameters, "port", port);
	add(&parameters, "dbname", login->dbname);
	add(&parameters, "user", login->user);
	add(&parameters, "password", login->password);
	add(&parameters, "passfile", "/nonexistent");
	add(&parameters, "sslmode", settings->sslmode);
	add(&parameters, "sslrootcert", settings->ca_file);
	add(&parameters, "sslcert", settings->cert_file);
	add(&parameters, "sslkey", settings->key_file);
	add(&parameters, "sslcrl", settings->crl_file);
	add(&parameters, "gssencmode", "disable");
	add(&parameters, "target_session_attrs", "read-write");
	add(&parameters, "tcp_user_timeout", TCP_USER_TIMEOUT);
	add(&parameters, "client_encoding", "UTF8");
	add(&parameters, "application_name", "rotate_lambda");
	parameters.keywords[parameters.n] = NULL;
	parameters.values[parameters.n] = NULL;
	return PQconnectStartParams(parameters.keywords, parameters.values, 0);
}

static PGconn *
open_one(const Settings *settings, const Login *login, const char *host, const char *port, Moment deadline,
		 Failure *failure)
{
	PGconn *conn = start(settings, login, host, port);
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;
	char late[512] = "";

	if (conn == NULL)
	{
		add_reason(failure, "out of memory");
		return NULL;
	}
	while (PQstatus(conn) != CONNECTION_BAD && state != PGRES_POLLING_OK && state != PGRES_POLLING_FAILED)
	{
		if (!wait_for(conn, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline))
		{
			snprintf(late, sizeof(late), "connection to server at \"%s\", port %s failed: no answer in time",
					 host, port);
			break;
		}
		state = PQconnectPoll(conn);
	}
	if (state == PGRES_POLLING_OK && PQsetnonblocking(conn, 1) == 0)
		return conn;
	add_reason(failure, late[0] != '\0' ? late : PQerrorMessage(conn));
	PQfinish(conn);
	return NULL;
}

PGconn *
connection_open(const Settings *settings, const Login *login, Moment deadline, Failure *failure)
{
	const char *only[] = {login->host};
	const char *const *hosts = settings->nhosts > 0 ? settings->hosts : only;
	int nhosts = settings->nhosts > 0 ? settings->nhosts : 1;

	failure_set(failure, "Database.ConnectionFailed", "%s", "");
	for (int i = 0; i < nhosts; i++)
	{
		int share = ms_until(deadline) / (nhosts - i);
		PGconn *conn;

		/* a look-up of a name can't be cut short, so none is begun late */
		if (share == 0)
		{
			add_reason(failure, "no time was left for the other hosts");
			break;
		}
		conn =
			open_one(settings, login, hosts[i], settings->ports[i] != NULL ? settings->ports[i] : login->port,
					 now_ms() + (share < MAX_HOST_MS ? share : MAX_HOST_MS), failure);

		if (conn != NULL)
			return conn;
	}
	return NULL;
}

static RunStatus
flush(PGconn *conn, Moment deadline)
{
	int left;

	while ((left = PQflush(conn)) > 0)
	{
		/* the server may have to be heard before it listens */
		if (!wait_for(conn, POLLIN | POLLOUT, deadline))
			return RUN_LATE;
		if (!PQconsumeInput(conn))
			return RUN_BROKEN;
	}
	return left == 0 ? RUN_DONE : RUN_BROKEN;
}

static RunStatus
next_result(PGconn *conn, Moment deadline, PGresult **result)
{
	while (PQisBusy(conn))
	{
		if (!wait_for(conn, POLLIN, deadline))
			return RUN_LATE;
		if (!PQconsumeInput(conn))
			return RUN_BROKEN;
	}
	*result = PQgetResult(conn);
	return RUN_DONE;
}

RunStatus
connection_run(PGconn *conn, const char *sql, const char *parameter, Moment deadline, PGresult **result)
{
	PGresult *next = NULL;
	RunStatus status;

	*result = NULL;
	if (!PQsendQueryParams(conn, sql, parameter != NULL ? 1 : 0, NULL, &parameter, NULL, NULL, 0))
		return RUN_BROKEN;
	status = flush(conn, deadline);
	while (status == RUN_DONE)
	{
		status = next_result(conn, deadline, &next);
		if (status != RUN_DONE || next == NULL)
			break;
		/* the first error, or else the last result */
		if (*result != NULL && PQresultStatus(*result) == PGRES_FATAL_ERROR)
			PQclear(next);
		else
		{
			PQclear(*result);
			*result = next;
		}
	}
	/* an error that ended the session is still the server's word */
	if (*result != NULL && PQresultErrorField(*result, PG_DIAG_SQLSTATE) != NULL)
		return RUN_DONE;
	if (status == RUN_DONE && *result != NULL && PQstatus(conn) == CONNECTION_OK)
		return RUN_DONE;
	PQclear(*result);
	*result = NULL;
	return status == RUN_DONE ? RUN_BROKEN : status;
}
