/*-------------------------------------------------------------------------
 *
 * login.c
 *	  The function's own login: a client certificate, or what one secret in
 *	  Secrets Manager holds.
 *
 * One operation, GetSecretValue, of one secret: the function's role needs no
 * other right.
 *
 * lambda/login.c
 *
 *-------------------------------------------------------------------------
 */
#include "login.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/aws_error.h"
#include "core/sigv4.h"
#include "http.h"
#include "json_text.h"

#define TYPE "Login.SecretsManager"
#define MAX_ATTEMPTS 3
#define ATTEMPT_TIMEOUT_MS 5000
#define MAX_ANSWER (512 * 1024)
#define CONTENT_TYPE "application/x-amz-json-1.1"
#define TARGET "secretsmanager.GetSecretValue"

/* Lambda's session tokens are below 2 kB. */
#define HEADER_SIZE 8192

typedef struct SignedHeaders
{
	char date[64];
	char authorization[SIGV4_AUTHORIZATION_SIZE + 32];
	char token[HEADER_SIZE];
} SignedHeaders;

static bool
sign(const Settings *settings, const char *body, SignedHeaders *headers)
{
	static const Sigv4Header signed_headers[] = {{"Content-Type", CONTENT_TYPE}, {"X-Amz-Target", TARGET}};
	Sigv4Request request = {.access_key_id = settings->access_key_id,
							.secret_access_key = settings->secret_access_key,
							.session_token = settings->session_token,
							.region = settings->region,
							.service = "secretsmanager",
							.host = settings->secrets_manager.authority,
							.now = time(NULL),
							.headers = signed_headers,
							.nheaders = 2,
							.body = body,
							.body_length = strlen(body)};
	char date[SIGV4_DATE_SIZE];
	char authorization[SIGV4_AUTHORIZATION_SIZE];

	if (!sigv4_sign(&request, date, authorization))
		return false;
	snprintf(headers->date, sizeof(headers->date), "X-Amz-Date: %s", date);
	snprintf(headers->authorization, sizeof(headers->authorization), "Authorization: %s", authorization);
	return settings->session_token == NULL ||
		   snprintf(headers->token, sizeof(headers->token), "X-Amz-Security-Token: %s",
					settings->session_token) < (int) sizeof(headers->token);
}

static AwsErrorClass
class_of_curl(CURLcode code)
{
	switch (code)
	{
		case CURLE_OPERATION_TIMEDOUT:
			return AWS_TIMEOUT;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
			return AWS_UNTRUSTED;
		default:
			return AWS_CONNECTION;
	}
}

static void
report_error(const Settings *settings, const HttpCall *call, const char *error_type, AwsError *error,
			 Failure *failure)
{
	const char *host = settings->secrets_manager.authority;
	json_t *body;
	const char *type;
	const char *message;

	if (call->code != CURLE_OK)
	{
		error->class = class_of_curl(call->code);
		failure_set(failure, TYPE, "could not reach Secrets Manager at %s to get the function's login: %s%s",
					host, call->error,
					error->class == AWS_UNTRUSTED
						? ""
						: " (HINT: in a VPC the function needs an interface endpoint for "
						  "Secrets Manager, or a NAT gateway, and a security group that lets "
						  "it out)");
		return;
	}
	body = call->answer != NULL ? json_loadb(call->answer, call->answer_length, 0, NULL) : NULL;
	type = json_string_value(json_object_get(body, "__type"));
	message = json_string_value(json_object_get(body, "message"));
	if (message == NULL)
		message = json_string_value(json_object_get(body, "Message"));
	aws_error_classify(error, (int) call->status, type != NULL ? type : error_type, message);
	json_decref(body);
	failure_set(
		failure, TYPE, "could not get the function's login from Secrets Manager: %s%s%s%s", error->code,
		error->message[0] != '\0' ? ": " : "", error->message,
		error->class == AWS_ACCESS_DENIED
			? " (HINT: the function's role needs secretsmanager:GetSecretValue on ROTATE_LOGIN_SECRET)"
		: error->class == AWS_KMS_DENIED
			? " (HINT: the function's role needs kms:Decrypt on the key of ROTATE_LOGIN_SECRET)"
			: "");
}

/* The answer's SecretString as a login. */
static bool
read_answer(const HttpCall *call, SecretValue *value, Failure *failure)
{
	json_t *answer = call->answer != NULL && !call->too_large
						 ? json_loadb(call->answer, call->answer_length, JSON_ALLOW_NUL, NULL)
						 : NULL;
	json_t *string = json_object_get(answer, "SecretString");
	SecretValueError error;
	bool ok = false;

	if (!json_is_string(string))
		failure_set(failure, TYPE,
					"could not read the function's login: Secrets Manager's answer holds no SecretString");
	else if (secret_value_parse(json_string_value(string), json_string_length(string), value, &error))
		ok = true;
	else if (error.field != NULL)
		failure_set(
			failure, TYPE,
			"the secret in ROTATE_LOGIN_SECRET is not usable as a login: \"%s\" is missing or not valid",
			error.field);
	else
		failure_set(
			failure, TYPE,
			"the secret in ROTATE_LOGIN_SECRET is not usable as a login: it must be a JSON object with "
			"engine, host, username and password, as PostgreSQL secrets are");
	json_decref(answer);
	return ok;
}

static bool
try_once(CURL *easy, const Settings *settings, const char *body, Moment deadline, SecretValue *value,
		 AwsError *error, Failure *failure)
{
	SignedHeaders headers = {0};
	const char *list[] = {"Content-Type: " CONTENT_TYPE,
						  "X-Amz-Target: " TARGET,
						  headers.date,
						  headers.authorization,
						  settings->session_token != NULL ? headers.token : NULL,
						  NULL};
	char error_type[128];
	HttpWanted wanted = {"x-amzn-ErrorType", error_type, sizeof(error_type)};
	HttpCall call = {.url = settings->secrets_manager.url,
					 .headers = list,
					 .body = body,
					 .body_length = strlen(body),
					 .timeout_ms = ms_until(earlier(deadline, now_ms() + ATTEMPT_TIMEOUT_MS)),
					 .ca_file = settings->secrets_manager.https ? settings->aws_ca_file : NULL,
					 .use_proxy = settings->secrets_manager.https,
					 .max_answer = MAX_ANSWER,
					 .wanted = &wanted,
					 .nwanted = 1};
	bool ok = false;

	/* no time is left; to libcurl 0 would be no limit */
	if (call.timeout_ms <= 0)
		call.timeout_ms = 1;

	if (!sign(settings, body, &headers))
	{
		error->class = AWS_OTHER;
		failure_set(failure, TYPE, "could not sign the request to Secrets Manager");
	}
	else if (!http_call(easy, &call) || call.status != 200)
		report_error(settings, &call, error_type, error, failure);
	else
	{
		error->class = AWS_BAD_ANSWER;
		ok = read_answer(&call, value, failure);
	}
	http_call_done(&call);
	explicit_bzero(&headers, sizeof(headers));
	return ok;
}

static bool
fetch(const Settings *settings, Moment deadline, SecretValue *value, Failure *failure)
{
	json_t *request =
		json_pack("{s:s, s:s}", "SecretId", settings->login_secret, "VersionStage", "AWSCURRENT");
	char *body = json_text(request);
	CURL *easy = curl_easy_init();
	bool ok = false;

	failure_set(failure, TYPE, "could not get the function's login: out of memory");
	for (int attempt = 1; attempt <= MAX_ATTEMPTS && body != NULL && easy != NULL && !ok; attempt++)
	{
		AwsError error = {0};
		int delay;

		ok = try_once(easy, settings, body, deadline, value, &error, failure);
		if (ok || !aws_error_is_retryable(error.class))
			break;
		delay = aws_retry_delay_ms(error.class, attempt + 1, (double) (random() % 1000) / 1000.0);
		if (delay + 100 >= ms_until(deadline))
			break;
		nanosleep(&(struct timespec){.tv_sec = delay / 1000, .tv_nsec = delay % 1000 * 1000000L}, NULL);
	}
	/* a handle of its own: its buffers, which held the answer, are wiped with it */
	if (easy != NULL)
		curl_easy_cleanup(easy);
	free(body);
	json_decref(request);
	return ok;
}

bool
login_get(const Settings *settings, Moment deadline, Login *login, Failure *failure)
{
	memset(login, 0, sizeof(*login));
	login->user = settings->user;
	login->dbname = settings->dbname;
	snprintf(login->port, sizeof(login->port), "5432");
	if (settings->login_secret != NULL)
	{
		if (!fetch(settings, deadline, &login->value, failure))
			return false;
		login->user = login->value.username;
		login->password = login->value.password;
		login->host = login->value.host;
		if (settings->nhosts == 0 && (login->host[0] == '/' || login->host[0] == '@'))
		{
			login_free(login);
			failure_set(failure, TYPE,
						"the host in the login secret is a socket: no certificate would be looked at");
			return false;
		}
		snprintf(login->port, sizeof(login->port), "%u", (unsigned) login->value.port & 0xffff);
		if (login->dbname == NULL)
			login->dbname = login->value.dbname;
	}
	if (login->dbname == NULL)
		login->dbname = "postgres";
	return true;
}

void
login_free(Login *login)
{
	secret_value_free(&login->value);
	memset(login, 0, sizeof(*login));
}
