/*-------------------------------------------------------------------------
 *
 * test_endpoint.c
 *	  Unit test of src/core/endpoint.c.
 *
 * Covers: core/endpoint.
 *
 * test/unit/test_endpoint.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/endpoint.h"

#include <stdio.h>
#include <string.h>

#include "unit_check.h"

#define LABEL63 "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-012345678"

static void
test_regions(void)
{
	static const char *const valid[] = {"us-east-1", "a", "eusc-de-east-1", LABEL63};
	static const char *const invalid[] = {"",     "US-EAST-1", "us-east-1.",  "us.east",    "-us",
										  "us-",  "us east",   "us/east",     "us-east-1#", "us@east",
										  "us:1", "us%2f",     "us-east-1\n", "us_east",    "\xc3\xa9",
										  "..",   LABEL63 "a"};
	AwsEndpoint endpoint;

	for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++)
	{
		check(aws_region_is_valid(valid[i]), "valid region", valid[i]);
		check(aws_endpoint_for_region("secretsmanager", valid[i], false, false, &endpoint) == AWS_ENDPOINT_OK,
			  "endpoint of a valid region", valid[i]);
	}
	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++)
	{
		check(!aws_region_is_valid(invalid[i]), "invalid region", invalid[i]);
		check(aws_endpoint_for_region("secretsmanager", invalid[i], false, false, &endpoint) ==
					  AWS_ENDPOINT_BAD_REGION &&
				  endpoint.host[0] == '\0',
			  "endpoint of an invalid region", invalid[i]);
	}
}

static void
test_parts_of_the_url(void)
{
	/* which host it is, test_endpoint.py looks at */
	AwsEndpoint endpoint;

	aws_endpoint_for_region("sts", "us-gov-west-1", false, false, &endpoint);
	check(strcmp(endpoint.host, "sts.us-gov-west-1.amazonaws.com") == 0, "host", endpoint.host);
	check(strcmp(endpoint.authority, endpoint.host) == 0, "authority", endpoint.authority);
	check(strcmp(endpoint.url, "https://sts.us-gov-west-1.amazonaws.com/") == 0, "url", endpoint.url);
	check(endpoint.https && endpoint.port == 443, "https on its own port", endpoint.url);
}

static void
test_good_urls(void)
{
	static const struct
	{
		const char *url;
		bool https;
		const char *host;
		int port;
		const char *authority;
		const char *normal;
	} cases[] = {
		{"https://example.com", true, "example.com", 443, "example.com", "https://example.com/"},
		{"https://example.com/", true, "example.com", 443, "example.com", "https://example.com/"},
		{"HTTPS://Example.COM", true, "example.com", 443, "example.com", "https://example.com/"},
		{"https://example.com:443", true, "example.com", 443, "example.com", "https://example.com/"},
		{"https://example.com:80", true, "example.com", 80, "example.com:80", "https://example.com:80/"},
		{"https://example.com:65535/", true, "example.com", 65535, "example.com:65535",
		 "https://example.com:65535/"},
		{"https://10.0.0.1", true, "10.0.0.1", 443, "10.0.0.1", "https://10.0.0.1/"},
		{"https://[2001:DB8::1]:8443", true, "2001:db8::1", 8443, "[2001:db8::1]:8443",
		 "https://[2001:db8::1]:8443/"},
		{"https://a_b.internal", true, "a_b.internal", 443, "a_b.internal", "https://a_b.internal/"},
		{"http://localhost", false, "localhost", 80, "localhost", "http://localhost/"},
		{"http://LOCALHOST:443", false, "localhost", 443, "localhost:443", "http://localhost:443/"},
		{"http://127.0.0.1:4566", false, "127.0.0.1", 4566, "127.0.0.1:4566", "http://127.0.0.1:4566/"},
		{"http://127.255.0.1", false, "127.255.0.1", 80, "127.255.0.1", "http://127.255.0.1/"},
		{"http://[::1]:80", false, "::1", 80, "[::1]", "http://[::1]/"},
	};
	AwsEndpoint endpoint;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		check(aws_endpoint_parse(cases[i].url, &endpoint) == AWS_ENDPOINT_OK, "good url", cases[i].url);
		check(endpoint.https == cases[i].https, "scheme", cases[i].url);
		check(strcmp(endpoint.host, cases[i].host) == 0, "host", cases[i].url);
		check(endpoint.port == cases[i].port, "port", cases[i].url);
		check(strcmp(endpoint.authority, cases[i].authority) == 0, "authority", cases[i].url);
		check(strcmp(endpoint.url, cases[i].normal) == 0, "url", cases[i].url);
	}
}

static void
test_bad_urls(void)
{
	static const struct
	{
		const char *url;
		AwsEndpointStatus status;
	} cases[] = {
		{"", AWS_ENDPOINT_NOT_A_URL},
		{"example.com", AWS_ENDPOINT_NOT_A_URL},
		{"ftp://example.com", AWS_ENDPOINT_NOT_A_URL},
		{"https:/example.com", AWS_ENDPOINT_NOT_A_URL},
		{" https://example.com", AWS_ENDPOINT_NOT_A_URL},
		{"http://example.com", AWS_ENDPOINT_PLAIN_HTTP},
		{"http://128.0.0.1", AWS_ENDPOINT_PLAIN_HTTP},
		{"http://169.254.169.254", AWS_ENDPOINT_PLAIN_HTTP},
		{"http://[::2]", AWS_ENDPOINT_PLAIN_HTTP},
		{"http://[::ffff:127.0.0.1]", AWS_ENDPOINT_PLAIN_HTTP},
		{"http://127.1", AWS_ENDPOINT_PLAIN_HTTP},
		{"http://2130706433", AWS_ENDPOINT_PLAIN_HTTP},
		{"http://localhost.example.com", AWS_ENDPOINT_PLAIN_HTTP},
		{"http://127.0.0.1.example.com", AWS_ENDPOINT_PLAIN_HTTP},
		{"https://user@example.com", AWS_ENDPOINT_USER_INFO},
		{"https://user:secret@example.com", AWS_ENDPOINT_USER_INFO},
		{"http://127.0.0.1@example.com", AWS_ENDPOINT_USER_INFO},
		{"http://127.0.0.1:80@example.com", AWS_ENDPOINT_USER_INFO},
		{"https://", AWS_ENDPOINT_BAD_HOST},
		{"https:///", AWS_ENDPOINT_BAD_HOST},
		{"https://:443", AWS_ENDPOINT_BAD_HOST},
		{"https://a..b", AWS_ENDPOINT_BAD_HOST},
		{"https://.a", AWS_ENDPOINT_BAD_HOST},
		{"https://a b", AWS_ENDPOINT_BAD_HOST},
		{"https://a\nb", AWS_ENDPOINT_BAD_HOST},
		{"https://a%2fb", AWS_ENDPOINT_BAD_HOST},
		{"https://a\\b", AWS_ENDPOINT_BAD_HOST},
		{"https://\xc3\xa9", AWS_ENDPOINT_BAD_HOST},
		{"https://[::1", AWS_ENDPOINT_BAD_HOST},
		{"https://[1.2.3.4]", AWS_ENDPOINT_BAD_HOST},
		{"https://[example.com]", AWS_ENDPOINT_BAD_HOST},
		{"https://" LABEL63 "a.com", AWS_ENDPOINT_BAD_HOST},
		{"https://" LABEL63 "." LABEL63 "." LABEL63 "." LABEL63, AWS_ENDPOINT_BAD_HOST},
		{"https://a:", AWS_ENDPOINT_BAD_PORT},
		{"https://a:0", AWS_ENDPOINT_BAD_PORT},
		{"https://a:65536", AWS_ENDPOINT_BAD_PORT},
		{"https://a:99999999999999999999", AWS_ENDPOINT_BAD_PORT},
		{"https://a:x", AWS_ENDPOINT_BAD_PORT},
		{"https://a:1x", AWS_ENDPOINT_BAD_PORT},
		{"https://[::1]x", AWS_ENDPOINT_BAD_PORT},
		{"https://a/b", AWS_ENDPOINT_HAS_PATH},
		{"https://a//", AWS_ENDPOINT_HAS_PATH},
		{"https://a?b", AWS_ENDPOINT_HAS_PATH},
		{"https://a/#b", AWS_ENDPOINT_HAS_PATH},
		{"https://a/@b", AWS_ENDPOINT_HAS_PATH},
	};
	AwsEndpoint endpoint;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		memset(&endpoint, 'x', sizeof(endpoint));
		check(aws_endpoint_parse(cases[i].url, &endpoint) == cases[i].status, "bad url", cases[i].url);
		check(endpoint.host[0] == '\0' && endpoint.url[0] == '\0', "bad url leaves nothing", cases[i].url);
		check(strcmp(aws_endpoint_problem(cases[i].status), aws_endpoint_problem(AWS_ENDPOINT_OK)) != 0,
			  "its problem has words", cases[i].url);
	}
}

static void
test_good_proxies(void)
{
	static const struct
	{
		const char *text;
		const char *url;
		const char *user;
		const char *password;
	} cases[] = {
		{"http://proxy:3128", "http://proxy:3128/", "", ""},
		{"http://proxy:3128/", "http://proxy:3128/", "", ""},
		{"proxy:3128", "http://proxy:3128/", "", ""},
		{"proxy", "http://proxy/", "", ""},
		{"HTTP://Proxy.Example.COM", "http://proxy.example.com/", "", ""},
		{"https://proxy", "https://proxy/", "", ""},
		{"https://proxy:3128", "https://proxy:3128/", "", ""},
		{"10.1.2.3:8080", "http://10.1.2.3:8080/", "", ""},
		{"http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128/", "", ""},
		{"http://user@proxy:1", "http://proxy:1/", "user", ""},
		{"http://user:secret@proxy:1", "http://proxy:1/", "user", "secret"},
		{"user:secret@proxy:1", "http://proxy:1/", "user", "secret"},
		{"http://user:@proxy:1", "http://proxy:1/", "user", ""},
		{"http://:secret@proxy:1", "http://proxy:1/", "", "secret"},
		{"http://a%40b:c%3a%2F%25d@proxy:1", "http://proxy:1/", "a@b", "c:/%d"},
		{"http://user:a:b@proxy:1", "http://proxy:1/", "user", "a:b"},
		{"http://user:a@b/c@proxy:1", "http://proxy:1/", "user", "a@b/c"},
		{"http://user:\xc3\xa9@proxy:1", "http://proxy:1/", "user", "\xc3\xa9"},
	};
	AwsProxy proxy;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		check(aws_proxy_parse(cases[i].text, &proxy) == AWS_ENDPOINT_OK, "good proxy", cases[i].text);
		check(strcmp(proxy.endpoint.url, cases[i].url) == 0, "its url", cases[i].text);
		check(strcmp(proxy.user, cases[i].user) == 0, "its user", cases[i].text);
		check(strcmp(proxy.password, cases[i].password) == 0, "its password", cases[i].text);
	}
}

static void
test_bad_proxies(void)
{
	static const struct
	{
		const char *text;
		AwsEndpointStatus status;
	} cases[] = {
		{"", AWS_ENDPOINT_BAD_HOST},
		{"socks5://proxy:1", AWS_ENDPOINT_NOT_A_URL},
		{"socks5h://user:secret@proxy:1", AWS_ENDPOINT_NOT_A_URL},
		{"://proxy", AWS_ENDPOINT_NOT_A_URL},
		{"http://", AWS_ENDPOINT_BAD_HOST},
		{"http://user:secret@", AWS_ENDPOINT_BAD_HOST},
		{"http://pro xy", AWS_ENDPOINT_BAD_HOST},
		{"http://user:secret@pro xy", AWS_ENDPOINT_BAD_HOST},
		{"http://proxy:", AWS_ENDPOINT_BAD_PORT},
		{"http://proxy:x", AWS_ENDPOINT_BAD_PORT},
		{"http://proxy:65536", AWS_ENDPOINT_BAD_PORT},
		{"http://user:secret@proxy:0", AWS_ENDPOINT_BAD_PORT},
		{"http://proxy:1/path", AWS_ENDPOINT_HAS_PATH},
		{"http://u:p%0d%0aX-A: b@proxy:1", AWS_ENDPOINT_BAD_LOGIN},
		{"http://u:p\n@proxy:1", AWS_ENDPOINT_BAD_LOGIN},
		{"http://u:p%00@proxy:1", AWS_ENDPOINT_BAD_LOGIN},
		{"http://u:p%4@proxy:1", AWS_ENDPOINT_BAD_LOGIN},
		{"http://u:p%@proxy:1", AWS_ENDPOINT_BAD_LOGIN},
		{"http://u:p%g0@proxy:1", AWS_ENDPOINT_BAD_LOGIN},
		{"http://u:" LABEL63 LABEL63 LABEL63 LABEL63 "1234@proxy:1", AWS_ENDPOINT_BAD_LOGIN},
	};
	AwsProxy proxy;
	static const AwsProxy empty;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		memset(&proxy, 'x', sizeof(proxy));
		check(aws_proxy_parse(cases[i].text, &proxy) == cases[i].status, "bad proxy", cases[i].text);
		check(memcmp(&proxy, &empty, sizeof(proxy)) == 0, "bad proxy leaves nothing", cases[i].text);
	}
}

int
main(void)
{
	test_regions();
	test_parts_of_the_url();
	test_good_urls();
	test_bad_urls();
	test_good_proxies();
	test_bad_proxies();
	printf("%d passed, %d failed\n", passed, failed);
	return failed == 0 ? 0 : 1;
}
