"""Each way in which a signature can be wrong."""

import hashlib

from email.utils import parsedate_to_datetime

from .support import EmulatorTest, NAME, client

KEY = {"access_key_id": "AKIATESTTESTTESTTEST", "secret_access_key": "s3cret"}


class Signature(EmulatorTest):
    def reject(self, code, text="", **options):
        reply = self.sender.send(**options)
        self.assertEqual((reply.status, reply.error), (400, code), reply.body)
        self.assertIn(text, reply.json["message"])
        entry = self.control("/log")["entries"][-1]
        self.assertEqual((entry["error"], entry["effect"]), (code, False))
        return reply

    def test_good(self):
        reply = self.sender.send()
        self.assertEqual(reply.status, 200, reply.body)
        self.assertRegex(reply.headers["x-amzn-RequestId"], "^[0-9a-f-]{36}$")

    def test_none(self):
        self.reject("MissingAuthenticationTokenException", drop=(),
                    change=lambda headers: headers.pop("Authorization"))

    def test_malformed(self):
        for wrong in ("", "Bearer x", "AWS4-HMAC-SHA256 Credential=a/b",
                      "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=" + "0" * 64):
            with self.subTest(wrong):
                self.reject("IncompleteSignatureException",
                            change=lambda headers: headers.update(Authorization=wrong))

    def test_twice(self):
        self.reject("IncompleteSignatureException", change=lambda headers: headers.update(
            Authorization=[headers["Authorization"]] * 2))

    def test_unknown_key(self):
        self.reject("UnrecognizedClientException", "security token", key="AKIAUNKNOWNUNKNOWN00")

    def test_wrong_secret(self):
        self.reject("InvalidSignatureException", "does not match", secret="wrong")

    def test_body_changed(self):
        headers = self.sender.headers("GetRandomPassword", b"{}")
        self.reject("InvalidSignatureException", "does not match", body=b'{"PasswordLength":8}',
                    change=lambda made: made.update(headers))

    def test_header_changed(self):
        self.reject("InvalidSignatureException", "does not match", change=lambda headers:
                    headers.update({"X-Amz-Target": "secretsmanager.DescribeSecret"}))

    def test_host_changed(self):
        self.reject("InvalidSignatureException", "does not match",
                    change=lambda headers: headers.update(Host="secretsmanager.invalid"))

    def test_expired(self):
        reply = self.reject("InvalidSignatureException", "Signature expired: ", offset=-310)
        self.assertRegex(reply.json["message"],
                         r"Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z "
                         r"\(\d{8}T\d{6}Z - 5 min\.\)")

    def test_from_the_future(self):
        self.reject("InvalidSignatureException", "Signature not yet current", offset=310)

    def test_within_five_minutes(self):
        for offset in (-290, 290):
            self.assertEqual(self.sender.send(offset=offset).status, 200)

    def test_shifted_clock(self):
        self.control("/clock", offset=3600)
        reply = self.reject("InvalidSignatureException", "Signature expired")
        date = parsedate_to_datetime(reply.headers["Date"]).timestamp()
        self.assertAlmostEqual(date, self.control("/state")["now"], delta=5)
        self.assertEqual(self.sender.send(offset=3600).status, 200)

    def test_scope(self):
        self.reject("InvalidSignatureException", "valid region", region="eu-west-1")
        self.reject("InvalidSignatureException", "correct service", service="sts")
        self.reject("InvalidSignatureException", "terminator",
                    change=lambda headers: headers.update(Authorization=headers["Authorization"]
                                                          .replace("aws4_req", "aws3_req")))
        self.reject("InvalidSignatureException", "Date in Credential scope",
                    change=lambda headers: headers.update(Authorization=headers["Authorization"]
                                                          .replace("/20", "/19", 1)))

    def test_date(self):
        self.reject("IncompleteSignatureException", "X-Amz-Date",
                    change=lambda headers: headers.pop("X-Amz-Date"))
        for wrong in ("yesterday", "20269999T000000Z"):
            self.reject("IncompleteSignatureException", "ISO-8601", change=lambda headers:
                        headers.update({"X-Amz-Date": wrong}))

    def test_unsigned_headers(self):
        for name in ("X-Amz-Date", "X-Amz-Target", "Content-Type"):
            with self.subTest(name):
                self.reject("InvalidSignatureException", "must be a 'SignedHeader'",
                            unsigned=(name,))
        self.reject("InvalidSignatureException", "'x-amz-foo' must be a 'SignedHeader'",
                    change=lambda headers: headers.update({"X-Amz-Foo": "1"}))

    def test_host_not_signed(self):
        self.reject("InvalidSignatureException", "'host' must be a 'SignedHeader'",
                    change=lambda headers: headers.update(
                        Authorization=headers["Authorization"].replace("host;", "")))

    def test_signed_headers_list(self):
        for old, new in (("content-type;host", "host;content-type"), ("host;", "host;host;"),
                         ("host;", "Host;")):
            self.reject("InvalidSignatureException", "lower case, sorted",
                        change=lambda headers: headers.update(
                            Authorization=headers["Authorization"].replace(old, new)))
        self.reject("InvalidSignatureException", "is not in the request",
                    change=lambda headers: headers.update(
                        Authorization=headers["Authorization"].replace("host;", "host;x-a;")))
        self.reject("InvalidSignatureException", "changed on the way",
                    change=lambda headers: headers.update({
                        "User-Agent": "x", "Authorization": headers["Authorization"].replace(
                            "host;", "host;user-agent;")}))

    def test_header_twice(self):
        self.reject("InvalidSignatureException", "more than once", change=lambda headers:
                    headers.update({"X-Amz-Date": [headers["X-Amz-Date"]] * 2}))

    def test_payload_hash(self):
        right = hashlib.sha256(b"{}").hexdigest()
        self.assertEqual(self.sender.send(extra={"X-Amz-Content-SHA256": right}).status, 200)
        self.reject("InvalidSignatureException", "x-amz-content-sha256",
                    extra={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})

    def test_spaces_in_a_signed_header(self):
        self.assertEqual(self.sender.send(extra={"X-Amz-Foo": "  a   b "}).status, 200)

    def test_session_token(self):
        self.control("/keys", session_token="token", **KEY)
        signed = {"key": KEY["access_key_id"], "secret": KEY["secret_access_key"]}
        self.assertEqual(self.sender.send(token="token", **signed).status, 200)
        self.reject("UnrecognizedClientException", **signed)
        self.reject("UnrecognizedClientException", token="other", **signed)
        self.reject("UnrecognizedClientException", token="token")
        self.reject("InvalidSignatureException", "must be a 'SignedHeader'", token="token",
                    unsigned=("X-Amz-Security-Token",), **signed)

    def test_expired_session(self):
        self.control("/keys", session_token="token", expires_in=60, **KEY)
        signed = {"key": KEY["access_key_id"], "secret": KEY["secret_access_key"],
                  "token": "token"}
        self.assertEqual(self.sender.send(**signed).status, 200)
        self.control("/clock", offset=61)
        self.reject("ExpiredTokenException", "expired", **signed)
        # who can't sign learns nothing about the session
        self.reject("InvalidSignatureException", secret="wrong",
                    key=KEY["access_key_id"], token="token")

    def test_deleted_key(self):
        self.control("/keys", **KEY)
        signed = {"key": KEY["access_key_id"], "secret": KEY["secret_access_key"]}
        self.assertEqual(self.sender.send(**signed).status, 200)
        self.control("/keys/delete", access_key_id=KEY["access_key_id"])
        self.reject("UnrecognizedClientException", **signed)

    def test_boto3_with_session(self):
        self.control("/keys", session_token="token", **KEY)
        with_session = client(aws_access_key_id=KEY["access_key_id"],
                              aws_secret_access_key=KEY["secret_access_key"],
                              aws_session_token="token")
        self.addCleanup(with_session.close)
        self.assertEqual(with_session.describe_secret(SecretId=NAME)["ARN"], self.arn)
        entry = self.control("/log")["entries"][-1]
        self.assertEqual(entry["access_key_id"], KEY["access_key_id"])
