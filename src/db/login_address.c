/*-------------------------------------------------------------------------
 *
 * login_address.c
 *	  Where a host leads, and whether that is this server's own listener.
 *
 * "This machine's" alone would not do: another process can listen on the same
 * machine, at another port or at an address that listen_addresses leaves out.
 *
 * src/db/login_address.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "postmaster/postmaster.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "db/login_address.h"

/* An IP address without its port; a mapped IPv4 address is IPv4. */
typedef struct IpAddress
{
	sa_family_t family;
	struct in_addr v4;
	struct in6_addr v6;
	uint32 scope; /* of a link-local IPv6 address */
} IpAddress;

static bool
to_ip(const struct sockaddr *sockaddr, IpAddress *ip)
{
	memset(ip, 0, sizeof(*ip));
	if (sockaddr->sa_family == AF_INET)
	{
		ip->family = AF_INET;
		ip->v4 = ((const struct sockaddr_in *) sockaddr)->sin_addr;
		return true;
	}
	if (sockaddr->sa_family == AF_INET6)
	{
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) sockaddr;

		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		{
			ip->family = AF_INET;
			memcpy(&ip->v4, &in6->sin6_addr.s6_addr[12], sizeof(ip->v4));
			return true;
		}
		ip->family = AF_INET6;
		ip->v6 = in6->sin6_addr;
		ip->scope = IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) ? in6->sin6_scope_id : 0;
		return true;
	}
	return false;
}

static bool
same_ip(const IpAddress *a, const IpAddress *b)
{
	if (a->family != b->family)
		return false;
	if (a->family == AF_INET)
		return a->v4.s_addr == b->v4.s_addr;
	return memcmp(&a->v6, &b->v6, sizeof(a->v6)) == 0 && a->scope == b->scope;
}

static bool
is_wildcard(const IpAddress *ip)
{
	if (ip->family == AF_INET)
		return ip->v4.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&ip->v6);
}

/* Loopback, or an address of one of the interfaces. */
static bool
is_own_machine(const IpAddress *ip)
{
	struct ifaddrs *interfaces;
	bool found = false;

	if (ip->family == AF_INET && (ntohl(ip->v4.s_addr) >> 24) == IN_LOOPBACKNET)
		return true;
	if (ip->family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&ip->v6))
		return true;

	if (getifaddrs(&interfaces) != 0)
		return false;
	for (struct ifaddrs *interface = interfaces; interface != NULL && !found; interface = interface->ifa_next)
	{
		IpAddress own;

		found = interface->ifa_addr != NULL && to_ip(interface->ifa_addr, &own) && same_ip(&own, ip);
	}
	freeifaddrs(interfaces);
	return found;
}

/* Does one entry of listen_addresses cover the address? */
static bool
entry_covers(const char *entry, const IpAddress *ip)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *list;
	bool covers = false;

	if (strcmp(entry, "*") == 0)
		return true;
	if (getaddrinfo(entry, NULL, &hints, &list) != 0)
		return false;
	for (struct addrinfo *item = list; item != NULL && !covers; item = item->ai_next)
	{
		IpAddress listening;

		covers = to_ip(item->ai_addr, &listening) &&
				 (same_ip(&listening, ip) || (is_wildcard(&listening) && listening.family == ip->family));
	}
	freeaddrinfo(list);
	return covers;
}

static bool
postmaster_listens(const IpAddress *ip)
{
	char *copy = pstrdup(ListenAddresses);
	List *entries = NIL;
	ListCell *cell;
	bool covered = false;

	if (SplitGUCList(copy, ',', &entries))
	{
		foreach (cell, entries)
			covered = covered || entry_covers(lfirst(cell), ip);
	}
	list_free(entries);
	pfree(copy);
	return covered;
}

/* Is the directory one of unix_socket_directories? */
static bool
is_own_socket(const char *directory, int port)
{
	char *copy;
	char *wanted;
	List *entries = NIL;
	ListCell *cell;
	bool found = false;

	if (port != PostPortNumber)
		return false;

	wanted = pstrdup(directory);
	canonicalize_path(wanted);
	copy = pstrdup(Unix_socket_directories);
	if (SplitDirectoriesString(copy, ',', &entries))
	{
		foreach (cell, entries)
			found = found || strcmp(lfirst(cell), wanted) == 0;
	}
	list_free_deep(entries);
	pfree(copy);
	pfree(wanted);
	return found;
}

/*
 * A name such as localhost often has an address of this machine that
 * listen_addresses leaves out, beside one that it covers.  Applications find
 * nobody there and go on to the next; so do we, without trying: whoever did
 * answer there would be a stranger.
 */
static int
leave_out_unheard(LoginAddress *addresses, int count)
{
	bool heard = false;
	int kept = 0;

	for (int i = 0; i < count; i++)
		heard = heard || addresses[i].own_listener;
	for (int i = 0; i < count; i++)
	{
		if (!heard || !addresses[i].own_machine || addresses[i].own_listener)
			addresses[kept++] = addresses[i];
	}
	return kept;
}

static int
resolve_ip(const char *host, int port, LoginAddress *addresses, const char **why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	int count = 0;
	int error = getaddrinfo(host, NULL, &hints, &list);

	if (error != 0)
	{
		*why = gai_strerror(error);
		return 0;
	}
	for (struct addrinfo *item = list; item != NULL && count < LOGIN_MAX_ADDRESSES; item = item->ai_next)
	{
		LoginAddress *address = &addresses[count];
		IpAddress ip;

		memset(address, 0, sizeof(*address));
		if (!to_ip(item->ai_addr, &ip) || getnameinfo(item->ai_addr, item->ai_addrlen, address->text,
													  sizeof(address->text), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		address->own_machine = is_own_machine(&ip);
		address->own_listener = address->own_machine && port == PostPortNumber && postmaster_listens(&ip);
		count++;
	}
	freeaddrinfo(list);
	if (count == 0)
		*why = "the name has no IP address";
	return leave_out_unheard(addresses, count);
}

int
login_resolve(const char *host, int port, LoginAddress *addresses, const char **why)
{
	*why = NULL;

	/* libpq would take it for several hosts */
	if (strchr(host, ',') != NULL)
	{
		*why = "a host name can't hold a comma";
		return 0;
	}
	if (host[0] != '/' && host[0] != '@')
		return resolve_ip(host, port, addresses, why);

	memset(&addresses[0], 0, sizeof(addresses[0]));
	if (strlcpy(addresses[0].text, host, sizeof(addresses[0].text)) >= sizeof(addresses[0].text))
	{
		*why = "the path is too long";
		return 0;
	}
	addresses[0].is_socket = true;
	addresses[0].own_listener = is_own_socket(host, port);
	return 1;
}
