/*-------------------------------------------------------------------------
 *
 * secret_value.h
 *	  The JSON of a PostgreSQL secret in Secrets Manager: read, judged, and
 *	  written again with another password.
 *
 * Parsed with jansson, never with jsonb: a malformed secret would be quoted
 * in the error's context, and jsonb would convert it to the database's
 * encoding.  Nothing in here prints or keeps input text: an error is a code,
 * a field name of ours and a position.
 *
 * Pure C11, no PostgreSQL header.  Memory is jansson's (malloc), whose
 * allocator secret_value_init() sets to one that wipes what it frees.
 *
 * src/core/secret_value.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_SECRET_VALUE_H
#define ROTATE_EXT_SECRET_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

typedef enum SecretSsl
{
	SECRET_SSL_ABSENT,
	SECRET_SSL_ON,
	SECRET_SSL_OFF
} SecretSsl;

typedef enum SecretValueStatus
{
	SECRET_VALUE_OK,
	SECRET_VALUE_NOT_JSON,		/* position is set (byte offset, line and column) */
	SECRET_VALUE_NOT_OBJECT,
	SECRET_VALUE_FIELD_MISSING, /* field is set */
	SECRET_VALUE_FIELD_TYPE,	/* field and expected are set */
	SECRET_VALUE_FIELD_INVALID, /* empty, too long, holds NUL or a control character, port out of range */
	SECRET_VALUE_WRONG_ENGINE,
	SECRET_VALUE_PASSWORD_EMPTY,
	SECRET_VALUE_PASSWORD_NUL,
	SECRET_VALUE_PASSWORD_IS_VERIFIER,	/* PostgreSQL would store it as it is: nobody could log in with it */
	SECRET_VALUE_PASSWORD_TOO_LONG,
	SECRET_VALUE_OUT_OF_MEMORY
} SecretValueStatus;

typedef struct SecretValueError
{
	SecretValueStatus status;
	const char *field;			/* static string: one of our key names, or NULL */
	const char *expected;		/* static string: "a string", or NULL */
	int			line;			/* of NOT_JSON, from jansson */
	int			column;
	int			offset;
} SecretValueError;

/*
 * Strings point into root and are UTF-8, NUL-terminated; they live until
 * secret_value_free().
 */
typedef struct SecretValue
{
	json_t	   *root;
	const char *engine;
	const char *host;
	const char *username;
	const char *password;
	const char *dbname;			/* "postgres" where absent */
	int			port;			/* 5432 where absent */
	SecretSsl	ssl;
} SecretValue;

/* Set jansson's allocator to the wiping one.  Once in a process, before any other use of jansson. */
extern void secret_value_init(void);

/*
 * Parse and judge.  On success *value owns a jansson tree: free it with
 * secret_value_free().  On failure *value is zeroed and *error says why; the
 * input's text is in neither.
 */
extern bool secret_value_parse(const char *text, size_t length,
							   SecretValue *value, SecretValueError *error);

extern void secret_value_free(SecretValue *value);

/*
 * The same JSON with the password replaced, all other keys kept in their
 * order.  Returned by malloc: wipe it and free() it (secret_text_free).
 * NULL: out of memory, or over 65,536 bytes (Secrets Manager's limit).
 */
extern char *secret_value_with_password(const SecretValue *value, const char *password, size_t *length);

/* Wipe and free a malloc'd text.  NULL is allowed. */
extern void secret_text_free(char *text, size_t length);

/* Is this one that PostgreSQL takes for a ready-made verifier, empty, or too long?  OK if none of these. */
extern SecretValueStatus secret_password_status(const char *password, size_t length);

#endif							/* ROTATE_EXT_SECRET_VALUE_H */
