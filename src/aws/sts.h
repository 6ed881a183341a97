/*-------------------------------------------------------------------------
 *
 * sts.h
 *	  AWS Security Token Service: AssumeRole and AssumeRoleWithWebIdentity.
 *
 * Query protocol, version 2011-06-15: a form goes out, XML comes back.  At the
 * region's own endpoint: tokens of the global one are not good everywhere, and a
 * private network has only its own.
 *
 * src/aws/sts.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_STS_H
#define ROTATE_EXT_STS_H

#include "aws/credentials_private.h"

typedef struct StsAssume
{
	const char *whose; /* "profile "x"", for messages */
	const char *role_arn;
	const char *session_name; /* NULL: one of ours */
	const char *external_id;  /* or NULL */
	const char *duration;     /* seconds, or NULL: STS's default, an hour */

	/* one of these two */
	const AwsCredentials *signer;
	const char *web_identity_token;
} StsAssume;

/*
 * The role's credentials.  Errors as aws_credentials_load(); ERRCODE_CONFIG_FILE_ERROR
 * where role_arn, session_name or duration can't be what they should be.
 */
extern void sts_assume_role(CredentialsChain *chain, const StsAssume *assume, AwsCredentials *credentials);

#endif /* ROTATE_EXT_STS_H */
