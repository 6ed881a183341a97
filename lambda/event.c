/*-------------------------------------------------------------------------
 *
 * event.c
 *	  What the function itself has to know of an event: which step, and what
 *	  may be logged.
 *
 * lambda/event.c
 *
 *-------------------------------------------------------------------------
 */
#include "event.h"

#include <jansson.h>
#include <string.h>

#include "core/aws_error.h"

#define TYPE "Event.Invalid"

static const struct
{
	const char *name;
	const char *other;
	Step step;
} steps[] = {
	{"createSecret", "create_secret", STEP_CREATE},
	{"setSecret", "set_secret", STEP_SET},
	{"testSecret", "test_secret", STEP_TEST},
	{"finishSecret", "finish_secret", STEP_FINISH},
};

static void
read_step(const char *value, EventFacts *facts)
{
	for (size_t i = 0; value != NULL && i < sizeof(steps) / sizeof(steps[0]); i++)
	{
		if (strcmp(value, steps[i].name) == 0 || strcmp(value, steps[i].other) == 0)
		{
			facts->step = steps[i].step;
			facts->step_name = steps[i].name;
		}
	}
}

/* A UUID, as the service sends it; anything else could be what was put into the wrong field. */
static bool
is_uuid(const char *text)
{
	return strlen(text) == 36 && strspn(text, "0123456789abcdefABCDEF-") == 36;
}

bool
event_read(const char *text, size_t length, EventFacts *facts, Failure *failure)
{
	json_error_t error;
	json_t *event;
	const char *secret;
	const char *version;

	memset(facts, 0, sizeof(*facts));
	if (text == NULL)
	{
		failure_set(failure, TYPE, "the event is empty");
		return false;
	}

	/*
	 * As strict as jsonb, so that jsonb's complaints are never heard: NUL
	 * (\u0000) and unpaired surrogates are refused, any number is taken.
	 */
	event = json_loadb(text, length, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
	if (event == NULL)
		/* jansson's text would quote the event */
		failure_set(failure, TYPE, "the event is not valid JSON, at line %d, column %d", error.line,
					error.column);
	else if (!json_is_object(event))
		failure_set(failure, TYPE, "the event is not a JSON object");
	else
	{
		read_step(json_string_value(json_object_get(event, "Step")), facts);
		secret = json_string_value(json_object_get(event, "SecretId"));
		version = json_string_value(json_object_get(event, "ClientRequestToken"));
		if (secret != NULL)
			aws_printable(facts->secret, sizeof(facts->secret), secret, strlen(secret));
		if (version != NULL && is_uuid(version))
			memcpy(facts->version, version, strlen(version) + 1);
		json_decref(event);
		return true;
	}
	json_decref(event);
	return false;
}
