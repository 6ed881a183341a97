/*-------------------------------------------------------------------------
 *
 * aws_error.c
 *	  AWS's errors, sorted by what to do about them, and how long to wait.
 *
 * One table holds every error code that we act on; whatever is not in it is
 * judged by its HTTP status alone.
 *
 * src/core/aws_error.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/aws_error.h"

#include <stdio.h>
#include <string.h>

#define BASE_DELAY_MS 50
#define THROTTLED_BASE_DELAY_MS 1000
#define MAX_DELAY_MS 20000

typedef struct KnownError
{
	const char *code;
	AwsErrorClass class;
} KnownError;

static const KnownError known_errors[] = {
	{"RequestTimeout", AWS_TRANSIENT},
	{"RequestTimeoutException", AWS_TRANSIENT},
	{"InternalServiceError", AWS_TRANSIENT},
	{"InternalServiceErrorException", AWS_TRANSIENT},
	{"InternalFailure", AWS_TRANSIENT},
	{"ServiceUnavailable", AWS_TRANSIENT},
	{"ServiceUnavailableException", AWS_TRANSIENT},
	{"PriorRequestNotComplete", AWS_TRANSIENT},
	{"Throttling", AWS_THROTTLED},
	{"ThrottlingException", AWS_THROTTLED},
	{"ThrottledException", AWS_THROTTLED},
	{"RequestThrottled", AWS_THROTTLED},
	{"RequestThrottledException", AWS_THROTTLED},
	{"TooManyRequestsException", AWS_THROTTLED},
	{"RequestLimitExceeded", AWS_THROTTLED},
	{"SlowDown", AWS_THROTTLED},
	{"LimitExceededException", AWS_QUOTA},
	{"ExpiredToken", AWS_EXPIRED_CREDENTIALS},
	{"ExpiredTokenException", AWS_EXPIRED_CREDENTIALS},
	{"UnrecognizedClientException", AWS_EXPIRED_CREDENTIALS},
	{"RequestTimeTooSkewed", AWS_CLOCK_SKEW},
	{"RequestExpired", AWS_CLOCK_SKEW},
	{"AccessDenied", AWS_ACCESS_DENIED},
	{"AccessDeniedException", AWS_ACCESS_DENIED},
	{"ResourceNotFoundException", AWS_NOT_FOUND},
	{"ResourceExistsException", AWS_EXISTS},
	{"InvalidParameterException", AWS_INVALID},
	{"InvalidRequestException", AWS_INVALID},
	{"ValidationException", AWS_INVALID},
	{"DecryptionFailure", AWS_DECRYPTION},
	{"EncryptionFailure", AWS_DECRYPTION},
	{"InvalidSignatureException", AWS_BAD_CREDENTIALS},
	{"SignatureDoesNotMatch", AWS_BAD_CREDENTIALS},
	{"InvalidClientTokenId", AWS_BAD_CREDENTIALS},
	{"InvalidAccessKeyId", AWS_BAD_CREDENTIALS},
	{"AuthFailure", AWS_BAD_CREDENTIALS},
	{"IncompleteSignature", AWS_BAD_CREDENTIALS},
	{"IncompleteSignatureException", AWS_BAD_CREDENTIALS},
	{"MissingAuthenticationToken", AWS_BAD_CREDENTIALS},
	{"MissingAuthenticationTokenException", AWS_BAD_CREDENTIALS},
};

void
aws_printable(char *dst, size_t size, const char *src, size_t length)
{
	size_t limit = size - 1;
	size_t n = 0;

	if (limit > AWS_MESSAGE_MAX)
		limit = AWS_MESSAGE_MAX;
	for (; n < length && n < limit; n++)
		dst[n] = (src[n] >= 0x20 && src[n] <= 0x7e) ? src[n] : '?';
	dst[n] = '\0';
}

/* "namespace#Type:url" -> "Type"; the URL may hold a '#' of its own, so it is cut first. */
static void
copy_code(char *dst, size_t size, const char *type)
{
	size_t length = strcspn(type, ":");
	const char *hash = memchr(type, '#', length);

	if (hash != NULL)
	{
		length -= (size_t) (hash + 1 - type);
		type = hash + 1;
	}
	aws_printable(dst, size, type, length);
}

static bool
find_class(const char *code, AwsErrorClass *class)
{
	for (size_t i = 0; i < sizeof(known_errors) / sizeof(known_errors[0]); i++)
	{
		if (strcmp(known_errors[i].code, code) == 0)
		{
			*class = known_errors[i].class;
			return true;
		}
	}
	return false;
}

/*
 * AWS sends one code for two causes; its words tell them apart.  They are
 * matched narrowly: a user's or role's name, which may hold "kms", is in the
 * text as well.
 */
static AwsErrorClass
refine_by_message(AwsErrorClass class, const char *message)
{
	if (class == AWS_ACCESS_DENIED &&
		(strstr(message, "Access to KMS") != NULL || strstr(message, "to perform: kms:") != NULL))
		return AWS_KMS_DENIED;
	if (class == AWS_BAD_CREDENTIALS && (strstr(message, "Signature expired") != NULL ||
										 strstr(message, "Signature not yet current") != NULL))
		return AWS_CLOCK_SKEW;
	return class;
}

static AwsErrorClass
class_of_status(int http_status, bool has_type)
{
	switch (http_status)
	{
		case 429:
			return AWS_THROTTLED;
		case 500:
		case 502:
		case 503:
		case 504:
			return AWS_TRANSIENT;
		default:
			/* AWS names its errors: without a name this is a proxy's or a stranger's */
			return has_type ? AWS_OTHER : AWS_BAD_ANSWER;
	}
}

void
aws_error_classify(AwsError *error, int http_status, const char *type, const char *message)
{
	bool has_type = type != NULL && type[0] != '\0';

	memset(error, 0, sizeof(*error));
	error->http_status = http_status;
	error->sent = true;
	if (message != NULL)
		aws_printable(error->message, sizeof(error->message), message, strlen(message));
	if (has_type)
		copy_code(error->code, sizeof(error->code), type);
	else
		snprintf(error->code, sizeof(error->code), "HTTP %d", http_status);

	if (has_type && find_class(error->code, &error->class))
		error->class = refine_by_message(error->class, message != NULL ? message : "");
	else
		error->class = class_of_status(http_status, has_type);
}

bool
aws_error_is_retryable(AwsErrorClass class)
{
	return class == AWS_CONNECTION || class == AWS_TIMEOUT || class == AWS_TRANSIENT ||
		   class == AWS_THROTTLED;
}

int
aws_retry_delay_ms(AwsErrorClass class, int attempt, double random)
{
	long delay = class == AWS_THROTTLED ? THROTTLED_BASE_DELAY_MS : BASE_DELAY_MS;

	for (int i = 2; i < attempt && delay < MAX_DELAY_MS; i++)
		delay *= 2;
	if (delay > MAX_DELAY_MS)
		delay = MAX_DELAY_MS;
	return (int) (delay * random);
}
