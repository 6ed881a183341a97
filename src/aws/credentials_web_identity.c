/*-------------------------------------------------------------------------
 *
 * credentials_web_identity.c
 *	  AWS credentials of a role, for a token of an identity provider: EKS's
 *	  roles for service accounts (IRSA), and other OIDC providers.
 *
 * The token's file is read each time: whoever issues the token renews it there.
 *
 * src/aws/credentials_web_identity.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/sts.h"

/* Tokens are base64url and dots; a line end after it is an editor's. */
static void
trim(char *token)
{
	size_t length = strlen(token);

	while (length > 0 && (token[length - 1] == '\n' || token[length - 1] == '\r' || token[length - 1] == ' '))
		token[--length] = '\0';
}

void
credentials_assume_by_web_identity(CredentialsChain *chain, const char *whose, const char *token_file,
								   const char *role_arn, const char *session_name, const char *duration,
								   AwsCredentials *credentials)
{
	char *token = credentials_read_file("the web identity token file", token_file);
	StsAssume assume = {.whose = whose,
						.role_arn = role_arn,
						.session_name = session_name,
						.duration = duration,
						.web_identity_token = token};

	PG_TRY();
	{
		trim(token);
		if (!metadata_is_header_value(token))
			ereport(ERROR,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("could not assume the role of %s: file \"%s\" holds no token", whose, token_file),
					 errdetail("It is empty, or holds more than printable ASCII characters.")));
		sts_assume_role(chain, &assume, credentials);
	}
	PG_FINALLY();
	{
		credentials_wipe_string(token);
	}
	PG_END_TRY();
}

bool
credentials_from_web_identity(CredentialsChain *chain, AwsCredentials *credentials)
{
	const char *token_file = aws_getenv("AWS_WEB_IDENTITY_TOKEN_FILE");
	const char *role_arn = aws_getenv("AWS_ROLE_ARN");

	if (token_file == NULL)
		return credentials_absent(chain, "Web identity", "AWS_WEB_IDENTITY_TOKEN_FILE is not set");
	if (role_arn == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not assume the role of the web identity"),
				 errdetail("AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not.")));
	credentials_assume_by_web_identity(chain, "the web identity", token_file, role_arn,
									   aws_getenv("AWS_ROLE_SESSION_NAME"), NULL, credentials);
	return true;
}
