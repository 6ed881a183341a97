/*-------------------------------------------------------------------------
 *
 * log.c
 *	  One line of JSON for each invocation, on standard output.
 *
 * lambda/log.c
 *
 *-------------------------------------------------------------------------
 */
#include "log.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_text.h"

static void
put(json_t *json, const char *name, const char *value)
{
	if (value != NULL && value[0] != '\0')
		json_object_set_new(json, name, json_string(value));
}

/* In one piece, or two lines could be mixed. */
static void
write_line(const char *text, size_t length)
{
	ssize_t written;

	do
	{
		written = write(STDOUT_FILENO, text, length);
	} while (written < 0 && errno == EINTR);
}

void
log_line(const LogLine *line)
{
	json_t *json = json_object();
	size_t length;
	char *text;

	put(json, "outcome", line->outcome);
	put(json, "step", line->step);
	put(json, "secret", line->secret);
	put(json, "version", line->version);
	put(json, "result", line->result);
	if (line->duration_ms >= 0)
		json_object_set_new(json, "duration_ms", json_integer(line->duration_ms));
	put(json, "host", line->host);
	if (line->host != NULL && line->host[0] != '\0')
	{
		json_object_set_new(json, "connection",
							json_string(line->kept ? "kept" : (line->reconnected ? "renewed" : "new")));
		json_object_set_new(json, "connect_ms", json_integer(line->connect_ms));
	}
	put(json, "error_type", line->error_type);
	put(json, "error", line->error);
	put(json, "warning", line->warning);
	put(json, "request_id", line->request_id);
	put(json, "trace_id", line->trace_id);
	text = json_text(json);
	json_decref(json);
	if (text == NULL)
	{
		static const char memory[] = "{\"outcome\":\"error\",\"error\":\"out of memory\"}\n";

		write_line(memory, sizeof(memory) - 1);
		return;
	}
	/* the line's end takes the place of the text's */
	length = strlen(text);
	text[length] = '\n';
	write_line(text, length + 1);
	free(text);
}
