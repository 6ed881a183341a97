/*-------------------------------------------------------------------------
 *
 * words.c
 *	  Splits a command line into words, as Python's shlex.split() does.
 *
 * src/core/words.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/words.h"

#include <stdbool.h>
#include <stddef.h>

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/*
 * One word, from *line on, written to *out with its NUL.  A backslash keeps the
 * next character as it is, in double quotes only a '"' or another backslash.
 */
static bool
take_word(const char **line, char **out)
{
	const char *p = *line;
	char quote = '\0';

	for (; *p != '\0' && (quote != '\0' || !is_blank(*p)); p++)
	{
		if (quote == '\0' && (*p == '\'' || *p == '"'))
		{
			quote = *p;
			continue;
		}
		if (quote != '\0' && *p == quote)
		{
			quote = '\0';
			continue;
		}
		if (*p == '\\' && quote != '\'' && (quote == '\0' || p[1] == '"' || p[1] == '\\'))
			p++;
		if (*p == '\0')
			return false;
		*(*out)++ = *p;
	}
	*(*out)++ = '\0';
	*line = p;
	return quote == '\0';
}

int
words_split(const char *line, char *buffer, char **words, int max)
{
	int n = 0;

	for (;;)
	{
		while (is_blank(*line))
			line++;
		if (*line == '\0')
			return n;
		if (n == max)
			return -2;
		words[n++] = buffer;
		if (!take_word(&line, &buffer))
			return -1;
	}
}
