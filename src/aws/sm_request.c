/*-------------------------------------------------------------------------
 *
 * sm_request.c
 *	  Prepares calls to Secrets Manager: their JSON bodies.
 *
 * Each call has a memory context of its own, and a callback of that context
 * wipes what is secret, however the call ends.
 *
 * src/aws/sm_request.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <jansson.h>

#include "utils/memutils.h"

#include "aws/sm_private.h"

typedef struct CallWithCallback
{
	SmCall call;
	MemoryContextCallback wipe;
} CallWithCallback;

static void
wipe_call(void *arg)
{
	SmCall *call = arg;

	if (call->body != NULL)
		explicit_bzero(call->body, call->body_length);
	sm_wipe_answer(call);
}

static SmCall *
make_call(SmClient *client, SmOperation operation)
{
	MemoryContext context =
		AllocSetContextCreate(client->context, "Secrets Manager call", ALLOCSET_SMALL_SIZES);
	CallWithCallback *both = MemoryContextAllocZero(context, sizeof(CallWithCallback));

	both->call.operation = operation;
	both->call.client = client;
	both->call.context = context;
	both->wipe.func = wipe_call;
	both->wipe.arg = &both->call;
	MemoryContextRegisterResetCallback(context, &both->wipe);
	return &both->call;
}

/*
 * jansson's json_object() must not be called from a PostgreSQL server, which
 * has a function of that name itself, and whose symbols are found first: the
 * call would end in SQL's json_object().  (jansson's own calls do not leave
 * the library.)
 */
static json_t *
new_object(void)
{
	return json_pack("{}");
}

/* The body becomes the call's; consumes root.  ok: everything went into root. */
static SmCall *
finish_call(SmCall *call, json_t *root, bool ok)
{
	char *text = ok ? json_dumps(root, JSON_COMPACT) : NULL;
	size_t length = text != NULL ? strlen(text) : 0;
	json_free_t free_text;

	json_get_alloc_funcs(NULL, &free_text);
	json_decref(root);
	if (text != NULL)
	{
		call->body = MemoryContextAllocExtended(call->context, length + 1, MCXT_ALLOC_NO_OOM);
		if (call->body != NULL)
		{
			memcpy(call->body, text, length + 1);
			call->body_length = length;
		}
		free_text(text);
	}
	if (call->body == NULL)
	{
		sm_call_free(call);
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("could not prepare a request to Secrets Manager"),
						errdetail("A value is not valid UTF-8, or memory is short.")));
	}
	return call;
}

/* Add a string; NULL: nothing.  jansson refuses what is not UTF-8. */
static bool
add_string(json_t *object, const char *key, const char *value)
{
	return value == NULL || json_object_set_new(object, key, json_string(value)) == 0;
}

SmCall *
sm_describe_secret(SmClient *client, const char *secret_id)
{
	SmCall *call = make_call(client, SM_DESCRIBE_SECRET);
	json_t *root = new_object();

	return finish_call(call, root, add_string(root, "SecretId", secret_id));
}

SmCall *
sm_get_secret_value(SmClient *client, const char *secret_id, const char *version_id, const char *stage)
{
	SmCall *call = make_call(client, SM_GET_SECRET_VALUE);
	json_t *root = new_object();

	Assert(version_id != NULL || stage != NULL);
	return finish_call(call, root,
					   add_string(root, "SecretId", secret_id) && add_string(root, "VersionId", version_id) &&
						   add_string(root, "VersionStage", stage));
}

SmCall *
sm_get_random_password(SmClient *client, int length, const char *exclude_characters)
{
	SmCall *call = make_call(client, SM_GET_RANDOM_PASSWORD);
	json_t *root = new_object();

	if (exclude_characters != NULL && exclude_characters[0] == '\0')
		exclude_characters = NULL;
	return finish_call(call, root,
					   json_object_set_new(root, "PasswordLength", json_integer(length)) == 0 &&
						   add_string(root, "ExcludeCharacters", exclude_characters));
}

SmCall *
sm_put_secret_value(SmClient *client, const char *secret_id, const char *token, const char *secret_string,
					size_t length, const char *stage, const char *rotation_token)
{
	SmCall *call = make_call(client, SM_PUT_SECRET_VALUE);
	json_t *root = new_object();
	bool ok;

	call->withheld = rotation_token;
	/* without VersionStages AWS would move AWSCURRENT */
	ok = stage != NULL && add_string(root, "SecretId", secret_id) &&
		 add_string(root, "ClientRequestToken", token) &&
		 json_object_set_new(root, "SecretString", json_stringn(secret_string, length)) == 0 &&
		 json_object_set_new(root, "VersionStages", json_pack("[s]", stage)) == 0 &&
		 add_string(root, "RotationToken", rotation_token);
	return finish_call(call, root, ok);
}

SmCall *
sm_update_secret_version_stage(SmClient *client, const char *secret_id, const char *stage,
							   const char *move_to, const char *remove_from)
{
	SmCall *call = make_call(client, SM_UPDATE_SECRET_VERSION_STAGE);
	json_t *root = new_object();

	return finish_call(call, root,
					   add_string(root, "SecretId", secret_id) && add_string(root, "VersionStage", stage) &&
						   add_string(root, "MoveToVersionId", move_to) &&
						   add_string(root, "RemoveFromVersionId", remove_from));
}

void
sm_call_free(SmCall *call)
{
	MemoryContextDelete(call->context);
}

bool
sm_is_write(SmOperation operation)
{
	return operation == SM_PUT_SECRET_VALUE || operation == SM_UPDATE_SECRET_VERSION_STAGE;
}

const char *
sm_operation_name(SmOperation operation)
{
	switch (operation)
	{
		case SM_DESCRIBE_SECRET:
			return "DescribeSecret";
		case SM_GET_SECRET_VALUE:
			return "GetSecretValue";
		case SM_GET_RANDOM_PASSWORD:
			return "GetRandomPassword";
		case SM_PUT_SECRET_VALUE:
			return "PutSecretValue";
		case SM_UPDATE_SECRET_VERSION_STAGE:
			return "UpdateSecretVersionStage";
	}
	return "";
}
