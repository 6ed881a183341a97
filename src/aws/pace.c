/*-------------------------------------------------------------------------
 *
 * pace.c
 *	  The rotations of a server send no more writes than AWS takes.
 *
 * src/aws/pace.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/wait_event.h"

#include "aws/http.h"
#include "aws/pace.h"
#include "guc.h"

/* The third key of our advisory locks; turn.h has others. */
#define PLACE_FOR_ALL 5
#define PLACE_FOR_MOVES 6

/* A write that would have to wait longer is sent all the same: the line has to end somewhere. */
#define MAX_WAIT_MS 60000

/* More than a process can have in slots that are not over. */
#define MAX_PLACES 16

typedef struct Place
{
	LOCKTAG tag;
	int64 begins; /* http_clock_ms() when its slot does */
	int64 over;   /* and when that is */
} Place;

static Place places[MAX_PLACES];
static int nplaces = 0;

static void
give_back(int64 now)
{
	int kept = 0;

	for (int i = 0; i < nplaces; i++)
	{
		if (places[i].over > now)
			places[kept++] = places[i];
		else
			(void) LockRelease(&places[i].tag, ExclusiveLock, true);
	}
	nplaces = kept;
}

static bool
take_place(uint32 region, uint32 slot, uint16 kind, int64 begins, int64 over)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, region, slot, kind);
	switch (LockAcquire(&tag, ExclusiveLock, true, true))
	{
		case LOCKACQUIRE_OK:
			places[nplaces].tag = tag;
			places[nplaces].begins = begins;
			places[nplaces++].over = over;
			return true;
		case LOCKACQUIRE_NOT_AVAIL:
			return false;
		case LOCKACQUIRE_ALREADY_HELD:
		case LOCKACQUIRE_ALREADY_CLEAR:
			/* by an earlier write of our own */
			(void) LockRelease(&tag, ExclusiveLock, true);
			return false;
	}
	return false;
}

int64
pace_reserve(const char *region, bool move)
{
	const uint32 hash = DatumGetUInt32(hash_any((const unsigned char *) region, (int) strlen(region)));
	const int64 length = (2000 + rotate_writes_per_second - 1) / rotate_writes_per_second;
	const int64 now = http_clock_ms();

	give_back(now);
	for (int64 slot = now / length; slot * length < now + MAX_WAIT_MS && nplaces < MAX_PLACES; slot++)
	{
		const int64 begins = slot * length;

		if ((move && take_place(hash, (uint32) slot, PLACE_FOR_MOVES, begins, begins + length)) ||
			take_place(hash, (uint32) slot, PLACE_FOR_ALL, begins, begins + length))
			return Max(begins, now);
	}
	return now + MAX_WAIT_MS;
}

void
pace_linger(void)
{
	int64 now = http_clock_ms();

	/* a write that was given up while it waited was not sent */
	for (int i = 0; i < nplaces; i++)
	{
		if (places[i].begins > now)
			places[i].over = now;
	}
	while (give_back(now = http_clock_ms()), nplaces > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (long) (places[nplaces - 1].over - now), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}
