/*-------------------------------------------------------------------------
 *
 * credentials_file.c
 *	  Reads a small file that may hold a token.
 *
 * src/aws/credentials_file.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "aws/credentials_private.h"

/* So many bytes, or as many as there are; -1 with errno. */
static ssize_t
read_up_to(int fd, char *bytes, size_t size)
{
	size_t length = 0;

	while (length < size)
	{
		ssize_t n = read(fd, bytes + length, size - length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		length += (size_t) n;
	}
	return (ssize_t) length;
}

char *
credentials_read_file(const char *what, const char *path)
{
	char *bytes = palloc0(CREDENTIALS_MAX_TOKEN + 2);
	/* a FIFO that nobody writes to must not hold us up */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t length = fd < 0 ? -1 : read_up_to(fd, bytes, CREDENTIALS_MAX_TOKEN + 1);
	int saved_errno = errno;

	if (fd >= 0)
		close(fd);
	if (length >= 0 && length <= CREDENTIALS_MAX_TOKEN && strlen(bytes) == (size_t) length)
		return bytes;

	explicit_bzero(bytes, CREDENTIALS_MAX_TOKEN + 2);
	errno = saved_errno;
	if (length < 0)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
						errmsg("could not read AWS credentials: could not read %s \"%s\": %m", what, path)));
	ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
					errmsg("could not read AWS credentials: %s \"%s\" holds no token", what, path),
					errdetail(length > CREDENTIALS_MAX_TOKEN ? "It is larger than %d bytes."
															 : "It holds a NUL character.",
							  CREDENTIALS_MAX_TOKEN)));
	pg_unreachable();
}
