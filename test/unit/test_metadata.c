/*-------------------------------------------------------------------------
 *
 * test_metadata.c
 *	  Unit test of src/core/metadata.c: where credentials may be asked for.
 *
 * Covers: core/metadata.
 *
 * test/unit/test_metadata.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/metadata.h"

#include <stdio.h>
#include <string.h>

#include "unit_check.h"

static void
test_addresses(void)
{
	static const struct
	{
		const char *host;
		MetadataService service;
	} cases[] = {
		{"169.254.169.254", METADATA_INSTANCE},
		{"fd00:ec2::254", METADATA_INSTANCE},
		{"FD00:0EC2:0:0::0254", METADATA_INSTANCE},
		{"169.254.170.2", METADATA_CONTAINER},
		{"169.254.170.23", METADATA_CONTAINER},
		{"fd00:ec2::23", METADATA_CONTAINER},
		{"169.254.170.3", METADATA_NONE},
		{"169.254.170.254", METADATA_NONE},
		{"169.254.169.25", METADATA_NONE},
		{"0169.254.170.2", METADATA_NONE},
		{"169.254.170.2.", METADATA_NONE},
		{"169.254.43522", METADATA_NONE},
		{"2852039170", METADATA_NONE},
		{"::ffff:169.254.170.2", METADATA_NONE},
		{"fd00:ec2::24", METADATA_NONE},
		{"fd00:ec2:0:0:1::23", METADATA_NONE},
		{"127.0.0.1", METADATA_NONE},
		{"169.254.170.2.example.com", METADATA_NONE},
		{"localhost", METADATA_NONE},
		{"", METADATA_NONE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		for (MetadataService service = METADATA_NONE; service <= METADATA_CONTAINER; service++)
			check(metadata_address(service, cases[i].host) ==
					  (service != METADATA_NONE && service == cases[i].service),
				  "address", cases[i].host);
	}
}

static void
check_url(MetadataService service, const char *url, const char *expected_url, const char *expected_authority,
		  const char *expected_target)
{
	AwsEndpoint endpoint;
	const char *target;
	AwsEndpointStatus status = metadata_parse(service, url, &endpoint, &target);

	check(status == AWS_ENDPOINT_OK && strcmp(endpoint.url, expected_url) == 0 &&
			  strcmp(endpoint.authority, expected_authority) == 0 && strcmp(target, expected_target) == 0 &&
			  endpoint.https == (strncmp(expected_url, "https", 5) == 0),
		  "URL", url);
}

static void
test_urls(void)
{
	MetadataService container = METADATA_CONTAINER;

	check_url(container, "http://169.254.170.2/v2/credentials/4711", "http://169.254.170.2/", "169.254.170.2",
			  "/v2/credentials/4711");
	check_url(container, "http://169.254.170.23/v1/credentials", "http://169.254.170.23/", "169.254.170.23",
			  "/v1/credentials");
	check_url(container, "http://[fd00:ec2::23]/v1/credentials", "http://[fd00:ec2::23]/", "[fd00:ec2::23]",
			  "/v1/credentials");
	check_url(container, "http://[fd00:ec2::23]:8080/v1", "http://[fd00:ec2::23]:8080/",
			  "[fd00:ec2::23]:8080", "/v1");
	check_url(container, "HTTP://LOCALHOST:8080", "http://localhost:8080/", "localhost:8080", "/");
	check_url(container, "http://127.0.0.1:80/a?b=c&d=%20@x:y", "http://127.0.0.1/", "127.0.0.1",
			  "/a?b=c&d=%20@x:y");
	check_url(container, "http://[::1]:51679/a/../b//c", "http://[::1]:51679/", "[::1]:51679", "/a/../b//c");
	check_url(container, "https://agent.example.com/x", "https://agent.example.com/", "agent.example.com",
			  "/x");
	check_url(container, "https://agent.example.com:8443", "https://agent.example.com:8443/",
			  "agent.example.com:8443", "/");
	check_url(METADATA_INSTANCE, "http://169.254.169.254", "http://169.254.169.254/", "169.254.169.254", "/");
	check_url(METADATA_INSTANCE, "http://[fd00:ec2::254]/", "http://[fd00:ec2::254]/", "[fd00:ec2::254]",
			  "/");
}

static void
check_refused(MetadataService service, const char *url, AwsEndpointStatus expected)
{
	AwsEndpoint endpoint;
	const char *target;

	check(metadata_parse(service, url, &endpoint, &target) == expected && endpoint.host[0] == '\0' &&
			  endpoint.url[0] == '\0',
		  "refused URL", url);
}

static void
test_refused_urls(void)
{
	MetadataService container = METADATA_CONTAINER;
	static const char *const plain[] = {
		"http://192.0.2.1/creds",
		"http://169.254.170.3/creds",
		"http://169.254.169.254/creds",
		"http://[fd00:ec2::254]/creds",
		"http://[2001:db8::1]/creds",
		"http://169.254.170.2.example.com/creds",
		"http://localhost.example.com/creds",
		"http://2852039170/creds",
		"http://[::ffff:169.254.170.2]/creds",
		"http://example.com:80",
	};
	static const char *const paths[] = {
		"https://example.com?a=b",  "https://example.com#a",    "https://example.com/a#b",
		"https://example.com/a b",  "https://example.com/a\nb", "https://example.com/a\r\nX: y",
		"https://example.com/a\\b", "https://example.com/\xe4",
	};
	char long_host[600];

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		check_refused(container, plain[i], AWS_ENDPOINT_PLAIN_HTTP);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		check_refused(container, paths[i], AWS_ENDPOINT_HAS_PATH);
	check_refused(METADATA_INSTANCE, "http://169.254.170.2", AWS_ENDPOINT_PLAIN_HTTP);
	check_refused(METADATA_NONE, "http://169.254.169.254", AWS_ENDPOINT_PLAIN_HTTP);
	check_refused(container, "", AWS_ENDPOINT_NOT_A_URL);
	check_refused(container, "/v2/credentials", AWS_ENDPOINT_NOT_A_URL);
	check_refused(container, "ftp://127.0.0.1/", AWS_ENDPOINT_NOT_A_URL);
	check_refused(container, "file:///etc/passwd", AWS_ENDPOINT_NOT_A_URL);
	check_refused(container, "http:/127.0.0.1/", AWS_ENDPOINT_NOT_A_URL);
	check_refused(container, "://127.0.0.1/", AWS_ENDPOINT_NOT_A_URL);
	check_refused(container, "http://127.0.0.1@192.0.2.1/", AWS_ENDPOINT_USER_INFO);
	check_refused(container, "http://169.254.170.2@192.0.2.1", AWS_ENDPOINT_USER_INFO);
	check_refused(container, "http:///a", AWS_ENDPOINT_BAD_HOST);
	check_refused(container, "http://169.254.170.2:99999/", AWS_ENDPOINT_BAD_PORT);
	check_refused(container, "http://169.254.170.2:/", AWS_ENDPOINT_BAD_PORT);
	check_refused(container, "http://[fd00:ec2::23/", AWS_ENDPOINT_BAD_HOST);
	check_refused(container, "http://127.0.0.1 /", AWS_ENDPOINT_BAD_HOST);

	memset(long_host, 'a', sizeof(long_host));
	memcpy(long_host, "http://", 7);
	long_host[sizeof(long_host) - 1] = '\0';
	check_refused(container, long_host, AWS_ENDPOINT_BAD_HOST);
	memcpy(long_host, "https://", 8);
	check_refused(container, long_host, AWS_ENDPOINT_BAD_HOST);
}

static void
test_problems(void)
{
	for (AwsEndpointStatus status = AWS_ENDPOINT_BAD_REGION; status <= AWS_ENDPOINT_HAS_PATH; status++)
		check(metadata_problem(METADATA_CONTAINER, status)[0] != '\0', "problem", "of a container's URL");
	check(strstr(metadata_problem(METADATA_INSTANCE, AWS_ENDPOINT_PLAIN_HTTP), "169.254.169.254") != NULL,
		  "problem", "of an instance's URL");
	check(strstr(metadata_problem(METADATA_CONTAINER, AWS_ENDPOINT_PLAIN_HTTP), "169.254.170.23") != NULL,
		  "problem", "of a container's URL");
}

static void
test_header_values(void)
{
	static const char *const good[] = {"a", "Basic abc==", "a\"b'c\\", "~", " "};
	static const char *const bad[] = {"", "a\r\nb", "a\n", "\r", "a\tb", "\x7f", "\xe4", "a\x01"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check(metadata_is_header_value(good[i]), "header value", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check(!metadata_is_header_value(bad[i]), "no header value", bad[i]);
}

int
main(void)
{
	test_addresses();
	test_urls();
	test_refused_urls();
	test_problems();
	test_header_values();
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
