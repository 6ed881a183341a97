/*-------------------------------------------------------------------------
 *
 * sts.c
 *	  AWS Security Token Service: AssumeRole and AssumeRoleWithWebIdentity.
 *
 * Source: AWS's service model sts/2011-06-15/service-2.json.
 *
 * src/aws/sts.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/config.h"
#include "aws/sts.h"
#include "core/expiration.h"
#include "core/xml.h"
#include "guc.h"

#define SERVICE "sts"
#define CONTENT_TYPE "application/x-www-form-urlencoded; charset=utf-8"
#define NHEADERS 6

/* A text this long that is part of a token as well is no coincidence. */
#define QUOTE_BYTES 12

#define MAX_KEY 256
#define MIN_DURATION 900
#define MAX_DURATION 43200

typedef struct StsCall
{
	const StsAssume *assume;
	AwsEndpoint endpoint;
	const char *region;
	time_t clock_offset;
	StringInfoData body;
	int nheaders;
	Sigv4Header headers[NHEADERS];
	char date[SIGV4_DATE_SIZE];
	char authorization[SIGV4_AUTHORIZATION_SIZE];
	AwsError error;
} StsCall;

pg_noreturn static void
refuse_config(const StsAssume *assume, const char *problem)
{
	ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
					errmsg("could not assume the role of %s: %s", assume->whose, problem)));
}

/* What AWS would refuse, in words that name the setting. */
static void
check(const StsAssume *assume)
{
	const char *name = assume->session_name;

	if (strncmp(assume->role_arn, "arn:", 4) != 0 || strlen(assume->role_arn) > 2048 ||
		!metadata_is_header_value(assume->role_arn))
		refuse_config(assume, "it is not named by its ARN");
	if (name != NULL)
	{
		size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-");

		if (name[length] != '\0' || length < 2 || length > 64)
			refuse_config(assume,
						  "the session's name must have 2 to 64 of the characters a-z, A-Z, 0-9 and _+=,.@-");
	}
	if (assume->duration != NULL)
	{
		size_t length = strspn(assume->duration, "0123456789");

		if (assume->duration[length] != '\0' || length < 3 || length > 5 ||
			atoi(assume->duration) < MIN_DURATION || atoi(assume->duration) > MAX_DURATION)
			refuse_config(assume, "duration_seconds must be a number from 900 to 43200");
	}
}

/* "&name=value", the value encoded; the buffer is large enough, so that no copy of it stays behind. */
static void
append_field(StringInfo body, const char *name, const char *value)
{
	static const char hex[] = "0123456789ABCDEF";

	if (value == NULL)
		return;
	appendStringInfo(body, "&%s=", name);
	for (const unsigned char *p = (const unsigned char *) value; *p != '\0'; p++)
	{
		if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
			strchr("-_.~", *p) != NULL)
			appendStringInfoChar(body, (char) *p);
		else
		{
			appendStringInfoChar(body, '%');
			appendStringInfoChar(body, hex[*p >> 4]);
			appendStringInfoChar(body, hex[*p & 15]);
		}
	}
}

static void
write_body(StsCall *call)
{
	const StsAssume *assume = call->assume;
	const char *token = assume->web_identity_token;
	size_t size = 1024 + 3 * (strlen(assume->role_arn) + (token ? strlen(token) : 0) +
							  (assume->external_id ? strlen(assume->external_id) : 0));
	char *ours = psprintf("rotate_ext-%lld", (long long) time(NULL));

	initStringInfo(&call->body);
	enlargeStringInfo(&call->body, (int) size);
	appendStringInfo(&call->body, "Action=%s&Version=2011-06-15",
					 token != NULL ? "AssumeRoleWithWebIdentity" : "AssumeRole");
	append_field(&call->body, "RoleArn", assume->role_arn);
	append_field(&call->body, "RoleSessionName", assume->session_name ? assume->session_name : ours);
	append_field(&call->body, "DurationSeconds", assume->duration);
	append_field(&call->body, "ExternalId", assume->external_id);
	append_field(&call->body, "WebIdentityToken", token);
	pfree(ours);
}

static void
set_header(StsCall *call, const char *name, const char *value)
{
	call->headers[call->nheaders].name = name;
	call->headers[call->nheaders++].value = value;
}

static void
sign(StsCall *call)
{
	const AwsCredentials *signer = call->assume->signer;
	Sigv4Request to_sign = {0};

	call->nheaders = 0;
	set_header(call, "Content-Type", CONTENT_TYPE);
	if (signer != NULL)
	{
		to_sign.access_key_id = signer->access_key_id;
		to_sign.secret_access_key = signer->secret_access_key;
		to_sign.session_token = signer->session_token;
		to_sign.region = call->region;
		to_sign.service = SERVICE;
		to_sign.host = call->endpoint.authority;
		to_sign.now = time(NULL) + call->clock_offset;
		to_sign.headers = call->headers;
		to_sign.nheaders = (size_t) call->nheaders;
		to_sign.body = call->body.data;
		to_sign.body_length = (size_t) call->body.len;
		if (!sigv4_sign(&to_sign, call->date, call->authorization))
			ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
							errmsg("could not sign a request to STS"),
							errdetail("A key of the AWS credentials of %s is too long, or OpenSSL failed.",
									  signer->provider)));
		set_header(call, "X-Amz-Date", call->date);
		set_header(call, "Authorization", call->authorization);
		if (signer->session_token != NULL)
			set_header(call, "X-Amz-Security-Token", signer->session_token);
	}
	set_header(call, "Host", call->endpoint.authority);
}

/* Is a part of the text a part of the secret? */
static bool
quotes(const char *text, const char *secret)
{
	size_t length = strlen(text);

	if (secret == NULL)
		return false;
	for (size_t i = 0; i + QUOTE_BYTES <= length; i++)
	{
		char part[QUOTE_BYTES + 1];

		memcpy(part, text + i, QUOTE_BYTES);
		part[QUOTE_BYTES] = '\0';
		if (strstr(secret, part) != NULL)
			return true;
	}
	return false;
}

/* A service may explain what it refuses by quoting it. */
static void
leave_out_secrets(StsCall *call)
{
	const StsAssume *assume = call->assume;
	const char *secrets[] = {assume->web_identity_token,
							 assume->signer ? assume->signer->secret_access_key : NULL,
							 assume->signer ? assume->signer->session_token : NULL};

	for (int i = 0; i < (int) lengthof(secrets); i++)
	{
		if (quotes(call->error.code, secrets[i]))
			strlcpy(call->error.code, "(left out)", sizeof(call->error.code));
		if (quotes(call->error.message, secrets[i]))
			strlcpy(call->error.message, "(AWS's message is left out, since it quotes a token)",
					sizeof(call->error.message));
	}
}

/* CredentialsJudge: what AWS says it is. */
static AwsErrorClass
judge(const HttpRequest *request, void *arg)
{
	StsCall *call = arg;
	char code[64];
	char message[1024];
	XmlStatus found_code;
	XmlStatus found_message;

	found_code =
		xml_get(request->answer, request->answer_length, "ErrorResponse/Error/Code", code, sizeof(code));
	found_message = xml_get(request->answer, request->answer_length, "ErrorResponse/Error/Message", message,
							sizeof(message));
	aws_error_classify(&call->error, request->status, found_code == XML_FOUND ? code : NULL,
					   found_code == XML_FOUND && found_message == XML_FOUND ? message : NULL);
	/* the identity provider did not answer STS */
	if (strcmp(call->error.code, "IDPCommunicationError") == 0)
		call->error.class = AWS_TRANSIENT;
	leave_out_secrets(call);
	explicit_bzero(message, sizeof(message));
	return call->error.class;
}

/* One element of the credentials, palloc'd; NULL: it is missing or no such thing. */
static char *
get_element(const StsCall *call, const HttpRequest *request, const char *name)
{
	const char *action =
		call->assume->web_identity_token != NULL ? "AssumeRoleWithWebIdentity" : "AssumeRole";
	char path[128];
	size_t size = CREDENTIALS_MAX_TOKEN;
	char *value = palloc0(size);

	snprintf(path, sizeof(path), "%sResponse/%sResult/Credentials/%s", action, action, name);
	if (xml_get(request->answer, request->answer_length, path, value, size) == XML_FOUND && value[0] != '\0')
		return value;
	pfree(value);
	return NULL;
}

static void
take_answer(const StsCall *call, const HttpRequest *request, AwsCredentials *credentials)
{
	char *expiration = get_element(call, request, "Expiration");

	credentials->access_key_id = get_element(call, request, "AccessKeyId");
	credentials->secret_access_key = get_element(call, request, "SecretAccessKey");
	credentials->session_token = get_element(call, request, "SessionToken");
	if (credentials->access_key_id == NULL || credentials->secret_access_key == NULL ||
		credentials->session_token == NULL || expiration == NULL ||
		!expiration_parse(expiration, &credentials->expires))
		aws_credentials_wipe(credentials);
	else
		credentials_correct_clock(credentials, request);
	credentials_wipe_string(expiration);
}

static const char *
hint_for(const StsCall *call)
{
	const StsAssume *assume = call->assume;

	switch (call->error.class)
	{
		case AWS_ACCESS_DENIED:
			if (assume->web_identity_token != NULL)
				return "Look at the role's trust policy: it must name the OIDC provider, and the service "
					   "account or whoever else the token is of.";
			return "Allow sts:AssumeRole on the role in the policy of whose credentials they are, and let "
				   "the "
				   "role's trust policy name them (with the external ID, if it asks for one).";
		case AWS_EXPIRED_CREDENTIALS:
		case AWS_BAD_CREDENTIALS:
			return assume->web_identity_token != NULL
					   ? "Look at who writes the token's file, and when."
					   : "Check the credentials that the role is assumed with.";
		case AWS_CLOCK_SKEW:
			return "Set the clock of the database server's machine right.";
		default:
			return NULL;
	}
}

pg_noreturn static void
fail(const StsCall *call, HttpRequest *request, AwsErrorClass class)
{
	const AwsError *error = &call->error;
	const char *hint = hint_for(call);
	char *doing = psprintf("assume role \"%s\" of %s", call->assume->role_arn, call->assume->whose);

	/* no answer, or one without an error of AWS's */
	if (request->outcome != HTTP_ANSWERED || strncmp(error->code, "HTTP ", 5) == 0)
		credentials_http_error(doing, request,
							   request->outcome == HTTP_ANSWERED
								   ? NULL
								   : "In a private network STS needs a VPC endpoint or a NAT gateway; "
									 "AWS_ENDPOINT_URL_STS sets another address.");
	http_request_free(request);
	ereport(ERROR, (errcode(credentials_sqlstate(class, true)),
					errmsg("could not %s: %s%s%s", doing, error->code, error->message[0] != '\0' ? ": " : "",
						   error->message),
					errdetail("The address is \"%s\".", call->endpoint.url),
					hint != NULL ? errhint("%s", hint) : 0));
	pg_unreachable();
}

/* AWS's clock minus the one that the request was signed by; 0: not known, or nothing to correct. */
static time_t
clock_skew(const StsCall *call, const HttpRequest *request, AwsErrorClass class)
{
	if (request->outcome != HTTP_ANSWERED || class != AWS_CLOCK_SKEW || request->date < 0 ||
		call->assume->signer == NULL)
		return 0;
	return request->date - (time(NULL) + call->clock_offset);
}

static void
perform(CredentialsChain *chain, StsCall *call, AwsCredentials *credentials)
{
	HttpRequest what = {.endpoint = &call->endpoint,
						.max_answer = CREDENTIALS_MAX_ANSWER,
						.headers = call->headers,
						.body = call->body.data,
						.body_length = (size_t) call->body.len,
						.connect_timeout = rotate_connect_timeout,
						.timeout = rotate_request_timeout};
	HttpRequest request;
	AwsErrorClass class;
	time_t skew;

	for (;;)
	{
		sign(call);
		what.nheaders = (size_t) call->nheaders;
		class = credentials_send(chain->http, &what, &request, rotate_max_attempts, judge, call);
		skew = clock_skew(call, &request, class);
		/* once */
		if (skew == 0 || call->clock_offset != 0)
			break;
		call->clock_offset = skew;
		http_request_free(&request);
	}
	if (class != AWS_OK)
		fail(call, &request, class);
	take_answer(call, &request, credentials);
	http_request_free(&request);
	if (credentials->access_key_id == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("could not assume role \"%s\" of %s: STS's answer can't be used",
							   call->assume->role_arn, call->assume->whose),
						errdetail("The answer of \"%s\" does not hold all of the role's credentials.",
								  call->endpoint.url)));
}

void
sts_assume_role(CredentialsChain *chain, const StsAssume *assume, AwsCredentials *credentials)
{
	StsCall call = {.assume = assume};
	char *own_region;

	check(assume);
	own_region = aws_config_own_region();
	call.region = own_region != NULL ? own_region : chain->region;
	aws_config_endpoint(SERVICE, call.region, &call.endpoint);
	write_body(&call);
	PG_TRY();
	{
		perform(chain, &call, credentials);
		credentials->provider = psprintf("role \"%s\" of %s", assume->role_arn, assume->whose);
	}
	PG_FINALLY();
	{
		explicit_bzero(call.body.data, (size_t) call.body.maxlen);
		pfree(call.body.data);
	}
	PG_END_TRY();
}
