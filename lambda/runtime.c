/*-------------------------------------------------------------------------
 *
 * runtime.c
 *	  The Lambda runtime API: the next invocation, and its answer or error.
 *
 * https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 *
 * lambda/runtime.c
 *
 *-------------------------------------------------------------------------
 */
#include "runtime.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "json_text.h"

#define API_VERSION "2018-06-01"
#define URL_SIZE 512

/* The service's events are below 10 kB; Lambda lets 6 MB through. */
#define MAX_EVENT (1024 * 1024)
#define MAX_OTHER_ANSWER 4096

#define INIT_ERROR_TIMEOUT_MS 3000
#define MIN_ANSWER_TIMEOUT_MS 200

static CURL *easy;
static char base[URL_SIZE / 2];

/*
 * setenv() never gives back the old value's memory, and this one changes with
 * every invocation; so the environment points to one buffer of ours.
 */
#define TRACE_VARIABLE "_X_AMZN_TRACE_ID"
static char trace_setting[sizeof(TRACE_VARIABLE) + TRACE_ID_SIZE];

bool
runtime_init(Failure *failure)
{
	const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
	int length;

	if (api == NULL || api[0] == '\0')
	{
		failure_set(failure, "Runtime.NoApi",
					"AWS_LAMBDA_RUNTIME_API is not set: this program is started by AWS Lambda");
		return false;
	}
	length = snprintf(base, sizeof(base), "http://%s/" API_VERSION "/runtime", api);
	if (length >= (int) sizeof(base) || strcspn(api, "/?#@ ") != strlen(api))
	{
		failure_set(failure, "Runtime.NoApi", "AWS_LAMBDA_RUNTIME_API is not a host and port");
		return false;
	}
	easy = curl_easy_init();
	if (easy == NULL)
		failure_set(failure, "Runtime.OutOfMemory", "could not start libcurl");
	return easy != NULL;
}

static void
set_trace_id(const char *value)
{
	if (value[0] == '\0')
	{
		unsetenv(TRACE_VARIABLE);
		return;
	}
	snprintf(trace_setting, sizeof(trace_setting), TRACE_VARIABLE "=%s", value);
	putenv(trace_setting);
}

/* It becomes part of a URL. */
static bool
is_request_id(const char *text)
{
	return text[0] != '\0' &&
		   strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") == strlen(text);
}

static bool
read_deadline(const char *text, Moment *deadline)
{
	char *end;
	long long at = strtoll(text, &end, 10);

	if (end == text || *end != '\0' || at <= 0)
		return false;
	*deadline = now_ms() + (at - clock_ms(CLOCK_REALTIME));
	return true;
}

RuntimeStatus
runtime_next(Invocation *invocation, Failure *failure)
{
	char url[URL_SIZE];
	char deadline[32];
	char trace[TRACE_ID_SIZE];
	HttpWanted wanted[] = {
		{"Lambda-Runtime-Aws-Request-Id", invocation->request_id, sizeof(invocation->request_id)},
		{"Lambda-Runtime-Deadline-Ms", deadline, sizeof(deadline)},
		{"Lambda-Runtime-Trace-Id", trace, sizeof(trace)},
	};
	HttpCall call = {.url = url, .max_answer = MAX_EVENT, .wanted = wanted, .nwanted = 3};

	memset(invocation, 0, sizeof(*invocation));
	snprintf(url, sizeof(url), "%s/invocation/next", base);
	if (!http_call(easy, &call))
		failure_set(failure, "Runtime.Next", "could not get the next invocation: %s", call.error);
	else if (call.status != 200)
		failure_set(failure, "Runtime.Next", "could not get the next invocation: HTTP %ld", call.status);
	else if (!is_request_id(invocation->request_id) || !read_deadline(deadline, &invocation->deadline))
		failure_set(failure, "Runtime.Next", "the next invocation came without a request id or a deadline");
	else
	{
		set_trace_id(trace);
		invocation->event = call.answer;
		invocation->event_length = call.answer_length;
		invocation->event_too_large = call.too_large;
		return RUNTIME_OK;
	}
	http_call_done(&call);
	return RUNTIME_GONE;
}

static RuntimeStatus
post(const char *path, const char *const *headers, const char *body, int timeout_ms, Failure *failure)
{
	char url[URL_SIZE];
	HttpCall call = {.url = url,
					 .headers = headers,
					 .body = body,
					 .body_length = strlen(body),
					 .timeout_ms = timeout_ms < MIN_ANSWER_TIMEOUT_MS ? MIN_ANSWER_TIMEOUT_MS : timeout_ms,
					 .max_answer = MAX_OTHER_ANSWER};
	RuntimeStatus status = RUNTIME_GONE;

	snprintf(url, sizeof(url), "%s/%s", base, path);
	if (!http_call(easy, &call))
		failure_set(failure, "Runtime.Answer", "could not send the answer: %s", call.error);
	else if (call.status >= 200 && call.status < 300)
		status = RUNTIME_OK;
	else
	{
		failure_set(failure, "Runtime.Answer", "the answer was refused: HTTP %ld", call.status);
		if (call.status == 413)
			status = RUNTIME_TOO_LARGE;
		else if (call.status >= 400 && call.status < 500)
			status = RUNTIME_REFUSED;
	}
	http_call_done(&call);
	return status;
}

RuntimeStatus
runtime_respond(const Invocation *invocation, const char *body, Failure *failure)
{
	char path[URL_SIZE / 2];

	snprintf(path, sizeof(path), "invocation/%s/response", invocation->request_id);
	return post(path, NULL, body, ms_until(invocation->deadline), failure);
}

/* Post an error; where out of memory, one that says so. */
static RuntimeStatus
post_error(const char *path, const Failure *what, int timeout_ms, Failure *failure)
{
	char type_header[sizeof("Lambda-Runtime-Function-Error-Type: ") + FAILURE_TYPE_SIZE];
	const char *headers[] = {type_header, "Content-Type: application/vnd.aws.lambda.error+json", NULL};
	json_t *error =
		json_pack("{s:s, s:s, s:[]}", "errorType", what->type, "errorMessage", what->message, "stackTrace");
	char *body = json_text(error);
	RuntimeStatus status;

	snprintf(type_header, sizeof(type_header), "Lambda-Runtime-Function-Error-Type: %s", what->type);
	status = post(path, headers,
				  body != NULL ? body
							   : "{\"errorType\":\"Runtime.OutOfMemory\",\"errorMessage\":\"out of memory\"}",
				  timeout_ms, failure);
	json_decref(error);
	free(body);
	return status;
}

RuntimeStatus
runtime_fail(const Invocation *invocation, const Failure *what, Failure *failure)
{
	char path[URL_SIZE / 2];

	snprintf(path, sizeof(path), "invocation/%s/error", invocation->request_id);
	return post_error(path, what, ms_until(invocation->deadline), failure);
}

bool
runtime_init_error(const Failure *what, Failure *failure)
{
	return post_error("init/error", what, INIT_ERROR_TIMEOUT_MS, failure) == RUNTIME_OK;
}

void
invocation_done(Invocation *invocation)
{
	if (invocation->event != NULL)
	{
		explicit_bzero(invocation->event, invocation->event_length);
		free(invocation->event);
	}
	memset(invocation, 0, sizeof(*invocation));
}
