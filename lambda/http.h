/*-------------------------------------------------------------------------
 *
 * http.h
 *	  One HTTP call by libcurl, for the runtime API and for Secrets Manager.
 *
 * No redirects, no verbosity, answers capped.  https only with the CA file
 * that is given; plain http only where the caller says so.
 *
 * lambda/http.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_HTTP_H
#define ROTATE_LAMBDA_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

/* A header of the answer that the caller wants; "" where it did not come. */
typedef struct HttpWanted
{
	const char *name;
	char *value;
	size_t size;
} HttpWanted;

typedef struct HttpCall
{
	/* what to do */
	const char *url;
	const char *const *headers; /* "Name: value", NULL at the end; or NULL */
	const char *body;           /* NULL: GET, otherwise POST */
	size_t body_length;
	long timeout_ms;     /* 0: none */
	const char *ca_file; /* NULL: plain http */
	bool use_proxy;      /* as the environment says */
	size_t max_answer;   /* bytes; what is beyond is read and dropped */
	HttpWanted *wanted;
	size_t nwanted;

	/* what came of it; free with http_call_done() */
	CURLcode code;
	char error[CURL_ERROR_SIZE]; /* where code is not CURLE_OK */
	long status;
	char *answer; /* NUL-terminated, or NULL */
	size_t answer_length;
	size_t answer_size;
	bool too_large;
} HttpCall;

/* True where there was an answer, of whatever status.  easy keeps its connection for the next call. */
extern bool http_call(CURL *easy, HttpCall *call);

/* Wipes and frees the answer. */
extern void http_call_done(HttpCall *call);

#endif /* ROTATE_LAMBDA_HTTP_H */
