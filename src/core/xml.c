/*-------------------------------------------------------------------------
 *
 * xml.c
 *	  Reads single elements out of a small XML document, as STS answers.
 *
 * src/core/xml.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/xml.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct Name
{
	const char *start; /* with its prefix: the end tag must repeat that */
	size_t length;
} Name;

typedef struct Scanner
{
	const char *at;
	const char *end;
	Name open[XML_MAX_DEPTH]; /* the elements that we are in */
	int depth;
	bool had_root;
	const char *path;
	int path_depth; /* elements of the path */
	bool found;     /* the element has begun; where it has ended, done */
	bool done;
	bool too_long;
	char *value;
	size_t size;
	size_t length;
} Scanner;

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void
skip_blanks(Scanner *scanner)
{
	while (scanner->at < scanner->end && is_blank(*scanner->at))
		scanner->at++;
}

static bool
begins_with(const Scanner *scanner, const char *text)
{
	size_t length = strlen(text);

	return (size_t) (scanner->end - scanner->at) >= length && memcmp(scanner->at, text, length) == 0;
}

/* Past the next occurrence of the text. */
static bool
skip_past(Scanner *scanner, const char *text)
{
	while (scanner->at < scanner->end && !begins_with(scanner, text))
		scanner->at++;
	if (scanner->at == scanner->end)
		return false;
	scanner->at += strlen(text);
	return true;
}

static bool
is_name_char(char c, bool first)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':')
		return true;
	return !first && ((c >= '0' && c <= '9') || c == '-' || c == '.');
}

static bool
scan_name(Scanner *scanner, Name *name)
{
	name->start = scanner->at;
	while (scanner->at < scanner->end && is_name_char(*scanner->at, scanner->at == name->start))
		scanner->at++;
	name->length = (size_t) (scanner->at - name->start);
	return name->length > 0;
}

/* Are we in the element that is looked for? */
static bool
is_at_path(const Scanner *scanner)
{
	const char *part = scanner->path;

	if (scanner->depth != scanner->path_depth)
		return false;
	for (int i = 0; i < scanner->depth; i++)
	{
		const Name *name = &scanner->open[i];
		const char *colon = memchr(name->start, ':', name->length);
		const char *local = colon != NULL ? colon + 1 : name->start;
		size_t length = name->length - (size_t) (local - name->start);

		if (strcspn(part, "/") != length || memcmp(part, local, length) != 0)
			return false;
		part += length + (part[length] == '/' ? 1 : 0);
	}
	return true;
}

static void
append(Scanner *scanner, const char *bytes, size_t length)
{
	if (!scanner->found || scanner->done)
		return;
	if (scanner->length + length >= scanner->size)
	{
		scanner->too_long = true;
		return;
	}
	memcpy(scanner->value + scanner->length, bytes, length);
	scanner->length += length;
}

static bool
append_character(Scanner *scanner, uint32_t c)
{
	char bytes[4];

	if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || c == 0xfffe || c == 0xffff ||
		(c < 0x20 && !is_blank((char) c)))
		return false;
	if (c < 0x80)
	{
		bytes[0] = (char) c;
		append(scanner, bytes, 1);
	}
	else if (c < 0x800)
	{
		bytes[0] = (char) (0xc0 | (c >> 6));
		bytes[1] = (char) (0x80 | (c & 0x3f));
		append(scanner, bytes, 2);
	}
	else if (c < 0x10000)
	{
		bytes[0] = (char) (0xe0 | (c >> 12));
		bytes[1] = (char) (0x80 | ((c >> 6) & 0x3f));
		bytes[2] = (char) (0x80 | (c & 0x3f));
		append(scanner, bytes, 3);
	}
	else
	{
		bytes[0] = (char) (0xf0 | (c >> 18));
		bytes[1] = (char) (0x80 | ((c >> 12) & 0x3f));
		bytes[2] = (char) (0x80 | ((c >> 6) & 0x3f));
		bytes[3] = (char) (0x80 | (c & 0x3f));
		append(scanner, bytes, 4);
	}
	return true;
}

/* "#38" or "#x26", of the given length. */
static bool
append_by_number(Scanner *scanner, const char *digits, size_t length)
{
	bool hex = length > 1 && digits[1] == 'x';
	uint32_t c = 0;
	size_t i = hex ? 2 : 1;

	if (i == length)
		return false;
	for (; i < length; i++)
	{
		char d = digits[i];
		uint32_t digit;

		if (d >= '0' && d <= '9')
			digit = (uint32_t) (d - '0');
		else if (hex && d >= 'a' && d <= 'f')
			digit = (uint32_t) (d - 'a' + 10);
		else if (hex && d >= 'A' && d <= 'F')
			digit = (uint32_t) (d - 'A' + 10);
		else
			return false;
		c = c * (hex ? 16 : 10) + digit;
		if (c > 0x10ffff)
			return false;
	}
	return append_character(scanner, c);
}

static bool
scan_entity(Scanner *scanner)
{
	static const struct
	{
		const char *name;
		char character;
	} known[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
	const char *semicolon;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (begins_with(scanner, known[i].name))
		{
			append(scanner, &known[i].character, 1);
			scanner->at += strlen(known[i].name);
			return true;
		}
	}
	if (!begins_with(scanner, "&#"))
		return false;
	semicolon = memchr(scanner->at, ';', (size_t) (scanner->end - scanner->at));
	if (semicolon == NULL ||
		!append_by_number(scanner, scanner->at + 1, (size_t) (semicolon - scanner->at) - 1))
		return false;
	scanner->at = semicolon + 1;
	return true;
}

/* Attributes are checked, and not kept. */
static bool
scan_attributes(Scanner *scanner)
{
	for (;;)
	{
		Name name;
		const char *before = scanner->at;
		const char *close;

		skip_blanks(scanner);
		if (scanner->at == scanner->end)
			return false;
		if (*scanner->at == '>' || *scanner->at == '/')
			return true;
		if (scanner->at == before || !scan_name(scanner, &name))
			return false;
		skip_blanks(scanner);
		if (!begins_with(scanner, "="))
			return false;
		scanner->at++;
		skip_blanks(scanner);
		if (scanner->at == scanner->end || (*scanner->at != '"' && *scanner->at != '\''))
			return false;
		close = memchr(scanner->at + 1, *scanner->at, (size_t) (scanner->end - scanner->at) - 1);
		if (close == NULL || memchr(scanner->at, '<', (size_t) (close - scanner->at)) != NULL)
			return false;
		scanner->at = close + 1;
	}
}

static void
end_element(Scanner *scanner)
{
	if (scanner->found && !scanner->done && is_at_path(scanner))
		scanner->done = true;
	scanner->depth--;
}

static bool
scan_start_tag(Scanner *scanner)
{
	Name name;

	scanner->at++;
	/* one root, and no element in the one that is to be text */
	if (!scan_name(scanner, &name) || scanner->depth == XML_MAX_DEPTH ||
		(scanner->depth == 0 && scanner->had_root) || (scanner->found && !scanner->done))
		return false;
	scanner->had_root = true;
	scanner->open[scanner->depth++] = name;
	if (!scanner->found && is_at_path(scanner))
		scanner->found = true;
	if (!scan_attributes(scanner))
		return false;
	if (begins_with(scanner, "/>"))
	{
		scanner->at += 2;
		end_element(scanner);
		return true;
	}
	if (*scanner->at != '>')
		return false;
	scanner->at++;
	return true;
}

static bool
scan_end_tag(Scanner *scanner)
{
	Name name;
	const Name *open;

	scanner->at += 2;
	if (!scan_name(scanner, &name) || scanner->depth == 0)
		return false;
	open = &scanner->open[scanner->depth - 1];
	if (open->length != name.length || memcmp(open->start, name.start, name.length) != 0)
		return false;
	skip_blanks(scanner);
	if (!begins_with(scanner, ">"))
		return false;
	scanner->at++;
	end_element(scanner);
	return true;
}

static bool
scan_markup(Scanner *scanner)
{
	if (begins_with(scanner, "<!--"))
	{
		scanner->at += 4;
		return skip_past(scanner, "-->");
	}
	if (begins_with(scanner, "</"))
		return scan_end_tag(scanner);
	return scan_start_tag(scanner);
}

static bool
scan(Scanner *scanner)
{
	if (begins_with(scanner, "<?xml") && !skip_past(scanner, "?>"))
		return false;
	while (scanner->at < scanner->end)
	{
		if (*scanner->at == '<')
		{
			if (!scan_markup(scanner))
				return false;
		}
		else if (scanner->depth == 0)
		{
			if (!is_blank(*scanner->at))
				return false;
			scanner->at++;
		}
		else if (*scanner->at == '&')
		{
			if (!scan_entity(scanner))
				return false;
		}
		else
		{
			if (*scanner->at == '\0')
				return false;
			append(scanner, scanner->at++, 1);
		}
	}
	return scanner->had_root && scanner->depth == 0;
}

static void
trim(Scanner *scanner)
{
	size_t blanks = 0;

	while (scanner->length > 0 && is_blank(scanner->value[scanner->length - 1]))
		scanner->length--;
	while (blanks < scanner->length && is_blank(scanner->value[blanks]))
		blanks++;
	scanner->length -= blanks;
	memmove(scanner->value, scanner->value + blanks, scanner->length);
	memset(scanner->value + scanner->length, 0, blanks + 1);
}

XmlStatus
xml_get(const char *text, size_t length, const char *path, char *value, size_t size)
{
	Scanner scanner = {
		.at = text, .end = text + length, .path = path, .path_depth = 1, .value = value, .size = size};
	XmlStatus status = XML_FOUND;

	for (const char *p = path; *p != '\0'; p++)
		scanner.path_depth += *p == '/' ? 1 : 0;
	if (!scan(&scanner))
		status = XML_MALFORMED;
	else if (!scanner.done)
		status = XML_ABSENT;
	else if (scanner.too_long)
		status = XML_TOO_LONG;
	if (status == XML_FOUND)
		trim(&scanner);
	else
		explicit_bzero(value, size);
	return status;
}
