/*-------------------------------------------------------------------------
 *
 * test_aws_error.c
 *	  Unit test of src/core/aws_error.c.
 *
 * Covers: core/aws_error.
 *
 * test/unit/test_aws_error.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/aws_error.h"

#include <stdio.h>
#include <string.h>

static int passed;
static int failed;

#define CHECK(condition) check((condition), #condition, __LINE__)

static void
check(bool condition, const char *text, int line)
{
	if (condition)
		passed++;
	else
	{
		failed++;
		printf("not ok: line %d: %s\n", line, text);
	}
}

typedef struct Case
{
	int status;
	const char *type;
	const char *message;
	AwsErrorClass class;
	const char *code;
} Case;

static const Case cases[] = {
	/* retry soon */
	{400, "RequestTimeout", NULL, AWS_TRANSIENT, "RequestTimeout"},
	{400, "RequestTimeoutException", NULL, AWS_TRANSIENT, "RequestTimeoutException"},
	{400, "PriorRequestNotComplete", NULL, AWS_TRANSIENT, "PriorRequestNotComplete"},
	{500, "InternalServiceError", NULL, AWS_TRANSIENT, "InternalServiceError"},
	{400, "InternalServiceErrorException", NULL, AWS_TRANSIENT, "InternalServiceErrorException"},
	{500, NULL, NULL, AWS_TRANSIENT, "HTTP 500"},
	{502, NULL, NULL, AWS_TRANSIENT, "HTTP 502"},
	{503, "", NULL, AWS_TRANSIENT, "HTTP 503"},
	{504, "NeverHeardOf", NULL, AWS_TRANSIENT, "NeverHeardOf"},
	/* retry later */
	{400, "ThrottlingException", "Rate exceeded", AWS_THROTTLED, "ThrottlingException"},
	{400, "Throttling", NULL, AWS_THROTTLED, "Throttling"},
	{400, "TooManyRequestsException", NULL, AWS_THROTTLED, "TooManyRequestsException"},
	{400, "RequestLimitExceeded", NULL, AWS_THROTTLED, "RequestLimitExceeded"},
	{503, "SlowDown", NULL, AWS_THROTTLED, "SlowDown"},
	{429, NULL, NULL, AWS_THROTTLED, "HTTP 429"},
	{400, "LimitExceededException", NULL, AWS_QUOTA, "LimitExceededException"},
	/* mend something, then once more */
	{400, "ExpiredToken", NULL, AWS_EXPIRED_CREDENTIALS, "ExpiredToken"},
	{400, "ExpiredTokenException", NULL, AWS_EXPIRED_CREDENTIALS, "ExpiredTokenException"},
	{400, "UnrecognizedClientException", NULL, AWS_EXPIRED_CREDENTIALS, "UnrecognizedClientException"},
	{400, "RequestTimeTooSkewed", NULL, AWS_CLOCK_SKEW, "RequestTimeTooSkewed"},
	{400, "InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than …",
	 AWS_CLOCK_SKEW, "InvalidSignatureException"},
	{400, "InvalidSignatureException", "Signature not yet current: …", AWS_CLOCK_SKEW,
	 "InvalidSignatureException"},
	{403, "SignatureDoesNotMatch", "Signature expired: …", AWS_CLOCK_SKEW, "SignatureDoesNotMatch"},
	{400, "InvalidSignatureException", "The request signature we calculated does not match …",
	 AWS_BAD_CREDENTIALS, "InvalidSignatureException"},
	{403, "SignatureDoesNotMatch", NULL, AWS_BAD_CREDENTIALS, "SignatureDoesNotMatch"},
	{400, "MissingAuthenticationTokenException", NULL, AWS_BAD_CREDENTIALS,
	 "MissingAuthenticationTokenException"},
	{400, "IncompleteSignatureException", NULL, AWS_BAD_CREDENTIALS, "IncompleteSignatureException"},
	{403, "InvalidClientTokenId", NULL, AWS_BAD_CREDENTIALS, "InvalidClientTokenId"},
	/* never */
	{400, "AccessDeniedException", NULL, AWS_ACCESS_DENIED, "AccessDeniedException"},
	{400, "AccessDeniedException", "Access to KMS is not allowed", AWS_KMS_DENIED, "AccessDeniedException"},
	{400, "AccessDeniedException", "User: x is not authorized to perform: kms:Decrypt on …", AWS_KMS_DENIED,
	 "AccessDeniedException"},
	{400, "AccessDeniedException",
	 "User: arn:aws:iam::1:role/kms:admin is not authorized to perform: secretsmanager:GetSecretValue on …",
	 AWS_ACCESS_DENIED, "AccessDeniedException"},
	{400, "ResourceNotFoundException", NULL, AWS_NOT_FOUND, "ResourceNotFoundException"},
	{400, "ResourceExistsException", NULL, AWS_EXISTS, "ResourceExistsException"},
	{400, "InvalidParameterException", NULL, AWS_INVALID, "InvalidParameterException"},
	{400, "InvalidRequestException", NULL, AWS_INVALID, "InvalidRequestException"},
	{400, "DecryptionFailure", NULL, AWS_DECRYPTION, "DecryptionFailure"},
	{400, "EncryptionFailure", NULL, AWS_DECRYPTION, "EncryptionFailure"},
	{400, "MalformedPolicyDocumentException", NULL, AWS_OTHER, "MalformedPolicyDocumentException"},
	/* a known type says more than the status */
	{500, "AccessDeniedException", NULL, AWS_ACCESS_DENIED, "AccessDeniedException"},
	/* not AWS */
	{302, NULL, NULL, AWS_BAD_ANSWER, "HTTP 302"},
	{404, NULL, NULL, AWS_BAD_ANSWER, "HTTP 404"},
	{407, "", NULL, AWS_BAD_ANSWER, "HTTP 407"},
	{501, NULL, NULL, AWS_BAD_ANSWER, "HTTP 501"},
	/* as they come */
	{400, "com.amazonaws.secretsmanager#ThrottlingException", NULL, AWS_THROTTLED, "ThrottlingException"},
	{400, "ThrottlingException:http://internal.amazon.com/coral/#x", NULL, AWS_THROTTLED,
	 "ThrottlingException"},
	{400, "a#b#ThrottlingException", NULL, AWS_OTHER, "b#ThrottlingException"},
	{400, "aws#ThrottlingException:http://x/#y", NULL, AWS_THROTTLED, "ThrottlingException"},
	{400, "throttlingexception", NULL, AWS_OTHER, "throttlingexception"},
	{400, "Throttling\x1b[31m\n", NULL, AWS_OTHER, "Throttling?[31m?"},
};

static void
test_classify(void)
{
	AwsError error;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const Case *c = &cases[i];

		memset(&error, 0xff, sizeof(error));
		aws_error_classify(&error, c->status, c->type, c->message);
		if (error.class == c->class && strcmp(error.code, c->code) == 0 && error.http_status == c->status &&
			!error.maybe_applied && error.sent)
			passed++;
		else
		{
			failed++;
			printf("not ok: %d %s: class %d instead of %d, code \"%s\"\n", c->status,
				   c->type != NULL ? c->type : "-", error.class, c->class, error.code);
		}
	}
}

static void
test_long_texts(void)
{
	char long_text[1000];
	AwsError error;

	memset(long_text, 'a', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	aws_error_classify(&error, 400, long_text, long_text);
	CHECK(strlen(error.code) == sizeof(error.code) - 1);
	CHECK(strlen(error.message) == AWS_MESSAGE_MAX);
	aws_error_classify(&error, 400, "X", NULL);
	CHECK(error.message[0] == '\0');
}

static void
test_printable(void)
{
	char text[300];
	char small[4];

	aws_printable(text, sizeof(text), "a\tb\nc\x7f\xc3\xa9 ~!\0z", 13);
	CHECK(strcmp(text, "a?b?c??? ~!?z") == 0);
	aws_printable(text, sizeof(text), "\x1f\x20\x7e\x7f\x80\xff", 6);
	CHECK(strcmp(text, "? ~???") == 0);
	aws_printable(small, sizeof(small), "abcdef", 6);
	CHECK(strcmp(small, "abc") == 0);
	aws_printable(text, sizeof(text), "abc", 0);
	CHECK(text[0] == '\0');
}

static void
test_retries(void)
{
	static const AwsErrorClass retryable[] = {AWS_CONNECTION, AWS_TIMEOUT, AWS_TRANSIENT, AWS_THROTTLED};

	for (int class = AWS_OK; class <= AWS_OTHER; class ++)
	{
		bool expected = false;

		for (size_t i = 0; i < sizeof(retryable) / sizeof(retryable[0]); i++)
			expected = expected || (int) retryable[i] == class;
		CHECK(aws_error_is_retryable((AwsErrorClass) class) == expected);
	}

	/* full jitter: from nothing to the whole delay, which doubles up to the cap */
	CHECK(aws_retry_delay_ms(AWS_TRANSIENT, 2, 0.0) == 0);
	CHECK(aws_retry_delay_ms(AWS_TRANSIENT, 2, 0.5) == 25);
	CHECK(aws_retry_delay_ms(AWS_CONNECTION, 2, 0.999999) == 49);
	CHECK(aws_retry_delay_ms(AWS_TRANSIENT, 3, 0.5) == 50);
	CHECK(aws_retry_delay_ms(AWS_TRANSIENT, 6, 0.5) == 400);
	CHECK(aws_retry_delay_ms(AWS_THROTTLED, 2, 0.5) == 500);
	CHECK(aws_retry_delay_ms(AWS_THROTTLED, 3, 0.5) == 1000);
	CHECK(aws_retry_delay_ms(AWS_THROTTLED, 7, 0.5) == 10000);
	CHECK(aws_retry_delay_ms(AWS_TRANSIENT, 2000000000, 0.5) == 10000);
}

int
main(void)
{
	test_classify();
	test_long_texts();
	test_printable();
	test_retries();
	printf("%d passed, %d failed\n", passed, failed);
	return failed == 0 ? 0 : 1;
}
