/*-------------------------------------------------------------------------
 *
 * rotation_standbys.c
 *	  Whether a standby is too far behind to change a password.
 *
 * Until a standby has replayed the change, it takes the old password, and
 * refuses the new one that applications get from AWSCURRENT.  So a rotation
 * does not begin while one is further behind than rotate_ext.max_standby_lag.
 *
 * src/rotation_standbys.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "db/standby.h"
#include "guc.h"
#include "rotation_internal.h"

/* Does a slot that nobody uses keep a rotation from beginning? */
static bool
is_in_the_way(const StandbyLag *standby)
{
	return !standby->inactive_slot || rotate_inactive_slots == INACTIVE_SLOTS_BLOCK;
}

static const StandbyLag *
first_in_the_way(const Rotation *rotation)
{
	ListCell *cell;

	foreach (cell, rotation->standbys)
	{
		if (is_in_the_way(lfirst(cell)))
			return lfirst(cell);
	}
	return NULL;
}

static void
warn_of_slots(Rotation *rotation)
{
	ListCell *cell;

	if (rotation->warned_of_slots)
		return;
	rotation->warned_of_slots = true;
	foreach (cell, rotation->standbys)
	{
		const StandbyLag *standby = lfirst(cell);

		if (standby->inactive_slot)
			rotation_notice(
				rotation->result, WARNING, psprintf("replication slot \"%s\" is inactive", standby->name),
				"A standby that comes back with it refuses new passwords until it has caught up.",
				"Drop the slot if it is not needed any more, or name it in rotate_ext.ignore_standbys.");
	}
}

void
rotation_observe_standbys(Rotation *rotation)
{
	MemoryContext context = CurrentMemoryContext;

	rotation->standbys = NIL;
	if (rotate_max_standby_lag >= 0 && rotation->order->operation != OPERATION_ABANDON)
	{
		rotation_begin();
		MemoryContextSwitchTo(rotation->context);
		rotation->standbys = standby_list_behind((int64) rotate_max_standby_lag * 1024,
												 rotate_inactive_slots != INACTIVE_SLOTS_IGNORE);
		MemoryContextSwitchTo(context);
		rotation_commit();
	}
	rotation->facts.standbys = first_in_the_way(rotation) ? STANDBYS_BEHIND : STANDBYS_REPLAYED;
	if (rotate_inactive_slots == INACTIVE_SLOTS_WARN &&
		(rotation->facts.request == REQUEST_ROTATE_NOW || rotation->facts.request == REQUEST_SET_SECRET))
		warn_of_slots(rotation);
}

static char *
limit_text(void)
{
	return TextDatumGetCString(
		DirectFunctionCall1(pg_size_pretty, Int64GetDatum((int64) rotate_max_standby_lag * 1024)));
}

/* SQLSTATE 55006 says that it may pass: the launcher tries again. */
void
rotation_refuse_standbys(const Rotation *rotation)
{
	const StandbyLag *standby = first_in_the_way(rotation);
	const char *secret = ROTATION_SECRET(rotation);

	if (standby == NULL)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not %s secret \"%s\": a standby is behind that was not seen",
							   rotation->verb, secret)));
	if (standby->inactive_slot)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("could not %s secret \"%s\": replication slot \"%s\" is inactive", rotation->verb, secret,
					standby->name),
			 errdetail("A standby that comes back with it refuses new passwords until it has caught up."),
			 errhint(
				 "Try again when the standby is connected. Drop the slot if it is not needed any more, or "
				 "name it in rotate_ext.ignore_standbys.")));
	ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("could not %s secret \"%s\": standby \"%s\" is too far behind", rotation->verb,
						   secret, standby->name),
					errdetail("It has %s of WAL still to replay; rotate_ext.max_standby_lag is %s.",
							  standby->lag_text, limit_text()),
					errhint("Try again when it has caught up. One that is delayed on purpose can be named in "
							"rotate_ext.ignore_standbys.")));
}

void
rotation_append_standbys(StringInfo json, const Rotation *rotation)
{
	ListCell *cell;

	appendStringInfoString(json, ", \"standbys\": ");
	if (rotate_max_standby_lag < 0)
	{
		appendStringInfoString(json, "\"not looked at\"");
		return;
	}
	if (rotation->standbys == NIL)
	{
		appendStringInfo(json, "\"none is more than %s behind\"", limit_text());
		return;
	}
	appendStringInfoChar(json, '[');
	foreach (cell, rotation->standbys)
	{
		const StandbyLag *standby = lfirst(cell);

		if (cell != list_head(rotation->standbys))
			appendStringInfoString(json, ", ");
		escape_json(json, standby->inactive_slot
							  ? psprintf("slot \"%s\" is inactive", standby->name)
							  : psprintf("\"%s\" is %s behind", standby->name, standby->lag_text));
	}
	appendStringInfoChar(json, ']');
}
