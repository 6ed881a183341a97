"""The Lambda runtime API, version 2018-06-01, for one sandbox.

What Lambda answers to a runtime that breaks the rules is from its own runtime
interface emulator: 403 InvalidStateTransition, 400 InvalidRequestID, 413.
"""

import json
import re

from .httpd import Handler, Server

PREFIX = "/2018-06-01/runtime/"
MAX_RESPONSE = 6 * 1024 * 1024

_ANSWER = re.compile(r"invocation/([^/]+)/(response|error)")


class RuntimeServer(Server):
    def __init__(self, sandbox):
        self.sandbox = sandbox
        super().__init__(RuntimeHandler, name="runtime")


class Refused(Exception):
    def __init__(self, status, type_, message):
        super().__init__(message)
        self.status = status
        self.type = type_


def invalid_state(message):
    return Refused(403, "InvalidStateTransition", message)


class RuntimeHandler(Handler):
    max_body = 4 * MAX_RESPONSE

    def exchange(self):
        self.sandbox = self.server.sandbox
        try:
            status, headers, body = self._route()
        except Refused as error:
            status, headers = error.status, {"Content-Type": "application/json"}
            body = json.dumps({"errorType": error.type, "errorMessage": str(error)}).encode()
        if status is None:          # the sandbox is gone, and so should its connection be
            self.close_connection = True
            return
        self.write(status, dict(headers, **{"Content-Length": str(len(body))}), body)

    def _route(self):
        path = self.path[len(PREFIX):] if self.path.startswith(PREFIX) else ""
        if self.command == "GET" and path == "invocation/next":
            self._fault("next")
            return self._next()
        if self.command != "POST":
            raise Refused(404, "NotFound", "there is no %s %s" % (self.command, self.path))
        body = self.read_body()
        if body is None:
            self.close_connection = True
            raise Refused(411, "LengthRequired", "the emulator wants a Content-Length")
        error_type = self.headers.get("Lambda-Runtime-Function-Error-Type")
        if path == "init/error":
            self._fault("init_error")
            self.sandbox.init_failed(body, error_type)
            return self._accepted()
        matched = _ANSWER.fullmatch(path)
        if not matched:
            raise Refused(404, "NotFound", "there is no POST " + self.path)
        self._fault(matched.group(2))
        if len(body) > MAX_RESPONSE:
            raise Refused(413, "RequestEntityTooLarge", "Exceeded maximum allowed payload size "
                          "(%d bytes)." % MAX_RESPONSE)
        self.sandbox.answered(matched.group(1), matched.group(2) == "error", body, error_type)
        return self._accepted()

    def _fault(self, call):
        status = self.sandbox.refusal(call)
        if status is not None:
            raise Refused(status, "Emulated", "refused by a fault")

    @staticmethod
    def _accepted():
        return 202, {"Content-Type": "application/json"}, b'{"status":"OK"}\n'

    def _next(self):
        delivery = self.sandbox.next()
        if delivery is None:
            return None, {}, b""
        return 200, {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": delivery.request_id,
            "Lambda-Runtime-Deadline-Ms": str(delivery.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self.sandbox.function.arn,
            "Lambda-Runtime-Trace-Id": delivery.trace_id,
        }, delivery.body
