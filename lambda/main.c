/*-------------------------------------------------------------------------
 *
 * main.c
 *	  The Lambda function that AWS Secrets Manager invokes: it hands the event
 *	  to rotate_event() in the database, and its verdict to Lambda.
 *
 * A program for Lambda's custom runtime: started once for each sandbox, it
 * asks for one invocation after the other, and is frozen in between.
 *
 * lambda/main.c
 *
 *-------------------------------------------------------------------------
 */
#include <curl/curl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/secret_value.h"
#include "core/wiping.h"
#include "database.h"
#include "deadline.h"
#include "event.h"
#include "failure.h"
#include "log.h"
#include "runtime.h"
#include "settings.h"

/*
 * Of an invocation's time this much is kept for sending the answer: an error
 * that is sent tells more than a function that was killed.
 */
#define RESERVE_MS 1000

/* With less than this left there is no point in beginning. */
#define LEAST_MS 500

typedef struct Outcome
{
	bool ok;
	char *answer; /* rotate_event's */
	char result[65];
	EventFacts event;
	CallFacts call;
	Failure failure;
} Outcome;

/*
 * A connection is worth keeping where another step will follow soon.  A
 * testSecret alone (RotateImmediately=false) has no successor, so what was
 * opened for it is closed.
 */
static bool
is_worth_keeping(const Outcome *outcome)
{
	if (!outcome->ok)
		return false;
	switch (outcome->event.step)
	{
		case STEP_CREATE:
		case STEP_SET:
			return true;
		case STEP_TEST:
			return outcome->call.kept || outcome->call.reconnected;
		case STEP_FINISH:
		case STEP_UNKNOWN:
			break;
	}
	return false;
}

/* "outcome" of the answer, for the log. */
static void
read_result(Outcome *outcome)
{
	json_t *answer = json_loads(outcome->answer, 0, NULL);
	const char *result = json_string_value(json_object_get(answer, "outcome"));

	if (result != NULL)
		one_line(outcome->result, sizeof(outcome->result), result);
	json_decref(answer);
}

static void
work(const Settings *settings, const Invocation *invocation, Outcome *outcome)
{
	Moment deadline = invocation->deadline - RESERVE_MS;

	memset(outcome, 0, sizeof(*outcome));
	if (invocation->event_too_large)
		failure_set(&outcome->failure, "Event.Invalid", "the event is too large");
	else if (!event_read(invocation->event, invocation->event_length, &outcome->event, &outcome->failure))
		return;
	else if (ms_until(deadline) < LEAST_MS)
		failure_set(&outcome->failure, "Function.NoTime",
					"%d ms are left until the function's deadline, too little to begin (HINT: raise its "
					"timeout; 60 s is "
					"a good value)",
					ms_until(invocation->deadline));
	else if (database_call(settings, invocation->event, deadline, &outcome->answer, &outcome->call,
						   &outcome->failure))
	{
		outcome->ok = true;
		read_result(outcome);
	}
}

static RuntimeStatus
answer(const Invocation *invocation, Outcome *outcome, Failure *failure)
{
	RuntimeStatus status;

	if (outcome->ok)
	{
		status = runtime_respond(invocation, outcome->answer, failure);
		if (status != RUNTIME_TOO_LARGE)
			return status;
		outcome->ok = false;
		failure_set(&outcome->failure, "Function.AnswerTooLarge",
					"rotate_event's answer is too large for Lambda");
	}
	status = runtime_fail(invocation, &outcome->failure, failure);
	return status == RUNTIME_TOO_LARGE ? RUNTIME_REFUSED : status;
}

/* False: the process must end. */
static bool
serve(const Settings *settings)
{
	Invocation invocation;
	Outcome outcome;
	Failure unsent = {0};
	RuntimeStatus status = runtime_next(&invocation, &unsent);
	Moment begun = now_ms();

	if (status != RUNTIME_OK)
	{
		log_line(&(LogLine){
			.outcome = "error", .duration_ms = -1, .error_type = unsent.type, .error = unsent.message});
		return false;
	}
	work(settings, &invocation, &outcome);
	if (!is_worth_keeping(&outcome))
		database_close();
	status = answer(&invocation, &outcome, &unsent);
	log_line(&(LogLine){
		.outcome = status != RUNTIME_OK ? "unanswered" : (outcome.ok ? "ok" : "error"),
		.request_id = invocation.request_id,
		.trace_id = getenv("_X_AMZN_TRACE_ID"),
		.step = outcome.event.step_name,
		.secret = outcome.event.secret,
		.version = outcome.event.version,
		.result = outcome.result,
		.host = outcome.call.host,
		.kept = outcome.call.kept,
		.reconnected = outcome.call.reconnected,
		.connect_ms = outcome.call.connect_ms,
		.duration_ms = now_ms() - begun,
		.error_type = outcome.ok ? unsent.type : outcome.failure.type,
		.error = outcome.ok ? unsent.message : outcome.failure.message,
		.warning = outcome.call.warning,
	});
	free(outcome.answer);
	invocation_done(&invocation);
	return status != RUNTIME_GONE;
}

int
main(void)
{
	static Settings settings;
	Failure failure = {.type = "Runtime.OutOfMemory", .message = "could not set up libcurl"};
	Failure unsent;

	signal(SIGPIPE, SIG_IGN);
	srandom((unsigned) clock_ms(CLOCK_REALTIME));
	secret_value_init();
	/* a name server that is silent may not use up an invocation: libpq's look-ups can't be interrupted */
	setenv("RES_OPTIONS", "timeout:2 attempts:2", 0);
	/* libcurl's buffers hold the function's own login for a while */
	if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_malloc, wiping_free, wiping_realloc, wiping_strdup,
							 wiping_calloc) != CURLE_OK ||
		!runtime_init(&failure))
	{
		log_line(&(LogLine){
			.outcome = "error", .duration_ms = -1, .error_type = failure.type, .error = failure.message});
		return 1;
	}
	if (!settings_read(&settings, &failure))
	{
		log_line(&(LogLine){
			.outcome = "error", .duration_ms = -1, .error_type = failure.type, .error = failure.message});
		runtime_init_error(&failure, &unsent);
		return 1;
	}
	while (serve(&settings))
		;
	database_close();
	return 1;
}
