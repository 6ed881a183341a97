/*-------------------------------------------------------------------------
 *
 * sm_answer.c
 *	  Reads Secrets Manager's answers.
 *
 * An answer is parsed as strictly as jansson can, but a NUL in a string is let
 * in: a SecretString may hold one, and is then for the secret's own reader to
 * refuse, by a better name than "not JSON".
 *
 * src/aws/sm_answer.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <jansson.h>

#include "aws/sm_private.h"

/* In place of a message that an AWS endpoint wrote. */
#define VALUE_LEFT_OUT "(AWS's message is left out, since it may quote the value)"
#define TOKEN_LEFT_OUT "(AWS's message is left out, since it quotes the session token)"
#define ROTATION_TOKEN_LEFT_OUT "(AWS's message is left out, since it quotes the rotation's token)"

/* A random password has up to 4096 characters, which is the longest. */
#define NAME_MAX_BYTES 4096

void
sm_wipe_answer(SmCall *call)
{
	if (call->value.secret_string != NULL)
		explicit_bzero(call->value.secret_string, call->value.length);
	if (call->random_password != NULL)
		explicit_bzero(call->random_password, strlen(call->random_password));
	memset(&call->description, 0, sizeof(call->description));
	memset(&call->value, 0, sizeof(call->value));
	call->random_password = NULL;
	call->version_id = NULL;
}

/*
 * Names, ARNs and the like reach messages and tables, so what AWS's own can't
 * be is refused here.
 */
static bool
is_name(const char *string, size_t length)
{
	if (length > NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (string[i] < 0x20 || string[i] > 0x7e)
			return false;
	}
	return true;
}

/*
 * A string of the answer, copied into *value.  Absent: NULL, which is an error
 * where it is required.  All but SecretString and RandomPassword are printable ASCII.
 */
static bool
read_string(const json_t *object, const char *key, bool required, char **value)
{
	const json_t *string = json_object_get(object, key);

	if (string == NULL || json_is_null(string))
		return !required;
	if (!json_is_string(string) || !is_name(json_string_value(string), json_string_length(string)))
		return false;
	*value = pstrdup(json_string_value(string));
	return true;
}

/* No name: it reaches no message, and its characters are Secrets Manager's to choose. */
static bool
read_random_password(const json_t *root, char **password)
{
	const json_t *string = json_object_get(root, "RandomPassword");

	if (!json_is_string(string) || json_string_length(string) == 0 ||
		strlen(json_string_value(string)) != json_string_length(string))
		return false;
	*password = pstrdup(json_string_value(string));
	return true;
}

static bool
read_stages(const json_t *array, SmVersion *version)
{
	version->nstages = (int) json_array_size(array);
	version->stages = palloc0(sizeof(char *) * (version->nstages + 1));
	for (int i = 0; i < version->nstages; i++)
	{
		const json_t *stage = json_array_get(array, (size_t) i);

		if (!json_is_string(stage) || strlen(json_string_value(stage)) != json_string_length(stage))
			return false;
		version->stages[i] = pstrdup(json_string_value(stage));
	}
	return true;
}

static bool
read_versions(json_t *versions, SmDescription *description)
{
	const char *key;
	json_t *stages;

	if (versions == NULL || json_is_null(versions))
		return true;
	if (!json_is_object(versions))
		return false;
	description->versions = palloc0(sizeof(SmVersion) * (json_object_size(versions) + 1));
	json_object_foreach(versions, key, stages)
	{
		SmVersion *version = &description->versions[description->nversions++];

		version->version_id = pstrdup(key);
		if (!is_name(key, strlen(key)) || !json_is_array(stages) || !read_stages(stages, version))
			return false;
	}
	return true;
}

static bool
read_description(json_t *root, SmDescription *description)
{
	const json_t *rotation = json_object_get(root, "RotationEnabled");
	const json_t *deleted = json_object_get(root, "DeletedDate");

	if (rotation != NULL && !json_is_boolean(rotation) && !json_is_null(rotation))
		return false;
	description->rotation_enabled = json_is_true(rotation);
	description->deleted = deleted != NULL && !json_is_null(deleted);
	return read_string(root, "ARN", true, &description->arn) &&
		   read_string(root, "Name", true, &description->name) &&
		   read_string(root, "OwningService", false, &description->owning_service) &&
		   read_string(root, "KmsKeyId", false, &description->kms_key_id) &&
		   read_string(root, "PrimaryRegion", false, &description->primary_region) &&
		   read_versions(json_object_get(root, "VersionIdsToStages"), description);
}

static bool
read_value(const json_t *root, SmValue *value)
{
	const json_t *string = json_object_get(root, "SecretString");

	if (!read_string(root, "ARN", true, &value->arn) ||
		!read_string(root, "VersionId", true, &value->version_id))
		return false;
	if (string == NULL || json_is_null(string))
		return json_is_string(json_object_get(root, "SecretBinary"));
	if (!json_is_string(string))
		return false;
	value->length = json_string_length(string);
	value->secret_string = palloc(value->length + 1);
	memcpy(value->secret_string, json_string_value(string), value->length + 1);
	return true;
}

static bool
read_fields(SmCall *call, json_t *root)
{
	char *ignored = NULL;

	switch (call->operation)
	{
		case SM_DESCRIBE_SECRET:
			return read_description(root, &call->description);
		case SM_GET_SECRET_VALUE:
			return read_value(root, &call->value);
		case SM_GET_RANDOM_PASSWORD:
			return read_random_password(root, &call->random_password);
		case SM_PUT_SECRET_VALUE:
			return read_string(root, "VersionId", true, &call->version_id);
		case SM_UPDATE_SECRET_VERSION_STAGE:
			return read_string(root, "ARN", true, &ignored);
	}
	return false;
}

static void
set_error(AwsError *error, AwsErrorClass class, const char *message)
{
	memset(error, 0, sizeof(*error));
	error->class = class;
	aws_printable(error->message, sizeof(error->message), message, strlen(message));
}

/* There was no HTTP answer, or none worth the name. */
static void
read_no_answer(SmCall *call, const HttpRequest *request)
{
	AwsErrorClass class = AWS_CONNECTION;

	if (request->outcome == HTTP_TIMED_OUT)
		class = AWS_TIMEOUT;
	else if (request->outcome == HTTP_UNTRUSTED)
		class = AWS_UNTRUSTED;
	else if (request->outcome == HTTP_BAD_ANSWER)
		class = AWS_BAD_ANSWER;
	set_error(&call->error, class, request->problem);
	call->error.sent = request->sent;
	call->error.maybe_applied = sm_is_write(call->operation) && request->sent;
}

/*
 * An AWS endpoint may say which value it does not like by quoting it.  With
 * PutSecretValue that is the secret: there, only the messages of errors that
 * are not about a value are kept.
 */
static bool
may_quote_value(const SmCall *call)
{
	const AwsError *error = &call->error;

	if (call->operation != SM_PUT_SECRET_VALUE || error->message[0] == '\0')
		return false;
	if (error->class == AWS_INVALID)
		return strcmp(error->code, "InvalidRequestException") != 0;
	return error->class == AWS_OTHER || error->class == AWS_BAD_ANSWER || error->class == AWS_TRANSIENT;
}

/*
 * An endpoint may explain a wrong signature by the request that it would have
 * signed, session token included, and a refusal by the RotationToken that it
 * did not like.  Only a message's start is kept, so it matters where the token
 * begins in that.
 */
static bool
quotes_token(const SmCall *call, const char *token, const char *message)
{
	const char *quoted = token != NULL && message != NULL ? strstr(message, token) : NULL;

	return quoted != NULL && (size_t) (quoted - message) < strlen(call->error.message);
}

static void
replace_message(AwsError *error, const char *message)
{
	aws_printable(error->message, sizeof(error->message), message, strlen(message));
}

static void
read_error(SmCall *call, const HttpRequest *request, const json_t *root)
{
	const char *type = json_string_value(json_object_get(root, "__type"));
	const char *message = json_string_value(json_object_get(root, "message"));
	bool redirected;

	if (type == NULL && request->error_type[0] != '\0')
		type = request->error_type;
	if (message == NULL)
		message = json_string_value(json_object_get(root, "Message"));
	aws_error_classify(&call->error, request->status, type, message);
	if (may_quote_value(call))
		replace_message(&call->error, VALUE_LEFT_OUT);
	else if (quotes_token(call, call->client->credentials.session_token, message))
		replace_message(&call->error, TOKEN_LEFT_OUT);
	else if (quotes_token(call, call->withheld, message))
		replace_message(&call->error, ROTATION_TOKEN_LEFT_OUT);

	/*
	 * Refused by AWS's own word, or sent elsewhere: certainly not applied.
	 * Anything else may have been.
	 */
	redirected = request->status >= 300 && request->status < 400;
	call->error.maybe_applied =
		sm_is_write(call->operation) &&
		(request->status >= 500 || (call->error.class == AWS_BAD_ANSWER && !redirected));
}

static void
read_http_answer(SmCall *call, const HttpRequest *request, json_t *root)
{
	if (request->status != 200)
	{
		read_error(call, request, root);
		return;
	}
	call->ok = json_is_object(root) && read_fields(call, root);
	if (call->ok)
		return;
	sm_wipe_answer(call);
	set_error(&call->error, AWS_BAD_ANSWER,
			  json_is_object(root) ? "a field of the answer is missing or not as it should be"
								   : "the answer is not a JSON object");
	call->error.http_status = request->status;
	call->error.sent = true;
	call->error.maybe_applied = sm_is_write(call->operation);
}

/* Consumes root, also where memory is short. */
static void
read_and_free(SmCall *call, const HttpRequest *request, json_t *root)
{
	PG_TRY();
	{
		read_http_answer(call, request, root);
	}
	PG_CATCH();
	{
		json_decref(root);
		PG_RE_THROW();
	}
	PG_END_TRY();
	json_decref(root);
}

void
sm_read_answer(SmCall *call, const HttpRequest *request)
{
	MemoryContext caller = MemoryContextSwitchTo(call->context);

	call->ok = false;
	memset(&call->error, 0, sizeof(call->error));
	if (request->outcome == HTTP_ANSWERED)
		read_and_free(call, request,
					  json_loadb(request->answer_length > 0 ? request->answer : "", request->answer_length,
								 JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL));
	else
		read_no_answer(call, request);
	MemoryContextSwitchTo(caller);
}
