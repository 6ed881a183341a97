"""Lambda functions: their registration, their sandboxes, and one invocation from
the service's call to its result.
"""

import json
import os
import secrets
import signal
import threading
import time

from .invocation_faults import InvocationFaults
from .sandbox import Delivery, Sandbox
from .signature import AccessKey

# option of the control port -> types
OPTIONS = {
    "name": str, "arn": str, "command": list, "env": dict, "timeout": (int, float),
    "init_timeout": (int, float), "root": str, "cwd": str, "user": str, "freeze": bool,
    "memory": int, "principal": str,
}


class Function:
    def __init__(self, emulator, options):
        for name, value in options.items():
            if name not in OPTIONS:
                raise ValueError("unknown member: " + name)
            if not isinstance(value, OPTIONS[name]):
                raise ValueError("wrong type of " + name)
        self.command = options["command"]
        if not self.command or not all(isinstance(word, str) for word in self.command):
            raise ValueError("command is a list of strings: the program and its arguments")
        self.name = options["name"]
        self.arn = options.get("arn") or "arn:aws:lambda:%s:%s:function:%s" % (
            emulator.region, emulator.account, self.name)
        self.env = options.get("env", {})
        if not all(isinstance(value, (str, type(None))) for value in self.env.values()):
            raise ValueError("the values of env are strings, or null: the variable is not set")
        self.timeout = options.get("timeout", 3)
        self.init_timeout = options.get("init_timeout", 10)
        self.root = options.get("root")
        self.cwd = options.get("cwd")
        self.user = options.get("user")
        self.freeze = options.get("freeze", True)
        self.memory = options.get("memory", 128)
        if (self.root or self.user) and os.geteuid() != 0:
            raise ValueError("only an emulator run by root can change the root or the user")
        if self.root and self.cwd:
            raise ValueError("with a root of its own, a function starts in its /")
        self.principal = options.get("principal") or "arn:aws:sts::%s:assumed-role/%s-role/%s" % (
            emulator.account, self.name, self.name)
        self.region = emulator.region
        self.key = None
        if "AWS_ACCESS_KEY_ID" not in self.env:
            self.key = AccessKey("ASIA" + secrets.token_hex(8).upper(), secrets.token_urlsafe(30),
                                 session_token=secrets.token_urlsafe(48),
                                 principal=self.principal)
            emulator.add_key(self.key)

    def environment(self, port, number):
        """What Lambda sets; the function's own settings win, and null takes one away."""
        variables = {
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:%d" % port,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/" + self.name,
            "AWS_LAMBDA_LOG_STREAM_NAME": "emulator/[$LATEST]%d" % number,
            "AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region,
            "AWS_EXECUTION_ENV": "AWS_Lambda_provided.al2023",
            "LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "_HANDLER": "bootstrap", "LANG": "en_US.UTF-8", "TZ": ":UTC",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
            "LD_LIBRARY_PATH": "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:"
                               "/var/task/lib:/opt/lib",
        }
        if self.key is not None:
            variables.update(AWS_ACCESS_KEY_ID=self.key.access_key_id,
                             AWS_SECRET_ACCESS_KEY=self.key.secret_access_key,
                             AWS_SESSION_TOKEN=self.key.session_token)
        variables.update(self.env)
        return {name: value for name, value in variables.items() if value is not None}


class Invocation:
    """One event, its way through a sandbox, and what the service was told."""

    def __init__(self, number, function, event, context):
        self.id = number
        self.function = function.name
        self.event = event
        self.context = context      # rotation, attempt, step
        self.request_id = None
        self.instance = self.pid = self.cold = None
        self.time = time.time()
        self.started = time.monotonic()
        self.init_seconds = self.delivered = self.ended = None
        self.deadline_ms = self.memory_kb = None
        self.outcome = None
        self.error_type = self.error_message = self.error_type_header = None
        self.response = None
        self.faults = []
        self.duplicate_of = None
        self.late = None            # what came of it after the service had given up

    def dump(self):
        shown = dict(vars(self))
        shown.update(shown.pop("context"))
        if self.ended is not None and self.delivered is not None:
            shown["seconds"] = self.ended - self.delivered
        return shown


class Functions:
    """All functions.  Nothing here takes the store's lock."""

    def __init__(self, emulator):
        self._emulator = emulator
        self.changed = threading.Condition()
        self.faults = InvocationFaults(emulator)
        self._functions = {}        # by ARN
        self._sandboxes = []
        self._instances = 0
        self._number = 0
        self.invocations = []
        self._epoch = 0

    def register(self, options):
        """Add or replace; replacing ends the sandboxes, as a deployment does."""
        function = Function(self._emulator, options)
        with self.changed:
            old = self._functions.get(function.arn)
            self._functions[function.arn] = function
        if old is not None:
            self._retire(old)
        return self.dump_function(function)

    def find(self, name):
        with self.changed:
            for function in self._functions.values():
                if name in (function.name, function.arn):
                    return function
        raise KeyError("no function " + str(name))

    def delete(self, name):
        function = self.find(name)
        with self.changed:
            del self._functions[function.arn]
        self._retire(function)

    def _of(self, function):
        with self.changed:
            return [item for item in self._sandboxes
                    if function is None or item.function is function]

    def _retire(self, function=None, number=signal.SIGKILL):
        ended = [item for item in self._of(function) if not item.gone]
        for sandbox in ended:
            sandbox.kill(number)
        return len(ended)

    def kill(self, name, number=signal.SIGKILL):
        return self._retire(self.find(name), number)

    def reset(self):
        with self.changed:
            self._epoch += 1
            self._functions = {}
            self.invocations = []
            sandboxes, self._sandboxes = self._sandboxes, []
            self.changed.notify_all()
        self.faults.clear()
        for sandbox in sandboxes:
            sandbox.kill()

    def dump_function(self, function):
        return {"name": function.name, "arn": function.arn, "principal": function.principal,
                "timeout": function.timeout,
                "instances": [item.dump() for item in self._of(function)]}

    def dump(self):
        with self.changed:
            functions = list(self._functions.values())
        return [self.dump_function(function) for function in functions]

    def output(self, name, instance=None, stream=None):
        lines = [line for sandbox in self._of(self.find(name)) for line in list(sandbox.lines)
                 if instance in (None, sandbox.number) and stream in (None, line["stream"])]
        return sorted(lines, key=lambda line: line["time"])

    # invocations

    def select(self, **wanted):
        with self.changed:
            dumped = [item.dump() for item in self.invocations]
        return [item for item in dumped
                if all(item.get(name) == value for name, value in wanted.items())]

    def clear(self):
        with self.changed:
            self.invocations = []

    def wait(self, condition, timeout):
        with self.changed:
            return self.changed.wait_for(lambda: condition(self.invocations), timeout)

    def invoke(self, function, event, context=None):
        """As the service does, synchronously, with whatever goes wrong.  Returns the Invocation."""
        rules = self.faults.pick(function, event)
        event = self.faults.alter(rules, event)
        first = self._begin(function, event, context, rules)
        duplicate = next((rule for rule in rules if rule.action == "duplicate"), None)
        if duplicate is None:
            self._carry_out(first, function, rules)
            return first
        again = self._begin(function, event, context, rules)
        again.duplicate_of = first.id
        seconds = duplicate.options.get("seconds", 0)
        if duplicate.options.get("concurrent", False):
            thread = self._apart(again, function, seconds, first)
            self._carry_out(first, function, rules)
        else:
            self._carry_out(first, function, rules)
            thread = self._apart(again, function, seconds, first)
        if duplicate.options.get("wait", True):
            thread.join()
        return first

    def _apart(self, invocation, function, seconds, first):
        def run():
            time.sleep(seconds)
            invocation.started = time.monotonic()
            self._carry_out(invocation, function, (), first.request_id)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _begin(self, function, event, context, rules):
        with self.changed:
            self._number += 1
            invocation = Invocation(self._number, function, event, context or {})
            invocation.faults = [rule.id for rule in rules]
            self.invocations.append(invocation)
            self.changed.notify_all()
            return invocation

    def _end(self, invocation, outcome, error_type=None, message=None):
        with self.changed:
            invocation.ended = time.monotonic()
            invocation.outcome = outcome
            if error_type is not None:
                invocation.error_type, invocation.error_message = error_type, message
            self.changed.notify_all()

    def _carry_out(self, invocation, function, rules, request_id=None):
        delivery = Delivery(json.dumps(invocation.event).encode(), request_id)
        invocation.request_id = delivery.request_id
        for rule in rules:
            if rule.action == "error":
                self._end(invocation, "not_delivered",
                          rule.options.get("type", "TooManyRequestsException"),
                          rule.options.get("message", "Rate Exceeded."))
                return
        sandbox = None
        try:
            sandbox = self._ready_sandbox(invocation, function, rules)
            if sandbox is not None:
                self._through(sandbox, invocation, delivery, rules)
        except OSError as error:
            self._end(invocation, "init_error", "Runtime.InvalidEntrypoint", str(error))
        finally:
            if sandbox is not None and invocation.late is None:
                sandbox.reserved = False

    def _take(self, function, refusals):
        """A warm sandbox that nobody uses, or a new one; and whether it is new."""
        with self.changed:
            for sandbox in self._sandboxes:
                if sandbox.function is function and sandbox.usable:
                    sandbox.reserved = True
                    sandbox.refusals = refusals
                    return sandbox, False
            epoch = self._epoch
            self._instances += 1
            number = self._instances
        sandbox = Sandbox(number, function, refusals)
        with self.changed:
            self._sandboxes.append(sandbox)
            if epoch != self._epoch or self._functions.get(function.arn) is not function:
                sandbox.kill()      # reset or replaced meanwhile
        return sandbox, True

    def _ready_sandbox(self, invocation, function, rules):
        """A sandbox whose process asks for work; None: the invocation has ended without."""
        refusals = self.faults.refusals(rules)
        while True:
            sandbox, invocation.cold = self._take(function, refusals)
            invocation.instance, invocation.pid = sandbox.number, sandbox.pid
            limit = function.init_timeout if invocation.cold else function.timeout
            if sandbox.wait_ready(limit):
                if invocation.cold:
                    invocation.init_seconds = sandbox.first_next - sandbox.started
                return sandbox
            if not invocation.cold and sandbox.gone:
                continue            # it ended since the last invocation: a new one
            self._end_without(sandbox, invocation, function, limit)
            return None

    def _end_without(self, sandbox, invocation, function, limit):
        if sandbox.init_error is not None:
            body, header = sandbox.init_error
            self._end(invocation, "init_error")
            self._set_error(invocation, body, header)
        elif sandbox.gone:
            self._end(invocation, "init_error", "Runtime.ExitError", _exit_text(sandbox))
        elif invocation.cold:
            self._end(invocation, "init_error", "Sandbox.Timedout",
                      "Init timed out after %.2f seconds" % limit)
        else:
            self._end(invocation, "timeout", "Sandbox.Timedout",
                      "Task timed out after %.2f seconds" % function.timeout)
        sandbox.kill()

    def _through(self, sandbox, invocation, delivery, rules):
        timeout = sandbox.function.timeout
        until = time.monotonic() + timeout
        delivery.deadline_ms = invocation.deadline_ms = int((time.time() + timeout) * 1000)
        delay = next((rule for rule in rules if rule.action == "delay"), None)
        if delay is not None:
            seconds = delay.options.get("seconds", timeout + 0.2)
            if seconds >= timeout:
                self._deliver_late(sandbox, invocation, delivery, seconds)
                time.sleep(timeout)
                self._end(invocation, "timeout", "Sandbox.Timedout",
                          "Task timed out after %.2f seconds" % timeout)
                return
            time.sleep(seconds)
        with self.faults.killer(rules, sandbox, delivery):
            sandbox.offer(delivery)
            in_time = sandbox.wait_answer(delivery, until)
        invocation.delivered = delivery.delivered
        invocation.memory_kb = delivery.memory_kb
        if not in_time:
            sandbox.kill()
            sandbox.wait_gone(5)
            self._end(invocation, "timeout", "Sandbox.Timedout",
                      "RequestId: %s Error: Task timed out after %.2f seconds"
                      % (delivery.request_id, timeout))
        elif delivery.answer is None:
            self._end(invocation, "exited", "Runtime.ExitError",
                      "RequestId: %s Error: %s" % (delivery.request_id, _exit_text(sandbox)))
        elif any(rule.action == "lose" for rule in rules):
            self._set_answer(invocation, delivery)
            self._end(invocation, "lost", "ServiceException", "the response was lost")
        else:
            self._end(invocation, self._set_answer(invocation, delivery))

    def _deliver_late(self, sandbox, invocation, delivery, seconds):
        """The event reaches the process after the service has given it up."""
        invocation.late = {"outcome": None}

        def run():
            time.sleep(seconds)
            sandbox.offer(delivery)
            sandbox.wait_answer(delivery, time.monotonic() + max(sandbox.function.timeout, 10))
            with self.changed:
                is_error, body, _header = delivery.answer or (None, b"", None)
                invocation.delivered = delivery.delivered
                invocation.late = {
                    "outcome": {None: "exited" if sandbox.gone else "timeout", True: "error",
                                False: "succeeded"}[is_error], "answer": _parsed(body)}
                self.changed.notify_all()
            sandbox.kill()
        threading.Thread(target=run, daemon=True).start()

    def _set_answer(self, invocation, delivery):
        is_error, body, header = delivery.answer
        if is_error:
            self._set_error(invocation, body, header)
            return "error"
        invocation.response = _parsed(body)
        return "succeeded"

    @staticmethod
    def _set_error(invocation, body, header):
        error = _parsed(body)
        invocation.error_type_header = header
        if isinstance(error, dict):
            invocation.error_type = error.get("errorType")
            invocation.error_message = error.get("errorMessage")
        else:
            invocation.error_message = error


def _parsed(body):
    """JSON where it is that, else the text."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _exit_text(sandbox):
    if sandbox.returncode < 0:
        return ("Runtime exited with error: signal: "
                + signal.strsignal(-sandbox.returncode).lower())
    return "Runtime exited with error: exit status %d" % sandbox.returncode
