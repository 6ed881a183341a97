"""The rules for versions and staging labels, one by one."""

import uuid

from .support import EmulatorTest, NAME

OTHER_ACCOUNT = "210987654321"


def new_id():
    return str(uuid.uuid4())


class Put(EmulatorTest):
    def test_pending(self):
        v2 = self.put()
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1, "AWSPENDING": v2})
        self.assertEqual(self.counters()["current_moved_by_put"], 0)

    def test_without_stages_moves_current(self):
        v2 = self.aws.put_secret_value(SecretId=NAME, SecretString="x")["VersionId"]
        self.assertEqual(self.labels(), {"AWSCURRENT": v2, "AWSPREVIOUS": self.v1})
        self.assertEqual(self.counters()["current_moved_by_put"], 1)

    def test_current_takes_previous_along(self):
        v2 = self.put(VersionStages=["AWSCURRENT", "blue"])
        v3 = self.put(VersionStages=["AWSCURRENT"])
        self.assertEqual(self.labels(), {"AWSCURRENT": v3, "AWSPREVIOUS": v2, "blue": v2})

    def test_current_decides_previous(self):
        v2 = self.put(VersionStages=["AWSCURRENT", "AWSPREVIOUS"])
        self.assertEqual(self.labels(), {"AWSCURRENT": v2, "AWSPREVIOUS": self.v1})

    def test_pending_moves_on(self):
        self.put()
        v3 = self.put()
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1, "AWSPENDING": v3})

    def test_same_token_same_value(self):
        v2 = self.put()
        v3 = self.put()
        self.put(v2)
        self.assertEqual(self.labels()["AWSPENDING"], v3)
        self.assertEqual(self.counters()["idempotent_puts"], 1)
        self.aws.put_secret_value(SecretId=NAME, ClientRequestToken=v2, SecretString='{"n": 2}')
        self.assertEqual(self.labels()["AWSCURRENT"], self.v1)

    def test_same_token_other_value(self):
        v2 = self.put()
        text = self.refused("ResourceExistsException", self.put, v2, "other")
        self.assertIn(v2, text)
        self.refused("ResourceExistsException", self.aws.put_secret_value, SecretId=NAME,
                     ClientRequestToken=v2, SecretBinary=b'{"n": 2}')
        self.assertEqual(self.state()["versions"][v2]["string"], '{"n": 2}')

    def test_first_version_is_current(self):
        self.control("/secrets", name=NAME)
        v1 = self.put()
        self.assertEqual(self.labels(), {"AWSCURRENT": v1, "AWSPENDING": v1})

    def test_twenty_labels(self):
        v2 = self.put(VersionStages=["l%d" % number for number in range(20)])
        self.refused("LimitExceededException", self.aws.update_secret_version_stage, SecretId=NAME,
                     VersionStage="l20", MoveToVersionId=v2)

    def test_binary(self):
        v2 = new_id()
        self.aws.put_secret_value(SecretId=NAME, ClientRequestToken=v2, SecretBinary=b"\0",
                                  VersionStages=["AWSPENDING"])
        self.assertEqual(self.state()["versions"][v2]["binary"], "AA==")


class Move(EmulatorTest):
    def setUp(self):
        super().setUp()
        self.v2 = self.put()

    def move(self, stage="AWSCURRENT", to=None, remove=None):
        options = {"SecretId": NAME, "VersionStage": stage}
        if to is not None:
            options["MoveToVersionId"] = to
        if remove is not None:
            options["RemoveFromVersionId"] = remove
        return self.aws.update_secret_version_stage(**options)

    def test_current(self):
        self.assertEqual(self.move(to=self.v2, remove=self.v1)["ARN"], self.arn)
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v2, "AWSPENDING": self.v2,
                                         "AWSPREVIOUS": self.v1})
        self.assertEqual(self.counters()["labels_moved"], 1)

    def test_back(self):
        self.move(to=self.v2, remove=self.v1)
        self.move(to=self.v1, remove=self.v2)
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1, "AWSPENDING": self.v2,
                                         "AWSPREVIOUS": self.v2})

    def test_compare_and_swap(self):
        before = self.labels()
        text = self.refused("InvalidParameterException", self.move, to=self.v2)
        self.assertIn("RemoveFromVersionId can't be empty", text)
        self.assertIn(self.v1, text)
        v3 = self.put(VersionStages=["blue"])
        text = self.refused("InvalidParameterException", self.move, to=v3, remove=self.v2)
        self.assertIn("currently attached to version " + self.v1, text)
        self.assertEqual(self.labels(), dict(before, blue=v3))

    def test_second_of_two(self):
        self.move(to=self.v2, remove=self.v1)
        self.refused("InvalidParameterException", self.move, to=self.v2, remove=self.v1)
        # without RemoveFromVersionId it is where it should be: nothing to do
        self.move(to=self.v2)
        self.assertEqual(self.counters()["labels_moved"], 1)
        self.assertEqual(self.labels()["AWSPREVIOUS"], self.v1)

    def test_other_label_leaves_previous_alone(self):
        self.move("AWSPENDING", to=self.v1, remove=self.v2)
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1, "AWSPENDING": self.v1})

    def test_new_label(self):
        self.move("blue", to=self.v2)
        self.assertEqual(self.labels()["blue"], self.v2)

    def test_remove(self):
        self.move("AWSPENDING", remove=self.v2)
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1})
        self.refused("InvalidParameterException", self.move, "AWSPENDING", remove=self.v2)

    def test_current_is_never_removed(self):
        self.refused("InvalidParameterException", self.move, remove=self.v1)
        self.assertEqual(self.labels()["AWSCURRENT"], self.v1)

    def test_neither(self):
        self.refused("InvalidParameterException", self.move, "AWSPENDING")
        self.assertEqual(self.labels()["AWSPENDING"], self.v2)

    def test_to_itself(self):
        self.refused("InvalidParameterException", self.move, to=self.v1, remove=self.v1)

    def test_unknown_version(self):
        self.refused("ResourceNotFoundException", self.move, to=new_id(), remove=self.v1)
        self.refused("ResourceNotFoundException", self.move, to=self.v2, remove=new_id())

    def test_current_to_an_empty_version(self):
        empty = self.control("/service-pending", secret=NAME)["id"]
        self.refused("InvalidRequestException", self.move, to=empty, remove=self.v1)


class Get(EmulatorTest):
    def get(self, **options):
        return self.aws.get_secret_value(SecretId=NAME, **options)

    def test_missing(self):
        text = self.refused("ResourceNotFoundException", self.get, VersionStage="AWSPENDING")
        self.assertIn("staging label: AWSPENDING", text)
        self.refused("ResourceNotFoundException", self.get, VersionId=new_id())
        self.refused("ResourceNotFoundException", self.aws.get_secret_value, SecretId="nowhere")

    def test_id_and_stage(self):
        v2 = self.put()
        self.assertEqual(self.get(VersionId=v2, VersionStage="AWSPENDING")["VersionId"], v2)
        self.refused("InvalidRequestException", self.get, VersionId=v2, VersionStage="AWSCURRENT")

    def test_names(self):
        for secret_id in (NAME, self.arn, self.arn[:-7]):
            self.assertEqual(self.aws.describe_secret(SecretId=secret_id)["ARN"], self.arn)
        for secret_id in (self.arn[:-1], self.arn.replace("us-east-1", "us-east-2"),
                          NAME.upper(), NAME + "-" + self.arn[-6:]):
            self.refused("ResourceNotFoundException", self.aws.describe_secret, SecretId=secret_id)

    def test_unlabelled_until_pruned(self):
        v2 = self.put()
        self.put()
        self.assertNotIn("VersionStages", self.get(VersionId=v2))
        self.assertNotIn(v2, self.aws.describe_secret(SecretId=NAME)["VersionIdsToStages"])
        listed = self.aws.list_secret_version_ids(SecretId=NAME)["Versions"]
        self.assertNotIn(v2, [version["VersionId"] for version in listed])
        listed = self.aws.list_secret_version_ids(SecretId=NAME, IncludeDeprecated=True)
        self.assertIn(v2, [version["VersionId"] for version in listed["Versions"]])
        self.assertEqual(self.control("/versions/prune", secret=NAME)["removed"], [v2])
        self.refused("ResourceNotFoundException", self.get, VersionId=v2)

    def test_deleted(self):
        self.aws.delete_secret(SecretId=NAME)
        for call in (self.get, self.put):
            text = self.refused("InvalidRequestException", call)
            self.assertIn("marked for deletion", text)
        self.refused("InvalidRequestException", self.aws.update_secret_version_stage,
                     SecretId=NAME, VersionStage="a", MoveToVersionId=self.v1)
        self.assertIn("DeletedDate", self.aws.describe_secret(SecretId=NAME))
        self.refused("InvalidRequestException", self.aws.create_secret, Name=NAME,
                     SecretString="x")


class Owners(EmulatorTest):
    def check_read_only(self, text):
        self.assertIn(text, self.refused("InvalidRequestException", self.put))
        self.assertIn(text, self.refused(
            "InvalidRequestException", self.aws.update_secret_version_stage, SecretId=NAME,
            VersionStage="a", MoveToVersionId=self.v1))
        self.assertEqual(self.aws.get_secret_value(SecretId=NAME)["VersionId"], self.v1)

    def test_service(self):
        self.control("/secrets/update", secret=NAME, attributes={"owning_service": "rds"})
        self.assertEqual(self.aws.describe_secret(SecretId=NAME)["OwningService"], "rds")
        self.check_read_only("managed by the service rds")

    def test_replica(self):
        self.control("/secrets/update", secret=NAME, attributes={"primary_region": "eu-west-1"})
        self.assertEqual(self.aws.describe_secret(SecretId=NAME)["PrimaryRegion"], "eu-west-1")
        self.check_read_only("replica secret")

    def test_primary_of_replicas(self):
        self.control("/secrets/update", secret=NAME, attributes={"primary_region": "us-east-1"})
        self.put()

    def test_rotation_enabled(self):
        for value in (True, False):
            self.control("/secrets/update", secret=NAME, attributes={"rotation_enabled": value})
            self.assertIs(self.aws.describe_secret(SecretId=NAME)["RotationEnabled"], value)
        self.control("/secrets/update", secret=NAME, attributes={"rotation_enabled": None})
        self.assertNotIn("RotationEnabled", self.aws.describe_secret(SecretId=NAME))

    def test_other_account(self):
        arn = self.control("/secrets", name="theirs", account=OTHER_ACCOUNT, versions=[
            {"string": "x", "stages": ["AWSCURRENT"]}])["arn"]
        self.refused("ResourceNotFoundException", self.aws.get_secret_value, SecretId="theirs")
        text = self.refused("InvalidRequestException", self.aws.get_secret_value, SecretId=arn)
        self.assertIn("default KMS service key", text)
        self.control("/secrets/update", secret=arn, attributes={"kms_key_id": "alias/ours"})
        self.assertEqual(self.aws.get_secret_value(SecretId=arn)["SecretString"], "x")


class ServicePending(EmulatorTest):
    def setUp(self):
        super().setUp()
        answer = self.control("/service-pending", secret=NAME)
        self.token, self.rotation_token = answer["id"], answer["rotation_token"]

    def fill(self, rotation_token=None):
        parameters = {"SecretId": NAME, "ClientRequestToken": self.token, "SecretString": "new",
                      "VersionStages": ["AWSPENDING"]}
        if rotation_token is not None:
            parameters["RotationToken"] = rotation_token
        return self.sender.send("PutSecretValue", parameters)

    def test_seen_without_a_value(self):
        described = self.aws.describe_secret(SecretId=NAME)["VersionIdsToStages"]
        self.assertEqual(described[self.token], ["AWSPENDING"])
        for options in ({"VersionStage": "AWSPENDING"}, {"VersionId": self.token},
                        {"VersionId": self.token, "VersionStage": "AWSPENDING"}):
            self.refused("ResourceNotFoundException", self.aws.get_secret_value, SecretId=NAME,
                         **options)

    def test_filled(self):
        self.assertEqual(self.fill().status, 200)
        self.assertEqual(self.state()["versions"][self.token]["string"], "new")
        self.assertEqual(self.labels(), {"AWSCURRENT": self.v1, "AWSPENDING": self.token})
        self.refused("ResourceExistsException", self.put, self.token, "other")

    def test_rotation_token(self):
        wrong = str(uuid.uuid4())
        for policy, given, expected in (
                ("optional", wrong, 400), ("required", None, 400), ("required", wrong, 400),
                ("required", self.rotation_token, 200)):
            with self.subTest(policy=policy, given=given):
                self.control("/settings", rotation_token=policy)
                self.assertEqual(self.fill(given).status, expected)

    def test_rotation_token_ignored(self):
        self.control("/settings", rotation_token="ignored")
        self.assertEqual(self.fill(str(uuid.uuid4())).status, 200)

    def test_put_by_hand_abandons(self):
        v2 = self.aws.put_secret_value(SecretId=NAME, SecretString="by hand")["VersionId"]
        self.assertEqual(self.labels(), {"AWSCURRENT": v2, "AWSPREVIOUS": self.v1})
        self.assertEqual(self.counters()["pending_abandoned"], 1)

    def test_finished_rotation_is_not_abandoned(self):
        self.fill()
        self.aws.update_secret_version_stage(SecretId=NAME, VersionStage="AWSCURRENT",
                                             MoveToVersionId=self.token,
                                             RemoveFromVersionId=self.v1)
        self.aws.put_secret_value(SecretId=NAME, SecretString="by hand")
        self.assertEqual(self.labels()["AWSPENDING"], self.token)
        self.assertEqual(self.counters()["pending_abandoned"], 0)


class Limits(EmulatorTest):
    def test_versions(self):
        self.control("/settings", max_versions=3)
        self.put()
        self.put()
        self.refused("LimitExceededException", self.put)
        # a day later the one without a label may go
        self.control("/keys", access_key_id="AKIATESTTESTTESTTEST", secret_access_key="s")
        self.control("/clock", offset=86401)
        reply = self.sender.send("PutSecretValue", {
            "SecretId": NAME, "ClientRequestToken": new_id(), "SecretString": "x",
            "VersionStages": ["AWSPENDING"]}, offset=86401)
        self.assertEqual(reply.status, 200, reply.body)
        self.assertEqual(len(self.state()["versions"]), 3)

    def test_puts_per_10_minutes(self):
        self.control("/settings", puts_per_10_minutes=1)
        v2 = self.put()
        self.put(v2)        # a repetition makes no version
        self.refused("LimitExceededException", self.put)
        self.control("/clock", offset=601)
        reply = self.sender.send("PutSecretValue", {
            "SecretId": NAME, "ClientRequestToken": new_id(), "SecretString": "x"}, offset=601)
        self.assertEqual(reply.status, 200, reply.body)

    def test_writes_per_second(self):
        self.control("/settings", writes_per_second=2)
        self.put()
        self.put()
        self.refused("ThrottlingException", self.put)


class EventualConsistency(EmulatorTest):
    def test_put(self):
        self.control("/settings", stale_reads_after_put=2)
        v2 = self.put()
        self.refused("ResourceNotFoundException", self.aws.get_secret_value, SecretId=NAME,
                     VersionStage="AWSPENDING")
        self.assertNotIn(v2, self.aws.describe_secret(SecretId=NAME)["VersionIdsToStages"])
        self.assertEqual(
            self.aws.get_secret_value(SecretId=NAME, VersionStage="AWSPENDING")["VersionId"], v2)

    def test_label(self):
        v2 = self.put()
        self.control("/settings", stale_reads_after_label=1)
        move = {"SecretId": NAME, "VersionStage": "AWSCURRENT", "MoveToVersionId": v2,
                "RemoveFromVersionId": self.v1}
        self.aws.update_secret_version_stage(**move)
        # writes see the truth at once
        self.refused("InvalidParameterException", self.aws.update_secret_version_stage, **move)
        self.assertEqual(self.aws.get_secret_value(SecretId=NAME)["VersionId"], self.v1)
        self.assertEqual(self.aws.get_secret_value(SecretId=NAME)["VersionId"], v2)
