#!/usr/bin/python3
"""Does test_decide notice?  Each of the MUTANTS breaks src/core/decide.c once.

Covers: test_decide.

The change is made to a copy in a temporary directory; the copy is compiled,
linked with test_decide, run, and must break the check that is named.  Where
that is not one of "any facts", walking through the states has to notice.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "..", "..", "src")
CC = os.environ.get("CC", "cc").split()
CFLAGS = ["-std=c11", "-O2", "-w", "-I" + SOURCE]


class Mutant(NamedTuple):
    name: str
    check: str  # how the name of the check that must notice begins
    old: str  # this text, which is there once,
    new: str  # becomes this one
    budget: int = 1  # of faults and interferences that it takes to notice


MUTANTS = [
    # invariant 1
    Mutant(
        "move without a proof",
        "1: AWSCURRENT is only moved",
        """	if (f->login[VERSION_PENDING] != LOGIN_PROVED)
		return act(ACTION_PROVE_LOGIN, VERSION_PENDING);
	if (!request_moves(f))""",
        "	if (!request_moves(f))",
    ),
    Mutant(
        "move after a failed login",
        "1: AWSCURRENT is only moved",
        """		return give_up(f, REFUSE_PENDING_LOGIN_FAILED);
	if (f->move == MOVE_REFUSED)
		return give_up(f, REFUSE_MOVE_REFUSED);

""",
        "		return act(ACTION_MOVE_CURRENT, VERSION_PENDING);\n",
    ),
    # invariant 2
    Mutant(
        "a password that nobody knows is replaced",
        "2: a role whose password nobody knows",
        "return !is_alternating(f) && f->set_by_us;",
        "return !is_alternating(f);",
    ),
    Mutant(
        "a password that nobody knows is authority",
        "2: a password is only changed",
        "return !is_alternating(f) && f->set_by_us;",
        "return !is_alternating(f);",
    ),
    Mutant(
        "alternating: what we set once is authority",
        "2: a password is only changed",
        "return !is_alternating(f) && f->set_by_us;",
        "return f->set_by_us || is_alternating(f);",
    ),
    Mutant(
        "alternating: set without AWSCURRENT's login",
        "2: a password is only changed",
        "*proof = VERSION_CURRENT;",
        "*proof = is_alternating(f) ? VERSION_NONE : VERSION_CURRENT;",
    ),
    Mutant(
        "the way in is not proved",
        "the way in is proved",
        "	return act(ACTION_PROVE_LOGIN, proof);",
        "	return action;",
    ),
    Mutant(
        "a failed way in is good enough",
        "the way in is proved",
        "return refuse(REFUSE_CURRENT_LOGIN_FAILED, proof);",
        "return action;",
    ),
    # invariant 3
    Mutant(
        "an unusable AWSCURRENT is ignored",
        "3: no login is tried",
        "if (f->current == VALUE_UNUSABLE)",
        "if (f->current == VALUE_UNUSABLE && f->force)",
    ),
    Mutant(
        "an unusable AWSPENDING is set",
        "3: no login is tried",
        "has_pending(f) && f->pending == VALUE_USABLE &&",
        "has_pending(f) && f->pending != VALUE_EMPTY &&",
    ),
    Mutant(
        "an empty AWSPENDING is set",
        "3: no login is tried",
        "has_pending(f) && f->pending == VALUE_USABLE &&",
        "has_pending(f) && f->pending != VALUE_UNUSABLE &&",
    ),
    Mutant(
        "AWSCURRENT's password is rotated to",
        "3: a pending password equal",
        "f->pending == VALUE_USABLE && !f->pending_same_password &&",
        "f->pending == VALUE_USABLE &&",
        2,
    ),
    Mutant(
        "own_pending_only is ignored",
        "own_pending_only",
        "(f->pending_written_by_us || !f->own_pending_only)",
        "true",
    ),
    # invariant 4
    Mutant(
        "only looking does not complete",
        "4: only looking completes",
        """		if (f->role_has[VERSION_PENDING])
			return finish(f);
		if""",
        "		if",
    ),
    Mutant(
        "only looking does not repair",
        "4: only looking repairs",
        "return repair(f, REFUSE_REPAIR_DISABLED);",
        "return refuse(REFUSE_REPAIR_DISABLED, VERSION_NONE);",
    ),
    Mutant(
        "what AWSCURRENT has left behind is unknown",
        "4: only looking repairs",
        "if (f->previous == VALUE_USABLE && f->role_has[VERSION_PREVIOUS])",
        "if (f->previous == VALUE_USABLE && f->role_has[VERSION_PREVIOUS] && is_alternating(f))",
    ),
    Mutant(
        "alternating: AWSPREVIOUS does not repair",
        "4: only looking repairs",
        "if (f->previous == VALUE_USABLE && f->role_has[VERSION_PREVIOUS])",
        "if (f->previous == VALUE_USABLE && f->role_has[VERSION_PREVIOUS] && !is_alternating(f))",
    ),
    Mutant(
        "what we set is unknown",
        "4: only looking repairs",
        "return !is_alternating(f) && f->set_by_us;",
        "return false;",
    ),
    Mutant(
        "rotate_now() does not begin with what we set",
        "4: rotate_now() completes",
        "return !is_alternating(f) && f->set_by_us;",
        "return false;",
    ),
    Mutant(
        "rotate_now() does not finish what is set",
        "4: rotate_now() completes",
        """	if (pending_is_candidate(f) && f->role_has[VERSION_PENDING])
		return finish(f);

""",
        "",
    ),
    Mutant(
        "what a crash left behind is not repaired",
        "4: rotate_now() refuses",
        "RotationAction action = repair(f, reason);",
        "RotationAction action = refuse(reason, VERSION_NONE);",
    ),
    Mutant(
        "nothing is taken back",
        "a refused rotation leaves",
        "return f->old_verifier_kept && !f->move_may_arrive &&",
        "return false && f->old_verifier_kept &&",
    ),
    Mutant(
        "neither taken back nor repaired",
        "4: AWSCURRENT logs in after a run that",
        """	if (can_restore(f))
		return act(ACTION_RESTORE_PASSWORD, VERSION_NONE);
	if (f->move_may_arrive)""",
        """	if (f->old_verifier_kept)
		return act(ACTION_DONE, VERSION_NONE);
	if (f->move_may_arrive)""",
    ),
    Mutant(
        "a refused move is sent again",
        "4: AWSCURRENT logs in after a run that",
        """	if (f->move == MOVE_REFUSED)
		return give_up(f, REFUSE_MOVE_REFUSED);

	/*""",
        """	if (f->move == MOVE_REFUSED)
		return act(ACTION_DONE, VERSION_NONE);

	/*""",
    ),
    Mutant(
        "a failed login is tried again",
        "a run without further faults ends",
        """	if (candidate && f->login[VERSION_PENDING] == LOGIN_FAILED)
		return give_up(f, REFUSE_PENDING_LOGIN_FAILED);
""",
        "",
    ),
    Mutant(
        "a move that succeeded is not the end",
        "4: rotate_now() completes",
        "if (f->move == MOVE_SUCCEEDED)",
        "if (f->move == MOVE_SUCCEEDED && f->request != REQUEST_ROTATE_NOW)",
    ),
    Mutant(
        "AWSCURRENT moves to what does not log in",
        "4: AWSCURRENT logs in after a run without",
        """		return give_up(f, REFUSE_PENDING_LOGIN_FAILED);
	if (f->move == MOVE_REFUSED)
		return give_up(f, REFUSE_MOVE_REFUSED);

""",
        "		return act(ACTION_MOVE_CURRENT, VERSION_PENDING);\n",
    ),
    Mutant(
        "only looking is content with anything",
        "DONE: AWSCURRENT has",
        "	if (f->role_has[VERSION_CURRENT])\n		return confirm_current_then(",
        "	if (true)\n		return confirm_current_then(",
    ),
    Mutant(
        "only looking repairs where it may not",
        "only looking refuses otherwise",
        "			return f->repair;",
        "			return true;",
    ),
    Mutant(
        "combined setSecret does not move",
        "4: AWSCURRENT logs in after a run that",
        "return f->combine_steps && !is_alternating(f);",
        "return false;",
    ),
    Mutant(
        "finishSecret does not move",
        "4: the service's four steps",
        "		case REQUEST_OBSERVE:\n		case REQUEST_FINISH_SECRET:\n			return true;",
        "		case REQUEST_OBSERVE:\n			return true;\n		case REQUEST_FINISH_SECRET:\n			return false;",
    ),
    Mutant(
        "finishSecret does not finish what is set",
        "4: the service's four steps",
        "	if (f->role_has[VERSION_PENDING])\n		return finish(f);\n	return begin(f);",
        "	return begin(f);",
    ),
    Mutant(
        "repair => false is ignored",
        "repair => false",
        "			return f->repair;",
        "			return true;",
    ),
    # invariant 5
    Mutant(
        "testSecret does setSecret's work",
        "5: testSecret only logs in",
        "return decide_test_secret(f);",
        "return decide_set_or_finish(f);",
    ),
    Mutant(
        "testSecret refuses AWSCURRENT's value",
        "5: testSecret alone succeeds",
        "	if (f->pending != VALUE_USABLE)\n",
        "	if (!pending_is_candidate(f))\n",
    ),
    Mutant(
        "createSecret does setSecret's work",
        "createSecret only creates",
        "return decide_create_secret(f);",
        "return decide_set_or_finish(f);",
    ),
    Mutant(
        "four steps: setSecret moves",
        "createSecret only creates",
        "return f->combine_steps && !is_alternating(f);",
        "return true;",
    ),
    Mutant(
        "createSecret with a password that proves nothing",
        "the way in is proved before a value",
        "	if (proof == VERSION_NONE)\n		return repair(f, REFUSE_PASSWORD_UNKNOWN);\n",
        "",
    ),
    Mutant(
        "createSecret gives up a password that proves nothing",
        "4: the service's four steps",
        "	if (proof == VERSION_NONE)\n		return repair(f, REFUSE_PASSWORD_UNKNOWN);\n",
        "	if (proof == VERSION_NONE)\n		return refuse(REFUSE_PASSWORD_UNKNOWN, VERSION_NONE);\n",
    ),
    # invariant 6
    Mutant(
        "createSecret again is refused",
        "6: a step done again",
        "	if (pending_is_candidate(f))\n		return act(ACTION_DONE, VERSION_NONE);\n	if (f->pending != VALUE_EMPTY)",
        "	if (f->created_pending)\n		return act(ACTION_DONE, VERSION_NONE);\n	if (f->pending != VALUE_EMPTY)",
    ),
    Mutant(
        "a finished token is refused",
        "6: a step done again",
        "	if (f->token == TOKEN_ON_CURRENT)\n		return decide_finished_event(f);\n",
        "",
    ),
    Mutant(
        "testSecret of a finished token does not log in",
        "a token that carries AWSCURRENT",
        "	if (f->request == REQUEST_TEST_SECRET)\n		return prove_then(f, VERSION_CURRENT,",
        "	if (false)\n		return prove_then(f, VERSION_CURRENT,",
    ),
    Mutant(
        "a lost token is good enough",
        "a token without AWSPENDING",
        "if (f->token != TOKEN_ON_PENDING || !has_pending(f))",
        "if (!has_pending(f))",
    ),
    # invariant 7
    Mutant(
        "rotate_now() fills the service's version",
        "7: an empty version",
        "f->pending == VALUE_EMPTY && f->force)",
        "f->pending == VALUE_EMPTY)",
    ),
    Mutant(
        "setSecret fills an empty version",
        "7: an empty version",
        "!(f->request == REQUEST_ROTATE_NOW && f->pending == VALUE_EMPTY && f->force)",
        "f->pending != VALUE_EMPTY",
    ),
    Mutant(
        "only looking begins",
        "only looking begins nothing",
        "		return confirm_current_then(f, act(ACTION_DONE, VERSION_NONE));\n	if (!has_authority",
        "		return begin(f);\n	if (!has_authority",
    ),
    # invariant 8
    Mutant(
        "taken back after an unanswered move",
        "8: RESTORE_PASSWORD only where",
        "return f->old_verifier_kept && !f->move_may_arrive &&",
        "return f->old_verifier_kept &&",
        2,
    ),
    Mutant(
        "repaired after an unanswered move",
        "8: no password is set while",
        """	if (f->move_may_arrive)
		return refuse(REFUSE_MOVE_UNANSWERED, VERSION_NONE);
	if (!has_authority""",
        "	if (!has_authority",
        2,
    ),
    Mutant(
        "begun again after an unanswered move",
        "8: no password is set while",
        """	if (f->move_may_arrive)
		return refuse(REFUSE_MOVE_UNANSWERED, VERSION_NONE);
	if (candidate &&""",
        "	if (candidate &&",
        2,
    ),
    Mutant(
        "taken back over AWSCURRENT's password",
        "any facts: RESTORE_PASSWORD",
        "(is_alternating(f) || !f->role_has[VERSION_CURRENT]);",
        "true;",
    ),
    Mutant(
        "a repair is taken back",
        "8: RESTORE_PASSWORD never",
        "return f->old_verifier_kept && !f->move_may_arrive &&",
        "return f->password_changed && !f->move_may_arrive &&",
    ),
    # standbys
    Mutant(
        "alternating: does not wait for standbys",
        "AWSCURRENT of an alternating rotation waits",
        "if (f->standbys == STANDBYS_BEHIND)",
        "if (false)",
    ),
    Mutant(
        "alternating: moves though standbys are behind",
        "AWSCURRENT of an alternating rotation waits",
        "if (f->standbys == STANDBYS_TIMED_OUT)",
        "if (false)",
    ),
    Mutant(
        "single: begins while a standby is behind",
        "any facts: SET_PASSWORD(AWSPENDING)",
        "if (!is_alternating(f) && f->standbys != STANDBYS_REPLAYED)",
        "if (false)",
    ),
    Mutant(
        "alternating: completes without its standbys",
        "an alternating rotation survives",
        "if (f->standbys == STANDBYS_BEHIND)",
        "if (false)",
    ),
    Mutant(
        "single: waits in a lockout",
        "any facts: WAIT_FOR_STANDBYS",
        "if (request_moves(f) && is_alternating(f) && f->role_has[VERSION_CURRENT])",
        "if (request_moves(f))",
    ),
    # the rest
    Mutant(
        "a login more than needed",
        "rotate_now() costs",
        "	if (f->login[VERSION_PENDING] != LOGIN_PROVED)\n		return act(ACTION_PROVE_LOGIN, VERSION_PENDING);\n	if (!req",
        """	if (f->role_has[VERSION_CURRENT] && f->login[VERSION_CURRENT] == LOGIN_NOT_TRIED)
		return act(ACTION_PROVE_LOGIN, VERSION_CURRENT);
	if (f->login[VERSION_PENDING] != LOGIN_PROVED)
		return act(ACTION_PROVE_LOGIN, VERSION_PENDING);
	if (!req""",
    ),
    Mutant(
        "a disabled rotation is carried out",
        "any facts: MOVE_CURRENT",
        "if (!f->rotation_enabled)",
        "if (false)",
    ),
    Mutant(
        "a value is created without a way in",
        "any facts: CREATE_PENDING",
        "	return prove_then(f, proof, act(ACTION_CREATE_PENDING, VERSION_PENDING));\n}\n\n/*\n * testSecret",
        "	return act(ACTION_CREATE_PENDING, VERSION_PENDING);\n}\n\n/*\n * testSecret",
    ),
    Mutant(
        "a second value is created in one run",
        "any facts: CREATE_PENDING",
        "	if (f->created_pending && !has_pending(f))\n		return give_up(f, REFUSE_PENDING_GONE);\n",
        "",
    ),
    Mutant(
        "a rollback whose version is taken away makes another",
        "rotate_rollback() creates no version",
        "	if (f->created_pending && !has_pending(f))\n		return give_up(f, REFUSE_PENDING_GONE);\n",
        "",
        2,
    ),
    Mutant(
        "a way in by AWSPREVIOUS, which is AWSPENDING too, is not gone on with",
        "rotate_rollback() completes",
        "	if (pending_is_candidate(f) && f->role_has[VERSION_PENDING])\n		return finish(f);\n\n	/* somebody",
        "	if (pending_is_candidate(f) && f->role_has[VERSION_PENDING])\n		return refuse(REFUSE_PASSWORD_UNKNOWN, VERSION_NONE);\n\n	/* somebody",
    ),
    Mutant(
        "a rollback goes on after a failed login",
        "rotate_rollback() to a login that fails",
        """		return give_up(f, REFUSE_PENDING_LOGIN_FAILED);
	if (f->move == MOVE_REFUSED)
		return give_up(f, REFUSE_MOVE_REFUSED);

""",
        "		return act(ACTION_MOVE_CURRENT, VERSION_PENDING);\n",
        2,
    ),
    Mutant(
        "an unusable AWSCURRENT is logged in with",
        "any facts: PROVE_LOGIN",
        "if (f->current == VALUE_USABLE && f->role_has[VERSION_CURRENT] && f->password_changed &&",
        "if (f->role_has[VERSION_CURRENT] && f->password_changed &&",
    ),
    Mutant(
        "a disabled rotation repairs",
        "any facts: SET_PASSWORD(AWSCURRENT)",
        "			return f->rotation_enabled &&\n",
        "			return\n",
    ),
    Mutant(
        "what somebody else has moved is not proved",
        "any facts: DONE",
        "		return prove_then(f, VERSION_CURRENT, act(ACTION_DONE, VERSION_NONE));\n	if (f->created_pending",
        "		return act(ACTION_DONE, VERSION_NONE);\n	if (f->created_pending",
    ),
    Mutant(
        "testSecret takes back",
        "any facts: each request",
        "if (f->request == REQUEST_CREATE_SECRET || f->request == REQUEST_TEST_SECRET)",
        "if (f->request == REQUEST_CREATE_SECRET)",
    ),
    Mutant(
        "a refusal leaves behind what was set",
        "any facts: REFUSE",
        "if (action.type == ACTION_REFUSE && can_restore(facts) &&",
        "if (false &&",
    ),
    Mutant(
        "a refusal without a reason",
        "any facts: REFUSE",
        "RotationAction action = {ACTION_REFUSE, version, reason};",
        "RotationAction action = {ACTION_REFUSE, version, REFUSE_NOTHING};",
    ),
]


def compile_to(output, *arguments):
    subprocess.run(CC + CFLAGS + ["-o", output, *arguments], check=True)


def broken_checks(mutant, source, directory, test):
    """The names of all checks, and of those that the mutant breaks."""
    if source.count(mutant.old) != 1:
        raise ValueError(f"the text to change is there {source.count(mutant.old)} times")
    changed = os.path.join(directory, "decide.c")
    with open(changed, "w", encoding="utf-8") as file:
        file.write(source.replace(mutant.old, mutant.new))
    program = os.path.join(directory, "test_decide")
    compile_to(program, changed, test)
    facts = "drawn" if mutant.check.startswith("any facts") else "none"
    done = subprocess.run(
        [program, "--budget", str(mutant.budget), "--facts", facts], capture_output=True, text=True, timeout=120
    )
    # the list of all checks that ends the output; "asked 0 times" is no answer
    lines = re.findall(r"^(ok|not ok) - (.*) \(asked (\d+) times.*\)$", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) or not lines:
        raise ValueError(f"exit status {done.returncode}")
    return [name for _, name, _ in lines], [name for ok, name, n in lines if ok == "not ok" and n != "0"]


def main():
    directory = tempfile.mkdtemp(prefix="decide_mutants.")
    names = []
    passed = 0
    failed = 0
    try:
        test = os.path.join(directory, "test_decide.o")
        compile_to(test, "-c", os.path.join(HERE, "test_decide.c"))
        with open(os.path.join(SOURCE, "core", "decide.c"), encoding="utf-8") as file:
            source = file.read()

        def run(number):
            own = os.path.join(directory, str(number))
            os.mkdir(own)
            try:
                return broken_checks(MUTANTS[number], source, own, test)
            except (ValueError, subprocess.SubprocessError) as error:
                return [], [str(error)]

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for mutant, (all_names, broken) in zip(MUTANTS, pool.map(run, range(len(MUTANTS)))):
                names = all_names or names
                if all_names and any(name.startswith(mutant.check) for name in broken):
                    passed += 1
                    print(f"ok - {mutant.name}: {mutant.check} ...")
                else:
                    failed += 1
                    print(f"not ok - {mutant.name}: {mutant.check} ...; instead: {broken}")
    finally:
        shutil.rmtree(directory)

    # a check that no mutant breaks could be one that never fails
    for name in names:
        if not any(name.startswith(mutant.check) for mutant in MUTANTS):
            failed += 1
            print(f"not ok - no mutant for: {name}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
