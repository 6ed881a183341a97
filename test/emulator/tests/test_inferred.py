"""What AWS does not say, played both ways."""

from .support import FunctionTest

STEPS = ["createSecret", "setSecret", "testSecret", "finishSecret"]


class Events(FunctionTest):
    def events(self):
        return [item["event"] for item in self.invocations()]

    def test_spelling(self):
        self.register()
        self.control("/settings", step_spelling="snake")
        self.finished(self.rotate())
        self.assertEqual([event["Step"] for event in self.events()],
                         ["create_secret", "set_secret", "test_secret", "finish_secret"])
        self.assertEqual([item["step"] for item in self.invocations()], STEPS)

    def test_steps_that_carry_the_rotation_token(self):
        self.register()
        for setting, carried in (("create_only", [True, False, False, False]),
                                 ("never", [False] * 4)):
            with self.subTest(setting):
                self.control("/invocations/clear")
                self.control("/settings", event_rotation_token=setting)
                token = self.rotate()
                self.assertEqual(self.ended()["status"], "succeeded")
                self.assertEqual(self.labels()["AWSCURRENT"], token)
                self.assertEqual(["RotationToken" in event for event in self.events()], carried)

    def test_on_retry(self):
        self.register()
        for setting, count in (("same", 1), ("new", 2)):
            with self.subTest(setting):
                self.control("/invocations/clear")
                self.control("/settings", rotation_token_on_retry=setting,
                             rotation_token="required")
                # the first attempt ends before the version has a value
                self.control("/faults", action="error", status=500, operation="PutSecretValue")
                self.rotate()
                rotation = self.ended()
                self.assertEqual((rotation["status"], rotation["attempts"]), ("succeeded", 2))
                tokens = {event["RotationToken"] for event in self.events()}
                self.assertEqual(len(tokens), count)


class Token(FunctionTest):
    def outcome(self, **settings):
        self.control("/settings", rotation_attempts=1, **settings)
        self.rotate()
        return self.ended()["status"]

    def test_left_out(self):
        for setting, expected in (("required", "failed"), ("required_for_roles", "failed"),
                                  ("optional", "succeeded"), ("ignored", "succeeded")):
            with self.subTest(setting):
                self.setUp()
                self.register(NO_ROTATION_TOKEN="yes")
                self.assertEqual(self.outcome(rotation_token=setting), expected)

    def test_required_for_roles_only(self):
        """The user that the tests are may do without."""
        self.register(SKIP_CREATE="yes")
        self.control("/settings", rotation_attempts=1, rotation_token="required_for_roles")
        token = self.rotate()
        self.ended()
        self.put(token)
        self.assertEqual(self.state()["versions"][token]["string"], '{"n": 2}')

    def test_principal(self):
        """Another principal's RotationToken is taken or not; the function's always."""
        for setting, status in (("any", 200), ("function", 400)):
            with self.subTest(setting):
                self.setUp()
                self.register(SKIP_CREATE="yes")
                self.assertEqual(self.outcome(rotation_token_principal=setting), "failed")
                rotation = self.ended()
                reply = self.sender.send("PutSecretValue", {
                    "SecretId": self.arn, "ClientRequestToken": rotation["token"],
                    "SecretString": "x", "VersionStages": ["AWSPENDING"],
                    "RotationToken": rotation["rotation_token"]})
                self.assertEqual(reply.status, status)
                self.setUp()
                self.register()
                self.assertEqual(self.outcome(rotation_token_principal=setting), "succeeded")


class Labels(FunctionTest):
    def run_with(self, function, **settings):
        self.setUp()
        self.register(**function)
        self.control("/settings", **settings)
        self.token = self.rotate()
        return self.ended()

    def test_current_before_finish(self):
        rotation = self.run_with({"EARLY": "yes"}, current_before_finish="accepted")
        self.assertEqual((rotation["status"], rotation["attempts"]), ("succeeded", 1))
        rotation = self.run_with({"EARLY": "yes"}, current_before_finish="strict")
        self.assertEqual((rotation["status"], rotation["attempts"]), ("failed", 1))
        self.assertIn("before finishSecret", rotation["reason"])
        self.assertEqual(self.labels()["AWSCURRENT"], self.token)
        rotation = self.run_with({}, current_before_finish="strict")
        self.assertEqual(rotation["status"], "succeeded")

    def test_strict_about_finish_retried(self):
        """AWSCURRENT moved in a finishSecret whose answer was lost: that is no offence."""
        self.register()
        self.control("/settings", current_before_finish="strict")
        self.control("/invocation-faults", action="lose", step="finishSecret")
        rotation = self.finished(self.rotate())
        self.assertEqual(rotation["attempts"], 2)

    def test_pending_gone(self):
        for function in ({"REMOVE": "yes"}, {"EARLY": "and remove"}):
            with self.subTest(function):
                rotation = self.run_with(function, pending_gone_at_end="accepted")
                self.assertEqual(rotation["status"], "succeeded")
                self.assertEqual(self.labels(), {"AWSCURRENT": self.token,
                                                 "AWSPREVIOUS": self.v1})
                rotation = self.run_with(function, pending_gone_at_end="strict")
                self.assertEqual((rotation["status"], rotation["reason"]),
                                 ("failed", "AWSPENDING was removed"))
        self.assertEqual(self.run_with({}, pending_gone_at_end="strict")["status"], "succeeded")
