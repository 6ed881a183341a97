"""Rotations that the service runs: versions and labels around a function's four steps.

One thread a rotation.  The store's lock is held for each look at the labels,
never during an invocation.
"""

import threading
import time
import uuid

from .errors import ApiError, invalid_request, resource_not_found
from .invocation_faults import STEPS, snake
from .schedule import set_next_date
from .store import CURRENT, PENDING, Version

INCOMPLETE = "A previous rotation isn't complete. That rotation will be reattempted."


class Ended(Exception):
    """The rotation is over, and not to be tried again."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class Rotation:
    def __init__(self, number, secret, token, function, kind, trigger):
        self.id = number
        self.secret = secret
        self.token = token
        self.function = function
        self.kind = kind            # rotation, test
        self.trigger = trigger      # api, schedule, reattempt
        self.rotation_token = None
        self.status = "running"     # succeeded, failed, abandoned, cancelled
        self.reason = None
        self.steps = []             # of every attempt
        self.attempts = 0
        self.started = time.monotonic()
        self.ended = None
        self.cancelled = threading.Event()
        self.finish_sent = False

    def dump(self):
        return {"id": self.id, "secret": self.secret.arn, "name": self.secret.name,
                "token": self.token, "function": self.function.arn, "kind": self.kind,
                "trigger": self.trigger, "status": self.status, "reason": self.reason,
                "attempts": self.attempts, "steps": [dict(step) for step in self.steps],
                "started": self.started, "ended": self.ended,
                "rotation_token": self.rotation_token}


class Rotations:
    def __init__(self, emulator):
        self._emulator = emulator
        self._changed = threading.Condition()
        self._rotations = []
        self._number = 0

    @property
    def _settings(self):
        return self._emulator.settings

    # asked for by RotateSecret, CancelRotateSecret and the control port; under the store's lock

    def function(self, arn):
        try:
            return self._emulator.functions.find(arn)
        except KeyError:
            raise ApiError("AccessDeniedException",
                           "Secrets Manager cannot invoke the specified Lambda function. Ensure "
                           "that the function policy grants access to the principal "
                           "secretsmanager.amazonaws.com.") from None

    def running(self, secret):
        with self._changed:
            return next((item for item in self._rotations
                         if item.secret is secret and item.status == "running"), None)

    def check_complete(self, secret):
        """Raises where the rotation before is not complete, and has it tried again."""
        pending = secret.labels.get(PENDING)
        rotation = self.running(secret)
        if rotation is None and pending in (None, secret.labels.get(CURRENT)):
            return
        function = secret.attributes.get("rotation_lambda_arn")
        if rotation is None and function is not None:
            self.start(secret, pending, "rotation", "reattempt", self.function(function))
        raise invalid_request(INCOMPLETE)

    def start(self, secret, token, kind, trigger, function):
        """Make the pending version, and begin; the rest goes on in a thread."""
        current = secret.versions.get(secret.labels.get(CURRENT))
        if current is None:
            raise resource_not_found("secret value for staging label: " + CURRENT)
        with self._changed:
            self._number += 1
            rotation = Rotation(self._number, secret, token, function, kind, trigger)
        before = secret.labels.get(PENDING)
        version = secret.versions.get(token)
        if version is None:
            version = Version(token, created=self._emulator.clock.now(), origin="service")
            if kind == "test":
                version.string, version.binary = current.string, current.binary
            secret.versions[token] = version
        secret.labels[PENDING] = token
        secret.rotating = token
        version.principal = function.principal
        self._set_rotation_token(rotation, version,
                                 self._settings["rotation_token_on_retry"] == "new")
        with self._changed:
            self._rotations.append(rotation)
            self._changed.notify_all()
        threading.Thread(target=self._run, args=(rotation, before), daemon=True).start()
        return rotation

    def cancel(self, secret):
        """The invocation that runs ends by itself; nothing follows, labels stay as they are."""
        rotation = self.running(secret)
        if rotation is not None:
            rotation.cancelled.set()

    def reset(self):
        with self._changed:
            rotations, self._rotations = self._rotations, []
            self._changed.notify_all()
        for rotation in rotations:
            rotation.cancelled.set()

    # the control port's

    def select(self, name=None, since=0):
        with self._changed:
            return [item.dump() for item in self._rotations
                    if item.id > since and name in (None, item.secret.name, item.secret.arn)]

    def wait(self, name, timeout):
        """Until none runs, of this secret or of any."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not [item for item in self.select(name) if item["status"] == "running"],
                timeout)

    # a rotation, in its thread

    def _run(self, rotation, before):
        status, reason = "failed", None
        try:
            while True:
                rotation.attempts += 1
                reason = self._attempt(rotation)
                if reason is None:
                    status = "succeeded"
                    break
                if rotation.attempts >= self._settings["rotation_attempts"]:
                    break
                rotation.cancelled.wait(self._settings["rotation_backoff"] * rotation.attempts)
                self._check(rotation)
                self._renew_rotation_token(rotation)
        except Ended as end:
            status, reason = end.status, str(end)
        with self._emulator.store.lock:
            self._close(rotation, status, before)
        with self._changed:
            rotation.status, rotation.reason = status, reason
            rotation.ended = time.monotonic()
            self._changed.notify_all()

    def _attempt(self, rotation):
        """All steps once; None, or why it failed."""
        for step in (("testSecret",) if rotation.kind == "test" else STEPS):
            self._check(rotation)
            if step == "finishSecret":
                rotation.finish_sent = True
            failure = self._step(rotation, step)
            if failure is not None:
                return failure
        self._check(rotation)
        if rotation.kind == "rotation":
            return self._check_end(rotation)
        return None

    def _step(self, rotation, step):
        # a bare invocation of the function through the control port has no such context
        invocation = self._emulator.functions.invoke(
            rotation.function, self._event(rotation, step),
            {"rotation": rotation.id, "attempt": rotation.attempts, "step": step})
        rotation.steps.append({"attempt": rotation.attempts, "step": step,
                               "invocation": invocation.id, "outcome": invocation.outcome})
        if invocation.outcome != "succeeded":
            return "%s: %s: %s" % (step, invocation.error_type, invocation.error_message)
        version = rotation.secret.versions.get(rotation.token)
        if step == "createSecret" and (version is None or version.empty):
            return ("Pending secret version %s for Secret %s was not created by Lambda %s. Remove "
                    "the AWSPENDING staging label and restart rotation."
                    % (rotation.token, rotation.secret.arn, rotation.function.arn))
        return None

    def _event(self, rotation, step):
        spelled = snake(step) if self._settings["step_spelling"] == "snake" else step
        event = {"Step": spelled, "SecretId": rotation.secret.arn,
                 "ClientRequestToken": rotation.token}
        carried = self._settings["event_rotation_token"]
        if carried == "always" or (carried == "create_only" and step == "createSecret"):
            event["RotationToken"] = rotation.rotation_token
        return event

    def _check(self, rotation):
        """Whether the rotation may go on; raises Ended where not."""
        if rotation.cancelled.is_set():
            raise Ended("cancelled", "the rotation was cancelled")
        with self._emulator.store.lock:
            labels = dict(rotation.secret.labels)
        pending, current = labels.get(PENDING), labels.get(CURRENT)
        if pending != rotation.token and current != rotation.token:
            raise Ended("abandoned", "another version was put during the rotation")
        if rotation.kind == "test" or rotation.finish_sent:
            return
        if current == rotation.token and self._settings["current_before_finish"] == "strict":
            raise Ended("failed", "AWSCURRENT moved before finishSecret")

    def _check_end(self, rotation):
        """AWSPENDING on AWSCURRENT's version or on none: the rotation is finished."""
        with self._emulator.store.lock:
            labels = dict(rotation.secret.labels)
        pending = labels.get(PENDING)
        if labels.get(CURRENT) != rotation.token:
            return "AWSCURRENT is not on the new version after finishSecret"
        if pending is None and self._settings["pending_gone_at_end"] == "strict":
            raise Ended("failed", "AWSPENDING was removed")
        if pending not in (None, rotation.token):
            return "AWSPENDING is not on AWSCURRENT's version after finishSecret"
        return None

    def _close(self, rotation, status, before):
        secret, now = rotation.secret, self._emulator.clock.now()
        secret.rotating = None
        if rotation.kind == "test":
            self._remove_test_version(secret, rotation.token, before)
        elif status == "succeeded":
            secret.attributes["last_rotated"] = now
            set_next_date(secret, now)

    def _remove_test_version(self, secret, token, before):
        if secret.labels.get(PENDING) == token:
            del secret.labels[PENDING]
            if (before in secret.versions
                    and self._settings["pending_after_test"] == "restored"):
                secret.labels[PENDING] = before
        if token not in secret.labels.values():
            secret.versions.pop(token, None)

    # RotationToken

    def _set_rotation_token(self, rotation, version, renew):
        if self._settings["event_rotation_token"] == "never":
            version.rotation_token = None
        elif renew or version.rotation_token is None:
            version.rotation_token = str(uuid.uuid4())
        rotation.rotation_token = version.rotation_token

    def _renew_rotation_token(self, rotation):
        version = rotation.secret.versions.get(rotation.token)
        if version is not None:
            with self._emulator.store.lock:
                self._set_rotation_token(rotation, version,
                                         self._settings["rotation_token_on_retry"] == "new")
