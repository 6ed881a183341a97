/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The launcher: has secrets looked at when nobody asks.
 *
 * A static background worker, there when the library is in
 * shared_preload_libraries.  At every start of the server, after a crash and
 * on promotion it has every registered secret of rotate_ext.database observed,
 * and what is unfinished or lost put right; after that it starts what is to be
 * tried again, when it is due.
 *
 * It is connected to no database, as PostgreSQL's own launchers, so that none
 * is kept from being dropped: a worker of its own lists what is due, and
 * rotation workers do the rest.  It holds no secret.
 *
 * launcher_shared.c is what other processes see of it, in shared memory.
 *
 * src/launcher.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_LAUNCHER_H
#define ROTATE_EXT_LAUNCHER_H

/* From _PG_init(), while the library is preloaded: shared memory, and the worker itself. */
extern void launcher_register(void);

/* The launcher's process: the function that the postmaster starts. */
extern PGDLLEXPORT void rotate_launcher_main(Datum main_arg);

/*
 * Something may be due that was not before: a run has ended, a secret was
 * registered.  Nothing happens where there is no launcher.  The second waits
 * for the commit of the current transaction.  The third has the arguments of
 * a callback for before_shmem_exit().
 */
extern void launcher_wake(void);
extern void launcher_wake_at_commit(void);
extern void launcher_wake_at_exit(int code, Datum arg);

/*
 * Does the launcher look after the present database, now or as soon as it runs
 * again, or learns that there is one of that name?  Needs a transaction.
 */
extern bool launcher_looks_after(void);

/*
 * Why the launcher does not look after the present database, for people; NULL:
 * it does.  palloc'd.  Needs a transaction.
 */
extern char *launcher_problem(void);

/* What keeps it from working; the launcher's own to set. */
typedef enum LauncherState
{
	LAUNCHER_STARTING,
	LAUNCHER_WORKING,
	LAUNCHER_NO_DATABASE,  /* rotate_ext.database does not exist */
	LAUNCHER_CANNOT_LIST,  /* it could not be read: the server's log says why */
	LAUNCHER_NO_EXTENSION, /* CREATE EXTENSION is still to come, or was undone */
	LAUNCHER_OTHER_VERSION /* the extension's objects are of another version than this library */
} LauncherState;

/* In the launcher: publish its latch until the process exits; tell its state. */
extern void launcher_publish(void);
extern void launcher_set_state(LauncherState state, Oid database);

/* In the launcher: was it woken since the last call? */
extern bool launcher_was_woken(void);

#endif /* ROTATE_EXT_LAUNCHER_H */
