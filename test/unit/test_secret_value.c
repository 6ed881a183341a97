/*-------------------------------------------------------------------------
 *
 * test_secret_value.c
 *	  Unit test of src/core/secret_value.c.
 *
 * Covers: core/secret_value.
 *
 * The allocator's wiping is seen by looking into a piece after it was freed:
 * the C library's malloc and free are wrapped (-Wl,--wrap=free) where the
 * linker can, so this test is linked with that option.
 *
 * test/unit/test_secret_value.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE

#include "core/secret_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD "s3cr\xc3\xa9t\\\"%' $"
#define PASSWORD_JSON "s3cr\\u00e9t\\\\\\\"%' $"

static int passed;
static int failed;

#define CHECK(condition) check((condition), #condition, __LINE__)

static void
check(bool condition, const char *text, int line)
{
	if (condition)
		passed++;
	else
	{
		failed++;
		printf("not ok: line %d: %s\n", line, text);
	}
}

/* What the wrapped free() looks for, and how often it was there. */
static const char *needle;
static int found_in_freed;
static int freed;
static size_t needle_length;

extern void __real_free(void *pointer);
extern void __wrap_free(void *pointer);
extern size_t malloc_usable_size(void *pointer);

void
__wrap_free(void *pointer)
{
	if (pointer != NULL && needle != NULL)
	{
		freed++;
		if (memmem(pointer, malloc_usable_size(pointer), needle, needle_length) != NULL)
			found_in_freed++;
	}
	__real_free(pointer);
}

static bool
parse(const char *text, SecretValue *value, SecretValueError *error)
{
	return secret_value_parse(text, strlen(text), value, error);
}

/* Parsing must fail like this; nothing may be left in *value. */
static void
refused(const char *text, size_t length, SecretValueStatus status, const char *field, int line)
{
	static const SecretValue zero;
	SecretValue value;
	SecretValueError error;
	bool ok = secret_value_parse(text, length, &value, &error);
	bool field_as_expected =
		field == NULL ? error.field == NULL : error.field != NULL && strcmp(error.field, field) == 0;

	if (ok || error.status != status || !field_as_expected)
		printf("status %d, field %s\n", (int) error.status, error.field ? error.field : "none");
	check(!ok && error.status == status && field_as_expected, text, line);
	check(memcmp(&value, &zero, sizeof(value)) == 0, "value is zeroed", line);
	if (ok)
		secret_value_free(&value);
}

#define REFUSED(text, status, field) refused((text), strlen(text), (status), (field), __LINE__)

/* A secret with these members after the four required ones. */
#define WITH(members) \
	"{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"u\",\"password\":\"p\"" members "}"

static void
test_fields(void)
{
	SecretValue value;
	SecretValueError error;

	CHECK(parse("{\"password\":\"" PASSWORD_JSON "\",\"engine\":\"aurora-postgresql\","
				"\"username\":\"a\\tb \\\"c\\u00fc\",\"host\":\"db.example.com\",\"port\":6432,"
				"\"dbname\":\"d=x\",\"ssl\":true}",
				&value, &error));
	CHECK(error.status == SECRET_VALUE_OK);
	CHECK(strcmp(value.password, PASSWORD) == 0);
	CHECK(strcmp(value.engine, "aurora-postgresql") == 0);
	CHECK(strcmp(value.username, "a\tb \"c\xc3\xbc") == 0);
	CHECK(strcmp(value.host, "db.example.com") == 0);
	CHECK(strcmp(value.dbname, "d=x") == 0);
	CHECK(value.port == 6432);
	CHECK(value.ssl == SECRET_SSL_ON);
	secret_value_free(&value);
	CHECK(value.root == NULL && value.text == NULL && value.password == NULL);
	secret_value_free(&value);

	CHECK(parse(WITH(""), &value, &error));
	CHECK(strcmp(value.dbname, "postgres") == 0);
	CHECK(value.port == 5432);
	CHECK(value.ssl == SECRET_SSL_ABSENT);
	secret_value_free(&value);
}

static void
test_port_and_ssl(void)
{
	static const struct
	{
		const char *text;
		int port;
		SecretSsl ssl;
	} good[] = {
		{WITH(",\"port\":\"6543\",\"ssl\":\"TRUE\""), 6543, SECRET_SSL_ON},
		{WITH(",\"port\":1,\"ssl\":\"False\""), 1, SECRET_SSL_OFF},
		{WITH(",\"port\":65535,\"ssl\":false"), 65535, SECRET_SSL_OFF},
		{WITH(",\"port\":5433.0,\"ssl\":\"true\""), 5433, SECRET_SSL_ON},
	};
	static const char *const bad_port[] = {
		WITH(",\"port\":0"),         WITH(",\"port\":65536"),     WITH(",\"port\":-1"),
		WITH(",\"port\":5432.5"),    WITH(",\"port\":\"\""),      WITH(",\"port\":\"65536\""),
		WITH(",\"port\":\"0\""),     WITH(",\"port\":\" 5432\""), WITH(",\"port\":\"5432\\u0000\""),
		WITH(",\"port\":\"+5432\""), WITH(",\"port\":1e300"),     WITH(",\"port\":\"054321\""),
	};
	static const char *const bad_ssl[] = {
		WITH(",\"ssl\":\"yes\""),
		WITH(",\"ssl\":\"\""),
		WITH(",\"ssl\":\"true\\u0000\""),
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		SecretValue value;
		SecretValueError error;

		CHECK(parse(good[i].text, &value, &error));
		CHECK(value.port == good[i].port);
		CHECK(value.ssl == good[i].ssl);
		secret_value_free(&value);
	}
	for (size_t i = 0; i < sizeof(bad_port) / sizeof(bad_port[0]); i++)
		REFUSED(bad_port[i], SECRET_VALUE_FIELD_INVALID, "port");
	for (size_t i = 0; i < sizeof(bad_ssl) / sizeof(bad_ssl[0]); i++)
		REFUSED(bad_ssl[i], SECRET_VALUE_FIELD_INVALID, "ssl");
	REFUSED(WITH(",\"port\":null"), SECRET_VALUE_FIELD_TYPE, "port");
	REFUSED(WITH(",\"port\":true"), SECRET_VALUE_FIELD_TYPE, "port");
	REFUSED(WITH(",\"ssl\":1"), SECRET_VALUE_FIELD_TYPE, "ssl");
	REFUSED(WITH(",\"ssl\":null"), SECRET_VALUE_FIELD_TYPE, "ssl");
}

static void
test_refused(void)
{
	static const char raw_nul[] = "{\"engine\":\"postgres\0\"}";

	REFUSED("", SECRET_VALUE_NOT_JSON, NULL);
	REFUSED("hunter2", SECRET_VALUE_NOT_JSON, NULL);
	REFUSED("{\"a\":1} x", SECRET_VALUE_NOT_JSON, NULL);
	REFUSED("{\"a\":\"\xff\"}", SECRET_VALUE_NOT_JSON, NULL);
	REFUSED("{\"a\":\"\n\"}", SECRET_VALUE_NOT_JSON, NULL);
	refused(raw_nul, sizeof(raw_nul) - 1, SECRET_VALUE_NOT_JSON, NULL, __LINE__);
	REFUSED("\"hunter2\"", SECRET_VALUE_NOT_OBJECT, NULL);
	REFUSED("[1]", SECRET_VALUE_NOT_OBJECT, NULL);
	REFUSED("null", SECRET_VALUE_NOT_OBJECT, NULL);
	REFUSED(WITH(",\"password\":\"q\""), SECRET_VALUE_DUPLICATE_KEY, NULL);
	REFUSED(WITH(",\"passw\\u006frd\":\"q\""), SECRET_VALUE_DUPLICATE_KEY, NULL);
	REFUSED(WITH(",\"x\":{\"y\":1,\"y\":1}"), SECRET_VALUE_DUPLICATE_KEY, NULL);
	REFUSED(WITH(",\"x\":1e999"), SECRET_VALUE_NUMBER_TOO_LARGE, NULL);

	REFUSED("{}", SECRET_VALUE_FIELD_MISSING, "engine");
	REFUSED("{\"engine\":\"mysql\"}", SECRET_VALUE_WRONG_ENGINE, "engine");
	REFUSED("{\"engine\":\"postgres\\u0000\"}", SECRET_VALUE_WRONG_ENGINE, "engine");
	REFUSED("{\"engine\":\"Postgres\"}", SECRET_VALUE_WRONG_ENGINE, "engine");
	REFUSED("{\"engine\":1}", SECRET_VALUE_FIELD_TYPE, "engine");
	REFUSED("{\"engine\":\"postgres\"}", SECRET_VALUE_FIELD_MISSING, "host");
	REFUSED("{\"engine\":\"postgres\",\"host\":7}", SECRET_VALUE_FIELD_TYPE, "host");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"\"}", SECRET_VALUE_FIELD_INVALID, "host");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\\u0000.evil\"}", SECRET_VALUE_FIELD_INVALID, "host");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\\n\"}", SECRET_VALUE_FIELD_INVALID, "host");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\x7f\"}", SECRET_VALUE_FIELD_INVALID, "host");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\"}", SECRET_VALUE_FIELD_MISSING, "username");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\",\"username\":{}}", SECRET_VALUE_FIELD_TYPE, "username");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"\"}", SECRET_VALUE_FIELD_INVALID,
			"username");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"u\\u0000\"}", SECRET_VALUE_FIELD_INVALID,
			"username");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"u\"}", SECRET_VALUE_FIELD_MISSING,
			"password");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"u\",\"password\":null}",
			SECRET_VALUE_FIELD_TYPE, "password");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"u\",\"password\":\"\"}",
			SECRET_VALUE_PASSWORD_EMPTY, "password");
	REFUSED("{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"u\",\"password\":\"a\\u0000b\"}",
			SECRET_VALUE_PASSWORD_NUL, "password");
	REFUSED(WITH(",\"dbname\":\"\""), SECRET_VALUE_FIELD_INVALID, "dbname");
	REFUSED(WITH(",\"dbname\":null"), SECRET_VALUE_FIELD_TYPE, "dbname");
	REFUSED(WITH(",\"dbname\":\"d\\u0000\""), SECRET_VALUE_FIELD_INVALID, "dbname");
}

static void
test_position(void)
{
	SecretValue value;
	SecretValueError error;

	CHECK(!parse("{\"a\":1,\n \"password\": hunter2}", &value, &error));
	CHECK(error.line == 2);
	CHECK(error.offset > 8 && error.offset < 30);
	CHECK(error.field == NULL && error.expected == NULL);
}

/* Lengths of names are bytes, not characters. */
static void
test_name_length(void)
{
	char text[400];
	char name[70] = "";
	SecretValue value;
	SecretValueError error;

	for (int i = 0; i < 31; i++)
		strcat(name, "\xc3\xa9");
	strcat(name, "x"); /* 63 bytes */
	snprintf(text, sizeof(text),
			 "{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"%s\",\"password\":\"p\"}", name);
	CHECK(parse(text, &value, &error));
	CHECK(strcmp(value.username, name) == 0);
	secret_value_free(&value);

	strcat(name, "y"); /* 64 */
	snprintf(text, sizeof(text),
			 "{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"%s\",\"password\":\"p\"}", name);
	REFUSED(text, SECRET_VALUE_FIELD_INVALID, "username");
}

static void
test_password_status(void)
{
	static const struct
	{
		const char *password;
		SecretValueStatus status;
	} cases[] = {
		{"x", SECRET_VALUE_OK},
		{"\t\x01", SECRET_VALUE_OK},
		{"", SECRET_VALUE_PASSWORD_EMPTY},
		{"md50123456789abcdef0123456789abcdef", SECRET_VALUE_PASSWORD_IS_VERIFIER},
		{"md50123456789ABCDEF0123456789abcdef", SECRET_VALUE_OK}, /* as PostgreSQL has it */
		{"md50123456789abcdef0123456789abcde", SECRET_VALUE_OK},
		{"md50123456789abcdef0123456789abcdef0", SECRET_VALUE_OK},
		{"md50123456789abcdef0123456789abcdefx", SECRET_VALUE_OK},
		{"SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy", SECRET_VALUE_PASSWORD_IS_VERIFIER},
		{"$$SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy", SECRET_VALUE_PASSWORD_IS_VERIFIER},
		{"SCRAM-SHA-256", SECRET_VALUE_OK},
		{"xSCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy", SECRET_VALUE_OK},
	};
	char *big = malloc(SECRET_PASSWORD_MAX_BYTES + 1);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		SecretValueStatus status = secret_password_status(cases[i].password, strlen(cases[i].password));

		check(status == cases[i].status, cases[i].password, __LINE__);
	}
	CHECK(secret_password_status("a\0b", 3) == SECRET_VALUE_PASSWORD_NUL);
	memset(big, 'x', SECRET_PASSWORD_MAX_BYTES + 1);
	CHECK(secret_password_status(big, SECRET_PASSWORD_MAX_BYTES) == SECRET_VALUE_OK);
	CHECK(secret_password_status(big, SECRET_PASSWORD_MAX_BYTES + 1) == SECRET_VALUE_PASSWORD_TOO_LONG);
	free(big);
}

/* Rewriting text must give expected, byte for byte, and what it gives must read back. */
static void
rewritten(const char *text, const char *password, const char *expected, int line)
{
	SecretValue value;
	SecretValue again;
	SecretValueError error;
	size_t length;
	char *result;

	if (!parse(text, &value, &error))
	{
		check(false, text, line);
		return;
	}
	result = secret_value_with_password(&value, password, &length);
	check(result != NULL && length == strlen(expected) && strcmp(result, expected) == 0, expected, line);
	check(result != NULL && secret_value_parse(result, length, &again, &error), "reads back", line);
	check(result != NULL && strcmp(again.password, password) == 0, "the password reads back", line);
	secret_value_free(&again);
	secret_value_free(&value);
	secret_text_free(result, length);
}

static void
test_rewrite(void)
{
	static const char text[] =
		"\n{ \"zeta\" : 1.10, \"x\":{\"password\":\"inner\",\"n\":[\"password\",\"\\\\\"]},\t"
		"\"big\":123456789012345678901234567890,\"nul\":\"a\\u0000b\",\"q\":\"\\\"password\\\":\","
		"\"v\":\"password\",\"engine\":\"postgres\",\"host\":\"h\",\"passw\\u006frd\" : \"" PASSWORD_JSON
		"\",\"username\":\"u\",\"\xc3\xa9\":\"\\u00e9/\\/\" }\n";
	static const char expected[] =
		"\n{ \"zeta\" : 1.10, \"x\":{\"password\":\"inner\",\"n\":[\"password\",\"\\\\\"]},\t"
		"\"big\":123456789012345678901234567890,\"nul\":\"a\\u0000b\",\"q\":\"\\\"password\\\":\","
		"\"v\":\"password\",\"engine\":\"postgres\",\"host\":\"h\",\"passw\\u006frd\" : "
		"\"n\xc3\xa9w\\\"\\\\/\\n\\u0001\",\"username\":\"u\",\"\xc3\xa9\":\"\\u00e9/\\/\" }\n";
	SecretValue value;
	SecretValueError error;
	size_t length;

	rewritten(text, "n\xc3\xa9w\"\\/\n\x01", expected, __LINE__);
	rewritten(WITH(",\"a\":\"p\""), "q",
			  "{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"u\",\"password\":\"q\",\"a\":\"p\"}",
			  __LINE__);

	CHECK(parse(WITH(""), &value, &error));
	CHECK(secret_value_with_password(&value, "\xff\xfe", &length) == NULL);
	secret_value_free(&value);
}

/* Secrets of 64 KB, Secrets Manager's limit: read, and written up to exactly that size. */
static void
test_size(void)
{
	static const char head[] = WITH(",\"fill\":\"");
	size_t fill = SECRET_VALUE_MAX_BYTES - (sizeof(head) - 2) - 2;
	char *text = malloc(SECRET_VALUE_MAX_BYTES + 1);
	char *result;
	size_t length = 0;
	SecretValue value;
	SecretValueError error;

	/* head ends in the '}' of WITH: written over */
	memcpy(text, head, sizeof(head) - 2);
	memset(text + sizeof(head) - 2, 'f', fill);
	memcpy(text + SECRET_VALUE_MAX_BYTES - 2, "\"}", 3);

	CHECK(secret_value_parse(text, SECRET_VALUE_MAX_BYTES, &value, &error));
	result = secret_value_with_password(&value, "q", &length);
	CHECK(result != NULL && length == SECRET_VALUE_MAX_BYTES);
	secret_text_free(result, length);
	CHECK(secret_value_with_password(&value, "qq", &length) == NULL);
	secret_value_free(&value);
	free(text);
}

/* Whatever is freed while a secret is read, rewritten and dropped holds its password no more. */
static void
test_wiping(void)
{
	static const char text[] = WITH(",\"x\":{\"y\":[\"hunter2hunter2\"]},\"z\":\"hunter2hunter2\"");
	static const char broken[] = "{\"password\":\"hunter2hunter2\",}";
	SecretValue value;
	SecretValueError error;
	size_t length;
	char *result;

	needle = "unter2h";
	needle_length = strlen(needle);
	CHECK(parse(text, &value, &error));
	result = secret_value_with_password(&value, "hunter2hunter3", &length);
	CHECK(result != NULL);
	secret_text_free(result, length);
	secret_text_free(NULL, 0);
	secret_value_free(&value);
	CHECK(!parse(broken, &value, &error));
	CHECK(freed > 10);
	CHECK(found_in_freed == 0);
	needle = NULL;
}

int
main(void)
{
	secret_value_init();
	test_fields();
	test_port_and_ssl();
	test_refused();
	test_position();
	test_name_length();
	test_password_status();
	test_rewrite();
	test_size();
	test_wiping();
	printf("%d passed, %d failed\n", passed, failed);
	return failed == 0 ? 0 : 1;
}
