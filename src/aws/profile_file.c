/*-------------------------------------------------------------------------
 *
 * profile_file.c
 *	  AWS's shared credentials and config files, read as botocore reads them.
 *
 * Sections and settings point into one copy of the text: joining a value's
 * lines only ever shortens it, so that is done in place.
 *
 * src/aws/profile_file.c
 *
 *-------------------------------------------------------------------------
 */
#include "aws/profile_file.h"

#include <stdlib.h>
#include <string.h>

typedef struct Setting
{
	const char *section;
	const char *key; /* lower case; NULL: the section itself */
	char *value;     /* NUL-terminated once the file is read */
	size_t value_length;
} Setting;

struct ProfileFile
{
	char *text;
	size_t text_size;
	Setting *settings;
	size_t nsettings;
	size_t capacity;
};

/* Where the parser is. */
typedef struct Parser
{
	ProfileFile *file;
	ProfileFileError *error;
	const char *section; /* NULL: before the first */
	Setting *current;    /* the setting that an indented line continues, or NULL */
	size_t indent;       /* of its first line */
	int line;
} Parser;

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

static char *
trim(char *start, char *end)
{
	while (end > start && is_blank(end[-1]))
		end--;
	*end = '\0';
	while (start < end && is_blank(*start))
		start++;
	return start;
}

static bool
fail(Parser *parser, const char *problem)
{
	parser->error->line = parser->line;
	parser->error->problem = problem;
	return false;
}

/* Add a setting, or with key NULL a section; it must not be there yet. */
static bool
add_setting(Parser *parser, const char *section, const char *key)
{
	ProfileFile *file = parser->file;
	Setting *setting;

	for (size_t i = 0; i < file->nsettings; i++)
	{
		setting = &file->settings[i];
		if (strcmp(setting->section, section) != 0 || (setting->key == NULL) != (key == NULL))
			continue;
		if (key == NULL)
			return fail(parser, "the section is there twice");
		if (strcmp(setting->key, key) == 0)
			return fail(parser, "the setting is there twice");
	}
	if (file->nsettings == file->capacity)
	{
		size_t capacity = file->capacity == 0 ? 32 : 2 * file->capacity;
		Setting *grown = realloc(file->settings, capacity * sizeof(Setting));

		if (grown == NULL)
		{
			parser->line = 0;
			return fail(parser, "out of memory");
		}
		file->settings = grown;
		file->capacity = capacity;
	}
	setting = &file->settings[file->nsettings++];
	memset(setting, 0, sizeof(*setting));
	setting->section = section;
	setting->key = key;
	return true;
}

/* Append a line to the current value, in place: it ends before the line begins. */
static void
continue_value(Setting *setting, const char *line)
{
	size_t length = strlen(line);
	char *end = setting->value + setting->value_length;

	*end++ = '\n';
	memmove(end, line, length);
	setting->value_length += 1 + length;
}

/* "[name]": up to the last bracket, whatever follows it. */
static bool
parse_section(Parser *parser, char *line)
{
	char *end = strrchr(line, ']');

	*end = '\0';
	parser->section = line + 1;
	parser->current = NULL;
	return add_setting(parser, parser->section, NULL);
}

static bool
parse_setting(Parser *parser, char *line)
{
	char *delimiter = line + strcspn(line, "=:");
	char *value;
	char *key;

	if (*delimiter == '\0')
		return fail(parser, "there is neither \"=\" nor \":\"");
	if (delimiter == line)
		return fail(parser, "the name of the setting is missing");
	value = delimiter + 1;
	while (is_blank(*value))
		value++;
	key = trim(line, delimiter);
	for (char *p = key; *p != '\0'; p++)
	{
		if (*p >= 'A' && *p <= 'Z')
			*p = (char) (*p - 'A' + 'a');
	}
	if (!add_setting(parser, parser->section, key))
		return false;
	parser->current = &parser->file->settings[parser->file->nsettings - 1];
	parser->current->value = value;
	parser->current->value_length = strlen(value);
	return true;
}

/* One line, without its end. */
static bool
parse_line(Parser *parser, char *start, char *end)
{
	size_t indent = 0;
	char *line;

	parser->line++;
	while (start + indent < end && is_blank(start[indent]))
		indent++;
	if (memchr(start, '\0', (size_t) (end - start)) != NULL)
		return fail(parser, "there is a NUL character");
	line = trim(start, end);
	if (*line == '#' || *line == ';')
		return true;
	if (*line == '\0')
	{
		if (parser->current != NULL)
			continue_value(parser->current, "");
		return true;
	}
	if (parser->current != NULL && indent > parser->indent)
	{
		continue_value(parser->current, line);
		return true;
	}
	parser->indent = indent;
	if (line[0] == '[' && strrchr(line, ']') > line + 1)
		return parse_section(parser, line);
	if (parser->section == NULL)
		return fail(parser, "there is no section yet");
	return parse_setting(parser, line);
}

/* Terminate the values; trailing empty lines are none of them.  A group's lines need a "=" each. */
static bool
finish_values(Parser *parser)
{
	ProfileFile *file = parser->file;

	for (size_t i = 0; i < file->nsettings; i++)
	{
		Setting *setting = &file->settings[i];

		if (setting->key == NULL)
			continue;
		while (setting->value_length > 0 && is_blank(setting->value[setting->value_length - 1]))
			setting->value_length--;
		setting->value[setting->value_length] = '\0';
		if (setting->value[0] != '\n')
			continue;
		for (char *line = setting->value; *line != '\0';)
		{
			size_t length = strcspn(line, "\n");

			if (length > 0 && memchr(line, '=', length) == NULL)
				return fail(parser, "a nested setting lacks its \"=\"");
			line += length + (line[length] == '\n' ? 1 : 0);
		}
	}
	return true;
}

static bool
parse_lines(Parser *parser, size_t length)
{
	char *text = parser->file->text;
	char *limit = text + length;

	while (text < limit)
	{
		char *end = text;
		char *next;

		while (end < limit && *end != '\n' && *end != '\r')
			end++;
		next = end + 1;
		if (next < limit && end[0] == '\r' && end[1] == '\n')
			next++;
		if (!parse_line(parser, text, end))
			return false;
		text = next;
	}
	return finish_values(parser);
}

ProfileFile *
profile_file_parse(const char *text, size_t length, ProfileFileError *error)
{
	ProfileFile *file = calloc(1, sizeof(ProfileFile));
	Parser parser = {.file = file, .error = error};

	error->line = 0;
	error->problem = "out of memory";
	if (file == NULL)
		return NULL;
	file->text = malloc(length + 1);
	file->text_size = length + 1;
	if (file->text != NULL)
	{
		if (length > 0)
			memcpy(file->text, text, length);
		file->text[length] = '\0';
		if (parse_lines(&parser, length))
			return file;
	}
	profile_file_free(file);
	return NULL;
}

void
profile_file_free(ProfileFile *file)
{
	if (file == NULL)
		return;
	if (file->text != NULL)
		explicit_bzero(file->text, file->text_size);
	free(file->text);
	free(file->settings);
	free(file);
}

/*
 * Take the next word off a section's name, as shlex.split() does: '…' as it
 * is, "…" with \" and \\, a backslash before any other character.  The word is
 * compared rather than kept.  False: no word, or a quote that is not closed.
 */
static bool
next_word(const char **text, const char *expected, bool *equal)
{
	const char *p = *text;
	char quote = '\0';

	while (is_blank(*p))
		p++;
	if (*p == '\0')
		return false;
	*equal = true;
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
		{
			if (*++p == '\0')
				return false;
		}
		if (*equal && *expected == *p)
			expected++;
		else
			*equal = false;
	}
	*equal = *equal && *expected == '\0';
	*text = p;
	return quote == '\0';
}

/* Does the section's name consist of the two words, the first of them written plainly? */
static bool
has_two_words(const char *section, const char *first, const char *second)
{
	const char *rest = section;
	bool equal;
	bool ignored;

	if (strncmp(section, first, strlen(first)) != 0)
		return false;
	if (!next_word(&rest, first, &ignored) || !next_word(&rest, second, &equal) || !equal)
		return false;
	while (is_blank(*rest))
		rest++;
	return *rest == '\0';
}

static bool
names_profile(const char *section, ProfileFileKind kind, const char *profile)
{
	if (kind == PROFILE_CREDENTIALS_FILE)
		return strcmp(section, profile) == 0;
	if (strcmp(section, "default") == 0)
		return strcmp(profile, "default") == 0;
	return has_two_words(section, "profile", profile);
}

/* The profile's section; of several that name it ("default", "profile default") the last. */
static const char *
find_section(const ProfileFile *file, ProfileFileKind kind, const char *profile)
{
	const char *found = NULL;

	for (size_t i = 0; i < file->nsettings; i++)
	{
		if (file->settings[i].key == NULL && names_profile(file->settings[i].section, kind, profile))
			found = file->settings[i].section;
	}
	return found;
}

bool
profile_file_has(const ProfileFile *file, ProfileFileKind kind, const char *profile)
{
	return find_section(file, kind, profile) != NULL;
}

/* Settings that are groups, too. */
static const char *
find_value(const ProfileFile *file, const char *section, const char *key)
{
	for (size_t i = 0; section != NULL && i < file->nsettings; i++)
	{
		const Setting *setting = &file->settings[i];

		if (setting->key != NULL && setting->section == section && strcmp(setting->key, key) == 0)
			return setting->value;
	}
	return NULL;
}

const char *
profile_file_get(const ProfileFile *file, ProfileFileKind kind, const char *profile, const char *key)
{
	const char *value = find_value(file, find_section(file, kind, profile), key);

	return value != NULL && value[0] != '\n' ? value : NULL;
}

const char *
profile_files_get(const ProfileFile *credentials, const ProfileFile *config, const char *profile,
				  const char *key)
{
	const char *value = NULL;

	if (credentials != NULL)
		value = profile_file_get(credentials, PROFILE_CREDENTIALS_FILE, profile, key);
	if ((value == NULL || value[0] == '\0') && config != NULL)
		value = profile_file_get(config, PROFILE_CONFIG_FILE, profile, key);
	return value != NULL && value[0] != '\0' ? value : NULL;
}

/* A group's setting: of several lines with the key the last. */
static const char *
find_nested(const char *group, const char *key, size_t *length)
{
	const char *found = NULL;

	for (const char *line = group; *line != '\0';)
	{
		const char *end = line + strcspn(line, "\n");
		const char *next = *end == '\n' ? end + 1 : end;
		const char *value = memchr(line, '=', (size_t) (end - line));
		const char *key_end = value;

		while (key_end != NULL && key_end > line && is_blank(key_end[-1]))
			key_end--;
		if (key_end != NULL && (size_t) (key_end - line) == strlen(key) &&
			memcmp(line, key, strlen(key)) == 0)
		{
			for (value++; value < end && is_blank(*value);)
				value++;
			while (end > value && is_blank(end[-1]))
				end--;
			found = value;
			*length = (size_t) (end - value);
		}
		line = next;
	}
	return found;
}

static const char *
find_services(const ProfileFile *file, const char *name)
{
	const char *found = NULL;

	for (size_t i = 0; i < file->nsettings; i++)
	{
		if (file->settings[i].key == NULL && has_two_words(file->settings[i].section, "services", name))
			found = file->settings[i].section;
	}
	return found;
}

bool
profile_file_has_services(const ProfileFile *file, const char *name)
{
	return find_services(file, name) != NULL;
}

const char *
profile_file_get_service(const ProfileFile *file, const char *name, const char *service, const char *key,
						 size_t *length)
{
	const char *group = find_value(file, find_services(file, name), service);

	return group != NULL && group[0] == '\n' ? find_nested(group, key, length) : NULL;
}
