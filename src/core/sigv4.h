/*-------------------------------------------------------------------------
 *
 * sigv4.h
 *	  AWS Signature Version 4 for the requests of AWS's JSON and Query
 *	  protocols: POST, path "/", no query string, the body in one piece.
 *
 * Our own, since libcurl signs the x-amz-* headers only from 7.87.  Signs as
 * botocore's SigV4Auth does, which is the oracle in the tests.
 *
 * Pure C11 over OpenSSL (1.1.1 or later); reads no clock and keeps nothing.
 *
 * src/core/sigv4.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_SIGV4_H
#define ROTATE_EXT_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define SIGV4_DATE_SIZE 17 /* "20260102T030405Z" */
#define SIGV4_AUTHORIZATION_SIZE 1024
#define SIGV4_MAX_HEADERS 16

/* Printable ASCII, blanks and tabs; the name in any case. */
typedef struct Sigv4Header
{
	const char *name;
	const char *value;
} Sigv4Header;

typedef struct Sigv4Request
{
	const char *access_key_id;
	const char *secret_access_key;
	const char *session_token; /* NULL: none */
	const char *region;
	const char *service; /* "secretsmanager" */
	const char *host;    /* the Host header as it is sent: with the port, unless it is the scheme's own */
	time_t now;          /* corrected to AWS's clock */

	/*
	 * What is signed besides Host, X-Amz-Date and X-Amz-Security-Token, which
	 * the signer adds: these headers, no name twice.
	 */
	const Sigv4Header *headers;
	size_t nheaders;
	const void *body;
	size_t body_length;
} Sigv4Request;

/*
 * On success date and authorization hold the values of the X-Amz-Date and
 * Authorization headers.  X-Amz-Security-Token, where there is a session
 * token, is the caller's to send.
 *
 * False: a value holds what no header may (a control character, non-ASCII),
 * is missing or too long, there are too many headers, or OpenSSL failed (out
 * of memory, no SHA-256).  Both buffers are then empty strings.
 */
extern bool sigv4_sign(const Sigv4Request *request, char date[SIGV4_DATE_SIZE],
					   char authorization[SIGV4_AUTHORIZATION_SIZE]);

#endif /* ROTATE_EXT_SIGV4_H */
