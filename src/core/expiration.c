/*-------------------------------------------------------------------------
 *
 * expiration.c
 *	  When credentials expire, and when to look for others.
 *
 * src/core/expiration.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/expiration.h"

#include <stddef.h>

/* Before they expire: renewing is advised, is required; and how often it is tried, in seconds. */
#define ADVISED_SECONDS (15 * 60)
#define ADVISED_PAUSE 60
#define REQUIRED_SECONDS (10 * 60)
#define REQUIRED_PAUSE 10

/* Once they have expired, and up to twice that. */
#define EXPIRED_PAUSE (5 * 60)

/* So many digits as a number; false where there are fewer. */
static bool
take_number(const char **text, int digits, int *number)
{
	*number = 0;
	for (int i = 0; i < digits; i++, (*text)++)
	{
		if (**text < '0' || **text > '9')
			return false;
		*number = *number * 10 + (**text - '0');
	}
	return true;
}

static bool
take_char(const char **text, char c)
{
	if (**text != c)
		return false;
	(*text)++;
	return true;
}

static bool
take_date(const char **text, struct tm *tm)
{
	if (!take_number(text, 4, &tm->tm_year) || !take_char(text, '-') || !take_number(text, 2, &tm->tm_mon) ||
		!take_char(text, '-') || !take_number(text, 2, &tm->tm_mday))
		return false;
	tm->tm_year -= 1900;
	tm->tm_mon -= 1;
	return tm->tm_year >= 70 && tm->tm_mon >= 0 && tm->tm_mon <= 11 && tm->tm_mday >= 1 && tm->tm_mday <= 31;
}

/* 60 seconds is a leap second, which timegm() counts into the next minute. */
static bool
take_time(const char **text, struct tm *tm)
{
	int ignored;

	if (!take_number(text, 2, &tm->tm_hour) || !take_char(text, ':') || !take_number(text, 2, &tm->tm_min) ||
		!take_char(text, ':') || !take_number(text, 2, &tm->tm_sec))
		return false;
	if (take_char(text, '.'))
	{
		if (!take_number(text, 1, &ignored))
			return false;
		while (take_number(text, 1, &ignored))
			continue;
	}
	return tm->tm_hour <= 23 && tm->tm_min <= 59 && tm->tm_sec <= 60;
}

/* "Z", an offset, or nothing; seconds east of Greenwich. */
static bool
take_zone(const char **text, int *offset)
{
	char sign = **text;
	int hours;
	int minutes = 0;

	*offset = 0;
	if (sign != '+' && sign != '-')
		return sign == '\0' || take_char(text, 'Z');
	(*text)++;
	if (!take_number(text, 2, &hours))
		return false;
	if (**text != '\0')
	{
		(void) take_char(text, ':');
		if (!take_number(text, 2, &minutes))
			return false;
	}
	*offset = (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	return hours <= 23 && minutes <= 59;
}

bool
expiration_parse(const char *text, time_t *expires)
{
	struct tm tm = {0};
	int offset;

	if (!take_date(&text, &tm) || (!take_char(&text, 'T') && !take_char(&text, ' ')) ||
		!take_time(&text, &tm) || !take_zone(&text, &offset) || *text != '\0')
		return false;
	*expires = timegm(&tm) - offset;
	return true;
}

time_t
expiration_plan_renewal(time_t now, time_t expires, double random)
{
	time_t left = expires - now;

	if (expires == 0)
		return 0;
	if (left > ADVISED_SECONDS)
		return expires - ADVISED_SECONDS;
	if (left > REQUIRED_SECONDS)
		return now + ADVISED_PAUSE;
	if (left > 0)
		return left > REQUIRED_PAUSE ? now + REQUIRED_PAUSE : expires;
	return now + EXPIRED_PAUSE + (time_t) (EXPIRED_PAUSE * random);
}
