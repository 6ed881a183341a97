/*-------------------------------------------------------------------------
 *
 * credentials_env.c
 *	  AWS credentials from the server's environment.
 *
 * src/aws/credentials_env.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/credentials.h"

bool
aws_credentials_env(AwsCredentials *credentials)
{
	const char *key_id = aws_getenv("AWS_ACCESS_KEY_ID");
	const char *secret = aws_getenv("AWS_SECRET_ACCESS_KEY");
	const char *token = aws_getenv("AWS_SESSION_TOKEN");

	if (key_id == NULL)
		return false;
	if (secret == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("could not use the AWS credentials of the server's environment"),
						errdetail("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not.")));
	credentials->access_key_id = pstrdup(key_id);
	credentials->secret_access_key = pstrdup(secret);
	credentials->session_token = token != NULL ? pstrdup(token) : NULL;
	credentials->provider = "the server's environment";
	return true;
}
