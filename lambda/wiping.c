/*-------------------------------------------------------------------------
 *
 * wiping.c
 *	  Memory that is wiped before it is given back, for libcurl, through whose
 *	  buffers the function's login passes.
 *
 * libcurl frees without saying how much, so the size stands before each block.
 *
 * lambda/wiping.c
 *
 *-------------------------------------------------------------------------
 */
#include "wiping.h"

#include <curl/curl.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX (alignof(max_align_t) > sizeof(size_t) ? alignof(max_align_t) : sizeof(size_t))

static void *
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

static void
wiping_free(void *pointer)
{
	if (pointer == NULL)
		return;
	explicit_bzero(pointer, block_size(pointer));
	free((char *) pointer - PREFIX);
}

static void *
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

static char *
wiping_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = wiping_malloc(size);

	if (copy != NULL)
		memcpy(copy, text, size);
	return copy;
}

static void *
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

bool
wiping_curl_init(void)
{
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_malloc, wiping_free, wiping_realloc,
								wiping_strdup, wiping_calloc) == CURLE_OK;
}
