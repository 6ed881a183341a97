/*-------------------------------------------------------------------------
 *
 * store.h
 *	  The extension's tables: registrations, and a row for each run.
 *
 * The only module that runs SPI on them.  Every statement is schema-qualified
 * and runs as the bootstrap superuser with search_path = pg_catalog, pg_temp:
 * whoever may execute one of our functions needs no right on the tables.
 *
 * Every function needs a transaction and an active snapshot, and raises
 * ERRCODE_UNDEFINED_OBJECT where the extension is gone (DROP EXTENSION while
 * a rotation runs).  Results are palloc'd in the caller's memory context.
 *
 * src/db/store.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_STORE_H
#define ROTATE_EXT_STORE_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/* One row of rotate_registration. */
typedef struct Registration
{
	char *secret; /* as the user writes it: a name or an ARN */
	char *arn;    /* the full ARN, the only thing AWS is asked with */
	Oid role_oid;
	char *role_name;
	char *strategy;
	char *host; /* which AWSCURRENT named at registration */
	int port;
	int password_length; /* characters */
	char *exclude_characters;
	char *login_host;    /* or NULL */
	char *instance_hash; /* identity_instance(), or NULL */
	bool allow_plaintext_login;
	bool allow_privileged;
	bool repair;
	bool own_pending_only;
	char *system_identifier; /* decimal, of the cluster it was made in */
	char *registered_by;
} Registration;

/* The columns that end a run. */
typedef struct RunEnd
{
	const char *outcome;
	const char *version_id; /* or NULL */
	const char *phases;     /* JSON, milliseconds a phase; or NULL */
	int64 lockout_us;       /* -1: there was none */
	const char *sqlstate;   /* of a failure, else NULL */
	const char *error;
	const char *hint;
	TimestampTz retry_at; /* when the launcher is to look at the secret again; 0: it need not */
} RunEnd;

/* A run that has just begun, and what the latest one before it has left undone. */
typedef struct RunStart
{
	int64 run_id;
	int attempt; /* from 1; the launcher's: one more than that of the run that it follows up */
	char *begun; /* the version whose rotation that run had begun, and this one is to finish; or NULL */
	TimestampTz owed_at; /* when the launcher is to look at the secret because of that run; 0: it need not */
} RunStart;

/*
 * The latest run of a registered secret; run_id 0: there was none.  A call that
 * was to register the secret, and did not come to that, is no run of it.
 */
typedef struct LastRun
{
	char *secret;
	Oid role_oid;
	int64 run_id;
	int attempt;
	bool unfinished;   /* its end is not recorded: it runs, or it was interrupted */
	int interruptions; /* of an unfinished one: so many in a row before it were interrupted */
	TimestampTz started_at;
	int64 looked_run_id;   /* the latest one that looks at everything; 0: none */
	TimestampTz looked_at; /* when that began */
	TimestampTz retry_at;  /* 0: never */
} LastRun;

/* rotate_run.source of what the launcher has started, and of rotate_rollback(). */
#define STORE_SOURCE_LAUNCHER "launcher"
#define STORE_SOURCE_ROLLBACK "rotate_rollback"

/* The row for a secret's name or ARN, or NULL. */
extern Registration *store_find_registration(const char *secret);

/*
 * Who changes registrations takes turns with others, until the transaction ends:
 * two that unregister and register anew would come to wait for each other.  Readers
 * wait for nobody.
 */
extern void store_lock_registrations(void);

/*
 * Insert, under that lock.  Raises ERRCODE_DUPLICATE_OBJECT where the secret or the role is
 * registered already, naming by which registration.
 */
extern void store_insert_registration(const Registration *registration);

/* Delete by the registered spelling, under that lock. */
extern void store_delete_registration(const char *secret);

/* Bind the registration to this cluster and to the role's present oid, under that lock. */
extern void store_bind_registration(const Registration *registration);

/*
 * Begin a run: insert its row, and mark earlier ones of the same secret
 * that never ended as 'interrupted' (the caller has the role's turn, so
 * their workers are gone; but for those of another role whose turn is taken).
 * Fills *start; registration may be NULL.
 */
extern void store_begin_run(const char *secret, const Registration *registration, const char *source,
							const char *requested_by, RunStart *start);

/* Once the registration of a run is known (it was made by the run itself). */
extern void store_run_registered(int64 run_id, const Registration *registration);

/* We are about to write this version's value; NULL: we could not. */
extern void store_run_creates(int64 run_id, const char *version_id);

/* What we were about to is not to be; begun is the version of an earlier run that is still to be finished, or NULL. */
extern void store_run_gives_up(int64 run_id, const char *begun);

/* We are about to set the role's password to this version's. */
extern void store_run_intends(int64 run_id, const char *version_id);

/* Hold the run's row, and its table, until the transaction ends: a lock that comes before role_set_password()'s. */
extern void store_run_lock(int64 run_id);

/* The role's password was set; hash is SHA-256 of the new rolpassword. In the same transaction as the change. */
extern void store_run_sets(int64 run_id, const char *version_id, const uint8 *hash);

/*
 * End a run, prune the secret's history older than rotate_ext.history_retention,
 * and NOTIFY rotate_ext with the run's id where notify says so.  present_hash (or
 * NULL) is the hash of the role's verifier: the row that explains it is never pruned.
 */
extern void store_end_run(int64 run_id, const RunEnd *end, const uint8 *present_hash, bool notify);

/* May a move of AWSCURRENT that a run has sent still arrive?  It was interrupted, or got no answer, so many seconds ago. */
extern bool store_may_have_moved(const char *arn, int seconds);

/* The launcher is to look at the secret at once, or as soon as the run that is under way has ended. */
extern void store_make_due(const char *secret);

/* Did a run of ours set the verifier with this hash, and has none since then come to a good end? */
extern bool store_is_unsettled_verifier(Oid role_oid, const uint8 *hash);

/* Did a run of ours set the verifier with this hash? */
extern bool store_is_our_verifier(Oid role_oid, const uint8 *hash);

/*
 * The latest run of each secret that is registered in this cluster: a list of
 * LastRun.  *latest: the highest number of any run, or 0.
 */
extern List *store_list_last_runs(const char *system_identifier, int64 *latest);

/* Is the run's end still not recorded?  As of now, not of a snapshot of the caller's. */
extern bool store_run_is_unfinished(int64 run_id);

/* extversion of the extension, or NULL where it is not installed here. */
extern char *store_extension_version(void);

/*
 * The version that the latest rotate_rollback() before this run was to go back
 * to, where its end is not a success; NULL where there is none.
 */
extern char *store_open_rollback(const char *arn, int64 run_id);

/*
 * Where our latest successful run has moved AWSCURRENT to, or NULL.  seconds:
 * only where that was not longer ago; 0: whenever it was.
 */
extern char *store_moved_to(const char *arn, int seconds);

/* Did we write this version's value? */
extern bool store_created_version(const char *arn, const char *version_id);

/* Did we, and does no run say that it made this version AWSCURRENT? */
extern bool store_is_unrecorded_move(const char *arn, const char *version_id);

#endif /* ROTATE_EXT_STORE_H */
