/*-------------------------------------------------------------------------
 *
 * credentials_instance.c
 *	  AWS credentials and region from the EC2 instance metadata service.
 *
 * Version 2 only: a token is fetched by PUT, and shown with each question.  (The
 * answer with it is sent with a small hop limit, so that it reaches only those
 * the instance means it for.)  Version 1, which anything that can be talked into a
 * GET can use, is never tried.
 *
 * src/aws/credentials_instance.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/credentials_private.h"
#include "guc.h"

#define WHO "the EC2 instance metadata service"

#define DISABLED_VARIABLE "AWS_EC2_METADATA_DISABLED"
#define ENDPOINT_VARIABLE "AWS_EC2_METADATA_SERVICE_ENDPOINT"
#define MODE_VARIABLE "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"

#define IPV4_ENDPOINT "http://169.254.169.254"
#define IPV6_ENDPOINT "http://[fd00:ec2::254]"

#define TOKEN_TARGET "/latest/api/token"
#define ROLE_TARGET "/latest/meta-data/iam/security-credentials/"
#define REGION_TARGET "/latest/meta-data/placement/region"
#define TOKEN_SECONDS "21600"

/* Milliseconds, connecting included: it is on this machine, or nowhere. */
#define TIMEOUT 1000

#define MAX_TOKEN 1024
#define MAX_ROLE 64

typedef struct Instance
{
	HttpClient *http;
	const char *doing; /* for messages */
	bool configured;   /* somebody named the endpoint: it is an error if it is not there */
	AwsEndpoint endpoint;
	char token[MAX_TOKEN + 1];
	char *why_not; /* palloc'd: it is no instance, or has no role */
} Instance;

static bool
is_not(Instance *instance, const char *why)
{
	instance->why_not = pstrdup(why);
	return false;
}

static bool
find_endpoint(Instance *instance)
{
	const char *disabled = aws_getenv(DISABLED_VARIABLE);
	const char *url = aws_getenv(ENDPOINT_VARIABLE);
	const char *mode = aws_getenv(MODE_VARIABLE);
	const char *target;
	AwsEndpointStatus status;

	if (disabled != NULL && pg_strcasecmp(disabled, "true") == 0)
		return is_not(instance, "it is switched off by " DISABLED_VARIABLE);
	instance->configured = url != NULL;
	if (mode != NULL && pg_strcasecmp(mode, "IPv4") != 0 && pg_strcasecmp(mode, "IPv6") != 0)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not %s", instance->doing),
						errdetail(MODE_VARIABLE " must be \"IPv4\" or \"IPv6\".")));
	if (url == NULL)
		url = mode != NULL && pg_strcasecmp(mode, "IPv6") == 0 ? IPV6_ENDPOINT : IPV4_ENDPOINT;
	status = metadata_parse(METADATA_INSTANCE, url, &instance->endpoint, &target);
	if (status == AWS_ENDPOINT_OK && strcmp(target, "/") != 0)
		status = AWS_ENDPOINT_HAS_PATH;
	if (status != AWS_ENDPOINT_OK)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not %s", instance->doing),
						errdetail("The URL in " ENDPOINT_VARIABLE " %s.",
								  metadata_problem(METADATA_INSTANCE, status))));
	return true;
}

/* GET with the token, or the PUT for it; the answer is to be freed. */
static AwsErrorClass
ask(Instance *instance, HttpMethod method, const char *target, HttpRequest *request)
{
	Sigv4Header headers[] = {{"Host", instance->endpoint.authority},
							 {"X-aws-ec2-metadata-token", instance->token}};
	HttpRequest what = {.endpoint = &instance->endpoint,
						.target = target,
						.method = method,
						.metadata = METADATA_INSTANCE,
						.max_answer = CREDENTIALS_MAX_ANSWER,
						.headers = headers,
						.nheaders = lengthof(headers),
						.connect_timeout = TIMEOUT,
						.timeout = TIMEOUT};

	if (method == HTTP_PUT)
	{
		headers[1].name = "X-aws-ec2-metadata-token-ttl-seconds";
		headers[1].value = TOKEN_SECONDS;
		/* where there is no such service, nothing answers: once is enough to see that */
		return credentials_send(instance->http, &what, request,
								instance->configured ? rotate_max_attempts : 1, NULL, NULL);
	}
	return credentials_send(instance->http, &what, request, rotate_max_attempts, NULL, NULL);
}

/* The answer as text, without the line end; false: it is longer, or no text that a header or a path may hold. */
static bool
take_text(HttpRequest *request, char *text, size_t size)
{
	size_t length = request->answer_length;

	while (length > 0 && (request->answer[length - 1] == '\n' || request->answer[length - 1] == '\r'))
		length--;
	memset(text, 0, size);
	if (length < size && length > 0)
		memcpy(text, request->answer, length);
	http_request_free(request);
	return length < size && metadata_is_header_value(text) && strlen(text) == length;
}

pg_noreturn static void
refuse_answer(const Instance *instance, const char *problem)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					errmsg("could not %s: its answer can't be used", instance->doing),
					errdetail("Of the answer of \"%s\": %s.", instance->endpoint.url, problem)));
}

static bool
get_token(Instance *instance)
{
	HttpRequest request;
	AwsErrorClass class = ask(instance, HTTP_PUT, TOKEN_TARGET, &request);

	if (class == AWS_OK)
	{
		if (!take_text(&request, instance->token, sizeof(instance->token)))
			refuse_answer(instance, "it is no token");
		return true;
	}
	if (!instance->configured && !request.sent && (class == AWS_CONNECTION || class == AWS_TIMEOUT))
	{
		http_request_free(&request);
		return is_not(instance, "nothing answers at its address");
	}
	if (!instance->configured && (request.status == 403 || request.status == 404 || request.status == 405))
	{
		http_request_free(&request);
		return is_not(instance, "it does not hand out the tokens of its version 2 (IMDSv2)");
	}
	credentials_http_error(
		instance->doing, &request,
		class == AWS_TIMEOUT && request.sent
			? "The answer with the token reaches a container only if the instance's metadata hop limit "
			  "(HttpPutResponseHopLimit) allows it: set it to 2."
			: NULL);
}

static bool
is_role(const char *name)
{
	for (const char *p = name; *p != '\0'; p++)
	{
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
			  strchr("_+=,.@-", *p) != NULL))
			return false;
	}
	return name[0] != '\0';
}

/* The path of the role's credentials, palloc'd; NULL: the instance has no role. */
static char *
find_role(Instance *instance)
{
	HttpRequest request;
	char role[MAX_ROLE + 1];

	if (ask(instance, HTTP_GET, ROLE_TARGET, &request) != AWS_OK)
	{
		if (request.status != 404)
			credentials_http_error(instance->doing, &request, NULL);
		http_request_free(&request);
		(void) is_not(instance, "the instance has no role (instance profile)");
		return NULL;
	}
	if (!take_text(&request, role, sizeof(role)) || !is_role(role))
		refuse_answer(instance, "it is no name of a role");
	return psprintf(ROLE_TARGET "%s", role);
}

static void
read_answer(Instance *instance, HttpRequest *request, AwsCredentials *credentials)
{
	const char *problem = credentials_take_answer(request, WHO, credentials);

	if (problem != NULL)
		refuse_answer(instance, problem);
}

static bool
load(Instance *instance, AwsCredentials *credentials)
{
	HttpRequest request;
	char *target;

	if (!find_endpoint(instance) || !get_token(instance))
		return false;
	target = find_role(instance);
	if (target == NULL)
		return false;
	if (ask(instance, HTTP_GET, target, &request) != AWS_OK)
		credentials_http_error(instance->doing, &request, NULL);
	read_answer(instance, &request, credentials);
	return true;
}

bool
credentials_from_instance(CredentialsChain *chain, AwsCredentials *credentials)
{
	Instance instance = {.http = chain->http, .doing = "get AWS credentials from " WHO};
	volatile bool found = false;

	PG_TRY();
	{
		found = load(&instance, credentials);
	}
	PG_FINALLY();
	{
		explicit_bzero(instance.token, sizeof(instance.token));
	}
	PG_END_TRY();
	return found || credentials_absent(chain, "EC2 instance metadata service", "%s", instance.why_not);
}

static char *
load_region(Instance *instance)
{
	HttpRequest request;
	char region[AWS_REGION_MAX + 1];

	if (!find_endpoint(instance) || !get_token(instance))
		return NULL;
	if (ask(instance, HTTP_GET, REGION_TARGET, &request) != AWS_OK)
		credentials_http_error(instance->doing, &request, NULL);
	if (!take_text(&request, region, sizeof(region)) || !aws_region_is_valid(region))
		refuse_answer(instance, "it is no name of a region");
	return pstrdup(region);
}

char *
aws_instance_region(HttpClient *http, char **why_not)
{
	Instance instance = {.http = http, .doing = "get the AWS region from " WHO};
	char *volatile region = NULL;

	PG_TRY();
	{
		region = load_region(&instance);
	}
	PG_FINALLY();
	{
		explicit_bzero(instance.token, sizeof(instance.token));
	}
	PG_END_TRY();
	*why_not = instance.why_not;
	return region;
}
