"""Requests that AWS, or a stricter AWS, refuses before any rule about secrets."""

import base64
import json
import string
import uuid

from .support import EmulatorTest, NAME

TOKEN = "0" * 32


class Http(EmulatorTest):
    def reject(self, status, code, **options):
        reply = self.sender.send(**options)
        self.assertEqual((reply.status, reply.error), (status, code), reply.body)
        return reply

    def test_target(self):
        self.reject(400, "UnknownOperationException", operation="NoSuchOperation")
        self.reject(400, "UnknownOperationException", drop=("X-Amz-Target",))
        self.reject(400, "UnknownOperationException",
                    extra={"X-Amz-Target": "SecretsManager.GetRandomPassword"})

    def test_not_played(self):
        reply = self.reject(400, "UnknownOperationException", operation="ListSecrets")
        self.assertIn("does not play", reply.json["message"])

    def test_content_type(self):
        self.reject(404, "UnknownOperationException", content_type="application/json")

    def test_no_content_type(self):
        self.reject(400, "InvalidSignatureException", drop=("Content-Type",))

    def test_method_and_path(self):
        self.reject(404, "UnknownOperationException", method="PUT")
        self.reject(404, "UnknownOperationException", method="GET")
        self.reject(404, "UnknownOperationException", path="/x")
        self.reject(404, "UnknownOperationException", path="/?a=b")

    def test_host(self):
        self.reject(400, "BadRequestException", change=lambda headers: headers.pop("Host"))
        self.reject(400, "BadRequestException",
                    change=lambda headers: headers.update(Host=["a", "b"]))

    def test_length(self):
        self.reject(411, "SerializationException",
                    change=lambda headers: headers.update({"Content-Length": "-1"}))
        self.reject(411, "SerializationException",
                    change=lambda headers: headers.update({"Content-Length": "99999999999"}))

    def test_chunked(self):
        chunked = {"Transfer-Encoding": "chunked"}
        self.reject(400, "BadRequestException", change=lambda headers: headers.update(chunked))
        headers = dict(self.sender.headers("GetRandomPassword", b"{}"), **chunked)
        head = "POST / HTTP/1.1\r\n" + "".join("%s: %s\r\n" % item for item in headers.items())
        received = self.sender.raw(head.encode() + b"\r\n2\r\n{}\r\n0\r\n\r\n")
        self.assertIn(b" 411 ", received.splitlines()[0])

    def test_http_10(self):
        received = self.sender.raw(b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b" 505 ", received.splitlines()[0])

    def test_not_http(self):
        self.assertIn(b"400", self.sender.raw(b"\0\1\2 x y z\r\n\r\n"))
        self.assertEqual(self.sender.send().status, 200)


class Model(EmulatorTest):
    def reject(self, code, operation, parameters=None, body=None, text=""):
        reply = self.sender.send(operation=operation, parameters=parameters, body=body)
        self.assertEqual((reply.status, reply.error), (400, code), reply.body)
        self.assertIn(text, reply.json["message"])

    def test_not_json(self):
        for body in (b"", b"{", b"[]", b'"x"', b"\xff{}", 
                     b'{"SecretId":"a","SecretId":"b"}', b'{"SecretId": "\\ud800"}',
                     b"\xef\xbb\xbf{}", b'{"SecretId": null}', b"[" * 100000):
            with self.subTest(body[:30]):
                self.reject("SerializationException", "DescribeSecret", body=body)

    def test_nan(self):
        self.reject("SerializationException", "GetRandomPassword", body=b'{"PasswordLength": NaN}',
                    text="NaN and Infinity")

    def test_unknown_member(self):
        self.reject("SerializationException", "DescribeSecret",
                    {"SecretId": NAME, "Secretid": NAME}, text="Secretid")

    def test_types(self):
        for operation, parameters in (
                ("DescribeSecret", {"SecretId": 1}),
                ("GetRandomPassword", {"PasswordLength": "32"}),
                ("GetRandomPassword", {"PasswordLength": 32.0}),
                ("GetRandomPassword", {"PasswordLength": True}),
                ("GetRandomPassword", {"ExcludeNumbers": "true"}),
                ("GetRandomPassword", {"ExcludeNumbers": 1}),
                ("PutSecretValue", {"SecretId": NAME, "VersionStages": "AWSPENDING"}),
                ("PutSecretValue", {"SecretId": NAME, "VersionStages": [1]}),
                ("PutSecretValue", {"SecretId": NAME, "SecretBinary": "not base64!"}),
                ("TagResource", {"SecretId": NAME, "Tags": ["x"]})):
            with self.subTest(parameters):
                self.reject("SerializationException", operation, parameters)

    def test_required(self):
        for operation in ("DescribeSecret", "GetSecretValue", "PutSecretValue",
                          "UpdateSecretVersionStage"):
            self.reject("ValidationException", operation, {}, text="secretId")
        self.reject("ValidationException", "UpdateSecretVersionStage", {"SecretId": NAME},
                    text="versionStage")

    def test_lengths(self):
        for operation, parameters in (
                ("DescribeSecret", {"SecretId": ""}),
                ("DescribeSecret", {"SecretId": "x" * 2049}),
                ("GetSecretValue", {"SecretId": NAME, "VersionId": "x" * 31}),
                ("GetSecretValue", {"SecretId": NAME, "VersionId": "x" * 65}),
                ("GetSecretValue", {"SecretId": NAME, "VersionStage": ""}),
                ("GetSecretValue", {"SecretId": NAME, "VersionStage": "x" * 257}),
                ("PutSecretValue", {"SecretId": NAME, "ClientRequestToken": "x" * 31}),
                ("PutSecretValue", {"SecretId": NAME, "ClientRequestToken": TOKEN,
                                    "SecretString": ""}),
                ("PutSecretValue", {"SecretId": NAME, "ClientRequestToken": TOKEN,
                                    "SecretString": "x" * 65537}),
                ("PutSecretValue", {"SecretId": NAME, "ClientRequestToken": TOKEN,
                                    "SecretString": "\u00e9" * 32769}),
                ("PutSecretValue", {"SecretId": NAME, "VersionStages": []}),
                ("PutSecretValue", {"SecretId": NAME, "VersionStages": ["x"] * 21}),
                ("PutSecretValue", {"SecretId": NAME, "RotationToken": "x" * 35}),
                ("PutSecretValue", {"SecretId": NAME, "RotationToken": "x" * 257}),
                ("PutSecretValue", {"SecretId": NAME, "RotationToken": "_" * 36}),
                ("GetRandomPassword", {"PasswordLength": 0}),
                ("GetRandomPassword", {"PasswordLength": 4097}),
                ("GetRandomPassword", {"ExcludeCharacters": "x" * 4097})):
            with self.subTest(str(parameters)[:60]):
                self.reject("ValidationException", operation, parameters)

    def test_values_are_not_echoed(self):
        reply = self.sender.send("PutSecretValue", {
            "SecretId": NAME, "ClientRequestToken": TOKEN, "SecretString": "hunter2" * 10000})
        self.assertNotIn(b"hunter2", reply.body)

    def test_64_kb(self):
        value = "x" * 65532 + "\u00e9\u00e9"
        self.put(TOKEN, value)
        self.assertEqual(self.aws.get_secret_value(SecretId=NAME, VersionId=TOKEN)["SecretString"],
                         value)

    def test_rotation_token(self):
        # Debian 12's boto3 does not know the member, so this goes by hand
        reply = self.sender.send("PutSecretValue", {
            "SecretId": NAME, "ClientRequestToken": TOKEN, "SecretString": "x",
            "VersionStages": ["AWSPENDING"], "RotationToken": str(uuid.uuid4())})
        self.assertEqual(reply.status, 200, reply.body)
        self.assertEqual(reply.json["VersionStages"], ["AWSPENDING"])

    def test_put_needs(self):
        put = {"SecretId": NAME, "ClientRequestToken": TOKEN, "SecretString": "x"}
        self.reject("InvalidParameterException", "PutSecretValue",
                    {"SecretId": NAME, "SecretString": "x"}, text="ClientRequestToken")
        self.reject("InvalidParameterException", "PutSecretValue",
                    {"SecretId": NAME, "ClientRequestToken": TOKEN}, text="either")
        self.reject("InvalidParameterException", "PutSecretValue",
                    dict(put, SecretBinary=base64.b64encode(b"x").decode()), text="both")
        self.reject("InvalidParameterException", "PutSecretValue",
                    dict(put, VersionStages=["A", "A"]), text="twice")

    def test_create(self):
        self.refused("ValidationException", self.aws.create_secret, Name="a b", SecretString="x")
        self.refused("ResourceExistsException", self.aws.create_secret, Name=NAME,
                     SecretString="x")
        self.aws.create_secret(Name="empty")
        self.refused("ResourceNotFoundException", self.aws.get_secret_value, SecretId="empty")


class RandomPassword(EmulatorTest):
    def password(self, **options):
        return self.aws.get_random_password(**options)["RandomPassword"]

    def test_default(self):
        for _ in range(20):
            password = self.password()
            self.assertEqual(len(password), 32)
            for group in (string.ascii_lowercase, string.ascii_uppercase, string.digits,
                          string.punctuation):
                self.assertTrue(set(group) & set(password), password)
            self.assertNotIn(" ", password)

    def test_excluded(self):
        characters = "".join(self.password(PasswordLength=500, ExcludeCharacters=":/@\"'\\")
                             for _ in range(4))
        self.assertFalse(set(characters) & set(":/@\"'\\"))
        password = self.password(PasswordLength=500, ExcludePunctuation=True, ExcludeNumbers=True,
                                 ExcludeUppercase=True, IncludeSpace=True)
        self.assertEqual(set(password), set(string.ascii_lowercase + " "))

    def test_shortest(self):
        self.assertEqual(len(self.password(PasswordLength=4)), 4)
        self.refused("InvalidParameterException", self.aws.get_random_password, PasswordLength=3)
        self.assertEqual(len(self.password(PasswordLength=1, RequireEachIncludedType=False)), 1)

    def test_nothing_left(self):
        self.refused("InvalidParameterException", self.aws.get_random_password,
                     ExcludeCharacters=string.digits)
        self.refused("InvalidParameterException", self.aws.get_random_password,
                     ExcludeNumbers=True, ExcludePunctuation=True, ExcludeUppercase=True,
                     ExcludeLowercase=True, RequireEachIncludedType=False)

    def test_given(self):
        self.control("/settings", random_passwords=["one", "two"])
        self.assertEqual([self.password(), self.password()], ["one", "two"])
        self.assertEqual(len(self.password()), 32)


class ErrorShapes(EmulatorTest):
    def test_styles(self):
        for style, header, type_, message in (
                ("plain", None, "ResourceNotFoundException", "message"),
                ("namespaced", None, "com.amazonaws.secretsmanager#ResourceNotFoundException",
                 "message"),
                ("capital", None, "ResourceNotFoundException", "Message"),
                ("header", "ResourceNotFoundException:http://", None, "message"),
                ("both", "ResourceNotFoundException:http://",
                 "com.amazonaws.secretsmanager#ResourceNotFoundException", "Message")):
            with self.subTest(style):
                self.control("/settings", error_style=style)
                reply = self.sender.send("DescribeSecret", {"SecretId": "nowhere"})
                self.assertEqual(reply.status, 400)
                self.assertEqual(reply.json.get("__type"), type_)
                self.assertEqual(reply.json[message],
                                 "Secrets Manager can't find the specified secret.")
                self.assertEqual(len(reply.json), 2 if type_ else 1)
                if header is None:
                    self.assertIsNone(reply.headers["x-amzn-ErrorType"])
                else:
                    self.assertTrue(reply.headers["x-amzn-ErrorType"].startswith(header))

    def test_rotate(self):
        self.control("/settings", error_style="rotate")
        shapes = {json.dumps([reply.headers["x-amzn-ErrorType"], sorted(reply.json)])
                  for reply in [self.sender.send("DescribeSecret", {"SecretId": "nowhere"})
                                for _ in range(10)]}
        self.assertEqual(len(shapes), 4)    # plain and namespaced have the same members
