"""The Secrets Manager endpoint: one request from the wire to the answer."""

import json
import time
import uuid
from email.utils import formatdate

from . import model, operations, signature
from .errors import ApiError, render
from .faults import Mangled
from .httpd import Handler, Server, drop

CONTENT_TYPE = "application/x-amz-json-1.1"
TARGET_PREFIX = "secretsmanager."


class ServiceServer(Server):
    def __init__(self, emulator, **options):
        self.emulator = emulator
        super().__init__(ServiceHandler, **options)

    def handshake_failed(self):
        self.emulator.failed_handshakes += 1


class Context:
    """What an error's text needs to know of the call."""

    def __init__(self, operation, principal, resource):
        self.operation = operation
        self.principal = principal
        self.resource = resource


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


class Gone(Exception):
    """The emulator was reset while the call was held up: nothing may come of it."""


class ServiceHandler(Handler):
    def setup(self):
        super().setup()
        self.emulator = self.server.emulator
        self.record = self.emulator.journal.connect(self.server.name,
                                                    self.server.context is not None)

    def finish(self):
        self.emulator.journal.disconnect(self.record)
        super().finish()

    def arrived(self):
        self.entry = self.emulator.journal.begin(self.record)
        self.generation = self.emulator.generation

    def send_error(self, code, message=None, explain=None):
        """Not even HTTP: told in HTML by the base class, and the connection is closed."""
        self.entry.status = code
        self.emulator.journal.end(self.entry)
        super().send_error(code, message, explain)

    def exchange(self):
        entry = self.entry
        mangle = None
        try:
            answer, mangle = self._answer(entry)
            entry.status = answer.status
            entry.answered = True
            # before the last byte is out: who has the answer finds its entry ended
            if mangle is None:
                self.emulator.journal.end(entry)
                self._write(answer)
            else:
                self._write_mangled(answer, mangle)
        except Gone:
            self._cut()
        except OSError:
            entry.answered = False
            self.close_connection = True
        finally:
            if entry.ended is None:
                self.emulator.journal.end(entry)

    # what to answer

    def _answer(self, entry):
        """The answer, and the rule that spoils it, if any."""
        style = self.emulator.settings["error_style"]
        try:
            result, rule = self._call(entry)
            return Answer(200, {}, json.dumps(result).encode()), rule
        except ApiError as error:
            entry.error = error.type
            if error.type is None:      # a bare HTTP status, as a proxy would send it
                return Answer(error.status, {}, (error.message or "").encode()), None
            headers, body = render(error, getattr(error, "style", None) or style)
            return Answer(error.status, headers, body), None

    def _call(self, entry):
        emulator = self.emulator
        body = self._read(entry)
        headers = self.headers
        caller = signature.verify(emulator.keys, emulator.region, emulator.clock.now(),
                                  self.command, self.path, headers, body)
        entry.access_key_id = caller.access_key_id
        operation = self._operation()
        parameters = model.validate(operation, model.parse_body(body))
        entry.set_parameters(parameters)
        if operation not in operations.PLAYED:
            raise ApiError("UnknownOperationException", "The emulator does not play " + operation)
        context = Context(operation, caller.principal, self._resource(parameters, caller))

        rules = emulator.faults.pick(operation, parameters, caller)
        entry.faults = [rule.id for rule in rules]
        emulator.journal.route(entry, operation)
        if emulator.settings["latency"]:
            time.sleep(emulator.settings["latency"])

        try:
            self._perform(rules, "before", context)
        except Mangled as mangled:
            return {}, mangled.rule
        call = operations.Call(emulator.store, emulator.rotations, parameters, caller,
                               emulator.clock.now())
        with emulator.store.lock:
            self._check_generation()
            result = operations.PLAYED[operation](call)
            entry.effect = True
        try:
            self._perform(rules, "after", context)
        except Mangled as mangled:
            return result, mangled.rule
        return result, None

    def _read(self, entry):
        """The request's outer form; what AWS's front end would not let through ends here."""
        entry.user_agent = self.headers.get("User-Agent")
        target = self.headers.get("X-Amz-Target", "")
        if target.startswith(TARGET_PREFIX):
            # for the log, whatever becomes of the request
            self.emulator.journal.route(entry, target[len(TARGET_PREFIX):])
        body = self.read_body()
        if body is None:
            self.close_connection = True
            raise ApiError("SerializationException",
                           "the request needs a Content-Length and a body of that length", 411)
        if self.request_version != "HTTP/1.1":
            self.close_connection = True
            raise ApiError("BadRequestException", "the emulator wants HTTP/1.1", 505)
        if len(self.headers.get_all("Host") or []) != 1:
            raise ApiError("BadRequestException", "the request needs exactly one Host header")
        if self.headers.get("Transfer-Encoding") is not None:
            self.close_connection = True
            raise ApiError("BadRequestException", "the request must not be sent in chunks")
        if self.command != "POST" or self.path != "/":
            raise ApiError("UnknownOperationException", "every operation is POST /", 404)
        return body

    def _operation(self):
        targets = self.headers.get_all("X-Amz-Target") or []
        types = self.headers.get_all("Content-Type") or []
        if types != [CONTENT_TYPE]:
            raise ApiError("UnknownOperationException",
                           "the Content-Type has to be " + CONTENT_TYPE, 404)
        if len(targets) != 1 or not targets[0].startswith(TARGET_PREFIX):
            raise ApiError("UnknownOperationException", "the X-Amz-Target is missing or wrong")
        operation = targets[0][len(TARGET_PREFIX):]
        if operation not in model.OPERATIONS:
            raise ApiError("UnknownOperationException", "there is no such operation")
        return operation

    def _resource(self, parameters, caller):
        if "SecretId" not in parameters:
            return "*"
        try:
            with self.emulator.store.lock:
                return self.emulator.store.find(parameters["SecretId"], caller.account).arn
        except ApiError:
            return parameters["SecretId"]

    def _perform(self, rules, when, context):
        for rule in rules:
            if rule.when == when:
                self.emulator.faults.perform(rule, context)
                self._check_generation()

    def _check_generation(self):
        if self.generation != self.emulator.generation:
            raise Gone()

    # the answer on its way

    def _headers(self, answer):
        headers = {"x-amzn-RequestId": str(uuid.uuid4()),
                   "Date": formatdate(self.emulator.clock.now(), usegmt=True),
                   "Content-Type": CONTENT_TYPE,
                   "Content-Length": str(len(answer.body))}
        headers.update(answer.headers)
        if self.close_connection:
            headers["Connection"] = "close"
        return headers

    def _write(self, answer):
        self.write(answer.status, self._headers(answer), answer.body)

    def _cut(self, reset=False):
        self.close_connection = True
        self.entry.answered = False
        drop(self.connection, reset)

    def _write_mangled(self, answer, rule):
        getattr(self, "_mangle_" + rule.options["action"])(answer, rule.options)

    def _mangle_cut(self, _answer, options):
        self.entry.status = None
        self._cut(options.get("reset", False))

    _mangle_hang = _mangle_cut
    _mangle_pause = _mangle_cut

    def _mangle_truncate(self, answer, options):
        """Headers and the first half (or so many bytes) of the body, then the end."""
        kept = options.get("bytes", len(answer.body) // 2)
        self.write(answer.status, self._headers(answer), answer.body[:kept])
        self._cut(options.get("reset", False))

    def _mangle_wrong_length(self, answer, options):
        """A Content-Length that is off by delta; one too long leaves the client waiting."""
        headers = self._headers(answer)
        headers["Content-Length"] = str(max(0, len(answer.body) + options.get("delta", 10)))
        self.write(answer.status, headers, answer.body)
        if options.get("delta", 10) > 0:
            time.sleep(options.get("seconds", 0))
            self._cut()

    def _mangle_huge(self, answer, options):
        """The true answer with so much padding in it: right, but too much."""
        size = options.get("bytes", 10 * 1024 * 1024)
        value = json.loads(answer.body)
        value["Padding"] = "x" * size
        answer.body = json.dumps(value).encode()
        if not options.get("chunked", False):
            self._write(answer)
            return
        headers = self._headers(answer)
        del headers["Content-Length"]
        headers["Transfer-Encoding"] = "chunked"
        self.write(answer.status, headers, b"")
        for start in range(0, len(answer.body), 65536):
            chunk = answer.body[start:start + 65536]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def _mangle_drip(self, answer, options):
        """The true answer, a few bytes at a time."""
        step = max(1, options.get("bytes", 1))
        self.write(answer.status, self._headers(answer), b"")
        for start in range(0, len(answer.body), step):
            time.sleep(options.get("seconds", 0.1))
            self._check_generation()
            self.wfile.write(answer.body[start:start + step])

    def _mangle_redirect(self, answer, options):
        location = options.get("location")
        if location is None:
            scheme = "https" if self.server.context is not None else "http"
            location = "%s://%s/elsewhere" % (scheme, self.headers["Host"])
        self._write(Answer(options.get("status", 307), dict(answer.headers, Location=location),
                           b""))

    def _mangle_replace(self, answer, options):
        """Another status, body or headers, or members of the answer set and unset."""
        body = answer.body
        if "set" in options or "unset" in options:
            value = json.loads(body)
            value.update(options.get("set", {}))
            for member in options.get("unset", []):
                value.pop(member, None)
            body = json.dumps(value).encode()
        if "body" in options:
            body = options["body"].encode("utf-8", "surrogateescape")
        self._write(Answer(options.get("status", answer.status),
                           dict(answer.headers, **options.get("headers", {})), body))
