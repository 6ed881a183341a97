/*-------------------------------------------------------------------------
 *
 * test_expiration.c
 *	  Unit test of src/core/expiration.c: when credentials expire, and when they
 *	  are renewed.
 *
 * Covers: core/expiration.
 *
 * test/unit/test_expiration.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/expiration.h"

#include <stdio.h>
#include <string.h>

#include "unit_check.h"

#define NOW ((time_t) 1763788854) /* 2025-11-22T05:20:54Z */

static void
test_parse(void)
{
	static const struct
	{
		const char *text;
		time_t seconds;
	} good[] = {
		{"2025-11-22T05:20:54Z", NOW},
		{"2025-11-22T05:20:54.5Z", NOW},
		{"2025-11-22T05:20:54.123456789Z", NOW},
		{"2025-11-22 05:20:54Z", NOW},
		{"2025-11-22T05:20:54", NOW},
		{"2025-11-22T06:20:54+01:00", NOW},
		{"2025-11-22T06:20:54+0100", NOW},
		{"2025-11-22T06:20:54+01", NOW},
		{"2025-11-22T01:50:54-03:30", NOW},
		{"2025-11-22T05:20:54+00:00", NOW},
		{"2025-11-22T05:20:54.25+00:00", NOW},
		{"1970-01-01T00:00:00Z", 0},
		{"2024-02-29T00:00:00Z", 1709164800},
		{"2099-12-31T23:59:59Z", 4102444799},
		{"2016-12-31T23:59:60Z", 1483228800},
	};
	static const char *const bad[] = {
		"",
		"tomorrow",
		"2025-11-22",
		"2025-11-22T",
		"2025-11-22T05:20",
		"2025-11-22T05:20:54ZZ",
		"2025-11-22T05:20:54 Z",
		" 2025-11-22T05:20:54Z",
		"2025-11-22T05:20:54Z ",
		"2025-11-22t05:20:54Z",
		"2025/11/22T05:20:54Z",
		"2025-13-22T05:20:54Z",
		"2025-00-22T05:20:54Z",
		"2025-11-00T05:20:54Z",
		"2025-11-32T05:20:54Z",
		"2025-11-22T24:20:54Z",
		"2025-11-22T05:60:54Z",
		"2025-11-22T05:20:61Z",
		"2025-11-22T05:20:54.Z",
		"2025-11-22T05:20:54+1",
		"2025-11-22T05:20:54+01:",
		"2025-11-22T05:20:54+24:00",
		"2025-11-22T05:20:54+01:60",
		"2025-11-22T05:20:54+01:00Z",
		"1969-12-31T23:59:59Z",
		"-025-11-22T05:20:54Z",
		"25-11-22T05:20:54Z",
		"1763788854",
		"\xef\xbc\x92"
		"025-11-22T05:20:54Z",
	};
	time_t seconds;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check(expiration_parse(good[i].text, &seconds) && seconds == good[i].seconds, "time", good[i].text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check(!expiration_parse(bad[i], &seconds), "no time", bad[i]);
}

static void
test_renewal(void)
{
	static const struct
	{
		const char *what;
		time_t left;
		double random;
		time_t after;
	} cases[] = {
		{"six hours left", 6 * 3600, 0.5, 6 * 3600 - 900},
		{"just over 15 minutes left", 901, 0.5, 1},
		{"15 minutes left", 900, 0.5, 60},
		{"just over 10 minutes left", 601, 0.5, 60},
		{"10 minutes left", 600, 0.5, 10},
		{"11 seconds left", 11, 0.5, 10},
		{"a second left", 1, 0.5, 1},
		{"expired now", 0, 0, 300},
		{"expired", -3600, 0, 300},
		{"expired, and at random", -3600, 0.5, 450},
		{"expired, and at most", -3600, 0.999, 599},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(expiration_plan_renewal(NOW, NOW + cases[i].left, cases[i].random) == NOW + cases[i].after,
			  "renewal", cases[i].what);
	check(expiration_plan_renewal(NOW, 0, 0.5) == 0, "renewal", "never expires");
}

int
main(void)
{
	test_parse();
	test_renewal();
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
