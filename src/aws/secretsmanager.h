/*-------------------------------------------------------------------------
 *
 * secretsmanager.h
 *	  The operations of AWS Secrets Manager that a rotation needs.
 *
 * A client is one rotation's: its credentials, its endpoint, its connections.
 * Calls are prepared, then performed, several at the same time where they do
 * not depend on each other.  Retries (AWS-PROTOCOL section 5) happen inside
 * sm_perform().
 *
 * Source: AWS's service model secretsmanager/2017-10-17/service-2.json.
 *
 * src/aws/secretsmanager.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_SECRETSMANAGER_H
#define ROTATE_EXT_SECRETSMANAGER_H

#include "compat.h"
#include "core/aws_error.h"

typedef struct SmClient SmClient;

typedef enum SmOperation
{
	SM_DESCRIBE_SECRET,
	SM_GET_SECRET_VALUE,
	SM_GET_RANDOM_PASSWORD,
	SM_PUT_SECRET_VALUE,
	SM_UPDATE_SECRET_VERSION_STAGE
} SmOperation;

/* One version of DescribeSecret's VersionIdsToStages. */
typedef struct SmVersion
{
	char *version_id;
	int nstages;
	char **stages;
} SmVersion;

/* DescribeSecret's answer.  Strings are palloc'd in the call's context. */
typedef struct SmDescription
{
	char *arn;
	char *name;
	bool rotation_enabled;
	bool deleted;         /* DeletedDate is there */
	char *owning_service; /* or NULL */
	char *kms_key_id;     /* or NULL */
	char *primary_region; /* or NULL */
	int nversions;
	SmVersion *versions;
} SmDescription;

/* GetSecretValue's answer. */
typedef struct SmValue
{
	char *arn;
	char *version_id;
	char *secret_string; /* length bytes, a NUL may be among them, then a NUL; NULL: the secret is binary */
	size_t length;
} SmValue;

/*
 * A prepared call, and after sm_perform() its outcome.  Where ok is false,
 * error is set and the answer is zeroed.
 *
 * error.maybe_applied is only ever set for PutSecretValue and
 * UpdateSecretVersionStage.  It is set where any try of the call may have
 * reached AWS, also if a later one was refused: the refusal may be the
 * consequence of the first, so look before believing it.
 */
typedef struct SmCall
{
	SmOperation operation;
	SmClient *client;
	char *body; /* the request */
	size_t body_length;
	const char *withheld; /* the RotationToken, which no message may quote; or NULL */
	bool retry_not_found; /* set it where the version was written a moment ago: AWS may not see it yet */
	bool ok;
	int attempts; /* how often it was tried */
	AwsError error;
	SmDescription description; /* of DescribeSecret */
	SmValue value;             /* of GetSecretValue */
	char *random_password;     /* of GetRandomPassword */
	char *version_id;          /* of PutSecretValue */
	MemoryContext context;     /* holds all of this */
} SmCall;

/*
 * A client for the region (NULL: the configured one), with the endpoint and the
 * CA certificates that are configured, see config.h.
 * Loads credentials, which are renewed ahead, before a request.
 *
 * Lives in the current memory context, whose reset or deletion closes it as
 * well.  Errors: ERRCODE_CONFIG_FILE_ERROR (no region, or a setting that can't
 * be used), ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION (no credentials, see
 * credentials.h), each with a hint.  Initialises libcurl and jansson, so only
 * ever called in a rotation worker.
 */
extern SmClient *sm_open(const char *region);

/* Frees its calls, too. */
extern void sm_close(SmClient *client);

extern const char *sm_region(const SmClient *client);

/*
 * For so many milliseconds from now a call that AWS throttles is sent again, even
 * beyond rotate_ext.max_attempts, which is all it gets otherwise.  After that there is
 * no time for renewing credentials that hold a while longer, either.
 */
extern void sm_set_patience(SmClient *client, int64 milliseconds);

/*
 * Renew the credentials where that is due, as before a request: ahead of a time in
 * which there is none for it.  Errors as aws_credentials_load().
 */
extern void sm_renew_credentials(SmClient *client);

/* AWS's clock minus this machine's, in seconds, where AWS has refused a request for it; else 0. */
extern int64 sm_clock_offset(const SmClient *client);
extern const char *sm_endpoint_url(const SmClient *client);

/*
 * Whose credentials they are, palloc'd, with the last four characters of the access
 * key's ID (NULL where it is too short for that) and when they expire, in Unix time (0: never).
 */
extern char *sm_credentials(const SmClient *client, char **access_key_last4, int64 *expires);

/*
 * Prepare a call; it lives until sm_call_free() or the client's end.  Strings
 * that are not UTF-8 raise ERRCODE_INVALID_PARAMETER_VALUE.
 */
extern SmCall *sm_describe_secret(SmClient *client, const char *secret_id);

/* version_id and stage may be NULL, not both. */
extern SmCall *sm_get_secret_value(SmClient *client, const char *secret_id, const char *version_id,
								   const char *stage);
extern SmCall *sm_get_random_password(SmClient *client, int length, const char *exclude_characters);

/* rotation_token may be NULL, and must outlive the call.  token becomes the version's id (32 to 64 characters). */
extern SmCall *sm_put_secret_value(SmClient *client, const char *secret_id, const char *token,
								   const char *secret_string, size_t length, const char *stage,
								   const char *rotation_token);

/* move_to NULL: only take the label away; remove_from NULL: the label is on no version. */
extern SmCall *sm_update_secret_version_stage(SmClient *client, const char *secret_id, const char *stage,
											  const char *move_to, const char *remove_from);

/*
 * Perform the calls at the same time; returns when each has its outcome,
 * retries included.  A call is performed once.  No transaction and no snapshot
 * may be open.
 *
 * Processes interrupts: an error from there (or from credentials that can't be
 * renewed, or short memory) leaves no libcurl handle behind.  A write that was
 * under way may then have been applied, or still be: error.maybe_applied of its
 * call says so.
 */
extern void sm_perform(SmClient *client, SmCall **calls, int ncalls);

/* Wipes whatever secret the call holds, and frees it. */
extern void sm_call_free(SmCall *call);

/* "GetSecretValue", as AWS spells it.  Static. */
extern const char *sm_operation_name(SmOperation operation);

/*
 * Raise the call's error: "could not <what>: <code>: <message>", with a hint
 * where a person can act (which IAM action, which KMS permission, which
 * setting).  secret is the name as the user knows it; not used for
 * GetRandomPassword.  AWS's text is cut to 200 bytes of printable ASCII, and
 * left out where it may quote the value we sent.
 *
 *	AWS_CONNECTION, AWS_TIMEOUT	08006 connection_failure; where nothing was sent 08001
 *	AWS_UNTRUSTED				08001 sqlclient_unable_to_establish_sqlconnection
 *	AWS_BAD_ANSWER				08P01 protocol_violation
 *	AWS_THROTTLED				53000 insufficient_resources
 *	AWS_QUOTA					53400 configuration_limit_exceeded
 *	AWS_EXPIRED_CREDENTIALS, AWS_BAD_CREDENTIALS, AWS_CLOCK_SKEW
 *								28000 invalid_authorization_specification
 *	AWS_ACCESS_DENIED, AWS_KMS_DENIED	42501 insufficient_privilege
 *	AWS_NOT_FOUND				42704 undefined_object
 *	AWS_EXISTS					42710 duplicate_object
 *	AWS_INVALID					22023 invalid_parameter_value
 *	AWS_DECRYPTION				55000 object_not_in_prerequisite_state
 *	AWS_TRANSIENT, AWS_OTHER	58000 system_error
 */
pg_noreturn extern void sm_ereport(const SmCall *call, const char *secret);

#endif /* ROTATE_EXT_SECRETSMANAGER_H */
