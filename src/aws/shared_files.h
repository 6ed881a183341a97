/*-------------------------------------------------------------------------
 *
 * shared_files.h
 *	  AWS's shared credentials and config files, those of the operating system
 *	  user that runs the server.
 *
 * AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE name others.  They are read
 * anew each time, so a changed key needs no restart.
 *
 * src/aws/shared_files.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_SHARED_FILES_H
#define ROTATE_EXT_SHARED_FILES_H

#include "aws/profile_file.h"

typedef struct SharedFiles SharedFiles;

/*
 * Both files, in the current memory context, whose reset or deletion wipes and
 * frees them as well.  A file that is not there is no error; one that can't be
 * read is ERRCODE_CONFIG_FILE_ERROR.
 */
extern SharedFiles *shared_files_open(void);
extern void shared_files_close(SharedFiles *files);

/* Does any of the files have the profile? */
extern bool shared_files_have(const SharedFiles *files, const char *profile);

/*
 * A setting of the profile, of the credentials file before the config file, or
 * NULL; lives until the files are closed.  An empty one counts as absent.
 */
extern const char *shared_files_get(const SharedFiles *files, const char *profile, const char *key);

/* The same of one of the files. */
extern const char *shared_files_get_of(const SharedFiles *files, ProfileFileKind kind, const char *profile,
									   const char *key);

/* Where the file is looked for; lives until the files are closed. */
extern const char *shared_files_path(const SharedFiles *files, ProfileFileKind kind);

/* The profile in use, and who named it: "rotate_ext.profile", "AWS_PROFILE", or NULL where it is "default". */
extern const char *shared_files_profile(const char **named_by);

#endif /* ROTATE_EXT_SHARED_FILES_H */
