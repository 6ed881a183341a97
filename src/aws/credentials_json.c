/*-------------------------------------------------------------------------
 *
 * credentials_json.c
 *	  Reads credentials out of JSON, as metadata services and credential
 *	  processes give them.
 *
 * jansson's allocator wipes what it frees (secret_value_init()).
 *
 * src/aws/credentials_json.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <jansson.h>

#include "aws/credentials_private.h"
#include "core/expiration.h"

/* The string, or NULL: it is missing, null, or no string. */
static const char *
get_string(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* Is the key there, and neither null nor ""? */
static bool
has_value(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return value != NULL && !json_is_null(value) &&
		   !(json_is_string(value) && json_string_length(value) == 0);
}

/*
 * The EC2 instance metadata service answers "Success", or why the instance's role
 * could not be assumed; of those its documentation names one.  What else it may say
 * is not shown.
 */
static bool
is_success(const char *code, const char **problem)
{
	if (code != NULL && strcmp(code, "Success") == 0)
		return true;
	*problem = code != NULL && strcmp(code, "AssumeRoleUnauthorizedAccess") == 0
				   ? "its Code is AssumeRoleUnauthorizedAccess: the role's trust policy does not name EC2"
				   : "its Code is not Success";
	return false;
}

/* NULL, or what is wrong. */
static const char *
read_object(const json_t *root, const char *token_key, bool version, const char *provider,
			AwsCredentials *credentials)
{
	const char *key_id = get_string(root, "AccessKeyId");
	const char *secret = get_string(root, "SecretAccessKey");
	const char *token = get_string(root, token_key);
	const char *expiration = get_string(root, "Expiration");
	const char *problem;
	time_t expires = 0;

	if (!json_is_object(root))
		return "it is not a JSON object";
	if (has_value(root, "Code") && !is_success(get_string(root, "Code"), &problem))
		return problem;
	if (version && json_integer_value(json_object_get(root, "Version")) != 1)
		return "its Version is not 1";
	if (key_id == NULL || key_id[0] == '\0')
		return "AccessKeyId is missing";
	if (secret == NULL || secret[0] == '\0')
		return "SecretAccessKey is missing";
	if (has_value(root, token_key) ? token == NULL : !version)
		return "the session token is missing";
	if (has_value(root, "Expiration") ? (expiration == NULL || !expiration_parse(expiration, &expires))
									  : !version)
		return "Expiration is missing, or not in ISO 8601";
	credentials_set(credentials, key_id, secret, has_value(root, token_key) ? token : NULL, provider);
	credentials->expires = expires;
	return NULL;
}

/* Consumes root, also where memory is short. */
static void
read_and_free(json_t *root, const char *token_key, bool version, const char *provider,
			  AwsCredentials *credentials, const char **problem)
{
	PG_TRY();
	{
		*problem = read_object(root, token_key, version, provider, credentials);
	}
	PG_CATCH();
	{
		json_decref(root);
		PG_RE_THROW();
	}
	PG_END_TRY();
	json_decref(root);
}

const char *
credentials_read_json(const char *text, size_t length, const char *token_key, bool version,
					  const char *provider, AwsCredentials *credentials)
{
	json_t *root = json_loadb(length > 0 ? text : "", length, JSON_REJECT_DUPLICATES, NULL);
	const char *problem;

	read_and_free(root, token_key, version, provider, credentials, &problem);
	return problem;
}
