/*-------------------------------------------------------------------------
 *
 * http_request.h
 *	  One request as a libcurl handle; for http.c only.
 *
 * src/aws/http_request.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_HTTP_REQUEST_H
#define ROTATE_EXT_HTTP_REQUEST_H

#include <curl/curl.h>

#include "aws/http.h"

/*
 * Set libcurl up in this process, once, with an allocator that wipes what it
 * frees: its buffers hold what was sent and received.
 */
extern bool http_global_init(void);

/* How to get anywhere, and whom to trust. */
typedef struct HttpWay
{
	char *ca_file;   /* NULL: the operating system's */
	AwsProxy *proxy; /* NULL: none */
	char *no_proxy;  /* the hosts that it is not asked for */
} HttpWay;

/* The proxy that this endpoint is reached through, or NULL. */
extern const AwsProxy *http_proxy_for(const HttpWay *way, const AwsEndpoint *endpoint,
									  MetadataService metadata);

/* The handle, complete; false: out of memory, and nothing is left behind. */
extern bool http_request_prepare(HttpRequest *request, const HttpWay *way);

/* Read the outcome off the handle. */
extern void http_request_finish(HttpRequest *request, CURLcode result);

/* Free the handle, which must not be in a multi handle any more. */
extern void http_request_release(HttpRequest *request);

#endif /* ROTATE_EXT_HTTP_REQUEST_H */
