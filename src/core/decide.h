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
	REQUEST_ROTATE_NOW,			/* rotate_now(): a new password, or finish the pending one */
	REQUEST_OBSERVE,			/* only looking: finish or repair, never begin */
	REQUEST_CREATE_SECRET,		/* the four steps of a service event */
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
	VERSION_NONE,				/* no labelled version */
	VERSION_CURRENT,			/* AWSCURRENT */
	VERSION_PENDING,			/* AWSPENDING */
	VERSION_PREVIOUS			/* AWSPREVIOUS */
} VersionRef;

#define VERSION_REF_COUNT 4

/* What is known of the value of a labelled version. */
typedef enum VersionValue
{
	VALUE_NO_VERSION,			/* the label is on no version */
	VALUE_EMPTY,				/* the version has no value (the service made it so) */
	VALUE_UNUSABLE,				/* does not parse, or does not name the registered role, host and port */
	VALUE_USABLE
} VersionValue;

/* Where the event's ClientRequestToken stands among the labels. */
typedef enum TokenPosition
{
	TOKEN_NONE,					/* no event, hence no token */
	TOKEN_ON_CURRENT,			/* that version carries AWSCURRENT (AWSPENDING too, or not) */
	TOKEN_ON_PENDING,			/* carries AWSPENDING and not AWSCURRENT */
	TOKEN_ELSEWHERE				/* another label, no label, or no such version */
} TokenPosition;

/* A login tried in this run, since the role's password last changed. */
typedef enum LoginProof
{
	LOGIN_NOT_TRIED,
	LOGIN_PROVED,
	LOGIN_FAILED				/* refused for good; a login that could not be tried is an error, not a fact */
} LoginProof;

/* UpdateSecretVersionStage of AWSCURRENT, in this run or one before it. */
typedef enum MoveState
{
	MOVE_NOT_SENT,
	MOVE_UNANSWERED,			/* may have reached AWS, may yet take effect */
	MOVE_REFUSED,				/* definitely without effect */
	MOVE_SUCCEEDED				/* in this run */
} MoveState;

typedef enum StandbyState
{
	STANDBYS_REPLAYED,			/* nothing to wait for */
	STANDBYS_BEHIND,			/* waiting makes sense */
	STANDBYS_TIMED_OUT			/* waited in vain */
} StandbyState;

/*
 * What was observed.  "The role" is the role whose password is to change:
 * the registered one under the single strategy; under the alternating one
 * the twin that AWSPENDING names (or, with no usable AWSPENDING, the twin
 * that AWSCURRENT does not name).
 */
typedef struct RotationFacts
{
	RotationRequest request;
	RotationStrategy strategy;
	bool		force;			/* rotate_now(force => true): fill the service's empty version */
	bool		own_pending_only;	/* registration: refuse pending values that we did not write */
	bool		repair;			/* registration: SET_PASSWORD(AWSCURRENT) is allowed when only looking */
	bool		combine_steps;	/* setSecret also proves and moves (single) */
	bool		rotation_enabled;	/* DescribeSecret's RotationEnabled; asked of events only */

	/* labels and values */
	VersionValue current;
	VersionValue pending;		/* also where AWSPENDING is on AWSCURRENT's version, see next */
	VersionValue previous;
	bool		pending_is_current; /* both labels on one version: a finished rotation */
	bool		pending_same_password;	/* AWSPENDING's password equals AWSCURRENT's (another version) */
	bool		pending_written_by_us;
	TokenPosition token;

	/* the role's verifier in pg_authid; several may be true at once */
	bool		role_has[VERSION_REF_COUNT];	/* [VERSION_x]: it is that version's password; [VERSION_NONE] unused */
	bool		set_by_us;		/* the verifier is one that we wrote, whatever version it was for */
	VersionRef	set_by_us_for;	/* the label that version carries now; VERSION_NONE: it lost its labels */

	/* this run */
	LoginProof	login[VERSION_REF_COUNT];
	bool		password_changed;	/* we changed the role's password in this run */
	bool		old_verifier_kept;	/* and can write the old verifier back */
	bool		created_pending;	/* CREATE_PENDING was carried out in this run */
	MoveState	move;
	StandbyState standbys;
} RotationFacts;

typedef enum RotationActionType
{
	ACTION_CREATE_PENDING,
	ACTION_SET_PASSWORD,		/* of the role, to the version's */
	ACTION_PROVE_LOGIN,			/* with the version's login */
	ACTION_WAIT_FOR_STANDBYS,
	ACTION_MOVE_CURRENT,		/* AWSCURRENT to AWSPENDING's version */
	ACTION_RESTORE_PASSWORD,	/* write the old verifier back */
	ACTION_DONE,
	ACTION_REFUSE
} RotationActionType;

/* Why not.  rotation.c turns each into an error with errcode and hint. */
typedef enum RefuseReason
{
	REFUSE_NOTHING,
	REFUSE_NO_CURRENT,			/* no AWSCURRENT version, or it has no value */
	REFUSE_CURRENT_UNUSABLE,
	REFUSE_PASSWORD_UNKNOWN,	/* the role's password is none that we know: changed by hand */
	REFUSE_CURRENT_LOGIN_FAILED,	/* the way in could not be proved */
	REFUSE_PENDING_EMPTY,		/* the service's rotation is under way */
	REFUSE_PENDING_UNUSABLE,
	REFUSE_PENDING_SAME_PASSWORD,
	REFUSE_PENDING_NOT_OURS,	/* own_pending_only */
	REFUSE_PENDING_LOGIN_FAILED,	/* the old password was restored */
	REFUSE_MOVE_REFUSED,
	REFUSE_TOKEN_NOT_PENDING,	/* the event's token carries no AWSPENDING */
	REFUSE_ROTATION_DISABLED,
	REFUSE_NOT_YET_SET,			/* testSecret/finishSecret: the role does not have the pending password */
	REFUSE_STANDBYS_BEHIND,
	REFUSE_REPAIR_DISABLED		/* only looking, and the registration says repair => false */
} RefuseReason;

typedef struct RotationAction
{
	RotationActionType type;
	VersionRef	version;		/* of SET_PASSWORD and PROVE_LOGIN */
	RefuseReason reason;		/* of REFUSE */
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

#endif							/* ROTATE_EXT_DECIDE_H */
