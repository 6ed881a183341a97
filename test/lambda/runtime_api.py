#!/usr/bin/python3
"""A Lambda runtime API for the tests of the function, with a control port's worth of faults.

    runtime_api.py --port-file FILE

writes {"port": N} to FILE and serves until its standard input ends.  The
runtime API is at the paths that AWS documents, for one process at a time; the
test talks to the same port:

POST /invoke      {"event": text, "deadline_ms": from now (30000), "trace_id", "wait": seconds (60)}
                  waits for the answer: {"kind": "response", "error" or "none", "body": text,
                  "headers": {lower case: value}, "request_id", "seconds"}
POST /fault       {"path": "next", "response", "error" or "init/error", "status", "times" (1), "drop": true,
                  "headers": {"name": null}}: answers with the status; drop: closes the connection instead;
                  a header of next that is null is left out
POST /state       {"init_errors": [...], "waiting": someone has asked for the next invocation, "next": how often}
POST /many        {"events": [text...], "count": N, "deadline_ms"}: hands out N invocations, the events in turn;
                  {"responses", "errors", "seconds"}
"""

import argparse
import collections
import http.server
import json
import os
import re
import socketserver
import sys
import threading
import time
import uuid

BASE = "/2018-06-01/runtime/"


class Api:
    def __init__(self):
        self.changed = threading.Condition()
        self.queue = collections.deque()
        self.open = {}
        self.faults = []
        self.init_errors = []
        self.waiting = 0
        self.next_calls = 0

    def invoke(self, event, deadline_ms=30000, trace_id=None):
        invocation = {"event": event, "deadline_ms": deadline_ms, "trace_id": trace_id,
                      "request_id": str(uuid.uuid4()), "kind": None}
        with self.changed:
            self.queue.append(invocation)
            self.changed.notify_all()
        return invocation

    def wait(self, invocation, seconds):
        with self.changed:
            self.changed.wait_for(lambda: invocation["kind"] is not None, seconds)
            if invocation["kind"] is None and invocation in self.queue:
                self.queue.remove(invocation)
        return invocation

    def take(self):
        with self.changed:
            self.waiting += 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.queue)
            self.waiting -= 1
            invocation = self.queue.popleft()
            invocation["started"] = time.monotonic()
            self.open[invocation["request_id"]] = invocation
            return invocation

    def answer(self, request_id, kind, body, headers):
        with self.changed:
            invocation = self.open.pop(request_id, None)
            if invocation is None:
                return False
            invocation.update(kind=kind, body=body, headers=headers,
                              seconds=time.monotonic() - invocation["started"])
            self.changed.notify_all()
            return True

    def fault(self, path):
        with self.changed:
            for fault in self.faults:
                if fault["path"] == path and fault["times"] > 0:
                    fault["times"] -= 1
                    return fault
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    api = None

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def reply_json(self, value, status=200):
        self.reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def meet_fault(self, path):
        """The fault's other headers, or None where the request has been dealt with."""
        fault = self.api.fault(path)
        if fault is None:
            return {}
        if fault.get("drop"):
            self.close_connection = True
            return None
        if "status" in fault:
            self.reply_json({"errorType": "Fault", "errorMessage": "as the test wanted"}, fault["status"])
            return None
        return fault.get("headers", {})

    def do_GET(self):
        if self.path != BASE + "invocation/next":
            self.reply(404)
            return
        self.api.next_calls += 1
        other = self.meet_fault("next")
        if other is None:
            return
        invocation = self.api.take()
        headers = {"Lambda-Runtime-Aws-Request-Id": invocation["request_id"],
                   "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + invocation["deadline_ms"]),
                   "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:rotate"}
        if invocation["trace_id"]:
            headers["Lambda-Runtime-Trace-Id"] = invocation["trace_id"]
        headers.update(other)
        self.reply(200, invocation["event"].encode("utf-8", "surrogateescape"),
                   {name: value for name, value in headers.items() if value is not None})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith(BASE):
            self.runtime_post(self.path[len(BASE):], body.decode())
        else:
            getattr(self, "control_" + self.path.strip("/"))(json.loads(body or b"{}"))

    def runtime_post(self, path, body):
        found = re.fullmatch(r"invocation/([^/]+)/(response|error)", path)
        if self.meet_fault(found.group(2) if found else path) is None:
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        if path == "init/error":
            self.api.init_errors.append({"body": body, "headers": headers})
        elif not found or not self.api.answer(found.group(1), found.group(2), body, headers):
            self.reply_json({"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"}, 400)
            return
        self.reply_json({"status": "OK"}, 202)

    def control_invoke(self, order):
        wait = order.pop("wait", 60)
        done = self.api.wait(self.api.invoke(**order), wait)
        self.reply_json({"kind": done["kind"] or "none", "body": done.get("body"), "seconds": done.get("seconds"),
                         "headers": done.get("headers"), "request_id": done["request_id"]})

    def control_fault(self, order):
        self.api.faults.append({"times": 1, **order})
        self.reply_json({})

    def control_state(self, _):
        self.reply_json({"init_errors": self.api.init_errors, "waiting": self.api.waiting,
                         "next": self.api.next_calls})

    def control_many(self, order):
        counts = {"response": 0, "error": 0, None: 0}
        begun = time.monotonic()
        for i in range(order["count"]):
            event = order["events"][i % len(order["events"])]
            trace = "Root=1-5759e988-%024x;Parent=53995c3f42cd8ad8;Sampled=1" % i
            done = self.api.wait(self.api.invoke(event, order.get("deadline_ms", 30000), trace), 60)
            counts[done["kind"]] += 1
            if done["kind"] is None:
                break
        self.reply_json({"responses": counts["response"], "errors": counts["error"],
                         "seconds": time.monotonic() - begun})


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that was killed while it waited is what the tests are about."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port-file", required=True)
    options = parser.parse_args()
    Handler.api = Api()
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(options.port_file + ".new", "w", encoding="ascii") as out:
        json.dump({"port": server.server_address[1]}, out)
    os.rename(options.port_file + ".new", options.port_file)
    sys.stdin.read()


if __name__ == "__main__":
    main()
