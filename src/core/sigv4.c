/*-------------------------------------------------------------------------
 *
 * sigv4.c
 *	  AWS Signature Version 4.
 *
 * The canonical request is never built in memory: its pieces go straight into
 * the hash, so its length needs no limit and a session token is not copied.
 *
 * src/core/sigv4.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sigv4.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define SHA256_SIZE 32
#define SHA256_HEX_SIZE (2 * SHA256_SIZE + 1)
#define MAX_SECRET_KEY 256
#define MAX_SCOPE 256
#define MAX_SIGNED_HEADERS 512
#define ALGORITHM "AWS4-HMAC-SHA256"

/* The headers to sign, in the order of their lower-case names. */
typedef struct SortedHeaders
{
	Sigv4Header header[SIGV4_MAX_HEADERS + 3];
	size_t count;
	char names[MAX_SIGNED_HEADERS]; /* "content-type;host;x-amz-date" */
} SortedHeaders;

static char
lower(char c)
{
	return (c >= 'A' && c <= 'Z') ? (char) (c - 'A' + 'a') : c;
}

static bool
is_header_text(const char *text)
{
	if (text == NULL)
		return false;
	for (; *text != '\0'; text++)
	{
		if (*text != '\t' && (*text < 0x20 || *text > 0x7e))
			return false;
	}
	return true;
}

/* Insert in order; false for a name that is there already. */
static bool
add_header(SortedHeaders *sorted, const char *name, const char *value)
{
	size_t at = sorted->count;

	if (!is_header_text(name) || name[0] == '\0' || !is_header_text(value))
		return false;
	for (; at > 0; at--)
	{
		int order = strcasecmp(sorted->header[at - 1].name, name);

		if (order == 0)
			return false;
		if (order < 0)
			break;
		sorted->header[at] = sorted->header[at - 1];
	}
	sorted->header[at].name = name;
	sorted->header[at].value = value;
	sorted->count++;
	return true;
}

static bool
list_names(SortedHeaders *sorted)
{
	size_t used = 0;

	for (size_t i = 0; i < sorted->count; i++)
	{
		const char *name = sorted->header[i].name;

		if (used + strlen(name) + 2 > sizeof(sorted->names))
			return false;
		if (i > 0)
			sorted->names[used++] = ';';
		for (; *name != '\0'; name++)
			sorted->names[used++] = lower(*name);
	}
	sorted->names[used] = '\0';
	return true;
}

static bool
sort_headers(const Sigv4Request *request, const char *date, SortedHeaders *sorted)
{
	memset(sorted, 0, sizeof(*sorted));
	if (request->nheaders > SIGV4_MAX_HEADERS)
		return false;
	if (!add_header(sorted, "Host", request->host) || !add_header(sorted, "X-Amz-Date", date))
		return false;
	if (request->session_token != NULL && !add_header(sorted, "X-Amz-Security-Token", request->session_token))
		return false;
	for (size_t i = 0; i < request->nheaders; i++)
	{
		if (!add_header(sorted, request->headers[i].name, request->headers[i].value))
			return false;
	}
	return list_names(sorted);
}

static void
to_hex(const unsigned char *bytes, char hex[SHA256_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < SHA256_SIZE; i++)
	{
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 0x0f];
	}
	hex[2 * SHA256_SIZE] = '\0';
}

static bool
hash_hex(const void *data, size_t length, char hex[SHA256_HEX_SIZE])
{
	unsigned char digest[SHA256_SIZE];

	if (EVP_Digest(data, length, digest, NULL, EVP_sha256(), NULL) != 1)
		return false;
	to_hex(digest, hex);
	return true;
}

static bool
update(EVP_MD_CTX *context, const char *text)
{
	return EVP_DigestUpdate(context, text, strlen(text)) == 1;
}

/* "name:value\n": runs of blanks become one, those at the ends go. */
static bool
update_header(EVP_MD_CTX *context, const Sigv4Header *header)
{
	const char *p = header->value;
	bool first = true;
	bool ok = true;

	for (const char *name = header->name; ok && *name != '\0'; name++)
	{
		char c = lower(*name);

		ok = EVP_DigestUpdate(context, &c, 1) == 1;
	}
	ok = ok && update(context, ":");
	for (;;)
	{
		size_t word;

		p += strspn(p, " \t");
		word = strcspn(p, " \t");
		if (!ok || word == 0)
			break;
		ok = (first || update(context, " ")) && EVP_DigestUpdate(context, p, word) == 1;
		first = false;
		p += word;
	}
	return ok && update(context, "\n");
}

static bool
hash_canonical_request(const Sigv4Request *request, const SortedHeaders *sorted, char hex[SHA256_HEX_SIZE])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char digest[SHA256_SIZE];
	char body_hash[SHA256_HEX_SIZE];
	bool ok;

	if (context == NULL)
		return false;
	ok = EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 && update(context, "POST\n/\n\n");
	for (size_t i = 0; ok && i < sorted->count; i++)
		ok = update_header(context, &sorted->header[i]);
	ok = ok && hash_hex(request->body, request->body_length, body_hash) && update(context, "\n") &&
		 update(context, sorted->names) && update(context, "\n") && update(context, body_hash) &&
		 EVP_DigestFinal_ex(context, digest, NULL) == 1;
	EVP_MD_CTX_free(context);
	if (ok)
		to_hex(digest, hex);
	return ok;
}

/* One link of the key's chain; result may be key itself. */
static bool
hmac(const unsigned char *key, size_t key_length, const char *text, unsigned char result[SHA256_SIZE])
{
	unsigned char digest[SHA256_SIZE];
	bool ok;

	ok = HMAC(EVP_sha256(), key, (int) key_length, (const unsigned char *) text, strlen(text), digest,
			  NULL) != NULL;
	if (ok)
		memcpy(result, digest, SHA256_SIZE);
	OPENSSL_cleanse(digest, sizeof(digest));
	return ok;
}

static bool
sign_text(const Sigv4Request *request, const char *day, const char *text, char hex[SHA256_HEX_SIZE])
{
	char first[4 + MAX_SECRET_KEY + 1];
	unsigned char key[SHA256_SIZE];
	int length;
	bool ok = false;

	length = snprintf(first, sizeof(first), "AWS4%s", request->secret_access_key);
	if (length > 0 && (size_t) length < sizeof(first))
		ok = hmac((const unsigned char *) first, (size_t) length, day, key) &&
			 hmac(key, sizeof(key), request->region, key) && hmac(key, sizeof(key), request->service, key) &&
			 hmac(key, sizeof(key), "aws4_request", key) && hmac(key, sizeof(key), text, key);
	/* the last link is the signature, and public */
	if (ok)
		to_hex(key, hex);
	OPENSSL_cleanse(first, sizeof(first));
	OPENSSL_cleanse(key, sizeof(key));
	return ok;
}

static bool
is_usable(const Sigv4Request *request)
{
	return is_header_text(request->access_key_id) && request->access_key_id[0] != '\0' &&
		   is_header_text(request->secret_access_key) && request->secret_access_key[0] != '\0' &&
		   is_header_text(request->region) && is_header_text(request->service);
}

bool
sigv4_sign(const Sigv4Request *request, char date[SIGV4_DATE_SIZE],
		   char authorization[SIGV4_AUTHORIZATION_SIZE])
{
	SortedHeaders sorted;
	struct tm utc;
	char day[9];
	char scope[MAX_SCOPE];
	char text[sizeof(ALGORITHM) + SIGV4_DATE_SIZE + MAX_SCOPE + SHA256_HEX_SIZE + 4];
	char hash[SHA256_HEX_SIZE];
	char signature[SHA256_HEX_SIZE];
	int length;

	authorization[0] = '\0';
	date[0] = '\0';
	if (!is_usable(request) || gmtime_r(&request->now, &utc) == NULL ||
		strftime(date, SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &utc) != SIGV4_DATE_SIZE - 1)
		goto failed;
	memcpy(day, date, 8);
	day[8] = '\0';
	length = snprintf(scope, sizeof(scope), "%s/%s/%s/aws4_request", day, request->region, request->service);
	if (length < 0 || (size_t) length >= sizeof(scope))
		goto failed;
	if (!sort_headers(request, date, &sorted) || !hash_canonical_request(request, &sorted, hash))
		goto failed;
	snprintf(text, sizeof(text), "%s\n%s\n%s\n%s", ALGORITHM, date, scope, hash);
	if (!sign_text(request, day, text, signature))
		goto failed;
	length = snprintf(authorization, SIGV4_AUTHORIZATION_SIZE,
					  "%s Credential=%s/%s, SignedHeaders=%s, Signature=%s", ALGORITHM,
					  request->access_key_id, scope, sorted.names, signature);
	if (length < 0 || length >= SIGV4_AUTHORIZATION_SIZE)
		goto failed;
	return true;

failed:
	authorization[0] = '\0';
	date[0] = '\0';
	return false;
}
