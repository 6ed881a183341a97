/*-------------------------------------------------------------------------
 *
 * tool_endpoint.c
 *	  Prints the Secrets Manager host of each region it reads, for
 *	  test_endpoint.py.
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
	char region[256];
	AwsEndpoint endpoint;

	while (fgets(region, sizeof(region), stdin) != NULL)
	{
		region[strcspn(region, "\n")] = '\0';
		if (aws_endpoint_for_region("secretsmanager", region, &endpoint) == AWS_ENDPOINT_OK)
			printf("%s\n", endpoint.host);
		else
			printf("refused\n");
	}
	return 0;
}
