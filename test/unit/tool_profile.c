/*-------------------------------------------------------------------------
 *
 * tool_profile.c
 *	  Reads shared credentials and config files that test_profile.py writes.
 *
 *	  tool_profile credentials|config FILE PROFILE KEY...
 *	  tool_profile both CREDENTIALS-FILE CONFIG-FILE PROFILE KEY...
 *	  tool_profile services FILE NAME SERVICE KEY...
 *
 * Prints "error" and the line's number, "absent", or "found" and a line for
 * each key: its value in hex, or "-".
 *
 * test/unit/tool_profile.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/profile_file.h"

static char *
read_file(const char *path, size_t *length)
{
	FILE *stream = fopen(path, "rb");
	char *text = malloc(1 << 20);

	if (stream == NULL || text == NULL)
		exit(2);
	*length = fread(text, 1, 1 << 20, stream);
	fclose(stream);
	/* exactly as long as its text, so that the sanitizer sees a byte too many */
	return realloc(text, *length > 0 ? *length : 1);
}

static void
print_hex(const char *value, size_t length)
{
	if (value == NULL)
		printf("-");
	for (size_t i = 0; value != NULL && i < length; i++)
		printf("%02x", (unsigned char) value[i]);
	printf("\n");
}

static void
print_value(const char *value)
{
	print_hex(value, value != NULL ? strlen(value) : 0);
}

/* NULL after "error": nothing else is to be printed. */
static ProfileFile *
parse_file(const char *path)
{
	ProfileFileError error;
	size_t length;
	char *text = read_file(path, &length);
	ProfileFile *file = profile_file_parse(text, length, &error);

	free(text);
	if (file == NULL)
		printf("error %d\n", error.line);
	return file;
}

static void
print_both(int argc, char **argv)
{
	ProfileFile *credentials = parse_file(argv[2]);
	ProfileFile *config = credentials != NULL ? parse_file(argv[3]) : NULL;

	if (config != NULL)
	{
		if (profile_file_has(credentials, PROFILE_CREDENTIALS_FILE, argv[4]) ||
			profile_file_has(config, PROFILE_CONFIG_FILE, argv[4]))
			printf("found\n");
		else
			printf("absent\n");
		for (int i = 5; i < argc; i++)
			print_value(profile_files_get(credentials, config, argv[4], argv[i]));
	}
	profile_file_free(credentials);
	profile_file_free(config);
}

static void
print_services(int argc, char **argv)
{
	ProfileFile *file = parse_file(argv[2]);

	if (file != NULL)
	{
		printf(profile_file_has_services(file, argv[3]) ? "found\n" : "absent\n");
		for (int i = 5; i < argc; i++)
		{
			size_t length = 0;
			const char *value = profile_file_get_service(file, argv[3], argv[4], argv[i], &length);

			print_hex(value, length);
		}
	}
	profile_file_free(file);
}

static void
print_one(int argc, char **argv)
{
	ProfileFileKind kind = strcmp(argv[1], "config") == 0 ? PROFILE_CONFIG_FILE : PROFILE_CREDENTIALS_FILE;
	ProfileFile *file = parse_file(argv[2]);

	if (file != NULL && !profile_file_has(file, kind, argv[3]))
		printf("absent\n");
	else if (file != NULL)
	{
		printf("found\n");
		for (int i = 4; i < argc; i++)
			print_value(profile_file_get(file, kind, argv[3], argv[i]));
	}
	profile_file_free(file);
}

int
main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	if (strcmp(argv[1], "both") == 0)
		print_both(argc, argv);
	else if (strcmp(argv[1], "services") == 0)
		print_services(argc, argv);
	else
		print_one(argc, argv);
	return 0;
}
