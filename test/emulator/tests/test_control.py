"""The control port, the log and what it counts."""

import base64
import threading

from .support import ControlError, EmulatorTest, NAME


class State(EmulatorTest):
    def test_secret(self):
        answer = self.control("/secrets", name="raw", arn_suffix="AbCdEf", versions=[
            {"id": "a" * 32, "string": "not JSON {", "stages": ["AWSCURRENT"], "created": 5},
            {"id": "b" * 32, "binary": base64.b64encode(b"\0\1").decode(), "stages": ["x", "y"]},
            {"id": "c" * 32, "empty": True, "stages": ["AWSPENDING"], "origin": "service"},
            {"id": "d" * 32, "json": {"k": "\u00e9"}}],
            attributes={"kms_key_id": "k"})
        self.assertEqual(answer["arn"],
                         "arn:aws:secretsmanager:us-east-1:123456789012:secret:raw-AbCdEf")
        self.assertEqual(answer, self.control("/state", secret="raw"))
        self.assertEqual(answer, self.control("/state")["secrets"]["raw"])
        versions = answer["versions"]
        self.assertEqual(versions["a" * 32]["string"], "not JSON {")
        self.assertEqual(versions["a" * 32]["created"], 5)
        self.assertEqual(versions["b" * 32]["stages"], ["x", "y"])
        self.assertEqual((versions["c" * 32]["empty"], versions["c" * 32]["origin"]),
                         (True, "service"))
        self.assertEqual(versions["d" * 32]["string"], '{"k": "\u00e9"}')
        self.assertEqual(self.aws.describe_secret(SecretId="raw")["KmsKeyId"], "k")
        self.assertEqual(self.aws.get_secret_value(SecretId="raw")["SecretString"], "not JSON {")

    def test_replaced(self):
        self.put()
        self.control("/secrets", name=NAME, versions=[{"string": "x", "stages": ["AWSCURRENT"]}])
        self.assertEqual(len(self.state()["versions"]), 1)

    def test_versions_and_labels(self):
        version = self.control("/versions", secret=NAME, string="x", stages=["AWSPENDING"])["id"]
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1, "AWSPENDING": version})
        self.control("/labels", secret=NAME, labels={"AWSCURRENT": version, "AWSPENDING": None})
        self.assertEqual(self.labels(), {"AWSCURRENT": version})
        self.control("/versions/delete", secret=NAME, id=version)
        self.assertEqual(self.labels(), {})
        self.control("/secrets/delete", secret=self.arn)
        self.assertRaises(ControlError, self.state)

    def test_refusals(self):
        for path, body in (
                ("/nowhere", {}), ("/secrets", {}), ("/secrets", {"name": "x", "verions": []}),
                ("/versions", {"secret": NAME}), ("/versions", {"secret": "x", "string": "y"}),
                ("/versions", {"secret": NAME, "string": "y", "empty": True}),
                ("/versions", {"secret": NAME, "string": 1}),
                ("/versions", {"secret": NAME, "string": "y", "origin": "z"}),
                ("/labels", {"secret": NAME, "labels": {"x": "y"}}),
                ("/secrets/update", {"secret": NAME, "attributes": {"x": 1}}),
                ("/settings", {"x": 1}), ("/settings", {"latency": "1"}),
                ("/settings", {"max_versions": True}), ("/settings", {"error_style": "x"}),
                ("/clock", {"offset": "x"}), ("/keys", {}), ("/listeners", {"certificate": "x"}),
                ("/reset", {"x": 1}), ("/faults/release", {"id": 99})):
            with self.subTest(path=path, body=body):
                self.assertRaises(ControlError, self.control, path, **body)
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1})

    def test_reset(self):
        self.control("/settings", latency=1, random_passwords=["x"])
        self.control("/clock", offset=99)
        self.control("/faults", action="throttle", times=0)
        self.control("/keys", access_key_id="AKIATESTTESTTESTTEST", secret_access_key="s")
        self.control("/reset")
        state = self.control("/state")
        self.assertEqual((state["secrets"], state["clock_offset"]), ({}, 0))
        self.assertEqual((state["settings"]["latency"], state["settings"]["random_passwords"]),
                         (0, []))
        self.assertEqual(self.control("/faults/list")["faults"], [])
        self.assertEqual(self.control("/log")["count"], 0)
        self.assertEqual(self.sender.send(key="AKIATESTTESTTESTTEST", secret="s").error,
                         "UnrecognizedClientException")
        self.assertEqual(self.sender.send().status, 200)
        self.assertEqual(len(self.sender.send().json["RandomPassword"]), 32)


class Log(EmulatorTest):
    def test_entries(self):
        self.put(value="hunter2")
        self.aws.get_secret_value(SecretId=NAME, VersionStage="AWSPENDING")
        self.sender.send(secret="wrong")
        log = self.control("/log")
        self.assertEqual(log["operations"], {"PutSecretValue": 1, "GetSecretValue": 1,
                                             "GetRandomPassword": 1})
        put, get, bad = log["entries"]
        self.assertEqual(put["parameters"]["SecretString"]["bytes"], 7)
        self.assertNotIn("hunter2", str(log))
        self.assertEqual(get["parameters"], {"SecretId": NAME, "VersionStage": "AWSPENDING"})
        self.assertEqual((put["connection"], put["request_on_connection"]),
                         (get["connection"], 1))
        self.assertEqual(get["request_on_connection"], 2)
        self.assertNotEqual(bad["connection"], get["connection"])
        self.assertEqual((bad["status"], bad["error"]), (400, "InvalidSignatureException"))
        self.assertLess(put["started"], put["ended"])
        self.assertLess(put["ended"], get["started"])
        self.assertIn("Boto3", put["user_agent"])
        self.assertEqual((log["count"], log["connection_count"]), (3, 2))
        self.assertEqual([record["tls"] for record in log["connections"]
                          if record["id"] == put["connection"]], [True])

    def test_select(self):
        self.put()
        self.aws.get_random_password()
        self.assertEqual(self.control("/log", operation="PutSecretValue")["count"], 1)
        first = self.control("/log")["entries"][0]["seq"]
        self.assertEqual(self.control("/log", since=first)["count"], 1)
        self.control("/log/clear")
        self.assertEqual(self.control("/log")["count"], 0)

    def test_round_trips(self):
        self.control("/settings", latency=0.1)

        def together(count):
            threads = [threading.Thread(target=self.sender.send) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        together(3)
        self.sender.send()
        together(2)
        log = self.control("/log")
        self.assertEqual((log["count"], log["round_trips"]), (6, 3))
        overlaps = [len(entry["concurrent_with"]) for entry in log["entries"]]
        self.assertEqual(overlaps, [2, 2, 2, 0, 1, 1])

    def test_one_after_the_other(self):
        for _ in range(3):
            self.sender.send()
        log = self.control("/log")
        self.assertEqual((log["count"], log["round_trips"]), (3, 3))

    def test_wait(self):
        threading.Timer(0.2, self.sender.send).start()
        self.assertTrue(self.control("/log/wait", operation="GetRandomPassword")["reached"])
        self.assertFalse(self.control("/log/wait", operation="PutSecretValue",
                                      timeout=0.1)["reached"])
