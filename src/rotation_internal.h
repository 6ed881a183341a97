/*-------------------------------------------------------------------------
 *
 * rotation_internal.h
 *	  The state of one run, shared by the files that observe, act and refuse.
 *
 * Everything in it lives in one process and ends with it.
 *
 * src/rotation_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_ROTATION_INTERNAL_H
#define ROTATE_EXT_ROTATION_INTERNAL_H

#include "lib/stringinfo.h"
#include "portability/instr_time.h"

#include "aws/secretsmanager.h"
#include "compat.h"
#include "core/decide.h"
#include "core/secret_value.h"
#include "db/login.h"
#include "db/role.h"
#include "db/store.h"
#include "rotation.h"

/* Why the value of a labelled version can't be used. */
typedef struct VersionProblem
{
	int sqlerrcode;
	char *message; /* "field \"host\" is missing" */
	char *hint;    /* or NULL */
} VersionProblem;

/* One labelled version. */
typedef struct Version
{
	char *id;                /* NULL: the label is on no version */
	bool has_secret;         /* secret is set */
	SecretValue secret;      /* to be freed */
	VersionProblem *problem; /* why not usable, or NULL */
} Version;

/* A login tried in this run. */
typedef struct TriedLogin
{
	char *version_id;
	LoginProof proof;
	LoginTarget target; /* of a failed one, for its error; no password in it */
	LoginResult result;
} TriedLogin;

/* rotate_rollback(): where AWSPENDING is to go, and how far that is. */
typedef struct RollbackState
{
	char *target;          /* version id; NULL: nothing was sent */
	char *begun;           /* what an earlier run had begun, or NULL */
	char *from;            /* where AWSPENDING is to be put back; NULL: on no version */
	bool moved_label;      /* AWSPENDING is on the target */
	bool label_may_arrive; /* some request was never answered */
	int tries;
	uint8 verifier_hash[VERIFIER_HASH_LEN]; /* of the role when AWSPENDING had been moved */
	bool role_had_target;                   /* and whether that was the target's password */
} RollbackState;

typedef struct Rotation
{
	MemoryContext context; /* of the run */
	const RotationOrder *order;
	const char *verb; /* "rotate", "register", "abandon" or "roll back": what could not be done */
	RotationResult *result;
	Registration *registration;
	SmClient *client;
	Oid turn_of;         /* the role whose turn is ours, or InvalidOid */
	int64 run_id;        /* 0: not recorded (dry run) */
	bool unannounced;    /* nobody can be notified of its end */
	int attempt;         /* of what is tried again, from 1 */
	char *begun;         /* the version that this run has made, or whose rotation it is to finish; or NULL */
	TimestampTz owed_at; /* when the launcher was to look at the secret; 0: it was not */
	instr_time started;

	/* observed */
	bool observed; /* everything, at least once */
	RotationFacts facts;
	Version versions[VERSION_REF_COUNT];
	RoleState role;
	char *random_password; /* fetched beside the values, for CREATE_PENDING; or NULL */
	size_t random_length;

	/* this run: logins by version id, since a label may be found on another version */
	List *logins; /* of TriedLogin */
	RoleVerifier *old_verifier;
	char *set_version_id;               /* whose password we set last, or NULL */
	uint8 set_hash[VERIFIER_HASH_LEN];  /* of the verifier that this wrote */
	uint8 seen_hash[VERIFIER_HASH_LEN]; /* of the verifier seen last */
	bool lockout_begun;
	bool lockout_ended;
	instr_time lockout_start;
	int64 lockout_us;
	bool repaired;   /* SET_PASSWORD(AWSCURRENT) was carried out */
	bool restored;   /* what SET_PASSWORD replaced is back, or somebody else has replaced it since */
	char *move_from; /* version ids of the latest MOVE_CURRENT, or NULL */
	char *move_to;
	SmCall *move_failure; /* the latest that did not succeed, or NULL */
	int moves_again;      /* sent because the one before was not answered */
	int looks_again;      /* at the labels, which were out of date */
	int quota_waits;      /* after a move that was throttled */
	int requests;         /* sent to Secrets Manager */
	int64 told_offset;    /* of AWS's clock, that the caller was warned of */
	bool timed_out;       /* it took longer than rotate_ext.worker_timeout */
	RollbackState rollback;
	List *standbys; /* of StandbyLag: too far behind, or gone */
	bool warned_of_slots;

	char tls[16];          /* of the last login proved */
	StringInfoData phases; /* JSON array without its brackets */
} Rotation;

/*
 * rotation_state.c
 *
 * The time limit of the run (rotate_ext.worker_timeout): statement_timeout does
 * nothing in a background worker.  When it is over, the run is cancelled as by
 * pg_cancel_backend().  rotation_stop_time() says whether that happened.
 * rotation_check_time() raises ERRCODE_QUERY_CANCELED where it is over, or the run was
 * cancelled: for after a commit, since a cancelled wait for a synchronous standby
 * raises nothing.
 */
extern void rotation_start_time(void);
extern bool rotation_stop_time(void);
extern void rotation_check_time(void);

/*
 * rotation_terminate.c
 *
 * rotation_defer_termination(), called before a password is set: from here on
 * SIGTERM raises ERRCODE_QUERY_CANCELED, as a cancel does, and the process dies
 * at most 2 seconds later; rotation_is_terminated() tells the two apart.  In
 * between rotation_await_answer(true) and (false) it raises nothing for a
 * moment; rotation_check_termination() does so then, and where the signal has
 * only ended a wait for a synchronous standby.  rotation_end_termination():
 * SIGTERM ends the process again.
 */
extern void rotation_defer_termination(void);
extern void rotation_await_answer(bool awaits);
extern bool rotation_is_terminated(void);
extern void rotation_check_termination(void);
extern void rotation_end_termination(void);

/*
 * How often a label's move that was never answered is sent again, and how long
 * to wait before the first of them; twice as long before each one after that.
 * Each is tried rotate_ext.max_attempts times.
 */
#define MAX_MOVES_AGAIN 4
#define FIRST_MOVE_WAIT_MS 250

/* Are the two version ids equal?  No, where one is NULL: no version. */
extern bool rotation_same_version(const char *a, const char *b);

/* Milliseconds since the start of the run. */
extern double rotation_elapsed_ms(const Rotation *rotation);

/* Transactions of the worker.  The memory context stays what it was. */
extern void rotation_begin(void);
extern void rotation_commit(void);

/* sm_perform(), count the requests, and warn of a wrong clock. */
extern void rotation_perform(Rotation *rotation, SmCall **calls, int ncalls);

/* Sleep; interrupts are served. */
extern void rotation_pause(long milliseconds);

/*
 * What Secrets Manager shows of the labels is out of date, as it may be for a
 * moment after they were moved: wait, a little longer each time.  False: the run
 * has waited long enough.
 */
extern bool rotation_wait_for_labels(Rotation *rotation);

/*
 * The label move was throttled, and the role has its old password back: wait for
 * a while, and make ready to go on from the pending version.  False: that is not
 * why the run ends, or there is no time for it.
 */
extern bool rotation_wait_for_quota(Rotation *rotation, RotationAction action);

/* The password that CREATE_PENDING needs, asked for in Secrets Manager's encoding.  Opens a transaction. */
extern SmCall *rotation_random_password_call(Rotation *rotation);

/* What is known of the login of the version that carries the label, or NULL. */
extern TriedLogin *rotation_tried_login(const Rotation *rotation, VersionRef ref);

/* Every proof is forgotten: the role's password has changed. */
extern void rotation_forget_proofs(Rotation *rotation);

/* rotation_observe.c: fill the facts from Secrets Manager and pg_authid. */
extern void rotation_observe(Rotation *rotation);

/* Only pg_authid, and what our own rows say of it.  Raises as rotation_check_role(). */
extern void rotation_observe_role(Rotation *rotation);

/* Wipe the values observed, and forget the labels. */
extern void rotation_forget_values(Rotation *rotation);

/* The facts that follow from what this run has done and from where the labels are. */
extern void rotation_derive_facts(Rotation *rotation);

/* What the registered role must be to be rotated at all; raises otherwise.  Needs a transaction. */
extern void rotation_check_role(Rotation *rotation);

/* The facts as JSON, for dry_run. */
extern char *rotation_facts_json(const Rotation *rotation);

/* rotation_act.c: carry one action out and bring the facts up to date. */
extern void rotation_act(Rotation *rotation, RotationAction action);

/* Write the old verifier back, if the role still has the one we wrote; ends the lockout.  Opens a transaction. */
extern void rotation_restore(Rotation *rotation);

/* rotation_refuse.c: turn a refusal into an error. */
pg_noreturn extern void rotation_refuse(Rotation *rotation, RotationAction action);

/* The value of this version can't be used: say why. */
pg_noreturn extern void rotation_refuse_value(const Rotation *rotation, VersionRef ref);

/* Text for what secret_value_parse() found wrong; no input is in it. */
extern VersionProblem *version_problem_from_parse(const SecretValueError *error);

/* The secret as the user knows it, for messages. */
#define ROTATION_SECRET(rotation) \
	((rotation)->registration ? (rotation)->registration->secret : (rotation)->order->secret)

/* "rotate_rollback" or "rotate_now": what to call again.  Static. */
extern const char *rotation_function(const Rotation *rotation);

/* The label that a person knows the version by: a rollback's pending version is AWSPREVIOUS's to them.  Static. */
extern const char *rotation_label(const Rotation *rotation, VersionRef ref);

/* What can be known from the description alone: is this a secret that we may rotate?  Raises otherwise. */
extern void rotation_check_description(const Rotation *rotation, const SmDescription *description);

/*
 * rotation_register.c: check the secret and the role of the order, and make
 * the registration, in the run's context; nothing is stored.
 */
extern Registration *rotation_register(Rotation *rotation);

/*
 * rotation_record.c
 *
 * The run's row, each in a transaction of its own.  The first marks runs of the
 * secret that never ended as interrupted, so the role's turn must be ours;
 * it does nothing where nothing is to be recorded.  The second is given the
 * run's error, or NULL.
 */
extern void rotation_begin_record(Rotation *rotation);
extern void rotation_end_record(Rotation *rotation, const ErrorData *error);

/* rotation_access.c: open a client, and fill the result's access.  Raises as sm_open(). */
extern void rotation_show_access(Rotation *rotation);

/*
 * rotation_standbys.c: the fact; the error that says which standby; and both
 * for dry_run.
 */
extern void rotation_observe_standbys(Rotation *rotation);
pg_noreturn extern void rotation_refuse_standbys(const Rotation *rotation);
extern void rotation_append_standbys(StringInfo json, const Rotation *rotation);

/* rotation_abandon.c */
extern void rotation_abandon(Rotation *rotation);

/*
 * rotation_rollback.c: once everything is observed, move AWSPENDING to
 * AWSPREVIOUS's version; the facts are then those of a rotation to it.  False:
 * an earlier, interrupted rollback has got there already.
 */
extern bool rotation_rollback(Rotation *rotation);

/* After the error that ended it: put AWSPENDING back where it was, where that is right. */
extern void rotation_rollback_undo(Rotation *rotation, const ErrorData *error);

#endif /* ROTATE_EXT_ROTATION_INTERNAL_H */
