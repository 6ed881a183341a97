/*-------------------------------------------------------------------------
 *
 * endpoint.c
 *	  Where an AWS service is: from its region, or from an override.
 *
 * src/core/endpoint.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HTTPS_PORT 443
#define HTTP_PORT 80

typedef struct Partition
{
	const char *region_prefix;
	const char *suffix;
	const char *dual_stack_suffix;
} Partition;

static const Partition partitions[] = {
	{"cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
	{"us-gov-", "amazonaws.com", "api.aws"},
	{"us-iso-", "c2s.ic.gov", "api.aws.ic.gov"},
	{"us-isob-", "sc2s.sgov.gov", "api.aws.scloud"},
	{"eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
	{"us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
	{"eusc-", "amazonaws.eu", "api.amazonwebservices.eu"},
};

static const Partition commercial = {"", "amazonaws.com", "api.aws"};

/* Where the rule does not hold that FIPS adds "-fips", and dual stack takes the other suffix. */
typedef struct Exception
{
	const char *service;
	const char *region_prefix; /* "": of the commercial partition */
	bool fips;
	bool dual_stack;
	const char *name_suffix; /* of the service's name; the suffix is the ordinary one */
} Exception;

static const Exception exceptions[] = {
	{"secretsmanager", "", false, true, ""},        {"secretsmanager", "", true, true, "-fips"},
	{"secretsmanager", "us-gov-", false, true, ""}, {"secretsmanager", "us-gov-", true, true, "-fips"},
	{"secretsmanager", "cn-", false, true, ""},     {"sts", "us-gov-", true, false, ""},
};

static bool
is_label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

bool
aws_region_is_valid(const char *region)
{
	size_t length = strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return length > 0 && length <= AWS_REGION_MAX && region[length] == '\0' && region[0] != '-' &&
		   region[length - 1] != '-';
}

static const Partition *
partition_of(const char *region)
{
	for (size_t i = 0; i < sizeof(partitions) / sizeof(partitions[0]); i++)
	{
		if (strncmp(region, partitions[i].region_prefix, strlen(partitions[i].region_prefix)) == 0)
			return &partitions[i];
	}
	return &commercial;
}

static const Exception *
find_exception(const char *service, const Partition *partition, bool fips, bool dual_stack)
{
	for (size_t i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++)
	{
		const Exception *exception = &exceptions[i];

		if (strcmp(exception->service, service) == 0 && exception->fips == fips &&
			exception->dual_stack == dual_stack &&
			strcmp(exception->region_prefix, partition->region_prefix) == 0)
			return exception;
	}
	return NULL;
}

bool
aws_host_is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return false;
}

/* Fill in authority and url from https, host and port. */
static void
write_url(AwsEndpoint *endpoint)
{
	bool v6 = strchr(endpoint->host, ':') != NULL;
	char port[8] = "";

	if (endpoint->port != (endpoint->https ? HTTPS_PORT : HTTP_PORT))
		snprintf(port, sizeof(port), ":%u", (unsigned) endpoint->port & 0xffff);
	snprintf(endpoint->authority, sizeof(endpoint->authority), "%s%s%s%s", v6 ? "[" : "", endpoint->host,
			 v6 ? "]" : "", port);
	snprintf(endpoint->url, sizeof(endpoint->url), "%s://%s/", endpoint->https ? "https" : "http",
			 endpoint->authority);
}

AwsEndpointStatus
aws_endpoint_for_region(const char *service, const char *region, bool fips, bool dual_stack,
						AwsEndpoint *endpoint)
{
	const Partition *partition = partition_of(region);
	const Exception *exception = find_exception(service, partition, fips, dual_stack);
	const char *name_suffix = fips ? "-fips" : "";
	const char *suffix = dual_stack ? partition->dual_stack_suffix : partition->suffix;

	memset(endpoint, 0, sizeof(*endpoint));
	if (!aws_region_is_valid(region))
		return AWS_ENDPOINT_BAD_REGION;
	if (exception != NULL)
	{
		name_suffix = exception->name_suffix;
		suffix = partition->suffix;
	}
	endpoint->https = true;
	endpoint->port = HTTPS_PORT;
	snprintf(endpoint->host, sizeof(endpoint->host), "%s%s.%s.%s", service, name_suffix, region, suffix);
	write_url(endpoint);
	return AWS_ENDPOINT_OK;
}

/* A DNS name or an IPv4 address: labels of up to 63, an underscore allowed as resolvers do. */
static bool
is_host_name(const char *host)
{
	size_t label = 0;

	for (const char *p = host; *p != '\0'; p++)
	{
		if (*p == '.')
		{
			if (label == 0)
				return false;
			label = 0;
		}
		else if (!is_label_char(*p) && *p != '_')
			return false;
		else if (++label > 63)
			return false;
	}
	return host[0] != '\0';
}

/* The host, lower-cased, brackets removed; *end is where it ended. */
static bool
parse_host(const char *p, AwsEndpoint *endpoint, const char **end)
{
	struct in6_addr v6;
	bool bracketed = *p == '[';
	size_t length;

	if (bracketed)
		p++;
	length = strcspn(p, bracketed ? "]" : ":/?#");
	if (length == 0 || length > AWS_HOST_MAX || (bracketed && p[length] != ']'))
		return false;
	for (size_t i = 0; i < length; i++)
		endpoint->host[i] = (p[i] >= 'A' && p[i] <= 'Z') ? (char) (p[i] - 'A' + 'a') : p[i];
	*end = p + length + (bracketed ? 1 : 0);
	return bracketed ? inet_pton(AF_INET6, endpoint->host, &v6) == 1 : is_host_name(endpoint->host);
}

static bool
parse_port(const char *p, AwsEndpoint *endpoint, const char **end)
{
	size_t length = strspn(p, "0123456789");
	int port = 0;

	if (length == 0 || length > 5)
		return false;
	for (size_t i = 0; i < length; i++)
		port = port * 10 + (p[i] - '0');
	*end = p + length;
	endpoint->port = port;
	return port >= 1 && port <= 65535;
}

/* "host[:port][/]", after the scheme. */
static AwsEndpointStatus
parse_authority(const char *p, AwsEndpoint *endpoint)
{
	if (!parse_host(p, endpoint, &p))
		return AWS_ENDPOINT_BAD_HOST;
	endpoint->port = endpoint->https ? HTTPS_PORT : HTTP_PORT;
	if (*p == ':' && !parse_port(p + 1, endpoint, &p))
		return AWS_ENDPOINT_BAD_PORT;
	if (*p != '\0' && *p != '/' && *p != '?' && *p != '#')
		return AWS_ENDPOINT_BAD_PORT;
	if (*p != '\0' && strcmp(p, "/") != 0)
		return AWS_ENDPOINT_HAS_PATH;
	return AWS_ENDPOINT_OK;
}

static AwsEndpointStatus
parse(const char *url, AwsEndpoint *endpoint)
{
	AwsEndpointStatus status;
	const char *p;

	if (strncasecmp(url, "https://", 8) == 0)
		endpoint->https = true;
	else if (strncasecmp(url, "http://", 7) != 0)
		return AWS_ENDPOINT_NOT_A_URL;
	p = url + (endpoint->https ? 8 : 7);
	if (memchr(p, '@', strcspn(p, "/?#")) != NULL)
		return AWS_ENDPOINT_USER_INFO;
	status = parse_authority(p, endpoint);
	if (status != AWS_ENDPOINT_OK)
		return status;
	if (!endpoint->https && !aws_host_is_loopback(endpoint->host))
		return AWS_ENDPOINT_PLAIN_HTTP;
	write_url(endpoint);
	return AWS_ENDPOINT_OK;
}

AwsEndpointStatus
aws_endpoint_parse(const char *url, AwsEndpoint *endpoint)
{
	AwsEndpointStatus status;

	memset(endpoint, 0, sizeof(*endpoint));
	status = parse(url, endpoint);
	if (status != AWS_ENDPOINT_OK)
		memset(endpoint, 0, sizeof(*endpoint));
	return status;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char) (c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A part of the user information, with %41 decoded. */
static bool
decode_login(const char *text, size_t length, char decoded[AWS_PROXY_LOGIN_MAX + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < length; i++)
	{
		char c = text[i];

		if (c == '%')
		{
			if (i + 2 >= length || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0)
				return false;
			c = (char) (hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
			i += 2;
		}
		/* a control character could end the header that it goes into */
		if (n == AWS_PROXY_LOGIN_MAX || (unsigned char) c < 0x20 || c == 0x7f)
			return false;
		decoded[n++] = c;
	}
	decoded[n] = '\0';
	return true;
}

static AwsEndpointStatus
parse_proxy(const char *url, AwsProxy *proxy)
{
	const char *p = strstr(url, "://");
	const char *at = NULL;
	AwsEndpointStatus status;

	if (p != NULL && strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0)
		return AWS_ENDPOINT_NOT_A_URL;
	proxy->endpoint.https = p != NULL && p - url == 5;
	p = p != NULL ? p + 3 : url;
	/* the last one, for a password may hold one that nobody has encoded */
	for (const char *c = p; *c != '\0'; c++)
		at = *c == '@' ? c : at;
	if (at != NULL)
	{
		const char *colon = memchr(p, ':', (size_t) (at - p));

		if (!decode_login(p, (size_t) ((colon != NULL ? colon : at) - p), proxy->user) ||
			(colon != NULL && !decode_login(colon + 1, (size_t) (at - colon - 1), proxy->password)))
			return AWS_ENDPOINT_BAD_LOGIN;
		p = at + 1;
	}
	status = parse_authority(p, &proxy->endpoint);
	if (status == AWS_ENDPOINT_OK)
		write_url(&proxy->endpoint);
	return status;
}

AwsEndpointStatus
aws_proxy_parse(const char *url, AwsProxy *proxy)
{
	AwsEndpointStatus status;

	memset(proxy, 0, sizeof(*proxy));
	status = parse_proxy(url, proxy);
	if (status != AWS_ENDPOINT_OK)
		explicit_bzero(proxy, sizeof(*proxy));
	return status;
}

const char *
aws_endpoint_problem(AwsEndpointStatus status)
{
	switch (status)
	{
		case AWS_ENDPOINT_NOT_A_URL:
			return "must begin with \"https://\"";
		case AWS_ENDPOINT_BAD_LOGIN:
			return "holds a user name or a password that is too long or has a character that none can have";
		case AWS_ENDPOINT_PLAIN_HTTP:
			return "must begin with \"https://\" for any host but this machine's loopback";
		case AWS_ENDPOINT_USER_INFO:
			return "must not hold a user name or a password";
		case AWS_ENDPOINT_BAD_HOST:
			return "holds no valid host name";
		case AWS_ENDPOINT_BAD_PORT:
			return "holds no valid port after its host name";
		case AWS_ENDPOINT_HAS_PATH:
			return "must end after its host and port";
		case AWS_ENDPOINT_OK:
		case AWS_ENDPOINT_BAD_REGION:
			break;
	}
	return "is not usable";
}
