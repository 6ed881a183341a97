"""A rotation function for the tests, on the custom runtime.

Only the standard library, which starts ten times as fast as botocore; hence a
signer of its own.  FUNCTION_* in the environment make it misbehave.
"""

import hashlib
import hmac
import http.client
import json
import os
import sys
import time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
PREFIX = "/2018-06-01/runtime/"


def setting(name, default=None):
    return os.environ.get("FUNCTION_" + name, default)


def api(method, path, body=None, headers=()):
    connection = http.client.HTTPConnection(API)
    connection.request(method, PREFIX + path, body, dict(headers))
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response, data


def error_body(type_, message):
    return json.dumps({"errorType": type_, "errorMessage": message, "stackTrace": []})


class ServiceError(Exception):
    """The type that Secrets Manager answered."""


def authorization(headers, body):
    """SigV4 over all of the headers."""
    names = ";".join(sorted(headers))
    digest = hashlib.sha256(body).hexdigest()
    canonical = "POST\n/\n\n%s\n%s\n%s" % (
        "".join("%s:%s\n" % (name, headers[name]) for name in sorted(headers)), names, digest)
    date = headers["x-amz-date"]
    scope = [date[:8], os.environ["AWS_REGION"], "secretsmanager", "aws4_request"]
    key = b"AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    text = "AWS4-HMAC-SHA256\n%s\n%s\n%s" % (
        date, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest())
    return "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        os.environ["AWS_ACCESS_KEY_ID"], "/".join(scope), names,
        hmac.new(key, text.encode(), "sha256").hexdigest())


def call(operation, **parameters):
    """One call of Secrets Manager."""
    host = os.environ["FUNCTION_ENDPOINT"]
    body = json.dumps(parameters).encode()
    headers = {"host": host, "content-type": "application/x-amz-json-1.1",
               "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
               "x-amz-security-token": os.environ["AWS_SESSION_TOKEN"],
               "x-amz-target": "secretsmanager." + operation}
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/", body,
                       dict(headers, authorization=authorization(headers, body)))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    if response.status != 200:
        raise ServiceError(answer["__type"])
    return answer


class Rotation:
    def __init__(self, event):
        self.event = event
        self.secret = event["SecretId"]
        self.token = event["ClientRequestToken"]

    def create_secret(self):
        if setting("SKIP_CREATE"):
            return
        try:
            call("GetSecretValue", SecretId=self.secret, VersionId=self.token,
                 VersionStage="AWSPENDING")
        except ServiceError:
            more = {}
            if "RotationToken" in self.event and not setting("NO_ROTATION_TOKEN"):
                more["RotationToken"] = self.event["RotationToken"]
            call("PutSecretValue", SecretId=self.secret, ClientRequestToken=self.token,
                 SecretString="value of " + self.token, VersionStages=["AWSPENDING"], **more)

    def set_secret(self):
        if setting("EARLY"):
            self.move()
        if setting("EARLY") == "and remove":
            self.remove()

    def test_secret(self):
        call("GetSecretValue", SecretId=self.secret, VersionId=self.token)

    def finish_secret(self):
        if not setting("SKIP_FINISH"):
            self.move()
        if setting("REMOVE"):
            self.remove()

    def move(self):
        stages = call("DescribeSecret", SecretId=self.secret)["VersionIdsToStages"]
        current = next(item for item in stages if "AWSCURRENT" in stages[item])
        if current != self.token:
            call("UpdateSecretVersionStage", SecretId=self.secret, VersionStage="AWSCURRENT",
                 MoveToVersionId=self.token, RemoveFromVersionId=current)

    def remove(self):
        call("UpdateSecretVersionStage", SecretId=self.secret, VersionStage="AWSPENDING",
             RemoveFromVersionId=self.token)


STEPS = {"createSecret": Rotation.create_secret, "setSecret": Rotation.set_secret,
         "testSecret": Rotation.test_secret, "finishSecret": Rotation.finish_secret,
         "create_secret": Rotation.create_secret, "set_secret": Rotation.set_secret,
         "test_secret": Rotation.test_secret, "finish_secret": Rotation.finish_secret}


def handle(event):
    step = event["Step"]
    if setting("PROBE"):
        return {"env": dict(os.environ), "cwd": os.getcwd(), "uid": os.getuid()}
    if setting("SLEEP_IN") == step:
        time.sleep(float(setting("SLEEP", "60")))
    if setting("EXIT_IN") == step:
        sys.exit(7)
    if setting("FAIL_IN") == step:
        raise ValueError("told to fail")
    if step != "echo":
        STEPS[step](Rotation(event))
    return {"step": step}


def main():
    if setting("INIT") == "error":
        api("POST", "init/error", error_body("Function.NoLogin", "no login"),
            {"Lambda-Runtime-Function-Error-Type": "Function.NoLogin"})
        sys.exit(1)
    if setting("INIT") == "exit":
        sys.exit(3)
    if setting("INIT") == "hang":
        time.sleep(60)
    count = 0
    while True:
        response, data = api("GET", "invocation/next")
        if response.status != 200:
            print("next: %d" % response.status, file=sys.stderr, flush=True)
            sys.exit(1)
        count += 1
        request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
        event = json.loads(data)
        print(json.dumps({"step": event.get("Step"), "count": count,
                          "deadline": response.headers["Lambda-Runtime-Deadline-Ms"],
                          "trace": response.headers["Lambda-Runtime-Trace-Id"],
                          "arn": response.headers["Lambda-Runtime-Invoked-Function-Arn"]}),
              flush=True)
        path = "invocation/%s/" % request_id
        try:
            answer = handle(event)
        except Exception as error:  # whatever it is becomes the invocation's error
            api("POST", path + "error", error_body(type(error).__name__, str(error)),
                {"Lambda-Runtime-Function-Error-Type": "Function." + type(error).__name__})
        else:
            response, _ = api("POST", path + "response", json.dumps(answer))
            print("answered: %d" % response.status, file=sys.stderr, flush=True)
        if setting("EXIT_AFTER"):
            sys.exit(0)


main()
