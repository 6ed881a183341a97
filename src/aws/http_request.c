/*-------------------------------------------------------------------------
 *
 * http_request.c
 *	  One request as a libcurl handle: its options, its callbacks, its outcome.
 *
 * A callback runs inside libcurl, which an error must not leave by longjmp:
 * so none of them calls anything of PostgreSQL's, and buffers are malloc'd.
 *
 * The body is given by a read callback, for two reasons.  Whether any of it
 * was asked for tells a request that certainly did not leave from one that may
 * have been carried out.  And libcurl, where a kept connection turns out dead,
 * sends the request again by itself, unless it has to rewind the body and
 * can't: a compare-and-swap that is silently sent twice is refused the second
 * time, and looks as if it had never been carried out.
 *
 * src/aws/http_request.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <openssl/ssl.h>

#include "aws/http_request.h"
#include "core/no_proxy.h"
#include "core/wiping.h"

#define FIRST_ANSWER_SIZE 8192

bool
http_global_init(void)
{
	static bool done = false;

	/* libcurl would write the keys of its connections there, with which anyone can read them */
	if (!done)
		(void) unsetenv("SSLKEYLOGFILE");
	if (!done)
		done = curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_malloc, wiping_free, wiping_realloc,
									wiping_strdup, wiping_calloc) == CURLE_OK;
	return done;
}

static size_t
give_body(char *buffer, size_t size, size_t count, void *arg)
{
	HttpRequest *request = arg;
	size_t length = Min(size * count, request->body_length - request->body_given);

	memcpy(buffer, request->body + request->body_given, length);
	request->body_given += length;
	return length;
}

/* See the head of this file. */
static int
refuse_rewind(void *arg, curl_off_t offset, int origin)
{
	HttpRequest *request = arg;

	return (request->body_given == 0 && offset == 0 && origin == SEEK_SET) ? CURL_SEEKFUNC_OK
																		   : CURL_SEEKFUNC_FAIL;
}

static void
wipe_answer(HttpRequest *request)
{
	if (request->answer != NULL)
	{
		explicit_bzero(request->answer, request->answer_size);
		free(request->answer);
	}
	request->answer = NULL;
	request->answer_length = 0;
	request->answer_size = 0;
}

static size_t
take_answer(char *data, size_t size, size_t count, void *arg)
{
	HttpRequest *request = arg;
	size_t length = size * count;
	size_t needed = request->answer_length + length;

	if (needed > (request->max_answer > 0 ? request->max_answer : HTTP_MAX_ANSWER))
	{
		request->too_large = true;
		return 0;
	}
	if (needed > request->answer_size)
	{
		size_t new_size = Max(request->answer_size, FIRST_ANSWER_SIZE);
		size_t old_length = request->answer_length;
		char *grown;

		while (new_size < needed)
			new_size *= 2;
		grown = malloc(new_size);
		if (grown == NULL)
			return 0;
		if (old_length > 0)
			memcpy(grown, request->answer, old_length);
		wipe_answer(request);
		request->answer = grown;
		request->answer_length = old_length;
		request->answer_size = new_size;
	}
	memcpy(request->answer + request->answer_length, data, length);
	request->answer_length = needed;
	return length;
}

/* Where line is the header of that name, its value, blanks at both ends removed. */
static bool
header_value(const char *line, size_t length, const char *name, const char **value, size_t *value_length)
{
	size_t n = strlen(name);

	if (length <= n || line[n] != ':' || pg_strncasecmp(line, name, n) != 0)
		return false;
	for (n++; n < length && (line[n] == ' ' || line[n] == '\t');)
		n++;
	while (length > n && (unsigned char) line[length - 1] <= ' ')
		length--;
	*value = line + n;
	*value_length = length - n;
	return true;
}

static void
copy_text(char *dst, size_t size, const char *src, size_t length)
{
	length = Min(length, size - 1);
	memcpy(dst, src, length);
	dst[length] = '\0';
}

static size_t
take_header(char *line, size_t size, size_t count, void *arg)
{
	HttpRequest *request = arg;
	size_t length = size * count;
	const char *value;
	size_t value_length;
	char date[64];

	/* an interim answer ("100 Continue") may come before the real one */
	if (length >= 5 && memcmp(line, "HTTP/", 5) == 0)
	{
		request->date = -1;
		request->error_type[0] = '\0';
	}
	else if (header_value(line, length, "x-amzn-ErrorType", &value, &value_length))
		copy_text(request->error_type, sizeof(request->error_type), value, value_length);
	else if (header_value(line, length, "Date", &value, &value_length))
	{
		copy_text(date, sizeof(date), value, value_length);
		request->date = curl_getdate(date, NULL);
	}
	return length;
}

/*
 * A socket of a plain http connection: whatever the host's name leads to, it
 * must be loopback, or the metadata service that was meant.
 */
static curl_socket_t
open_local_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	const HttpRequest *request = arg;
	char text[INET6_ADDRSTRLEN];
	const void *bytes;

	(void) purpose;
	if (address->family == AF_INET)
		bytes = &((struct sockaddr_in *) &address->addr)->sin_addr;
	else if (address->family == AF_INET6)
		bytes = &((struct sockaddr_in6 *) &address->addr)->sin6_addr;
	else
		return CURL_SOCKET_BAD;
	if (inet_ntop(address->family, bytes, text, sizeof(text)) == NULL ||
		(!aws_host_is_loopback(text) && !metadata_address(request->metadata, text)))
		return CURL_SOCKET_BAD;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

#ifdef SSL_OP_CLEANSE_PLAINTEXT

/* OpenSSL keeps the last record that it deciphered, unless it is told to wipe it. */
static CURLcode
wipe_plaintext(CURL *easy, void *ssl_context, void *arg)
{
	(void) easy;
	(void) arg;
	SSL_CTX_set_options((SSL_CTX *) ssl_context, SSL_OP_CLEANSE_PLAINTEXT);
	return CURLE_OK;
}

/* Does libcurl use OpenSSL, and not another library of which it has a context? */
static bool
uses_openssl(void)
{
	const char *library = curl_version_info(CURLVERSION_NOW)->ssl_version;

	return library != NULL && strncmp(library, "OpenSSL/", 8) == 0;
}

#endif

/* Append "name: value" ("name:" removes libcurl's own); false where memory is short. */
static bool
append_header(HttpRequest *request, const char *name, const char *value)
{
	size_t size = strlen(name) + strlen(value) + 3;
	char *line = malloc(size);
	struct curl_slist *longer;

	if (line == NULL)
		return false;
	snprintf(line, size, "%s:%s%s", name, value[0] != '\0' ? " " : "", value);
	longer = curl_slist_append(request->header_list, line);
	/* it may be the session token */
	explicit_bzero(line, size);
	free(line);
	if (longer == NULL)
		return false;
	request->header_list = longer;
	return true;
}

static bool
make_header_list(HttpRequest *request)
{
	for (size_t i = 0; i < request->nheaders; i++)
	{
		if (!append_header(request, request->headers[i].name, request->headers[i].value))
			return false;
	}
	/* libcurl's would say that it is a form */
	if (request->method == HTTP_PUT && !append_header(request, "Content-Type", ""))
		return false;
	/* waiting for "100 Continue" would cost a round trip */
	return append_header(request, "Expect", "");
}

const AwsProxy *
http_proxy_for(const HttpWay *way, const AwsEndpoint *endpoint, MetadataService metadata)
{
	if (way->proxy == NULL || metadata != METADATA_NONE || aws_host_is_loopback(endpoint->host) ||
		no_proxy_matches(way->no_proxy, endpoint->host, endpoint->port))
		return NULL;
	return way->proxy;
}

/* Without a proxy libcurl must be told so, or it looks into the environment. */
static bool
set_proxy(CURL *easy, const AwsProxy *proxy, const char *ca_file)
{
	bool ok;

	ok = curl_easy_setopt(easy, CURLOPT_PROXY, proxy != NULL ? proxy->endpoint.url : "") == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_NOPROXY, "") == CURLE_OK;
	if (!ok || proxy == NULL)
		return ok;
	/* libcurl takes a proxy's URL without a port for one of port 1080 */
	ok = curl_easy_setopt(easy, CURLOPT_PROXYPORT, (long) proxy->endpoint.port) == CURLE_OK &&
		 /* our headers, a session token among them, are for AWS alone */
		 curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYPEER, 1L) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYHOST, 2L) == CURLE_OK;
	if (ok && (proxy->user[0] != '\0' || proxy->password[0] != '\0'))
		ok = curl_easy_setopt(easy, CURLOPT_PROXYUSERNAME, proxy->user) == CURLE_OK &&
			 curl_easy_setopt(easy, CURLOPT_PROXYPASSWORD, proxy->password) == CURLE_OK;
	if (ok && proxy->endpoint.https && ca_file != NULL)
		ok = curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, ca_file) == CURLE_OK &&
			 curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL) == CURLE_OK;
	return ok;
}

/* Who may be talked to, and how. */
static bool
set_trust_options(CURL *easy, const HttpRequest *request, const char *ca_file)
{
	bool https = request->endpoint->https;
	bool ok;

#if LIBCURL_VERSION_NUM >= 0x075500
	ok = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, https ? "https" : "http") == CURLE_OK;
#else
	ok = curl_easy_setopt(easy, CURLOPT_PROTOCOLS, https ? CURLPROTO_HTTPS : CURLPROTO_HTTP) == CURLE_OK;
#endif
	ok = ok && curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
#ifdef SSL_OP_CLEANSE_PLAINTEXT
	if (ok && uses_openssl())
		ok = curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, wipe_plaintext) == CURLE_OK;
#endif
	if (ok && ca_file != NULL)
		ok = curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file) == CURLE_OK &&
			 curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
	ok = ok && set_proxy(easy, request->proxy, ca_file);
	if (ok && !https)
		ok = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_local_socket) == CURLE_OK &&
			 curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, (void *) request) == CURLE_OK;
	return ok;
}

static bool
set_url(CURL *easy, const HttpRequest *request)
{
	const char *target = request->target != NULL ? request->target : "/";
	size_t size = strlen(request->endpoint->url) + strlen(target);
	char *url = malloc(size);
	bool ok;

	if (url == NULL)
		return false;
	/* both have the slash */
	snprintf(url, size, "%s%s", request->endpoint->url, target + 1);
	ok = curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK;
	free(url);
	return ok;
}

static bool
set_method(CURL *easy, HttpRequest *request)
{
	if (request->method == HTTP_GET)
		return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
	return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
		   (request->method != HTTP_PUT ||
			curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "PUT") == CURLE_OK) &&
		   curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body_length) == CURLE_OK;
}

static bool
set_options(CURL *easy, HttpRequest *request, const char *ca_file)
{
	bool ok;

	ok = set_trust_options(easy, request, ca_file) && set_url(easy, request) && set_method(easy, request) &&
		 curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_PRIVATE, (void *) request) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->problem) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_USERAGENT, "rotate_ext") == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, request->connect_timeout) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, request->timeout) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_HTTPHEADER, (struct curl_slist *) request->header_list) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_READDATA, (void *) request) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, refuse_rewind) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_SEEKDATA, (void *) request) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_WRITEDATA, (void *) request) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_HEADERDATA, (void *) request) == CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x074000
	ok = ok && curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L) == CURLE_OK;
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
	/* giving up must not wait for a name server that does not answer */
	ok = ok && curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK;
#endif
	return ok;
}

bool
http_request_prepare(HttpRequest *request, const HttpWay *way)
{
	StaticAssertStmt(sizeof(request->problem) >= CURL_ERROR_SIZE, "libcurl's error text must fit");

	request->date = -1;
	request->proxy = http_proxy_for(way, request->endpoint, request->metadata);
	request->easy = curl_easy_init();
	if (request->easy != NULL && make_header_list(request) &&
		set_options(request->easy, request, way->ca_file))
		return true;
	http_request_release(request);
	return false;
}

static HttpOutcome
outcome_of(CURLcode result)
{
	switch (result)
	{
		case CURLE_OK:
			return HTTP_ANSWERED;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_RESOLVE_PROXY:
		case CURLE_COULDNT_CONNECT:
		case CURLE_SSL_CONNECT_ERROR:
			return HTTP_UNREACHABLE;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
			return HTTP_UNTRUSTED;
		case CURLE_OPERATION_TIMEDOUT:
			return HTTP_TIMED_OUT;
		case CURLE_UNSUPPORTED_PROTOCOL:
		case CURLE_WEIRD_SERVER_REPLY:
			return HTTP_BAD_ANSWER;
		default:
			return HTTP_CUT_OFF;
	}
}

/*
 * Libcurl's own words, but through a proxy: then they may quote its URL, which
 * they get from us without a login, or what it has sent, and are kept only where
 * they are about a certificate.
 */
static const char *
words_of_libcurl(const HttpRequest *request, CURLcode result)
{
	/* refuse_rewind() is no news to a person */
	if (result == CURLE_SEND_FAIL_REWIND)
		return "Empty reply from server";
	if (request->problem[0] != '\0' &&
		(request->proxy == NULL || result == CURLE_PEER_FAILED_VERIFICATION ||
		 result == CURLE_SSL_CONNECT_ERROR || result == CURLE_SSL_CACERT_BADFILE))
		return request->problem;
	return curl_easy_strerror(result);
}

/* What the proxy answered to CONNECT, where it was not a success; else 0. */
static long
refused_by_proxy(const HttpRequest *request)
{
	long status = 0;

	if (request->proxy != NULL && !request->sent)
		curl_easy_getinfo(request->easy, CURLINFO_HTTP_CONNECTCODE, &status);
	return status / 100 == 2 ? 0 : status;
}

/*
 * Say what happened, in libcurl's words but where they hold numbers that are
 * never the same twice.
 */
static void
describe_problem(HttpRequest *request, CURLcode result)
{
	char *problem = request->problem;
	size_t size = sizeof(request->problem);
	char words[sizeof(request->problem)];
	const char *way = request->proxy != NULL ? " through the proxy" : "";
	long os_errno = 0;
	long refused = refused_by_proxy(request);

	curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &os_errno);
	if (request->too_large)
		snprintf(problem, size, "the answer is larger than %zu bytes",
				 request->max_answer > 0 ? request->max_answer : HTTP_MAX_ANSWER);
	else if (request->outcome == HTTP_TIMED_OUT && request->sent)
		snprintf(problem, size, "no answer within %ld ms", request->timeout);
	else if (request->outcome == HTTP_TIMED_OUT)
		snprintf(problem, size, "no connection%s within %ld ms", way,
				 Min(request->connect_timeout, request->timeout));
	else if (refused != 0)
		snprintf(problem, size, "the proxy refused to connect: HTTP %ld", refused);
	else if (result == CURLE_COULDNT_CONNECT && os_errno != 0)
		snprintf(problem, size, "could not connect%s: %s", request->proxy != NULL ? " to the proxy" : "",
				 strerror((int) os_errno));
	else
	{
		strlcpy(words, words_of_libcurl(request, result), sizeof(words));
		snprintf(problem, size, "%s%s", words, request->proxy != NULL ? " (through the proxy)" : "");
	}
}

void
http_request_finish(HttpRequest *request, CURLcode result)
{
	long status = 0;
	long request_size = 0;

	if (request->body_length == 0)
		curl_easy_getinfo(request->easy, CURLINFO_REQUEST_SIZE, &request_size);
	request->sent = request->body_given > 0 || request_size > 0;
	request->outcome = request->too_large ? HTTP_BAD_ANSWER : outcome_of(result);
	if (request->outcome == HTTP_ANSWERED)
	{
		curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
		request->status = (int) status;
		return;
	}
	if (refused_by_proxy(request) != 0)
		request->outcome = HTTP_UNREACHABLE;
	wipe_answer(request);
	describe_problem(request, result);
}

void
http_request_release(HttpRequest *request)
{
	if (request->easy != NULL)
		curl_easy_cleanup(request->easy);
	curl_slist_free_all(request->header_list);
	request->easy = NULL;
	request->header_list = NULL;
}

void
http_request_free(HttpRequest *request)
{
	wipe_answer(request);
}
