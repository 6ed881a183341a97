/*-------------------------------------------------------------------------
 *
 * credentials_container.c
 *	  AWS credentials from the agent of the container: ECS, EKS Pod Identity.
 *
 * The agent is one HTTP request away, at an address that the container's
 * environment has.  What else the environment could name is refused
 * (core/metadata.h), since the request carries the container's token.  That token is
 * read anew each time: EKS renews it.
 *
 * src/aws/credentials_container.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/credentials_private.h"
#include "guc.h"

#define WHO "the container's credentials endpoint"
#define DOING "get AWS credentials from " WHO

#define RELATIVE_VARIABLE "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
#define FULL_VARIABLE "AWS_CONTAINER_CREDENTIALS_FULL_URI"
#define TOKEN_FILE_VARIABLE "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
#define TOKEN_VARIABLE "AWS_CONTAINER_AUTHORIZATION_TOKEN"

/* What a relative URI is relative to: the ECS agent. */
#define RELATIVE_TO "http://169.254.170.2"

/* It is on this machine, or next to it. */
#define CONNECT_TIMEOUT 1000
#define TIMEOUT 2000

/* The address, and the path, which is in the environment or palloc'd. */
static bool
find_endpoint(CredentialsChain *chain, AwsEndpoint *endpoint, const char **target)
{
	const char *relative = aws_getenv(RELATIVE_VARIABLE);
	const char *url = relative != NULL ? psprintf(RELATIVE_TO "%s", relative) : aws_getenv(FULL_VARIABLE);
	const char *variable = relative != NULL ? RELATIVE_VARIABLE : FULL_VARIABLE;
	AwsEndpointStatus status;

	if (url == NULL)
		return credentials_absent(chain, "Container",
								  "neither " RELATIVE_VARIABLE " nor " FULL_VARIABLE " is set");
	if (relative != NULL && relative[0] != '/')
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not " DOING),
						errdetail("The path in " RELATIVE_VARIABLE " must begin with \"/\".")));
	status = metadata_parse(METADATA_CONTAINER, url, endpoint, target);
	if (status != AWS_ENDPOINT_OK)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not " DOING),
				 errdetail("The URL in %s %s.", variable, metadata_problem(METADATA_CONTAINER, status))));
	return true;
}

/* The token, palloc'd, to be wiped; NULL: none is needed. */
static char *
find_token(void)
{
	const char *path = aws_getenv(TOKEN_FILE_VARIABLE);
	const char *variable = path != NULL ? TOKEN_FILE_VARIABLE : TOKEN_VARIABLE;
	char *token = NULL;

	if (path != NULL)
		token = credentials_read_file("the token file of the container", path);
	else if (aws_getenv(TOKEN_VARIABLE) != NULL)
		token = pstrdup(aws_getenv(TOKEN_VARIABLE));
	if (token == NULL || metadata_is_header_value(token))
		return token;
	credentials_wipe_string(token);
	ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not " DOING),
					errdetail("The token of %s is empty, or holds a line end or another character that "
							  "no header may hold.",
							  variable)));
}

static void
read_answer(HttpRequest *request, AwsCredentials *credentials)
{
	const char *problem = credentials_take_answer(request, WHO, credentials);

	if (problem != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("could not " DOING ": its answer can't be used"),
						errdetail("Of the answer of \"%s\": %s.", request->endpoint->url, problem)));
}

static void
ask(CredentialsChain *chain, const AwsEndpoint *endpoint, const char *target, const char *token,
	AwsCredentials *credentials)
{
	Sigv4Header headers[] = {
		{"Host", endpoint->authority}, {"Accept", "application/json"}, {"Authorization", token}};
	HttpRequest what = {.endpoint = endpoint,
						.target = target,
						.method = HTTP_GET,
						.metadata = METADATA_CONTAINER,
						.max_answer = CREDENTIALS_MAX_ANSWER,
						.headers = headers,
						.nheaders = token != NULL ? 3 : 2,
						.connect_timeout = CONNECT_TIMEOUT,
						.timeout = TIMEOUT};
	HttpRequest request;

	if (credentials_send(chain->http, &what, &request, rotate_max_attempts, NULL, NULL) != AWS_OK)
		credentials_http_error(
			DOING, &request,
			request.status == 401 || request.status == 403
				? "Look at the role of the task or of the pod, and at the token that its environment names."
				: NULL);
	read_answer(&request, credentials);
}

bool
credentials_from_container(CredentialsChain *chain, AwsCredentials *credentials)
{
	AwsEndpoint endpoint;
	const char *target;
	char *volatile token = NULL;

	if (!find_endpoint(chain, &endpoint, &target))
		return false;
	token = find_token();
	PG_TRY();
	{
		ask(chain, &endpoint, target, token, credentials);
	}
	PG_FINALLY();
	{
		credentials_wipe_string(token);
	}
	PG_END_TRY();
	return true;
}
