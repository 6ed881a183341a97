/*-------------------------------------------------------------------------
 *
 * sm_private.h
 *	  What the sm_*.c files and secretsmanager.c share, and nobody else.
 *
 * src/aws/sm_private.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_SM_PRIVATE_H
#define ROTATE_EXT_SM_PRIVATE_H

#include "aws/credentials.h"
#include "aws/http.h"
#include "aws/secretsmanager.h"

struct SmClient
{
	MemoryContext context;
	MemoryContextCallback wipe;
	char *region;
	AwsEndpoint endpoint;
	HttpClient *http;
	AwsCredentials credentials;
	int credentials_loads; /* how often they were loaded */
	time_t clock_offset;   /* AWS's clock minus ours, once AWS said that it matters */
	int retry_tokens;      /* of the SDKs' retry quota */
	int64 patient_until;   /* http_clock_ms(): until then throttling is no failure */
};

/* Does it change anything at AWS? */
extern bool sm_is_write(SmOperation operation);

/* Judge the outcome of one try: sets call->ok, and the answer or call->error. */
extern void sm_read_answer(SmCall *call, const HttpRequest *request);

/* Wipe what is secret in the answer, and zero it.  Raises nothing. */
extern void sm_wipe_answer(SmCall *call);

#endif /* ROTATE_EXT_SM_PRIVATE_H */
