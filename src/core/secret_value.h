/*-------------------------------------------------------------------------
 *
 * secret_value.h
 *	  The JSON of a PostgreSQL secret in Secrets Manager: read, judged, and
 *	  written again with another password.
 *
 * Parsed with jansson, never with jsonb: a malformed secret would be quoted
 * in the error's context, and jsonb would convert it to the database's
 * encoding.  Nothing in here prints or keeps input text in an error: an error
 * is a code, a field name of ours and a position.
 *
 * Two keys of one name are refused, wherever they are: readers disagree on
 * which of them counts, so the password that we would prove need not be the
 * one that an application takes.
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

/*
 * jansson.h is not included: PostgreSQL's headers declare a json_object() of
 * their own, and so does the server export one.  Never call jansson's by name: in the
 * server the call would reach PostgreSQL's.  (jansson binds its own calls inside
 * the library.)
 */
struct json_t;

/* Secrets Manager's limit of a SecretString, in bytes. */
#define SECRET_VALUE_MAX_BYTES 65536

/* PostgreSQL's longest name, in bytes (NAMEDATALEN - 1). */
#define SECRET_NAME_MAX_BYTES 63

/*
 * The longest password in bytes that every method of pg_hba.conf takes.  SCRAM
 * and md5 have no limit of their own (libpq's of 1,024 bytes went with version
 * 14); the method "password" sends it in one message of at most 65,535 bytes
 * (PG_MAX_AUTH_TOKEN_LENGTH), 5 of which are its length word and its NUL.
 */
#define SECRET_PASSWORD_MAX_BYTES 65530

typedef enum SecretSsl
{
	SECRET_SSL_ABSENT,
	SECRET_SSL_ON,
	SECRET_SSL_OFF
} SecretSsl;

typedef enum SecretValueStatus
{
	SECRET_VALUE_OK,
	SECRET_VALUE_NOT_JSON,         /* position is set (byte offset, line and column) */
	SECRET_VALUE_NUMBER_TOO_LARGE, /* as NOT_JSON: a number beyond a double's range */
	SECRET_VALUE_DUPLICATE_KEY,    /* as NOT_JSON: two keys of one name in one object */
	SECRET_VALUE_NOT_OBJECT,
	SECRET_VALUE_FIELD_MISSING, /* field is set */
	SECRET_VALUE_FIELD_TYPE,    /* field and expected are set */
	SECRET_VALUE_FIELD_INVALID, /* field and expected are set: empty, too long, holds NUL, out of range */
	SECRET_VALUE_WRONG_ENGINE,
	SECRET_VALUE_PASSWORD_EMPTY,
	SECRET_VALUE_PASSWORD_NUL,
	SECRET_VALUE_PASSWORD_IS_VERIFIER, /* PostgreSQL would store it as it is: nobody could log in with it */
	SECRET_VALUE_PASSWORD_TOO_LONG,
	SECRET_VALUE_OUT_OF_MEMORY
} SecretValueStatus;

typedef struct SecretValueError
{
	SecretValueStatus status;
	const char *field;    /* static string: one of our key names, or NULL */
	const char *expected; /* static string: "a string", or NULL */
	int line;             /* where a position is set, from jansson; line from 1, column in characters */
	int column;
	int offset; /* bytes from the start */
} SecretValueError;

/*
 * Strings are UTF-8, NUL-terminated, owned by root; they live until
 * secret_value_free().
 *
 * username, dbname and password may hold control characters: PostgreSQL
 * allows them.  No string in here is fit for a log as it is.
 */
typedef struct SecretValue
{
	struct json_t *root;
	char *text; /* the whole secret as it came, wiped by secret_value_free() */
	size_t length;
	const char *engine;
	const char *host;
	const char *username;
	const char *password;
	const char *dbname; /* "postgres" where absent */
	int port;           /* 5432 where absent */
	SecretSsl ssl;
} SecretValue;

/* Set jansson's allocator to the wiping one.  Once in a process, before any other use of jansson. */
extern void secret_value_init(void);

/*
 * Parse and judge.  On success *value owns a jansson tree and a copy of the
 * text: free it with secret_value_free().  On failure *value is zeroed and
 * *error says why; the input's text is in neither.
 */
extern bool secret_value_parse(const char *text, size_t length, SecretValue *value, SecretValueError *error);

/* Wipes all that *value owns and zeroes it; a zeroed one is allowed. */
extern void secret_value_free(SecretValue *value);

/*
 * The same text with the password replaced and every other byte as it was:
 * not written anew from the tree, because that would change what others put
 * there (1.10 into 1.1000000000000001, integers beyond 64 bits, escapes).
 *
 * Returned by malloc, NUL-terminated: wipe and free it with
 * secret_text_free().  NULL: the password is not UTF-8, out of memory, or over
 * SECRET_VALUE_MAX_BYTES.
 */
extern char *secret_value_with_password(const SecretValue *value, const char *password, size_t *length);

/* Wipe and free a malloc'd text.  NULL is allowed. */
extern void secret_text_free(char *text, size_t length);

/* Is this one that PostgreSQL takes for a ready-made verifier, empty, or too long?  OK if none of these. */
extern SecretValueStatus secret_password_status(const char *password, size_t length);

#endif /* ROTATE_EXT_SECRET_VALUE_H */
