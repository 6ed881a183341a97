/*-------------------------------------------------------------------------
 *
 * decide_others.h
 *	  What others do in the world of test_decide.c, at any moment: the service,
 *	  people, a failover, the network.
 *
 * test/unit/decide_others.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DECIDE_OTHERS_H
#define DECIDE_OTHERS_H

#include "decide_run.h"

typedef enum Interference
{
	SERVICE_MAKES_EMPTY_PENDING, /* with a new token; it may stay empty */
	SERVICE_TAKES_PENDING_AWAY,
	SERVICE_PUTS_TEST_VERSION, /* RotateImmediately=false: AWSCURRENT's value */
	PUT_PENDING,               /* a value written by someone else */
	PUT_PENDING_LOCKED,        /* one that never logs in */
	PUT_PENDING_UNUSABLE,
	PENDING_TO_PREVIOUS, /* what rotate_rollback() does first */
	CURRENT_TO_PREVIOUS,
	CURRENT_TO_PENDING,
	EDIT_CURRENT,
	EDIT_CURRENT_UNUSABLE,
	CHANGE_ROLE_BY_HAND,
	CHANGE_ROLE_TO_CURRENT, /* by hand, to AWSCURRENT's password */
	CHANGE_TWIN_BY_HAND,
	PROMOTE_STANDBY, /* without the last commits */
	INTERFERENCE_COUNT
} Interference;

static const char *const interference_name[INTERFERENCE_COUNT] = {
	"the service makes an empty AWSPENDING version",
	"the service takes AWSPENDING away",
	"the service puts AWSPENDING with AWSCURRENT's value",
	"someone puts an AWSPENDING value",
	"someone puts an AWSPENDING value that never logs in",
	"someone puts an unusable AWSPENDING value",
	"someone moves AWSPENDING to AWSPREVIOUS's version",
	"someone moves AWSCURRENT to AWSPREVIOUS's version",
	"someone moves AWSCURRENT to AWSPENDING's version",
	"someone edits AWSCURRENT",
	"someone makes AWSCURRENT unusable",
	"someone changes the password of AWSCURRENT's role",
	"someone changes the role's password to AWSCURRENT's",
	"someone changes the password of the other twin",
	"a standby is promoted without the last commits",
};

static bool
put_label(World *w, VersionRef ref, VersionValue value, int twin, uint8_t password, bool locked)
{
	uint8_t slot = new_version(w, value, twin, password);

	w->version[slot].locked = locked;
	if (ref == VERSION_CURRENT)
		move_label(w, slot);
	else
		w->label[ref] = slot;
	return true;
}

static bool
set_by_hand(State *s, int twin, uint8_t password)
{
	memcpy(s->w.replica, s->w.role, sizeof(s->w.role));
	s->w.role[twin].password = password;
	s->w.role[twin].ours = false;
	s->r.stale = s->r.active;
	return true;
}

/* False: it would change nothing here. */
static bool
interfere(State *s, Interference what)
{
	World *w = &s->w;
	const Version *current = labelled(w, VERSION_CURRENT);
	uint8_t on_current = w->label[VERSION_CURRENT];
	uint8_t on_pending = w->label[VERSION_PENDING];
	uint8_t on_previous = w->label[VERSION_PREVIOUS];
	int other_twin = alternating() ? !current->twin : 0;

	if (w->budget == 0)
		return false;
	w->budget--;
	s->r.undisturbed = false;

	switch (what)
	{
		case SERVICE_MAKES_EMPTY_PENDING:
			return put_label(w, VERSION_PENDING, VALUE_EMPTY, 0, PASSWORD_LOST, false);
		case SERVICE_TAKES_PENDING_AWAY:
			w->label[VERSION_PENDING] = NO_SLOT;
			return on_pending != NO_SLOT;
		case SERVICE_PUTS_TEST_VERSION:
			return current->value == VALUE_USABLE &&
				   put_label(w, VERSION_PENDING, VALUE_USABLE, current->twin, current->password,
							 current->locked);
		case PUT_PENDING:
			return put_label(w, VERSION_PENDING, VALUE_USABLE, other_twin, new_password(s), false);
		case PUT_PENDING_LOCKED:
			return put_label(w, VERSION_PENDING, VALUE_USABLE, other_twin, new_password(s), true);
		case PUT_PENDING_UNUSABLE:
			return put_label(w, VERSION_PENDING, VALUE_UNUSABLE, 0, PASSWORD_LOST, false);
		case PENDING_TO_PREVIOUS:
			w->label[VERSION_PENDING] = on_previous;
			return on_previous != NO_SLOT && on_previous != on_pending;
		case CURRENT_TO_PREVIOUS:
			if (on_previous == NO_SLOT || on_previous == on_current)
				return false;
			move_label(w, on_previous);
			return true;
		case CURRENT_TO_PENDING:
			if (on_pending == NO_SLOT || on_pending == on_current)
				return false;
			move_label(w, on_pending);
			return true;
		case EDIT_CURRENT:
			return put_label(w, VERSION_CURRENT, VALUE_USABLE, current->twin, new_password(s), false);
		case EDIT_CURRENT_UNUSABLE:
			return current->value == VALUE_USABLE &&
				   put_label(w, VERSION_CURRENT, VALUE_UNUSABLE, 0, PASSWORD_LOST, false);
		case CHANGE_ROLE_BY_HAND:
			return set_by_hand(s, current->twin, PASSWORD_LOST);
		case CHANGE_ROLE_TO_CURRENT:
			return current->value == VALUE_USABLE && set_by_hand(s, current->twin, current->password);
		case CHANGE_TWIN_BY_HAND:
			return alternating() && set_by_hand(s, !current->twin, PASSWORD_LOST);
		case PROMOTE_STANDBY:
			if (memcmp(w->role, w->replica, sizeof(w->role)) == 0)
				return false;
			memcpy(w->role, w->replica, sizeof(w->role));
			reset_run(&s->r); /* the worker ends with the old primary */
			return true;
		case INTERFERENCE_COUNT:
			break;
	}
	return false;
}

/* A move that nobody waits for any more reaches AWS. */
static bool
arrive(State *s, int flight)
{
	World *w = &s->w;
	uint8_t from = w->from[flight];
	uint8_t to = w->to[flight];

	if (to == NO_SLOT)
		return false;
	for (int i = flight; i < MAX_FLIGHTS; i++)
	{
		w->from[i] = i + 1 < MAX_FLIGHTS ? w->from[i + 1] : NO_SLOT;
		w->to[i] = i + 1 < MAX_FLIGHTS ? w->to[i + 1] : NO_SLOT;
	}
	if (w->label[VERSION_CURRENT] == from)
	{
		move_label(w, to);
		if (!s->r.unanswered || s->r.moved_to != to)
			s->r.undisturbed = false;
	}
	return true;
}

#endif /* DECIDE_OTHERS_H */
