/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  Why an invocation failed, as Secrets Manager and a person are told.
 *
 * lambda/failure.c
 *
 *-------------------------------------------------------------------------
 */
#include "failure.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool
is_utf8(const char *text)
{
	json_t *string = json_string(text);
	bool valid = string != NULL;

	json_decref(string);
	return valid;
}

static bool
is_continuation(char c)
{
	return ((unsigned char) c & 0xc0) == 0x80;
}

void
one_line(char *dst, size_t size, const char *src)
{
	bool utf8 = is_utf8(src);
	size_t n = 0;

	for (; *src != '\0'; src++)
	{
		unsigned char c = (unsigned char) *src;

		if (n == size - 1)
			break;
		if (c <= 0x20 || c == 0x7f)
		{
			if (n > 0 && dst[n - 1] != ' ')
				dst[n++] = ' ';
		}
		else
			dst[n++] = (c >= 0x80 && !utf8) ? '?' : *src;
	}
	/* cut within a character: take back its beginning */
	if (utf8 && is_continuation(*src))
	{
		while (n > 0 && is_continuation(dst[n - 1]))
			n--;
		n -= n > 0 ? 1 : 0;
	}
	while (n > 0 && dst[n - 1] == ' ')
		n--;
	dst[n] = '\0';
}

void
failure_set(Failure *failure, const char *type, const char *format, ...)
{
	char text[2 * FAILURE_MESSAGE_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(failure->type, sizeof(failure->type), "%s", type);
	one_line(failure->message, sizeof(failure->message), text);
}
