"""Secrets, versions, staging labels, and the rules that tie them.

Nothing here knows of HTTP or of parameters' syntax.  The caller holds
Store.lock around everything.
"""

import base64
import threading
import uuid

from .errors import ApiError, invalid_parameter, invalid_request, resource_not_found
from .schedule import set_next_date

CURRENT = "AWSCURRENT"
PENDING = "AWSPENDING"
PREVIOUS = "AWSPREVIOUS"

MAX_LABELS = 20
PRUNE_AGE = 24 * 3600


class Version:
    """string and binary are both None in a version that the service made and nobody has filled."""

    def __init__(self, version_id, string=None, binary=None, created=0.0, origin="api",
                 rotation_token=None):
        self.id = version_id
        self.string = string
        self.binary = binary
        self.created = created
        self.origin = origin
        self.rotation_token = rotation_token
        self.principal = None       # of the function that the service asks to fill it

    @property
    def empty(self):
        return self.string is None and self.binary is None

    def same_value(self, string, binary):
        return self.string == string and self.binary == binary


class View:
    """What reads see: labels, and the versions with their values, at one moment."""

    def __init__(self, secret):
        self.labels = dict(secret.labels)
        self.versions = {}
        for version in secret.versions.values():
            self.versions[version.id] = Version(
                version.id, version.string, version.binary, version.created, version.origin)

    def stages(self, version_id):
        return sorted(stage for stage, holder in self.labels.items() if holder == version_id)


class Secret:
    """One secret.  A label is on one version at most because labels maps it to that one."""

    # What control may set as it likes, and DescribeSecret shows: attribute -> member.
    ATTRIBUTES = {
        "description": "Description",
        "kms_key_id": "KmsKeyId",
        "rotation_enabled": "RotationEnabled",
        "rotation_lambda_arn": "RotationLambdaARN",
        "rotation_rules": "RotationRules",
        "last_rotated": "LastRotatedDate",
        "next_rotation": "NextRotationDate",
        "last_changed": "LastChangedDate",
        "deleted": "DeletedDate",
        "owning_service": "OwningService",
        "primary_region": "PrimaryRegion",
        "replication_status": "ReplicationStatus",
        "tags": "Tags",
    }

    def __init__(self, name, arn, account, created):
        self.name = name
        self.arn = arn
        self.account = account
        self.created = created
        self.versions = {}
        self.labels = {}
        self.attributes = {"last_changed": created}
        self.puts = []              # times of PutSecretValue that made or filled a version
        self.rotating = None        # the version of a rotation that the service runs now
        self.last_rotate_token = None
        self.stale = None           # a View, while reads lag behind
        self.stale_reads = 0

    def stages(self, version_id):
        return sorted(stage for stage, holder in self.labels.items() if holder == version_id)

    def attach(self, stage, version_id):
        """Move a label; AWSPREVIOUS follows AWSCURRENT."""
        left = self.labels.get(stage)
        self.labels[stage] = version_id
        if stage == CURRENT and left is not None and left != version_id:
            self.labels[PREVIOUS] = left

    def rotation_version(self):
        """The version of a rotation that the service has started and not yet seen finished."""
        pending = self.labels.get(PENDING)
        version = self.versions.get(pending)
        if version is None or pending == self.rotating:
            return version
        if version.origin != "service" or pending == self.labels.get(CURRENT):
            return None
        return version

    def check_writable(self, region):
        if self.attributes.get("deleted") is not None:
            raise invalid_request("You can't perform this operation on the secret because it was "
                                  "marked for deletion.")
        # a primary that has replicas names its own region
        if self.attributes.get("primary_region") not in (None, region):
            raise invalid_request("Operation not permitted on a replica secret. Call must be made "
                                  "in primary secret's region.")
        if self.attributes.get("owning_service") is not None:
            raise invalid_request("You can't perform this operation on the secret because it is "
                                  "managed by the service %s."
                                  % self.attributes["owning_service"])

    def prune(self, now, everything=False):
        """Remove versions without a label; AWS leaves those younger than a day alone."""
        held = set(self.labels.values())
        gone = [version.id for version in self.versions.values()
                if version.id not in held and (everything or now - version.created >= PRUNE_AGE)]
        for version_id in gone:
            del self.versions[version_id]
        return gone

    def dump(self):
        """For assertions: everything."""
        versions = {}
        for version in self.versions.values():
            versions[version.id] = {
                "string": version.string,
                "binary": None if version.binary is None
                else base64.b64encode(version.binary).decode(),
                "empty": version.empty,
                "stages": self.stages(version.id),
                "created": version.created,
                "origin": version.origin,
                "rotation_token": version.rotation_token,
            }
        return {"name": self.name, "arn": self.arn, "account": self.account,
                "created": self.created, "labels": dict(self.labels), "versions": versions,
                "attributes": dict(self.attributes)}


class Store:
    def __init__(self, region, account, settings):
        self.lock = threading.RLock()
        self.region = region
        self.account = account
        self.settings = settings
        self.secrets = {}           # by ARN
        self.counters = {"current_moved_by_put": 0, "versions_created": 0, "labels_moved": 0,
                         "idempotent_puts": 0, "pending_abandoned": 0}
        self.writes = []            # times, for the quota of writes per second

    def make_arn(self, name, account=None, suffix=None):
        suffix = suffix or base64.b32encode(uuid.uuid4().bytes).decode()[:6]
        return "arn:%s:secretsmanager:%s:%s:secret:%s-%s" % (
            partition(self.region), self.region, account or self.account, name, suffix)

    def add(self, secret):
        if any(other.name == secret.name and other.account == secret.account
               for other in self.secrets.values()):
            raise ApiError("ResourceExistsException",
                           "The operation failed because the secret %s already exists."
                           % secret.name)
        self.secrets[secret.arn] = secret

    def by_name(self, name, account):
        for secret in self.secrets.values():
            if secret.name == name and secret.account == account:
                return secret
        return None

    def find(self, secret_id, account=None):
        """By ARN, by ARN without the random suffix, or by the name in the caller's account."""
        account = account or self.account
        if secret_id.startswith("arn:"):
            found = self.secrets.get(secret_id)
            if found is None:
                found = next((secret for secret in self.secrets.values()
                              if secret.arn[:-7] == secret_id), None)
        else:
            found = self.by_name(secret_id, account)
        if found is None:
            raise resource_not_found()
        return found

    def view(self, secret):
        """What this read sees, and one step nearer to the truth."""
        if secret.stale is not None and secret.stale_reads > 0:
            secret.stale_reads -= 1
            return secret.stale
        secret.stale = None
        return View(secret)

    def _begin_change(self, secret, setting):
        lag = self.settings[setting]
        if lag > 0:
            secret.stale = View(secret)
            secret.stale_reads = lag

    def throttle_write(self, now):
        """The quota of PutSecretValue, UpdateSecret and UpdateSecretVersionStage together."""
        limit = self.settings["writes_per_second"]
        self.writes = [moment for moment in self.writes if now - moment < 1.0]
        if limit and len(self.writes) >= limit:
            raise ApiError("ThrottlingException", "Rate exceeded")
        self.writes.append(now)

    def _check_put_rate(self, secret, now):
        limit = self.settings["puts_per_10_minutes"]
        secret.puts = [moment for moment in secret.puts if now - moment < 600.0]
        if limit and len(secret.puts) >= limit:
            raise ApiError("LimitExceededException",
                           "You've exceeded the number of new versions for this secret in "
                           "10 minutes.")

    def put(self, secret, token, string, binary, stages, now, rotation_token=None, caller=None):
        """PutSecretValue's rules.  Returns the version."""
        version = secret.versions.get(token)
        if version is not None and not version.empty:
            if not version.same_value(string, binary):
                raise ApiError("ResourceExistsException",
                               "You can't use ClientRequestToken %s because that value is already "
                               "in use for a version of secret %s." % (token, secret.arn))
            self.counters["idempotent_puts"] += 1
            return version
        self._check_rotation_token(secret, version, rotation_token, caller)
        self._check_put_rate(secret, now)
        if stages is not None:
            if len(set(stages)) != len(stages):
                raise invalid_parameter("You can't specify a staging label twice.")
            if len(set(secret.stages(token)) | set(stages)) > MAX_LABELS:
                raise ApiError("LimitExceededException",
                               "A version can have at most %d staging labels." % MAX_LABELS)
        if version is None:
            self._make_room(secret, now)

        self._begin_change(secret, "stale_reads_after_put")
        rotating = secret.rotation_version()
        if version is None:
            version = Version(token, created=now)
            secret.versions[token] = version
            self.counters["versions_created"] += 1
        version.string = string
        version.binary = binary
        secret.puts.append(now)
        secret.attributes["last_changed"] = now
        if stages is None:
            self.counters["current_moved_by_put"] += 1
            stages = [CURRENT]
        # AWSCURRENT last, so that AWSPREVIOUS ends where the rule puts it
        for stage in sorted(stages, key=lambda name: name == CURRENT):
            secret.attach(stage, token)
        if CURRENT not in secret.labels:
            secret.attach(CURRENT, token)   # a first version is the current one
        if (rotating is not None and rotating.id != token
                and secret.labels.get(PENDING) == rotating.id):
            # someone put a version by hand: the service abandons its rotation
            del secret.labels[PENDING]
            self.counters["pending_abandoned"] += 1
        if token != secret.rotating:
            set_next_date(secret, now)
        return version

    def _check_rotation_token(self, secret, version, given, caller):
        """Which principal needs it, and whose is taken, is not documented: settings."""
        expected = version.rotation_token if version is not None else None
        if expected is None:
            return
        policy = self.settings["rotation_token"]
        if given is None:
            allowed = policy != "required" and not (
                policy == "required_for_roles" and caller is not None
                and (":assumed-role/" in caller.principal or caller.account != secret.account))
        elif (self.settings["rotation_token_principal"] == "function" and caller is not None
                and version.principal not in (None, caller.principal)):
            allowed = False
        else:
            allowed = given == expected or policy == "ignored"
        if not allowed:
            raise ApiError("AccessDeniedException",
                           "You can't fill this version: the rotation token is missing, is not "
                           "that of the rotation, or is another principal's.")

    def _make_room(self, secret, now):
        limit = self.settings["max_versions"]
        if len(secret.versions) >= limit:
            secret.prune(now)
        if len(secret.versions) >= limit:
            raise ApiError("LimitExceededException",
                           "You've reached the maximum number of versions of this secret.")

    def update_stage(self, secret, stage, move_to, remove_from):
        """UpdateSecretVersionStage's rules: a compare-and-swap."""
        if move_to is None and remove_from is None:
            raise invalid_parameter("You must specify MoveToVersionId, RemoveFromVersionId, or "
                                    "both.")
        for version_id in (move_to, remove_from):
            if version_id is not None and version_id not in secret.versions:
                raise resource_not_found("secret value for VersionId: %s." % version_id)
        holder = secret.labels.get(stage)
        if remove_from is not None and holder != remove_from:
            raise invalid_parameter(
                "The parameter RemoveFromVersionId is not valid. Staging label %s is %s." % (
                    stage, "attached to no version" if holder is None
                    else "currently attached to version " + holder))
        if remove_from is not None and move_to == remove_from:
            raise invalid_parameter("You can't move a staging label from a version to itself.")
        if move_to is None:
            if stage == CURRENT:
                raise invalid_parameter("You can only move staging label AWSCURRENT to a different "
                                        "secret version. It can't be completely removed.")
        elif holder == move_to:
            return
        elif holder is not None and remove_from is None:
            raise invalid_parameter(
                "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently "
                "attached to version %s, so you must explicitly reference that version in "
                "RemoveFromVersionId." % (stage, holder))
        elif stage == CURRENT and secret.versions[move_to].empty:
            raise invalid_request("You can't move AWSCURRENT to a version that has no value.")
        elif len(secret.stages(move_to)) >= MAX_LABELS:
            raise ApiError("LimitExceededException",
                           "A version can have at most %d staging labels." % MAX_LABELS)

        self._begin_change(secret, "stale_reads_after_label")
        self.counters["labels_moved"] += 1
        if move_to is None:
            del secret.labels[stage]
        else:
            secret.attach(stage, move_to)


def partition(region):
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
