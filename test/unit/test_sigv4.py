#!/usr/bin/python3
"""src/core/sigv4 signs as botocore does.

Covers: core/sigv4.
"""

import datetime
import json
import os
import random
import subprocess
import sys

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REQUESTS = 10000
SEED = 20150830
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PRINTABLE = "".join(chr(c) for c in range(0x21, 0x7F))
HOST = LETTERS.lower() + "0123456789-."
# of a header's name: RFC 9110's token
TOKEN = LETTERS + "0123456789!#$%&'*+-.^_`|~"

passed = failed = 0


def check(name, got, expected):
    global passed, failed
    if got == expected:
        passed += 1
    else:
        failed += 1
        print(f"not ok: {name}\n   got      {got}\n   expected {expected}")


def text(rng, alphabet, low, high):
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def header_value(rng):
    """Words with runs of blanks and tabs between and around them."""
    return "".join(
        rng.choice(["", " ", "  ", "\t", " \t "]) + text(rng, PRINTABLE, 0, 12) for _ in range(rng.randint(0, 5))
    ) + rng.choice(["", " ", "\t"])


def length_of_body(rng):
    """The lengths at which SHA-256 pads otherwise are likely, a whole secret is rare: it takes long."""
    return rng.choice([0, 1, 55, 56, 63, 64, 65, rng.randint(0, 2000)]) if rng.random() < 0.995 else 65536


def random_request(rng):
    # a list: the order of a set is another one in every run
    names = []
    while len(names) < rng.randint(0, 12):
        name = rng.choice(["X-Amz-", "x-amz-", "Content-", ""]) + text(rng, TOKEN, 1, 16)
        if name.lower() not in {n.lower() for n in names} | {"host", "x-amz-date", "expect"}:
            names.append(name)
    return {
        "access": text(rng, LETTERS, 16, 128),
        "secret": text(rng, PRINTABLE, 1, 128),
        "token": text(rng, PRINTABLE, 1, 2000) if rng.random() < 0.5 else None,
        "region": rng.choice(["us-east-1", "cn-north-1", "us-gov-west-1", text(rng, "abc-1", 1, 40)]),
        "service": rng.choice(["secretsmanager", "sts", text(rng, "abc-1", 1, 20)]),
        "host": rng.choice(["secretsmanager.us-east-1.amazonaws.com", "127.0.0.1:8443", "[::1]:1", text(rng, HOST, 1, 60)]),
        "now": rng.choice([rng.randint(0, 4102444800), rng.randint(-(10**9), 253402300799)]),
        "body": rng.choice([rng.randbytes(length_of_body(rng)), json.dumps({text(rng, PRINTABLE, 1, 9): "é\u2028\0"}).encode()]),
        "headers": [(name, header_value(rng)) for name in names],
    }


def botocore_signature(case):
    now = datetime.datetime.fromtimestamp(case["now"], datetime.timezone.utc)
    date = now.strftime("%Y%m%dT%H%M%SZ")
    signer = SigV4Auth(Credentials(case["access"], case["secret"], case["token"]), case["service"], case["region"])
    request = AWSRequest(method="POST", url=f"https://{case['host']}/", data=case["body"])
    for name, value in case["headers"]:
        request.headers[name] = value
    request.headers["Host"] = case["host"]
    request.headers["X-Amz-Date"] = date
    if case["token"] is not None:
        request.headers["X-Amz-Security-Token"] = case["token"]
    request.context["timestamp"] = date
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    names = signer.signed_headers(signer.headers_to_sign(request))
    signature = signer.signature(to_sign, request)
    return (
        f"{date}\tAWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}"
    )


def line(case):
    def coded(value):
        return (value if isinstance(value, bytes) else value.encode()).hex()

    fields = [coded(case["access"]), coded(case["secret"])]
    fields.append("-" if case["token"] is None else coded(case["token"]))
    fields += [coded(case["region"]), coded(case["service"]), coded(case["host"]), str(case["now"]), coded(case["body"])]
    for name, value in case["headers"]:
        fields += [coded(name), coded(value)]
    return " ".join(fields)


def sign(cases):
    tool = os.path.join(os.environ["UNIT_BUILD"], "tool_sigv4")
    answer = subprocess.run([tool], input="\n".join(line(c) for c in cases), capture_output=True, text=True)
    if answer.returncode != 0:
        print(answer.stderr)
    return answer.stdout.splitlines()


# AWS's own example, "post-vanilla" of its test suite
VANILLA = {
    "access": "AKIDEXAMPLE",
    "secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "token": None,
    "region": "us-east-1",
    "service": "service",
    "host": "example.amazonaws.com",
    "now": 1440938160,
    "body": b"",
    "headers": [],
}
VANILLA_SIGNED = (
    "20150830T123600Z\tAWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
)

REFUSED = {
    "a line end in a header's value": {"headers": [("X-A", "a\r\nX-B: c")]},
    "a control character in a header's value": {"headers": [("X-A", "a\x1f")]},
    "a DEL in a header's value": {"headers": [("X-A", "a\x7f")]},
    "a character that is not ASCII in a header's value": {"headers": [("X-A", "é")]},
    "a line end in a header's name": {"headers": [("X\nA", "a")]},
    "a header without a name": {"headers": [("", "a")]},
    "a header twice": {"headers": [("X-A", "a"), ("x-a", "b")]},
    "a Host header besides ours": {"headers": [("host", "a")]},
    "too many headers": {"headers": [(f"X-{i}", "a") for i in range(17)]},
    "headers with names too long in all": {"headers": [(f"X-{i}" + "a" * 60, "a") for i in range(10)]},
    "a line end in the session token": {"token": "a\nb"},
    "a line end in the host": {"host": "a\nb"},
    "a line end in the region": {"region": "a\nb"},
    "an empty access key id": {"access": ""},
    "an empty secret access key": {"secret": ""},
    "a secret access key that is too long": {"secret": "a" * 257},
    "an access key id that is too long": {"access": "a" * 1000},
    "a region that is too long": {"region": "a" * 300},
    "a year of five digits": {"now": 253402300800},
}


def main():
    rng = random.Random(SEED)
    cases = [random_request(rng) for _ in range(REQUESTS)]
    signed = sign(cases)
    check("number of answers", len(signed), len(cases))
    for i, (case, got) in enumerate(zip(cases, signed)):
        check(f"request {i} {case!r:.300}", got, botocore_signature(case))

    check("AWS's post-vanilla", sign([VANILLA]), [VANILLA_SIGNED])
    check("botocore on the same", botocore_signature(VANILLA), VANILLA_SIGNED)
    for name, change in REFUSED.items():
        check(name, sign([{**VANILLA, **change}]), ["refused"])

    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
