/*-------------------------------------------------------------------------
 *
 * private_file.c
 *	  Files of our own, for libraries that take what they need by path only.
 *
 * lambda/private_file.c
 *
 *-------------------------------------------------------------------------
 */
#include "private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILES 4
#define MAX_SIZE (256 * 1024)

static char directory[256];
static char *files[MAX_FILES];
static int nfiles;

static void
remove_files(void)
{
	for (int i = 0; i < nfiles; i++)
	{
		unlink(files[i]);
		free(files[i]);
	}
	rmdir(directory);
}

static bool
make_directory(void)
{
	const char *tmp = getenv("TMPDIR");

	if (directory[0] != '\0')
		return true;
	if (snprintf(directory, sizeof(directory), "%s/rotate_lambda.XXXXXX",
				 tmp != NULL && tmp[0] == '/' ? tmp : "/tmp") >= (int) sizeof(directory))
		errno = ENAMETOOLONG;
	else if (mkdtemp(directory) != NULL && atexit(remove_files) == 0)
		return true;
	directory[0] = '\0';
	return false;
}

static bool
write_all(int fd, const char *data, size_t length)
{
	while (length > 0)
	{
		ssize_t written = write(fd, data, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return false;
		data += written;
		length -= (size_t) written;
	}
	return true;
}

static char *
new_file(const char *name, const char *data, size_t length)
{
	char path[sizeof(directory) + 64];
	bool written;
	int fd;

	errno = ENFILE;
	if (nfiles == MAX_FILES || !make_directory())
		return NULL;
	snprintf(path, sizeof(path), "%s/%.60s", directory, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return NULL;
	written = write_all(fd, data, length);
	if (close(fd) != 0 || !written || (files[nfiles] = strdup(path)) == NULL)
	{
		int error = errno;

		unlink(path);
		errno = error;
		return NULL;
	}
	return strdup(files[nfiles++]);
}

char *
private_file(const char *name, const char *text)
{
	return new_file(name, text, strlen(text));
}

char *
private_copy(const char *name, const char *path)
{
	char *data = malloc(MAX_SIZE);
	char *copy = NULL;
	ssize_t length = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t total = 0;

	if (data != NULL && fd >= 0)
	{
		while ((length = read(fd, data + total, MAX_SIZE - total)) > 0)
			total += (size_t) length;
		if (total == MAX_SIZE)
			errno = EFBIG;
		else if (length == 0)
			copy = new_file(name, data, total);
	}
	if (data != NULL)
		explicit_bzero(data, MAX_SIZE);
	free(data);
	if (fd >= 0)
	{
		int error = errno;

		close(fd);
		errno = error;
	}
	return copy;
}
