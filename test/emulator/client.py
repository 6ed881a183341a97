"""Starts the emulator and talks to its control port; for tests in Python."""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time


class ControlError(Exception):
    """The control port refused; the text says why."""


class Emulator:
    """One that is running; its port file says where."""

    def __init__(self, port_file):
        with open(port_file, encoding="ascii") as ready:
            self.ready = json.load(ready)

    @property
    def https_url(self):
        return "https://127.0.0.1:%d" % self.ready["https_port"]

    @property
    def http_url(self):
        return "http://127.0.0.1:%d" % self.ready["http_port"]

    def control(self, path, _timeout=60, **body):
        connection = http.client.HTTPConnection("127.0.0.1", self.ready["control_port"],
                                                timeout=_timeout)
        try:
            connection.request("POST", path, json.dumps(body),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ControlError(answer["error"])
        return answer


class EmulatorProcess(Emulator):
    """An emulator in a process of its own, gone with stop() or with this process."""

    def __init__(self, *options, start_timeout=20):
        self.directory = tempfile.mkdtemp(prefix="emulator-")
        self.port_file = os.path.join(self.directory, "ports.json")
        self.process = subprocess.Popen(
            [sys.executable, os.path.dirname(os.path.abspath(__file__)), "--exit-with-stdin",
             "--port-file", self.port_file, "--tls-dir", os.path.join(self.directory, "tls"),
             *options], stdin=subprocess.PIPE)
        deadline = time.monotonic() + start_timeout
        while not os.path.exists(self.port_file):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("could not start the emulator")
            time.sleep(0.02)
        super().__init__(self.port_file)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=10)
        self.process.stdin.close()
        shutil.rmtree(self.directory, ignore_errors=True)
