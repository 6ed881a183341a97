/*-------------------------------------------------------------------------
 *
 * no_proxy.c
 *	  Which hosts a proxy is not asked for: the variable NO_PROXY.
 *
 * src/core/no_proxy.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/no_proxy.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_ENTRY 256

typedef struct Address
{
	int length; /* bytes: 4 or 16; 0: none */
	unsigned char bytes[16];
} Address;

static Address
parse_address(const char *text)
{
	Address address = {0};

	if (inet_pton(AF_INET, text, address.bytes) == 1)
		address.length = 4;
	else if (inet_pton(AF_INET6, text, address.bytes) == 1)
		address.length = 16;
	return address;
}

static bool
is_in_network(const Address *host, const char *network, const char *bits_text)
{
	Address address = parse_address(network);
	size_t digits = strspn(bits_text, "0123456789");
	int bits = atoi(bits_text);
	int whole;
	unsigned char mask;

	if (digits == 0 || digits > 3 || bits_text[digits] != '\0' || bits > address.length * 8 ||
		address.length == 0 || address.length != host->length)
		return false;
	whole = bits / 8;
	mask = (unsigned char) (0xff00 >> (bits % 8));
	return memcmp(address.bytes, host->bytes, (size_t) whole) == 0 &&
		   (bits % 8 == 0 || ((address.bytes[whole] ^ host->bytes[whole]) & mask) == 0);
}

/* Cut ":port" off; false: it is another port than ours. */
static bool
cut_port(char *entry, int port)
{
	char *colon = strrchr(entry, ':');
	char *bracket = strchr(entry, ']');

	/* the colons of an IPv6 address without brackets are its own */
	if (colon == NULL || (bracket == NULL && strchr(entry, ':') != colon) ||
		(bracket != NULL && colon < bracket))
		return true;
	*colon = '\0';
	return atoi(colon + 1) == port;
}

static bool
is_below(const char *host, const char *domain)
{
	size_t host_length = strlen(host);
	size_t length = strlen(domain);

	return length > 0 && host_length >= length && strcasecmp(host + host_length - length, domain) == 0 &&
		   (host_length == length || host[host_length - length - 1] == '.');
}

static bool
entry_matches(char *entry, const char *host, int port)
{
	Address address = parse_address(host);
	Address other;
	char *slash;

	if (strcmp(entry, "*") == 0)
		return true;
	slash = strchr(entry, '/');
	if (slash != NULL)
	{
		*slash = '\0';
		return is_in_network(&address, entry, slash + 1);
	}
	if (!cut_port(entry, port))
		return false;
	if (entry[0] == '[' && strchr(entry, ']') != NULL)
	{
		*strchr(entry, ']') = '\0';
		entry++;
	}
	other = parse_address(entry);
	if (address.length > 0 || other.length > 0)
		return address.length == other.length &&
			   memcmp(address.bytes, other.bytes, (size_t) address.length) == 0;
	entry += strncmp(entry, "*.", 2) == 0 ? 1 : 0;
	entry += entry[0] == '.' ? 1 : 0;
	return is_below(host, entry);
}

bool
no_proxy_matches(const char *list, const char *host, int port)
{
	static const char separators[] = ", \t";

	for (list += strspn(list, separators); *list != '\0'; list += strspn(list, separators))
	{
		size_t length = strcspn(list, separators);
		char entry[MAX_ENTRY];

		/* no host has a longer name */
		if (length < sizeof(entry))
		{
			memcpy(entry, list, length);
			entry[length] = '\0';
			if (entry_matches(entry, host, port))
				return true;
		}
		list += length;
	}
	return false;
}
