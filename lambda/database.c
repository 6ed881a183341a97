/*-------------------------------------------------------------------------
 *
 * database.c
 *	  The connection to the primary, and the one call: rotate_event().
 *
 * statement_timeout is set before every call, to end on the server before we
 * give up here.  That statement is also how a kept connection is tried out:
 * nothing of the event has been sent when it fails, so a new connection is
 * safe.  There is no PQcancel(): a server that has not obeyed its own timeout
 * is one that we can't reach, and libpq of before 17 would block, and would
 * send the cancel key in the clear.
 *
 * lambda/database.c
 *
 *-------------------------------------------------------------------------
 */
#include "database.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "login.h"

/* How long a kept connection may take to show that it lives. */
#define TRIAL_MS 3000

/* The server's timeout comes this much before ours, for its answer to arrive. */
#define ANSWER_MS 500

static PGconn *conn;

/* Not detail and context: a context may quote what was sent. */
static void
message_and_hint(const PGresult *result, char *text, size_t size)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	snprintf(text, size, "%s%s%s%s", message != NULL ? message : "the database reported an error",
			 hint != NULL ? " (HINT: " : "", hint != NULL ? hint : "", hint != NULL ? ")" : "");
}

static void
take_notice(void *arg, const PGresult *result)
{
	CallFacts *facts = arg;
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (facts != NULL && facts->warning[0] == '\0' && severity != NULL && strcmp(severity, "WARNING") == 0)
	{
		char text[2 * sizeof(facts->warning)];

		message_and_hint(result, text, sizeof(text));
		one_line(facts->warning, sizeof(facts->warning), text);
	}
}

void
database_close(void)
{
	PQfinish(conn);
	conn = NULL;
}

static void
sql_failure(const PGresult *result, Failure *failure)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	char text[FAILURE_MESSAGE_SIZE];

	message_and_hint(result, text, sizeof(text));
	failure_set(failure, sqlstate != NULL ? sqlstate : "Database.Error", "%s", text);
}

static void
run_failure(RunStatus status, const CallFacts *facts, Failure *failure)
{
	if (status == RUN_LATE)
		failure_set(
			failure, "Database.NoAnswer",
			"the database at %s has not answered before the function's time was up (HINT: the rotation may "
			"go on in the database; the retry joins it)",
			facts->host);
	else
		failure_set(failure, "Database.ConnectionLost", "the connection to the database at %s was lost: %s",
					facts->host, PQerrorMessage(conn));
}

static bool
connect_now(const Settings *settings, Moment deadline, CallFacts *facts, Failure *failure)
{
	Moment begun = now_ms();
	Login login;

	if (login_get(settings, deadline, &login, failure))
	{
		conn = connection_open(settings, &login, deadline, failure);
		login_free(&login);
	}
	facts->connect_ms = (int) (now_ms() - begun);
	return conn != NULL;
}

static RunStatus
set_timeout(Moment answer_by, Moment deadline, Failure *failure)
{
	char sql[64];
	PGresult *result;
	RunStatus status;
	int left = ms_until(answer_by) - ANSWER_MS;

	snprintf(sql, sizeof(sql), "SET statement_timeout = %d", left > 1 ? left : 1);
	status = connection_run(conn, sql, NULL, deadline, &result);
	if (status == RUN_DONE && PQresultStatus(result) != PGRES_COMMAND_OK)
	{
		/* "terminating connection ..." while we were away, for one */
		sql_failure(result, failure);
		status = RUN_BROKEN;
	}
	else if (status != RUN_DONE)
		failure_set(failure, "Database.ConnectionLost", "the connection to the database was lost: %s",
					status == RUN_LATE ? "no answer in time" : PQerrorMessage(conn));
	PQclear(result);
	return status;
}

/* A connection on which statement_timeout has just been set. */
static bool
make_ready(const Settings *settings, Moment deadline, CallFacts *facts, Failure *failure)
{
	if (conn != NULL)
	{
		PQsetNoticeReceiver(conn, take_notice, facts);
		if (set_timeout(deadline, earlier(now_ms() + ms_until(deadline) / 2, now_ms() + TRIAL_MS), failure) ==
			RUN_DONE)
		{
			facts->kept = true;
			return true;
		}
		facts->reconnected = true;
		database_close();

		/* the trial has used all the time there was, and its failure is the one to tell */
		if (ms_until(deadline) == 0)
			return false;
	}
	if (!connect_now(settings, deadline, facts, failure))
		return false;
	PQsetNoticeReceiver(conn, take_notice, facts);
	return set_timeout(deadline, deadline, failure) == RUN_DONE;
}

bool
database_call(const Settings *settings, const char *event, Moment deadline, char **answer, CallFacts *facts,
			  Failure *failure)
{
	PGresult *result = NULL;
	RunStatus status;
	bool ok = false;

	memset(facts, 0, sizeof(*facts));
	*answer = NULL;
	if (!make_ready(settings, deadline, facts, failure))
	{
		database_close();
		return false;
	}
	one_line(facts->host, sizeof(facts->host), PQhost(conn));
	status = connection_run(conn, settings->call, event, deadline, &result);
	if (status != RUN_DONE)
		run_failure(status, facts, failure);
	else if (PQresultStatus(result) != PGRES_TUPLES_OK)
		sql_failure(result, failure);
	else
	{
		*answer = strdup(PQgetisnull(result, 0, 0) ? "null" : PQgetvalue(result, 0, 0));
		ok = *answer != NULL;
		if (!ok)
			failure_set(failure, "Function.OutOfMemory", "out of memory");
	}
	PQclear(result);
	/* facts is the caller's and ends with the call */
	PQsetNoticeReceiver(conn, take_notice, NULL);
	if (!ok)
		database_close();
	return ok;
}
