"""Fault rules: what goes wrong, for which calls, before or after the effect.

A rule matches calls by operation, secret, access key and staging label, lets
the first `after` matching ones pass, then acts on `times` of them (0: on all).
Several rules can act on one call, in the order in which they were added.

A rule either disturbs the call itself (latency, pause, hang, error) or the
answer on its way (cut, truncate, replace and the like); the latter is raised
as Mangled and carried out by service.py when it writes.
"""

import threading
import time

from .errors import STYLES, ApiError

# The answer is altered on the wire; the default is after the effect.
MANGLING = ("truncate", "huge", "wrong_length", "drip", "replace")
# The call is disturbed; the default is before the effect.
DISTURBING = ("latency", "error", "throttle", "access_denied", "kms_denied", "pause", "hang",
              "cut", "redirect")
ACTIONS = DISTURBING + MANGLING

# option -> types; what a rule may hold besides these is refused, so that a typo is seen
OPTIONS = {
    "action": str, "operation": str, "secret": str, "access_key_id": str, "version_stage": str,
    "after": int, "times": int, "when": str, "seconds": (int, float),
    "status": int, "type": (str, type(None)), "message": (str, type(None)), "style": str,
    "bytes": int, "headers": dict, "body": str, "set": dict, "unset": list, "delta": int,
    "location": str, "reset": bool, "chunked": bool, "then": str,
}


class Mangled(Exception):
    """The answer is to be spoiled as the rule says."""

    def __init__(self, rule):
        super().__init__(rule.options["action"])
        self.rule = rule


class Rule:
    def __init__(self, number, options):
        for name, value in options.items():
            if name not in OPTIONS:
                raise ValueError("unknown option of a fault: " + name)
            expected = OPTIONS[name]
            if (not isinstance(value, expected)
                    or (isinstance(value, bool) and expected is not bool)):
                raise ValueError("wrong type of the fault's option: " + name)
        action = options.get("action")
        if action not in ACTIONS:
            raise ValueError("unknown action of a fault: %s; one of %s" % (action, list(ACTIONS)))
        if action == "error" and not options.get("type") and not options.get("status"):
            raise ValueError("a fault with the action error needs a type or a status")
        if options.get("when", "before") not in ("before", "after"):
            raise ValueError("when is before or after (the effect)")
        if options.get("style", "rotate") not in STYLES + ("rotate",):
            raise ValueError("unknown style of error: " + options["style"])
        if options.get("then", "go_on") not in ("go_on", "cut"):
            raise ValueError("then is go_on or cut")
        self.id = number
        self.options = options
        self.seen = 0
        self.acted = 0
        self.waiting = []           # one object a call that is held, oldest first

    @property
    def when(self):
        default = "after" if self.options["action"] in MANGLING else "before"
        return self.options.get("when", default)

    def matches(self, operation, parameters, caller):
        options = self.options
        if options.get("operation", "*") not in ("*", operation):
            return False
        if "secret" in options and options["secret"] != parameters.get("SecretId"):
            return False
        if "access_key_id" in options and options["access_key_id"] != caller.access_key_id:
            return False
        if "version_stage" in options:
            stages = [parameters.get("VersionStage")] + (parameters.get("VersionStages") or [])
            return options["version_stage"] in stages
        return True

    def take(self):
        """Whether this matching call is one to act on."""
        self.seen += 1
        times = self.options.get("times", 1)
        if self.seen <= self.options.get("after", 0) or (times and self.acted >= times):
            return False
        self.acted += 1
        return True

    def dump(self):
        return {"id": self.id, "options": self.options, "seen": self.seen, "acted": self.acted,
                "waiting": len(self.waiting)}


class Faults:
    def __init__(self):
        self._changed = threading.Condition()
        self._number = 0
        self._rules = []

    def add(self, options):
        with self._changed:
            self._number += 1
            rule = Rule(self._number, options)
            self._rules.append(rule)
            return rule.dump()

    def clear(self, number=None):
        """Remove one rule or all; calls that wait in them go on."""
        with self._changed:
            gone = [rule for rule in self._rules if number in (None, rule.id)]
            self._rules = [rule for rule in self._rules if rule not in gone]
            self._changed.notify_all()
            return [rule.dump() for rule in gone]

    def dump(self):
        with self._changed:
            return [rule.dump() for rule in self._rules]

    def _find(self, number):
        for rule in self._rules:
            if rule.id == number:
                return rule
        raise KeyError("no fault with id %s" % number)

    def release(self, number, count=None):
        """Let the calls that wait now, or `count` of them, go on."""
        with self._changed:
            rule = self._find(number)
            released = len(rule.waiting) if count is None else min(count, len(rule.waiting))
            del rule.waiting[:released]
            self._changed.notify_all()
            return released

    def wait(self, number, count, timeout):
        """Until the rule has acted on `count` calls; in a pause or hang, until they are held."""
        with self._changed:
            rule = self._find(number)
            if rule.options["action"] in ("pause", "hang"):
                return self._changed.wait_for(lambda: len(rule.waiting) >= count, timeout)
            return self._changed.wait_for(lambda: rule.acted >= count, timeout)

    def pick(self, operation, parameters, caller):
        with self._changed:
            picked = [rule for rule in self._rules
                      if rule.matches(operation, parameters, caller) and rule.take()]
            self._changed.notify_all()
            return picked

    def _hold(self, rule, seconds):
        """Wait in the rule until released, the rule is removed, or the time is up."""
        ticket = object()
        with self._changed:
            rule.waiting.append(ticket)
            self._changed.notify_all()
            self._changed.wait_for(lambda: ticket not in rule.waiting or rule not in self._rules,
                                   seconds)
            if ticket in rule.waiting:
                rule.waiting.remove(ticket)

    def perform(self, rule, context):
        """Carry the rule out: returns, or raises ApiError or Mangled."""
        options = rule.options
        action = options["action"]
        if action == "latency":
            time.sleep(options.get("seconds", 0.1))
        elif action in ("pause", "hang"):
            self._hold(rule, options.get("seconds"))
            if action == "hang" or options.get("then") == "cut":
                raise Mangled(rule)
        elif action in ("error", "throttle", "access_denied", "kms_denied"):
            raise self._error(rule, context)
        else:
            raise Mangled(rule)

    @staticmethod
    def _error(rule, context):
        options = rule.options
        action = options["action"]
        if action == "error":
            error = ApiError(options.get("type"), options.get("message"),
                             options.get("status", 400))
        elif action == "throttle":
            error = ApiError("ThrottlingException", "Rate exceeded")
        elif action == "kms_denied":
            error = ApiError("AccessDeniedException", "Access to KMS is not allowed")
        else:
            error = ApiError(
                "AccessDeniedException",
                "User: %s is not authorized to perform: secretsmanager:%s on resource: %s because "
                "no identity-based policy allows the secretsmanager:%s action" % (
                    context.principal, context.operation, context.resource, context.operation))
        error.style = options.get("style")
        return error
