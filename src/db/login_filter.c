/*-------------------------------------------------------------------------
 *
 * login_filter.c
 *	  Between libpq and a server: lets only some authentication requests
 *	  through.
 *
 * libpq's socket is replaced, under the same number, by one end of a socket
 * pair; the other end and the server's connection are ours.  Until the server
 * has sent AuthenticationOk, its messages are taken apart (a type byte, a
 * length word, in an authentication request a code), and one that asks for the
 * password in another way than agreed ends the connection.  After that all is
 * handed on as it is: libpq answers no authentication request then.
 *
 * Nothing here waits.  The messages of a login are far smaller than a socket's
 * buffer; where a peer makes them not fit, the connection is given up.
 *
 * src/db/login_filter.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libpq/pqcomm.h"
#include "port/pg_bswap.h"

#include "db/login_filter.h"

/* A type byte, a length word, an authentication request's code. */
#define HEADER_LENGTH 5
#define REQUEST_LENGTH 9

struct LoginFilter
{
	int server; /* the connection */
	int pair;   /* our end of the socket pair */
	LoginMethod method;
	bool authenticated;
	const char *refused;
	size_t remaining; /* of the message that is being handed on */
	size_t used;      /* in buffer: the start of a message that can't be judged yet */
	char buffer[8192];
};

LoginFilter *
login_filter_install(int socket, LoginMethod method)
{
	LoginFilter *filter = palloc0(sizeof(LoginFilter));
	int pair[2] = {-1, -1};

	filter->method = method;
	filter->server = fcntl(socket, F_DUPFD_CLOEXEC, 0);
	if (filter->server >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pg_set_noblock(pair[0]) &&
		pg_set_noblock(pair[1]) && fcntl(pair[0], F_SETFD, FD_CLOEXEC) == 0 &&
		dup2(pair[1], socket) == socket && fcntl(socket, F_SETFD, FD_CLOEXEC) == 0)
	{
		filter->pair = pair[0];
		close(pair[1]);
		return filter;
	}

	for (int i = 0; i < 2; i++)
	{
		if (pair[i] >= 0)
			close(pair[i]);
	}
	if (filter->server >= 0)
		close(filter->server);
	pfree(filter);
	return NULL;
}

int
login_filter_socket(const LoginFilter *filter)
{
	return filter->server;
}

const char *
login_filter_refused(const LoginFilter *filter)
{
	return filter->refused;
}

/* libpq finds its connection closed. */
static void
cut(LoginFilter *filter)
{
	shutdown(filter->pair, SHUT_RDWR);
	filter->used = 0;
}

static bool
send_all(int socket, const char *data, size_t length)
{
	while (length > 0)
	{
		ssize_t sent = send(socket, data, length, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		data += sent;
		length -= sent;
	}
	return true;
}

void
login_filter_to_server(LoginFilter *filter)
{
	char data[8192];
	ssize_t length;

	while ((length = recv(filter->pair, data, sizeof(data), 0)) > 0 || (length < 0 && errno == EINTR))
	{
		if (length > 0 && !send_all(filter->server, data, length))
		{
			cut(filter);
			break;
		}
	}
	explicit_bzero(data, sizeof(data));
}

/* What a request asks for, where the method does not allow that; else NULL. */
static const char *
judge_request(LoginMethod method, uint32 code)
{
	switch (code)
	{
		case AUTH_REQ_OK:
			return NULL;
		case AUTH_REQ_SASL:
		case AUTH_REQ_SASL_CONT:
		case AUTH_REQ_SASL_FIN:
			return method == LOGIN_METHOD_SCRAM ? NULL : "the server asked for SCRAM";
		case AUTH_REQ_MD5:
			return method == LOGIN_METHOD_MD5 ? NULL : "the server asked for an md5 hash of the password";
		case AUTH_REQ_PASSWORD:
			return "the server asked for the password in clear";
		default:
			return "the server asked for another kind of authentication";
	}
}

static uint32
read_uint32(const char *data)
{
	uint32 value;

	memcpy(&value, data, sizeof(value));
	return pg_ntoh32(value);
}

/* Judge the message at data; false: more of it is needed.  Sets remaining to its length, or refused. */
static bool
judge_message(LoginFilter *filter, const char *data, size_t length)
{
	if (length < HEADER_LENGTH || (data[0] == 'R' && length < REQUEST_LENGTH))
		return false;

	filter->remaining = 1 + (size_t) read_uint32(data + 1);
	if (data[0] == 'R')
	{
		uint32 code = read_uint32(data + HEADER_LENGTH);

		filter->refused = judge_request(filter->method, code);
		filter->authenticated = code == AUTH_REQ_OK;
		/* libpq would read a shorter one as it stands, and go on after it */
		if (filter->remaining < REQUEST_LENGTH)
			filter->refused = "the server sent a malformed authentication request";
	}
	return true;
}

void
login_filter_to_libpq(LoginFilter *filter)
{
	ssize_t length =
		recv(filter->server, filter->buffer + filter->used, sizeof(filter->buffer) - filter->used, 0);
	size_t passed = 0;

	if (length < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (length <= 0)
	{
		cut(filter);
		return;
	}

	filter->used += length;
	while (passed < filter->used && filter->refused == NULL)
	{
		size_t available = filter->used - passed;

		if (filter->authenticated)
			filter->remaining = available;
		else if (filter->remaining == 0 && !judge_message(filter, filter->buffer + passed, available))
			break;
		available = Min(available, filter->remaining);
		passed += available;
		filter->remaining -= available;
	}

	if (filter->refused != NULL || !send_all(filter->pair, filter->buffer, passed))
	{
		cut(filter);
		return;
	}
	filter->used -= passed;
	memmove(filter->buffer, filter->buffer + passed, filter->used);
}

void
login_filter_remove(LoginFilter *filter)
{
	if (filter == NULL)
		return;
	login_filter_to_server(filter);
	close(filter->pair);
	close(filter->server);
	explicit_bzero(filter, sizeof(*filter));
	pfree(filter);
}
