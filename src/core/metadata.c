/*-------------------------------------------------------------------------
 *
 * metadata.c
 *	  The services on the machine itself that hand out AWS credentials.
 *
 * src/core/metadata.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/metadata.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HTTP_PORT 80

typedef struct ServiceAddress
{
	MetadataService service;
	int family;
	const char *address;
} ServiceAddress;

static const ServiceAddress addresses[] = {
	{METADATA_INSTANCE, AF_INET, "169.254.169.254"}, {METADATA_INSTANCE, AF_INET6, "fd00:ec2::254"},
	{METADATA_CONTAINER, AF_INET, "169.254.170.2"},  {METADATA_CONTAINER, AF_INET, "169.254.170.23"},
	{METADATA_CONTAINER, AF_INET6, "fd00:ec2::23"},
};

bool
metadata_address(MetadataService service, const char *host)
{
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
	{
		struct in6_addr own;
		struct in6_addr asked;

		if (addresses[i].service == service && inet_pton(addresses[i].family, host, &asked) == 1 &&
			inet_pton(addresses[i].family, addresses[i].address, &own) == 1 &&
			memcmp(&own, &asked, addresses[i].family == AF_INET ? 4 : 16) == 0)
			return true;
	}
	return false;
}

/* An endpoint that was parsed as https with its port becomes one of plain http. */
static void
make_plain(AwsEndpoint *endpoint)
{
	bool v6 = strchr(endpoint->host, ':') != NULL;
	char port[8] = "";

	endpoint->https = false;
	if (endpoint->port != HTTP_PORT)
		snprintf(port, sizeof(port), ":%u", (unsigned) endpoint->port & 0xffff);
	snprintf(endpoint->authority, sizeof(endpoint->authority), "%s%s%s%s", v6 ? "[" : "", endpoint->host,
			 v6 ? "]" : "", port);
	snprintf(endpoint->url, sizeof(endpoint->url), "http://%s/", endpoint->authority);
}

/* scheme and authority of the URL; its rules are aws_endpoint_parse()'s, but for whom http is allowed. */
static AwsEndpointStatus
parse_origin(MetadataService service, const char *url, size_t length, AwsEndpoint *endpoint)
{
	char origin[AWS_HOST_MAX + 32];
	bool https = strncasecmp(url, "https://", 8) == 0;
	const char *authority = url + (https ? 8 : 7);
	size_t authority_length;
	bool has_port;
	AwsEndpointStatus status;

	if (!https && strncasecmp(url, "http://", 7) != 0)
		return AWS_ENDPOINT_NOT_A_URL;
	if (length + sizeof("s:80") > sizeof(origin))
		return AWS_ENDPOINT_BAD_HOST;
	authority_length = length - (size_t) (authority - url);
	has_port = authority_length > 0 && memchr(authority, ':', authority_length) != NULL &&
			   (authority[0] != '[' || authority[authority_length - 1] != ']');
	snprintf(origin, sizeof(origin), "https://%.*s%s", (int) authority_length, authority,
			 https || has_port ? "" : ":80");
	status = aws_endpoint_parse(origin, endpoint);
	if (status != AWS_ENDPOINT_OK || https)
		return status;
	if (!aws_host_is_loopback(endpoint->host) && !metadata_address(service, endpoint->host))
		return AWS_ENDPOINT_PLAIN_HTTP;
	make_plain(endpoint);
	return AWS_ENDPOINT_OK;
}

/* What libcurl sends as it is. */
static bool
is_target(const char *target)
{
	if (target[0] != '/')
		return false;
	for (const char *p = target; *p != '\0'; p++)
	{
		if (*p <= ' ' || *p > '~' || *p == '#' || *p == '\\')
			return false;
	}
	return true;
}

AwsEndpointStatus
metadata_parse(MetadataService service, const char *url, AwsEndpoint *endpoint, const char **target)
{
	const char *authority = strstr(url, "://");
	AwsEndpointStatus status = AWS_ENDPOINT_NOT_A_URL;

	memset(endpoint, 0, sizeof(*endpoint));
	*target = "/";
	if (authority != NULL)
	{
		size_t length = (size_t) (authority - url) + 3;

		length += strcspn(url + length, "/?#");
		status = parse_origin(service, url, length, endpoint);
		if (url[length] != '\0')
			*target = url + length;
	}
	if (status == AWS_ENDPOINT_OK && !is_target(*target))
		status = AWS_ENDPOINT_HAS_PATH;
	if (status != AWS_ENDPOINT_OK)
		memset(endpoint, 0, sizeof(*endpoint));
	return status;
}

const char *
metadata_problem(MetadataService service, AwsEndpointStatus status)
{
	switch (status)
	{
		case AWS_ENDPOINT_NOT_A_URL:
			return "must begin with \"https://\" or \"http://\"";
		case AWS_ENDPOINT_PLAIN_HTTP:
			return service == METADATA_CONTAINER
					   ? "must begin with \"https://\" for any host but this machine's loopback, "
						 "169.254.170.2, 169.254.170.23 and fd00:ec2::23"
					   : "must begin with \"https://\" for any host but this machine's loopback, "
						 "169.254.169.254 and fd00:ec2::254";
		case AWS_ENDPOINT_HAS_PATH:
			return "holds a path that can't be sent";
		default:
			return aws_endpoint_problem(status);
	}
}

bool
metadata_is_header_value(const char *text)
{
	const char *p = text;

	while (*p >= ' ' && *p <= '~')
		p++;
	return *p == '\0' && p > text;
}
