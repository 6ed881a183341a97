/*-------------------------------------------------------------------------
 *
 * credentials.c
 *	  The chain of credentials providers.
 *
 * src/aws/credentials.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/credentials.h"
#include "guc.h"

/* A rotation must not find itself without credentials half way. */
#define FRESH_SECONDS 300

typedef bool (*AwsCredentialsProvider)(AwsCredentials *credentials);

/* In the SDKs' order; a provider that comes later has its place in it. */
static const AwsCredentialsProvider chain[] = {
	aws_credentials_env,
	aws_credentials_profile,
};

const char *
aws_getenv(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

static void
wipe_string(char **string)
{
	if (*string != NULL)
	{
		explicit_bzero(*string, strlen(*string));
		pfree(*string);
	}
	*string = NULL;
}

void
aws_credentials_wipe(AwsCredentials *credentials)
{
	wipe_string(&credentials->access_key_id);
	wipe_string(&credentials->secret_access_key);
	wipe_string(&credentials->session_token);
	credentials->expires = 0;
	credentials->provider = NULL;
}

bool
aws_credentials_are_fresh(const AwsCredentials *credentials)
{
	return credentials->expires == 0 || credentials->expires - time(NULL) > FRESH_SECONDS;
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

static bool
load_from_chain(AwsCredentials *credentials)
{
	if (rotate_profile[0] != '\0')
		return aws_credentials_profile(credentials);
	for (int i = 0; i < (int) lengthof(chain); i++)
	{
		if (chain[i](credentials))
			return true;
	}
	return false;
}

void
aws_credentials_load(AwsCredentials *credentials)
{
	const char *provider;

	aws_credentials_wipe(credentials);
	if (!load_from_chain(credentials))
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("could not find AWS credentials"),
						errdetail("Neither the server's environment (AWS_ACCESS_KEY_ID) nor the shared "
								  "credentials and config files hold any."),
						errhint("Set rotate_ext.profile, or write the credentials to ~/.aws/credentials of "
								"the operating system user that runs the server.")));

	if (!is_key_text(credentials->access_key_id) || !is_key_text(credentials->secret_access_key) ||
		(credentials->session_token != NULL && !is_key_text(credentials->session_token)))
	{
		provider = credentials->provider;
		aws_credentials_wipe(credentials);
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("could not use the AWS credentials of %s", provider),
						errdetail("The access key ID, the secret access key or the session token holds a "
								  "blank, a line end or a character that is not ASCII.")));
	}
}
