"""What a request must look like: AWS's own API model, read through botocore.

Everything that the model says about an input is enforced: required members,
types, lengths, patterns.  Beyond what AWS does, members the model does not
know, nulls, duplicate keys and JSON that is not strict UTF-8 are refused: a
client that sends one of these has a bug that AWS would silently forgive.
"""

import base64
import binascii
import copy
import json
import re

from botocore.loaders import Loader

from .errors import serialization, validation

# Debian 12's botocore is older than these parts of the API.
_ADDITIONS = {
    "PutSecretValueRequest": {"RotationToken": {"shape": "RotationTokenType"}},
}
_ADDED_SHAPES = {
    "RotationTokenType": {"type": "string", "min": 36, "max": 256,
                          "pattern": r"^[a-zA-Z0-9\-]+$", "sensitive": True},
}
# AWS's present model says so; older ones allow an empty value.
_MINIMUM = {"SecretStringType": 1, "SecretBinaryType": 1}

# Their limit is meant in bytes of UTF-8.
_LENGTH_IN_BYTES = {"SecretStringType"}


def _load():
    model = copy.deepcopy(Loader().load_service_model("secretsmanager", "service-2"))
    shapes = model["shapes"]
    for name, shape in _ADDED_SHAPES.items():
        shapes.setdefault(name, shape)
    for name, members in _ADDITIONS.items():
        for member, ref in members.items():
            shapes[name]["members"].setdefault(member, ref)
    for name, minimum in _MINIMUM.items():
        shapes[name]["min"] = minimum
    return model


_MODEL = _load()
OPERATIONS = frozenset(_MODEL["operations"])


def _unique(pairs):
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise serialization("duplicate key in a JSON object")
    return dict(pairs)


def _no_constant(_name):
    raise serialization("NaN and Infinity are not JSON")


def parse_body(body):
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique,
                           parse_constant=_no_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise serialization("the request body is not JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise serialization("Start of structure or map expected")
    return value


def validate(operation, value):
    """Check a request and return it with its blobs decoded."""
    shape = _MODEL["operations"][operation]["input"]["shape"]
    return _check(shape, value, "")


def _check(shape_name, value, path):
    shape = _MODEL["shapes"][shape_name]
    return _CHECKS[shape["type"]](shape_name, shape, value, path)


def _mismatch(path, expected):
    return serialization("member '%s' is not a %s" % (path or "(root)", expected))


def _violation(shape, value, path, constraint):
    shown = "***" if shape.get("sensitive") or not isinstance(value, (str, int)) else value
    return validation(
        "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: "
        "Member must %s" % (shown, path[:1].lower() + path[1:], constraint))


def _check_structure(_name, shape, value, path):
    if not isinstance(value, dict):
        raise _mismatch(path, "structure")
    members = shape["members"]
    for required in shape.get("required", ()):
        if required not in value:
            raise _violation({"sensitive": True}, None, path + required, "not be null")
    checked = {}
    for key, member in value.items():
        if key not in members:
            raise serialization("unknown member '%s' in %s" % (path + key, _name))
        checked[key] = _check(members[key]["shape"], member, path + key)
    return checked


def _check_bounds(shape, value, path, size, noun):
    if "min" in shape and size < shape["min"]:
        raise _violation(shape, value, path, "have %s greater than or equal to %d"
                         % (noun, shape["min"]))
    if "max" in shape and size > shape["max"]:
        raise _violation(shape, value, path, "have %s less than or equal to %d"
                         % (noun, shape["max"]))


def _check_string(name, shape, value, path):
    if not isinstance(value, str):
        raise _mismatch(path, "string")
    try:
        encoded = value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise serialization("member '%s' holds half of a surrogate pair" % path) from error
    size = len(encoded) if name in _LENGTH_IN_BYTES else len(value)
    _check_bounds(shape, value, path, size, "length")
    if "enum" in shape and value not in shape["enum"]:
        raise _violation(shape, value, path,
                         "satisfy enum value set: [" + ", ".join(shape["enum"]) + "]")
    if "pattern" in shape and not re.fullmatch(shape["pattern"].strip("^$"), value):
        raise _violation(shape, value, path,
                         "satisfy regular expression pattern: " + shape["pattern"])
    return value


def _check_blob(_name, shape, value, path):
    if not isinstance(value, str):
        raise _mismatch(path, "blob in base64")
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _mismatch(path, "blob in base64") from error
    _check_bounds(shape, value, path, len(decoded), "length")
    return decoded


def _check_integer(_name, shape, value, path):
    if isinstance(value, bool) or not isinstance(value, int):
        raise _mismatch(path, "whole number")
    _check_bounds(shape, value, path, value, "value")
    return value


def _check_boolean(_name, _shape, value, path):
    if not isinstance(value, bool):
        raise _mismatch(path, "boolean")
    return value


def _check_timestamp(_name, _shape, value, path):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _mismatch(path, "timestamp")
    return value


def _check_list(_name, shape, value, path):
    if not isinstance(value, list):
        raise _mismatch(path, "list")
    _check_bounds(shape, value, path, len(value), "length")
    return [_check(shape["member"]["shape"], item, "%s.%d." % (path, index))
            for index, item in enumerate(value, 1)]


_CHECKS = {
    "structure": _check_structure,
    "string": _check_string,
    "blob": _check_blob,
    "integer": _check_integer,
    "long": _check_integer,
    "boolean": _check_boolean,
    "timestamp": _check_timestamp,
    "list": _check_list,
}
