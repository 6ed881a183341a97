"""The control port: plain HTTP and JSON, no authentication, loopback only."""

import base64
import json
import socket
import uuid

from .control_functions import FUNCTION_PATHS, FunctionControl, only
from .errors import ApiError
from .faults import ACTIONS
from .httpd import Handler, Server
from .settings import change_settings
from .signature import AccessKey
from .store import PENDING, Secret, Version

class ControlServer(Server):
    def __init__(self, emulator, **options):
        self.emulator = emulator
        super().__init__(ControlHandler, **options)


def _value(body):
    """string, binary (base64) or json (any value, written out) of a version; empty: neither."""
    given = [name for name in ("string", "binary", "json", "empty") if name in body]
    if len(given) != 1:
        raise ValueError("give exactly one of string, binary, json, empty")
    if "string" in body:
        if not isinstance(body["string"], str):
            raise ValueError("string has to be a string")
        return body["string"], None
    if "binary" in body:
        return None, base64.b64decode(body["binary"], validate=True)
    if "json" in body:
        return json.dumps(body["json"], ensure_ascii=False), None
    return None, None


class Control(FunctionControl):
    """One method a path; each takes the request's JSON and returns the answer's."""

    def __init__(self, emulator):
        self.emulator = emulator

    @property
    def store(self):
        return self.emulator.store

    def _secret(self, name):
        """By ARN, or by name in any account."""
        for secret in self.store.secrets.values():
            if name in (secret.name, secret.arn):
                return secret
        raise KeyError("no secret " + str(name))

    def health(self, _body):
        return {"ok": True}

    def reset(self, body):
        only(body)
        self.emulator.reset()
        return {}

    def state(self, body):
        only(body, "secret")
        if "secret" in body:
            return self._secret(body["secret"]).dump()
        return {"region": self.store.region, "account": self.store.account,
                "clock_offset": self.emulator.clock.offset,
                "now": self.emulator.clock.now(),
                "settings": self.emulator.settings,
                "counters": dict(self.store.counters),
                "failed_handshakes": self.emulator.failed_handshakes,
                "secrets": {secret.name: secret.dump() for secret in self.store.secrets.values()}}

    def secrets(self, body):
        """Make a secret; replaces one of the same name."""
        only(body, "name", "account", "arn_suffix", "versions", "attributes")
        name = body["name"]
        account = body.get("account", self.store.account)
        old = self.store.by_name(name, account)
        now = self.emulator.clock.now()
        secret = Secret(name, self.store.make_arn(name, account, body.get("arn_suffix")), account,
                        now)
        self._set_attributes(secret, body.get("attributes", {}))
        for version in body.get("versions", []):
            self._add_version(secret, version)
        if old is not None:
            del self.store.secrets[old.arn]
        self.store.add(secret)
        return secret.dump()

    def secret_update(self, body):
        only(body, "secret", "attributes")
        secret = self._secret(body["secret"])
        self._set_attributes(secret, body["attributes"])
        return secret.dump()

    def secret_delete(self, body):
        only(body, "secret")
        secret = self._secret(body["secret"])
        del self.store.secrets[secret.arn]
        return {}

    @staticmethod
    def _set_attributes(secret, attributes):
        for name, value in attributes.items():
            if name not in Secret.ATTRIBUTES:
                raise ValueError("unknown attribute: " + name)
            if value is None:
                secret.attributes.pop(name, None)
            else:
                secret.attributes[name] = value

    def _add_version(self, secret, body):
        only(body, "secret", "id", "string", "binary", "json", "empty", "stages", "created",
              "origin", "rotation_token")
        string, binary = _value(body)
        version_id = body.get("id") or str(uuid.uuid4())
        origin = body.get("origin", "control")
        if origin not in ("control", "service", "api"):
            raise ValueError("origin is control, service or api")
        version = Version(version_id, string, binary,
                          body.get("created", self.emulator.clock.now()), origin,
                          body.get("rotation_token"))
        secret.versions[version_id] = version
        for stage in body.get("stages", []):
            secret.labels[stage] = version_id
        return version_id

    def versions(self, body):
        """Add or replace a version, with labels, whatever AWS's rules say."""
        secret = self._secret(body["secret"])
        version_id = self._add_version(secret, body)
        return {"id": version_id, "secret": secret.dump()}

    def version_delete(self, body):
        only(body, "secret", "id")
        secret = self._secret(body["secret"])
        del secret.versions[body["id"]]
        for stage in [name for name, holder in secret.labels.items() if holder == body["id"]]:
            del secret.labels[stage]
        return secret.dump()

    def prune(self, body):
        """Remove all versions without a label, as AWS may at any time."""
        only(body, "secret")
        secret = self._secret(body["secret"])
        return {"removed": secret.prune(self.emulator.clock.now(), everything=True)}

    def labels(self, body):
        """Set labels just as given: label -> version id, or null to take it away."""
        only(body, "secret", "labels")
        secret = self._secret(body["secret"])
        for stage, version_id in body["labels"].items():
            if version_id is None:
                secret.labels.pop(stage, None)
            elif version_id in secret.versions:
                secret.labels[stage] = version_id
            else:
                raise KeyError("no version " + str(version_id))
        return secret.dump()

    def service_pending(self, body):
        """The empty pending version that the service makes when it starts a rotation."""
        only(body, "secret", "id", "rotation_token")
        version_id = self._add_version(self._secret(body["secret"]), {
            "id": body.get("id"), "empty": True, "stages": [PENDING], "origin": "service",
            "rotation_token": body.get("rotation_token", str(uuid.uuid4()))})
        secret = self._secret(body["secret"])
        return {"id": version_id, "rotation_token": secret.versions[version_id].rotation_token,
                "secret": secret.dump()}

    def log(self, body):
        only(body, "operation", "since")
        return self.emulator.journal.dump(body.get("operation"), body.get("since", 0))

    def log_clear(self, body):
        only(body)
        self.emulator.journal.clear()
        return {}

    def log_wait(self, body):
        only(body, "operation", "count", "ended", "timeout")
        return {"reached": self.emulator.journal.wait(
            body.get("operation"), body.get("count", 1), body.get("ended", True),
            body.get("timeout", 10))}

    def faults(self, body):
        return self.emulator.faults.add(body)

    def faults_list(self, body):
        only(body)
        return {"actions": list(ACTIONS), "faults": self.emulator.faults.dump()}

    def faults_clear(self, body):
        only(body, "id")
        return {"removed": self.emulator.faults.clear(body.get("id"))}

    def faults_release(self, body):
        only(body, "id", "count")
        return {"released": self.emulator.faults.release(body["id"], body.get("count"))}

    def faults_wait(self, body):
        only(body, "id", "count", "timeout")
        return {"reached": self.emulator.faults.wait(body["id"], body.get("count", 1),
                                                     body.get("timeout", 10))}

    def clock(self, body):
        only(body, "offset")
        self.emulator.clock.offset = float(body["offset"])
        return {"now": self.emulator.clock.now()}

    def settings(self, body):
        change_settings(self.emulator.settings, body)
        return self.emulator.settings

    def keys(self, body):
        """Add or replace an access key; expires_in counts from the emulator's now."""
        only(body, "expires_in", *AccessKey.FIELDS)
        options = {name: body[name] for name in AccessKey.FIELDS if name in body}
        if "expires_in" in body:
            options["expires_at"] = self.emulator.clock.now() + body["expires_in"]
        self.emulator.add_key(AccessKey(**options))
        return {}

    def keys_delete(self, body):
        only(body, "access_key_id")
        del self.emulator.keys[body["access_key_id"]]
        return {}

    def connections_drop(self, body):
        """Close every connection to the service, idle ones too."""
        only(body)
        return {"dropped": self.emulator.drop_connections()}

    def listener(self, body):
        """One more listener: with a certificate to be refused, or plain."""
        only(body, "certificate")
        return {"port": self.emulator.listen(body["certificate"]).port}


# waiting must not stop others, and journal and faults have locks of their own
_WITHOUT_LOCK = {"log", "log_clear", "log_wait", "faults", "faults_list", "faults_clear",
                 "faults_release", "faults_wait", "listener", "connections_drop", "health",
                 } | set(FUNCTION_PATHS.values()) - {"rotations_start"}

PATHS = {
    "/health": "health", "/reset": "reset", "/state": "state", "/settings": "settings",
    "/secrets": "secrets", "/secrets/update": "secret_update", "/secrets/delete": "secret_delete",
    "/versions": "versions", "/versions/delete": "version_delete", "/versions/prune": "prune",
    "/labels": "labels", "/service-pending": "service_pending",
    "/log": "log", "/log/clear": "log_clear", "/log/wait": "log_wait",
    "/faults": "faults", "/faults/list": "faults_list", "/faults/clear": "faults_clear",
    "/faults/release": "faults_release", "/faults/wait": "faults_wait",
    "/clock": "clock", "/keys": "keys", "/keys/delete": "keys_delete",
    "/connections/drop": "connections_drop", "/listeners": "listener",
    **FUNCTION_PATHS,
}


class ControlHandler(Handler):
    def exchange(self):
        # HTTP::Tiny sends the body once the headers are acknowledged: 40 ms later, if that is delayed
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        status, answer = self._answer()
        body = json.dumps(answer).encode()
        self.write(status, {"Content-Type": "application/json",
                            "Content-Length": str(len(body))}, body)

    def _answer(self):
        raw = self.read_body() if self.headers.get("Content-Length") else b""
        if self.path not in PATHS:
            return 404, {"error": "no such path: " + self.path}
        try:
            body = json.loads(raw or b"{}")
            if not isinstance(body, dict):
                raise ValueError("the body has to be an object")
            control = Control(self.server.emulator)
            method = getattr(control, PATHS[self.path])
            if PATHS[self.path] in _WITHOUT_LOCK:
                return 200, method(body)
            with control.store.lock:
                # a copy made under the lock: json.dumps comes after
                return 200, json.loads(json.dumps(method(body)))
        except KeyError as error:
            return 404, {"error": "not found or missing: %s" % error}
        except (ValueError, TypeError, ApiError) as error:
            return 400, {"error": str(error)}
