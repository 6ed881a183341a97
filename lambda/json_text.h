/*-------------------------------------------------------------------------
 *
 * json_text.h
 *	  A jansson value as text.
 *
 * json_dumps() returns memory of jansson's own allocator, which is the wiping
 * one here (core/secret_value.h) and has no free() that fits.
 *
 * lambda/json_text.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_JSON_TEXT_H
#define ROTATE_LAMBDA_JSON_TEXT_H

#include <jansson.h>

/* Compact, by malloc, NUL-terminated.  NULL for NULL, and out of memory. */
extern char *json_text(const json_t *json);

#endif /* ROTATE_LAMBDA_JSON_TEXT_H */
