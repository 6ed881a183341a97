/*-------------------------------------------------------------------------
 *
 * private_file.h
 *	  Files of our own, for libraries that take what they need by path only.
 *
 * libpq refuses a client key that others may read, and whatever comes in a
 * Lambda zip or on a file system may be read by others, or be another user's.
 * And a CA certificate given as text has to become a file.
 *
 * lambda/private_file.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_PRIVATE_FILE_H
#define ROTATE_LAMBDA_PRIVATE_FILE_H

/*
 * A file with this text, or with the other file's content, that only this
 * user may read; removed when the process ends by exit().  Returned by
 * malloc; NULL with errno.
 */
extern char *private_file(const char *name, const char *text);
extern char *private_copy(const char *name, const char *path);

#endif /* ROTATE_LAMBDA_PRIVATE_FILE_H */
