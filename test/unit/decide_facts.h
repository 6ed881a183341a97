/*-------------------------------------------------------------------------
 *
 * decide_facts.h
 *	  What must hold of decide()'s answer to any facts, reachable or not.
 *
 * The combinations are counted through where a fact can matter; those of facts
 * that end a decision at once (no usable AWSCURRENT, rotation disabled, a
 * foreign token) or that a request has no use for are drawn at random from the
 * whole product, which is too large to count through (6 * 10^10).
 *
 * test/unit/decide_facts.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DECIDE_FACTS_H
#define DECIDE_FACTS_H

#include "decide_check.h"

static unsigned long combinations;

static void
describe_facts(const RotationFacts *f)
{
	printf("#   request %d strategy %d force %d own_pending_only %d repair %d combine_steps %d enabled %d\n",
		   (int) f->request, (int) f->strategy, f->force, f->own_pending_only, f->repair, f->combine_steps,
		   f->rotation_enabled);
	printf("#   current %d pending %d previous %d pending_is_current %d same_password %d written_by_us %d "
		   "token %d\n",
		   (int) f->current, (int) f->pending, (int) f->previous, f->pending_is_current,
		   f->pending_same_password, f->pending_written_by_us, (int) f->token);
	printf("#   role_has %d %d %d set_by_us %d login %d %d %d\n", f->role_has[1], f->role_has[2],
		   f->role_has[3], f->set_by_us, (int) f->login[1], (int) f->login[2], (int) f->login[3]);
	printf(
		"#   password_changed %d old_verifier_kept %d created_pending %d move %d may_arrive %d standbys %d\n",
		f->password_changed, f->old_verifier_kept, f->created_pending, (int) f->move, f->move_may_arrive,
		(int) f->standbys);
}

static bool
is_event(const RotationFacts *f)
{
	return f->request != REQUEST_ROTATE_NOW && f->request != REQUEST_OBSERVE;
}

/* AWSPENDING may become AWSCURRENT */
static bool
facts_candidate(const RotationFacts *f)
{
	return f->pending == VALUE_USABLE && !f->pending_is_current && !f->pending_same_password &&
		   (f->pending_written_by_us || !f->own_pending_only);
}

static bool
facts_event_allowed(const RotationFacts *f)
{
	return !is_event(f) || (f->rotation_enabled && f->token == TOKEN_ON_PENDING);
}

static bool
facts_move(const RotationFacts *f)
{
	bool asked_for = f->request == REQUEST_ROTATE_NOW || f->request == REQUEST_OBSERVE ||
					 f->request == REQUEST_FINISH_SECRET ||
					 (f->request == REQUEST_SET_SECRET && f->combine_steps && f->strategy == STRATEGY_SINGLE);
	bool may_wait = f->strategy == STRATEGY_ALTERNATING && f->role_has[VERSION_CURRENT];

	return asked_for && facts_event_allowed(f) && f->current == VALUE_USABLE && facts_candidate(f) &&
		   f->role_has[VERSION_PENDING] && f->login[VERSION_PENDING] == LOGIN_PROVED &&
		   f->move != MOVE_REFUSED && f->move != MOVE_SUCCEEDED &&
		   (!may_wait || f->standbys == STANDBYS_REPLAYED);
}

static bool
previous_proved(const RotationFacts *f)
{
	return f->previous == VALUE_USABLE && f->role_has[VERSION_PREVIOUS] &&
		   f->login[VERSION_PREVIOUS] == LOGIN_PROVED;
}

static bool
facts_set_pending(const RotationFacts *f)
{
	bool asked_for = f->request == REQUEST_ROTATE_NOW || f->request == REQUEST_SET_SECRET ||
					 f->request == REQUEST_FINISH_SECRET;
	bool authority;

	if (f->role_has[VERSION_CURRENT])
		authority = f->login[VERSION_CURRENT] == LOGIN_PROVED;
	else if (f->strategy == STRATEGY_ALTERNATING)
		authority = false;
	else if (f->previous == VALUE_USABLE && f->role_has[VERSION_PREVIOUS])
		authority = previous_proved(f);
	else
		authority = f->set_by_us;
	return asked_for && facts_event_allowed(f) && f->current == VALUE_USABLE && facts_candidate(f) &&
		   authority && !f->role_has[VERSION_PENDING] && f->login[VERSION_PENDING] != LOGIN_FAILED &&
		   f->move != MOVE_REFUSED && f->move != MOVE_SUCCEEDED && !f->move_may_arrive &&
		   (f->strategy == STRATEGY_ALTERNATING || f->standbys == STANDBYS_REPLAYED);
}

static bool
facts_set_current(const RotationFacts *f)
{
	bool allowed = f->request == REQUEST_ROTATE_NOW || (f->request == REQUEST_OBSERVE && f->repair);
	bool authority = previous_proved(f);

	if (f->request == REQUEST_SET_SECRET || f->request == REQUEST_FINISH_SECRET)
		allowed = f->rotation_enabled &&
				  (f->token == TOKEN_ON_PENDING || (f->token == TOKEN_ON_CURRENT && f->repair));
	if (f->request == REQUEST_CREATE_SECRET)
		allowed = facts_event_allowed(f) && f->pending == VALUE_EMPTY && !f->pending_is_current &&
				  !(f->previous == VALUE_USABLE && f->role_has[VERSION_PREVIOUS]);
	if (f->strategy == STRATEGY_SINGLE && facts_candidate(f) && f->role_has[VERSION_PENDING])
		authority = f->login[VERSION_PENDING] != LOGIN_NOT_TRIED;
	else if (f->strategy == STRATEGY_SINGLE &&
			 !(f->previous == VALUE_USABLE && f->role_has[VERSION_PREVIOUS]))
		authority = f->set_by_us;
	return allowed && authority && f->current == VALUE_USABLE && !f->role_has[VERSION_CURRENT] &&
		   !f->move_may_arrive && (!f->old_verifier_kept || f->request == REQUEST_CREATE_SECRET) &&
		   f->move != MOVE_SUCCEEDED;
}

static bool
facts_create(const RotationFacts *f)
{
	bool no_version = f->pending == VALUE_NO_VERSION || f->pending_is_current;
	bool current_proved = f->role_has[VERSION_CURRENT] && f->login[VERSION_CURRENT] == LOGIN_PROVED;

	if (f->current != VALUE_USABLE || f->move == MOVE_SUCCEEDED)
		return false;
	if (f->request == REQUEST_ROTATE_NOW)
		return current_proved && !f->move_may_arrive &&
			   (no_version ? !f->created_pending : f->pending == VALUE_EMPTY && f->force);
	return f->request == REQUEST_CREATE_SECRET && facts_event_allowed(f) && f->pending == VALUE_EMPTY &&
		   !f->pending_is_current && (f->role_has[VERSION_CURRENT] ? current_proved : previous_proved(f));
}

static bool
facts_prove(const RotationFacts *f, VersionRef version)
{
	const VersionValue value[VERSION_REF_COUNT] = {VALUE_NO_VERSION, f->current, f->pending, f->previous};

	return version != VERSION_NONE && f->current == VALUE_USABLE && value[version] == VALUE_USABLE &&
		   f->login[version] == LOGIN_NOT_TRIED &&
		   (f->role_has[version] || (f->request == REQUEST_TEST_SECRET && version == VERSION_CURRENT));
}

static bool
facts_done(const RotationFacts *f)
{
	bool pending_proved = f->role_has[VERSION_PENDING] && f->login[VERSION_PENDING] == LOGIN_PROVED;
	bool finished = f->rotation_enabled && f->token == TOKEN_ON_CURRENT;

	if (f->move == MOVE_SUCCEEDED)
		return true;
	if (f->current != VALUE_USABLE)
		return false;
	switch (f->request)
	{
		case REQUEST_ROTATE_NOW:
			return f->created_pending && f->pending_is_current && f->role_has[VERSION_CURRENT] &&
				   f->login[VERSION_CURRENT] == LOGIN_PROVED;
		case REQUEST_OBSERVE:
			return f->role_has[VERSION_CURRENT] && !(facts_candidate(f) && f->role_has[VERSION_PENDING]);
		case REQUEST_CREATE_SECRET:
			return finished || (facts_event_allowed(f) && facts_candidate(f));
		case REQUEST_SET_SECRET:
			return finished || (facts_event_allowed(f) && facts_candidate(f) && pending_proved &&
								(!f->combine_steps || f->strategy == STRATEGY_ALTERNATING));
		case REQUEST_TEST_SECRET:
			return finished ? f->login[VERSION_CURRENT] == LOGIN_PROVED
							: facts_event_allowed(f) && pending_proved;
		case REQUEST_FINISH_SECRET:
			return finished;
	}
	return false;
}

static bool
facts_refuse(const RotationFacts *f, RotationAction a)
{
	bool left_behind = f->old_verifier_kept && !f->move_may_arrive &&
					   (f->strategy == STRATEGY_ALTERNATING ? a.reason != REFUSE_STANDBYS_BEHIND
															: !f->role_has[VERSION_CURRENT]);

	if (f->request == REQUEST_CREATE_SECRET || f->request == REQUEST_TEST_SECRET)
		left_behind = false;
	return a.reason != REFUSE_NOTHING && f->move != MOVE_SUCCEEDED && !left_behind &&
		   refuse_reason_name(a.reason)[0] != '\0';
}

static bool
facts_request(const RotationFacts *f, RotationAction a)
{
	bool looks = a.type == ACTION_PROVE_LOGIN || a.type == ACTION_DONE || a.type == ACTION_REFUSE;

	if (f->request == REQUEST_TEST_SECRET)
		return looks;
	if (f->request == REQUEST_CREATE_SECRET)
		return looks || a.type == ACTION_CREATE_PENDING ||
			   (a.type == ACTION_SET_PASSWORD && a.version == VERSION_CURRENT);
	return a.type == ACTION_CREATE_PENDING ? f->request == REQUEST_ROTATE_NOW : true;
}

/* Ask decide() and judge its answer by the facts alone. */
static void
check_facts(const RotationFacts *f)
{
	RotationAction a = decide(f);

	expect(CHECK_FACTS_REQUEST,
		   facts_request(f, a) && (a.type == ACTION_REFUSE || a.reason == REFUSE_NOTHING));
	switch (a.type)
	{
		case ACTION_MOVE_CURRENT:
			expect(CHECK_FACTS_MOVE, facts_move(f));
			break;
		case ACTION_SET_PASSWORD:
			if (a.version == VERSION_PENDING)
				expect(CHECK_FACTS_SET_PENDING, facts_set_pending(f));
			else
				expect(CHECK_FACTS_SET_CURRENT, a.version == VERSION_CURRENT && facts_set_current(f));
			break;
		case ACTION_RESTORE_PASSWORD:
			expect(CHECK_FACTS_RESTORE,
				   f->old_verifier_kept && !f->move_may_arrive && f->move != MOVE_SUCCEEDED &&
					   (f->strategy == STRATEGY_ALTERNATING || !f->role_has[VERSION_CURRENT]));
			break;
		case ACTION_CREATE_PENDING:
			expect(CHECK_FACTS_CREATE, facts_create(f));
			break;
		case ACTION_PROVE_LOGIN:
			expect(CHECK_FACTS_PROVE, facts_prove(f, a.version));
			break;
		case ACTION_WAIT_FOR_STANDBYS:
			expect(CHECK_FACTS_WAIT, f->strategy == STRATEGY_ALTERNATING && f->standbys == STANDBYS_BEHIND &&
										 facts_candidate(f) && f->role_has[VERSION_PENDING] &&
										 f->request != REQUEST_SET_SECRET && facts_event_allowed(f));
			break;
		case ACTION_DONE:
			expect(CHECK_FACTS_DONE, facts_done(f));
			break;
		case ACTION_REFUSE:
			expect(CHECK_FACTS_REFUSE, facts_refuse(f, a));
			break;
	}
}

/* The bits of n, from the lowest: so many values are taken off it. */
static unsigned int
take(unsigned long *n, unsigned int values)
{
	unsigned int value = (unsigned int) (*n % values);

	*n /= values;
	return value;
}

/* The facts of this run, and of AWSPREVIOUS: 4 * 2 * 3 * 8 * 9 * 7 * 2 combinations. */
static void
cross_run(RotationFacts *f)
{
	for (unsigned long n = 0; n < 24192; n++)
	{
		unsigned long rest = n;
		unsigned int previous;

		f->move = (MoveState) take(&rest, 4);
		f->move_may_arrive = take(&rest, 2);
		f->standbys = (StandbyState) take(&rest, 3);
		f->password_changed = take(&rest, 2);
		f->old_verifier_kept = take(&rest, 2);
		f->set_by_us = take(&rest, 2);
		f->login[VERSION_CURRENT] = (LoginProof) take(&rest, 3);
		f->login[VERSION_PENDING] = (LoginProof) take(&rest, 3);
		previous = take(&rest, 7);
		f->previous = previous < 6 ? VALUE_USABLE : VALUE_NO_VERSION;
		f->role_has[VERSION_PREVIOUS] = previous < 3;
		f->login[VERSION_PREVIOUS] = (LoginProof) (previous % 3);
		f->role_has[VERSION_CURRENT] = take(&rest, 2);
		check_facts(f);
		combinations++;
	}
}

/* What a request has use for: force and created_pending, the registration's settings, the token. */
static void
cross_request(RotationFacts *f)
{
	RotationRequest request = f->request;
	bool set_or_finish = request == REQUEST_SET_SECRET || request == REQUEST_FINISH_SECRET;

	for (int i = 0; i < 16; i++)
	{
		f->rotation_enabled = true;
		f->force = f->created_pending = f->repair = f->combine_steps = false;
		f->token = TOKEN_NONE;
		if (request == REQUEST_ROTATE_NOW)
		{
			if (i >= 4)
				break;
			f->force = i & 1;
			f->created_pending = i & 2;
		}
		else if (request == REQUEST_OBSERVE)
		{
			if (i >= 2)
				break;
			f->repair = i & 1;
		}
		else
		{
			if (i >= (request == REQUEST_SET_SECRET ? 8 : set_or_finish ? 4 : 2))
				break;
			f->token = i & 1 ? TOKEN_ON_CURRENT : TOKEN_ON_PENDING;
			f->repair = i & 2;
			f->combine_steps = i & 4;
		}
		cross_run(f);
	}
}

/* splitmix64: the same draws on every machine */
static uint64_t
draw(uint64_t *seed)
{
	uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void
draw_facts(RotationFacts *f, uint64_t *seed)
{
	unsigned long bits = draw(seed);
	unsigned long more = draw(seed);

	f->request = (RotationRequest) take(&bits, 6);
	f->strategy = (RotationStrategy) take(&bits, 2);
	f->force = take(&bits, 2);
	f->own_pending_only = take(&bits, 2);
	f->repair = take(&bits, 2);
	f->combine_steps = take(&bits, 2);
	f->rotation_enabled = take(&bits, 2);
	f->current = (VersionValue) take(&bits, 4);
	f->pending = (VersionValue) take(&bits, 4);
	f->previous = (VersionValue) take(&bits, 4);
	f->pending_is_current = take(&bits, 2);
	f->pending_same_password = take(&bits, 2);
	f->pending_written_by_us = take(&bits, 2);
	f->token = (TokenPosition) take(&bits, 4);
	for (int ref = VERSION_CURRENT; ref <= VERSION_PREVIOUS; ref++)
	{
		f->role_has[ref] = take(&more, 2);
		f->login[ref] = (LoginProof) take(&more, 3);
	}
	f->set_by_us = take(&more, 2);
	f->password_changed = take(&more, 2);
	f->old_verifier_kept = take(&more, 2);
	f->created_pending = take(&more, 2);
	f->move = (MoveState) take(&more, 4);
	f->move_may_arrive = take(&more, 2);
	f->standbys = (StandbyState) take(&more, 3);
}

static void
cross_facts(void)
{
	RotationFacts f;

	memset(&f, 0, sizeof(f));
	facts_under_test = &f;
	f.current = VALUE_USABLE;
	for (unsigned long n = 0; n < 6 * 2 * 4 * 32; n++)
	{
		unsigned long rest = n;

		f.request = (RotationRequest) take(&rest, 6);
		f.strategy = (RotationStrategy) take(&rest, 2);
		f.pending = (VersionValue) take(&rest, 4);
		f.pending_is_current = take(&rest, 2);
		f.pending_same_password = take(&rest, 2);
		f.pending_written_by_us = take(&rest, 2);
		f.own_pending_only = take(&rest, 2);
		f.role_has[VERSION_PENDING] = take(&rest, 2);
		cross_request(&f);
	}
	facts_under_test = NULL;
	printf("# asked about %lu combinations of facts\n", combinations);
}

static void
draw_all_facts(unsigned long sample)
{
	RotationFacts f;
	uint64_t seed = 1;

	memset(&f, 0, sizeof(f));
	facts_under_test = &f;
	for (unsigned long n = 0; n < sample; n++)
	{
		draw_facts(&f, &seed);
		check_facts(&f);
	}
	facts_under_test = NULL;
	printf("# asked about %lu combinations drawn from all there are\n", sample);
}

#endif /* DECIDE_FACTS_H */
