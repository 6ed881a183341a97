/*-------------------------------------------------------------------------
 *
 * sm_report.c
 *	  Tells a person what went wrong at Secrets Manager, and what to do.
 *
 * src/aws/sm_report.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/sm_private.h"

/* "could not …" */
static char *
what_failed(const SmCall *call, const char *secret)
{
	switch (call->operation)
	{
		case SM_DESCRIBE_SECRET:
			return psprintf("describe secret \"%s\"", secret);
		case SM_GET_SECRET_VALUE:
			return psprintf("get a value of secret \"%s\"", secret);
		case SM_GET_RANDOM_PASSWORD:
			return pstrdup("get a random password");
		case SM_PUT_SECRET_VALUE:
			return psprintf("put a new value into secret \"%s\"", secret);
		case SM_UPDATE_SECRET_VERSION_STAGE:
			return psprintf("move a staging label of secret \"%s\"", secret);
	}
	return pstrdup("call Secrets Manager");
}

static int
sqlstate_of(const AwsError *error)
{
	switch (error->class)
	{
		case AWS_CONNECTION:
		case AWS_TIMEOUT:
			return error->sent ? ERRCODE_CONNECTION_FAILURE
							   : ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
		case AWS_UNTRUSTED:
			return ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
		case AWS_BAD_ANSWER:
			return ERRCODE_PROTOCOL_VIOLATION;
		case AWS_THROTTLED:
			return ERRCODE_INSUFFICIENT_RESOURCES;
		case AWS_QUOTA:
			return ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
		case AWS_EXPIRED_CREDENTIALS:
		case AWS_BAD_CREDENTIALS:
		case AWS_CLOCK_SKEW:
			return ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
		case AWS_ACCESS_DENIED:
		case AWS_KMS_DENIED:
			return ERRCODE_INSUFFICIENT_PRIVILEGE;
		case AWS_NOT_FOUND:
			return ERRCODE_UNDEFINED_OBJECT;
		case AWS_EXISTS:
			return ERRCODE_DUPLICATE_OBJECT;
		case AWS_INVALID:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case AWS_DECRYPTION:
			return ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		case AWS_TRANSIENT:
		case AWS_OTHER:
			return ERRCODE_SYSTEM_ERROR;
		case AWS_OK:
			break;
	}
	return ERRCODE_INTERNAL_ERROR;
}

static char *
denied_hint(const SmCall *call)
{
	if (call->operation == SM_GET_RANDOM_PASSWORD)
		return pstrdup("Allow secretsmanager:GetRandomPassword on resource \"*\" in the IAM policy of the "
					   "role or user whose credentials the database server uses.");
	return psprintf(
		"Allow secretsmanager:%s on this secret in the IAM policy of the role or user whose credentials the "
		"database server uses; look also for a deny in the secret's resource policy.",
		sm_operation_name(call->operation));
}

/* NULL: there is nothing to advise. */
static char *
hint_for(const SmCall *call)
{
	switch (call->error.class)
	{
		case AWS_CONNECTION:
		case AWS_TIMEOUT:
			if (call->error.sent)
				return pstrdup("Secrets Manager was reached, but its answer was not. Try again later; look "
							   "for a proxy or a firewall in between.");
			if (http_proxy_url(call->client->http, &call->client->endpoint) != NULL)
				return pstrdup("Secrets Manager can't be reached through the proxy. It is set by "
							   "rotate_ext.https_proxy or HTTPS_PROXY; hosts that NO_PROXY lists are reached "
							   "without it.");
			return pstrdup(
				"Secrets Manager can't be reached from the database server. In a private network it needs a "
				"VPC endpoint or a NAT gateway; rotate_ext.endpoint_url sets another address.");
		case AWS_UNTRUSTED:
			return pstrdup("The endpoint needs a certificate that holds its name, is in date and is of a "
						   "trusted CA; rotate_ext.ca_bundle names the file of CA certificates to trust.");
		case AWS_BAD_ANSWER:
			return pstrdup(
				"Does rotate_ext.endpoint_url, or a proxy, lead to something else than Secrets Manager?");
		case AWS_THROTTLED:
		case AWS_TRANSIENT:
			return pstrdup("Try again later.");
		case AWS_QUOTA:
			return pstrdup("The secret has too many recent versions. Try again in 10 minutes or later.");
		case AWS_EXPIRED_CREDENTIALS:
			return psprintf("Renew the credentials of %s.", call->client->credentials.provider);
		case AWS_BAD_CREDENTIALS:
			return psprintf(
				"Check the access key and the session token of %s, and the region, which is \"%s\".",
				call->client->credentials.provider, call->client->region);
		case AWS_CLOCK_SKEW:
			return pstrdup("Set the clock of the database server's machine right.");
		case AWS_ACCESS_DENIED:
			return denied_hint(call);
		case AWS_KMS_DENIED:
			return pstrdup(sm_is_write(call->operation)
							   ? "Allow kms:GenerateDataKey and kms:Decrypt on the secret's KMS key to the "
								 "role or user whose credentials the database server uses."
							   : "Allow kms:Decrypt on the secret's KMS key to the role or user whose "
								 "credentials the database server uses.");
		case AWS_NOT_FOUND:
			return psprintf("Check the secret's name or ARN, and the region, which is \"%s\".",
							call->client->region);
		case AWS_DECRYPTION:
			return pstrdup("Check that the secret's KMS key is enabled and not scheduled for deletion.");
		case AWS_EXISTS:
		case AWS_INVALID:
		case AWS_OTHER:
		case AWS_OK:
			break;
	}
	return NULL;
}

/* Where it was, if that is part of the question. */
static char *
detail_for(const SmCall *call)
{
	const char *proxy;

	switch (call->error.class)
	{
		case AWS_CONNECTION:
		case AWS_TIMEOUT:
		case AWS_UNTRUSTED:
		case AWS_BAD_ANSWER:
			proxy = http_proxy_url(call->client->http, &call->client->endpoint);
			return psprintf("The endpoint is \"%s\"%s%s%s; attempts: %d.", call->client->endpoint.url,
							proxy != NULL ? ", the proxy \"" : "", proxy != NULL ? proxy : "",
							proxy != NULL ? "\"" : "", call->attempts);
		default:
			return NULL;
	}
}

void
sm_ereport(const SmCall *call, const char *secret)
{
	const AwsError *error = &call->error;
	bool both = error->code[0] != '\0' && error->message[0] != '\0';
	char *detail = detail_for(call);
	char *hint = hint_for(call);

	ereport(ERROR, (errcode(sqlstate_of(error)),
					errmsg("could not %s: %s%s%s", what_failed(call, secret), error->code, both ? ": " : "",
						   error->message),
					detail != NULL ? errdetail("%s", detail) : 0, hint != NULL ? errhint("%s", hint) : 0));
	pg_unreachable();
}
