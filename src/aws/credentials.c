/*-------------------------------------------------------------------------
 *
 * credentials.c
 *	  The chain of credentials providers, and when credentials are renewed.
 *
 * src/aws/credentials.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/elog.h"

#include "aws/credentials_private.h"
#include "core/expiration.h"
#include "guc.h"

typedef bool (*CredentialsProvider)(CredentialsChain *chain, AwsCredentials *credentials);

/* In the SDKs' order. */
static const CredentialsProvider providers[] = {
	credentials_from_environment, credentials_from_web_identity, credentials_from_profile,
	credentials_from_container,   credentials_from_instance,
};

const char *
aws_getenv(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

void
credentials_wipe_string(char *string)
{
	if (string == NULL)
		return;
	explicit_bzero(string, strlen(string));
	pfree(string);
}

void
aws_credentials_wipe(AwsCredentials *credentials)
{
	credentials_wipe_string(credentials->access_key_id);
	credentials_wipe_string(credentials->secret_access_key);
	credentials_wipe_string(credentials->session_token);
	credentials_wipe_string(credentials->provider);
	memset(credentials, 0, sizeof(*credentials));
}

void
credentials_set(AwsCredentials *credentials, const char *access_key_id, const char *secret_access_key,
				const char *session_token, const char *provider)
{
	credentials->access_key_id = pstrdup(access_key_id);
	credentials->secret_access_key = pstrdup(secret_access_key);
	credentials->session_token = session_token != NULL ? pstrdup(session_token) : NULL;
	credentials->provider = provider != NULL ? pstrdup(provider) : NULL;
}

bool
credentials_absent(CredentialsChain *chain, const char *who, const char *why, ...)
{
	char text[AWS_MESSAGE_MAX + 1];
	va_list args;

	va_start(args, why);
	vsnprintf(text, sizeof(text), why, args);
	va_end(args);
	appendStringInfo(&chain->said, "%s%s: %s.", chain->said.len > 0 ? "\n" : "", who, text);
	return false;
}

/* A key with a blank or a line end in it would fail much later, as a wrong signature. */
static bool
is_key_text(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (*text <= 0x20 || *text > 0x7e)
			return false;
	}
	return true;
}

void
credentials_check(AwsCredentials *credentials)
{
	char *provider;

	if (is_key_text(credentials->access_key_id) && is_key_text(credentials->secret_access_key) &&
		(credentials->session_token == NULL || is_key_text(credentials->session_token)))
		return;
	provider = pstrdup(credentials->provider);
	aws_credentials_wipe(credentials);
	ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					errmsg("could not use the AWS credentials of %s", provider),
					errdetail("The access key ID, the secret access key or the session token holds a "
							  "blank, a line end or a character that is not ASCII.")));
}

static void
plan_renewal(AwsCredentials *credentials)
{
	credentials->renew =
		expiration_plan_renewal(time(NULL), credentials->expires, pg_prng_double(&pg_global_prng_state));
}

static bool
walk(CredentialsChain *chain, AwsCredentials *credentials)
{
	if (rotate_profile[0] != '\0')
		return credentials_from_profile(chain, credentials);
	for (int i = 0; i < (int) lengthof(providers); i++)
	{
		if (providers[i](chain, credentials))
			return true;
	}
	return false;
}

/* Expired ones are of use only where they are a metadata service's. */
static void
check_expiry(AwsCredentials *credentials)
{
	bool expired = credentials->expires != 0 && credentials->expires <= time(NULL);
	char *provider = pstrdup(credentials->provider);

	if (expired && !credentials->stable)
	{
		aws_credentials_wipe(credentials);
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("could not use the AWS credentials of %s", provider),
						errdetail("They have expired already."),
						errhint("Look at the clock of this machine, and at what hands them out.")));
	}
	ereport(LOG, (errmsg("AWS credentials are those of %s", provider)));
	if (expired)
		ereport(
			WARNING,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("the AWS credentials of %s have expired", provider),
			 errdetail("They are used all the same, since there are no others; AWS may still take them.")));
	pfree(provider);
}

void
aws_credentials_load(AwsCredentials *credentials, HttpClient *http, const char *region)
{
	CredentialsChain chain = {.http = http, .region = region};
	AwsCredentials found = {0};

	initStringInfo(&chain.said);
	if (!walk(&chain, &found))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("could not find AWS credentials"), errdetail("%s", chain.said.data),
				 errhint("Give the machine, the pod or the task a role, or set rotate_ext.profile, or write "
						 "the credentials to ~/.aws/credentials of the operating system user that runs the "
						 "server.")));
	pfree(chain.said.data);
	credentials_check(&found);
	check_expiry(&found);
	plan_renewal(&found);
	aws_credentials_wipe(credentials);
	*credentials = found;
}

bool
aws_credentials_hold(const AwsCredentials *credentials, int seconds)
{
	return credentials->expires == 0 || credentials->expires - time(NULL) >= seconds;
}

/* A renewal that failed: is it to be told, and not merely to be noted? */
static bool
is_fatal(const AwsCredentials *credentials, int sqlerrcode)
{
	/* an internal error has ended the requests that were under way beside it, too */
	if (ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
		sqlerrcode == ERRCODE_OUT_OF_MEMORY || sqlerrcode == ERRCODE_INTERNAL_ERROR)
		return true;
	return credentials->expires <= time(NULL) && !credentials->stable;
}

void
aws_credentials_renew(AwsCredentials *credentials, HttpClient *http, const char *region)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData *error;

	if (credentials->expires == 0 || time(NULL) < credentials->renew)
		return;
	PG_TRY();
	{
		aws_credentials_load(credentials, http, region);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (is_fatal(credentials, geterrcode()))
			PG_RE_THROW();
		error = CopyErrorData();
		FlushErrorState();
		plan_renewal(credentials);
		ereport(LOG, (errcode(error->sqlerrcode),
					  errmsg("could not renew the AWS credentials of %s, and goes on with those at hand",
							 credentials->provider),
					  errdetail_internal("%s", error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();
}
