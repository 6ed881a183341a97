/*-------------------------------------------------------------------------
 *
 * shared_files.c
 *	  AWS's shared credentials and config files, those of the operating system
 *	  user that runs the server.
 *
 * src/aws/shared_files.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include "aws/credentials.h"
#include "aws/shared_files.h"
#include "guc.h"
#include "utils/memutils.h"

#define MAX_FILE_SIZE (1024 * 1024)
#define NFILES 2

/* By kind, and in the order in which they are asked. */
static const struct
{
	const char *variable;
	const char *default_path;
} places[NFILES] = {
	[PROFILE_CREDENTIALS_FILE] = {"AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"},
	[PROFILE_CONFIG_FILE] = {"AWS_CONFIG_FILE", "~/.aws/config"},
};

struct SharedFiles
{
	ProfileFile *files[NFILES]; /* malloc'd; NULL: there is no such file */
	char *paths[NFILES];
	MemoryContextCallback wipe;
};

const char *
shared_files_profile(const char **named_by)
{
	const char *variable = aws_getenv("AWS_PROFILE");

	*named_by = NULL;
	if (rotate_profile[0] != '\0')
	{
		*named_by = "rotate_ext.profile";
		return rotate_profile;
	}
	if (variable != NULL)
		*named_by = "AWS_PROFILE";
	return variable != NULL ? variable : "default";
}

/*
 * "~" is the home directory in the password database, not HOME: that is often
 * still the one of whoever started the server.
 */
static char *
expand_home(const char *path)
{
	struct passwd *entry;
	const char *home;

	if (path[0] != '~' || (path[1] != '/' && path[1] != '\0'))
		return pstrdup(path);
	entry = getpwuid(geteuid());
	home = entry != NULL ? entry->pw_dir : aws_getenv("HOME");
	return psprintf("%s%s", home != NULL ? home : "", path + 1);
}

/*
 * The file's bytes, malloc'd; NULL with errno.  Nothing here raises an error,
 * so the descriptor can't leak.
 */
static char *
read_bytes(const char *path, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *bytes = NULL;
	int saved_errno = 0;

	*length = 0;
	if (fd < 0)
		return NULL;
	bytes = malloc(MAX_FILE_SIZE + 1);
	while (bytes != NULL && *length <= MAX_FILE_SIZE)
	{
		ssize_t n = read(fd, bytes + *length, MAX_FILE_SIZE + 1 - *length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			saved_errno = errno;
		if (n <= 0)
			break;
		*length += (size_t) n;
	}
	if (bytes == NULL)
		saved_errno = ENOMEM;
	else if (*length > MAX_FILE_SIZE)
		saved_errno = EFBIG;
	if (saved_errno != 0 && bytes != NULL)
	{
		explicit_bzero(bytes, *length);
		free(bytes);
		bytes = NULL;
	}
	close(fd);
	errno = saved_errno;
	return bytes;
}

/* NULL: there is no such file. */
static ProfileFile *
open_file(const char *path)
{
	ProfileFileError error;
	ProfileFile *file;
	size_t length;
	char *bytes = read_bytes(path, &length);

	if (bytes == NULL)
	{
		if (errno == ENOENT || errno == ENOTDIR)
			return NULL;
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not read file \"%s\": %m", path)));
	}
	file = profile_file_parse(bytes, length, &error);
	explicit_bzero(bytes, length);
	free(bytes);
	if (file == NULL && error.line > 0)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not read file \"%s\"", path),
						errdetail("Line %d: %s.", error.line, error.problem)));
	if (file == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return file;
}

/* As a memory context's callback: raises nothing. */
static void
wipe_files(void *arg)
{
	SharedFiles *files = arg;

	for (int i = 0; i < NFILES; i++)
	{
		profile_file_free(files->files[i]);
		files->files[i] = NULL;
	}
}

SharedFiles *
shared_files_open(void)
{
	SharedFiles *files;
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "AWS shared files", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);

	files = palloc0(sizeof(SharedFiles));
	files->wipe.func = wipe_files;
	files->wipe.arg = files;
	MemoryContextRegisterResetCallback(context, &files->wipe);
	for (int i = 0; i < NFILES; i++)
	{
		const char *path = aws_getenv(places[i].variable);

		files->paths[i] = expand_home(path != NULL ? path : places[i].default_path);
		files->files[i] = open_file(files->paths[i]);
	}
	MemoryContextSwitchTo(caller);
	return files;
}

void
shared_files_close(SharedFiles *files)
{
	MemoryContextDelete(GetMemoryChunkContext(files));
}

bool
shared_files_have(const SharedFiles *files, const char *profile)
{
	for (int i = 0; i < NFILES; i++)
	{
		if (files->files[i] != NULL && profile_file_has(files->files[i], (ProfileFileKind) i, profile))
			return true;
	}
	return false;
}

const char *
shared_files_get_of(const SharedFiles *files, ProfileFileKind kind, const char *profile, const char *key)
{
	const char *value =
		files->files[kind] != NULL ? profile_file_get(files->files[kind], kind, profile, key) : NULL;

	return value != NULL && value[0] != '\0' ? value : NULL;
}

const char *
shared_files_get(const SharedFiles *files, const char *profile, const char *key)
{
	return profile_files_get(files->files[PROFILE_CREDENTIALS_FILE], files->files[PROFILE_CONFIG_FILE],
							 profile, key);
}

const char *
shared_files_path(const SharedFiles *files, ProfileFileKind kind)
{
	return files->paths[kind];
}

char *
aws_profile_setting(const char *key)
{
	const char *named_by;
	const char *profile = shared_files_profile(&named_by);
	SharedFiles *files = shared_files_open();
	const char *value = shared_files_get(files, profile, key);
	char *copy = value != NULL ? pstrdup(value) : NULL;

	shared_files_close(files);
	return copy;
}

char *
aws_profile_service_setting(const char *services, const char *service, const char *key)
{
	SharedFiles *files = shared_files_open();
	const ProfileFile *config = files->files[PROFILE_CONFIG_FILE];
	bool found = config != NULL && profile_file_has_services(config, services);
	size_t length = 0;
	const char *value = found ? profile_file_get_service(config, services, service, key, &length) : NULL;
	char *copy = value != NULL && length > 0 ? pnstrdup(value, length) : NULL;

	shared_files_close(files);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("could not find section \"[services %s]\" in the shared AWS config file", services),
				 errdetail("The AWS profile in use names it.")));
	return copy;
}
