"""Functions: their processes, the runtime API, what an invocation comes to."""

import http.client
import json
import os
import signal
import tempfile
import time
import unittest

from .support import ControlError, EmulatorProcess, FunctionTest

PREFIX = "/2018-06-01/runtime/"


def state_of(pid):
    """R, S, T (stopped), …; None where there is no such process."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return None


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Processes(FunctionTest):
    def test_cold_then_warm(self):
        self.register()
        first, second = self.invoke(), self.invoke()
        self.assertEqual((first["cold"], second["cold"]), (True, False))
        self.assertEqual(first["pid"], second["pid"])
        self.assertGreater(first["init_seconds"], 0)
        self.assertIsNone(second["init_seconds"])
        self.assertGreater(first["memory_kb"], 1000)
        self.assertEqual(first["response"], {"step": "echo"})
        self.assertNotEqual(first["request_id"], second["request_id"])

    def test_frozen_between(self):
        for freeze, state in ((True, "T"), (False, "S")):
            with self.subTest(freeze):
                self.register(_options={"freeze": freeze})
                pid = self.invoke()["pid"]
                self.assertTrue(until(lambda pid=pid, state=state: state_of(pid) == state))
                self.assertEqual(self.instances()[0]["frozen"], freeze)
                self.assertEqual(self.invoke()["pid"], pid)

    def test_restarted_after_exit(self):
        self.register(EXIT_AFTER="yes")
        pids = set()
        for _ in range(3):
            invocation = self.invoke()
            self.assertEqual(invocation["outcome"], "succeeded")
            pids.add(invocation["pid"])
        self.assertEqual(len(pids), 3)

    def test_killed_between(self):
        self.register()
        pid = self.invoke()["pid"]
        self.assertEqual(self.control("/functions/kill", function="rotate")["killed"], 1)
        self.assertTrue(until(lambda: state_of(pid) is None))
        again = self.invoke()
        self.assertEqual((again["outcome"], again["cold"]), ("succeeded", True))

    def test_replaced(self):
        self.register()
        pid = self.invoke()["pid"]
        self.register(PROBE="yes")
        self.assertTrue(until(lambda: state_of(pid) is None))
        self.assertIn("env", self.invoke()["response"])
        self.control("/functions/delete", function=self.function)
        with self.assertRaises(ControlError):
            self.invoke()

    def test_environment(self):
        """Lambda's and the function's own, nothing of the emulator's."""
        self.register(PROBE="yes", _options={"cwd": "/usr", "timeout": 2, "memory": 256})
        env = self.invoke()["response"]
        self.assertEqual(env["cwd"], "/usr")
        env = env["env"]
        self.assertEqual(env["AWS_LAMBDA_FUNCTION_NAME"], "rotate")
        self.assertEqual(env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256")
        self.assertEqual(env["AWS_REGION"], self.emulator.ready["region"])
        self.assertTrue(env["AWS_ACCESS_KEY_ID"].startswith("ASIA"))
        self.assertNotIn("HOME", env)
        self.register(_options={"env": {"FUNCTION_PROBE": "1", "AWS_ACCESS_KEY_ID": "AKIA",
                                        "TZ": None}})
        env = self.invoke()["response"]["env"]
        self.assertEqual(env["AWS_ACCESS_KEY_ID"], "AKIA")
        self.assertNotIn("AWS_SESSION_TOKEN", env)
        self.assertNotIn("TZ", env)

    @unittest.skipUnless(os.geteuid() == 0, "only root can change the user")
    def test_user(self):
        self.register(PROBE="yes", _options={"user": "nobody:nogroup"})
        self.assertNotIn(self.invoke()["response"]["uid"], (0, None))

    @unittest.skipUnless(os.geteuid() == 0, "only root can change the root")
    def test_root(self):
        with tempfile.TemporaryDirectory() as root:
            os.chmod(root, 0o755)
            self.register(_options={"root": root})
            invocation = self.invoke()
            self.assertEqual(invocation["outcome"], "init_error")
            # chroot's own words: there is nothing in that root
            lines = self.control("/functions/output", function="rotate", stream="stderr")["lines"]
            self.assertIn("No such file", lines[0]["line"])
        self.register(PROBE="yes", _options={"root": "/", "user": "65534:65534"})
        self.assertEqual(self.invoke()["response"]["uid"], 65534)

    @unittest.skipIf(os.geteuid() == 0, "root can")
    def test_only_root(self):
        with self.assertRaisesRegex(ControlError, "only an emulator run by root"):
            self.register(_options={"root": "/"})

    def test_gone_with_the_emulator(self):
        """Frozen or not, however the emulator ends."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number):
                self.emulator = EmulatorProcess()
                self.addCleanup(self.emulator.stop)
                self.register()
                pid = self.invoke()["pid"]
                self.assertTrue(until(lambda pid=pid: state_of(pid) == "T"))
                self.emulator.process.send_signal(number)
                self.assertTrue(until(lambda pid=pid: state_of(pid) in (None, "Z")))

    def test_ends_while_a_process_starts(self):
        """Several times: a signal that came then was lost, two times in five."""
        for _ in range(4):
            self.emulator = EmulatorProcess()
            self.addCleanup(self.emulator.stop)
            self.control("/secrets", name="x", versions=[{"string": "x", "stages": ["AWSCURRENT"]}],
                         attributes={"rotation_enabled": True,
                                     "rotation_lambda_arn": self.register()})
            self.control("/rotations/start", secret="x")
            self.emulator.process.terminate()
            self.assertEqual(self.emulator.process.wait(timeout=10), 0)

    def test_refused(self):
        for body, text in (({"name": "x"}, "command"), ({"name": "x", "command": []}, "command"),
                           ({"name": "x", "command": "ls"}, "wrong type of command"),
                           ({"name": "x", "command": ["ls"], "handler": "y"}, "unknown member"),
                           ({"name": "x", "command": ["ls"], "env": {"A": 1}}, "strings")):
            with self.subTest(body), self.assertRaisesRegex(ControlError, text):
                self.control("/functions", **body)


class Outcomes(FunctionTest):
    def check(self, outcome, error_type, text, step="echo"):
        invocation = self.invoke(step)
        self.assertEqual((invocation["outcome"], invocation["error_type"]), (outcome, error_type))
        self.assertIn(text, invocation["error_message"])
        return invocation

    def test_error(self):
        self.register(FAIL_IN="x")
        invocation = self.check("error", "ValueError", "told to fail", "x")
        self.assertEqual(invocation["error_type_header"], "Function.ValueError")
        self.assertEqual(self.invoke()["pid"], invocation["pid"])

    def test_timeout(self):
        self.register(SLEEP_IN="x", _options={"timeout": 0.3})
        invocation = self.check("timeout", "Sandbox.Timedout", "timed out after 0.30 seconds", "x")
        self.assertTrue(until(lambda: state_of(invocation["pid"]) is None))
        self.assertLess(abs(invocation["seconds"] - 0.3), 0.2)
        self.assertLess(abs(invocation["deadline_ms"] / 1000 - invocation["time"] - 0.3), 0.3)
        self.assertTrue(self.invoke()["cold"])

    def test_exit(self):
        self.register(EXIT_IN="x")
        self.check("exited", "Runtime.ExitError", "exit status 7", "x")

    def test_init(self):
        self.register(INIT="error")
        self.check("init_error", "Function.NoLogin", "no login")
        self.register(INIT="exit")
        self.check("init_error", "Runtime.ExitError", "exit status 3")
        self.register(INIT="hang", _options={"init_timeout": 0.2})
        self.check("init_error", "Sandbox.Timedout", "Init timed out")
        self.register(_options={"command": ["/nonexistent/bootstrap"]})
        self.check("init_error", "Runtime.InvalidEntrypoint", "/nonexistent/bootstrap")

    def test_output(self):
        self.register()
        invocation = self.invoke("echo")

        def lines(**select):
            return self.control("/functions/output", function="rotate", **select)["lines"]
        self.assertTrue(until(lambda: len(lines()) == 2))
        line = lines(stream="stdout")[0]
        self.assertEqual(line["request_id"], invocation["request_id"])
        told = json.loads(line["line"])
        self.assertEqual(int(told["deadline"]), invocation["deadline_ms"])
        self.assertEqual(told["arn"], self.function)
        self.assertRegex(told["trace"], "^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=")
        self.assertEqual(lines(stream="stderr")[0]["line"], "answered: 202")
        self.assertEqual(lines(instance=99), [])


class RuntimeApi(FunctionTest):
    """The test is the runtime: the function's process only waits."""

    def setUp(self):
        super().setUp()
        self.register(_options={"command": ["/bin/sleep", "60"], "freeze": False})
        self.threads = []
        self.begin()
        self.assertTrue(until(self.instances))
        self.port = self.instances()[0]["port"]

    def begin(self):
        """An invocation, from outside; its result is read by the log."""
        connection = http.client.HTTPConnection("127.0.0.1", self.emulator.ready["control_port"])
        self.addCleanup(connection.close)
        connection.request("POST", "/functions/invoke", json.dumps(
            {"function": "rotate", "event": {"Step": "x"}}))

    def call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def refused(self, status, type_, *request):
        response, body = self.call(*request)
        self.assertEqual((response.status, json.loads(body)["errorType"]), (status, type_))

    def test_rules(self):
        self.refused(404, "NotFound", "GET", PREFIX + "invocation/first")
        self.refused(404, "NotFound", "POST", PREFIX + "invocation/next", "x")
        self.refused(403, "InvalidStateTransition", "POST", PREFIX + "invocation/1/response", "x")
        response, body = self.call("GET", PREFIX + "invocation/next")
        self.assertEqual((response.status, json.loads(body)), (200, {"Step": "x"}))
        request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
        self.refused(403, "InvalidStateTransition", "GET", PREFIX + "invocation/next")
        self.refused(403, "InvalidStateTransition", "POST", PREFIX + "init/error", "{}")
        self.refused(400, "InvalidRequestID", "POST", PREFIX + "invocation/1/response", "x")
        path = PREFIX + "invocation/%s/response" % request_id
        self.refused(413, "RequestEntityTooLarge", "POST", path, "x" * (6 * 1024 * 1024 + 1))
        response, body = self.call("POST", path, "plain text")
        self.assertEqual((response.status, json.loads(body)), (202, {"status": "OK"}))
        self.refused(403, "InvalidStateTransition", "POST", path, "x")
        self.assertTrue(self.control("/invocations/wait")["reached"])
        self.assertEqual(self.invocations()[0]["response"], "plain text")
