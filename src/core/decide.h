/*-------------------------------------------------------------------------
 *
 * decide.h
 *	  What a rotation does next: one pure function of what was observed.
 *
 * The worker observes Secrets Manager and pg_authid, calls decide(), carries
 * the action out, and starts over, until the action is DONE or REFUSE.
 * Nothing has to be remembered across a crash: observing again gives facts
 * that lead on from wherever the rotation stood.
 *
 * No allocation, no clock, no I/O and no PostgreSQL header in here.
 *
 * What the loop owes decide(), and what test/unit/test_decide.c plays
 * -------------------------------------------------------------------
 * Labels and values may be observed once and kept, but are observed again
 * after RESTORE_PASSWORD and after every answer that was not a plain success:
 * MOVE_CURRENT unanswered or refused, SET_PASSWORD or RESTORE_PASSWORD that met
 * a role changed by someone else.  Each observation looks at pg_authid anew.
 *
 * What was learnt in the run belongs to a version id, not to a label: where a
 * label is found on another version, login[] of that label is that version's.
 *
 *	CREATE_PENDING		done: pending is VALUE_USABLE and written by us,
 *						created_pending.  Not done: the run ends with that error.
 *	SET_PASSWORD		done: password_changed, role_has[] is worked out again,
 *						every LOGIN_PROVED is forgotten, and the LOGIN_FAILED of
 *						the version that was set (no other).  The verifier that
 *						was replaced is kept, unless old_verifier_kept: then the
 *						one that is.  Not done: the run ends with that error, or
 *						the role had changed: observe.
 *	PROVE_LOGIN			LOGIN_PROVED or LOGIN_FAILED.
 *	WAIT_FOR_STANDBYS	STANDBYS_REPLAYED or STANDBYS_TIMED_OUT.
 *	MOVE_CURRENT		names version ids: from the version observed as AWSCURRENT
 *						to the one observed as AWSPENDING.  See MoveState.
 *	RESTORE_PASSWORD	done or not: the kept verifier is wiped, every LOGIN_PROVED
 *						is forgotten, observe.
 *
 * Where an observation finds a verifier in pg_authid that is neither the one
 * seen before nor our own change, every LOGIN_PROVED is forgotten.
 *
 * src/core/decide.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_DECIDE_H
#define ROTATE_EXT_DECIDE_H

#include <stdbool.h>

/* What was asked for. */
typedef enum RotationRequest
{
	REQUEST_ROTATE_NOW,    /* rotate_now(): a new password, or finish the pending one */
	REQUEST_OBSERVE,       /* only looking: finish or repair, never begin */
	REQUEST_CREATE_SECRET, /* the four steps of a service event */
	REQUEST_SET_SECRET,
	REQUEST_TEST_SECRET,
	REQUEST_FINISH_SECRET
} RotationRequest;

typedef enum RotationStrategy
{
	STRATEGY_SINGLE,
	STRATEGY_ALTERNATING
} RotationStrategy;

/* A version, named by the staging label that it carries. */
typedef enum VersionRef
{
	VERSION_NONE,    /* no labelled version */
	VERSION_CURRENT, /* AWSCURRENT */
	VERSION_PENDING, /* AWSPENDING */
	VERSION_PREVIOUS /* AWSPREVIOUS */
} VersionRef;

#define VERSION_REF_COUNT 4

/* What is known of the value of a labelled version.  A version's value never changes once it is there. */
typedef enum VersionValue
{
	VALUE_NO_VERSION, /* the label is on no version */
	VALUE_EMPTY,      /* the version has no value (the service made it so) */
	VALUE_UNUSABLE,   /* does not parse, or does not name the registered role, host and port */
	VALUE_USABLE
} VersionValue;

/* Where the event's ClientRequestToken stands among the labels. */
typedef enum TokenPosition
{
	TOKEN_NONE,       /* no event, hence no token */
	TOKEN_ON_CURRENT, /* that version carries AWSCURRENT (AWSPENDING too, or not) */
	TOKEN_ON_PENDING, /* carries AWSPENDING and not AWSCURRENT */
	TOKEN_ELSEWHERE   /* another label, no label, or no such version */
} TokenPosition;

/*
 * A login tried in this run.  LOGIN_PROVED holds until a password is set or
 * restored; LOGIN_FAILED until the role's password is set to that version's
 * again, so that a run does not try in circles what did not work.
 */
typedef enum LoginProof
{
	LOGIN_NOT_TRIED,
	LOGIN_PROVED,
	LOGIN_FAILED /* did not come about, for whatever reason: refused, no answer, another server */
} LoginProof;

/* The latest UpdateSecretVersionStage of AWSCURRENT that this run has sent. */
typedef enum MoveState
{
	MOVE_NOT_SENT,   /* or refused, and AWSCURRENT or AWSPENDING is on another version since */
	MOVE_UNANSWERED, /* no answer, and AWSCURRENT is not there (yet) */
	MOVE_REFUSED,    /* definitely without effect, and the labels are still where they were */
	MOVE_SUCCEEDED   /* answered so, or AWSCURRENT was found where an unanswered one was to put it */
} MoveState;

typedef enum StandbyState
{
	STANDBYS_REPLAYED, /* nothing to wait for; single: none is further behind than max_standby_lag */
	STANDBYS_BEHIND,   /* waiting makes sense */
	STANDBYS_TIMED_OUT /* waited in vain */
} StandbyState;

/*
 * What was observed.  "The role" is the registered one under the single
 * strategy.  Under the alternating one there are two of them, the twins: each
 * version names one.  AWSPENDING changes the twin that AWSCURRENT does not
 * name.
 *
 * AWSPREVIOUS is fetched only where it can matter: single, where the role's
 * password is neither AWSCURRENT's nor AWSPENDING's (one that own_pending_only
 * refuses does not count); alternating, where the twin that AWSCURRENT names
 * does not have its password.  Not fetched, it is VALUE_NO_VERSION with
 * role_has[] false.
 */
typedef struct RotationFacts
{
	RotationRequest request;
	RotationStrategy strategy;
	bool force;            /* rotate_now(force => true): fill the service's empty version */
	bool own_pending_only; /* registration: refuse pending values that we did not write */
	bool repair;           /* registration: SET_PASSWORD(AWSCURRENT) is allowed when nobody asked to rotate */
	bool combine_steps;    /* setSecret also moves the label (single only) */
	bool rotation_enabled; /* DescribeSecret's RotationEnabled; asked of events only */

	/*
	 * Labels and values.  Under the alternating strategy AWSPENDING and
	 * AWSPREVIOUS are unusable where they name the twin that AWSCURRENT names;
	 * except an AWSPENDING with AWSCURRENT's user and password, which is usable
	 * with pending_same_password.
	 */
	VersionValue current;
	VersionValue pending; /* where AWSPENDING is on AWSCURRENT's version: as current */
	VersionValue previous;
	bool pending_is_current;    /* both labels on one version: a finished rotation */
	bool pending_same_password; /* another version, with AWSCURRENT's password */
	bool pending_written_by_us; /* its version id is that of a run of ours */
	TokenPosition token;

	/*
	 * pg_authid.  role_has[VERSION_x]: the role that the version names has its
	 * password now; several may be true at once; false where the value is not
	 * usable; [VERSION_NONE] is false.
	 */
	bool role_has[VERSION_REF_COUNT];
	bool set_by_us; /* single: the role's verifier is one that a run of ours wrote, any run */

	/* this run */
	LoginProof login[VERSION_REF_COUNT]; /* of the version that carries the label now */
	bool password_changed;  /* SET_PASSWORD was done, and the role still has the verifier it wrote */
	bool old_verifier_kept; /* password_changed, what it replaced is in memory, and AWSCURRENT is not on
								 * the version that was set */
	bool created_pending;   /* CREATE_PENDING was done */
	MoveState move;
	bool move_may_arrive; /* some move sent in this run was never answered: it may yet take effect */
	StandbyState standbys;
} RotationFacts;

typedef enum RotationActionType
{
	ACTION_CREATE_PENDING, /* a new version, or the value of the empty one */
	ACTION_SET_PASSWORD,   /* of the role that the version names, to its password */
	ACTION_PROVE_LOGIN,    /* with the version's login */
	ACTION_WAIT_FOR_STANDBYS,
	ACTION_MOVE_CURRENT,     /* AWSCURRENT to AWSPENDING's version */
	ACTION_RESTORE_PASSWORD, /* write the old verifier back */
	ACTION_DONE,
	ACTION_REFUSE
} RotationActionType;

/* Why not.  rotation.c turns each into an error with errcode and hint. */
typedef enum RefuseReason
{
	REFUSE_NOTHING,
	REFUSE_NO_CURRENT, /* no AWSCURRENT version, or it has no value */
	REFUSE_CURRENT_UNUSABLE,
	REFUSE_PASSWORD_UNKNOWN,     /* the role's password is none that we know: changed by hand */
	REFUSE_CURRENT_LOGIN_FAILED, /* the way in could not be proved, with the action's version */
	REFUSE_PENDING_EMPTY,        /* the service's rotation is under way */
	REFUSE_PENDING_UNUSABLE,
	REFUSE_PENDING_SAME_PASSWORD,
	REFUSE_PENDING_NOT_OURS,     /* own_pending_only */
	REFUSE_PENDING_GONE,         /* someone took AWSPENDING off the version that this run created */
	REFUSE_PENDING_LOGIN_FAILED, /* the role has its old password again, where it could be given back */
	REFUSE_MOVE_REFUSED,         /* the same */
	REFUSE_MOVE_UNANSWERED,      /* a move may yet arrive, and cannot be sent again: look again later */
	REFUSE_TOKEN_NOT_PENDING,    /* the event's token carries no AWSPENDING */
	REFUSE_ROTATION_DISABLED,
	REFUSE_NOT_YET_SET,     /* testSecret: the role does not have the pending password */
	REFUSE_STANDBYS_BEHIND, /* single: not begun; alternating: put off, the old login still works */
	REFUSE_REPAIR_DISABLED  /* only looking, and the registration says repair => false */
} RefuseReason;

typedef struct RotationAction
{
	RotationActionType type;
	VersionRef version;  /* of SET_PASSWORD and PROVE_LOGIN; of REFUSE the one whose login failed, or NONE */
	RefuseReason reason; /* of REFUSE, else REFUSE_NOTHING */
} RotationAction;

/*
 * The next action.  Pure: equal facts give equal actions.  Every field of
 * *facts must be set; nothing in it is changed.
 */
extern RotationAction decide(const RotationFacts *facts);

/* Names for messages and views: "SET_PASSWORD", "AWSPENDING", "password unknown". Static strings. */
extern const char *rotation_action_name(RotationActionType type);
extern const char *version_ref_label(VersionRef version);
extern const char *refuse_reason_name(RefuseReason reason);

#endif /* ROTATE_EXT_DECIDE_H */
