/*-------------------------------------------------------------------------
 *
 * profile_file.h
 *	  AWS's shared credentials and config files, read as botocore reads them.
 *
 * botocore uses Python's configparser, so its rules are the format: comments
 * are whole lines that begin with '#' or ';', "key = value" or "key: value",
 * keys in any case, a line indented deeper than its key's continues the value,
 * a section or key that comes twice is an error.  A value that starts on its
 * continuation lines is a group of nested settings, and never a key.
 *
 * Pure C11.  The text and all values may be secret: nothing of them is in an
 * error, and profile_file_free() wipes them.
 *
 * src/aws/profile_file.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_PROFILE_FILE_H
#define ROTATE_EXT_PROFILE_FILE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct ProfileFile ProfileFile;

typedef enum ProfileFileKind
{
	PROFILE_CREDENTIALS_FILE, /* sections are named "prod" */
	PROFILE_CONFIG_FILE       /* sections are named "profile prod", but "default" */
} ProfileFileKind;

typedef struct ProfileFileError
{
	int line;            /* from 1; 0: out of memory */
	const char *problem; /* static */
} ProfileFileError;

/* NULL: *error says why. */
extern ProfileFile *profile_file_parse(const char *text, size_t length, ProfileFileError *error);

/* NULL is allowed. */
extern void profile_file_free(ProfileFile *file);

/* Is the profile there?  A file without it is no error. */
extern bool profile_file_has(const ProfileFile *file, ProfileFileKind kind, const char *profile);

/*
 * A setting of the profile (key in lower case), or NULL.  Settings that are
 * groups count as absent.  Lives as long as the file.
 */
extern const char *profile_file_get(const ProfileFile *file, ProfileFileKind kind, const char *profile,
									const char *key);

/*
 * A setting of the profile, as the credentials file has it, else the config
 * file; each may be NULL.  An empty one counts as absent.
 */
extern const char *profile_files_get(const ProfileFile *credentials, const ProfileFile *config,
									 const char *profile, const char *key);

/* Has a config file a section "[services <name>]"? */
extern bool profile_file_has_services(const ProfileFile *file, const char *name);

/*
 * A setting of a service in that section, in the group of the service
 * ("secrets_manager", "sts"): *length bytes that are not terminated, or NULL.
 */
extern const char *profile_file_get_service(const ProfileFile *file, const char *name, const char *service,
											const char *key, size_t *length);

#endif /* ROTATE_EXT_PROFILE_FILE_H */
