/*-------------------------------------------------------------------------
 *
 * test_retry.c
 *	  core/retry: which failed runs are tried again, and when.
 *
 *-------------------------------------------------------------------------
 */
#include "core/retry.h"

#include <stdio.h>

#include "unit_check.h"

static void
test_classes(void)
{
	/* as the product raises them: src/aws/sm_report.c, src/db/login_report.c, src/rotation_*.c */
	static const struct
	{
		const char *sqlstate;
		RetryClass class;
	} cases[] = {
		{"08001", RETRY_SOON},  {"08006", RETRY_SOON},      {"08007", RETRY_SOON},  {"08P01", RETRY_SOON},
		{"40001", RETRY_SOON},  {"40P01", RETRY_SOON},      {"53100", RETRY_SOON},  {"53200", RETRY_SOON},
		{"53300", RETRY_SOON},  {"53000", RETRY_THROTTLED}, {"53400", RETRY_QUOTA}, {"55006", RETRY_SOON},
		{"55P03", RETRY_SOON},  {"57P01", RETRY_SOON},      {"57P02", RETRY_SOON},  {"57P03", RETRY_SOON},
		{"58000", RETRY_SOON},  {"58030", RETRY_SOON},      {"XX000", RETRY_FEW},   {"28P01", RETRY_NEVER},
		{"28000", RETRY_SOON},  {"42501", RETRY_NEVER},     {"42704", RETRY_NEVER}, {"22023", RETRY_NEVER},
		{"55000", RETRY_NEVER}, {"57014", RETRY_NEVER},     {"22032", RETRY_NEVER}, {"F0000", RETRY_NEVER},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(retry_class(cases[i].sqlstate) == cases[i].class, "class", cases[i].sqlstate);
}

/* Between half and all of what the attempt before could wait, twice; and never beyond the limits. */
static void
test_delays(RetryClass class, const char *name, long least, long most)
{
	long previous = 0;

	for (int attempt = 1; attempt <= 1000; attempt++)
	{
		long longest = retry_delay_ms(class, attempt, 0);
		long middle = retry_delay_ms(class, attempt, 0.5);
		long shortest = retry_delay_ms(class, attempt, 0.999999);

		check(shortest >= least && longest <= most, "within its limits", name);
		check(longest >= previous, "never shorter than before", name);
		check(attempt == 1 || longest == (2 * previous < most ? 2 * previous : most), "twice as long", name);
		check(shortest < middle && middle < longest && shortest >= longest / 2, "a random half is taken away",
			  name);
		previous = longest;
	}
	check(previous == most, "in the end the longest", name);
}

int
main(void)
{
	test_classes();
	test_delays(RETRY_SOON, "soon", 1000, 15 * 60000L);
	test_delays(RETRY_THROTTLED, "throttled", 10000, 15 * 60000L);
	test_delays(RETRY_QUOTA, "quota", 10 * 60000L, 120 * 60000L);
	check(retry_delay_ms(RETRY_NEVER, 1, 0) == -1, "no next attempt", "never");
	for (int attempt = 1; attempt < RETRY_FEW_ATTEMPTS; attempt++)
		check(retry_delay_ms(RETRY_FEW, attempt, 0) > 0, "a next attempt", "few");
	check(retry_delay_ms(RETRY_FEW, RETRY_FEW_ATTEMPTS, 0) == -1, "no next attempt", "few");
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
