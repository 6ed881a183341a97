/*-------------------------------------------------------------------------
 *
 * credentials_http.c
 *	  Requests for credentials: sent again where that makes sense, and what
 *	  is said where they fail.
 *
 * Nothing of an answer's body is ever shown: it may hold keys, or quote the
 * token that was sent.
 *
 * src/aws/credentials_http.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"

#include "aws/credentials_private.h"

/* A clock that is this far off is corrected for, in seconds. */
#define SKEW_SECONDS 240

static AwsErrorClass
class_without_answer(HttpOutcome outcome)
{
	switch (outcome)
	{
		case HTTP_TIMED_OUT:
			return AWS_TIMEOUT;
		case HTTP_UNTRUSTED:
			return AWS_UNTRUSTED;
		case HTTP_BAD_ANSWER:
			return AWS_BAD_ANSWER;
		default:
			return AWS_CONNECTION;
	}
}

static AwsErrorClass
class_of(const HttpRequest *request, CredentialsJudge judge, void *arg)
{
	AwsError error;

	if (request->outcome != HTTP_ANSWERED)
		return class_without_answer(request->outcome);
	if (request->status == 200)
		return AWS_OK;
	if (judge != NULL)
		return judge(request, arg);
	aws_error_classify(&error, request->status, NULL, NULL);
	return error.class;
}

/* Others' requests may be under way in the same client; they are moved on as well. */
static void
perform(HttpClient *http, HttpRequest *request)
{
	PG_TRY();
	{
		http_start(http, request);
		while (request->outcome == HTTP_PENDING)
			http_round(http, -1);
	}
	PG_CATCH();
	{
		http_abort(http);
		http_request_free(request);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
pause_for(HttpClient *http, int milliseconds)
{
	int64 until = http_clock_ms() + milliseconds;
	int64 now;

	while ((now = http_clock_ms()) < until)
		http_round(http, (long) (until - now));
}

AwsErrorClass
credentials_send(HttpClient *http, const HttpRequest *what, HttpRequest *request, int attempts,
				 CredentialsJudge judge, void *arg)
{
	for (int attempt = 1;; attempt++)
	{
		AwsErrorClass class;

		*request = *what;
		perform(http, request);
		class = class_of(request, judge, arg);
		if (!aws_error_is_retryable(class) || attempt >= attempts)
			return class;
		http_request_free(request);
		pause_for(http, aws_retry_delay_ms(class, attempt + 1, pg_prng_double(&pg_global_prng_state)));
	}
}

int
credentials_sqlstate(AwsErrorClass class, bool sent)
{
	switch (class)
	{
		case AWS_CONNECTION:
		case AWS_TIMEOUT:
			return sent ? ERRCODE_CONNECTION_FAILURE : ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
		case AWS_UNTRUSTED:
			return ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
		case AWS_THROTTLED:
			return ERRCODE_INSUFFICIENT_RESOURCES;
		case AWS_TRANSIENT:
			return ERRCODE_SYSTEM_ERROR;
		default:
			return ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
	}
}

void
credentials_http_error(const char *doing, HttpRequest *request, const char *hint)
{
	char problem[AWS_MESSAGE_MAX + 1];
	AwsErrorClass class = class_of(request, NULL, NULL);

	if (request->outcome == HTTP_ANSWERED)
		snprintf(problem, sizeof(problem), "HTTP %d", request->status);
	else
		aws_printable(problem, sizeof(problem), request->problem, strlen(request->problem));
	http_request_free(request);
	ereport(ERROR,
			(errcode(credentials_sqlstate(class, request->sent)), errmsg("could not %s: %s", doing, problem),
			 errdetail("The address is \"%s\".", request->endpoint->url),
			 hint != NULL ? errhint("%s", hint) : 0));
	pg_unreachable();
}

void
credentials_correct_clock(AwsCredentials *credentials, const HttpRequest *request)
{
	time_t skew = request->date - time(NULL);

	if (request->date >= 0 && credentials->expires != 0 && (skew > SKEW_SECONDS || skew < -SKEW_SECONDS))
		credentials->expires -= skew;
}

const char *
credentials_take_answer(HttpRequest *request, const char *provider, AwsCredentials *credentials)
{
	const char *problem;

	PG_TRY();
	{
		problem = credentials_read_json(request->answer, request->answer_length, "Token", false, provider,
										credentials);
	}
	PG_CATCH();
	{
		http_request_free(request);
		PG_RE_THROW();
	}
	PG_END_TRY();
	http_request_free(request);
	if (problem == NULL)
	{
		credentials->stable = true;
		credentials_correct_clock(credentials, request);
	}
	return problem;
}
