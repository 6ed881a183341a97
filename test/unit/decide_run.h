/*-------------------------------------------------------------------------
 *
 * decide_run.h
 *	  The loop of a rotation, as test_decide.c plays it: observe, gather the
 *	  facts, carry the action out with one of its outcomes.
 *
 * This is the model of what src/rotation.c does; the rules are those in
 * decide.h's header.
 *
 * test/unit/decide_run.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DECIDE_RUN_H
#define DECIDE_RUN_H

#include "decide_world.h"

/* How an action can come out.  All but the first two cost one of the budget. */
typedef enum Outcome
{
	OUTCOME_TRUE,      /* as the world is */
	OUTCOME_UNSHIPPED, /* SET_PASSWORD: the standby has not even the commit before this one */
	OUTCOME_FAILS,     /* login, wait or move: refused for another reason */
	OUTCOME_LOST,      /* move: the request never arrived, and no answer came */
	OUTCOME_UNHEARD,   /* move: it took effect, and no answer came */
	OUTCOME_LATE,      /* move: no answer came, and it may take effect later */
	OUTCOME_COUNT
} Outcome;

static void
forget_proofs(Run *r)
{
	for (int i = 0; i < MAX_VERSIONS; i++)
	{
		if (r->login[i] == LOGIN_PROVED)
			r->login[i] = LOGIN_NOT_TRIED;
	}
}

static void
observe(State *s)
{
	Run *r = &s->r;
	const World *w = &s->w;
	bool same_labels = r->seen[VERSION_CURRENT] == w->label[VERSION_CURRENT] &&
					   r->seen[VERSION_PENDING] == w->label[VERSION_PENDING];

	memcpy(r->seen, w->label, sizeof(r->seen));
	/* where somebody else has put it, it is not what the rollback was asked for */
	if (r->target != NO_SLOT && r->seen[VERSION_PENDING] != r->target)
		r->seen[VERSION_PENDING] = NO_SLOT;
	memcpy(r->seen_role, w->role, sizeof(r->seen_role));
	if (r->stale)
	{
		forget_proofs(r);
		r->set_slot = NO_SLOT;
		r->kept = false;
		memset(&r->old, 0, sizeof(r->old));
	}
	if (r->unanswered && r->seen[VERSION_CURRENT] == r->moved_to)
		r->move = MOVE_SUCCEEDED;
	else if (r->move == MOVE_REFUSED && !same_labels)
		r->move = MOVE_NOT_SENT;
	if (alternating() && r->standbys != STANDBYS_TIMED_OUT)
		r->standbys = memcmp(w->replica, w->role, sizeof(w->role)) == 0 ? STANDBYS_REPLAYED : STANDBYS_BEHIND;
	r->stale = false;
	r->observe = false;
}

static VersionValue
value_of_other(const Version *v, const Version *current, bool same_password)
{
	if (alternating() && v->value == VALUE_USABLE && v->twin == current->twin && !same_password)
		return VALUE_UNUSABLE;
	return (VersionValue) v->value;
}

static RotationFacts
gather(const State *s)
{
	const Run *r = &s->r;
	const Version *current = at(&s->w, r->seen[VERSION_CURRENT]);
	const Version *pending = at(&s->w, r->seen[VERSION_PENDING]);
	const Version *previous = at(&s->w, r->seen[VERSION_PREVIOUS]);
	RotationFacts f = {0};
	bool fetch_previous;

	f.request = (RotationRequest) r->request;
	f.strategy = settings.strategy;
	f.force = r->force;
	f.own_pending_only = settings.own_pending_only;
	f.repair = settings.repair;
	f.combine_steps = settings.combine_steps;
	f.rotation_enabled = true;

	f.pending_is_current = pending == current && current->value != VALUE_NO_VERSION;
	f.pending_same_password = !f.pending_is_current && pending->value == VALUE_USABLE &&
							  current->value == VALUE_USABLE && pending->password == current->password;
	f.current = (VersionValue) current->value;
	f.pending = f.pending_is_current ? f.current : value_of_other(pending, current, f.pending_same_password);
	f.pending_written_by_us = pending->ours;

	f.role_has[VERSION_CURRENT] = matches(r->seen_role, current);
	f.role_has[VERSION_PENDING] = f.pending == VALUE_USABLE && matches(r->seen_role, pending);
	fetch_previous = !f.role_has[VERSION_CURRENT] && (alternating() || !f.role_has[VERSION_PENDING] ||
													  (f.own_pending_only && !f.pending_written_by_us));
	if (fetch_previous)
	{
		f.previous = value_of_other(previous, current, false);
		f.role_has[VERSION_PREVIOUS] = f.previous == VALUE_USABLE && matches(r->seen_role, previous);
	}
	f.set_by_us = !alternating() && r->seen_role[0].ours;

	for (int ref = VERSION_CURRENT; ref <= VERSION_PREVIOUS; ref++)
	{
		if (r->seen[ref] != NO_SLOT)
			f.login[ref] = (LoginProof) r->login[r->seen[ref]];
	}

	if (r->token == NO_SLOT)
		f.token = TOKEN_NONE;
	else if (r->token == r->seen[VERSION_CURRENT])
		f.token = TOKEN_ON_CURRENT;
	else if (r->token == r->seen[VERSION_PENDING])
		f.token = TOKEN_ON_PENDING;
	else
		f.token = TOKEN_ELSEWHERE;

	f.password_changed = r->set_slot != NO_SLOT;
	f.old_verifier_kept = r->kept && r->set_slot != NO_SLOT && r->set_slot != r->seen[VERSION_CURRENT];
	f.created_pending = r->created;
	f.move = (MoveState) r->move;
	f.move_may_arrive = r->unanswered;
	f.standbys = (StandbyState) r->standbys;
	return f;
}

static void
move_label(World *w, uint8_t to)
{
	w->label[VERSION_PREVIOUS] = w->label[VERSION_CURRENT];
	w->label[VERSION_CURRENT] = to;
}

static bool
carry_out_prove(State *s, RotationAction a, Outcome outcome)
{
	uint8_t slot = s->r.seen[a.version];
	const Version *v = at(&s->w, slot);
	bool passes = matches(s->w.role, v) && !v->locked;

	if (outcome != OUTCOME_TRUE && !(outcome == OUTCOME_FAILS && passes))
		return false;
	s->r.login[slot] = outcome == OUTCOME_TRUE && passes ? LOGIN_PROVED : LOGIN_FAILED;
	return true;
}

static bool
carry_out_set(State *s, RotationAction a, Outcome outcome)
{
	uint8_t slot = s->r.seen[a.version];
	const Version *v = at(&s->w, slot);

	if (outcome != OUTCOME_TRUE && outcome != OUTCOME_UNSHIPPED)
		return false;
	if (s->r.stale)
	{
		s->r.observe = true;
		return outcome == OUTCOME_TRUE;
	}
	if (outcome == OUTCOME_TRUE)
		memcpy(s->w.replica, s->w.role, sizeof(s->w.role));
	else if (memcmp(s->w.replica, s->w.role, sizeof(s->w.role)) == 0)
		return false; /* would be the same world */

	if (!s->r.kept || s->r.set_slot == s->r.seen[VERSION_CURRENT] ||
		at(&s->w, s->r.set_slot)->twin != v->twin)
		s->r.old = s->w.role[v->twin];
	s->r.kept = true;
	s->r.set_slot = slot;
	s->w.role[v->twin].password = v->password;
	s->w.role[v->twin].ours = true;
	memcpy(s->r.seen_role, s->w.role, sizeof(s->w.role));
	forget_proofs(&s->r);
	s->r.login[slot] = LOGIN_NOT_TRIED;
	if (alternating() && s->r.standbys == STANDBYS_REPLAYED)
		s->r.standbys = STANDBYS_BEHIND;
	return true;
}

static bool
carry_out_restore(State *s, Outcome outcome)
{
	if (outcome != OUTCOME_TRUE)
		return false;
	if (!s->r.stale)
	{
		uint8_t twin = at(&s->w, s->r.set_slot)->twin;

		memcpy(s->w.replica, s->w.role, sizeof(s->w.role));
		s->w.role[twin] = s->r.old;
	}
	s->r.kept = false;
	s->r.set_slot = NO_SLOT;
	memset(&s->r.old, 0, sizeof(s->r.old));
	forget_proofs(&s->r);
	s->r.observe = true;
	return true;
}

static bool
carry_out_move(State *s, Outcome outcome)
{
	World *w = &s->w;
	uint8_t from = s->r.seen[VERSION_CURRENT];
	uint8_t to = s->r.seen[VERSION_PENDING];
	bool in_place = w->label[VERSION_CURRENT] == from;

	switch (outcome)
	{
		case OUTCOME_TRUE:
			s->r.move = in_place ? MOVE_SUCCEEDED : MOVE_REFUSED;
			if (in_place)
			{
				move_label(w, to);
				s->r.seen[VERSION_PREVIOUS] = from;
				s->r.seen[VERSION_CURRENT] = to;
			}
			else
				s->r.observe = true;
			return true;
		case OUTCOME_FAILS:
			s->r.move = MOVE_REFUSED;
			s->r.observe = true;
			return true;
		case OUTCOME_LOST:
			break;
		case OUTCOME_UNHEARD:
			if (!in_place)
				return false;
			move_label(w, to);
			break;
		case OUTCOME_LATE:
			if (w->to[MAX_FLIGHTS - 1] != NO_SLOT)
				return false;
			for (int i = 0; i < MAX_FLIGHTS; i++)
			{
				if (w->to[i] == NO_SLOT)
				{
					w->from[i] = from;
					w->to[i] = to;
					break;
				}
			}
			break;
		default:
			return false;
	}
	s->r.move = MOVE_UNANSWERED;
	s->r.unanswered = true;
	s->r.moved_to = to;
	s->r.observe = true;
	return true;
}

static bool
carry_out_create(State *s, Outcome outcome)
{
	uint8_t slot = s->r.seen[VERSION_PENDING];

	if (outcome != OUTCOME_TRUE)
		return false;
	if (at(&s->w, slot)->value != VALUE_EMPTY)
		slot = new_version(&s->w, VALUE_EMPTY, 0, PASSWORD_LOST);
	s->w.version[slot].password = new_password(s);
	s->w.version[slot].value = VALUE_USABLE;
	s->w.version[slot].ours = true;
	if (alternating())
		s->w.version[slot].twin = !at(&s->w, s->r.seen[VERSION_CURRENT])->twin;
	s->w.label[VERSION_PENDING] = s->r.seen[VERSION_PENDING] = slot;
	s->r.created = true;
	return true;
}

/* A rollback that was refused: AWSPENDING goes back, where no move of this run may still arrive. */
static void
put_pending_back(State *s)
{
	const Run *r = &s->r;
	bool as_before = r->set_slot == NO_SLOT && !r->stale && !r->at_target;

	if (r->target == NO_SLOT || r->unanswered || r->move == MOVE_SUCCEEDED || !as_before ||
		s->w.label[VERSION_PENDING] != r->target)
		return;
	s->w.label[VERSION_PENDING] = r->taken_from;
	s->w.version[r->target].ours = r->was_ours;
}

/* False: the action can't come out like this here. */
static bool
carry_out(State *s, RotationAction a, Outcome outcome)
{
	if (outcome > OUTCOME_UNSHIPPED)
	{
		if (s->w.budget == 0)
			return false;
		s->w.budget--;
	}
	switch (a.type)
	{
		case ACTION_CREATE_PENDING:
			return carry_out_create(s, outcome);
		case ACTION_SET_PASSWORD:
			return carry_out_set(s, a, outcome);
		case ACTION_PROVE_LOGIN:
			return carry_out_prove(s, a, outcome);
		case ACTION_WAIT_FOR_STANDBYS:
			if (outcome != OUTCOME_TRUE && outcome != OUTCOME_FAILS)
				return false;
			s->r.standbys = outcome == OUTCOME_TRUE ? STANDBYS_REPLAYED : STANDBYS_TIMED_OUT;
			if (outcome == OUTCOME_TRUE)
				memcpy(s->w.replica, s->w.role, sizeof(s->w.role));
			return true;
		case ACTION_MOVE_CURRENT:
			return carry_out_move(s, outcome);
		case ACTION_RESTORE_PASSWORD:
			return carry_out_restore(s, outcome);
		case ACTION_DONE:
		case ACTION_REFUSE:
			if (outcome != OUTCOME_TRUE)
				return false;
			if (a.type == ACTION_REFUSE)
				put_pending_back(s);
			reset_run(&s->r);
			return true;
	}
	return false;
}

static void
start_run(State *s, RotationRequest request, bool force, uint8_t token, bool standby_behind)
{
	const Version *current = labelled(&s->w, VERSION_CURRENT);

	reset_run(&s->r);
	s->r.active = true;
	s->r.request = (uint8_t) request;
	s->r.force = force;
	s->r.token = token;
	s->r.standbys = standby_behind ? STANDBYS_BEHIND : STANDBYS_REPLAYED;
	s->r.started_well = matches(s->w.role, current);
	s->r.undisturbed = true;
	observe(s);
}

/*
 * rotate_rollback() up to the point where AWSPENDING has been moved: what it
 * checks and proves before (see rotation_rollback.c).  False: it refuses.  Where
 * the role has a password of ours that no label leads to, it first does what a
 * run that only looks does; that is another way here.
 */
static bool
start_rollback(State *s)
{
	World *w = &s->w;
	uint8_t on_current = w->label[VERSION_CURRENT];
	uint8_t on_pending = w->label[VERSION_PENDING];
	uint8_t on_previous = w->label[VERSION_PREVIOUS];
	const Version *current = at(w, on_current);
	const Version *previous = at(w, on_previous);
	const Version *pending = at(w, on_pending);
	bool other_pending = on_pending != NO_SLOT && on_pending != on_current && on_pending != on_previous;
	uint8_t way_in;

	if (alternating() || on_previous == NO_SLOT || on_previous == on_current ||
		current->value != VALUE_USABLE || previous->value != VALUE_USABLE ||
		previous->password == current->password || (other_pending && pending->value == VALUE_EMPTY))
		return false;
	if (matches(w->role, current))
		way_in = on_current;
	else if (matches(w->role, previous))
		way_in = on_previous;
	else if (other_pending && matches(w->role, pending) && w->role[0].ours)
		way_in = on_pending;
	else
		return false;
	if (at(w, way_in)->locked)
		return false;

	start_run(s, REQUEST_ROTATE_NOW, false, NO_SLOT, false);
	s->r.login[way_in] = LOGIN_PROVED;
	s->r.target = on_previous;
	s->r.taken_from = on_pending == on_previous ? on_current : on_pending;
	s->r.was_ours = previous->ours;
	s->r.at_target = matches(w->role, previous);
	s->r.created = true; /* it creates nothing */
	w->version[on_previous].ours = true;
	w->label[VERSION_PENDING] = s->r.seen[VERSION_PENDING] = on_previous;
	return true;
}

#endif /* DECIDE_RUN_H */
