/*-------------------------------------------------------------------------
 *
 * secretsmanager.c
 *	  The Secrets Manager client: where it talks to, and how it retries.
 *
 * Retries follow the AWS SDKs' standard mode: exponential backoff with full
 * jitter, and a quota of tokens that many failures use up, so that a client
 * stops hammering a service that is down.  Besides that, credentials that AWS
 * says are expired are loaded again, and a clock that AWS says is wrong is
 * corrected by its Date header, each once a call, even if no attempts are left.
 * Throttling is no failure as long as the caller is patient: the call is sent
 * again, ever more slowly.  Every try of a write has its place in line (pace.h).
 *
 * src/aws/secretsmanager.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "utils/memutils.h"

#include "aws/config.h"
#include "aws/pace.h"
#include "aws/sm_private.h"
#include "core/secret_value.h"
#include "guc.h"

#define SERVICE "secretsmanager"
#define CONTENT_TYPE "application/x-amz-json-1.1"
#define NHEADERS 6

/* AWS's own have 16 to 128 characters. */
#define MIN_KEY_ID 16

#define RETRY_TOKENS 500
#define RETRY_COST 5
#define TIMEOUT_RETRY_COST 10

/* AWS accepts 5 minutes; the SDKs take less than 4 for no skew. */
#define SKEW_SECONDS 240

/* Those that hold for longer are not renewed where the caller is in a hurry. */
#define HURRY_SECONDS 60

/* A call in sm_perform(). */
typedef struct Attempt
{
	SmCall *call;
	HttpRequest request;
	Sigv4Header headers[NHEADERS];
	char target[64];
	char date[SIGV4_DATE_SIZE];
	char authorization[SIGV4_AUTHORIZATION_SIZE];
	bool running;
	bool finished;
	int64 due;          /* http_clock_ms() when to send it */
	bool in_line;       /* due is when its place in line comes */
	int cost;           /* tokens that its last retry took */
	bool maybe_applied; /* by any request so far */
	bool skew_corrected;
	bool credentials_renewed;
	int credentials_loads; /* of the client, when this was signed */
	time_t clock_offset;   /* likewise */
} Attempt;

static void
wipe_client(void *arg)
{
	aws_credentials_wipe(&((SmClient *) arg)->credentials);
}

static void
load_credentials(SmClient *client)
{
	MemoryContext caller = MemoryContextSwitchTo(client->context);

	aws_credentials_load(&client->credentials, client->http, client->region);
	client->credentials_loads++;
	MemoryContextSwitchTo(caller);
}

void
sm_renew_credentials(SmClient *client)
{
	MemoryContext caller;

	/* it may take as long as STS or a program likes */
	if (http_clock_ms() >= client->patient_until && aws_credentials_hold(&client->credentials, HURRY_SECONDS))
		return;
	caller = MemoryContextSwitchTo(client->context);
	aws_credentials_renew(&client->credentials, client->http, client->region);
	MemoryContextSwitchTo(caller);
}

static void
use_proxy(HttpClient *http)
{
	AwsProxy proxy;
	const char *no_proxy;

	if (!aws_config_proxy(&proxy, &no_proxy))
		return;
	http_use_proxy(http, &proxy, no_proxy);
	explicit_bzero(&proxy, sizeof(proxy));
}

SmClient *
sm_open(const char *region)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "Secrets Manager client", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	SmClient *client = palloc0(sizeof(SmClient));

	client->context = context;
	client->retry_tokens = RETRY_TOKENS;
	client->wipe.func = wipe_client;
	client->wipe.arg = client;
	MemoryContextRegisterResetCallback(context, &client->wipe);

	secret_value_init();
	client->http = http_open(aws_config_ca_bundle());
	use_proxy(client->http);
	client->region = aws_config_region(region, client->http);
	aws_config_endpoint(SERVICE, client->region, &client->endpoint);
	load_credentials(client);
	MemoryContextSwitchTo(caller);
	return client;
}

void
sm_close(SmClient *client)
{
	MemoryContextDelete(client->context);
}

const char *
sm_region(const SmClient *client)
{
	return client->region;
}

const char *
sm_endpoint_url(const SmClient *client)
{
	return client->endpoint.url;
}

void
sm_set_patience(SmClient *client, int64 milliseconds)
{
	client->patient_until = http_clock_ms() + milliseconds;
}

int64
sm_clock_offset(const SmClient *client)
{
	return (int64) client->clock_offset;
}

char *
sm_credentials(const SmClient *client, char **access_key_last4, int64 *expires)
{
	const AwsCredentials *credentials = &client->credentials;
	size_t length = strlen(credentials->access_key_id);

	*access_key_last4 = length >= MIN_KEY_ID ? pstrdup(credentials->access_key_id + length - 4) : NULL;
	*expires = (int64) credentials->expires;
	return pstrdup(credentials->provider);
}

static void
set_header(Attempt *attempt, const char *name, const char *value)
{
	Sigv4Header *header = &attempt->headers[attempt->request.nheaders++];

	header->name = name;
	header->value = value;
}

static void
sign(Attempt *attempt)
{
	SmClient *client = attempt->call->client;
	HttpRequest *request = &attempt->request;
	Sigv4Request to_sign = {0};

	snprintf(attempt->target, sizeof(attempt->target), SERVICE ".%s",
			 sm_operation_name(attempt->call->operation));
	set_header(attempt, "Content-Type", CONTENT_TYPE);
	set_header(attempt, "X-Amz-Target", attempt->target);

	to_sign.access_key_id = client->credentials.access_key_id;
	to_sign.secret_access_key = client->credentials.secret_access_key;
	to_sign.session_token = client->credentials.session_token;
	to_sign.region = client->region;
	to_sign.service = SERVICE;
	to_sign.host = client->endpoint.authority;
	to_sign.now = time(NULL) + attempt->clock_offset;
	to_sign.headers = attempt->headers;
	to_sign.nheaders = request->nheaders;
	to_sign.body = request->body;
	to_sign.body_length = request->body_length;
	if (!sigv4_sign(&to_sign, attempt->date, attempt->authorization))
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("could not sign a request to Secrets Manager"),
						errdetail("A key of the AWS credentials is too long, or OpenSSL failed.")));

	set_header(attempt, "Host", client->endpoint.authority);
	set_header(attempt, "X-Amz-Date", attempt->date);
	set_header(attempt, "Authorization", attempt->authorization);
	if (client->credentials.session_token != NULL)
		set_header(attempt, "X-Amz-Security-Token", client->credentials.session_token);
}

static void
start_attempt(Attempt *attempt)
{
	SmCall *call = attempt->call;
	SmClient *client = call->client;
	HttpRequest *request = &attempt->request;

	sm_renew_credentials(client);
	memset(request, 0, sizeof(*request));
	request->endpoint = &client->endpoint;
	request->headers = attempt->headers;
	request->body = call->body;
	request->body_length = call->body_length;
	request->connect_timeout = rotate_connect_timeout;
	request->timeout = rotate_request_timeout;
	attempt->clock_offset = client->clock_offset;
	attempt->credentials_loads = client->credentials_loads;
	sign(attempt);
	http_start(client->http, request);
	attempt->running = true;
	call->attempts++;
}

/* AWS's clock minus the one that the request was signed by; 0: not known, or no matter. */
static time_t
clock_skew(const Attempt *attempt)
{
	time_t skew;

	if (attempt->request.date < 0)
		return 0;
	skew = attempt->request.date - (time(NULL) + attempt->clock_offset);
	return (skew > SKEW_SECONDS || skew < -SKEW_SECONDS) ? skew : 0;
}

/* Take the tokens for a retry; false: there are too few left. */
static bool
take_retry_tokens(SmClient *client, Attempt *attempt)
{
	int cost = attempt->call->error.class == AWS_TIMEOUT ? TIMEOUT_RETRY_COST : RETRY_COST;

	if (client->retry_tokens < cost)
		return false;
	client->retry_tokens -= cost;
	attempt->cost = cost;
	return true;
}

/* May the call be sent once more, so many milliseconds from now? */
static bool
may_try_again(const SmCall *call, int delay)
{
	if (call->attempts < rotate_max_attempts)
		return true;
	return call->error.class == AWS_THROTTLED && http_clock_ms() + delay < call->client->patient_until;
}

/* Is the failed call to be sent again?  Sets when, and mends what can be mended. */
static bool
shall_retry(Attempt *attempt)
{
	SmCall *call = attempt->call;
	SmClient *client = call->client;
	AwsError *error = &call->error;
	time_t skew = clock_skew(attempt);
	int delay;

	attempt->due = 0;
	attempt->in_line = false;
	/* some services call it a wrong signature only */
	if (error->class == AWS_BAD_CREDENTIALS && skew != 0)
		error->class = AWS_CLOCK_SKEW;
	if (error->class == AWS_CLOCK_SKEW && skew != 0 && !attempt->skew_corrected)
	{
		client->clock_offset = attempt->clock_offset + skew;
		attempt->skew_corrected = true;
		return true;
	}
	if (error->class == AWS_EXPIRED_CREDENTIALS)
	{
		if (attempt->credentials_renewed)
		{
			/* fresh from the provider and still not known to AWS: no matter of time */
			if (strcmp(error->code, "UnrecognizedClientException") == 0)
				error->class = AWS_BAD_CREDENTIALS;
			return false;
		}
		/* a call at the same time may have done it */
		if (attempt->credentials_loads == client->credentials_loads)
			load_credentials(client);
		attempt->credentials_renewed = true;
		return true;
	}
	if (!aws_error_is_retryable(error->class) && !(error->class == AWS_NOT_FOUND && call->retry_not_found))
		return false;
	delay = aws_retry_delay_ms(error->class, call->attempts + 1, pg_prng_double(&pg_global_prng_state));
	if (!may_try_again(call, delay) || !take_retry_tokens(client, attempt))
		return false;
	attempt->due = http_clock_ms() + delay;
	return true;
}

static void
finish_attempt(Attempt *attempt)
{
	SmCall *call = attempt->call;
	SmClient *client = call->client;

	attempt->running = false;
	sm_read_answer(call, &attempt->request);
	http_request_free(&attempt->request);
	if (call->ok)
	{
		attempt->finished = true;
		/* a retry that worked out gives its tokens back */
		client->retry_tokens = Min(client->retry_tokens + Max(attempt->cost, 1), RETRY_TOKENS);
		return;
	}
	attempt->maybe_applied |= call->error.maybe_applied;
	attempt->finished = !shall_retry(attempt);
	call->error.maybe_applied = attempt->maybe_applied;
}

/* Start what is due; how long to wait at most for the next: -1, until an answer comes. */
static long
start_due_attempts(Attempt *attempts, int n)
{
	int64 now = http_clock_ms();
	long wait = -1;

	for (int i = 0; i < n; i++)
	{
		Attempt *attempt = &attempts[i];

		if (attempt->running || attempt->finished)
			continue;
		if (attempt->due <= now && !attempt->in_line && sm_is_write(attempt->call->operation))
		{
			attempt->due =
				pace_reserve(attempt->call->client->region, attempt->call->operation != SM_PUT_SECRET_VALUE);
			attempt->in_line = true;
		}
		if (attempt->due <= now)
			start_attempt(attempt);
		else if (wait < 0 || attempt->due - now < wait)
			wait = (long) (attempt->due - now);
	}
	return wait;
}

static bool
finish_ended_attempts(Attempt *attempts, int n)
{
	bool all_finished = true;

	for (int i = 0; i < n; i++)
	{
		if (attempts[i].running && attempts[i].request.outcome != HTTP_PENDING)
			finish_attempt(&attempts[i]);
		all_finished = all_finished && attempts[i].finished;
	}
	return all_finished;
}

void
sm_perform(SmClient *client, SmCall **calls, int ncalls)
{
	Attempt *attempts;

	Assert(!IsTransactionState());
	attempts = MemoryContextAllocZero(client->context, sizeof(Attempt) * Max(ncalls, 1));
	for (int i = 0; i < ncalls; i++)
		attempts[i].call = calls[i];

	PG_TRY();
	{
		while (!finish_ended_attempts(attempts, ncalls))
			http_round(client->http, start_due_attempts(attempts, ncalls));
	}
	PG_FINALLY();
	{
		http_abort(client->http);
		for (int i = 0; i < ncalls; i++)
		{
			Attempt *attempt = &attempts[i];

			/* an error leaves the call without an outcome, but not this question without an answer */
			if (!attempt->finished && sm_is_write(attempt->call->operation))
				attempt->call->error.maybe_applied =
					attempt->maybe_applied || (attempt->running && attempt->request.body_given > 0);
			http_request_free(&attempt->request);
		}
		pfree(attempts);
	}
	PG_END_TRY();
}
