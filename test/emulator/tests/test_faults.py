"""Each fault, before and after the effect, as a client sees it."""

import http.client
import json
import socket
import threading
import time

from botocore.exceptions import (ConnectionClosedError, HTTPClientError, ReadTimeoutError)

from .support import ControlError, EmulatorTest, NAME, client


class FaultTest(EmulatorTest):
    def fault(self, action, **options):
        return self.control("/faults", action=action, **options)["id"]

    def rule(self, number):
        rules = self.control("/faults/list")["faults"]
        return next(rule for rule in rules if rule["id"] == number)

    def pending(self):
        return self.labels().get("AWSPENDING")

    def last(self):
        return self.control("/log")["entries"][-1]

    def in_thread(self, call, *arguments, **options):
        """Start the call; returns a function that waits and gives its result or exception."""
        outcome = []

        def run():
            try:
                outcome.append(call(*arguments, **options))
            except Exception as error:  # whatever it is, the test looks at it
                outcome.append(error)
        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join, 20)

        def result():
            thread.join(20)
            return outcome[0]
        return result


class Matching(FaultTest):
    def test_operation(self):
        self.fault("throttle", operation="DescribeSecret")
        self.aws.get_random_password()
        self.refused("ThrottlingException", self.aws.describe_secret, SecretId=NAME)
        self.aws.describe_secret(SecretId=NAME)

    def test_nth(self):
        number = self.fault("throttle", after=2, times=2)
        outcome = []
        for _ in range(6):
            outcome.append(self.sender.send().status)
        self.assertEqual(outcome, [200, 200, 400, 400, 200, 200])
        rule = self.rule(number)
        self.assertEqual((rule["seen"], rule["acted"]), (6, 2))

    def test_always(self):
        number = self.fault("throttle", times=0)
        self.assertEqual([self.sender.send().status for _ in range(4)], [400] * 4)
        self.control("/faults/clear", id=number)
        self.assertEqual(self.sender.send().status, 200)

    def test_secret_stage_and_key(self):
        self.fault("throttle", secret="other")
        self.fault("throttle", access_key_id="AKIAOTHEROTHEROTHER0")
        self.fault("throttle", version_stage="AWSPENDING", times=0)
        self.aws.get_secret_value(SecretId=NAME)
        self.refused("ThrottlingException", self.aws.get_secret_value, SecretId=NAME,
                     VersionStage="AWSPENDING")
        self.refused("ThrottlingException", self.put)
        self.refused("ThrottlingException", self.aws.describe_secret, SecretId="other")

    def test_bad_rules(self):
        for rule in ({"action": "nothing"}, {}, {"action": "cut", "opreation": "x"},
                     {"action": "cut", "times": "1"}, {"action": "cut", "times": True},
                     {"action": "cut", "when": "during"}, {"action": "error"},
                     {"action": "error", "type": "X", "style": "loud"},
                     {"action": "pause", "then": "x"}):
            with self.subTest(rule), self.assertRaises(ControlError):
                self.control("/faults", **rule)

    def test_two_rules(self):
        self.fault("latency", seconds=0.2)
        self.fault("error", type="InternalServiceError", status=500)
        begun = time.monotonic()
        self.refused("InternalServiceError", self.aws.get_random_password)
        self.assertGreater(time.monotonic() - begun, 0.19)
        self.assertEqual(len(self.last()["faults"]), 2)

    def test_bad_requests_meet_no_rule(self):
        number = self.fault("throttle")
        self.assertEqual(self.sender.send(secret="wrong").error, "InvalidSignatureException")
        self.assertEqual(self.rule(number)["seen"], 0)


class Errors(FaultTest):
    def test_before(self):
        self.fault("error", type="InternalServiceError", message="oops", status=500)
        self.assertEqual(self.refused("InternalServiceError", self.put), "oops")
        self.assertIsNone(self.pending())
        entry = self.last()
        self.assertEqual((entry["status"], entry["error"], entry["effect"], entry["answered"]),
                         (500, "InternalServiceError", False, True))

    def test_after(self):
        self.fault("error", type="InternalServiceError", status=500, when="after")
        self.refused("InternalServiceError", self.put)
        self.assertIsNotNone(self.pending())
        self.assertTrue(self.last()["effect"])

    def test_bare_status(self):
        self.fault("error", status=503, message="<html>")
        reply = self.sender.send()
        self.assertEqual((reply.status, reply.body), (503, b"<html>"))

    def test_no_text(self):
        self.fault("error", type="X", style="header")
        reply = self.sender.send()
        self.assertEqual((reply.status, reply.body), (400, b"{}"))
        self.assertTrue(reply.headers["x-amzn-ErrorType"].startswith("X:http"))

    def test_access_denied(self):
        self.fault("access_denied")
        text = self.refused("AccessDeniedException", self.put)
        self.assertEqual(text, "User: arn:aws:iam::123456789012:user/emulator is not authorized to "
                         "perform: secretsmanager:PutSecretValue on resource: %s because no "
                         "identity-based policy allows the secretsmanager:PutSecretValue action"
                         % self.arn)
        self.fault("access_denied")
        self.assertIn("on resource: *", self.refused("AccessDeniedException",
                                                     self.aws.get_random_password))

    def test_kms_denied(self):
        self.fault("kms_denied", style="capital")
        reply = self.sender.send()
        self.assertEqual(reply.json, {"__type": "AccessDeniedException",
                                      "Message": "Access to KMS is not allowed"})


class Connections(FaultTest):
    def test_cut_before(self):
        self.fault("cut")
        self.assertRaises(ConnectionClosedError, self.put)
        self.assertIsNone(self.pending())
        entry = self.last()
        self.assertEqual((entry["status"], entry["effect"], entry["answered"]),
                         (None, False, False))

    def test_cut_after(self):
        self.fault("cut", when="after")
        self.assertRaises(ConnectionClosedError, self.put)
        self.assertIsNotNone(self.pending())

    def test_reset(self):
        self.fault("cut", reset=True)
        with self.assertRaises(ConnectionResetError) as caught:
            self.sender.send()
        # which would be an ordinary end of the connection
        self.assertNotIsInstance(caught.exception, http.client.RemoteDisconnected)
        self.fault("cut", reset=True)
        self.assertRaises(HTTPClientError, self.put)

    def test_truncate(self):
        for options in ({}, {"bytes": 1}, {"bytes": 0}):
            self.fault("truncate", **options)
            with self.assertRaises(http.client.IncompleteRead) as caught:
                self.sender.send()
            if "bytes" in options:
                self.assertEqual(len(caught.exception.partial), options["bytes"])
            self.assertEqual((self.last()["status"], self.last()["answered"]), (200, False))

    def test_truncate_before_and_after(self):
        # by hand: boto3 takes a body that is cut short for an empty answer
        put = {"SecretId": NAME, "ClientRequestToken": "0" * 32, "SecretString": "x",
               "VersionStages": ["AWSPENDING"]}
        for when, there in (("before", None), ("after", "0" * 32)):
            self.fault("truncate", when=when)
            self.assertRaises(http.client.IncompleteRead, self.sender.send, "PutSecretValue", put)
            self.assertEqual(self.pending(), there)

    def test_wrong_length(self):
        self.fault("wrong_length", delta=5)
        self.assertRaises(http.client.IncompleteRead, self.sender.send)
        self.fault("wrong_length", delta=-5)
        reply = self.sender.send()
        self.assertRaises(json.JSONDecodeError, lambda: reply.json)

    def test_silence_after_a_wrong_length(self):
        self.fault("wrong_length", delta=5, seconds=0.3)
        begun = time.monotonic()
        self.assertRaises(http.client.IncompleteRead, self.sender.send)
        self.assertGreater(time.monotonic() - begun, 0.29)

    def test_huge(self):
        for chunked in (False, True):
            self.fault("huge", chunked=chunked)
            reply = self.sender.send()
            self.assertEqual(len(reply.json["Padding"]), 10 * 1024 * 1024)
            self.assertEqual(len(reply.json["RandomPassword"]), 32)
            self.assertEqual(reply.headers["Content-Length"] is None, chunked)

    def test_client_leaves_a_huge_answer(self):
        self.fault("huge")
        headers = self.sender.headers("GetRandomPassword", b"{}")
        headers["Content-Length"] = "2"
        head = "POST / HTTP/1.1\r\n" + "".join("%s: %s\r\n" % item for item in headers.items())
        with socket.create_connection(("127.0.0.1", self.emulator.ready["http_port"])) as raw:
            raw.sendall(head.encode() + b"\r\n{}")
            raw.recv(100)
        self.assertTrue(self.control("/log/wait", timeout=10)["reached"])
        self.assertIs(self.last()["answered"], False)

    def test_drip(self):
        self.fault("drip", bytes=16, seconds=0.05)
        begun = time.monotonic()
        self.assertEqual(len(self.sender.send().json["RandomPassword"]), 32)
        self.assertGreater(time.monotonic() - begun, 0.14)

    def test_redirect(self):
        self.fault("redirect")
        reply = self.sender.send()
        self.assertEqual(reply.status, 307)
        self.assertTrue(reply.headers["Location"].endswith("/elsewhere"))
        self.fault("redirect", status=302, location="https://secretsmanager.invalid/")
        reply = self.sender.send()
        self.assertEqual((reply.status, reply.headers["Location"]),
                         (302, "https://secretsmanager.invalid/"))

    def test_drop_idle(self):
        self.aws.get_random_password()
        self.assertEqual(self.control("/connections/drop")["dropped"], 1)
        deadline = time.monotonic() + 5
        while (any(record["closed"] is None for record in self.control("/log")["connections"])
               and time.monotonic() < deadline):
            time.sleep(0.01)
        self.assertTrue(all(record["closed"] for record in self.control("/log")["connections"]))
        self.aws.get_random_password()


class Answers(FaultTest):
    def test_not_json(self):
        self.fault("replace", body="<html>sorry</html>", headers={"Content-Type": "text/html"})
        reply = self.sender.send()
        self.assertEqual((reply.status, reply.body), (200, b"<html>sorry</html>"))
        self.assertEqual(reply.headers["Content-Type"], "text/html")

    def test_members(self):
        self.fault("replace", set={"Name": 7, "New": None}, unset=["VersionId", "nowhere"])
        answer = self.sender.send("GetSecretValue", {"SecretId": NAME}).json
        self.assertEqual((answer["Name"], answer["New"]), (7, None))
        self.assertNotIn("VersionId", answer)
        self.assertEqual(answer["ARN"], self.arn)

    def test_before(self):
        self.fault("replace", when="before", body="x", status=502)
        reply = self.sender.send("PutSecretValue", {
            "SecretId": NAME, "ClientRequestToken": "0" * 32, "SecretString": "x"})
        self.assertEqual((reply.status, reply.body), (502, b"x"))
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1})


class Holding(FaultTest):
    def test_latency(self):
        self.fault("latency", seconds=0.3, when="after")
        begun = time.monotonic()
        done = self.in_thread(self.put)
        while self.pending() is None and time.monotonic() < begun + 0.25:
            time.sleep(0.01)
        self.assertIsNotNone(self.pending())
        done()
        self.assertGreater(time.monotonic() - begun, 0.29)

    def test_pause_before(self):
        number = self.fault("pause")
        done = self.in_thread(self.put)
        self.assertTrue(self.control("/faults/wait", id=number)["reached"])
        self.assertIsNone(self.pending())
        self.assertEqual(self.rule(number)["waiting"], 1)
        self.assertIsNone(self.last()["ended"])
        self.assertEqual(self.control("/faults/release", id=number)["released"], 1)
        version = done()
        self.assertEqual(self.pending(), version)
        self.assertEqual(self.rule(number)["waiting"], 0)

    def test_pause_after(self):
        number = self.fault("pause", when="after")
        done = self.in_thread(self.put)
        self.assertTrue(self.control("/faults/wait", id=number)["reached"])
        self.assertIsNotNone(self.pending())
        self.control("/faults/release", id=number)
        version = done()
        self.assertEqual(self.pending(), version)

    def test_pause_then_cut(self):
        number = self.fault("pause", when="after", then="cut")
        done = self.in_thread(self.put)
        self.control("/faults/wait", id=number)
        self.control("/faults/release", id=number)
        self.assertIsInstance(done(), ConnectionClosedError)
        self.assertIsNotNone(self.pending())

    def test_late_effect(self):
        """The client has given up; the request takes effect all the same."""
        number = self.fault("pause")
        impatient = client(timeout=0.3)
        self.addCleanup(impatient.close)
        self.assertRaises(ReadTimeoutError, impatient.put_secret_value, SecretId=NAME,
                          SecretString="x", VersionStages=["AWSPENDING"])
        self.assertIsNone(self.pending())
        self.control("/faults/release", id=number)
        self.assertTrue(self.control("/log/wait", operation="PutSecretValue")["reached"])
        self.assertIsNotNone(self.pending())

    def test_release_some(self):
        number = self.fault("pause", times=0)
        calls = [self.in_thread(self.sender.send) for _ in range(3)]
        self.assertTrue(self.control("/faults/wait", id=number, count=3)["reached"])
        self.assertEqual(self.control("/faults/release", id=number, count=1)["released"], 1)
        self.assertTrue(self.control("/log/wait", count=1)["reached"])
        self.assertFalse(self.control("/log/wait", count=2, timeout=0.2)["reached"])
        self.assertEqual(self.control("/faults/release", id=number)["released"], 2)
        self.assertEqual([call().status for call in calls], [200] * 3)

    def test_not_reached(self):
        number = self.fault("pause")
        self.assertFalse(self.control("/faults/wait", id=number, timeout=0.1)["reached"])

    def test_clearing_releases(self):
        number = self.fault("pause")
        done = self.in_thread(self.sender.send)
        self.control("/faults/wait", id=number)
        self.control("/faults/clear", id=number)
        self.assertEqual(done().status, 200)

    def test_pause_for_a_time(self):
        self.fault("pause", seconds=0.2)
        begun = time.monotonic()
        self.assertEqual(self.sender.send().status, 200)
        self.assertGreater(time.monotonic() - begun, 0.19)

    def test_hang(self):
        for when, there in (("before", False), ("after", True)):
            number = self.fault("hang", when=when)
            impatient = client(timeout=0.3)
            self.addCleanup(impatient.close)
            self.assertRaises(ReadTimeoutError, impatient.put_secret_value, SecretId=NAME,
                              SecretString="x", VersionStages=["AWSPENDING"])
            self.control("/faults/release", id=number)
            self.assertTrue(self.control("/log/wait", operation="PutSecretValue")["reached"])
            self.assertEqual(self.pending() is not None, there)
            self.control("/log/clear")

    def test_hang_for_a_time(self):
        self.fault("hang", seconds=0.2)
        self.assertRaises(ConnectionClosedError, self.put)
        self.assertIsNone(self.pending())

    def test_reset_lets_nothing_through(self):
        number = self.fault("pause")
        done = self.in_thread(self.put)
        self.control("/faults/wait", id=number)
        self.control("/reset")
        self.control("/secrets", name=NAME, versions=[{"string": "x", "stages": ["AWSCURRENT"]}])
        self.assertIsInstance(done(), ConnectionClosedError)
        self.assertIsNone(self.pending())

    def test_reset_lets_no_answer_through(self):
        number = self.fault("pause", when="after")
        done = self.in_thread(self.put)
        self.control("/faults/wait", id=number)
        self.control("/reset")
        self.assertIsInstance(done(), ConnectionClosedError)
