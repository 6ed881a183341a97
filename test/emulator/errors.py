"""API errors, and the shapes in which AWS sends them.

The AWS protocols allow an error's type in three places and its text under two
names; which one a service uses has changed over the years.  A client has to
read all of them, so all of them can be played.
"""

import itertools
import json

NAMESPACE = "com.amazonaws.secretsmanager"

# plain      __type: X, message           (what Secrets Manager mostly sends)
# namespaced __type: namespace#X, message
# capital    __type: X, Message           (IAM and KMS denials)
# header     only x-amzn-ErrorType: X:http://..., message
# both       header with the suffix, __type with the prefix, Message
STYLES = ("plain", "namespaced", "capital", "header", "both")

_rotation = itertools.cycle(STYLES)


class ApiError(Exception):
    """An answer of the service that is an error; message may be None."""

    def __init__(self, type_, message, status=400):
        super().__init__(type_, message)
        self.type = type_
        self.message = message
        self.status = status


def resource_not_found(what="secret."):
    return ApiError("ResourceNotFoundException",
                    "Secrets Manager can't find the specified " + what)


def invalid_parameter(message):
    return ApiError("InvalidParameterException", message)


def invalid_request(message):
    return ApiError("InvalidRequestException", message)


def validation(message):
    return ApiError("ValidationException", message)


def serialization(message):
    return ApiError("SerializationException", message)


def render(error, style):
    """Headers and body of the error in one of STYLES, or 'rotate': each in turn."""
    if style == "rotate":
        style = next(_rotation)
    headers = {}
    body = {}
    if style in ("header", "both"):
        headers["x-amzn-ErrorType"] = (
            error.type + ":http://internal.amazon.com/coral/" + NAMESPACE + "/")
    if style in ("namespaced", "both"):
        body["__type"] = NAMESPACE + "#" + error.type
    elif style in ("plain", "capital"):
        body["__type"] = error.type
    if error.message is not None:
        body["Message" if style in ("capital", "both") else "message"] = error.message
    return headers, json.dumps(body).encode()
