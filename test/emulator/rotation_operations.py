"""RotateSecret and CancelRotateSecret: a validated request in, the answer's members out."""

from . import schedule
from .errors import invalid_parameter, invalid_request


def rotate_secret(call):
    token = call.get("ClientRequestToken")
    if token is None:
        raise invalid_parameter("You must provide a ClientRequestToken value. We recommend a "
                                "UUID-type value.")
    secret, rotations = call.secret(), call.rotations
    secret.check_writable(call.store.region)
    answer = {"ARN": secret.arn, "Name": secret.name, "VersionId": token}
    rules = call.get("RotationRules")
    if rules is not None:
        schedule.check(rules)
    arn = call.get("RotationLambdaARN") or secret.attributes.get("rotation_lambda_arn")
    if arn is None:
        raise invalid_request("No Lambda rotation function ARN is associated with this secret.")
    function = rotations.function(arn)
    if secret.last_rotate_token == token:
        return answer               # the same request once more
    rotations.check_complete(secret)
    if token in secret.versions:
        raise invalid_request("You can't use ClientRequestToken %s because that value is already "
                              "in use for a version of secret %s." % (token, secret.arn))

    kind = "test" if call.get("RotateImmediately") is False else "rotation"
    rotations.start(secret, token, kind, "api", function)
    secret.attributes["rotation_enabled"] = True
    secret.attributes["rotation_lambda_arn"] = function.arn
    if rules is not None:
        secret.attributes["rotation_rules"] = schedule.shown(rules)
        secret.attributes.pop("next_rotation", None)
    schedule.set_next_date(secret, call.now)
    secret.last_rotate_token = token
    return answer


def cancel_rotate_secret(call):
    secret = call.secret()
    secret.check_writable(call.store.region)
    if secret.attributes.get("rotation_lambda_arn") is None:
        raise invalid_request("You can't cancel the rotation of a secret for which rotation was "
                              "never turned on.")
    call.rotations.cancel(secret)
    secret.attributes["rotation_enabled"] = False
    secret.attributes.pop("next_rotation", None)
    answer = {"ARN": secret.arn, "Name": secret.name}
    pending = secret.rotation_version()
    if pending is not None:
        answer["VersionId"] = pending.id
    return answer


PLAYED = {
    "RotateSecret": rotate_secret,
    "CancelRotateSecret": cancel_rotate_secret,
}
