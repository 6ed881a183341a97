/*-------------------------------------------------------------------------
 *
 * http.c
 *	  Drives libcurl's requests from a WaitEventSet.
 *
 * libcurl tells by callbacks which sockets it wants watched and when it wants
 * to be called at the latest; we wait for these and for the latch together.
 * (Its own curl_multi_poll() knows no latch, and old versions lack it.)  The
 * WaitEventSet is made anew for each wait: libcurl closes sockets as it likes,
 * a set can't forget one, and a request needs only a handful of waits.
 *
 * libcurl resolves names in a thread of its own.  A thread inherits the signal
 * mask, and PostgreSQL's signal handlers must run in the main thread only: so
 * all signals are blocked while libcurl runs.
 *
 * src/aws/http.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <time.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "aws/http_request.h"
#include "compat.h"

#define MAX_CONNECTIONS 8
/* a connection may try two addresses at once, and its name's thread has a socket pair */
#define MAX_SOCKETS (MAX_CONNECTIONS * 4)

typedef struct WatchedSocket
{
	curl_socket_t fd;
	uint32 events;
} WatchedSocket;

struct HttpClient
{
	CURLM *multi;
	HttpWay way;
	HttpRequest *active; /* list */
	int nsockets;
	WatchedSocket sockets[MAX_SOCKETS];
	bool too_many_sockets;
	int64 timer; /* http_clock_ms() when libcurl is to be called; -1: no need */
	MemoryContextCallback close;
};

int64
http_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
block_signals(sigset_t *saved)
{
	sigprocmask(SIG_BLOCK, &BlockSig, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	sigprocmask(SIG_SETMASK, saved, NULL);
}

/* libcurl's callback: watch this socket from now on, or no longer. */
static int
watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	HttpClient *client = arg;
	int i;

	(void) easy;
	(void) socket_arg;
	for (i = 0; i < client->nsockets && client->sockets[i].fd != fd;)
		i++;
	if (what == CURL_POLL_REMOVE)
	{
		if (i < client->nsockets)
			client->sockets[i] = client->sockets[--client->nsockets];
		return 0;
	}
	if (i == MAX_SOCKETS)
	{
		client->too_many_sockets = true;
		return 0;
	}
	if (i == client->nsockets)
		client->nsockets++;
	client->sockets[i].fd = fd;
	client->sockets[i].events =
		((what & CURL_POLL_IN) ? WL_SOCKET_READABLE : 0) | ((what & CURL_POLL_OUT) ? WL_SOCKET_WRITEABLE : 0);
	return 0;
}

/* libcurl's callback: call me in so many milliseconds; -1: never mind. */
static int
set_timer(CURLM *multi, long timeout, void *arg)
{
	HttpClient *client = arg;

	(void) multi;
	client->timer = timeout < 0 ? -1 : http_clock_ms() + timeout;
	return 0;
}

/* As a memory context's callback: raises nothing. */
static void
close_client(void *arg)
{
	HttpClient *client = arg;

	http_abort(client);
	curl_multi_cleanup(client->multi);
	if (client->way.proxy != NULL)
		explicit_bzero(client->way.proxy, sizeof(AwsProxy));
	for (int i = 0; i < MAX_CONNECTIONS; i++)
		ReleaseExternalFD();
}

HttpClient *
http_open(const char *ca_file)
{
	HttpClient *client = palloc0(sizeof(HttpClient));
	bool ok;

	client->way.ca_file = ca_file != NULL ? pstrdup(ca_file) : NULL;
	client->timer = -1;
	client->close.func = close_client;
	client->close.arg = client;
	if (!http_global_init() || (client->multi = curl_multi_init()) == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not initialize libcurl")));

	for (int i = 0; i < MAX_CONNECTIONS; i++)
		ReserveExternalFD();
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &client->close);

	ok = curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, watch_socket) == CURLM_OK &&
		 curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, (void *) client) == CURLM_OK &&
		 curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
		 curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, (void *) client) == CURLM_OK &&
		 curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) MAX_CONNECTIONS) ==
			 CURLM_OK &&
		 curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long) MAX_CONNECTIONS) == CURLM_OK;
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not set libcurl's options")));
	return client;
}

void
http_use_proxy(HttpClient *client, const AwsProxy *proxy, const char *no_proxy)
{
	MemoryContext context = GetMemoryChunkContext(client);

	client->way.no_proxy = MemoryContextStrdup(context, no_proxy != NULL ? no_proxy : "");
	client->way.proxy = MemoryContextAlloc(context, sizeof(AwsProxy));
	*client->way.proxy = *proxy;
}

const char *
http_proxy_url(const HttpClient *client, const AwsEndpoint *endpoint)
{
	const AwsProxy *proxy = http_proxy_for(&client->way, endpoint, METADATA_NONE);

	return proxy != NULL ? proxy->endpoint.url : NULL;
}

void
http_start(HttpClient *client, HttpRequest *request)
{
	sigset_t saved;
	bool ok;

	block_signals(&saved);
	ok = http_request_prepare(request, &client->way);
	if (ok && curl_multi_add_handle(client->multi, request->easy) != CURLM_OK)
	{
		http_request_release(request);
		ok = false;
	}
	restore_signals(&saved);
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not prepare a request for libcurl")));
	request->next = client->active;
	client->active = request;
}

/* Take a request out of the multi handle and free its own; unlinks it. */
static void
drop_request(HttpClient *client, HttpRequest *request)
{
	HttpRequest **link = &client->active;

	while (*link != request)
		link = &(*link)->next;
	*link = request->next;
	request->next = NULL;
	curl_multi_remove_handle(client->multi, request->easy);
	http_request_release(request);
}

void
http_abort(HttpClient *client)
{
	sigset_t saved;

	block_signals(&saved);
	while (client->active != NULL)
		drop_request(client, client->active);
	restore_signals(&saved);
}

/* How long to wait at most: as the caller says, but not beyond libcurl's timer. */
static long
time_to_wait(const HttpClient *client, long max_wait)
{
	int64 until_timer;

	if (client->timer < 0)
		return max_wait;
	until_timer = Max(client->timer - http_clock_ms(), 0);
	return (max_wait < 0 || until_timer < max_wait) ? (long) until_timer : max_wait;
}

/* Wait for the latch and the sockets; returns how many events there are. */
static int
wait_for_events(const HttpClient *client, WaitEventSet *set, long timeout, WaitEvent *events)
{
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < client->nsockets; i++)
		AddWaitEventToSet(set, client->sockets[i].events, client->sockets[i].fd, NULL, NULL);
	return WaitEventSetWait(set, timeout, events, MAX_SOCKETS + 2, PG_WAIT_EXTENSION);
}

/* Let libcurl handle what happened. */
static void
drive(HttpClient *client, const WaitEvent *events, int nevents)
{
	sigset_t saved;
	int running;
	CURLMcode result = CURLM_OK;

	block_signals(&saved);
	for (int i = 0; i < nevents && result == CURLM_OK; i++)
	{
		int what = ((events[i].events & WL_SOCKET_READABLE) ? CURL_CSELECT_IN : 0) |
				   ((events[i].events & WL_SOCKET_WRITEABLE) ? CURL_CSELECT_OUT : 0);

		if (what != 0)
			result = curl_multi_socket_action(client->multi, events[i].fd, what, &running);
	}
	if (result == CURLM_OK && client->timer >= 0 && client->timer <= http_clock_ms())
	{
		client->timer = -1;
		result = curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	restore_signals(&saved);

	if (result != CURLM_OK || client->too_many_sockets)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not drive libcurl: %s",
							   result != CURLM_OK ? curl_multi_strerror(result) : "too many sockets")));
}

static void
collect_outcomes(HttpClient *client)
{
	sigset_t saved;
	CURLMsg *message;
	int left;

	block_signals(&saved);
	while ((message = curl_multi_info_read(client->multi, &left)) != NULL)
	{
		/* the message is gone once its handle is removed */
		CURLcode result = message->data.result;
		char *request = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
		http_request_finish((HttpRequest *) request, result);
		drop_request(client, (HttpRequest *) request);
	}
	restore_signals(&saved);
}

void
http_round(HttpClient *client, long max_wait)
{
	WaitEventSet *set = compat_create_wait_event_set(client->nsockets + 2);
	WaitEvent events[MAX_SOCKETS + 2];
	volatile int nevents = 0;

	PG_TRY();
	{
		nevents = wait_for_events(client, set, time_to_wait(client, max_wait), events);
	}
	PG_FINALLY();
	{
		FreeWaitEventSet(set);
	}
	PG_END_TRY();

	for (int i = 0; i < nevents; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
	}
	CHECK_FOR_INTERRUPTS();
	drive(client, events, nevents);
	collect_outcomes(client);
}
