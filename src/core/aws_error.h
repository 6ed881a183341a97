/*-------------------------------------------------------------------------
 *
 * aws_error.h
 *	  AWS's errors, sorted by what to do about them, and how long to wait.
 *
 * Pure C11.  Source: the AWS SDKs' standard retry mode; Secrets Manager's API
 * reference (common errors).
 *
 * src/core/aws_error.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_AWS_ERROR_H
#define ROTATE_EXT_AWS_ERROR_H

#include <stdbool.h>
#include <stddef.h>

typedef enum AwsErrorClass
{
	AWS_OK,
	AWS_CONNECTION,          /* no HTTP answer: name, connect, TLS, cut off */
	AWS_TIMEOUT,             /* no HTTP answer in time, connecting included */
	AWS_UNTRUSTED,           /* no HTTP answer: the endpoint's certificate is not trusted; nothing was sent */
	AWS_TRANSIENT,           /* retry soon: 5xx, InternalServiceError, RequestTimeout */
	AWS_THROTTLED,           /* retry later */
	AWS_QUOTA,               /* LimitExceededException: not before 10 minutes */
	AWS_EXPIRED_CREDENTIALS, /* refresh, then once more */
	AWS_CLOCK_SKEW,          /* correct the clock, then once more */
	AWS_ACCESS_DENIED,       /* by IAM or by the secret's resource policy */
	AWS_KMS_DENIED,          /* access denied by the KMS key */
	AWS_NOT_FOUND,           /* ResourceNotFoundException: no secret, no version, or one without a value */
	AWS_EXISTS,              /* ResourceExistsException */
	AWS_INVALID,             /* InvalidParameterException, InvalidRequestException */
	AWS_DECRYPTION,          /* DecryptionFailure, EncryptionFailure */
	AWS_BAD_CREDENTIALS,     /* key unknown or signature wrong, not by the clock */
	AWS_BAD_ANSWER,          /* not JSON, too large, a field missing */
	AWS_OTHER
} AwsErrorClass;

#define AWS_MESSAGE_MAX 200

typedef struct AwsError
{
	AwsErrorClass class;
	char code[64]; /* "ThrottlingException", "HTTP 502" where the answer names no type, "" without
								 * an answer; printable ASCII */
	char message[AWS_MESSAGE_MAX + 1]; /* printable ASCII */
	int http_status;                   /* 0: no answer */
	bool sent;          /* a part of the request may have left; without an answer: how far we came */
	bool maybe_applied; /* a write that may have taken effect, now or still to come */
} AwsError;

/*
 * Sort an answer that is not a success.  type is the body's __type or the
 * x-amzn-ErrorType header, type and message may be NULL; prefix up to '#' and
 * suffix from ':' are cut.  maybe_applied is set to false: what may have been
 * applied is the caller's to say.
 *
 * A signature refused for its time ("Signature expired", "Signature not yet
 * current") is AWS_CLOCK_SKEW, any other AWS_BAD_CREDENTIALS.  An answer
 * without a type is AWS_THROTTLED or AWS_TRANSIENT by its status, otherwise
 * AWS_BAD_ANSWER.
 */
extern void aws_error_classify(AwsError *error, int http_status, const char *type, const char *message);

/* Copy, keeping printable ASCII ('?' for the rest), cut to AWS_MESSAGE_MAX bytes and to size - 1. */
extern void aws_printable(char *dst, size_t size, const char *src, size_t length);

extern bool aws_error_is_retryable(AwsErrorClass class);

/* Milliseconds to wait before attempt n (from 2), full jitter; random in [0,1). Base 50 ms (1 s throttled), cap 20 s. */
extern int aws_retry_delay_ms(AwsErrorClass class, int attempt, double random);

#endif /* ROTATE_EXT_AWS_ERROR_H */
