/*-------------------------------------------------------------------------
 *
 * endpoint.h
 *	  Where an AWS service is: from its region, or from an override.
 *
 * Pure C11.  Source: botocore's partitions.json, and endpoint-rule-set-1.json of
 * the services secretsmanager and sts.
 *
 * src/core/endpoint.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_ENDPOINT_H
#define ROTATE_EXT_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#define AWS_REGION_MAX 63 /* one DNS label */
#define AWS_HOST_MAX 253

typedef struct AwsEndpoint
{
	bool https;
	char host[AWS_HOST_MAX + 1]; /* lower case; an IPv6 address without its brackets */
	int port;
	char authority[AWS_HOST_MAX + 16]; /* the Host header: no port where it is the scheme's own */
	char url[AWS_HOST_MAX + 32];       /* "https://<authority>/" */
} AwsEndpoint;

typedef enum AwsEndpointStatus
{
	AWS_ENDPOINT_OK,
	AWS_ENDPOINT_BAD_REGION,
	AWS_ENDPOINT_NOT_A_URL,  /* neither https:// nor http:// */
	AWS_ENDPOINT_BAD_LOGIN,  /* of a proxy: too long, or a character that can't be in one */
	AWS_ENDPOINT_PLAIN_HTTP, /* http to another host than loopback */
	AWS_ENDPOINT_USER_INFO,  /* user:password@ */
	AWS_ENDPOINT_BAD_HOST,
	AWS_ENDPOINT_BAD_PORT,
	AWS_ENDPOINT_HAS_PATH /* a path other than "/", a query string, a fragment */
} AwsEndpointStatus;

/*
 * Could this be a region's name: one DNS label of lower-case letters, digits
 * and hyphens?  It becomes part of a host name, so nothing else may pass; but
 * a region newer than this code must.
 */
extern bool aws_region_is_valid(const char *region);

/*
 * The public endpoint of a service ("secretsmanager" or "sts") in a region.
 * fips: the one with validated cryptography; dual_stack: the one that has IPv6
 * addresses, too.  A region of no known partition is taken for one of the
 * commercial partition, as botocore does.  Whether the region has such an
 * endpoint is not known here: where it has none, its name leads nowhere.
 */
extern AwsEndpointStatus aws_endpoint_for_region(const char *service, const char *region, bool fips,
												 bool dual_stack, AwsEndpoint *endpoint);

/* An override: "https://host[:port][/]", or the same with http for a loopback host. */
extern AwsEndpointStatus aws_endpoint_parse(const char *url, AwsEndpoint *endpoint);

#define AWS_PROXY_LOGIN_MAX 255

typedef struct AwsProxy
{
	AwsEndpoint endpoint;
	char user[AWS_PROXY_LOGIN_MAX + 1]; /* "": none; both are secret, and to be wiped */
	char password[AWS_PROXY_LOGIN_MAX + 1];
} AwsProxy;

/*
 * A proxy as HTTPS_PROXY has it: "http://[user[:password]@]host[:port][/]", or
 * https, or without a scheme, which means http.  The port is the scheme's own,
 * as to the SDKs, unless given.  User and password may hold %41 and the like.
 */
extern AwsEndpointStatus aws_proxy_parse(const char *url, AwsProxy *proxy);

/* "localhost", 127.0.0.0/8, ::1.  What the name leads to is checked again where it is connected to. */
extern bool aws_host_is_loopback(const char *host);

/* What is wrong, to follow "the URL "; static.  Only for what aws_endpoint_parse() returns. */
extern const char *aws_endpoint_problem(AwsEndpointStatus status);

#endif /* ROTATE_EXT_ENDPOINT_H */
