/*-------------------------------------------------------------------------
 *
 * credentials.h
 *	  Where the AWS credentials come from: a chain of providers, one file each.
 *
 * The order is that of the AWS SDKs: the server's environment
 * (AWS_ACCESS_KEY_ID), a web identity token (AWS_WEB_IDENTITY_TOKEN_FILE: EKS's
 * IRSA), the shared files, the container's agent (ECS, EKS Pod Identity), the
 * EC2 instance.  With one exception: rotate_ext.profile, where it is set, says
 * which profile to use, and no other provider is asked.  AWS_PROFILE only names
 * the profile for when the shared files' turn comes.
 *
 * A provider that is not set up is passed over; one that is and fails is an
 * error, never a reason to go on with somebody else's rights.
 *
 * src/aws/credentials.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_CREDENTIALS_H
#define ROTATE_EXT_CREDENTIALS_H

#include <time.h>

#include "aws/http.h"

typedef struct AwsCredentials
{
	char *access_key_id; /* all four palloc'd */
	char *secret_access_key;
	char *session_token; /* NULL: none */
	char *provider;      /* whose they are, for people; printable */
	time_t expires;      /* by this machine's clock; 0: never */
	time_t renew;        /* not before this */
	bool stable;         /* of a metadata service: to be used even where they have expired */
} AwsCredentials;

/*
 * Load credentials into the current memory context; what *credentials held is
 * then wiped and freed, so zero it before the first time.  An error leaves it as it
 * was.  region is the client's, for STS where nothing names the machine's own.
 *
 * An error names the provider, and holds no part of a key or a token:
 *
 *	28000 invalid_authorization_specification	there are none; they were refused,
 *												have expired or are not what they should be
 *	F0000 config_file_error						a file, or what it says
 *	08001, 08006								a service of credentials can't be reached,
 *												or does not answer
 *	53000, 58000								it throttles, or is out of order
 */
extern void aws_credentials_load(AwsCredentials *credentials, HttpClient *http, const char *region);

/* Wipe and free; also of zeroed ones, and again.  Raises nothing. */
extern void aws_credentials_wipe(AwsCredentials *credentials);

/*
 * Renew them where that is due: from 15 minutes before they expire.  From 10
 * minutes before it is urgent, and tried more often.  Where it fails, those at
 * hand are good as long as they hold: an error in the middle of a rotation would
 * do more harm.  Expired ones of a metadata service that hands out no others
 * are used all the same, and it is asked again after 5 to 10 minutes.
 */
extern void aws_credentials_renew(AwsCredentials *credentials, HttpClient *http, const char *region);

/* Do they hold for so many seconds more, by this machine's clock? */
extern bool aws_credentials_hold(const AwsCredentials *credentials, int seconds);

/* A setting of the profile in use, palloc'd; NULL: the shared files have none. */
extern char *aws_profile_setting(const char *key);

/* A setting of a service in the section "[services <services>]", palloc'd, or NULL; no such section is an error. */
extern char *aws_profile_service_setting(const char *services, const char *service, const char *key);

/*
 * The region of the EC2 instance, palloc'd; NULL: this is none, and *why_not says
 * how that shows.  Errors as aws_credentials_load().
 */
extern char *aws_instance_region(HttpClient *http, char **why_not);

/* An environment variable; NULL also where it is empty. */
extern const char *aws_getenv(const char *name);

#endif /* ROTATE_EXT_CREDENTIALS_H */
