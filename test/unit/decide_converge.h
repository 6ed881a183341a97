/*-------------------------------------------------------------------------
 *
 * decide_converge.h
 *	  Where runs lead that meet no further fault: from every state that
 *	  test_decide.c reaches.
 *
 * The expected end is worked out from the world alone; nothing in here looks
 * into a RotationFacts.
 *
 * test/unit/decide_converge.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DECIDE_CONVERGE_H
#define DECIDE_CONVERGE_H

#include "decide_check.h"

#define MAX_ACTIONS 24

static const RotationRequest steps[4] = {REQUEST_CREATE_SECRET, REQUEST_SET_SECRET, REQUEST_TEST_SECRET,
										 REQUEST_FINISH_SECRET};

typedef struct Result
{
	bool done;
	RefuseReason reason;
	int count[ACTION_REFUSE + 1]; /* actions by type */
} Result;

static int most_actions; /* that a run needed to its end */

/* Let the run end. */
static Result
finish_run(State *s)
{
	Result result = {false, REFUSE_NOTHING, {0}};

	for (int n = 0; n < MAX_ACTIONS && s->r.active; n++)
	{
		RotationFacts f;
		RotationAction a;

		if (s->r.observe)
			observe(s);
		f = gather(s);
		a = decide(&f);
		check_action(s, a);
		result.count[a.type]++;
		result.done = a.type == ACTION_DONE;
		result.reason = a.reason;
		carry_out(s, a, OUTCOME_TRUE);
		if (n >= most_actions)
			most_actions = n + 1;
	}
	expect(CHECK_TERMINATES, !s->r.active);
	return result;
}

/* One whole run without faults, in a world without a run. */
static Result
run(State *s, RotationRequest request, bool force, uint8_t token)
{
	Result result;

	start_run(s, request, force, token, false);
	result = finish_run(s);
	reset_run(&s->r);
	return result;
}

/* What a rotation can reach from here. */
typedef enum Prospect
{
	PROSPECT_REFUSED,  /* no way in */
	PROSPECT_CURRENT,  /* AWSCURRENT logs in at the end, but it stays where it is */
	PROSPECT_COMPLETES /* with the pending version, if there is one */
} Prospect;

/* Of a pending version that exists: usable and asked for. */
static Prospect
prospect(const World *w)
{
	const Version *current = labelled(w, VERSION_CURRENT);
	const Version *pending = labelled(w, VERSION_PENDING);

	if (current->value != VALUE_USABLE)
		return PROSPECT_REFUSED;
	if (is_candidate(w) && has_password(w, VERSION_PENDING) && !pending->locked)
		return PROSPECT_COMPLETES;
	if (!way_in_works(w))
		return PROSPECT_REFUSED;
	if (is_candidate(w) && !pending->locked)
	{
		/* only an alternating rotation needs AWSCURRENT itself */
		return alternating() && current->locked ? PROSPECT_REFUSED : PROSPECT_COMPLETES;
	}
	return current->locked ? PROSPECT_REFUSED : PROSPECT_CURRENT;
}

static void
check_rotate_now(const State *start, bool force)
{
	State end = *start;
	const World *before = &start->w;
	const World *after = &end.w;
	const Version *pending = labelled(before, VERSION_PENDING);
	bool own_version = before->label[VERSION_PENDING] != NO_SLOT &&
					   before->label[VERSION_PENDING] != before->label[VERSION_CURRENT];
	bool creates = !own_version || (pending->value == VALUE_EMPTY && force);
	Prospect expected = prospect(before);
	Result result = run(&end, REQUEST_ROTATE_NOW, force, NO_SLOT);

	if (logs_in(before, VERSION_CURRENT))
		expect(CHECK_STILL_LOGS_IN, logs_in(after, VERSION_CURRENT));

	if (expected == PROSPECT_COMPLETES || (expected == PROSPECT_CURRENT && creates))
	{
		expect(CHECK_ROTATE_NOW_COMPLETES,
			   result.done && logs_in(after, VERSION_CURRENT) &&
				   after->label[VERSION_PENDING] == after->label[VERSION_CURRENT] &&
				   after->label[VERSION_CURRENT] != before->label[VERSION_CURRENT] &&
				   after->label[VERSION_PREVIOUS] == before->label[VERSION_CURRENT] &&
				   (creates || after->label[VERSION_CURRENT] == before->label[VERSION_PENDING]));
		if (creates && logs_in(before, VERSION_CURRENT))
			expect(CHECK_BUDGET_OF_CALLS,
				   result.count[ACTION_PROVE_LOGIN] == 2 && result.count[ACTION_CREATE_PENDING] == 1 &&
					   result.count[ACTION_SET_PASSWORD] == 1 && result.count[ACTION_MOVE_CURRENT] == 1);
	}
	else
	{
		expect(CHECK_ROTATE_NOW_REFUSES,
			   !result.done && memcmp(after->label, before->label, sizeof(after->label)) == 0);
		if (expected == PROSPECT_CURRENT)
			expect(CHECK_ROTATE_NOW_REFUSES, logs_in(after, VERSION_CURRENT));
		if (logs_in(before, VERSION_CURRENT))
			expect(CHECK_REFUSED_UNTOUCHED, same_roles(before, after));
	}
	if (!is_known(before) && !has_password(before, VERSION_PENDING))
		expect(CHECK_UNKNOWN_UNTOUCHED, same_world(before, after));

	if (alternating() && result.done && logs_in(before, VERSION_CURRENT))
	{
		memcpy(end.w.role, end.w.replica, sizeof(end.w.role));
		expect(CHECK_SURVIVES_PROMOTION, logs_in(after, VERSION_CURRENT));
	}
}

static void
check_rollback(const State *start)
{
	State end = *start;
	const World *before = &start->w;
	const World *after = &end.w;
	uint8_t target = before->label[VERSION_PREVIOUS];
	Result result;

	if (!start_rollback(&end))
		return;
	result = finish_run(&end);
	reset_run(&end.r);
	if (logs_in(before, VERSION_CURRENT))
		expect(CHECK_STILL_LOGS_IN, logs_in(after, VERSION_CURRENT));
	if (!before->version[target].locked)
		expect(CHECK_ROLLBACK_COMPLETES,
			   result.done && logs_in(after, VERSION_CURRENT) && after->label[VERSION_CURRENT] == target &&
				   after->label[VERSION_PENDING] == target &&
				   after->label[VERSION_PREVIOUS] == before->label[VERSION_CURRENT]);
	else
	{
		expect(CHECK_ROLLBACK_REFUSES,
			   !result.done && after->label[VERSION_CURRENT] == before->label[VERSION_CURRENT]);
		if (logs_in(before, VERSION_CURRENT))
			expect(CHECK_ROLLBACK_REFUSES,
				   same_roles(before, after) && after->version[target].ours == before->version[target].ours &&
					   (before->label[VERSION_PENDING] == target
							? after->label[VERSION_PENDING] == before->label[VERSION_CURRENT]
							: memcmp(after->label, before->label, sizeof(after->label)) == 0));
	}
}

static void
check_observe(const State *start)
{
	State end = *start;
	const World *before = &start->w;
	const World *after = &end.w;
	const Version *current = labelled(before, VERSION_CURRENT);
	bool half_done =
		current->value == VALUE_USABLE && is_candidate(before) && has_password(before, VERSION_PENDING);
	Result result = run(&end, REQUEST_OBSERVE, false, NO_SLOT);

	if (logs_in(before, VERSION_CURRENT))
		expect(CHECK_STILL_LOGS_IN, logs_in(after, VERSION_CURRENT));
	if (!is_known(before) && !has_password(before, VERSION_PENDING))
		expect(CHECK_UNKNOWN_UNTOUCHED, same_world(before, after));

	if (half_done && logs_in(before, VERSION_PENDING))
		expect(CHECK_OBSERVE_COMPLETES, result.done && logs_in(after, VERSION_CURRENT) &&
											after->label[VERSION_CURRENT] == before->label[VERSION_PENDING]);
	else if (!half_done && has_password(before, VERSION_CURRENT))
		expect(CHECK_OBSERVE_COMPLETES, result.done && same_world(before, after));
	else if (current->value != VALUE_USABLE || !way_in_works(before) || !settings.repair)
		expect(CHECK_OBSERVE_REFUSES, !result.done && same_world(before, after));
	else if (!half_done)
		expect(CHECK_OBSERVE_REPAIRS,
			   has_password(after, VERSION_CURRENT) && result.done == !current->locked);
	else
		expect(CHECK_OBSERVE_REPAIRS, has_password(after, VERSION_CURRENT) && !result.done);

	if (result.done)
	{
		State again = end;

		result = run(&again, REQUEST_OBSERVE, false, NO_SLOT);
		expect(CHECK_OBSERVE_COMPLETES, result.done && same_world(&again.w, &end.w));
	}
}

/* The service's rotation, each step twice. */
static void
check_service(const State *start)
{
	State end = *start;
	const World *before = &start->w;
	const Version *pending = labelled(before, VERSION_PENDING);
	uint8_t token = before->label[VERSION_PENDING];
	Prospect expected = prospect(before);
	/* a known password may become the pending one at once; AWSCURRENT need not work before, but where it must be set */
	bool fills = pending->value == VALUE_EMPTY && labelled(before, VERSION_CURRENT)->value == VALUE_USABLE &&
				 way_in_works(before) &&
				 !((alternating() || is_unlabelled(before)) && labelled(before, VERSION_CURRENT)->locked);
	bool all_done = true;

	if (token == NO_SLOT || token == before->label[VERSION_CURRENT])
		return;
	for (int i = 0; i < 4; i++)
	{
		Result result = run(&end, steps[i], false, token);

		if (logs_in(before, VERSION_CURRENT) &&
			(steps[i] == REQUEST_FINISH_SECRET || (settings.combine_steps && !alternating())))
			expect(CHECK_STILL_LOGS_IN, logs_in(&end.w, VERSION_CURRENT));
		all_done = all_done && result.done;
		if (!result.done)
			break;
	}
	if (expected == PROSPECT_COMPLETES || fills)
		expect(CHECK_SERVICE_COMPLETES, all_done && logs_in(&end.w, VERSION_CURRENT) &&
											end.w.label[VERSION_CURRENT] == token &&
											end.w.label[VERSION_PENDING] == token);
	else
		expect(CHECK_SERVICE_COMPLETES,
			   !all_done && end.w.label[VERSION_CURRENT] == before->label[VERSION_CURRENT]);
}

static void
check_step(const State *start, RotationRequest step, uint8_t token)
{
	State end = *start;
	State again;
	const World *before = &start->w;
	bool half_done = is_candidate(before) && has_password(before, VERSION_PENDING);
	Result result = run(&end, step, false, token);

	if (step == REQUEST_TEST_SECRET)
		expect(CHECK_TEST_CHANGES_NOTHING, same_world(before, &end.w));
	if (step == REQUEST_CREATE_SECRET)
		expect(CHECK_STEP_STAYS_IN_ITS_STEP,
			   same_roles(before, &end.w) ||
				   (is_unlabelled(before) && has_password(&end.w, VERSION_CURRENT)));
	if (!is_known(before) && !has_password(before, VERSION_PENDING))
		expect(CHECK_UNKNOWN_UNTOUCHED, same_world(before, &end.w));

	if (token == NO_SUCH_TOKEN ||
		(token != before->label[VERSION_CURRENT] && token != before->label[VERSION_PENDING]))
		expect(CHECK_LOST_TOKEN, !result.done && same_world(before, &end.w));
	else if (token == before->label[VERSION_CURRENT])
	{
		if (logs_in(before, VERSION_CURRENT))
			expect(CHECK_FINISHED_TOKEN, result.done && same_world(before, &end.w));
		else if (step == REQUEST_TEST_SECRET)
			expect(CHECK_FINISHED_TOKEN, !result.done);
		else if (settings.repair && !half_done && step != REQUEST_CREATE_SECRET &&
				 labelled(before, VERSION_CURRENT)->value == VALUE_USABLE && way_in_works(before) &&
				 !labelled(before, VERSION_CURRENT)->locked)
			expect(CHECK_FINISHED_TOKEN, result.done && logs_in(&end.w, VERSION_CURRENT));
	}
	else if (step == REQUEST_TEST_SECRET && logs_in(before, VERSION_CURRENT) &&
			 labelled(before, VERSION_PENDING)->value == VALUE_USABLE &&
			 labelled(before, VERSION_PENDING)->password == labelled(before, VERSION_CURRENT)->password)
		expect(CHECK_TEST_VERSION, result.done);

	if (result.done)
	{
		again = end;
		result = run(&again, step, false, token);
		expect(CHECK_STEP_AGAIN, result.done && same_world(&again.w, &end.w));
	}
}

/* From a world in which no worker runs: everything that can be asked. */
static void
check_from_idle(const State *s)
{
	uint8_t tokens[4] = {s->w.label[VERSION_CURRENT], s->w.label[VERSION_PENDING],
						 s->w.label[VERSION_PREVIOUS], NO_SUCH_TOKEN};

	check_rotate_now(s, false);
	check_rotate_now(s, true);
	check_rollback(s);
	check_observe(s);
	check_service(s);
	for (int t = 0; t < 4; t++)
	{
		if (tokens[t] == NO_SLOT)
			continue;
		for (int i = 0; i < 4; i++)
			check_step(s, steps[i], tokens[t]);
	}
}

#endif /* DECIDE_CONVERGE_H */
