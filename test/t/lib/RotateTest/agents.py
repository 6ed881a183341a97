# agents.py
#	  What hands out AWS credentials: the agent of ECS and EKS, the EC2 instance
#	  metadata service (version 2), STS; each speaks its own protocol over plain
#	  HTTP, and fails in every way that a test asks for.
#
#	  agents.py PORT_FILE [ADDRESS:PORT]...
#
# Without an address it listens on 127.0.0.1, at a port of its choice, and as
# "foreign" at another: what arrives there went where it must not go.  It ends
# with its standard input.  RotateTest/Agents.pm has the control port's paths.
#
# What is strict: IMDS wants its token on every GET and the PUT's header; the
# agent its Authorization, where it has one; STS the form, the version, and a
# signature that botocore's code finds good, or none with a web identity.

import hmac
import json
import os
import socket
import sys
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

sys.path[0] = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))

from botocore.auth import SigV4Auth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402
from emulator.certs import make_kind  # noqa: E402
from emulator.httpd import Handler, Server, drop, tls_context  # noqa: E402

IMDS_TOKEN_PATH = "/latest/api/token"
IMDS_ROLE_PATH = "/latest/meta-data/iam/security-credentials/"
IMDS_REGION_PATH = "/latest/meta-data/placement/region"
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

lock = threading.RLock()
state = {}
log = []


def reset():
    with lock:
        log.clear()
        state.clear()
        state.update(
            container={"token": None, "answer": None, "fault": None},
            instance={"token": "imds-token", "role": "app-role", "region": "eu-central-1", "answer": None,
                      "fault": None},
            sts={"keys": {}, "roles": {}, "web_token": None, "fault": None, "clock": 0},
        )


class Answer(Exception):
    def __init__(self, status, body, kind="application/json"):
        super().__init__(status)
        self.status = status
        self.body = body if isinstance(body, bytes) else body.encode()
        self.kind = kind


def sts_error(status, code, message):
    kind = "Sender" if status < 500 else "Receiver"
    return Answer(status, (
        '<ErrorResponse xmlns="%s">\n  <Error>\n    <Type>%s</Type>\n    <Code>%s</Code>\n'
        "    <Message>%s</Message>\n  </Error>\n  <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>\n"
        "</ErrorResponse>\n") % (STS_NAMESPACE, kind, code, escape(message)), "text/xml")


def sts_answer(action, role, session, credentials):
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    inner = "".join("      <%s>%s</%s>\n" % (name, escape(credentials[name]), name) for name in names)
    return Answer(200, (
        '<?xml version="1.0" encoding="UTF-8"?>\n<%sResponse xmlns="%s">\n  <%sResult>\n'
        "    <SourceIdentity/>\n    <AssumedRoleUser>\n      <Arn>%s/%s</Arn>\n"
        "      <AssumedRoleId>ARO123EXAMPLE123:%s</AssumedRoleId>\n    </AssumedRoleUser>\n"
        "    <Credentials>\n%s    </Credentials>\n    <PackedPolicySize>6</PackedPolicySize>\n  </%sResult>\n"
        "  <ResponseMetadata>\n    <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>\n"
        "  </ResponseMetadata>\n</%sResponse>\n")
        % (action, STS_NAMESPACE, action, escape(role), escape(session), escape(session), inner, action, action),
        "text/xml")


def container(handler):
    config = state["container"]
    if handler.command != "GET" or config["answer"] is None:
        raise Answer(404, '{"code": "NotFound", "message": "no such container"}')
    if handler.headers.get("Authorization") != config["token"]:
        raise Answer(403, '{"code": "AccessDenied", "message": "%s"}' % handler.headers.get("Authorization"))
    raise Answer(200, json.dumps(config["answer"]))


def instance(handler):
    config = state["instance"]
    path = handler.path
    if path == IMDS_TOKEN_PATH:
        if handler.command != "PUT":
            raise Answer(405, "")
        seconds = handler.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
            raise Answer(400, "")
        if handler.headers.get("X-Forwarded-For") is not None:
            raise Answer(403, "")
        raise Answer(200, config["token"], "text/plain")
    if handler.command != "GET" or handler.headers.get("X-aws-ec2-metadata-token") != config["token"]:
        raise Answer(401, "", "text/html")
    if path == IMDS_REGION_PATH:
        raise Answer(200, config["region"], "text/plain")
    if config["role"] is None or config["answer"] is None:
        raise Answer(404, "", "text/html")
    if path == IMDS_ROLE_PATH:
        raise Answer(200, config["role"], "text/plain")
    if path == IMDS_ROLE_PATH + config["role"]:
        raise Answer(200, json.dumps(config["answer"]), "text/plain")
    raise Answer(404, "", "text/html")


def check_signature(handler, body):
    authorization = handler.headers.get("Authorization", "")
    try:
        scheme, rest = authorization.split(" ", 1)
        fields = dict(part.strip().split("=", 1) for part in rest.split(","))
        key_id, date, region, service, term = fields["Credential"].split("/")
        names = fields["SignedHeaders"].split(";")
    except (ValueError, KeyError):
        raise sts_error(403, "MissingAuthenticationToken", "Request is missing Authentication Token") from None
    key = state["sts"]["keys"].get(key_id)
    if scheme != "AWS4-HMAC-SHA256" or key is None or term != "aws4_request" or service != "sts":
        raise sts_error(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
    if handler.headers.get("X-Amz-Security-Token") != key.get("token"):
        raise sts_error(403, "InvalidClientTokenId", "The security token included in the request is invalid")
    amz_date = handler.headers.get("X-Amz-Date", "")
    now = time.time() + state["sts"]["clock"]
    sent = time.mktime(time.strptime(amz_date, "%Y%m%dT%H%M%SZ")) - time.timezone
    if abs(sent - now) > 300 or date != amz_date[:8]:
        raise sts_error(403, "SignatureDoesNotMatch", "Signature expired: %s is now earlier than something" % amz_date)
    if not {"host", "content-type", "x-amz-date"} <= set(names):
        raise sts_error(403, "SignatureDoesNotMatch", "a header is not signed")
    request = AWSRequest(method="POST", url="http://" + handler.headers["Host"] + "/",
                         headers={name: handler.headers[name] for name in names}, data=body)
    request.context["timestamp"] = amz_date
    signer = SigV4Auth(Credentials(key_id, key["secret"], key.get("token")), "sts", region)
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(expected, fields["Signature"]):
        # as the real one, which explains what it would have signed
        raise sts_error(403, "SignatureDoesNotMatch", "The Canonical String should have been 'x-amz-security-token:%s'"
                        % handler.headers.get("X-Amz-Security-Token"))
    return key_id


def sts(handler, body):
    config = state["sts"]
    if handler.command != "POST" or handler.path != "/":
        raise Answer(404, "")
    if not handler.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        raise sts_error(400, "InvalidAction", "not a form")
    form = dict(urllib.parse.parse_qsl(body.decode("ascii"), strict_parsing=True))
    log[-1]["form"] = form
    if form.get("Version") != "2011-06-15":
        raise sts_error(400, "NoSuchVersion", "no such version")
    action = form.get("Action")
    role = config["roles"].get(form.get("RoleArn"))
    if not 2 <= len(form.get("RoleSessionName", "")) <= 64:
        raise sts_error(400, "ValidationError", "RoleSessionName")
    if action == "AssumeRoleWithWebIdentity":
        if handler.headers.get("Authorization") is not None:
            raise sts_error(400, "SignatureDoesNotMatch", "a web identity signs nothing")
        if role is None or form.get("WebIdentityToken") != config["web_token"]:
            raise sts_error(400, "InvalidIdentityToken",
                            "No OpenIDConnect provider found for " + form.get("WebIdentityToken", ""))
    elif action == "AssumeRole":
        key_id = check_signature(handler, body)
        log[-1]["key_id"] = key_id
        if role is None or role.get("key", key_id) != key_id or role.get("external_id") != form.get("ExternalId"):
            raise sts_error(403, "AccessDenied", "User: arn:aws:iam::123456789012:user/x is not authorized to "
                            "perform: sts:AssumeRole on resource: " + form.get("RoleArn", ""))
    else:
        raise sts_error(400, "InvalidAction", "Could not find operation")
    raise sts_answer(action, form["RoleArn"], form["RoleSessionName"], role["answer"])


def service_of(path):
    if path.startswith("/latest/"):
        return "instance"
    return "sts" if path == "/" else "container"


def step_of(path):
    return {IMDS_TOKEN_PATH: "token", IMDS_ROLE_PATH: "role", IMDS_REGION_PATH: "region"}.get(path, "credentials")


class AgentHandler(Handler):
    def exchange(self):
        body = self.read_body() if self.headers.get("Content-Length") else b""
        service = service_of(self.path)
        with lock:
            log.append({"server": self.server.name, "service": service, "method": self.command, "path": self.path,
                        "headers": {name.lower(): value for name, value in self.headers.items()},
                        "body": (body or b"").decode("latin-1")})
            fault = self.take_fault(service)
            try:
                if self.server.name == "foreign":
                    raise Answer(200, "{}")
                if service == "sts":
                    sts(self, body)
                else:
                    {"container": container, "instance": instance}[service](self)
            except Answer as given:
                answer = given
        self.give(answer, fault)

    def take_fault(self, service):
        fault = state[service]["fault"]
        if fault is None or self.server.name == "foreign":
            return None
        if "step" in fault and fault["step"] != step_of(self.path):
            return None
        if "times" in fault:
            if fault["times"] == 0:
                return None
            fault["times"] -= 1
        return dict(fault)

    def give(self, answer, fault):
        kind = fault["kind"] if fault else None
        headers = {"Content-Type": answer.kind, "Date": self.date_time_string(time.time() + state["sts"]["clock"])}
        body = answer.body
        status = answer.status
        if kind == "status":
            status, body = fault["status"], fault.get("body", "").encode()
        elif kind == "body":
            body = fault["body"].encode("latin-1")
        elif kind == "truncated":
            body = body[:len(body) // 2]
        elif kind == "huge":
            body = body[:-1] + b" " * 4000000 + body[-1:]
        elif kind == "redirect":
            status, body = fault.get("status", 302), b""
            headers["Location"] = fault["to"]
        elif kind == "slow":
            time.sleep(fault["seconds"])
        elif kind == "close":
            drop(self.connection)
            self.close_connection = True
            return
        elif kind == "not_http":
            self.wfile.write(body)
            drop(self.connection)
            self.close_connection = True
            return
        headers["Content-Length"] = str(len(body))
        if kind == "cut":
            body = body[:len(body) // 2]
        self.write(status, headers, body)
        if kind == "cut":
            drop(self.connection)
            self.close_connection = True


class ControlHandler(Handler):
    def exchange(self):
        body = self.read_body()
        request = json.loads(body or b"{}")
        with lock:
            answer = json.dumps(getattr(self, "do_" + self.path.strip("/"))(**request) or {})
        self.write(200, {"Content-Type": "application/json", "Content-Length": str(len(answer.encode()))},
                   answer.encode())

    def do_set(self, service, **changes):
        unknown = set(changes) - set(state[service])
        if unknown:
            raise ValueError(unknown)
        state[service].update(changes)

    def do_role(self, arn, **role):
        state["sts"]["roles"][arn] = role

    def do_key(self, id, secret, token=None):  # noqa: A002
        state["sts"]["keys"][id] = {"secret": secret, "token": token}

    def do_log(self, clear=True):
        answer = {"entries": list(log)}
        if clear:
            log.clear()
        return answer

    def do_tls(self, directory, kind):
        context = tls_context(*make_kind(directory, kind))
        return {"port": listen("127.0.0.1", 0, "agent", context)}

    def do_reset(self):
        reset()

    def do_close(self):
        """Nobody listens any more."""
        for server in servers:
            if server.name == "agent":
                server.shutdown()
                server.server_close()


servers = []


def listen(address, port, name, context=None):
    class Bound(Server):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def server_bind(self):
            self.server_address = (address, port)
            super().server_bind()

    made = Bound(AgentHandler if name != "control" else ControlHandler, port, context, name)
    servers.append(made.start())
    return made.port


def main():
    port_file = sys.argv[1]
    reset()
    ports = {"control": listen("127.0.0.1", 0, "control"), "foreign": listen("127.0.0.1", 0, "foreign")}
    if len(sys.argv) > 2:
        for place in sys.argv[2:]:
            address, port = place.rsplit(":", 1)
            listen(address, int(port), "agent")
    else:
        ports["agent"] = listen("127.0.0.1", 0, "agent")
    with open(port_file + ".new", "w", encoding="ascii") as out:
        json.dump(ports, out)
    os.rename(port_file + ".new", port_file)
    while os.read(0, 4096):
        pass


main()
