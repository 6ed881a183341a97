"""The control port's paths for functions, invocations and rotations."""

import signal
import uuid

from .invocation_faults import ACTIONS


def only(body, *names):
    for name in body:
        if name not in names:
            raise ValueError("unknown member: " + name)


class FunctionControl:
    """A part of control.Control."""

    def functions(self, body):
        return self.emulator.functions.register(body)

    def functions_list(self, body):
        only(body)
        return {"functions": self.emulator.functions.dump()}

    def functions_delete(self, body):
        only(body, "function")
        self.emulator.functions.delete(body["function"])
        return {}

    def functions_kill(self, body):
        only(body, "function", "signal")
        number = signal.Signals["SIG" + body.get("signal", "KILL")]
        return {"killed": self.emulator.functions.kill(body["function"], number)}

    def functions_output(self, body):
        only(body, "function", "instance", "stream")
        return {"lines": self.emulator.functions.output(
            body["function"], body.get("instance"), body.get("stream"))}

    def functions_invoke(self, body):
        """One invocation with any event; answers when it has ended."""
        only(body, "function", "event")
        functions = self.emulator.functions
        return functions.invoke(functions.find(body["function"]), body["event"]).dump()

    def invocations(self, body):
        only(body, "function", "step", "rotation", "since")
        since = body.pop("since", 0)
        found = self.emulator.functions.select(**body)
        return {"invocations": [item for item in found if item["id"] > since]}

    def invocations_clear(self, body):
        only(body)
        self.emulator.functions.clear()
        return {}

    def invocations_wait(self, body):
        """Until so many have been delivered (or ended); with idle, until none is under way."""
        only(body, "count", "ended", "idle", "timeout")
        count, ended = body.get("count", 0 if body.get("idle") else 1), body.get("ended", True)

        def there(invocations):
            if body.get("idle") and any(
                    item.ended is None or (item.late is not None and item.late["outcome"] is None)
                    for item in invocations):
                return False
            return len([item for item in invocations if item.ended or not ended]) >= count
        return {"reached": self.emulator.functions.wait(there, body.get("timeout", 10))}

    def invocation_faults(self, body):
        return self.emulator.functions.faults.add(body)

    def invocation_faults_list(self, body):
        only(body)
        return {"actions": list(ACTIONS), "faults": self.emulator.functions.faults.dump()}

    def invocation_faults_clear(self, body):
        only(body, "id")
        return {"removed": self.emulator.functions.faults.clear(body.get("id"))}

    def rotations(self, body):
        only(body, "secret", "since")
        return {"rotations": self.emulator.rotations.select(body.get("secret"),
                                                            body.get("since", 0))}

    def rotations_start(self, body):
        """As the schedule would."""
        only(body, "secret", "token")
        secret = self._secret(body["secret"])
        if not secret.attributes.get("rotation_enabled"):
            raise ValueError("rotation is not turned on")
        rotations = self.emulator.rotations
        rotations.check_complete(secret)
        return rotations.start(
            secret, body.get("token") or str(uuid.uuid4()), "rotation", "schedule",
            rotations.function(secret.attributes.get("rotation_lambda_arn"))).dump()

    def rotations_wait(self, body):
        """Until no rotation of the secret, or of any, is running; and the last one's record."""
        only(body, "secret", "timeout")
        rotations = self.emulator.rotations
        ended = rotations.wait(body.get("secret"), body.get("timeout", 30))
        found = rotations.select(body.get("secret"))
        return {"ended": ended, "rotation": found[-1] if found else None}


FUNCTION_PATHS = {
    "/functions": "functions", "/functions/list": "functions_list",
    "/functions/delete": "functions_delete", "/functions/kill": "functions_kill",
    "/functions/output": "functions_output", "/functions/invoke": "functions_invoke",
    "/invocations": "invocations", "/invocations/clear": "invocations_clear",
    "/invocations/wait": "invocations_wait",
    "/invocation-faults": "invocation_faults", "/invocation-faults/list": "invocation_faults_list",
    "/invocation-faults/clear": "invocation_faults_clear",
    "/rotations": "rotations", "/rotations/start": "rotations_start",
    "/rotations/wait": "rotations_wait",
}
