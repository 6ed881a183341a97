"""Rotations that the service runs: RotateSecret to the labels at the end."""

import json
import os
import shutil
import subprocess
import uuid

from .support import NAME, FunctionTest

STEPS = ["createSecret", "setSecret", "testSecret", "finishSecret"]


class Rotate(FunctionTest):
    def setUp(self):
        super().setUp()
        self.register()

    def test_four_steps(self):
        token = self.rotate(RotationRules={"AutomaticallyAfterDays": 30})
        rotation = self.finished(token)
        self.assertEqual([step["step"] for step in rotation["steps"]], STEPS)
        self.assertEqual(self.labels()["AWSPENDING"], token)
        events = [item["event"] for item in self.invocations(rotation=rotation["id"])]
        rotation_token = rotation["rotation_token"]
        self.assertEqual(events, [
            {"Step": step, "SecretId": self.arn, "ClientRequestToken": token,
             "RotationToken": rotation_token} for step in STEPS])
        self.assertRegex(rotation_token, "^[0-9a-f-]{36}$")
        put = self.control("/log", operation="PutSecretValue")["entries"][0]
        self.assertEqual(put["parameters"]["RotationToken"], rotation_token)
        self.assertEqual(self.counters()["current_moved_by_put"], 0)

    def test_answers_before_the_steps(self):
        pause = self.control("/faults", action="pause", operation="PutSecretValue")["id"]
        token = self.rotate()
        self.assertTrue(self.control("/faults/wait", id=pause)["reached"])
        self.assertEqual(self.aws.describe_secret(SecretId=NAME)["VersionIdsToStages"],
                         {self.v1: ["AWSCURRENT"], token: ["AWSPENDING"]})
        self.refused("ResourceNotFoundException", self.aws.get_secret_value, SecretId=NAME,
                     VersionId=token)
        self.control("/faults/release", id=pause)
        self.finished(token)

    def test_describe(self):
        self.assertNotIn("RotationEnabled", self.aws.describe_secret(SecretId=NAME))
        self.finished(self.rotate(RotationRules={"ScheduleExpression": "rate(10 days)",
                                                 "Duration": "3h"}))
        shown = self.described()
        self.assertIs(shown["RotationEnabled"], True)
        self.assertEqual(shown["RotationLambdaARN"], self.function)
        self.assertEqual(shown["RotationRules"], {"ScheduleExpression": "rate(10 days)",
                                                  "Duration": "3h", "AutomaticallyAfterDays": 10})
        self.assertEqual(shown["NextRotationDate"] - shown["LastRotatedDate"], 10 * 86400)

    def test_put_by_hand_counts_for_the_next_date(self):
        self.finished(self.rotate(RotationRules={"AutomaticallyAfterDays": 1}))
        before = self.described()
        self.put(VersionStages=["AWSCURRENT"])
        after = self.described()
        self.assertGreater(after["NextRotationDate"], before["NextRotationDate"])
        self.assertEqual(after["LastRotatedDate"], before["LastRotatedDate"])

    def test_again(self):
        """With what is stored; AWSPENDING on AWSCURRENT's version is no obstacle, nor is none."""
        v2 = self.rotate()
        self.finished(v2)
        v3 = self.aws.rotate_secret(SecretId=NAME)["VersionId"]
        self.assertEqual(self.ended()["status"], "succeeded")
        self.assertEqual(self.labels(), {"AWSCURRENT": v3, "AWSPENDING": v3, "AWSPREVIOUS": v2})
        self.control("/labels", secret=NAME, labels={"AWSPENDING": None})
        self.aws.rotate_secret(SecretId=NAME)
        self.assertEqual(self.ended()["status"], "succeeded")

    def test_same_request_twice(self):
        token = str(uuid.uuid4())
        for _ in range(2):
            self.assertEqual(self.rotate(ClientRequestToken=token), token)
        self.finished(token)
        self.rotate(ClientRequestToken=token)
        self.ended()
        self.assertEqual(len(self.control("/rotations")["rotations"]), 1)

    def test_schedule(self):
        self.finished(self.rotate())
        token = self.control("/rotations/start", secret=NAME)["token"]
        self.assertEqual(self.ended()["trigger"], "schedule")
        self.assertEqual(self.labels()["AWSCURRENT"], token)

    def test_refused(self):
        rotate = self.aws.rotate_secret
        text = self.refused("InvalidRequestException", rotate, SecretId=NAME)
        self.assertIn("No Lambda rotation function ARN", text)
        text = self.refused("AccessDeniedException", rotate, SecretId=NAME,
                            RotationLambdaARN=self.function + "x")
        self.assertIn("cannot invoke", text)
        for rules in ({"AutomaticallyAfterDays": 1, "ScheduleExpression": "rate(1 days)"},
                      {"ScheduleExpression": "rate(3 hours)"},
                      {"ScheduleExpression": "rate(1000 days)"},
                      {"ScheduleExpression": "cron(5 0 * * ? *)"},
                      {"ScheduleExpression": "daily"},
                      {"AutomaticallyAfterDays": 1, "Duration": "0h"}):
            with self.subTest(rules):
                self.refused("InvalidParameterException", self.rotate, RotationRules=rules)
        self.refused("InvalidRequestException", self.rotate, ClientRequestToken=self.v1)
        self.control("/secrets", name="empty")
        self.refused("ResourceNotFoundException", rotate, SecretId="empty",
                     RotationLambdaARN=self.function)
        reply = self.sender.send("RotateSecret", {"SecretId": NAME,
                                                  "RotationLambdaARN": self.function})
        self.assertEqual(reply.error, "InvalidParameterException")
        self.aws.delete_secret(SecretId=NAME)
        self.refused("InvalidRequestException", self.rotate)
        self.assertEqual(self.invocations(), [])
        self.assertNotIn("RotationEnabled", self.aws.describe_secret(SecretId=NAME))

    def test_aws_command_line(self):
        program = shutil.which("aws", path="/usr/local/bin:/usr/bin")
        if program is None:
            raise AssertionError("the AWS command line is missing (Debian: awscli)")
        ready = self.emulator.ready
        done = subprocess.run(
            [program, "secretsmanager", "rotate-secret", "--secret-id", NAME,
             "--rotation-lambda-arn", self.function, "--rotation-rules",
             '{"ScheduleExpression": "cron(0 16 1,15 * ? *)", "Duration": "2h"}',
             "--endpoint-url", self.emulator.https_url, "--ca-bundle", ready["ca"],
             "--region", ready["region"], "--output", "json"],
            env={"PATH": "/usr/bin:/bin", "HOME": os.path.dirname(ready["ca"]),
                 "AWS_ACCESS_KEY_ID": ready["access_key_id"],
                 "AWS_SECRET_ACCESS_KEY": ready["secret_access_key"]},
            capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.finished(json.loads(done.stdout)["VersionId"])


class Retry(FunctionTest):
    def fault(self, **rule):
        return self.control("/invocation-faults", **rule)

    def test_whole_rotation(self):
        self.register()
        self.fault(action="error", step="testSecret", times=2)
        rotation = self.finished(self.rotate())
        self.assertEqual([step["step"] for step in rotation["steps"]], STEPS[:3] * 2 + STEPS)
        self.assertEqual(rotation["attempts"], 3)

    def test_until_the_service_gives_up(self):
        self.register(FAIL_IN="setSecret")
        self.control("/settings", rotation_attempts=3)
        token = self.rotate(RotationRules={"AutomaticallyAfterDays": 1})
        rotation = self.ended()
        self.assertEqual((rotation["status"], rotation["attempts"]), ("failed", 3))
        self.assertEqual(rotation["reason"], "setSecret: ValueError: told to fail")
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1, "AWSPENDING": token})
        self.assertNotIn("LastRotatedDate", self.aws.describe_secret(SecretId=NAME))

    def test_previous_not_complete(self):
        self.register(FAIL_IN="createSecret")
        self.control("/settings", rotation_attempts=1)
        token = self.rotate()
        self.ended()
        self.assertTrue(self.state()["versions"][token]["empty"])
        self.register()
        text = self.refused("InvalidRequestException", self.rotate)
        self.assertEqual(text, "A previous rotation isn't complete. "
                               "That rotation will be reattempted.")
        self.assertEqual(self.finished(token)["trigger"], "reattempt")

    def test_pending_that_others_made(self):
        self.register()
        token = self.put(value="ours")
        self.refused("InvalidRequestException", self.rotate)
        # no function is set, so nothing is reattempted
        self.assertEqual(self.control("/rotations")["rotations"], [])
        self.control("/secrets/update", secret=NAME,
                     attributes={"rotation_lambda_arn": self.function})
        self.refused("InvalidRequestException", self.rotate)
        self.assertEqual(self.ended()["status"], "succeeded")
        self.assertEqual(self.aws.get_secret_value(SecretId=NAME)["VersionId"], token)

    def test_while_one_runs(self):
        self.register()
        pause = self.control("/faults", action="pause", operation="PutSecretValue")["id"]
        token = self.rotate()
        self.control("/faults/wait", id=pause)
        self.refused("InvalidRequestException", self.rotate)
        self.control("/faults/release", id=pause)
        self.finished(token)
        self.assertEqual(len(self.control("/rotations")["rotations"]), 1)

    def test_not_created(self):
        self.register(SKIP_CREATE="yes")
        self.control("/settings", rotation_attempts=2)
        self.rotate()
        self.assertIn("was not created by Lambda", self.ended()["reason"])
        self.assertEqual(self.outcomes(), ["succeeded"] * 2)

    def test_not_finished(self):
        self.register(SKIP_FINISH="yes")
        self.control("/settings", rotation_attempts=2)
        self.rotate()
        rotation = self.ended()
        self.assertEqual((rotation["status"], rotation["attempts"]), ("failed", 2))
        self.assertIn("AWSCURRENT is not on the new version", rotation["reason"])


class Interrupted(FunctionTest):
    def setUp(self):
        super().setUp()
        self.register()
        self.pause = self.control("/faults", action="pause", operation="DescribeSecret")["id"]
        self.token = self.rotate()          # held in finishSecret
        self.assertTrue(self.control("/faults/wait", id=self.pause)["reached"])

    def test_put_by_hand(self):
        v3 = self.put(VersionStages=["AWSCURRENT"])
        self.assertEqual(self.labels(), {"AWSCURRENT": v3, "AWSPREVIOUS": self.v1})
        self.assertEqual(self.counters()["pending_abandoned"], 1)
        # the function's own idea of AWSCURRENT is old now, so its compare-and-swap fails
        self.control("/faults", action="error", type="InvalidParameterException",
                     operation="UpdateSecretVersionStage")
        self.control("/faults/release", id=self.pause)
        self.assertEqual(self.ended()["status"], "abandoned")
        self.assertEqual(self.labels()["AWSCURRENT"], v3)

    def test_cancel(self):
        answer = self.aws.cancel_rotate_secret(SecretId=NAME)
        self.assertEqual((answer["ARN"], answer["VersionId"]), (self.arn, self.token))
        self.control("/faults", action="error", type="InternalServiceError",
                     operation="UpdateSecretVersionStage")
        self.control("/faults/release", id=self.pause)
        rotation = self.ended()
        self.assertEqual((rotation["status"], rotation["attempts"]), ("cancelled", 1))
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1, "AWSPENDING": self.token})
        shown = self.described()
        self.assertIs(shown["RotationEnabled"], False)
        self.assertNotIn("NextRotationDate", shown)
        with self.assertRaisesRegex(Exception, "not turned on"):
            self.control("/rotations/start", secret=NAME)

    def test_cancel_what_was_never_on(self):
        self.control("/secrets", name="other")
        self.refused("InvalidRequestException", self.aws.cancel_rotate_secret, SecretId="other")

    def test_reset(self):
        self.control("/reset")
        self.assertEqual(self.control("/functions/list")["functions"], [])
        self.assertEqual(self.control("/rotations")["rotations"], [])
        self.assertEqual(self.invocations(), [])


class NotImmediately(FunctionTest):
    def state_after(self, **function):
        self.register(**function)
        self.before = self.state()
        self.token = self.rotate(RotateImmediately=False,
                                 RotationRules={"AutomaticallyAfterDays": 5})
        self.rotation = self.ended()
        return self.state()

    def test_success(self):
        after = self.state_after()
        self.assertEqual((self.rotation["kind"], self.rotation["status"]), ("test", "succeeded"))
        self.assertEqual([item["event"]["Step"] for item in self.invocations()], ["testSecret"])
        self.assertEqual(after["labels"], self.before["labels"])
        self.assertEqual(after["versions"], self.before["versions"])
        shown = self.described()
        self.assertIs(shown["RotationEnabled"], True)
        self.assertIn("NextRotationDate", shown)
        self.assertNotIn("LastRotatedDate", shown)

    def test_temporary_version(self):
        self.register()
        pause = self.control("/faults", action="pause", operation="GetSecretValue")["id"]
        token = self.rotate(RotateImmediately=False)
        self.control("/faults/wait", id=pause)
        state = self.state()
        self.assertEqual(state["labels"], {"AWSCURRENT": self.v1, "AWSPENDING": token})
        self.assertEqual(state["versions"][token]["string"],
                         state["versions"][self.v1]["string"])
        self.control("/faults/release", id=pause)
        self.assertEqual(self.ended()["status"], "succeeded")

    def test_failure(self):
        after = self.state_after(FAIL_IN="testSecret")
        self.assertEqual(self.rotation["status"], "failed")
        self.assertIn("told to fail", self.rotation["reason"])
        self.assertEqual((after["labels"], after["versions"]),
                         (self.before["labels"], self.before["versions"]))

    def test_pending_before(self):
        for setting, expected in (("restored", {"AWSCURRENT": self.v1, "AWSPENDING": self.v1}),
                                  ("removed", {"AWSCURRENT": self.v1})):
            with self.subTest(setting):
                self.control("/settings", pending_after_test=setting)
                self.control("/labels", secret=NAME, labels={"AWSPENDING": self.v1})
                self.assertEqual(self.state_after()["labels"], expected)
