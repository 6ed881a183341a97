/*-------------------------------------------------------------------------
 *
 * wiping.h
 *	  Memory that is wiped before it is given back, for libcurl, through whose
 *	  buffers the function's login passes.
 *
 * lambda/wiping.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_LAMBDA_WIPING_H
#define ROTATE_LAMBDA_WIPING_H

#include <stdbool.h>

/* curl_global_init() with such an allocator; once, before any other use of libcurl. */
extern bool wiping_curl_init(void);

#endif /* ROTATE_LAMBDA_WIPING_H */
