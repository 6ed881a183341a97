/*-------------------------------------------------------------------------
 *
 * fuzz_secret_value.c
 *	  libFuzzer target of src/core/secret_value.c.
 *
 *	  clang -g -O1 -fsanitize=fuzzer,address,undefined -Isrc \
 *		  test/fuzz/fuzz_secret_value.c src/core/secret_value.c src/core/wiping.c -ljansson -o fuzz_secret_value
 *	  ./fuzz_secret_value -max_total_time=60
 *
 * Beyond not crashing: what is accepted must come out of a rewrite with
 * the new password and with everything else equal, as jansson reads it, and
 * must give the input back, byte for byte, when the rest of the text is
 * compared.  An error must not point into the input.
 *
 * test/fuzz/fuzz_secret_value.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/secret_value.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NEW_PASSWORD "n\xc3\xa9w \"\\/\n"

static void
require(bool condition)
{
	if (!condition)
		abort();
}

/* Equal but for the password, which the second tree is given the first one's of. */
static bool
equal_but_for_password(const SecretValue *a, const SecretValue *b)
{
	return json_object_set(b->root, "password", json_object_get(a->root, "password")) == 0 &&
		   json_equal(a->root, b->root);
}

/* The bytes before and after the place where the two texts differ are the same ones. */
static bool
one_place_differs(const SecretValue *value, const char *text, size_t length)
{
	size_t prefix = 0;
	size_t suffix = 0;
	size_t shorter = length < value->length ? length : value->length;

	while (prefix < shorter && text[prefix] == value->text[prefix])
		prefix++;
	while (suffix < shorter - prefix && text[length - 1 - suffix] == value->text[value->length - 1 - suffix])
		suffix++;
	/* what was put there, quotes and escapes included, is 15 bytes long */
	return length - prefix - suffix <= 15;
}

static void
check_accepted(const SecretValue *value)
{
	SecretValue again;
	SecretValueError error;
	size_t length;
	char *text;

	require(value->port >= 1 && value->port <= 65535);
	require(value->host[0] != '\0' && value->username[0] != '\0' && value->dbname[0] != '\0');
	require(strlen(value->username) <= SECRET_NAME_MAX_BYTES &&
			strlen(value->dbname) <= SECRET_NAME_MAX_BYTES);
	require(secret_password_status(value->password, strlen(value->password)) == SECRET_VALUE_OK);

	text = secret_value_with_password(value, NEW_PASSWORD, &length);
	require(text != NULL);
	require(secret_value_parse(text, length, &again, &error));
	require(strcmp(again.password, NEW_PASSWORD) == 0);
	require(one_place_differs(value, text, length));
	require(equal_but_for_password(value, &again));
	secret_value_free(&again);
	secret_text_free(text, length);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void) argc;
	(void) argv;
	secret_value_init();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;
	SecretValue value;
	SecretValueError error;

	if (secret_value_parse(text, size, &value, &error))
	{
		check_accepted(&value);
		secret_value_free(&value);
	}
	else
	{
		require(error.status != SECRET_VALUE_OK);
		require(error.field == NULL || error.field < text || error.field >= text + size);
		require(value.root == NULL && value.text == NULL);
	}
	return 0;
}
