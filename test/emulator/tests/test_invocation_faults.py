"""What goes wrong with invocations, and that a rotation gets over it."""

import time

from .support import ControlError, FunctionTest
from .test_functions import state_of, until


class Kill(FunctionTest):
    def setUp(self):
        super().setUp()
        self.register()

    def fault(self, **rule):
        return self.control("/invocation-faults", **rule)["id"]

    def calls(self, operation):
        return self.control("/log", operation=operation)["count"]

    def test_every_invocation(self):
        """Each of the four killed once: the rotation ends all the same."""
        for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
            self.fault(action="kill", seconds=0, step=step)
        rotation = self.finished(self.rotate())
        self.assertEqual(rotation["attempts"], 5)
        killed = [item for item in self.invocations() if item["outcome"] == "exited"]
        self.assertEqual(len(killed), 4)
        for item in killed:
            self.assertIsNone(item["delivered"])
            self.assertIn("signal: killed", item["error_message"])

    def test_before_a_call(self):
        self.fault(action="kill", at_call="PutSecretValue")
        self.finished(self.rotate())
        # carried out all the same; the retry finds the value there
        self.assertEqual(self.calls("PutSecretValue"), 1)
        self.assertEqual(self.outcomes(), ["exited"] + ["succeeded"] * 4)

    def test_after_a_call(self):
        self.fault(action="kill", at_call="UpdateSecretVersionStage", when="after",
                   step="finishSecret")
        rotation = self.finished(self.rotate())
        self.assertEqual(rotation["attempts"], 2)
        self.assertEqual(self.calls("UpdateSecretVersionStage"), 1)

    def test_a_call_for_one_secret(self):
        self.fault(action="kill", at_call="PutSecretValue", secret="another", step="createSecret")
        self.assertEqual(self.finished(self.rotate())["attempts"], 1)
        self.fault(action="kill", at_call="PutSecretValue", secret=self.arn, step="createSecret")
        self.rotate()
        self.assertEqual(self.ended()["attempts"], 2)

    def test_later(self):
        self.register(SLEEP_IN="setSecret")
        self.fault(action="kill", seconds=0.1, step="setSecret", times=0)
        self.control("/settings", rotation_attempts=1)
        self.rotate()
        self.ended()
        last = self.invocations()[-1]
        self.assertEqual(last["outcome"], "exited")
        self.assertIsNotNone(last["delivered"])
        self.assertLess(last["seconds"], 1)

    def test_signal(self):
        self.register(SLEEP_IN="x")
        self.fault(action="kill", seconds=0.1, signal="TERM")
        self.assertIn("signal: terminated", self.invoke("x")["error_message"])

    def test_held_where_the_rule_says(self):
        self.register(SLEEP_IN="createSecret", SLEEP="0.5")
        self.fault(action="kill", at_call="PutSecretValue", when="after")
        self.rotate()
        self.assertTrue(until(lambda: self.control("/faults/list")["faults"]))
        rule = self.control("/faults/list")["faults"][0]["options"]
        self.assertEqual((rule["operation"], rule["when"]), ("PutSecretValue", "after"))
        self.control("/settings", rotation_attempts=1)
        self.assertEqual(self.ended()["status"], "failed")

    def test_call_that_never_comes(self):
        self.fault(action="kill", at_call="TagResource")
        self.assertEqual(self.invoke()["outcome"], "succeeded")
        self.assertEqual(self.control("/faults/list")["faults"], [])


class Others(FunctionTest):
    def setUp(self):
        super().setUp()
        self.register()

    def fault(self, **rule):
        return self.control("/invocation-faults", **rule)["id"]

    def idle(self):
        self.assertTrue(self.control("/invocations/wait", idle=True)["reached"])

    def test_late_but_in_time(self):
        self.fault(action="delay", seconds=0.2)
        invocation = self.invoke()
        self.assertEqual(invocation["outcome"], "succeeded")
        self.assertGreaterEqual(invocation["delivered"] - invocation["started"], 0.2)
        self.assertLess(invocation["deadline_ms"] / 1000 - invocation["time"], 6)

    def test_past_the_deadline(self):
        self.register(_options={"timeout": 0.3})
        self.fault(action="delay", step="createSecret")
        rotation = self.finished(self.rotate())
        self.assertEqual(rotation["attempts"], 2)
        self.idle()
        late = self.invocations()[0]
        self.assertEqual((late["outcome"], late["late"]["outcome"]), ("timeout", "succeeded"))
        self.assertGreaterEqual(late["delivered"] - late["started"], 0.5)
        self.assertTrue(until(lambda: state_of(late["pid"]) is None))
        self.assertNotEqual(self.invocations()[1]["pid"], late["pid"])

    def test_twice(self):
        self.fault(action="duplicate", times=0)
        rotation = self.finished(self.rotate())
        self.assertEqual(len(rotation["steps"]), 4)
        pairs = self.invocations()
        self.assertEqual(len(pairs), 8)
        for first, again in zip(pairs[::2], pairs[1::2]):
            self.assertEqual(again["duplicate_of"], first["id"])
            self.assertEqual((again["event"], again["request_id"], again["pid"]),
                             (first["event"], first["request_id"], first["pid"]))
            self.assertGreaterEqual(again["started"], first["ended"])

    def test_twice_at_a_time(self):
        self.register(SLEEP_IN="echo", SLEEP="0.5")
        self.fault(action="duplicate", concurrent=True)
        first = self.invoke()
        again = self.invocations()[1]
        self.assertNotEqual(first["pid"], again["pid"])
        self.assertLess(again["delivered"], first["ended"])
        self.assertEqual(again["outcome"], "succeeded")

    def test_second_one_afterwards(self):
        self.fault(action="duplicate", wait=False, seconds=0.3)
        first = self.invoke()
        self.assertIsNone(self.invocations()[1]["ended"])
        self.idle()
        self.assertGreaterEqual(self.invocations()[1]["delivered"] - first["ended"], 0.3)

    def test_lost(self):
        self.fault(action="lose", step="finishSecret")
        rotation = self.finished(self.rotate())
        self.assertEqual(self.outcomes(), ["succeeded"] * 3 + ["lost"] + ["succeeded"] * 4)
        self.assertEqual(rotation["attempts"], 2)
        self.assertEqual(self.invocations()[3]["response"], {"step": "finishSecret"})

    def test_not_delivered(self):
        self.fault(action="error", after=1)
        self.finished(self.rotate())
        second = self.invocations()[1]
        self.assertEqual((second["outcome"], second["error_type"], second["instance"]),
                         ("not_delivered", "TooManyRequestsException", None))

    def test_event(self):
        self.fault(action="event", set={"Step": "echo", "More": 1}, unset=["SecretId"],
                   step="setSecret")
        self.finished(self.rotate())
        event = self.invocations()[1]["event"]
        self.assertEqual(sorted(event), ["ClientRequestToken", "More", "RotationToken", "Step"])

    def test_refusals(self):
        self.fault(action="refuse", call="next", statuses=[500])
        invocation = self.invoke()
        self.assertEqual(invocation["outcome"], "init_error")
        lines = self.control("/functions/output", function="rotate")["lines"]
        self.assertEqual([line["line"] for line in lines], ["next: 500"])
        self.register()
        self.fault(action="refuse", call="response", statuses=[413])
        # this function takes no notice, asks for the next one, is refused, and ends
        self.assertEqual(self.invoke()["outcome"], "exited")
        lines = self.control("/functions/output", function="rotate", stream="stderr")["lines"]
        self.assertEqual([line["line"] for line in lines], ["answered: 413", "next: 403"])

    def test_which(self):
        self.fault(action="error", function="other", times=0)
        self.fault(action="error", step="createSecret", times=0)
        number = self.fault(action="error", after=1, times=1)
        self.assertEqual([self.invoke()["outcome"] for _ in range(3)],
                         ["succeeded", "not_delivered", "succeeded"])
        for step in ("createSecret", "create_secret"):
            self.assertEqual(self.invoke(step)["outcome"], "not_delivered")
        rules = self.control("/invocation-faults/list")["faults"]
        self.assertEqual((rules[-1]["seen"], rules[-1]["acted"]), (5, 1))
        self.control("/invocation-faults/clear", id=number)
        self.control("/invocation-faults/clear")
        self.assertEqual(self.control("/invocation-faults/list")["faults"], [])

    def test_bad_rules(self):
        for rule in ({}, {"action": "none"}, {"action": "kill"}, {"action": "lose", "seconds": 1},
                     {"action": "kill", "seconds": 1, "at_call": "X"},
                     {"action": "kill", "seconds": 1, "secret": "x"},
                     {"action": "delay", "seconds": True}, {"action": "lose", "step": "rotate"},
                     {"action": "kill", "seconds": 1, "signal": "NONE"},
                     {"action": "refuse", "call": "log"}):
            with self.subTest(rule), self.assertRaises(ControlError):
                self.fault(**rule)

    def test_wait_gives_up(self):
        begun = time.monotonic()
        self.assertFalse(self.control("/invocations/wait", timeout=0.1)["reached"])
        self.assertLess(time.monotonic() - begun, 2)
