/*-------------------------------------------------------------------------
 *
 * decide.c
 *	  What a rotation does next: one pure function of what was observed.
 *
 * docs/decide.md has the table that this implements and says what must always
 * hold; test/unit/test_decide.c walks every state that can be reached.  The
 * order of the questions is the design: what is finished comes first, then
 * what must not go on, then what is half done, and only then what is new.
 *
 * src/core/decide.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/decide.h"

static RotationAction
act(RotationActionType type, VersionRef version)
{
	RotationAction action = {type, version, REFUSE_NOTHING};

	return action;
}

static RotationAction
refuse(RefuseReason reason, VersionRef version)
{
	RotationAction action = {ACTION_REFUSE, version, reason};

	return action;
}

static bool
is_alternating(const RotationFacts *f)
{
	return f->strategy == STRATEGY_ALTERNATING;
}

/* Is AWSPENDING on a version of its own? */
static bool
has_pending(const RotationFacts *f)
{
	return f->pending != VALUE_NO_VERSION && !f->pending_is_current;
}

/* Can AWSPENDING's version become AWSCURRENT? */
static bool
pending_is_candidate(const RotationFacts *f)
{
	return has_pending(f) && f->pending == VALUE_USABLE && !f->pending_same_password &&
		   (f->pending_written_by_us || !f->own_pending_only);
}

/* Why it can't. */
static RefuseReason
pending_fault(const RotationFacts *f)
{
	if (f->pending == VALUE_EMPTY)
		return REFUSE_PENDING_EMPTY;
	if (f->pending == VALUE_UNUSABLE)
		return REFUSE_PENDING_UNUSABLE;
	if (f->pending_same_password)
		return REFUSE_PENDING_SAME_PASSWORD;
	return REFUSE_PENDING_NOT_OURS;
}

/* Does this request end with AWSCURRENT on the pending version? */
static bool
request_moves(const RotationFacts *f)
{
	switch (f->request)
	{
		case REQUEST_ROTATE_NOW:
		case REQUEST_OBSERVE:
		case REQUEST_FINISH_SECRET:
			return true;
		case REQUEST_SET_SECRET:
			return f->combine_steps && !is_alternating(f);
		case REQUEST_CREATE_SECRET:
		case REQUEST_TEST_SECRET:
			break;
	}
	return false;
}

/*
 * May this request give the role AWSCURRENT's password?  Who asks for a
 * rotation wants a login that works.  Where nobody asks, the registration
 * has a say.  A step that has no business here (its token was abandoned) and
 * one that only tests do not; createSecret only where it could not go on.
 */
static bool
request_repairs(const RotationFacts *f)
{
	switch (f->request)
	{
		case REQUEST_ROTATE_NOW:
			return true;
		case REQUEST_OBSERVE:
			return f->repair;
		case REQUEST_SET_SECRET:
		case REQUEST_FINISH_SECRET:
			return f->rotation_enabled &&
				   (f->token == TOKEN_ON_PENDING || (f->token == TOKEN_ON_CURRENT && f->repair));
		case REQUEST_CREATE_SECRET:
			return f->rotation_enabled && f->token == TOKEN_ON_PENDING && has_pending(f) &&
				   f->pending == VALUE_EMPTY;
		case REQUEST_TEST_SECRET:
			break;
	}
	return false;
}

/*
 * Is there authority to give the role target's password?  If so, *proof is
 * the version whose login must be proved first, or VERSION_NONE.
 *
 * Single: the role's present password is AWSCURRENT's, AWSPENDING's,
 * AWSPREVIOUS's, or one that we set; the last one may be in no version any
 * more, so there is nothing to log in with.  AWSPENDING's login must have been
 * tried: that it failed is a reason to replace it.
 *
 * Alternating: the other twin's login, AWSCURRENT's to rotate, AWSPREVIOUS's
 * to repair.
 */
static bool
has_authority(const RotationFacts *f, VersionRef target, VersionRef *proof)
{
	*proof = VERSION_NONE;

	if (target == VERSION_PENDING && f->role_has[VERSION_CURRENT])
	{
		*proof = VERSION_CURRENT;
		return true;
	}
	if (is_alternating(f) && target == VERSION_PENDING)
		return false;
	if (!is_alternating(f) && pending_is_candidate(f) && f->role_has[VERSION_PENDING])
	{
		if (f->login[VERSION_PENDING] == LOGIN_NOT_TRIED)
			*proof = VERSION_PENDING;
		return true;
	}
	if (f->previous == VALUE_USABLE && f->role_has[VERSION_PREVIOUS])
	{
		*proof = VERSION_PREVIOUS;
		return true;
	}
	return !is_alternating(f) && f->set_by_us;
}

/* Prove the way in, then do the action. */
static RotationAction
prove_then(const RotationFacts *f, VersionRef proof, RotationAction action)
{
	if (proof == VERSION_NONE || f->login[proof] == LOGIN_PROVED)
		return action;
	if (f->login[proof] == LOGIN_FAILED)
		return refuse(REFUSE_CURRENT_LOGIN_FAILED, proof);
	return act(ACTION_PROVE_LOGIN, proof);
}

/* AWSCURRENT's password is in place: where this run put it there, prove it before the action. */
static RotationAction
confirm_current_then(const RotationFacts *f, RotationAction action)
{
	if (f->current == VALUE_USABLE && f->role_has[VERSION_CURRENT] && f->password_changed &&
		!f->old_verifier_kept)
		return prove_then(f, VERSION_CURRENT, action);
	return action;
}

/*
 * May what this run did be taken back?  Not once a move may have reached AWS:
 * if it arrives after all, AWSCURRENT would have a password that the role no
 * longer has.  createSecret and testSecret have nothing to take back.
 */
static bool
can_restore(const RotationFacts *f)
{
	if (f->request == REQUEST_CREATE_SECRET || f->request == REQUEST_TEST_SECRET)
		return false;
	return f->old_verifier_kept && !f->move_may_arrive &&
		   (is_alternating(f) || !f->role_has[VERSION_CURRENT]);
}

/*
 * AWSCURRENT does not log in: give the role its password; where that can't
 * be done, refuse.  What this run changed is taken back first, since a
 * password checker could object to an old password, but not to an old
 * verifier.
 */
static RotationAction
repair(const RotationFacts *f, RefuseReason otherwise)
{
	VersionRef proof;

	if (can_restore(f))
		return act(ACTION_RESTORE_PASSWORD, VERSION_NONE);
	if (f->move_may_arrive)
		return refuse(REFUSE_MOVE_UNANSWERED, VERSION_NONE);
	if (!has_authority(f, VERSION_CURRENT, &proof) || !request_repairs(f))
		return refuse(otherwise, VERSION_NONE);
	return prove_then(f, proof, act(ACTION_SET_PASSWORD, VERSION_CURRENT));
}

/* The request can't be granted: leave AWSCURRENT logging in, where that is in our power, and say why. */
static RotationAction
give_up(const RotationFacts *f, RefuseReason reason)
{
	RotationAction refusal = refuse(reason, VERSION_NONE);

	if (reason == REFUSE_PENDING_LOGIN_FAILED)
		refusal.version = VERSION_PENDING;
	if (f->current == VALUE_USABLE && !f->role_has[VERSION_CURRENT])
	{
		RotationAction action = repair(f, reason);

		return action.type == ACTION_REFUSE && action.reason == reason ? refusal : action;
	}
	return confirm_current_then(f, refusal);
}

/* The role has the pending password: prove its login and move the label, as far as the request goes. */
static RotationAction
finish(const RotationFacts *f)
{
	if (f->login[VERSION_PENDING] == LOGIN_FAILED)
		return give_up(f, REFUSE_PENDING_LOGIN_FAILED);
	if (f->move == MOVE_REFUSED)
		return give_up(f, REFUSE_MOVE_REFUSED);

	/*
	 * Waiting for standbys makes sense while the other twin's login works.
	 * It is not worth a lockout, so the single strategy never waits here.
	 */
	if (request_moves(f) && is_alternating(f) && f->role_has[VERSION_CURRENT])
	{
		if (f->standbys == STANDBYS_BEHIND)
			return act(ACTION_WAIT_FOR_STANDBYS, VERSION_NONE);
		if (f->standbys == STANDBYS_TIMED_OUT)
			return refuse(REFUSE_STANDBYS_BEHIND, VERSION_NONE);
	}

	if (f->login[VERSION_PENDING] != LOGIN_PROVED)
		return act(ACTION_PROVE_LOGIN, VERSION_PENDING);
	if (!request_moves(f))
		return act(ACTION_DONE, VERSION_NONE);
	return act(ACTION_MOVE_CURRENT, VERSION_PENDING);
}

/*
 * A rotation was asked for, and the role does not have the pending password
 * yet: create it, or set it.
 */
static RotationAction
begin(const RotationFacts *f)
{
	bool candidate = pending_is_candidate(f);
	VersionRef proof;

	/* the pending version that was to be moved is gone, and the move may still arrive */
	if (f->move_may_arrive)
		return refuse(REFUSE_MOVE_UNANSWERED, VERSION_NONE);
	if (candidate && f->login[VERSION_PENDING] == LOGIN_FAILED)
		return give_up(f, REFUSE_PENDING_LOGIN_FAILED);
	if (candidate && f->move == MOVE_REFUSED)
		return give_up(f, REFUSE_MOVE_REFUSED);
	if (!is_alternating(f) && f->standbys != STANDBYS_REPLAYED)
		return give_up(f, REFUSE_STANDBYS_BEHIND);

	/* A known password may become the pending one at once; for anything else AWSCURRENT must work first. */
	if (!f->role_has[VERSION_CURRENT] && (is_alternating(f) || !candidate))
		return repair(f, REFUSE_PASSWORD_UNKNOWN);

	if (!candidate && has_pending(f) &&
		!(f->request == REQUEST_ROTATE_NOW && f->pending == VALUE_EMPTY && f->force))
		return give_up(f, pending_fault(f));
	if (!has_authority(f, VERSION_PENDING, &proof))
		return refuse(REFUSE_PASSWORD_UNKNOWN, VERSION_NONE);
	if (candidate)
		return prove_then(f, proof, act(ACTION_SET_PASSWORD, VERSION_PENDING));
	return prove_then(f, proof, act(ACTION_CREATE_PENDING, VERSION_PENDING));
}

static RotationAction
decide_rotate_now(const RotationFacts *f)
{
	if (pending_is_candidate(f) && f->role_has[VERSION_PENDING])
		return finish(f);

	/* somebody else has finished what we created, or taken it away: no second one in the same run */
	if (f->created_pending && f->pending_is_current && f->role_has[VERSION_CURRENT])
		return prove_then(f, VERSION_CURRENT, act(ACTION_DONE, VERSION_NONE));
	if (f->created_pending && !has_pending(f))
		return give_up(f, REFUSE_PENDING_GONE);

	return begin(f);
}

static RotationAction
decide_observe(const RotationFacts *f)
{
	VersionRef proof;

	if (pending_is_candidate(f))
	{
		if (f->role_has[VERSION_PENDING])
			return finish(f);
		if (f->login[VERSION_PENDING] == LOGIN_FAILED)
			return give_up(f, REFUSE_PENDING_LOGIN_FAILED);
		if (f->move == MOVE_REFUSED)
			return give_up(f, REFUSE_MOVE_REFUSED);
	}
	if (f->role_has[VERSION_CURRENT])
		return confirm_current_then(f, act(ACTION_DONE, VERSION_NONE));
	if (!has_authority(f, VERSION_CURRENT, &proof))
		return refuse(REFUSE_PASSWORD_UNKNOWN, VERSION_NONE);
	return repair(f, REFUSE_REPAIR_DISABLED);
}

/*
 * createSecret: the pending value and nothing else, but not for a role that we
 * could not go on with.  A password that no labelled version has proves no
 * login, and a restored backup of the server knows that password just as well:
 * AWSCURRENT's goes first, and its login tells the two apart.
 */
static RotationAction
decide_create_secret(const RotationFacts *f)
{
	VersionRef proof;

	if (pending_is_candidate(f))
		return act(ACTION_DONE, VERSION_NONE);
	if (f->pending != VALUE_EMPTY)
		return refuse(pending_fault(f), VERSION_NONE);
	if (!has_authority(f, VERSION_PENDING, &proof) && !has_authority(f, VERSION_CURRENT, &proof))
		return refuse(REFUSE_PASSWORD_UNKNOWN, VERSION_NONE);
	if (proof == VERSION_NONE)
		return repair(f, REFUSE_PASSWORD_UNKNOWN);
	return prove_then(f, proof, act(ACTION_CREATE_PENDING, VERSION_PENDING));
}

/*
 * testSecret: log in, and change nothing.  With RotateImmediately=false it
 * comes alone, for a version with AWSCURRENT's value, which is not ours
 * either.
 */
static RotationAction
decide_test_secret(const RotationFacts *f)
{
	if (f->pending != VALUE_USABLE)
		return refuse(pending_fault(f), VERSION_NONE);
	if (!f->role_has[VERSION_PENDING])
		return refuse(f->pending_same_password ? REFUSE_PASSWORD_UNKNOWN : REFUSE_NOT_YET_SET, VERSION_NONE);
	if (f->login[VERSION_PENDING] == LOGIN_FAILED)
		return refuse(REFUSE_PENDING_LOGIN_FAILED, VERSION_PENDING);
	if (f->login[VERSION_PENDING] != LOGIN_PROVED)
		return act(ACTION_PROVE_LOGIN, VERSION_PENDING);
	return act(ACTION_DONE, VERSION_NONE);
}

/* setSecret and finishSecret differ only in how far they go: see request_moves(). */
static RotationAction
decide_set_or_finish(const RotationFacts *f)
{
	if (!pending_is_candidate(f))
		return give_up(f, pending_fault(f));
	if (f->role_has[VERSION_PENDING])
		return finish(f);
	return begin(f);
}

/*
 * The event's version is AWSCURRENT: the rotation is finished, whatever the
 * step.  What the role may have lost since (a failover) is given back where
 * the step is one that sets passwords.
 */
static RotationAction
decide_finished_event(const RotationFacts *f)
{
	VersionRef proof;
	bool half_done = pending_is_candidate(f) && f->role_has[VERSION_PENDING];

	if (f->request == REQUEST_TEST_SECRET)
		return prove_then(f, VERSION_CURRENT, act(ACTION_DONE, VERSION_NONE));
	if (!f->role_has[VERSION_CURRENT] && !half_done && request_repairs(f) &&
		has_authority(f, VERSION_CURRENT, &proof))
		return repair(f, REFUSE_PASSWORD_UNKNOWN);
	return confirm_current_then(f, act(ACTION_DONE, VERSION_NONE));
}

static RotationAction
decide_event(const RotationFacts *f)
{
	if (!f->rotation_enabled)
		return give_up(f, REFUSE_ROTATION_DISABLED);
	if (f->token == TOKEN_ON_CURRENT)
		return decide_finished_event(f);
	if (f->token != TOKEN_ON_PENDING || !has_pending(f))
		return give_up(f, REFUSE_TOKEN_NOT_PENDING);

	switch (f->request)
	{
		case REQUEST_CREATE_SECRET:
			return decide_create_secret(f);
		case REQUEST_TEST_SECRET:
			return decide_test_secret(f);
		default:
			return decide_set_or_finish(f);
	}
}

static RotationAction
choose(const RotationFacts *f)
{
	if (f->move == MOVE_SUCCEEDED)
		return act(ACTION_DONE, VERSION_NONE);
	if (f->current == VALUE_NO_VERSION || f->current == VALUE_EMPTY)
		return give_up(f, REFUSE_NO_CURRENT);
	if (f->current == VALUE_UNUSABLE)
		return give_up(f, REFUSE_CURRENT_UNUSABLE);

	switch (f->request)
	{
		case REQUEST_ROTATE_NOW:
			return decide_rotate_now(f);
		case REQUEST_OBSERVE:
			return decide_observe(f);
		default:
			return decide_event(f);
	}
}

RotationAction
decide(const RotationFacts *facts)
{
	RotationAction action = choose(facts);

	/*
	 * No refusal leaves behind what this run has set.  But standbys that are
	 * behind only put an alternating rotation off: the pending password stays,
	 * the other twin's login works, and the next run has less to wait for.
	 */
	if (action.type == ACTION_REFUSE && can_restore(facts) &&
		!(is_alternating(facts) && action.reason == REFUSE_STANDBYS_BEHIND))
		return act(ACTION_RESTORE_PASSWORD, VERSION_NONE);
	return action;
}

const char *
rotation_action_name(RotationActionType type)
{
	switch (type)
	{
		case ACTION_CREATE_PENDING:
			return "CREATE_PENDING";
		case ACTION_SET_PASSWORD:
			return "SET_PASSWORD";
		case ACTION_PROVE_LOGIN:
			return "PROVE_LOGIN";
		case ACTION_WAIT_FOR_STANDBYS:
			return "WAIT_FOR_STANDBYS";
		case ACTION_MOVE_CURRENT:
			return "MOVE_CURRENT";
		case ACTION_RESTORE_PASSWORD:
			return "RESTORE_PASSWORD";
		case ACTION_DONE:
			return "DONE";
		case ACTION_REFUSE:
			return "REFUSE";
	}
	return "?";
}

const char *
version_ref_label(VersionRef version)
{
	switch (version)
	{
		case VERSION_CURRENT:
			return "AWSCURRENT";
		case VERSION_PENDING:
			return "AWSPENDING";
		case VERSION_PREVIOUS:
			return "AWSPREVIOUS";
		case VERSION_NONE:
			break;
	}
	return "";
}

const char *
refuse_reason_name(RefuseReason reason)
{
	switch (reason)
	{
		case REFUSE_NOTHING:
			break;
		case REFUSE_NO_CURRENT:
			return "no AWSCURRENT value";
		case REFUSE_CURRENT_UNUSABLE:
			return "AWSCURRENT unusable";
		case REFUSE_PASSWORD_UNKNOWN:
			return "password unknown";
		case REFUSE_CURRENT_LOGIN_FAILED:
			return "login failed";
		case REFUSE_PENDING_EMPTY:
			return "AWSPENDING empty";
		case REFUSE_PENDING_UNUSABLE:
			return "AWSPENDING unusable";
		case REFUSE_PENDING_SAME_PASSWORD:
			return "AWSPENDING has AWSCURRENT's password";
		case REFUSE_PENDING_NOT_OURS:
			return "AWSPENDING not written by us";
		case REFUSE_PENDING_GONE:
			return "AWSPENDING taken away";
		case REFUSE_PENDING_LOGIN_FAILED:
			return "new login failed";
		case REFUSE_MOVE_REFUSED:
			return "label move refused";
		case REFUSE_MOVE_UNANSWERED:
			return "label move unanswered";
		case REFUSE_TOKEN_NOT_PENDING:
			return "token without AWSPENDING";
		case REFUSE_ROTATION_DISABLED:
			return "rotation disabled";
		case REFUSE_NOT_YET_SET:
			return "new password not set yet";
		case REFUSE_STANDBYS_BEHIND:
			return "standbys behind";
		case REFUSE_REPAIR_DISABLED:
			return "repair disabled";
	}
	return "";
}
