/*-------------------------------------------------------------------------
 *
 * standby.h
 *	  The servers that replicate from this one, and the one that this one
 *	  replicates from.
 *
 * A standby is a physical walsender that has ever reported what it has replayed:
 * pg_receivewal and pg_recvlogical never do, and a subscription has a logical
 * slot.  An inactive physical slot is a standby that may come back.  Cascaded
 * standbys can't be seen from here.
 *
 * src/db/standby.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_STANDBY_H
#define ROTATE_EXT_STANDBY_H

#include "nodes/pg_list.h"

typedef struct StandbyLag
{
	char *name;         /* application_name, or the slot's; printable */
	bool inactive_slot; /* nobody uses the slot, which is physical */
	int64 lag;          /* bytes of WAL that it has not replayed, or that the slot keeps */
	char *lag_text;     /* "32 MB" */
} StandbyLag;

/*
 * The standbys that are more than limit bytes behind, and, where slots is
 * true, the inactive slots; the furthest behind first.  Those that
 * rotate_ext.ignore_standbys names are left out.  Needs a transaction and a
 * snapshot; results are palloc'd in the caller's context.
 */
extern List *standby_list_behind(int64 limit, bool slots);

/*
 * On a standby: where it replicates from, as 'host "db1", port 5432', or NULL
 * where that is not known.  Of the connection's settings nothing else is read.
 */
extern char *standby_describe_source(void);

#endif /* ROTATE_EXT_STANDBY_H */
