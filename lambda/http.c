/*-------------------------------------------------------------------------
 *
 * http.c
 *	  One HTTP call by libcurl, for the runtime API and for Secrets Manager.
 *
 * lambda/http.c
 *
 *-------------------------------------------------------------------------
 */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIRST_ANSWER_SIZE 4096
#define CONNECT_TIMEOUT_MS 5000L

static bool
grow(HttpCall *call, size_t needed)
{
	size_t size = call->answer_size > 0 ? call->answer_size : FIRST_ANSWER_SIZE;
	char *grown;

	while (size < needed)
		size *= 2;
	grown = malloc(size);
	if (grown == NULL)
		return false;
	if (call->answer != NULL)
	{
		memcpy(grown, call->answer, call->answer_length);
		explicit_bzero(call->answer, call->answer_size);
		free(call->answer);
	}
	call->answer = grown;
	call->answer_size = size;
	return true;
}

static size_t
take_answer(char *data, size_t size, size_t count, void *arg)
{
	HttpCall *call = arg;
	size_t length = size * count;

	if (call->too_large || length > call->max_answer - call->answer_length)
	{
		/* read on: the connection, and the headers, are still good */
		call->too_large = true;
		return length;
	}
	if (call->answer_length + length + 1 > call->answer_size && !grow(call, call->answer_length + length + 1))
		return 0;
	memcpy(call->answer + call->answer_length, data, length);
	call->answer_length += length;
	call->answer[call->answer_length] = '\0';
	return length;
}

static size_t
take_header(char *line, size_t size, size_t count, void *arg)
{
	HttpCall *call = arg;
	size_t length = size * count;

	for (size_t i = 0; i < call->nwanted; i++)
	{
		HttpWanted *wanted = &call->wanted[i];
		size_t from = strlen(wanted->name);
		size_t to = length;

		if (length <= from || line[from] != ':' || strncasecmp(line, wanted->name, from) != 0)
			continue;
		for (from++; from < to && (line[from] == ' ' || line[from] == '\t');)
			from++;
		while (to > from && (unsigned char) line[to - 1] <= ' ')
			to--;
		if (to - from >= wanted->size)
			continue;
		memcpy(wanted->value, line + from, to - from);
		wanted->value[to - from] = '\0';
	}
	return length;
}

static bool
set_options(CURL *easy, HttpCall *call, struct curl_slist *headers)
{
	bool https = call->ca_file != NULL;
	bool ok = true;

	curl_easy_reset(easy);
#if LIBCURL_VERSION_NUM >= 0x075500
	ok = ok && curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, https ? "https" : "http") == CURLE_OK;
#else
	ok =
		ok && curl_easy_setopt(easy, CURLOPT_PROTOCOLS, https ? CURLPROTO_HTTPS : CURLPROTO_HTTP) == CURLE_OK;
#endif
	ok = ok && curl_easy_setopt(easy, CURLOPT_URL, call->url) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEDATA, call) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERDATA, call) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, call->timeout_ms) == CURLE_OK;
	ok = ok && curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS) == CURLE_OK;
	if (!call->use_proxy)
		ok = ok && curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK;
	if (https)
	{
		ok = ok && curl_easy_setopt(easy, CURLOPT_CAINFO, call->ca_file) == CURLE_OK;
		/* else the system's directory is looked at as well */
		ok = ok && curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
		ok = ok && curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
	}
	if (call->body != NULL)
	{
		ok = ok && curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK;
		ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body) == CURLE_OK;
		ok = ok &&
			 curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) call->body_length) == CURLE_OK;
	}
	return ok;
}

static bool
add_header(struct curl_slist **list, const char *header)
{
	struct curl_slist *longer = curl_slist_append(*list, header);

	if (longer == NULL)
		return false;
	*list = longer;
	return true;
}

bool
http_call(CURL *easy, HttpCall *call)
{
	struct curl_slist *headers = NULL;
	/* what libcurl adds by itself: a pause before large bodies, and a type for them */
	bool ok = add_header(&headers, "Expect:") &&
			  (call->headers != NULL || add_header(&headers, "Content-Type: application/json"));

	call->code = CURLE_OUT_OF_MEMORY;
	call->error[0] = '\0';
	for (size_t i = 0; i < call->nwanted; i++)
		call->wanted[i].value[0] = '\0';
	for (const char *const *header = call->headers; ok && header != NULL && *header != NULL; header++)
		ok = add_header(&headers, *header);
	if (ok && set_options(easy, call, headers))
		call->code = curl_easy_perform(easy);
	if (call->code == CURLE_OK)
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &call->status);
	else if (call->error[0] == '\0')
		snprintf(call->error, sizeof(call->error), "%s", curl_easy_strerror(call->code));
	/* it must not point at what is gone when this returns */
	curl_easy_reset(easy);
	curl_slist_free_all(headers);
	return call->code == CURLE_OK;
}

void
http_call_done(HttpCall *call)
{
	if (call->answer != NULL)
	{
		explicit_bzero(call->answer, call->answer_size);
		free(call->answer);
	}
	call->answer = NULL;
	call->answer_length = 0;
	call->answer_size = 0;
}
