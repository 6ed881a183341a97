/*-------------------------------------------------------------------------
 *
 * json_text.c
 *	  A jansson value as text.
 *
 * lambda/json_text.c
 *
 *-------------------------------------------------------------------------
 */
#include "json_text.h"

#include <stdlib.h>

char *
json_text(const json_t *json)
{
	size_t length = json != NULL ? json_dumpb(json, NULL, 0, JSON_COMPACT) : 0;
	char *text;

	if (length == 0 || (text = malloc(length + 1)) == NULL)
		return NULL;
	json_dumpb(json, text, length, JSON_COMPACT);
	text[length] = '\0';
	return text;
}
