/*-------------------------------------------------------------------------
 *
 * test_decide.c
 *	  Unit test of src/core/decide.c: every state that can be reached.
 *
 * Covers: core/decide.
 *
 * Plays a world (decide_world.h) in which a worker observes, decides and acts
 * (decide_run.h), can crash after every action, and others interfere
 * (decide_others.h).  Breadth first, every state once, for every setting; the
 * number of faults and interferences on a way is bounded, crashes and runs are
 * not.  At every action the invariants are checked (decide_check.h), and from
 * every state, where a run without further faults leads (decide_converge.h).
 * Then decide() is asked about facts in every combination, reachable or not
 * (decide_facts.h).
 *
 *	test_decide [--budget N] [--facts all|drawn|none]
 *
 * The budget is 2; one of 3 takes a minute and visits ten times as many
 * states.  Of the combinations of facts, "drawn" leaves out those that are
 * counted through.
 *
 * test/unit/test_decide.c
 *
 *-------------------------------------------------------------------------
 */
#include "decide_converge.h"
#include "decide_others.h"
#include "decide_facts.h"

/* How a state was reached from the one before it. */
typedef struct Way
{
	uint32_t before; /* index of that state */
	uint8_t kind;    /* WAY_x */
	uint8_t what;
	uint8_t version;
	uint8_t outcome;
} Way;

enum
{
	WAY_START,
	WAY_RUN,
	WAY_ROLLBACK,
	WAY_ACTION,
	WAY_OBSERVED,
	WAY_CRASH,
	WAY_INTERFERENCE,
	WAY_ARRIVAL
};

static State *states;
static Way *ways;
static uint32_t nstates;
static uint32_t room;
static uint32_t *table; /* index of a state plus one, 0: free */
static uint32_t table_mask;
static uint32_t at_state; /* the one under test */
static unsigned long idle_states;
static unsigned long actions;

static const char *const request_name[] = {"rotate_now()", "only looking", "createSecret",
										   "setSecret",    "testSecret",   "finishSecret"};
static const char *const outcome_name[] = {"",       " (standby two commits behind)", " fails",
										   ": lost", ": done, answer lost",           ": no answer yet"};

static void
describe(const Way *way)
{
	switch (way->kind)
	{
		case WAY_START:
			printf("#   start\n");
			break;
		case WAY_RUN:
			printf("#   run: %s%s%s, token %d\n", request_name[way->what], way->version & 1 ? " force" : "",
				   way->version & 2 ? ", a standby is behind" : "", way->outcome);
			break;
		case WAY_ROLLBACK:
			printf("#   run: rotate_rollback()\n");
			break;
		case WAY_ACTION:
			printf("#     %s %s%s\n", rotation_action_name((RotationActionType) way->what),
				   version_ref_label((VersionRef) way->version), outcome_name[way->outcome]);
			break;
		case WAY_OBSERVED:
			printf("#     observe\n");
			break;
		case WAY_CRASH:
			printf("#   crash\n");
			break;
		case WAY_INTERFERENCE:
			printf("#   %s\n", interference_name[way->what]);
			break;
		case WAY_ARRIVAL:
			printf("#   a move arrives late\n");
			break;
	}
}

static void
explain(void)
{
	uint32_t way[256];
	int n = 0;

	if (facts_under_test != NULL)
		describe_facts(facts_under_test);
	else
	{
		printf("#   %s%s%s%s\n", alternating() ? "alternating" : "single",
			   settings.own_pending_only ? ", own_pending_only" : "", settings.repair ? "" : ", no repair",
			   settings.combine_steps ? ", combined steps" : "");
		for (uint32_t i = at_state; n < 256; i = ways[i].before)
		{
			way[n++] = i;
			if (ways[i].kind == WAY_START)
				break;
		}
		while (n > 0)
			describe(&ways[way[--n]]);
	}
	fflush(stdout);
}

static uint64_t
hash_state(const State *s)
{
	const unsigned char *bytes = (const unsigned char *) s;
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	uint64_t word;

	for (size_t i = 0; i < sizeof(*s); i += sizeof(word))
	{
		size_t n = sizeof(*s) - i < sizeof(word) ? sizeof(*s) - i : sizeof(word);

		word = 0;
		memcpy(&word, bytes + i, n);
		h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h ^ (h >> 32);
}

static void
resize(void)
{
	uint32_t size = room == 0 ? 1 << 16 : room * 2;

	states = realloc(states, size * sizeof(State));
	ways = realloc(ways, size * sizeof(Way));
	free(table);
	table = calloc(size * 2, sizeof(uint32_t));
	if (states == NULL || ways == NULL || table == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(2);
	}
	room = size;
	table_mask = size * 2 - 1;
	for (uint32_t i = 0; i < nstates; i++)
	{
		uint32_t place = (uint32_t) hash_state(&states[i]) & table_mask;

		while (table[place] != 0)
			place = (place + 1) & table_mask;
		table[place] = i + 1;
	}
}

static void
reached(State *s, uint8_t kind, int what, int version, int outcome)
{
	uint32_t place;

	canonical(s);
	if (nstates == room)
		resize();
	for (place = (uint32_t) hash_state(s) & table_mask; table[place] != 0; place = (place + 1) & table_mask)
	{
		if (memcmp(&states[table[place] - 1], s, sizeof(*s)) == 0)
			return;
	}
	states[nstates] = *s;
	ways[nstates].before = at_state;
	ways[nstates].kind = kind;
	ways[nstates].what = (uint8_t) what;
	ways[nstates].version = (uint8_t) version;
	ways[nstates].outcome = (uint8_t) outcome;
	table[place] = ++nstates;
}

static void
start_runs(const State *s)
{
	uint8_t tokens[4] = {s->w.label[VERSION_CURRENT], s->w.label[VERSION_PENDING],
						 s->w.label[VERSION_PREVIOUS], NO_SUCH_TOKEN};
	State rollback = *s;

	if (start_rollback(&rollback))
		reached(&rollback, WAY_ROLLBACK, 0, 0, 0);
	for (int behind = 0; behind < (alternating() ? 1 : 2); behind++)
	{
		for (int kind = 0; kind < 3; kind++)
		{
			State next = *s;
			RotationRequest request = kind == 2 ? REQUEST_OBSERVE : REQUEST_ROTATE_NOW;

			start_run(&next, request, kind == 1, NO_SLOT, behind);
			reached(&next, WAY_RUN, request, (kind == 1) + 2 * behind, NO_SLOT);
		}
		for (int t = 0; t < 4; t++)
		{
			for (int i = 0; i < 4 && tokens[t] != NO_SLOT; i++)
			{
				State next = *s;

				start_run(&next, steps[i], false, tokens[t], behind);
				reached(&next, WAY_RUN, steps[i], 2 * behind, tokens[t]);
			}
		}
	}
}

/* What the worker does next. */
static void
go_on(const State *s)
{
	RotationFacts f;
	RotationAction a;
	State next = *s;

	if (s->r.observe)
	{
		observe(&next);
		reached(&next, WAY_OBSERVED, 0, 0, 0);
	}
	else
	{
		f = gather(s);
		a = decide(&f);
		actions++;
		check_action(s, a);
		check_facts(&f);
		for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++)
		{
			next = *s;
			if (carry_out(&next, a, (Outcome) outcome))
				reached(&next, WAY_ACTION, (int) a.type, (int) a.version, outcome);
		}
	}

	next = *s;
	reset_run(&next.r);
	reached(&next, WAY_CRASH, 0, 0, 0);

	next = *s;
	finish_run(&next);
}

static void
explore(void)
{
	State s;

	nstates = 0;
	if (table != NULL)
		memset(table, 0, ((size_t) table_mask + 1) * sizeof(uint32_t));
	at_state = 0;
	first_state(&s);
	reached(&s, WAY_START, 0, 0, 0);

	for (at_state = 0; at_state < nstates; at_state++)
	{
		s = states[at_state];
		if (s.r.active)
			go_on(&s);
		else
		{
			idle_states++;
			check_from_idle(&s);
			start_runs(&s);
		}
		for (int i = 0; i < INTERFERENCE_COUNT; i++)
		{
			State next = s;

			if (interfere(&next, (Interference) i))
				reached(&next, WAY_INTERFERENCE, i, 0, 0);
		}
		for (int i = 0; i < MAX_FLIGHTS; i++)
		{
			State next = s;

			if (arrive(&next, i))
				reached(&next, WAY_ARRIVAL, i, 0, 0);
		}
	}
}

static void
explore_all(int budget)
{
	unsigned long total = 0;

	for (int i = 0; i < 16; i++)
	{
		settings.strategy = i & 8 ? STRATEGY_ALTERNATING : STRATEGY_SINGLE;
		settings.own_pending_only = i & 4;
		settings.repair = !(i & 2);
		settings.combine_steps = !(i & 1);
		settings.budget = budget;
		if (alternating() && !settings.combine_steps)
			continue; /* they are never combined */
		explore();
		printf("# %s%s%s%s: %u states\n", alternating() ? "alternating" : "single",
			   settings.own_pending_only ? ", own_pending_only" : "", settings.repair ? "" : ", no repair",
			   settings.combine_steps && !alternating() ? ", combined steps" : "", nstates);
		fflush(stdout);
		total += nstates;
	}
	nstates = 0;
	printf("# visited %lu states (%lu without a run, %lu decisions), %d faults or interferences on a way, "
		   "at most %d actions to the end of a run\n",
		   total, idle_states, actions, budget, most_actions);
}

int
main(int argc, char **argv)
{
	int passed = 0;
	int failed = 0;
	int budget = 2;
	bool count_facts = true;
	bool draw_facts = true;

	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--budget") == 0 && i + 1 < argc)
			budget = atoi(argv[++i]);
		else if (strcmp(argv[i], "--facts") == 0 && i + 1 < argc)
		{
			i++;
			count_facts = strcmp(argv[i], "all") == 0;
			draw_facts = strcmp(argv[i], "none") != 0;
		}
		else
		{
			fprintf(stderr, "usage: test_decide [--budget N] [--facts all|drawn|none]\n");
			return 2;
		}
	}

	explore_all(budget);
	if (count_facts)
		cross_facts();
	if (draw_facts)
		draw_all_facts(5000000);
	free(states);
	free(ways);
	free(table);

	for (int i = 0; i < CHECK_COUNT; i++)
	{
		bool ok = asked[i] > 0 && broken[i] == 0;

		printf("%s - %s (asked %lu times%s)\n", ok ? "ok" : "not ok", check_name[i], asked[i],
			   asked[i] == 0 ? ": the model never gets there" : "");
		*(ok ? &passed : &failed) += 1;
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed == 0 ? 0 : 1;
}
