"""A whole rotation, driven by an unchanged boto3 and nothing else."""

import json
import unittest
import uuid

from .support import NAME, client, process


class Boto3Only(unittest.TestCase):
    def test_rotation(self):
        process().control("/reset")
        aws = client()
        self.addCleanup(aws.close)

        created = aws.create_secret(Name=NAME, SecretString=json.dumps({"password": "old"}),
                                    Tags=[{"Key": "team", "Value": "db"}])
        arn, old = created["ARN"], created["VersionId"]
        aws.tag_resource(SecretId=arn, Tags=[{"Key": "team", "Value": "dba"}])
        described = aws.describe_secret(SecretId=NAME)
        self.assertEqual(described["VersionIdsToStages"], {old: ["AWSCURRENT"]})
        self.assertEqual(described["Tags"], [{"Key": "team", "Value": "dba"}])
        self.assertNotIn("RotationEnabled", described)

        with self.assertRaises(aws.exceptions.ResourceNotFoundException):
            aws.get_secret_value(SecretId=arn, VersionStage="AWSPENDING")
        password = aws.get_random_password(PasswordLength=40, ExcludeCharacters=":/@\"'\\")
        password = password["RandomPassword"]
        self.assertEqual(len(password), 40)
        new = str(uuid.uuid4())
        value = json.dumps({"password": password})
        put = aws.put_secret_value(SecretId=arn, ClientRequestToken=new, SecretString=value,
                                   VersionStages=["AWSPENDING"])
        self.assertEqual((put["VersionId"], put["VersionStages"]), (new, ["AWSPENDING"]))
        pending = aws.get_secret_value(SecretId=arn, VersionId=new, VersionStage="AWSPENDING")
        self.assertEqual(pending["SecretString"], value)

        aws.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT",
                                        MoveToVersionId=new, RemoveFromVersionId=old)
        self.assertEqual(aws.describe_secret(SecretId=arn)["VersionIdsToStages"],
                         {new: ["AWSCURRENT", "AWSPENDING"], old: ["AWSPREVIOUS"]})
        current = aws.get_secret_value(SecretId=NAME)
        self.assertEqual((current["VersionId"], current["SecretString"]), (new, value))
        previous = aws.get_secret_value(SecretId=NAME, VersionStage="AWSPREVIOUS")
        self.assertEqual(previous["VersionId"], old)
        listed = aws.list_secret_version_ids(SecretId=NAME)["Versions"]
        self.assertEqual([version["VersionId"] for version in listed], [old, new])

        aws.delete_secret(SecretId=NAME, RecoveryWindowInDays=7)
        self.assertIn("DeletedDate", aws.describe_secret(SecretId=NAME))
        with self.assertRaises(aws.exceptions.InvalidRequestException):
            aws.get_secret_value(SecretId=NAME)
        aws.restore_secret(SecretId=NAME)
        self.assertEqual(aws.get_secret_value(SecretId=NAME)["VersionId"], new)
        aws.delete_secret(SecretId=NAME, ForceDeleteWithoutRecovery=True)
        with self.assertRaises(aws.exceptions.ResourceNotFoundException):
            aws.describe_secret(SecretId=NAME)

    def test_binary(self):
        process().control("/reset")
        aws = client()
        self.addCleanup(aws.close)
        aws.create_secret(Name="b", SecretBinary=b"\0\xff")
        answer = aws.get_secret_value(SecretId="b")
        self.assertEqual(answer["SecretBinary"], b"\0\xff")
        self.assertNotIn("SecretString", answer)

    def test_retry(self):
        process().control("/reset")
        aws = client(attempts=3)
        self.addCleanup(aws.close)
        process().control("/faults", action="throttle", times=1)
        process().control("/faults", action="error", status=503, after=1)
        aws.get_random_password()
        log = process().control("/log")
        self.assertEqual([entry["status"] for entry in log["entries"]], [400, 503, 200])
