/*-------------------------------------------------------------------------
 *
 * tool_text.c
 *	  Splits command lines and reads elements of XML, for test_words.py and
 *	  test_xml.py.
 *
 * A line of the standard input is "words TEXT" or "xml PATH SIZE TEXT", the TEXT in
 * hex ("-": empty).  Prints for each a line: a number and the words in hex, or the
 * status and the element in hex.
 *
 * test/unit/tool_text.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/words.h"
#include "core/xml.h"

#define MAX_WORDS 16

/* The text, exactly as long as it is, so that the sanitizer sees a byte too many. */
static char *
decode(const char *hex, size_t *length)
{
	char *text;

	*length = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;
	text = malloc(*length + 1);
	for (size_t i = 0; i < *length; i++)
	{
		char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

		text[i] = (char) strtol(digits, NULL, 16);
	}
	text[*length] = '\0';
	return text;
}

static void
print_hex(const char *text)
{
	printf(" ");
	if (*text == '\0')
		printf("-");
	for (; *text != '\0'; text++)
		printf("%02x", (unsigned char) *text);
}

static void
split(const char *hex)
{
	size_t length;
	char *line = decode(hex, &length);
	char *buffer = malloc(length + 1);
	char *words[MAX_WORDS];
	int n = words_split(line, buffer, words, MAX_WORDS);

	printf("%d", n);
	for (int i = 0; i < n; i++)
		print_hex(words[i]);
	printf("\n");
	free(buffer);
	free(line);
}

static void
find(const char *path, size_t size, const char *hex)
{
	static const char *const names[] = {"found", "absent", "malformed", "too-long"};
	size_t length;
	char *with_end = decode(hex, &length);
	char *text = malloc(length > 0 ? length : 1);
	char *value = malloc(size);
	XmlStatus status;

	memcpy(text, with_end, length);
	memset(value, 'x', size);
	status = xml_get(text, length, path, value, size);
	printf("%s", names[status]);
	if (status == XML_FOUND)
		print_hex(value);
	for (size_t i = 0; status != XML_FOUND && i < size; i++)
	{
		if (value[i] != '\0')
			printf(" not wiped");
	}
	printf("\n");
	free(value);
	free(text);
	free(with_end);
}

int
main(void)
{
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) > 0)
	{
		char *rest = NULL;
		const char *what = strtok_r(line, " \n", &rest);

		if (strcmp(what, "words") == 0)
			split(strtok_r(NULL, " \n", &rest));
		else
		{
			const char *path = strtok_r(NULL, " \n", &rest);
			size_t room = (size_t) atol(strtok_r(NULL, " \n", &rest));

			find(path, room, strtok_r(NULL, " \n", &rest));
		}
	}
	free(line);
	return 0;
}
