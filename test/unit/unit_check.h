/*-------------------------------------------------------------------------
 *
 * unit_check.h
 *	  A check of a unit test: counted, and told where it fails.
 *
 * test/unit/unit_check.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef UNIT_CHECK_H
#define UNIT_CHECK_H

#include <stdbool.h>
#include <stdio.h>

static int passed = 0;
static int failed = 0;

/* input: what was tried, for the message. */
static void
check(bool condition, const char *what, const char *input)
{
	if (condition)
		passed++;
	else
	{
		failed++;
		printf("not ok: %s: \"%s\"\n", what, input);
	}
}

#endif /* UNIT_CHECK_H */
