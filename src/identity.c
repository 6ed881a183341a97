/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  What ties a registration to this cluster and to this machine.
 *
 * src/identity.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"

#include "core/endpoint.h"
#include "guc.h"
#include "identity.h"

#define INSTANCE_FILE_MAX 8192

/* machine-id(5) */
#define MACHINE_ID_FILE "/etc/machine-id"
#define MACHINE_ID_PREFIX "machine-id:"

char *
identity_system(void)
{
	return psprintf(UINT64_FORMAT, GetSystemIdentifier());
}

/* Hex SHA-256, palloc'd. */
static char *
hex_sha256(const uint8 *data, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	char *hex = palloc(2 * sizeof(digest) + 1);
	int i;

	if (ctx == NULL || pg_cryptohash_init(ctx) < 0 || pg_cryptohash_update(ctx, data, length) < 0 ||
		pg_cryptohash_final(ctx, digest, sizeof(digest)) < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute a SHA-256 hash")));
	pg_cryptohash_free(ctx);

	for (i = 0; i < (int) sizeof(digest); i++)
	{
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 15];
	}
	hex[2 * sizeof(digest)] = '\0';
	return hex;
}

/*
 * The content of a file, up to a limit, into the buffer; its length, or -1 with
 * errno.
 */
static ssize_t
read_small_file(const char *path, uint8 *buffer, size_t size)
{
	int fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	ssize_t length;

	if (fd < 0)
		return -1;
	length = read(fd, buffer, size);
	CloseTransientFile(fd);
	return length;
}

static bool
has_instance_file(void)
{
	return rotate_instance_file != NULL && rotate_instance_file[0] != '\0';
}

/* Hex SHA-256 of the content of rotate_ext.instance_file. */
static char *
hash_instance_file(void)
{
	char path[PATH_MAX];
	char data_directory[PATH_MAX];
	uint8 buffer[INSTANCE_FILE_MAX];
	ssize_t length;

	if (!has_instance_file())
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
						errmsg("could not use login_host: rotate_ext.instance_file is not set"),
						errdetail("With login_host a copy of this server could log in to itself; the "
								  "instance file tells them apart."),
						errhint("Create a file with random content outside the data directory, and set "
								"rotate_ext.instance_file to its path.")));

	/* where it really is, symbolic links followed, must not be what a base backup copies */
	if (realpath(rotate_instance_file, path) == NULL || realpath(DataDir, data_directory) == NULL)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
						errmsg("could not read rotate_ext.instance_file \"%s\": %m", rotate_instance_file)));
	if (!is_absolute_path(rotate_instance_file) || path_is_prefix_of_path(data_directory, path))
		ereport(
			ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("could not use rotate_ext.instance_file \"%s\"", rotate_instance_file),
			 errdetail(
				 "It must be an absolute path outside the data directory, or a copy would have it too.")));

	length = read_small_file(path, buffer, sizeof(buffer));
	if (length < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read rotate_ext.instance_file \"%s\": %m", rotate_instance_file)));
	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("could not use rotate_ext.instance_file \"%s\": it is empty", rotate_instance_file)));
	return hex_sha256(buffer, length);
}

/* The operating system's own name for this machine, hashed, since it is nobody else's business; NULL: it has none. */
static char *
hash_machine_id(void)
{
	uint8 buffer[INSTANCE_FILE_MAX];
	ssize_t length = read_small_file(MACHINE_ID_FILE, buffer, sizeof(buffer));

	return length > 0 ? psprintf(MACHINE_ID_PREFIX "%s", hex_sha256(buffer, length)) : NULL;
}

bool
identity_is_local_host(const char *host)
{
	return aws_host_is_loopback(host) || host[0] == '/';
}

char *
identity_instance(const char *host, const char *login_host)
{
	if (login_host != NULL)
		return hash_instance_file();
	if (!identity_is_local_host(host))
		return NULL;
	return has_instance_file() ? hash_instance_file() : hash_machine_id();
}

/* Is what was recorded at registration still so? */
static bool
is_same_instance(const char *recorded)
{
	const char *present;

	if (strncmp(recorded, MACHINE_ID_PREFIX, strlen(MACHINE_ID_PREFIX)) != 0)
		return strcmp(hash_instance_file(), recorded) == 0;
	present = hash_machine_id();
	return present != NULL && strcmp(present, recorded) == 0;
}

void
identity_check(const Registration *registration)
{
	char *system = identity_system();

	if (strcmp(system, registration->system_identifier) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("secret \"%s\" was registered in another cluster and is off in this one",
							   registration->secret),
						errdetail("It was registered with system identifier %s; this cluster's is %s.",
								  registration->system_identifier, system),
						errhint("If this cluster has taken over from that one (dump and restore, "
								"pg_upgrade), call rotate_enable('%s').",
								registration->secret)));

	if (registration->instance_hash != NULL && !is_same_instance(registration->instance_hash))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("secret \"%s\" was registered on another machine and is off on this one",
							   registration->secret),
						errdetail("The content of %s is not the one recorded by rotate_register().",
								  strncmp(registration->instance_hash, MACHINE_ID_PREFIX,
										  strlen(MACHINE_ID_PREFIX)) == 0
									  ? MACHINE_ID_FILE
									  : "rotate_ext.instance_file"),
						errhint("If this server has taken over from that one, call rotate_enable('%s').",
								registration->secret)));
}
