/*-------------------------------------------------------------------------
 *
 * metadata.h
 *	  The services on the machine itself that hand out AWS credentials: the EC2
 *	  instance metadata service, and the agents of ECS and EKS.
 *
 * They speak plain http, which is safe only because their addresses never leave
 * the machine: so http is for these addresses and for loopback, and nothing
 * else.  Whoever can set an address can have it be any https host.
 *
 * Pure C11.
 *
 * src/core/metadata.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_METADATA_H
#define ROTATE_EXT_METADATA_H

#include <stdbool.h>

#include "core/endpoint.h"

typedef enum MetadataService
{
	METADATA_NONE,
	METADATA_INSTANCE, /* 169.254.169.254, fd00:ec2::254 */
	METADATA_CONTAINER /* 169.254.170.2 (ECS), 169.254.170.23 and fd00:ec2::23 (EKS Pod Identity) */
} MetadataService;

/* Is the host, written as an address, one of the service's own?  Never for METADATA_NONE. */
extern bool metadata_address(MetadataService service, const char *host);

/*
 * The URL of a service: "https://host[:port][/path]", or http where the host is
 * loopback or one of the service's addresses.  *target is the path with its query, in
 * url itself, or "/".  AWS_ENDPOINT_HAS_PATH: the path can't be sent.
 */
extern AwsEndpointStatus metadata_parse(MetadataService service, const char *url, AwsEndpoint *endpoint,
										const char **target);

/* What is wrong, to follow "the URL "; static. */
extern const char *metadata_problem(MetadataService service, AwsEndpointStatus status);

/* May the text be the value of a header: printable ASCII, and not empty? */
extern bool metadata_is_header_value(const char *text);

#endif /* ROTATE_EXT_METADATA_H */
