/*-------------------------------------------------------------------------
 *
 * wiping.c
 *	  Memory that is wiped before it is given back.
 *
 * src/core/wiping.c
 *
 *-------------------------------------------------------------------------
 */
/* explicit_bzero() is no part of C11 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "core/wiping.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX (alignof(max_align_t) > sizeof(size_t) ? alignof(max_align_t) : sizeof(size_t))

void *
wiping_malloc(size_t size)
{
	char *block;

	if (size > SIZE_MAX - PREFIX || (block = malloc(PREFIX + size)) == NULL)
		return NULL;
	memcpy(block, &size, sizeof(size));
	return block + PREFIX;
}

static size_t
block_size(const void *pointer)
{
	size_t size;

	memcpy(&size, (const char *) pointer - PREFIX, sizeof(size));
	return size;
}

void
wiping_free(void *pointer)
{
	if (pointer == NULL)
		return;
	explicit_bzero(pointer, block_size(pointer));
	free((char *) pointer - PREFIX);
}

void *
wiping_realloc(void *pointer, size_t size)
{
	void *new = wiping_malloc(size);
	size_t old_size;

	if (new == NULL || pointer == NULL)
		return new;
	old_size = block_size(pointer);
	memcpy(new, pointer, size < old_size ? size : old_size);
	wiping_free(pointer);
	return new;
}

char *
wiping_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = wiping_malloc(size);

	if (copy != NULL)
		memcpy(copy, text, size);
	return copy;
}

void *
wiping_calloc(size_t count, size_t size)
{
	void *pointer;

	if (size != 0 && count > SIZE_MAX / size)
		return NULL;
	pointer = wiping_malloc(count * size);
	if (pointer != NULL)
		memset(pointer, 0, count * size);
	return pointer;
}
