/*-------------------------------------------------------------------------
 *
 * http.h
 *	  HTTPS requests from a PostgreSQL process, several at the same time.
 *
 * libcurl's multi interface, driven by a WaitEventSet: waits end when the
 * latch is set, so a shutdown or a cancel is never held up.  Connections are
 * kept until the client is closed.
 *
 * What a request may do is fixed: https, or plain http where the host is this
 * machine's loopback, or where it is a metadata service at one of its own
 * addresses; peer and name verified; no redirect followed; no proxy for loopback
 * and metadata services, and for others only the one that http_use_proxy() was
 * told of, never libcurl's environment variables; answers of up to
 * HTTP_MAX_ANSWER bytes, or fewer.
 *
 * Only ever used in a rotation worker: initialising libcurl in the postmaster
 * or an ordinary backend would interfere with other users of it there.
 *
 * src/aws/http.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_HTTP_H
#define ROTATE_EXT_HTTP_H

#include <time.h>

#include "core/endpoint.h"
#include "core/metadata.h"
#include "core/sigv4.h"

/* Secrets have 64 KB; escaped as JSON six times that. */
#define HTTP_MAX_ANSWER ((size_t) 1024 * 1024)

typedef struct HttpClient HttpClient;

typedef enum HttpOutcome
{
	HTTP_PENDING,
	HTTP_ANSWERED,
	HTTP_UNREACHABLE, /* name, connect, proxy, TLS handshake */
	HTTP_UNTRUSTED,   /* the certificate, or our CA file */
	HTTP_TIMED_OUT,
	HTTP_CUT_OFF,   /* the connection ended early */
	HTTP_BAD_ANSWER /* too large, or not HTTP */
} HttpOutcome;

typedef enum HttpMethod
{
	HTTP_POST,
	HTTP_GET, /* without a body */
	HTTP_PUT
} HttpMethod;

typedef struct HttpRequest
{
	/* what to send; all of it must stay until the outcome is there */
	const AwsEndpoint *endpoint;
	const char *target; /* path and query; NULL: "/" */
	HttpMethod method;
	MetadataService metadata;   /* METADATA_NONE: the endpoint is none of a metadata service */
	size_t max_answer;          /* bytes; 0: HTTP_MAX_ANSWER */
	const Sigv4Header *headers; /* Host among them */
	size_t nheaders;
	const char *body;
	size_t body_length;
	long connect_timeout; /* ms */
	long timeout;         /* ms, connecting included */

	/* the outcome */
	HttpOutcome outcome;
	bool
		sent; /* a part of the body (without one: of the request) may have left; false: certainly nothing did */
	char problem
		[256]; /* what happened where there was no answer, mostly in libcurl's words, without a proxy's login; not cleaned of odd characters */
	int status;
	time_t date;          /* the Date header; -1: none */
	char error_type[128]; /* the x-amzn-ErrorType header; "": none */
	char *answer;         /* malloc'd; http_request_free() wipes and frees it */
	size_t answer_length;

	/* http.c's own */
	const AwsProxy *proxy; /* that it goes through, or NULL */
	void *easy;
	void *header_list;
	size_t answer_size;
	size_t body_given;
	bool too_large;
	struct HttpRequest *next;
} HttpRequest;

/*
 * In the current memory context, whose reset or deletion closes the client.
 * ca_file NULL: the CAs of the operating system, as libcurl was built; libcurl
 * itself heeds neither SSL_CERT_FILE nor CURL_CA_BUNDLE.  Else only those of
 * the file.
 */
extern HttpClient *http_open(const char *ca_file);

/*
 * From here on requests go through the proxy (copied), but for hosts in
 * no_proxy: a list as the variable NO_PROXY has it, or NULL.
 */
extern void http_use_proxy(HttpClient *client, const AwsProxy *proxy, const char *no_proxy);

/* The URL, without user and password, of the proxy that an AWS endpoint is reached through; NULL: none. */
extern const char *http_proxy_url(const HttpClient *client, const AwsEndpoint *endpoint);

/* Zero the request first.  Raises errors only where memory is short. */
extern void http_start(HttpClient *client, HttpRequest *request);

/*
 * Wait until something happens, at most max_wait ms (-1: no limit of its own),
 * and move the requests on.  Look at their outcomes afterwards.  Processes
 * interrupts: where that, or any error, leaves the caller, it must call
 * http_abort().
 */
extern void http_round(HttpClient *client, long max_wait);

/* Give up all requests that are under way; their connections are closed. */
extern void http_abort(HttpClient *client);

/* Wipe and free the answer.  Not for a request under way. */
extern void http_request_free(HttpRequest *request);

/* Milliseconds on a clock that only goes forward. */
extern int64 http_clock_ms(void);

#endif /* ROTATE_EXT_HTTP_H */
