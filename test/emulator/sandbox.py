"""One process of a function, as Lambda keeps it: started cold, frozen between
invocations, killed at its deadline.
"""

import os
import secrets
import signal
import subprocess
import threading
import time
import uuid

from .runtime_api import RuntimeServer, invalid_state, Refused

MAX_LINE = 65536
MAX_LINES = 5000
CHROOT = "/usr/sbin/chroot"


class Delivery:
    """One event on its way through one sandbox."""

    def __init__(self, body, request_id=None):
        self.body = body
        self.request_id = request_id or str(uuid.uuid4())
        self.trace_id = "Root=1-%08x-%s;Parent=%s;Sampled=1" % (
            int(time.time()), secrets.token_hex(12), secrets.token_hex(8))
        self.deadline_ms = None
        self.delivered = None       # CLOCK_MONOTONIC seconds
        self.answer = None          # (is an error, body, error type of the header)
        self.memory_kb = None       # the process's peak so far, when it answered


def _peak_memory(pid):
    try:
        with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
    except OSError:
        pass                        # it ended meanwhile
    return None


class Sandbox:
    def __init__(self, number, function, refusals):
        self.number = number
        self.function = function
        self.changed = threading.Condition()
        self.refusals = refusals    # runtime call -> statuses, from a fault
        self.lines = []
        self.started = time.monotonic()
        self.first_next = None
        self.init_error = None      # (body, error type of the header)
        self.returncode = None
        self.reserved = True        # from the start: for the invocation that made it
        self.retired = False
        self._asking = 0
        self._offered = None
        self._current = None
        self._last_id = None
        self._frozen = False
        self._server = RuntimeServer(self).start()
        try:
            self._process = self._start()
        except OSError:
            self._close_server()
            raise
        self.pid = self._process.pid
        self._readers = []
        for name in ("stdout", "stderr"):
            reader = threading.Thread(target=self._read, args=(name,), daemon=True)
            reader.start()
            self._readers.append(reader)
        threading.Thread(target=self._reap, daemon=True).start()

    def _start(self):
        function = self.function
        command, options = function.command, {}
        if function.root is not None:
            user = [] if function.user is None else ["--userspec=" + function.user]
            command = [CHROOT] + user + [function.root] + command
        elif function.user is not None:
            user, _, group = function.user.partition(":")
            options = {"user": _number(user), "group": _number(group or user), "extra_groups": []}
        # A process group: wrappers are frozen and killed along with it.  Not a session: the
        # kernel wakes and hangs up stopped groups when the emulator dies.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=function.cwd, env=function.environment(self._server.port, self.number),
            process_group=0, **options)

    # the process's side

    def next(self):
        """A GET next: blocks until there is a delivery; None: the sandbox has ended."""
        with self.changed:
            if self._current is not None:
                raise invalid_state("the invocation before has not been answered")
            if self.first_next is None:
                self.first_next = time.monotonic()
            self._asking += 1
            self.changed.notify_all()
            self._freeze()
            self.changed.wait_for(lambda: self._offered is not None or self.gone)
            self._asking -= 1
            if self.gone:
                return None
            self._current, self._offered = self._offered, None
            self._current.delivered = time.monotonic()
            self._last_id = self._current.request_id
            self.changed.notify_all()
            return self._current

    def answered(self, request_id, is_error, body, error_type):
        with self.changed:
            if self._current is None:
                raise invalid_state("there is no invocation to answer")
            if request_id != self._current.request_id:
                raise Refused(400, "InvalidRequestID", "Invalid request ID")
            self._current.memory_kb = _peak_memory(self.pid)
            self._current.answer = (is_error, body, error_type)
            self._current = None
            self.changed.notify_all()

    def init_failed(self, body, error_type):
        with self.changed:
            if self.first_next is not None:
                raise invalid_state("the initialization is over")
            self.init_error = (body, error_type)
            self.changed.notify_all()

    def refusal(self, call):
        """The status with which a fault refuses this call of the runtime API, if any."""
        with self.changed:
            statuses = self.refusals.get(call)
            return statuses.pop(0) if statuses else None

    def _read(self, name):
        with getattr(self._process, name) as stream:
            while True:
                line = stream.readline(MAX_LINE)
                if not line:
                    return
                with self.changed:
                    self.lines.append({
                        "instance": self.number, "stream": name, "time": time.time(),
                        "request_id": self._last_id,
                        "line": line.decode("utf-8", "replace").rstrip("\n")})
                    del self.lines[:-MAX_LINES]
                    self.changed.notify_all()

    def _reap(self):
        returncode = self._process.wait()
        for reader in self._readers:
            reader.join(1)          # a child of it may hold the pipe open for longer
        with self.changed:
            self.returncode = returncode
            self.changed.notify_all()
        self._close_server()

    def _close_server(self):
        self._server.shutdown()
        self._server.server_close()
        self._server.drop_connections()

    # Lambda's side

    @property
    def gone(self):
        return self.returncode is not None

    @property
    def usable(self):
        """For another invocation."""
        return not (self.gone or self.retired or self.reserved)

    def wait_ready(self, timeout):
        """Until the process asks for an invocation; False: it won't, or has not in time."""
        with self.changed:
            self.changed.wait_for(
                lambda: self._asking or self.gone or self.init_error is not None, timeout)
            return self._asking > 0 and not self.gone

    def offer(self, delivery):
        with self.changed:
            self._offered = delivery
            self._thaw()
            self.changed.notify_all()

    def wait_answer(self, delivery, until):
        """Until the delivery is answered or the process is gone; False at `until`."""
        with self.changed:
            return self.changed.wait_for(lambda: delivery.answer is not None or self.gone,
                                         max(0.0, until - time.monotonic()))

    def wait_gone(self, timeout):
        with self.changed:
            return self.changed.wait_for(lambda: self.gone, timeout)

    def kill(self, number=signal.SIGKILL):
        """No invocation comes to this sandbox any more."""
        self.retired = True
        self._signal(number)
        if number != signal.SIGKILL:
            self._signal(signal.SIGCONT)

    def _signal(self, number):
        with self.changed:
            if self.gone:
                return
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass                # it has just ended

    def _freeze(self):
        if self.function.freeze and self._offered is None and not self._frozen:
            self._frozen = True
            self._signal(signal.SIGSTOP)

    def _thaw(self):
        if self._frozen:
            self._frozen = False
            self._signal(signal.SIGCONT)

    def dump(self):
        with self.changed:
            return {"id": self.number, "pid": self.pid, "port": self._server.port,
                    "frozen": self._frozen, "gone": self.gone, "returncode": self.returncode,
                    "busy": self._current is not None or self._offered is not None}


def _number(name):
    return int(name) if name.isdigit() else name
