/*-------------------------------------------------------------------------
 *
 * credentials_environment.c
 *	  AWS credentials from the server's environment.
 *
 * src/aws/credentials_environment.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/credentials_private.h"

bool
credentials_from_environment(CredentialsChain *chain, AwsCredentials *credentials)
{
	const char *key_id = aws_getenv("AWS_ACCESS_KEY_ID");
	const char *secret = aws_getenv("AWS_SECRET_ACCESS_KEY");

	if (key_id == NULL)
		return credentials_absent(chain, "Environment", "AWS_ACCESS_KEY_ID is not set");
	if (secret == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("could not use the AWS credentials of the server's environment"),
						errdetail("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not.")));
	credentials_set(credentials, key_id, secret, aws_getenv("AWS_SESSION_TOKEN"), "the server's environment");
	return true;
}
