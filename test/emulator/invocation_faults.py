"""What goes wrong with invocations of functions.

As with faults.py: a rule matches invocations by function and step, lets the
first `after` matching ones pass, then acts on `times` of them (0: on all).
"""

import contextlib
import signal
import threading
import time

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")

# action -> its own options
ACTIONS = {
    "kill": ("seconds", "at_call", "secret", "when", "signal"),
    "delay": ("seconds",),
    "duplicate": ("seconds", "concurrent", "wait"),
    "lose": (),
    "error": ("type", "message"),
    "event": ("set", "unset"),
    "refuse": ("call", "statuses"),
}
_COMMON = {"action": str, "function": str, "step": str, "after": int, "times": int}
_OPTIONS = {
    "seconds": (int, float), "at_call": str, "secret": str, "when": str, "signal": str,
    "concurrent": bool,
    "wait": bool, "type": str, "message": str, "set": dict, "unset": list, "call": str,
    "statuses": list,
}


def snake(step):
    """createSecret -> create_secret"""
    return step.replace("Secret", "_secret")


class InvocationRule:
    def __init__(self, number, options):
        self.action = options.get("action")
        if self.action not in ACTIONS:
            raise ValueError("unknown action: %s; one of %s" % (self.action, list(ACTIONS)))
        for name, value in options.items():
            if name not in _COMMON and name not in ACTIONS[self.action]:
                raise ValueError("unknown option of %s: %s" % (self.action, name))
            expected = _COMMON.get(name) or _OPTIONS[name]
            if (not isinstance(value, expected)
                    or (isinstance(value, bool) and expected is not bool)):
                raise ValueError("wrong type of the option " + name)
        if options.get("step", STEPS[0]) not in STEPS:
            raise ValueError("step is one of %s" % list(STEPS))
        if options.get("when", "before") not in ("before", "after"):
            raise ValueError("when is before or after (the call's effect)")
        if self.action == "kill" and ("at_call" in options) == ("seconds" in options):
            raise ValueError("kill needs seconds or at_call")
        if "secret" in options and "at_call" not in options:
            raise ValueError("secret goes with at_call")
        if self.action == "refuse" and options.get("call") not in ("next", "response", "error",
                                                                  "init_error"):
            raise ValueError("call is next, response, error or init_error")
        signal.Signals["SIG" + options.get("signal", "KILL")]
        self.id = number
        self.options = options
        self.seen = 0
        self.acted = 0

    def matches(self, function, event):
        options = self.options
        if options.get("function", function.name) not in (function.name, function.arn):
            return False
        if "step" not in options:
            return True
        step = event.get("Step") if isinstance(event, dict) else None
        return step in (options["step"], snake(options["step"]))

    def take(self):
        self.seen += 1
        times = self.options.get("times", 1)
        if self.seen <= self.options.get("after", 0) or (times and self.acted >= times):
            return False
        self.acted += 1
        return True

    def dump(self):
        return {"id": self.id, "options": self.options, "seen": self.seen, "acted": self.acted}


class InvocationFaults:
    def __init__(self, emulator):
        self._emulator = emulator
        self._lock = threading.Lock()
        self._number = 0
        self._rules = []

    def add(self, options):
        with self._lock:
            self._number += 1
            rule = InvocationRule(self._number, options)
            self._rules.append(rule)
            return rule.dump()

    def clear(self, number=None):
        with self._lock:
            gone = [rule for rule in self._rules if number in (None, rule.id)]
            self._rules = [rule for rule in self._rules if rule not in gone]
            return [rule.dump() for rule in gone]

    def dump(self):
        with self._lock:
            return [rule.dump() for rule in self._rules]

    def pick(self, function, event):
        with self._lock:
            return [rule for rule in self._rules if rule.matches(function, event) and rule.take()]

    @staticmethod
    def alter(rules, event):
        for rule in rules:
            if rule.action == "event":
                event = dict(event, **rule.options.get("set", {}))
                for name in rule.options.get("unset", []):
                    event.pop(name, None)
        return event

    @staticmethod
    def refusals(rules):
        """Call of the runtime API -> the statuses with which it is refused, one after another."""
        return {rule.options["call"]: list(rule.options.get("statuses", [500]))
                for rule in rules if rule.action == "refuse"}

    @contextlib.contextmanager
    def killer(self, rules, sandbox, delivery):
        """Kills the sandbox while the body runs, where a rule says so."""
        over = threading.Event()
        threads = []
        for rule in rules:
            if rule.action == "kill":
                if "at_call" in rule.options:
                    # any: one that is refused is not held after its effect, as it has none
                    call = {"action": "pause", "operation": rule.options["at_call"], "times": 0,
                            "when": rule.options.get("when", "before")}
                    if "secret" in rule.options:
                        call["secret"] = rule.options["secret"]
                    pause = self._emulator.faults.add(call)["id"]
                    target, arguments = self._kill_at_call, (rule, sandbox, pause, over)
                elif rule.options["seconds"] == 0:
                    self._kill(rule, sandbox)
                    sandbox.wait_gone(5)
                    continue
                else:
                    target, arguments = self._kill_later, (rule, sandbox, delivery, over)
                threads.append(threading.Thread(target=target, args=arguments, daemon=True))
                threads[-1].start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    @staticmethod
    def _kill(rule, sandbox):
        sandbox.kill(signal.Signals["SIG" + rule.options.get("signal", "KILL")])

    def _kill_later(self, rule, sandbox, delivery, over):
        until = time.monotonic() + rule.options["seconds"]
        if not over.wait(until - time.monotonic()):
            self._kill(rule, sandbox)

    def _kill_at_call(self, rule, sandbox, pause, over):
        """The call is held while the process dies, then goes on."""
        faults = self._emulator.faults
        try:
            while not over.is_set():
                if faults.wait(pause, 1, 0.05):
                    self._kill(rule, sandbox)
                    sandbox.wait_gone(5)
                    break
            faults.clear(pause)
        except KeyError:
            pass                    # all faults were cleared meanwhile
