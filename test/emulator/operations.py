"""The operations: a validated request in, the answer's members out.

Each takes a Call; everything under the store's lock.
"""

import base64
import re

from . import rotation_operations
from .errors import invalid_parameter, invalid_request, resource_not_found, validation
from .passwords import random_password
from .store import CURRENT, Secret

_NAME = re.compile(r"[A-Za-z0-9/_+=.@!-]+")


class Call:
    def __init__(self, store, rotations, parameters, caller, now):
        self.store = store
        self.rotations = rotations
        self.parameters = parameters
        self.caller = caller
        self.now = now

    def get(self, name):
        return self.parameters.get(name)

    def secret(self):
        return self.store.find(self.parameters["SecretId"], self.caller.account)


def _identity(secret):
    return {"ARN": secret.arn, "Name": secret.name}


def _token(call):
    token = call.get("ClientRequestToken")
    if token is None:
        # the SDKs fill it in; who calls the API without one has to
        raise invalid_parameter("You must provide a ClientRequestToken value. We recommend a "
                                "UUID-type value.")
    return token


def _value(call, optional=False):
    string, binary = call.get("SecretString"), call.get("SecretBinary")
    if string is not None and binary is not None:
        raise invalid_parameter("You can't specify both a binary secret value and a string secret "
                                "value in the same secret.")
    if string is None and binary is None and not optional:
        raise invalid_parameter("You must provide either SecretString or SecretBinary.")
    return string, binary


def create_secret(call):
    name = call.parameters["Name"]
    if not _NAME.fullmatch(name):
        raise validation("Invalid name. Must be a valid name containing alphanumeric characters, "
                         "or any of the following: -/_+=.@!")
    if call.get("AddReplicaRegions") is not None:
        raise invalid_parameter("The emulator plays one region.")
    token = _token(call)
    string, binary = _value(call, optional=True)
    account = call.caller.account or call.store.account
    existing = call.store.by_name(name, account)
    if existing is not None:
        version = existing.versions.get(token)
        if (version is not None and version.same_value(string, binary)
                and existing.attributes.get("deleted") is None):
            return dict(_identity(existing), VersionId=token)
        if existing.attributes.get("deleted") is not None:
            raise invalid_request("You can't create this secret because a secret with this name "
                                  "is already scheduled for deletion.")
    secret = Secret(name, call.store.make_arn(name, account), account, call.now)
    for member, attribute in (("Description", "description"), ("KmsKeyId", "kms_key_id"),
                              ("Tags", "tags")):
        if call.get(member) is not None:
            secret.attributes[attribute] = call.get(member)
    call.store.add(secret)
    answer = _identity(secret)
    if string is not None or binary is not None:
        call.store.put(secret, token, string, binary, [CURRENT], call.now)
        answer["VersionId"] = token
    return answer


def describe_secret(call):
    secret = call.secret()
    view = call.store.view(secret)
    answer = _identity(secret)
    answer["CreatedDate"] = secret.created
    for attribute, member in Secret.ATTRIBUTES.items():
        if secret.attributes.get(attribute) is not None:
            answer[member] = secret.attributes[attribute]
    stages = {holder: view.stages(holder) for holder in view.labels.values()}
    if stages:
        answer["VersionIdsToStages"] = stages
    return answer


def get_secret_value(call):
    secret = call.secret()
    if secret.attributes.get("deleted") is not None:
        raise invalid_request("You can't perform this operation on the secret because it was "
                              "marked for deletion.")
    account = call.caller.account or call.store.account
    if secret.account != account and secret.attributes.get("kms_key_id") is None:
        raise invalid_request("You can't access a secret from a different AWS account if you "
                              "encrypt the secret with the default KMS service key.")
    view = call.store.view(secret)
    version_id, stage = call.get("VersionId"), call.get("VersionStage")
    if version_id is None:
        stage = stage or CURRENT
        missing = resource_not_found("secret value for staging label: " + stage)
        version_id = view.labels.get(stage)
    else:
        missing = resource_not_found("secret value for VersionId: " + version_id)
        if version_id in view.versions and stage and view.labels.get(stage) != version_id:
            raise invalid_request("You provided a VersionStage that is not associated to the "
                                  "provided VersionId.")
    version = view.versions.get(version_id)
    if version is None or version.empty:
        raise missing
    answer = _identity(secret)
    answer.update(VersionId=version.id, CreatedDate=version.created)
    if view.stages(version.id):
        answer["VersionStages"] = view.stages(version.id)
    if version.string is not None:
        answer["SecretString"] = version.string
    else:
        answer["SecretBinary"] = base64.b64encode(version.binary).decode()
    return answer


def put_secret_value(call):
    call.store.throttle_write(call.now)
    token = _token(call)
    string, binary = _value(call)
    secret = call.secret()
    secret.check_writable(call.store.region)
    version = call.store.put(secret, token, string, binary, call.get("VersionStages"), call.now,
                             call.get("RotationToken"), call.caller)
    return dict(_identity(secret), VersionId=version.id, VersionStages=secret.stages(version.id))


def update_secret_version_stage(call):
    call.store.throttle_write(call.now)
    secret = call.secret()
    secret.check_writable(call.store.region)
    call.store.update_stage(secret, call.parameters["VersionStage"], call.get("MoveToVersionId"),
                            call.get("RemoveFromVersionId"))
    return _identity(secret)


def get_random_password(call):
    queue = call.store.settings["random_passwords"]
    # taken first, so that a bad request is refused all the same
    password = random_password(call.parameters)
    return {"RandomPassword": queue.pop(0) if queue else password}


def list_secret_version_ids(call):
    secret = call.secret()
    view = call.store.view(secret)
    if call.get("NextToken") is not None:
        raise invalid_parameter("The emulator answers with one page.")
    versions = []
    for version in sorted(view.versions.values(), key=lambda item: item.created):
        stages = view.stages(version.id)
        if stages or call.get("IncludeDeprecated"):
            entry = {"VersionId": version.id, "CreatedDate": version.created}
            if stages:
                entry["VersionStages"] = stages
            versions.append(entry)
    return dict(_identity(secret), Versions=versions)


def delete_secret(call):
    secret = call.secret()
    force, window = call.get("ForceDeleteWithoutRecovery"), call.get("RecoveryWindowInDays")
    if force and window is not None:
        raise invalid_parameter("You can't use ForceDeleteWithoutRecovery in conjunction with "
                                "RecoveryWindowInDays.")
    if window is not None and not 7 <= window <= 30:
        raise invalid_parameter("The RecoveryWindowInDays value must be between 7 and 30 days "
                                "(inclusive).")
    secret.check_writable(call.store.region)
    if force:
        del call.store.secrets[secret.arn]
        return dict(_identity(secret), DeletionDate=call.now)
    secret.attributes["deleted"] = call.now
    return dict(_identity(secret), DeletionDate=call.now + 86400 * (window or 30))


def restore_secret(call):
    secret = call.secret()
    secret.attributes.pop("deleted", None)
    return _identity(secret)


def tag_resource(call):
    secret = call.secret()
    secret.check_writable(call.store.region)
    tags = {tag["Key"]: tag for tag in secret.attributes.get("tags") or []}
    tags.update((tag["Key"], tag) for tag in call.parameters["Tags"])
    secret.attributes["tags"] = list(tags.values())
    return {}


PLAYED = {
    "CreateSecret": create_secret,
    "DescribeSecret": describe_secret,
    "GetSecretValue": get_secret_value,
    "PutSecretValue": put_secret_value,
    "UpdateSecretVersionStage": update_secret_version_stage,
    "GetRandomPassword": get_random_password,
    "ListSecretVersionIds": list_secret_version_ids,
    "DeleteSecret": delete_secret,
    "RestoreSecret": restore_secret,
    "TagResource": tag_resource,
    **rotation_operations.PLAYED,
}
