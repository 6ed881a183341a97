"""One emulator for all tests, a boto3 client for it, and requests made by hand."""

import atexit
import http.client
import json
import os
import socket
import ssl
import sys
import time
import unittest
import uuid

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

# whichever directory unittest was told is the top, the package is found
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if ROOT not in sys.path:
    sys.path.append(ROOT)

from emulator.client import ControlError, EmulatorProcess  # noqa: E402,F401

NAME = "prod/app"

_process = None


def process():
    global _process
    if _process is None:
        _process = EmulatorProcess()
        atexit.register(_process.stop)
    return _process


def client(emulator=None, url=None, attempts=1, timeout=10, **credentials):
    emulator = emulator or process()
    options = {"aws_access_key_id": emulator.ready["access_key_id"],
               "aws_secret_access_key": emulator.ready["secret_access_key"]}
    options.update(credentials)
    return boto3.client(
        "secretsmanager", region_name=emulator.ready["region"],
        endpoint_url=url or emulator.https_url, verify=emulator.ready["ca"],
        config=Config(retries={"total_max_attempts": attempts, "mode": "standard"},
                      read_timeout=timeout, connect_timeout=timeout), **options)


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["__type"]


class Sender:
    """A request made by hand, signed by botocore, with whatever is to be wrong in it."""

    def __init__(self, emulator):
        self.emulator = emulator

    def headers(self, operation, body, method="POST", path="/", key=None, secret=None, token=None,
                region=None, service="secretsmanager", offset=0, amz_date=None,
                content_type="application/x-amz-json-1.1", extra=None, drop=(), unsigned=()):
        ready = self.emulator.ready
        host = "127.0.0.1:%d" % ready["http_port"]
        amz_date = amz_date or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + offset))
        headers = {"Host": host, "Content-Type": content_type, "X-Amz-Date": amz_date,
                   "X-Amz-Target": "secretsmanager." + operation}
        if token is not None:
            headers["X-Amz-Security-Token"] = token
        headers.update(extra or {})
        for name in drop:
            del headers[name]
        to_sign = {name: value for name, value in headers.items() if name not in unsigned}
        request = AWSRequest(method=method, url="http://" + host + path, headers=to_sign,
                             data=body)
        request.context["timestamp"] = amz_date
        signer = SigV4Auth(
            Credentials(key or ready["access_key_id"], secret or ready["secret_access_key"]),
            service, region or ready["region"])
        names = signer.signed_headers(signer.headers_to_sign(request))
        signature = signer.signature(
            signer.string_to_sign(request, signer.canonical_request(request)), request)
        headers["Authorization"] = (
            "AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=%s, Signature=%s"
            % (signer.scope(request), names, signature))
        return headers

    def send(self, operation="GetRandomPassword", parameters=None, body=None, method="POST",
             path="/", change=None, **options):
        if body is None:
            body = json.dumps(parameters or {}).encode()
        headers = self.headers(operation, body, method, path, **options)
        if change is not None:
            change(headers)
        connection = http.client.HTTPConnection("127.0.0.1", self.emulator.ready["http_port"],
                                                timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                for item in value if isinstance(value, list) else [value]:
                    connection.putheader(name, item)
            if "Content-Length" not in headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def raw(self, data, seconds=10):
        """Send bytes; return all that comes back until the emulator closes."""
        address = ("127.0.0.1", self.emulator.ready["http_port"])
        with socket.create_connection(address, seconds) as connection:
            connection.sendall(data)
            received = b""
            while True:
                more = connection.recv(65536)
                if not more:
                    return received
                received += more


class EmulatorTest(unittest.TestCase):
    """Each test begins with a fresh state that holds NAME with AWSCURRENT on self.v1."""

    def setUp(self):
        self.emulator = process()
        self.control("/reset")
        self.sender = Sender(self.emulator)
        self.v1 = str(uuid.uuid4())
        self.arn = self.control("/secrets", name=NAME, versions=[
            {"id": self.v1, "string": '{"n": 1}', "stages": ["AWSCURRENT"]}])["arn"]
        self.aws = client()
        self.addCleanup(self.aws.close)

    def control(self, path, **body):
        return self.emulator.control(path, **body)

    def state(self):
        return self.control("/state", secret=NAME)

    def labels(self):
        return self.state()["labels"]

    def counters(self):
        return self.control("/state")["counters"]

    def put(self, token=None, value='{"n": 2}', **options):
        """PutSecretValue with AWSPENDING; returns the version's id."""
        options.setdefault("VersionStages", ["AWSPENDING"])
        return self.aws.put_secret_value(
            SecretId=NAME, ClientRequestToken=token or str(uuid.uuid4()), SecretString=value,
            **options)["VersionId"]

    def refused(self, code, call, *arguments, **options):
        """The call answers the error; returns its text."""
        with self.assertRaises(ClientError) as caught:
            call(*arguments, **options)
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], code, error.get("Message"))
        return error.get("Message", "")


def tls_connect(port, ca):
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection(("127.0.0.1", port), 10) as raw:
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
            return connection.version()


class FunctionTest(EmulatorTest):
    """With a function of tests/function.py registered as "rotate"."""

    def register(self, name="rotate", _options=None, **settings):
        """Settings become FUNCTION_* of its environment."""
        env = {"FUNCTION_" + key: value for key, value in settings.items()}
        env["FUNCTION_ENDPOINT"] = "127.0.0.1:%d" % self.emulator.ready["http_port"]
        body = {"name": name, "env": env, "timeout": 5, "command": [
            sys.executable, "-I", "-S", "-B",
            os.path.join(ROOT, "emulator", "tests", "function.py")]}
        body.update(_options or {})
        self.function = self.control("/functions", **body)["arn"]
        return self.function

    def rotate(self, **options):
        """RotateSecret; returns the token."""
        options.setdefault("RotationLambdaARN", self.function)
        return self.aws.rotate_secret(SecretId=NAME, **options)["VersionId"]

    def described(self):
        """DescribeSecret's answer with what Debian's botocore would leave out."""
        return self.sender.send("DescribeSecret", {"SecretId": NAME}).json

    def ended(self, timeout=30):
        """The last rotation's record, once none is running."""
        answer = self.control("/rotations/wait", secret=NAME, timeout=timeout)
        self.assertTrue(answer["ended"])
        return answer["rotation"]

    def finished(self, token):
        """The rotation succeeded, and the labels and the value are there."""
        rotation = self.ended()
        self.assertEqual((rotation["status"], rotation["reason"]), ("succeeded", None))
        self.assertEqual(self.labels()["AWSCURRENT"], token)
        self.assertEqual(self.labels()["AWSPREVIOUS"], self.v1)
        self.assertEqual(self.state()["versions"][token]["string"], "value of " + token)
        return rotation

    def invocations(self, **select):
        return self.control("/invocations", **select)["invocations"]

    def outcomes(self):
        return [item["outcome"] for item in self.invocations()]

    def invoke(self, step="echo", **event):
        return self.control("/functions/invoke", function="rotate", event=dict(event, Step=step))

    def instances(self):
        return self.control("/functions/list")["functions"][0]["instances"]
