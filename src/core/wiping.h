/*-------------------------------------------------------------------------
 *
 * wiping.h
 *	  Memory that is wiped before it is given back: the allocator that jansson
 *	  and libcurl are given, through whose buffers secrets pass.
 *
 * They free without saying how much, so the size stands before each block.
 * Each function is as its namesake in the C library, over malloc; a block must be
 * given back here and not to free().
 *
 * src/core/wiping.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_WIPING_H
#define ROTATE_EXT_WIPING_H

#include <stddef.h>

extern void *wiping_malloc(size_t size);
extern void *wiping_calloc(size_t count, size_t size);
extern void *wiping_realloc(void *pointer, size_t size);
extern char *wiping_strdup(const char *text);
extern void wiping_free(void *pointer);

#endif /* ROTATE_EXT_WIPING_H */
