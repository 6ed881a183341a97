/*-------------------------------------------------------------------------
 *
 * credentials.h
 *	  Where the AWS credentials come from: a chain of providers, one file each.
 *
 * The order is that of the AWS SDKs (AWS_ACCESS_KEY_ID and its like in the
 * server's environment, then the shared files), with one exception:
 * rotate_ext.profile, where it is set, says which profile to use, and no other
 * provider is asked.  AWS_PROFILE only names the profile for when the shared
 * files' turn comes.
 *
 * src/aws/credentials.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_CREDENTIALS_H
#define ROTATE_EXT_CREDENTIALS_H

#include <time.h>

typedef struct AwsCredentials
{
	char *access_key_id; /* all three palloc'd */
	char *secret_access_key;
	char *session_token;  /* NULL: none */
	time_t expires;       /* 0: never */
	const char *provider; /* whose they are, for people; static */
} AwsCredentials;

/*
 * Load credentials into the current memory context; what *credentials held is
 * wiped and freed first, so zero it before the first time.
 *
 * Raises ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION where there are none, or
 * where a provider's are incomplete or malformed, and
 * ERRCODE_CONFIG_FILE_ERROR where a file can't be read.  No error holds a
 * part of a key.
 */
extern void aws_credentials_load(AwsCredentials *credentials);

/* Wipe and free; also of zeroed ones, and again.  Raises nothing. */
extern void aws_credentials_wipe(AwsCredentials *credentials);

/* Do they hold for 5 more minutes? */
extern bool aws_credentials_are_fresh(const AwsCredentials *credentials);

/* The region of the profile in use, palloc'd; NULL: the shared files name none. */
extern char *aws_profile_region(void);

/* An environment variable; NULL also where it is empty. */
extern const char *aws_getenv(const char *name);

/*
 * The providers.  True: they have credentials, and *credentials is set; false:
 * this provider is not in use.  Errors as aws_credentials_load().
 */
extern bool aws_credentials_env(AwsCredentials *credentials);
extern bool aws_credentials_profile(AwsCredentials *credentials);

#endif /* ROTATE_EXT_CREDENTIALS_H */
