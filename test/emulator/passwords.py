"""GetRandomPassword's rules."""

import secrets
import string

from .errors import invalid_parameter

PUNCTUATION = string.punctuation

_random = secrets.SystemRandom()


def random_password(parameters):
    length = parameters.get("PasswordLength", 32)
    excluded = set(parameters.get("ExcludeCharacters", ""))
    groups = []
    for flag, characters in (("ExcludeLowercase", string.ascii_lowercase),
                             ("ExcludeUppercase", string.ascii_uppercase),
                             ("ExcludeNumbers", string.digits),
                             ("ExcludePunctuation", PUNCTUATION)):
        if not parameters.get(flag, False):
            groups.append(characters)
    if parameters.get("IncludeSpace", False):
        groups.append(" ")
    groups = ["".join(sorted(set(group) - excluded)) for group in groups]

    alphabet = "".join(groups)
    if not alphabet:
        raise invalid_parameter("All characters are excluded from the password.")
    required = []
    if parameters.get("RequireEachIncludedType", True):
        if not all(groups):
            raise invalid_parameter("RequireEachIncludedType is set, and a type is included of "
                                    "which all characters are excluded.")
        if length < len(groups):
            raise invalid_parameter("The password length is too short for one character of each "
                                    "required type.")
        required = [_random.choice(group) for group in groups]
    characters = required + [_random.choice(alphabet) for _ in range(length - len(required))]
    _random.shuffle(characters)
    return "".join(characters)
