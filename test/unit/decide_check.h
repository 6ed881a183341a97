/*-------------------------------------------------------------------------
 *
 * decide_check.h
 *	  What must hold in the world of test_decide.c.
 *
 * Judged by the world as it is, never by the facts that decide() was given.
 * Each check counts how often it was asked; one that never was has failed.
 *
 * test/unit/decide_check.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DECIDE_CHECK_H
#define DECIDE_CHECK_H

#include "decide_run.h"

typedef enum Check
{
	CHECK_MOVE_PROVED,
	CHECK_MOVE_STANDBYS,
	CHECK_AUTHORITY,
	CHECK_WAY_IN,
	CHECK_CREATE_WAY_IN,
	CHECK_USABLE,
	CHECK_SAME_PASSWORD,
	CHECK_OWN_PENDING,
	CHECK_TEST_CHANGES_NOTHING,
	CHECK_STEP_STAYS_IN_ITS_STEP,
	CHECK_EMPTY_LEFT_ALONE,
	CHECK_OBSERVE_BEGINS_NOTHING,
	CHECK_REPAIR_ALLOWED,
	CHECK_RESTORE,
	CHECK_RESTORE_SAFE,
	CHECK_SET_NOT_OPEN,
	CHECK_RUN_KEEPS_LOGIN,
	CHECK_DONE_MEANS_DONE,
	CHECK_TERMINATES,
	CHECK_STILL_LOGS_IN,
	CHECK_ROTATE_NOW_COMPLETES,
	CHECK_ROTATE_NOW_REFUSES,
	CHECK_REFUSED_UNTOUCHED,
	CHECK_OBSERVE_COMPLETES,
	CHECK_OBSERVE_REPAIRS,
	CHECK_OBSERVE_REFUSES,
	CHECK_UNKNOWN_UNTOUCHED,
	CHECK_SERVICE_COMPLETES,
	CHECK_STEP_AGAIN,
	CHECK_TEST_VERSION,
	CHECK_FINISHED_TOKEN,
	CHECK_LOST_TOKEN,
	CHECK_BUDGET_OF_CALLS,
	CHECK_SURVIVES_PROMOTION,
	CHECK_ROLLBACK_COMPLETES,
	CHECK_ROLLBACK_REFUSES,
	CHECK_ROLLBACK_CREATES_NOTHING,
	CHECK_FACTS_MOVE,
	CHECK_FACTS_SET_PENDING,
	CHECK_FACTS_SET_CURRENT,
	CHECK_FACTS_RESTORE,
	CHECK_FACTS_CREATE,
	CHECK_FACTS_PROVE,
	CHECK_FACTS_WAIT,
	CHECK_FACTS_DONE,
	CHECK_FACTS_REFUSE,
	CHECK_FACTS_REQUEST,
	CHECK_COUNT
} Check;

static const char *const check_name[CHECK_COUNT] = {
	"1: AWSCURRENT is only moved to a version whose login was proved in this run",
	"AWSCURRENT of an alternating rotation waits for the standbys while the old login works",
	"2: a password is only changed where the authority is shown",
	"the way in is proved before a password is changed",
	"the way in is proved before a value is written",
	"3: no login is tried, no password set, no label moved with an unusable version",
	"3: a pending password equal to AWSCURRENT's is not set",
	"own_pending_only: a pending version of others is neither set nor moved to",
	"5: testSecret only logs in",
	"createSecret only creates; setSecret of four steps does not move",
	"7: an empty version is filled by its own createSecret or by force only",
	"only looking begins nothing",
	"repair => false: nobody asked, so nothing is repaired",
	"8: RESTORE_PASSWORD only where no move of this run may still arrive",
	"8: RESTORE_PASSWORD never takes the password from a version that is AWSCURRENT",
	"8: no password is set while a move of this run may still arrive",
	"4: AWSCURRENT logs in after a run that it logged in before, or the move is known to be open",
	"DONE: AWSCURRENT has the role's password",
	"a run without further faults ends in few actions, from any state",
	"4: AWSCURRENT logs in after a run without faults, if it did before",
	"4: rotate_now() completes",
	"4: rotate_now() refuses what it can't do, and leaves AWSCURRENT logging in",
	"a refused rotation leaves the roles with the verifiers that they had, where AWSCURRENT logged in",
	"4: only looking completes a rotation whose password is set",
	"4: only looking repairs",
	"only looking refuses otherwise",
	"2: a role whose password nobody knows is left alone",
	"4: the service's four steps complete",
	"6: a step done again with its token succeeds and changes nothing",
	"5: testSecret alone succeeds for a version with AWSCURRENT's value",
	"a token that carries AWSCURRENT succeeds",
	"a token without AWSPENDING is refused and changes nothing",
	"rotate_now() costs two logins, one value and one move",
	"an alternating rotation survives the promotion of a standby",
	"rotate_rollback() completes",
	"rotate_rollback() to a login that fails changes neither roles nor labels, where AWSCURRENT logged in",
	"rotate_rollback() creates no version",
	"any facts: MOVE_CURRENT only to a candidate that the role has and whose login is proved",
	"any facts: SET_PASSWORD(AWSPENDING) only where asked, with authority, the way in proved",
	"any facts: SET_PASSWORD(AWSCURRENT) only where allowed, with authority, the way in proved",
	"any facts: RESTORE_PASSWORD only of a kept verifier, with no move under way",
	"any facts: CREATE_PENDING only where no value is there and AWSCURRENT's login is proved",
	"any facts: PROVE_LOGIN only of a usable value, once",
	"any facts: WAIT_FOR_STANDBYS only before the move of an alternating rotation",
	"any facts: DONE only where the request is fulfilled",
	"any facts: REFUSE gives a reason and takes back what the run did",
	"any facts: each request keeps to its actions",
};

static unsigned long asked[CHECK_COUNT];
static unsigned long broken[CHECK_COUNT];

/* test_decide.c: how the state under test was reached */
static void explain(void);

/* the facts under test, where there is no such way */
static const RotationFacts *facts_under_test;

static void
expect(Check check, bool condition)
{
	asked[check]++;
	if (condition)
		return;
	if (broken[check]++ == 0)
	{
		printf("not ok - %s\n", check_name[check]);
		explain();
	}
}

/* ---- what is true ---- */

static bool
is_candidate(const World *w)
{
	const Version *p = labelled(w, VERSION_PENDING);
	const Version *c = labelled(w, VERSION_CURRENT);

	return p != c && p->value == VALUE_USABLE && p->password != c->password &&
		   (!alternating() || p->twin != c->twin) && (p->ours || !settings.own_pending_only);
}

static bool
logs_in(const World *w, VersionRef ref)
{
	const Version *v = labelled(w, ref);

	return matches(w->role, v) && !v->locked;
}

static bool
has_password(const World *w, VersionRef ref)
{
	return matches(w->role, labelled(w, ref));
}

/* Can the role's present password be replaced, by AWSCURRENT's at least? */
static bool
is_known(const World *w)
{
	const Version *previous = labelled(w, VERSION_PREVIOUS);

	if (alternating())
		return has_password(w, VERSION_CURRENT) ||
			   (has_password(w, VERSION_PREVIOUS) && previous->twin != labelled(w, VERSION_CURRENT)->twin);
	return has_password(w, VERSION_CURRENT) || (is_candidate(w) && has_password(w, VERSION_PENDING)) ||
		   has_password(w, VERSION_PREVIOUS) || w->role[0].ours;
}

/* Has no labelled version the role's password?  Single strategy. */
static bool
is_unlabelled(const World *w)
{
	return !alternating() && !has_password(w, VERSION_CURRENT) && !has_password(w, VERSION_PENDING) &&
		   !has_password(w, VERSION_PREVIOUS);
}

/* And can the login that it is known by be proved, where there is one? */
static bool
way_in_works(const World *w)
{
	if (!is_known(w))
		return false;
	if (has_password(w, VERSION_CURRENT))
		return logs_in(w, VERSION_CURRENT);
	if (!alternating() && is_candidate(w) && has_password(w, VERSION_PENDING))
		return true;
	return !has_password(w, VERSION_PREVIOUS) || logs_in(w, VERSION_PREVIOUS);
}

static bool
same_world(const World *a, const World *b)
{
	return memcmp(a->version, b->version, sizeof(a->version)) == 0 &&
		   memcmp(a->label, b->label, sizeof(a->label)) == 0 &&
		   memcmp(a->role, b->role, sizeof(a->role)) == 0;
}

static bool
same_roles(const World *a, const World *b)
{
	return memcmp(a->role, b->role, sizeof(a->role)) == 0;
}

/* ---- before an action is carried out ---- */

static void
check_set_password(const State *s, VersionRef target)
{
	const World *w = &s->w;
	const Run *r = &s->r;
	const Version *current = at(w, r->seen[VERSION_CURRENT]);
	const Version *pending = at(w, r->seen[VERSION_PENDING]);
	const Version *previous = at(w, r->seen[VERSION_PREVIOUS]);
	const Version *v = at(w, r->seen[target]);

	expect(CHECK_USABLE, v->value == VALUE_USABLE && current->value == VALUE_USABLE);
	expect(CHECK_SET_NOT_OPEN, !r->unanswered);
	expect(CHECK_OBSERVE_BEGINS_NOTHING, r->request != REQUEST_OBSERVE || target == VERSION_CURRENT);
	expect(CHECK_SAME_PASSWORD, target != VERSION_PENDING || v->password != current->password);
	expect(CHECK_OWN_PENDING, target != VERSION_PENDING || v->ours || !settings.own_pending_only);
	expect(CHECK_REPAIR_ALLOWED,
		   target != VERSION_CURRENT || r->request != REQUEST_OBSERVE || settings.repair);

	/* someone has changed the role meanwhile: it will not be carried out */
	if (r->stale)
		return;
	if (alternating())
	{
		VersionRef way_in = target == VERSION_PENDING ? VERSION_CURRENT : VERSION_PREVIOUS;
		const Version *shown = target == VERSION_PENDING ? current : previous;

		expect(CHECK_AUTHORITY, r->seen[way_in] != NO_SLOT && r->login[r->seen[way_in]] == LOGIN_PROVED &&
									shown->twin != v->twin);
	}
	else
	{
		bool pending_counts = pending->ours || !settings.own_pending_only;

		expect(CHECK_AUTHORITY, matches(w->role, current) || matches(w->role, previous) ||
									(matches(w->role, pending) && pending_counts) || w->role[0].ours);
		if (matches(w->role, current) || matches(w->role, previous) ||
			(matches(w->role, pending) && pending_counts))
			expect(CHECK_WAY_IN,
				   (matches(w->role, current) && r->login[r->seen[VERSION_CURRENT]] == LOGIN_PROVED) ||
					   (matches(w->role, previous) && r->login[r->seen[VERSION_PREVIOUS]] == LOGIN_PROVED) ||
					   (matches(w->role, pending) && pending_counts &&
						r->login[r->seen[VERSION_PENDING]] != LOGIN_NOT_TRIED));
	}
}

static void
check_move(const State *s)
{
	const World *w = &s->w;
	const Run *r = &s->r;
	const Version *current = at(w, r->seen[VERSION_CURRENT]);
	const Version *pending = at(w, r->seen[VERSION_PENDING]);

	expect(CHECK_MOVE_PROVED,
		   r->seen[VERSION_PENDING] != NO_SLOT && r->login[r->seen[VERSION_PENDING]] == LOGIN_PROVED);
	expect(CHECK_USABLE,
		   pending->value == VALUE_USABLE && current->value == VALUE_USABLE && pending != current);
	expect(CHECK_OWN_PENDING, pending->ours || !settings.own_pending_only);
	if (alternating() && !r->stale && matches(w->role, current))
		expect(CHECK_MOVE_STANDBYS, memcmp(w->role, w->replica, sizeof(w->role)) == 0);
}

static void
check_restore(const State *s)
{
	expect(CHECK_RESTORE, !s->r.unanswered);
	expect(CHECK_RESTORE_SAFE,
		   s->r.kept && s->r.set_slot != NO_SLOT && s->r.set_slot != s->r.seen[VERSION_CURRENT]);
}

/* A copy of the server may know the role's password, too; only a login tells the two apart. */
static bool
proved_way_in(const State *s)
{
	const Run *r = &s->r;
	bool proved = false;

	for (VersionRef ref = VERSION_CURRENT; ref < VERSION_REF_COUNT; ref++)
		proved = proved || (r->seen[ref] != NO_SLOT && r->login[r->seen[ref]] == LOGIN_PROVED &&
							matches(s->w.role, at(&s->w, r->seen[ref])));
	return proved;
}

/* Has a version that the run saw a label on the role's password? */
static bool
is_seen(const State *s)
{
	bool seen = false;

	for (VersionRef ref = VERSION_CURRENT; ref < VERSION_REF_COUNT; ref++)
		seen = seen || (s->r.seen[ref] != NO_SLOT && matches(s->w.role, at(&s->w, s->r.seen[ref])));
	return seen;
}

static bool
is_step(const Run *r, RotationRequest request)
{
	return r->request == request;
}

static void
check_request(const State *s, RotationAction a)
{
	const Run *r = &s->r;
	bool looks = a.type == ACTION_PROVE_LOGIN || a.type == ACTION_DONE || a.type == ACTION_REFUSE;

	if (is_step(r, REQUEST_TEST_SECRET))
		expect(CHECK_TEST_CHANGES_NOTHING, looks);
	if (is_step(r, REQUEST_CREATE_SECRET))
		expect(CHECK_STEP_STAYS_IN_ITS_STEP,
			   r->stale || looks || a.type == ACTION_CREATE_PENDING ||
				   (a.type == ACTION_SET_PASSWORD && a.version == VERSION_CURRENT && !is_seen(s)));
	if (is_step(r, REQUEST_SET_SECRET) && (alternating() || !settings.combine_steps))
		expect(CHECK_STEP_STAYS_IN_ITS_STEP,
			   a.type != ACTION_MOVE_CURRENT && a.type != ACTION_CREATE_PENDING);
	if (is_step(r, REQUEST_OBSERVE))
		expect(CHECK_OBSERVE_BEGINS_NOTHING, a.type != ACTION_CREATE_PENDING);
}

/* Everything that must hold of an action that is about to be carried out. */
static void
check_action(const State *s, RotationAction a)
{
	const Run *r = &s->r;

	check_request(s, a);
	switch (a.type)
	{
		case ACTION_CREATE_PENDING:
			expect(CHECK_CREATE_WAY_IN, r->stale || proved_way_in(s));
			expect(CHECK_ROLLBACK_CREATES_NOTHING, r->target == NO_SLOT);
			if (at(&s->w, r->seen[VERSION_PENDING])->value == VALUE_EMPTY)
				expect(CHECK_EMPTY_LEFT_ALONE,
					   (r->request == REQUEST_CREATE_SECRET && r->token == r->seen[VERSION_PENDING]) ||
						   (r->request == REQUEST_ROTATE_NOW && r->force));
			else
				expect(CHECK_EMPTY_LEFT_ALONE, r->request == REQUEST_ROTATE_NOW &&
												   (r->seen[VERSION_PENDING] == NO_SLOT ||
													r->seen[VERSION_PENDING] == r->seen[VERSION_CURRENT]));
			break;
		case ACTION_SET_PASSWORD:
			check_set_password(s, a.version);
			break;
		case ACTION_PROVE_LOGIN:
			expect(CHECK_USABLE, at(&s->w, r->seen[a.version])->value == VALUE_USABLE &&
									 at(&s->w, r->seen[VERSION_CURRENT])->value == VALUE_USABLE);
			break;
		case ACTION_MOVE_CURRENT:
			check_move(s);
			break;
		case ACTION_RESTORE_PASSWORD:
			check_restore(s);
			break;
		case ACTION_DONE:
		case ACTION_REFUSE:
			if (r->undisturbed && r->started_well && a.type == ACTION_DONE)
				expect(CHECK_RUN_KEEPS_LOGIN,
					   has_password(&s->w, VERSION_CURRENT) ||
						   (r->request == REQUEST_SET_SECRET && (alternating() || !settings.combine_steps)));
			if (r->undisturbed && r->started_well && a.type == ACTION_REFUSE)
				expect(CHECK_RUN_KEEPS_LOGIN, has_password(&s->w, VERSION_CURRENT) || r->unanswered);
			if (r->undisturbed && a.type == ACTION_DONE &&
				(r->request == REQUEST_ROTATE_NOW || r->request == REQUEST_OBSERVE))
				expect(CHECK_DONE_MEANS_DONE, has_password(&s->w, VERSION_CURRENT));
			break;
		case ACTION_WAIT_FOR_STANDBYS:
			break;
	}
}

#endif /* DECIDE_CHECK_H */
