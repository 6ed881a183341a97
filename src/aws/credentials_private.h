/*-------------------------------------------------------------------------
 *
 * credentials_private.h
 *	  What the providers of credentials and the chain share, and nobody else.
 *
 * src/aws/credentials_private.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_CREDENTIALS_PRIVATE_H
#define ROTATE_EXT_CREDENTIALS_PRIVATE_H

#include "lib/stringinfo.h"

#include "aws/credentials.h"
#include "compat.h"
#include "core/aws_error.h"

/* Limits of what others write: a token, an answer with credentials. */
#define CREDENTIALS_MAX_TOKEN (16 * 1024)
#define CREDENTIALS_MAX_ANSWER (64 * 1024)

/* One walk along the chain. */
typedef struct CredentialsChain
{
	HttpClient *http;
	const char *region;  /* the client's */
	StringInfoData said; /* what each provider passed over said: a line each */
} CredentialsChain;

/*
 * The providers.  True: they have credentials, and *credentials, zeroed
 * before, is set; false: the provider is not set up, and has said so by
 * credentials_absent().  Errors as aws_credentials_load().
 */
extern bool credentials_from_environment(CredentialsChain *chain, AwsCredentials *credentials);
extern bool credentials_from_web_identity(CredentialsChain *chain, AwsCredentials *credentials);
extern bool credentials_from_profile(CredentialsChain *chain, AwsCredentials *credentials);
extern bool credentials_from_container(CredentialsChain *chain, AwsCredentials *credentials);
extern bool credentials_from_instance(CredentialsChain *chain, AwsCredentials *credentials);

/* Is not set up, because …; always false.  who: "environment". */
extern bool credentials_absent(CredentialsChain *chain, const char *who, const char *why, ...)
	pg_attribute_printf(3, 4);

/* Copy what is given into zeroed *credentials; token and provider may be NULL. */
extern void credentials_set(AwsCredentials *credentials, const char *access_key_id,
							const char *secret_access_key, const char *session_token, const char *provider);

/* Raise an error where they can't be used to sign, and wipe them. */
extern void credentials_check(AwsCredentials *credentials);

/* Wipe and free a string that was palloc'd; NULL is allowed. */
extern void credentials_wipe_string(char *string);

/*
 * credentials_web_identity.c: as asked for by a profile or by the environment.
 * whose: "profile "x"" or the like, for messages.  session_name and duration may
 * be NULL.
 */
extern void credentials_assume_by_web_identity(CredentialsChain *chain, const char *whose,
											   const char *token_file, const char *role_arn,
											   const char *session_name, const char *duration,
											   AwsCredentials *credentials);

/* credentials_process.c: those that the command prints.  whose: "profile "x"". */
extern void credentials_from_process(const char *whose, const char *command, AwsCredentials *credentials);

/*
 * credentials_json.c: read {"AccessKeyId": …, "SecretAccessKey": …,
 * <token_key>: …, "Expiration": …}.  NULL, or what is wrong, static, and
 * *credentials as it was.  version: "Version" must be 1, and what else is
 * missing may be; without it all four must be there.  provider is copied.
 */
extern const char *credentials_read_json(const char *text, size_t length, const char *token_key, bool version,
										 const char *provider, AwsCredentials *credentials);

/* The same of an answer, which is freed. */
extern const char *credentials_take_answer(HttpRequest *request, const char *provider,
										   AwsCredentials *credentials);

/* credentials_file.c: the whole of a small file, NUL-terminated, palloc'd, to be wiped.  what: "token file". */
extern char *credentials_read_file(const char *what, const char *path);

/*
 * credentials_http.c
 *
 * Send a request as often as attempts and its outcome allow; the last outcome
 * is in *request, whose answer is to be freed, and the class of it is returned.
 * judge may be NULL: by the HTTP status alone.
 */
typedef AwsErrorClass (*CredentialsJudge)(const HttpRequest *request, void *arg);
extern AwsErrorClass credentials_send(HttpClient *http, const HttpRequest *what, HttpRequest *request,
									  int attempts, CredentialsJudge judge, void *arg);

/*
 * Raise the error of a request without a success, and free its answer.  doing:
 * "get AWS credentials from …"; hint may be NULL.  No byte of the answer is told.
 */
pg_noreturn extern void credentials_http_error(const char *doing, HttpRequest *request, const char *hint);

/* The SQLSTATE of a request that failed so. */
extern int credentials_sqlstate(AwsErrorClass class, bool sent);

/* Expiry times are by the clock of who sent the answer: put them right by this machine's. */
extern void credentials_correct_clock(AwsCredentials *credentials, const HttpRequest *request);

#endif /* ROTATE_EXT_CREDENTIALS_PRIVATE_H */
