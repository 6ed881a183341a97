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
	char	   *version_id;
	int			nstages;
	char	  **stages;
} SmVersion;

/* DescribeSecret's answer.  Strings are palloc'd in the call's context. */
typedef struct SmDescription
{
	char	   *arn;
	char	   *name;
	bool		rotation_enabled;
	bool		deleted;		/* DeletedDate is there */
	char	   *owning_service; /* or NULL */
	char	   *kms_key_id;		/* or NULL */
	char	   *primary_region; /* or NULL */
	int			nversions;
	SmVersion  *versions;
} SmDescription;

/* GetSecretValue's answer. */
typedef struct SmValue
{
	char	   *arn;
	char	   *version_id;
	char	   *secret_string;	/* NUL-terminated, may hold no NUL before that; NULL: the secret is binary */
	size_t		length;
} SmValue;

/*
 * A prepared call, and after sm_perform() its outcome.  Where ok is false,
 * error is set and the answer is zeroed.
 */
typedef struct SmCall
{
	SmOperation operation;
	SmClient   *client;
	char	   *body;			/* the request, wiped by sm_call_free() */
	size_t		body_length;
	bool		ok;
	int			attempts;		/* requests that were sent */
	AwsError	error;
	SmDescription description;	/* of DescribeSecret */
	SmValue		value;			/* of GetSecretValue */
	char	   *random_password;	/* of GetRandomPassword */
	char	   *version_id;		/* of PutSecretValue */
	MemoryContext context;		/* holds all of this */
} SmCall;

/*
 * A client for the region (NULL: rotate_ext.region, then AWS_REGION,
 * AWS_DEFAULT_REGION, then the profile's).  Loads credentials; they hold for 5
 * more minutes, or are renewed.  Raises ERRCODE_CONFIG_FILE_ERROR /
 * ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION-class errors with a hint where
 * no region or no credentials are found.  Initialises libcurl, so only ever
 * called in a rotation worker.
 */
extern SmClient *sm_open(const char *region);
extern void sm_close(SmClient *client);

extern const char *sm_region(const SmClient *client);

/* version_id and stage may be NULL, not both. */
extern SmCall *sm_describe_secret(SmClient *client, const char *secret_id);
extern SmCall *sm_get_secret_value(SmClient *client, const char *secret_id,
								   const char *version_id, const char *stage);
extern SmCall *sm_get_random_password(SmClient *client, int length, const char *exclude_characters);

/* rotation_token may be NULL.  token becomes the version's id (32 to 64 characters). */
extern SmCall *sm_put_secret_value(SmClient *client, const char *secret_id, const char *token,
								   const char *secret_string, size_t length,
								   const char *stage, const char *rotation_token);

/* move_to NULL: only take the label away; remove_from NULL: the label is on no version. */
extern SmCall *sm_update_secret_version_stage(SmClient *client, const char *secret_id, const char *stage,
											  const char *move_to, const char *remove_from);

/*
 * Perform the calls at the same time; returns when each has its outcome.
 * No transaction and no snapshot may be open.  Processes interrupts: an
 * ereport from there leaves no libcurl handle behind.
 */
extern void sm_perform(SmClient *client, SmCall **calls, int ncalls);

/* Wipes whatever secret the call holds, and frees it. */
extern void sm_call_free(SmCall *call);

/* "GetSecretValue", as AWS spells it.  Static. */
extern const char *sm_operation_name(SmOperation operation);

/*
 * Raise the call's error: "could not <what>: <code>: <message>", an errcode
 * by error class, a hint where a person can act (which IAM action, which
 * KMS permission, which setting).  secret is the name as the user knows it.
 * Message texts come from AWS: cut to 200 bytes of printable ASCII.
 */
pg_noreturn extern void sm_ereport(const SmCall *call, const char *secret);

#endif							/* ROTATE_EXT_SECRETSMANAGER_H */
