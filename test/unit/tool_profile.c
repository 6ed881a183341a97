/*-------------------------------------------------------------------------
 *
 * tool_profile.c
 *	  Reads shared credentials and config files that test_profile.py writes.
 *
 *	  tool_profile credentials|config FILE PROFILE KEY...
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
print_hex(const char *value)
{
	if (value == NULL)
		printf("-");
	for (; value != NULL && *value != '\0'; value++)
		printf("%02x", (unsigned char) *value);
	printf("\n");
}

int
main(int argc, char **argv)
{
	ProfileFileKind kind;
	ProfileFileError error;
	ProfileFile *file;
	size_t length;
	char *text;

	if (argc < 4)
		return 2;
	kind = strcmp(argv[1], "config") == 0 ? PROFILE_CONFIG_FILE : PROFILE_CREDENTIALS_FILE;
	text = read_file(argv[2], &length);
	file = profile_file_parse(text, length, &error);
	free(text);
	if (file == NULL)
		printf("error %d\n", error.line);
	else if (!profile_file_has(file, kind, argv[3]))
		printf("absent\n");
	else
	{
		printf("found\n");
		for (int i = 4; i < argc; i++)
			print_hex(profile_file_get(file, kind, argv[3], argv[i]));
	}
	profile_file_free(file);
	return 0;
}
