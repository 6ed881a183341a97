/*-------------------------------------------------------------------------
 *
 * tool_endpoint.c
 *	  Prints the host of each endpoint that test_endpoint.py asks for, a line
 *	  each: "service region fips dual_stack", the latter two 0 or 1.
 *
 * test/unit/tool_endpoint.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "core/endpoint.h"

int
main(void)
{
	char service[64];
	char region[64];
	int fips;
	int dual_stack;
	AwsEndpoint endpoint;

	while (scanf("%63s %63s %d %d", service, region, &fips, &dual_stack) == 4)
	{
		if (aws_endpoint_for_region(service, region, fips != 0, dual_stack != 0, &endpoint) ==
			AWS_ENDPOINT_OK)
			printf("%s\n", endpoint.host);
		else
			printf("refused\n");
	}
	return 0;
}
