/*-------------------------------------------------------------------------
 *
 * credentials_profile.c
 *	  AWS credentials and region from the shared credentials and config files.
 *
 * The files are those of the operating system user that runs the server,
 * unless AWS_SHARED_CREDENTIALS_FILE or AWS_CONFIG_FILE name others.  They are
 * read anew each time, so a changed key needs no restart.
 *
 * src/aws/credentials_profile.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include "aws/config.h"
#include "aws/credentials.h"
#include "aws/profile_file.h"
#include "guc.h"

#define MAX_FILE_SIZE (1024 * 1024)

typedef struct SharedFile
{
	ProfileFileKind kind;
	const char *variable;
	const char *default_path;
} SharedFile;

/* In the order in which they are asked. */
static const SharedFile shared_files[] = {
	{PROFILE_CREDENTIALS_FILE, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"},
	{PROFILE_CONFIG_FILE, "AWS_CONFIG_FILE", "~/.aws/config"},
};

/* The profile's name, and whether somebody named it. */
static const char *
profile_name(bool *named)
{
	const char *name = rotate_profile[0] != '\0' ? rotate_profile : aws_getenv("AWS_PROFILE");

	*named = name != NULL;
	return name != NULL ? name : "default";
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
open_shared_file(const SharedFile *shared)
{
	const char *path = aws_getenv(shared->variable);
	ProfileFileError error;
	ProfileFile *file;
	size_t length;
	char *bytes;

	path = expand_home(path != NULL ? path : shared->default_path);
	bytes = read_bytes(path, &length);
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

/*
 * A copy of a setting; NULL: absent.  Raises nothing, for the file is to be
 * freed by the caller.
 */
static char *
copy_setting(const ProfileFile *file, const SharedFile *shared, const char *profile, const char *key,
			 bool *out_of_memory)
{
	const char *value = profile_file_get(file, shared->kind, profile, key);
	size_t size;
	char *copy;

	if (value == NULL || value[0] == '\0')
		return NULL;
	size = strlen(value) + 1;
	copy = palloc_extended(size, MCXT_ALLOC_NO_OOM);
	if (copy == NULL)
		*out_of_memory = true;
	else
		memcpy(copy, value, size);
	return copy;
}

/* The keys that one file has for the profile.  *has_profile: it is mentioned there. */
static void
load_from_file(const SharedFile *shared, const char *profile, AwsCredentials *credentials, bool *has_profile)
{
	ProfileFile *file = open_shared_file(shared);
	bool out_of_memory = false;

	if (file == NULL)
		return;
	if (profile_file_has(file, shared->kind, profile))
		*has_profile = true;
	credentials->access_key_id = copy_setting(file, shared, profile, "aws_access_key_id", &out_of_memory);
	credentials->secret_access_key =
		copy_setting(file, shared, profile, "aws_secret_access_key", &out_of_memory);
	credentials->session_token = copy_setting(file, shared, profile, "aws_session_token", &out_of_memory);
	profile_file_free(file);
	if (out_of_memory)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

bool
aws_credentials_profile(AwsCredentials *credentials)
{
	bool named;
	bool has_profile = false;
	const char *profile = profile_name(&named);

	for (int i = 0; i < (int) lengthof(shared_files); i++)
	{
		load_from_file(&shared_files[i], profile, credentials, &has_profile);
		if (credentials->access_key_id != NULL && credentials->secret_access_key != NULL)
		{
			credentials->provider = shared_files[i].kind == PROFILE_CREDENTIALS_FILE
										? "the shared credentials file"
										: "the shared config file";
			return true;
		}
		if (credentials->access_key_id != NULL)
		{
			aws_credentials_wipe(credentials);
			ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
							errmsg("could not use the AWS credentials of profile \"%s\"", profile),
							errdetail("aws_access_key_id is set, but aws_secret_access_key is not.")));
		}
		aws_credentials_wipe(credentials);
	}
	if (named)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						has_profile ? errmsg("could not find AWS credentials in profile \"%s\"", profile)
									: errmsg("could not find AWS profile \"%s\"", profile),
						errdetail("The profile is named by %s.",
								  rotate_profile[0] != '\0' ? "rotate_ext.profile" : "AWS_PROFILE"),
						errhint("Write aws_access_key_id and aws_secret_access_key for the profile to "
								"~/.aws/credentials of the operating system user that runs the server.")));
	return false;
}

char *
aws_profile_setting(const char *key)
{
	ProfileFile *volatile files[lengthof(shared_files)] = {NULL};
	bool named;
	const char *profile = profile_name(&named);
	char *volatile copy = NULL;

	PG_TRY();
	{
		const char *value;

		for (int i = 0; i < (int) lengthof(shared_files); i++)
			files[i] = open_shared_file(&shared_files[i]);
		value = profile_files_get(files[0], files[1], profile, key);
		if (value != NULL && value[0] != '\0')
			copy = pstrdup(value);
	}
	PG_FINALLY();
	{
		for (int i = 0; i < (int) lengthof(shared_files); i++)
			profile_file_free(files[i]);
	}
	PG_END_TRY();
	return copy;
}

char *
aws_profile_region(void)
{
	return aws_profile_setting("region");
}

char *
aws_profile_service_setting(const char *services, const char *service, const char *key)
{
	ProfileFile *file = open_shared_file(&shared_files[lengthof(shared_files) - 1]);
	char *volatile copy = NULL;

	PG_TRY();
	{
		const char *value;
		size_t length;

		if (file == NULL || !profile_file_has_services(file, services))
			ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
							errmsg("could not find section \"[services %s]\" in the shared AWS config file",
								   services),
							errdetail("The AWS profile in use names it.")));
		value = profile_file_get_service(file, services, service, key, &length);
		if (value != NULL && length > 0)
			copy = pnstrdup(value, length);
	}
	PG_FINALLY();
	{
		profile_file_free(file);
	}
	PG_END_TRY();
	return copy;
}
