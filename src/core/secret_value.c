/*-------------------------------------------------------------------------
 *
 * secret_value.c
 *	  The JSON of a PostgreSQL secret in Secrets Manager: read, judged, and
 *	  written again with another password.
 *
 * Every reader of a secret must come to the same login, or the one that we
 * prove is not the one that applications use.  Hence the strictness here:
 * what two JSON readers could take differently is an error, not a guess.
 *
 * jansson's error text quotes its input, so only its code and position leave
 * this file.
 *
 * src/core/secret_value.c
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* explicit_bzero */
#endif

#include "core/secret_value.h"
#include "core/wiping.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_PORT 5432
#define DEFAULT_DBNAME "postgres"

/* The longest name that DNS knows is 253 bytes; a socket directory fits in 107. */
#define HOST_MAX_BYTES 255

/*
 * Integers are read as doubles: jansson refuses those beyond 64 bits, which
 * are valid JSON and none of our business.  Scalars are let through so that
 * they are reported as what they are: JSON, but no object.
 */
#define DECODE_FLAGS (JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL)

void
secret_value_init(void)
{
	json_set_alloc_funcs(wiping_malloc, wiping_free);
}

void
secret_text_free(char *text, size_t length)
{
	if (text == NULL)
		return;
	explicit_bzero(text, length);
	free(text);
}

/* Set the error's code; false, for the caller to return. */
static bool
fail(SecretValueError *error, SecretValueStatus status, const char *field, const char *expected)
{
	error->status = status;
	error->field = field;
	error->expected = expected;
	return false;
}

/*
 * A string field, the root's own.  An absent one is an error unless there is
 * a default.
 */
static bool
get_string(const json_t *root, const char *field, const char *default_value, size_t max_bytes,
		   const char *expected, const char **result, SecretValueError *error)
{
	const json_t *item = json_object_get(root, field);
	size_t length;

	if (item == NULL && default_value == NULL)
		return fail(error, SECRET_VALUE_FIELD_MISSING, field, NULL);
	if (item == NULL)
	{
		*result = default_value;
		return true;
	}
	if (!json_is_string(item))
		return fail(error, SECRET_VALUE_FIELD_TYPE, field, "a string");

	length = json_string_length(item);
	*result = json_string_value(item);
	if (length == 0 || length > max_bytes || strlen(*result) != length)
		return fail(error, SECRET_VALUE_FIELD_INVALID, field, expected);
	return true;
}

static bool
get_engine(SecretValue *value, SecretValueError *error)
{
	const json_t *item = json_object_get(value->root, "engine");

	if (item == NULL)
		return fail(error, SECRET_VALUE_FIELD_MISSING, "engine", NULL);
	if (!json_is_string(item))
		return fail(error, SECRET_VALUE_FIELD_TYPE, "engine", "a string");

	value->engine = json_string_value(item);
	if (strlen(value->engine) != json_string_length(item) ||
		(strcmp(value->engine, "postgres") != 0 && strcmp(value->engine, "aurora-postgresql") != 0))
		return fail(error, SECRET_VALUE_WRONG_ENGINE, "engine", "\"postgres\" or \"aurora-postgresql\"");
	return true;
}

static bool
get_host(SecretValue *value, SecretValueError *error)
{
	static const char *const expected = "1 to 255 bytes without control characters";

	if (!get_string(value->root, "host", NULL, HOST_MAX_BYTES, expected, &value->host, error))
		return false;
	for (const char *p = value->host; *p != '\0'; p++)
	{
		if ((unsigned char) *p < 0x20 || *p == 0x7f)
			return fail(error, SECRET_VALUE_FIELD_INVALID, "host", expected);
	}
	return true;
}

static bool
get_password(SecretValue *value, SecretValueError *error)
{
	const json_t *item = json_object_get(value->root, "password");
	SecretValueStatus status;

	if (item == NULL)
		return fail(error, SECRET_VALUE_FIELD_MISSING, "password", NULL);
	if (!json_is_string(item))
		return fail(error, SECRET_VALUE_FIELD_TYPE, "password", "a string");

	status = secret_password_status(json_string_value(item), json_string_length(item));
	if (status != SECRET_VALUE_OK)
		return fail(error, status, "password", NULL);
	value->password = json_string_value(item);
	return true;
}

/* AWS's consoles and templates write it as a number or as a string of digits. */
static bool
get_port(SecretValue *value, SecretValueError *error)
{
	static const char *const expected = "1 to 65535";
	const json_t *item = json_object_get(value->root, "port");

	value->port = DEFAULT_PORT;
	if (item == NULL)
		return true;

	if (json_is_number(item))
	{
		double number = json_number_value(item);

		if (!(number >= 1 && number <= 65535) || number != (double) (int) number)
			return fail(error, SECRET_VALUE_FIELD_INVALID, "port", expected);
		value->port = (int) number;
	}
	else if (json_is_string(item))
	{
		const char *digits = json_string_value(item);
		size_t length = json_string_length(item);

		if (length == 0 || length > 5 || strspn(digits, "0123456789") != length)
			return fail(error, SECRET_VALUE_FIELD_INVALID, "port", expected);
		value->port = (int) strtol(digits, NULL, 10);
		if (value->port < 1 || value->port > 65535)
			return fail(error, SECRET_VALUE_FIELD_INVALID, "port", expected);
	}
	else
		return fail(error, SECRET_VALUE_FIELD_TYPE, "port", "a number, or a string of digits");
	return true;
}

static bool
get_ssl(SecretValue *value, SecretValueError *error)
{
	static const char *const expected = "true or false";
	const json_t *item = json_object_get(value->root, "ssl");
	const char *word;

	value->ssl = SECRET_SSL_ABSENT;
	if (item == NULL)
		return true;

	if (json_is_boolean(item))
		value->ssl = json_is_true(item) ? SECRET_SSL_ON : SECRET_SSL_OFF;
	else if (json_is_string(item))
	{
		word = json_string_value(item);
		if (strlen(word) != json_string_length(item))
			return fail(error, SECRET_VALUE_FIELD_INVALID, "ssl", expected);
		if (strcasecmp(word, "true") == 0)
			value->ssl = SECRET_SSL_ON;
		else if (strcasecmp(word, "false") == 0)
			value->ssl = SECRET_SSL_OFF;
		else
			return fail(error, SECRET_VALUE_FIELD_INVALID, "ssl", expected);
	}
	else
		return fail(error, SECRET_VALUE_FIELD_TYPE, "ssl", expected);
	return true;
}

/* The engine first: in another engine's secret the other complaints would mislead. */
static bool
get_fields(SecretValue *value, SecretValueError *error)
{
	static const char *const name = "1 to 63 bytes without NUL";

	if (!json_is_object(value->root))
		return fail(error, SECRET_VALUE_NOT_OBJECT, NULL, NULL);

	return get_engine(value, error) && get_host(value, error) && get_port(value, error) &&
		   get_string(value->root, "username", NULL, SECRET_NAME_MAX_BYTES, name, &value->username, error) &&
		   get_password(value, error) &&
		   get_string(value->root, "dbname", DEFAULT_DBNAME, SECRET_NAME_MAX_BYTES, name, &value->dbname,
					  error) &&
		   get_ssl(value, error);
}

static SecretValueStatus
decode_status(const json_error_t *json_error)
{
	switch (json_error_code(json_error))
	{
		case json_error_out_of_memory:
			return SECRET_VALUE_OUT_OF_MEMORY;
		case json_error_duplicate_key:
			return SECRET_VALUE_DUPLICATE_KEY;
		case json_error_numeric_overflow:
			return SECRET_VALUE_NUMBER_TOO_LARGE;
		default:
			return SECRET_VALUE_NOT_JSON;
	}
}

bool
secret_value_parse(const char *text, size_t length, SecretValue *value, SecretValueError *error)
{
	json_error_t json_error;

	memset(value, 0, sizeof(*value));
	memset(error, 0, sizeof(*error));

	value->root = json_loadb(text, length, DECODE_FLAGS, &json_error);
	if (value->root == NULL)
	{
		error->status = decode_status(&json_error);
		error->line = json_error.line;
		error->column = json_error.column;
		error->offset = json_error.position;
		explicit_bzero(&json_error, sizeof(json_error));
		return false;
	}

	value->length = length;
	value->text = malloc(length + 1);
	if (value->text == NULL)
		fail(error, SECRET_VALUE_OUT_OF_MEMORY, NULL, NULL);
	else
	{
		memcpy(value->text, text, length);
		value->text[length] = '\0';
		if (get_fields(value, error))
			return true;
	}
	secret_value_free(value);
	return false;
}

void
secret_value_free(SecretValue *value)
{
	json_decref(value->root);
	secret_text_free(value->text, value->length);
	explicit_bzero(value, sizeof(*value));
}

/*
 * The end of the string that starts at text[start] (its opening quote): the
 * place after the closing quote.  The text is known to be valid JSON.
 */
static size_t
skip_string(const char *text, size_t start)
{
	size_t i = start + 1;

	while (text[i] != '"')
		i += text[i] == '\\' ? 2 : 1;
	return i + 1;
}

/* Is the string at text[start, end) the key "password", escapes resolved? */
static bool
is_password_key(const char *text, size_t start, size_t end)
{
	json_t *key = json_loadb(text + start, end - start, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	bool result;

	result = key != NULL && json_string_length(key) == strlen("password") &&
			 memcmp(json_string_value(key), "password", strlen("password")) == 0;
	json_decref(key);
	return result;
}

/*
 * Where the string that is the password stands in the text, quotes included.
 * Parsing has shown that the text is an object with exactly one such key, and
 * a string under it; so a string at depth 1 is a key if a colon follows, and
 * the next string after that colon is its value.
 */
static bool
find_password(const char *text, size_t length, size_t *start, size_t *end)
{
	int depth = 0;
	size_t i = 0;

	while (i < length)
	{
		size_t key = i;

		if (text[i] == '{' || text[i] == '[')
			depth++;
		else if (text[i] == '}' || text[i] == ']')
			depth--;
		if (text[i] != '"')
		{
			i++;
			continue;
		}

		i = skip_string(text, key);
		*start = i + strspn(text + i, " \t\r\n");
		if (depth == 1 && text[*start] == ':' && is_password_key(text, key, i))
		{
			*start += 1 + strspn(text + *start + 1, " \t\r\n");
			if (text[*start] != '"')
				return false;
			*end = skip_string(text, *start);
			return true;
		}
	}
	return false;
}

char *
secret_value_with_password(const SecretValue *value, const char *password, size_t *length)
{
	json_t *string = json_string(password);
	size_t start;
	size_t end;
	size_t encoded;
	char *result = NULL;

	if (string == NULL || !find_password(value->text, value->length, &start, &end))
	{
		json_decref(string);
		return NULL;
	}

	encoded = json_dumpb(string, NULL, 0, JSON_ENCODE_ANY);
	*length = start + encoded + (value->length - end);
	if (encoded > 0 && *length <= SECRET_VALUE_MAX_BYTES)
		result = malloc(*length + 1);
	if (result != NULL)
	{
		memcpy(result, value->text, start);
		json_dumpb(string, result + start, encoded, JSON_ENCODE_ANY);
		memcpy(result + start + encoded, value->text + end, value->length - end);
		result[*length] = '\0';
	}
	json_decref(string);
	return result;
}

/*
 * PostgreSQL's get_password_type(), a little wider for SCRAM: it takes its
 * fields apart with strtok(), so a '$' in front does not matter, and what is
 * to follow differs between versions.  Nobody has such a password by chance.
 */
static bool
is_verifier(const char *password, size_t length)
{
	static const char md5[] = "md5";
	static const char scram[] = "SCRAM-SHA-256$";

	if (length == 35 && strncmp(password, md5, strlen(md5)) == 0 &&
		strspn(password + strlen(md5), "0123456789abcdef") == 32)
		return true;
	return strncmp(password + strspn(password, "$"), scram, strlen(scram)) == 0;
}

SecretValueStatus
secret_password_status(const char *password, size_t length)
{
	if (length == 0)
		return SECRET_VALUE_PASSWORD_EMPTY;
	if (memchr(password, '\0', length) != NULL)
		return SECRET_VALUE_PASSWORD_NUL;
	if (is_verifier(password, length))
		return SECRET_VALUE_PASSWORD_IS_VERIFIER;
	if (length > SECRET_PASSWORD_MAX_BYTES)
		return SECRET_VALUE_PASSWORD_TOO_LONG;
	return SECRET_VALUE_OK;
}
