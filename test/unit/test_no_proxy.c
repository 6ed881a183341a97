/*-------------------------------------------------------------------------
 *
 * test_no_proxy.c
 *	  Unit test of src/core/no_proxy.c.
 *
 * Covers: core/no_proxy.
 *
 * test/unit/test_no_proxy.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/no_proxy.h"

#include <stddef.h>
#include <stdio.h>

#define LONG "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct
{
	const char *list;
	const char *host;
	int port;
	bool matches;
} cases[] = {
	{"", "example.com", 443, false},
	{" , ,", "example.com", 443, false},
	{"*", "example.com", 443, true},
	{"a,*", "10.0.0.1", 443, true},
	{"example.com", "example.com", 443, true},
	{"EXAMPLE.com", "example.com", 443, true},
	{"example.com", "a.b.example.com", 443, true},
	{"example.com", "anexample.com", 443, false},
	{"example.com", "example.com.org", 443, false},
	{"example.com", "com", 443, false},
	{"a.example.com", "example.com", 443, false},
	{".example.com", "a.example.com", 443, true},
	{".example.com", "example.com", 443, true},
	{".example.com", "anexample.com", 443, false},
	{"*.example.com", "a.example.com", 443, true},
	{"*.example.com", "anexample.com", 443, false},
	{"*example.com", "anexample.com", 443, false},
	{".", "example.com", 443, false},
	{"a,b c\td,example.com", "example.com", 443, true},
	{"a,b c\td", "example.com", 443, false},
	{"example.com,", "example.com", 443, true},
	{"example.com:443", "example.com", 443, true},
	{"example.com:80", "example.com", 443, false},
	{".example.com:443", "a.example.com", 443, true},
	{"example.com:", "example.com", 443, false},
	{"10.0.0.1", "10.0.0.1", 443, true},
	{"10.0.0.1", "10.0.0.10", 443, false},
	{"0.0.1", "10.0.0.1", 443, false},
	{"10.0.0.1:443", "10.0.0.1", 443, true},
	{"10.0.0.1:444", "10.0.0.1", 443, false},
	{"10.0.0.0/8", "10.255.0.1", 443, true},
	{"10.0.0.0/8", "11.0.0.1", 443, false},
	{"10.128.0.0/9", "10.129.0.1", 443, true},
	{"10.128.0.0/9", "10.127.0.1", 443, false},
	{"10.0.0.4/30", "10.0.0.7", 443, true},
	{"10.0.0.4/30", "10.0.0.8", 443, false},
	{"10.0.0.1/32", "10.0.0.1", 443, true},
	{"10.0.0.1/32", "10.0.0.2", 443, false},
	{"0.0.0.0/0", "10.0.0.2", 443, true},
	{"0.0.0.0/0", "example.com", 443, false},
	{"0.0.0.0/0", "::1", 443, false},
	{"10.0.0.0/33", "10.0.0.1", 443, false},
	{"10.0.0.0/", "10.0.0.0", 443, false},
	{"10.0.0.0/x", "10.0.0.0", 443, false},
	{"10.0.0.0/8x", "10.0.0.0", 443, false},
	{"10.0.0.0/0000008", "10.0.0.0", 443, false},
	{"/8", "10.0.0.0", 443, false},
	{"fd00::/8", "fd12::1", 443, true},
	{"fd00::/8", "fe12::1", 443, false},
	{"fd00::/129", "fd00::", 443, false},
	{"fd00:ec2::23", "fd00:ec2::23", 443, true},
	{"fd00:EC2:0::23", "fd00:ec2::23", 443, true},
	{"[fd00:ec2::23]", "fd00:ec2::23", 443, true},
	{"[fd00:ec2::23]:443", "fd00:ec2::23", 443, true},
	{"[fd00:ec2::23]:80", "fd00:ec2::23", 443, false},
	{"[", "example.com", 443, false},
	{"::1", "1", 443, false},
	{LONG LONG LONG LONG, "a", 443, false},
	{LONG LONG LONG LONG ",example.com", "example.com", 443, true},
};

int
main(void)
{
	int failed = 0;
	int n = (int) (sizeof(cases) / sizeof(cases[0]));

	for (int i = 0; i < n; i++)
	{
		if (no_proxy_matches(cases[i].list, cases[i].host, cases[i].port) != cases[i].matches)
		{
			failed++;
			printf("not ok: \"%s\" with %s:%d\n", cases[i].list, cases[i].host, cases[i].port);
		}
	}
	printf("%d passed, %d failed\n", n - failed, failed);
	return failed == 0 ? 0 : 1;
}
