"""The emulator as a whole, and its command line."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading

from . import certs
from .clock import Clock
from .control import ControlServer
from .faults import Faults
from .functions import Functions
from .httpd import tls_context
from .journal import Journal
from .rotation import Rotations
from .service import ServiceServer
from .settings import default_settings
from .signature import AccessKey
from .store import Store

DEFAULT_ACCOUNT = "123456789012"
DEFAULT_KEY_ID = "AKIAEMULATORDEFAULT1"
DEFAULT_SECRET_KEY = "emulatorSecretKey/Of+TheDefaultAccessKey"


class Emulator:
    """State that all handlers share.  reset() starts a new generation of it."""

    def __init__(self, tls_dir, region="us-east-1", account=DEFAULT_ACCOUNT, names=()):
        self.region = region
        self.account = account
        self.tls_dir = tls_dir
        self.names = certs.DEFAULT_NAMES + tuple(names)
        self.clock = Clock()
        self.journal = Journal()
        self.faults = Faults()
        self.generation = 0
        self.failed_handshakes = 0
        self.keys = {}
        self._listeners = {}
        self._listeners_lock = threading.Lock()
        self.functions = Functions(self)
        self.rotations = Rotations(self)
        self._fill()

    def _fill(self):
        self.settings = default_settings()
        self.store = Store(self.region, self.account, self.settings)
        self.keys = {}
        self.add_key(AccessKey(DEFAULT_KEY_ID, DEFAULT_SECRET_KEY))

    def add_key(self, key):
        key.account = key.account or self.account
        key.principal = key.principal or "arn:aws:iam::%s:user/emulator" % key.account
        self.keys[key.access_key_id] = key

    def reset(self):
        """All as at the start.  Calls that are held up end without effect or answer."""
        self.generation += 1
        self.faults.clear()
        self.rotations.reset()
        self.functions.reset()
        self.journal.clear()
        self.clock.offset = 0.0
        self.failed_handshakes = 0
        self._fill()

    def listen(self, kind, port=0):
        """A listener for the service: 'plain', or with a certificate of certs.KINDS."""
        with self._listeners_lock:
            if kind not in self._listeners:
                context = None
                if kind != "plain":
                    context = tls_context(*certs.make_kind(self.tls_dir, kind, self.names))
                self._listeners[kind] = ServiceServer(self, port=port, context=context,
                                                      name=kind).start()
            return self._listeners[kind]

    def drop_connections(self):
        return sum(listener.drop_connections() for listener in self._listeners.values())


def _arguments():
    parser = argparse.ArgumentParser(prog="emulator", description=__doc__)
    parser.add_argument("--port-file", metavar="FILE",
                        help="write ports, CA and pid to FILE as JSON when ready")
    parser.add_argument("--tls-dir", metavar="DIR",
                        help="where CA and certificates are made (default: a temporary directory)")
    parser.add_argument("--tls-name", metavar="NAME", action="append", default=[],
                        help="one more name or address for the certificate")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--account", default=DEFAULT_ACCOUNT)
    parser.add_argument("--https-port", type=int, default=0)
    parser.add_argument("--http-port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--exit-with-stdin", action="store_true",
                        help="exit when the standard input ends")
    return parser.parse_args()


def _announce(ready, port_file):
    text = json.dumps(ready)
    if port_file:
        # renamed into place: whoever sees the file sees all of it
        temporary = "%s.%d" % (port_file, os.getpid())
        with open(temporary, "w", encoding="ascii") as out:
            out.write(text + "\n")
        os.rename(temporary, port_file)
    else:
        print(text, flush=True)


def main():
    arguments = _arguments()
    stop = _stop_pipe()

    temporary = emulator = None
    tls_dir = arguments.tls_dir
    if tls_dir is None:
        tls_dir = temporary = tempfile.mkdtemp(prefix="emulator-tls-")
    os.makedirs(tls_dir, exist_ok=True)
    try:
        emulator = Emulator(os.path.abspath(tls_dir), arguments.region, arguments.account,
                            arguments.tls_name)
        https = emulator.listen("good", arguments.https_port)
        http = emulator.listen("plain", arguments.http_port)
        control = ControlServer(emulator, port=arguments.control_port, name="control").start()
        _announce({"https_port": https.port, "http_port": http.port,
                   "control_port": control.port,
                   "ca": os.path.join(emulator.tls_dir, "ca.pem"), "pid": os.getpid(),
                   "region": emulator.region, "account": emulator.account,
                   "access_key_id": DEFAULT_KEY_ID, "secret_access_key": DEFAULT_SECRET_KEY},
                  arguments.port_file)
        if arguments.exit_with_stdin:
            threading.Thread(target=_until_stdin_ends, args=(stop[1],), daemon=True).start()
        os.read(stop[0], 1)
    finally:
        if emulator is not None:
            emulator.rotations.reset()
            emulator.functions.reset()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return 0


def _stop_pipe():
    """What can be read from it once the emulator is to end.

    A signal that reaches another thread does not wake the main one from a lock's wait; it does
    write here.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reading, writing


def _until_stdin_ends(stop):
    # os.read, not sys.stdin: a thread inside sys.stdin's lock breaks the interpreter's exit
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.write(stop, b"\0")
