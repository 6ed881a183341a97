/*-------------------------------------------------------------------------
 *
 * rotation.h
 *	  What a rotation worker is asked, what it answers, and the work itself.
 *
 * The heart is the loop in rotation.c: observe, decide (core/decide.h), act,
 * until DONE or REFUSE.
 *
 * src/rotation.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_ROTATION_H
#define ROTATE_EXT_ROTATION_H

#include "core/decide.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/* Limits of what a user may write; an ARN of a secret has up to 2048 characters. */
#define SECRET_NAME_MAX 2048
#define EXCLUDE_CHARACTERS_MAX 4096
#define LOGIN_HOST_MAX 255

typedef enum RotationOperation
{
	OPERATION_ROTATE,
	OPERATION_EVENT, /* one step of a rotation that Secrets Manager has started */
	OPERATION_REGISTER,
	OPERATION_RECOVER,  /* the launcher's: finish or repair what is unfinished, begin nothing */
	OPERATION_LIST_DUE, /* the launcher's: which secrets are due; no rotation */
	OPERATION_ABANDON,
	OPERATION_ROLLBACK,
	OPERATION_CREDENTIALS /* load the AWS credentials, and tell whose they are */
} RotationOperation;

/* AWS's limits of the tokens in an event. */
#define CLIENT_REQUEST_TOKEN_MIN 32
#define CLIENT_REQUEST_TOKEN_MAX 64
#define ROTATION_TOKEN_MIN 36
#define ROTATION_TOKEN_MAX 256

/* How a secret is to be registered; flat, since it travels through shared memory. */
typedef struct RegistrationOrder
{
	bool has_role;
	char role[NAMEDATALEN]; /* else the one that AWSCURRENT names */
	int password_length;
	char exclude_characters[EXCLUDE_CHARACTERS_MAX + 1];
	bool has_login_host;
	char login_host[LOGIN_HOST_MAX + 1];
	bool allow_plaintext_login;
	bool allow_privileged;
	bool repair;
	bool own_pending_only;
} RegistrationOrder;

/* What is asked.  Flat. */
typedef struct RotationOrder
{
	RotationOperation operation;
	char secret[SECRET_NAME_MAX + 1];
	char requested_by[NAMEDATALEN]; /* session user, for the history */
	bool dry_run;
	bool force;
	RotationRequest step; /* OPERATION_EVENT: one of the four */
	char token[CLIENT_REQUEST_TOKEN_MAX + 1];
	char rotation_token[ROTATION_TOKEN_MAX + 1]; /* "" where the event has none; as good as a password */
	bool may_register;                           /* OPERATION_ROTATE: register an unregistered secret first */
	TimestampTz since;                           /* OPERATION_LIST_DUE: what has had no look since is due, */
	int64 since_run;                             /* that is, after this run; -1: after the latest one */
	RegistrationOrder registration;
} RotationOrder;

/* A warning or notice for the caller. */
typedef struct RotationNotice
{
	int elevel;
	char *message;
	char *detail; /* or NULL */
	char *hint;   /* or NULL */
} RotationNotice;

/* A registered secret, and when the launcher is to have it looked at. */
typedef struct DueSecret
{
	char *secret;
	int64 last_run_id; /* 0: none yet */
	TimestampTz due_at;
	bool busy; /* it is being rotated: ask again at due_at */
} DueSecret;

/* OPERATION_CREDENTIALS: what AWS is asked with, and where. */
typedef struct RotationAccess
{
	char *provider;
	char *access_key_last4; /* NULL: the key's ID is too short to show a part of it */
	int64 expires;          /* Unix time; 0: never */
	char *region;
	char *endpoint;
} RotationAccess;

/* What comes back.  Strings are palloc'd, or NULL where they do not apply.  No secret is among them. */
typedef struct RotationResult
{
	char *secret;
	char *arn;
	char *role;
	Oid role_oid;
	char *host;
	int port;
	char *instance_hash;
	char *version_id;
	char *outcome;
	char *detail;     /* JSON */
	int64 lockout_us; /* microseconds; -1: nobody was locked out */
	int64 total_us;
	List *notices;   /* of RotationNotice */
	List *due;       /* of DueSecret; OPERATION_LIST_DUE, and so is */
	int64 since_run; /* what the order's came to */
	RotationAccess access;
} RotationResult;

/*
 * Carry the order out, in a rotation worker: outside any transaction, as the
 * bootstrap superuser.  *result must be zeroed; it is filled in the memory
 * context that is current at the call.  Raises an error with errcode and, where
 * a person can act, a hint; by then the run's row says the same, and the role and
 * the labels are as they were, or as decide() holds safe.
 */
extern void rotation_run(const RotationOrder *order, RotationResult *result);

/* Tell the caller something that is no error.  Strings are copied. */
extern void rotation_notice(RotationResult *result, int elevel, const char *message, const char *detail,
							const char *hint);

#endif /* ROTATE_EXT_ROTATION_H */
