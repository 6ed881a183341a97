/*-------------------------------------------------------------------------
 *
 * decide_world.h
 *	  The world that test_decide.c plays: Secrets Manager, pg_authid, a standby,
 *	  label moves under way, and what a worker has in memory.
 *
 * A password is a number; a version holds one, and a role's verifier matches
 * the versions that hold the same number.  Versions and passwords that nothing
 * refers to any more are forgotten, and the others are renumbered in the order
 * in which they are referred to.  So the worlds are finitely many, however many
 * rotations are played.
 *
 * test/unit/decide_world.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DECIDE_WORLD_H
#define DECIDE_WORLD_H

#include "core/decide.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VERSIONS 10
#define NO_SLOT 0xff
#define NO_SUCH_TOKEN 0xfe
#define PASSWORD_LOST 0 /* held by no version: forgotten, or set by hand */
#define MAX_FLIGHTS 2

typedef struct Version
{
	uint8_t value;      /* VersionValue; VALUE_NO_VERSION: the slot is free */
	uint8_t twin;       /* which of the roles it names */
	uint8_t password;   /* not PASSWORD_LOST, where it has one */
	uint8_t ours : 1;   /* written by a run of ours */
	uint8_t locked : 1; /* its password never logs in, though the verifier matches */
	uint8_t spare : 6;
} Version;

typedef struct Verifier
{
	uint8_t password;
	uint8_t ours; /* its hash is in a run's row */
} Verifier;

typedef struct World
{
	Version version[MAX_VERSIONS];
	uint8_t label[VERSION_REF_COUNT]; /* slot by VersionRef; [VERSION_NONE] is NO_SLOT */
	Verifier role[2];                 /* the twins; single: only the first */
	Verifier replica[2];              /* what a standby would be promoted with */
	uint8_t from[MAX_FLIGHTS];        /* moves of AWSCURRENT that may yet arrive */
	uint8_t to[MAX_FLIGHTS];
	uint8_t budget; /* faults and interferences that may still happen */
} World;

/* What a worker has in memory. */
typedef struct Run
{
	uint8_t active;
	uint8_t request;
	uint8_t force;
	uint8_t token;                   /* slot, NO_SLOT or NO_SUCH_TOKEN */
	uint8_t observe;                 /* must observe before it decides */
	uint8_t seen[VERSION_REF_COUNT]; /* the labels as observed */
	Verifier seen_role[2];
	uint8_t stale; /* someone else has changed a role since */
	uint8_t login[MAX_VERSIONS];
	uint8_t set_slot; /* the version whose password it set, while the role has it */
	uint8_t kept;
	Verifier old; /* what it replaced */
	uint8_t created;
	uint8_t move;
	uint8_t unanswered; /* a move sent in this run was never answered */
	uint8_t moved_to;   /* where that one was to put AWSCURRENT */
	uint8_t standbys;
	uint8_t target;     /* rotate_rollback(): AWSPENDING's new version, else NO_SLOT */
	uint8_t taken_from; /* and the one that it was on, or NO_SLOT */
	uint8_t was_ours;   /* whether that was known to be ours before */
	uint8_t at_target;  /* whether the role had its password before */
	/* for the test only */
	uint8_t started_well; /* AWSCURRENT logged in when the run began */
	uint8_t undisturbed;  /* nothing but faults of the run's own requests since */
} Run;

typedef struct State
{
	World w;
	Run r;
} State;

/* What stays the same through one exploration. */
typedef struct Settings
{
	RotationStrategy strategy;
	bool own_pending_only;
	bool repair;
	bool combine_steps;
	int budget;
} Settings;

static Settings settings;

static inline bool
alternating(void)
{
	return settings.strategy == STRATEGY_ALTERNATING;
}

/* The version at a label, or one that has no value. */
static inline const Version *
at(const World *w, uint8_t slot)
{
	static const Version none = {VALUE_NO_VERSION, 0, PASSWORD_LOST, 0, 0, 0};

	return slot < MAX_VERSIONS ? &w->version[slot] : &none;
}

static inline const Version *
labelled(const World *w, VersionRef ref)
{
	return at(w, w->label[ref]);
}

static inline bool
matches(const Verifier *role, const Version *v)
{
	return v->value == VALUE_USABLE && role[v->twin].password == v->password;
}

static inline void
reset_run(Run *r)
{
	memset(r, 0, sizeof(*r));
	r->token = r->set_slot = r->moved_to = r->target = r->taken_from = NO_SLOT;
	memset(r->seen, NO_SLOT, sizeof(r->seen));
}

static uint8_t
new_version(World *w, VersionValue value, int twin, uint8_t password)
{
	for (uint8_t slot = 0; slot < MAX_VERSIONS; slot++)
	{
		if (w->version[slot].value != VALUE_NO_VERSION)
			continue;
		memset(&w->version[slot], 0, sizeof(Version));
		w->version[slot].value = (uint8_t) value;
		w->version[slot].twin = (uint8_t) twin;
		w->version[slot].password = password;
		return slot;
	}
	fprintf(stderr, "MAX_VERSIONS is too small\n");
	exit(2);
}

/* A password that no version and no role has. */
static uint8_t
new_password(const State *s)
{
	uint8_t top = 0;

	for (int i = 0; i < MAX_VERSIONS; i++)
	{
		if (s->w.version[i].value != VALUE_NO_VERSION && s->w.version[i].password > top)
			top = s->w.version[i].password;
	}
	for (int i = 0; i < 2; i++)
	{
		const uint8_t others[3] = {s->w.role[i].password, s->w.replica[i].password, s->r.old.password};

		for (int j = 0; j < 3; j++)
			top = others[j] > top ? others[j] : top;
	}
	return (uint8_t) (top + 1);
}

/* Forget what nothing refers to, and number the rest by reference: equal worlds have equal bytes. */
static void
canonical(State *s)
{
	uint8_t *reference[3 + 3 + 5 + 2 * MAX_FLIGHTS];
	uint8_t slot_of[MAX_VERSIONS];
	uint8_t password_of[256] = {PASSWORD_LOST};
	Version versions[MAX_VERSIONS] = {{0}};
	uint8_t logins[MAX_VERSIONS] = {0};
	int nreferences = 0;
	uint8_t nslots = 0;
	uint8_t npasswords = 0;
	uint8_t *verifier[] = {&s->w.role[0].password,      &s->w.role[1].password,
						   &s->w.replica[0].password,   &s->w.replica[1].password,
						   &s->r.seen_role[0].password, &s->r.seen_role[1].password,
						   &s->r.old.password};

	for (int ref = VERSION_CURRENT; ref <= VERSION_PREVIOUS; ref++)
		reference[nreferences++] = &s->w.label[ref];
	for (int ref = VERSION_CURRENT; ref <= VERSION_PREVIOUS; ref++)
		reference[nreferences++] = &s->r.seen[ref];
	reference[nreferences++] = &s->r.token;
	reference[nreferences++] = &s->r.set_slot;
	reference[nreferences++] = &s->r.moved_to;
	reference[nreferences++] = &s->r.target;
	reference[nreferences++] = &s->r.taken_from;
	for (int i = 0; i < MAX_FLIGHTS; i++)
	{
		reference[nreferences++] = &s->w.from[i];
		reference[nreferences++] = &s->w.to[i];
	}

	memset(slot_of, NO_SLOT, sizeof(slot_of));
	for (int i = 0; i < nreferences; i++)
	{
		uint8_t slot = *reference[i];

		if (slot >= MAX_VERSIONS)
			continue;
		if (slot_of[slot] == NO_SLOT)
		{
			versions[nslots] = s->w.version[slot];
			logins[nslots] = s->r.login[slot];
			slot_of[slot] = nslots++;
		}
		*reference[i] = slot_of[slot];
	}
	for (int i = 0; i < nslots; i++)
	{
		uint8_t *password = &versions[i].password;

		if (*password == PASSWORD_LOST)
			continue;
		if (password_of[*password] == PASSWORD_LOST)
			password_of[*password] = ++npasswords;
		*password = password_of[*password];
	}
	for (size_t i = 0; i < sizeof(verifier) / sizeof(verifier[0]); i++)
		*verifier[i] = password_of[*verifier[i]];
	memcpy(s->w.version, versions, sizeof(versions));
	memcpy(s->r.login, logins, sizeof(logins));

	/* no standby is promoted any more: what it had can't matter to a single rotation */
	if (s->w.budget == 0 && !alternating())
		memcpy(s->w.replica, s->w.role, sizeof(s->w.role));
}

static void
first_state(State *s)
{
	memset(s, 0, sizeof(*s));
	memset(s->w.label, NO_SLOT, sizeof(s->w.label));
	memset(s->w.from, NO_SLOT, sizeof(s->w.from));
	memset(s->w.to, NO_SLOT, sizeof(s->w.to));
	reset_run(&s->r);
	s->w.label[VERSION_CURRENT] = new_version(&s->w, VALUE_USABLE, 0, 1);
	s->w.role[0].password = 1;
	memcpy(s->w.replica, s->w.role, sizeof(s->w.role));
	s->w.budget = (uint8_t) settings.budget;
	canonical(s);
}

#endif /* DECIDE_WORLD_H */
