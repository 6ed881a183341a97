#!/usr/bin/python3
"""src/aws/profile_file reads AWS's shared files as botocore does.

Covers: aws/profile_file.
"""

import os
import random
import subprocess
import sys
import tempfile

import botocore.session
from botocore import configloader
from botocore.exceptions import ConfigParseError

KEYS = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token", "region"]
RANDOM_FILES = 150
SEED = 7

GOOD = "aws_access_key_id = AKID\naws_secret_access_key = SECRET\n"

# name: (kind, text, profile)
CASES = {
    "plain": ("credentials", "[default]\n" + GOOD, "default"),
    "another profile": ("credentials", "[default]\n" + GOOD + "[prod]\nregion=x\n", "prod"),
    "absent profile": ("credentials", "[default]\n" + GOOD, "prod"),
    "no line end at the end": ("credentials", "[default]\nregion = x", "default"),
    "empty file": ("credentials", "", "default"),
    "blank lines only": ("credentials", "\n \n\t\n", "default"),
    "session token": ("credentials", "[default]\n" + GOOD + "aws_session_token = a/b+c==\n", "default"),
    "no blanks": ("credentials", "[default]\naws_access_key_id=AKID\n", "default"),
    "many blanks": ("credentials", "[default]\naws_access_key_id \t =  \t AKID \t \n", "default"),
    "colon": ("credentials", "[default]\naws_access_key_id: AKID\n", "default"),
    "colon before equals": ("credentials", "[default]\naws_access_key_id: A=B\n", "default"),
    "equals in the value": ("credentials", "[default]\naws_secret_access_key = a=b=c\n", "default"),
    "upper-case key": ("credentials", "[default]\nAWS_Access_Key_ID = AKID\n", "default"),
    "upper-case section": ("credentials", "[Default]\nregion = x\n", "default"),
    "hash comment": ("credentials", "# a\n[default]\n# b = c\nregion = x\n", "default"),
    "semicolon comment": ("credentials", "; a\n[default]\n  ; b = c\nregion = x\n", "default"),
    "comment after a value": ("credentials", "[default]\nregion = x # y\n", "default"),
    "semicolon after a value": ("credentials", "[default]\nregion = x ; y\n", "default"),
    "comment after a section": ("credentials", "[default] # y\nregion = x\n", "default"),
    "text after a section": ("credentials", "[default] y\nregion = x\n", "default"),
    "two brackets": ("credentials", "[default] y]\nregion = x\n", "default"),
    "blank in a section": ("credentials", "[ default ]\nregion = x\n", "default"),
    "indented section": ("credentials", "  [default]\nregion = x\n", "default"),
    "indented keys": ("credentials", "[default]\n  region = x\n  aws_access_key_id = AKID\n", "default"),
    "indented deeper": ("credentials", "[default]\n  region = x\n    aws_access_key_id = AKID\n", "default"),
    "indented less": ("credentials", "[default]\n    region = x\n  aws_access_key_id = AKID\n", "default"),
    "indented keys in a second section": ("credentials", "[a]\nregion = x\n[default]\n  region = y\n", "default"),
    "continued value": ("credentials", "[default]\nregion = x\n  y\n  z\n", "default"),
    "continued after a blank line": ("credentials", "[default]\nregion = x\n\n  y\n", "default"),
    "continued after a comment": ("credentials", "[default]\nregion = x\n# c\n  y\n", "default"),
    "blank lines after a value": ("credentials", "[default]\nregion = x\n\n\naws_access_key_id = AKID\n", "default"),
    "nested": ("credentials", "[default]\ns3 =\n  region = x\n  a = b\nregion = y\n", "default"),
    "a key that is a group": ("credentials", "[default]\nregion =\n  a = b\n", "default"),
    "nested without equals": ("credentials", "[default]\ns3 =\n  a\nregion = y\n", "default"),
    "nested with a blank line": ("credentials", "[default]\ns3 =\n\n  a = b\n\nregion = y\n", "default"),
    "nested by colon": ("credentials", "[default]\ns3 =\n  a : b\nregion = y\n", "default"),
    "empty value": ("credentials", "[default]\nregion =\naws_access_key_id = AKID\n", "default"),
    "section twice": ("credentials", "[default]\nregion = x\n[default]\nregion = y\n", "default"),
    "key twice": ("credentials", "[default]\nregion = x\nregion = y\n", "default"),
    "key twice in another case": ("credentials", "[default]\nregion = x\nREGION = y\n", "default"),
    "same key in two sections": ("credentials", "[a]\nregion = x\n[b]\nregion = y\n", "b"),
    "key before a section": ("credentials", "region = x\n[default]\n", "default"),
    "no delimiter": ("credentials", "[default]\nregion\n", "default"),
    "no key": ("credentials", "[default]\n= x\n", "default"),
    "blank key": ("credentials", "[default]\n  : x\n", "default"),
    "empty section name": ("credentials", "[]\nregion = x\n", "default"),
    "section not closed": ("credentials", "[default\nregion = x\n", "default"),
    "section not closed, with delimiter": ("credentials", "[a]\n[default = x\nregion = x\n", "a"),
    "CR LF": ("credentials", "[default]\r\nregion = x\r\naws_access_key_id = AKID\r\n", "default"),
    "CR LF, continued": ("credentials", "[default]\r\nregion = x\r\n  y\r\n\r\n  z\r\n", "default"),
    "CR alone": ("credentials", "[default]\rregion = x\raws_access_key_id = AKID\r", "default"),
    "quotes are kept": ("credentials", '[default]\nregion = "x"\n', "default"),
    "percent signs are kept": ("credentials", "[default]\nregion = %(a)s %%\n", "default"),
    "dollar signs are kept": ("credentials", "[default]\nregion = $HOME ~\n", "default"),
    "not ASCII": ("credentials", "[default]\nregion = é\n", "default"),
    "byte order mark": ("credentials", "\ufeff[default]\nregion = x\n", "default"),
    "profile prefix in a credentials file": ("credentials", "[profile prod]\nregion = x\n", "prod"),
    "config: default": ("config", "[default]\nregion = x\n", "default"),
    "config: profile default": ("config", "[profile default]\nregion = x\n", "default"),
    "config: both defaults": ("config", "[default]\nregion = x\n[profile default]\nregion = y\n", "default"),
    "config: both, the other way": ("config", "[profile default]\nregion = x\n[default]\nregion = y\n", "default"),
    "config: profile": ("config", "[profile prod]\nregion = x\n", "prod"),
    "config: no prefix": ("config", "[prod]\nregion = x\n", "prod"),
    "config: many blanks": ("config", "[profile \t prod  ]\nregion = x\n", "prod"),
    "config: double quotes": ("config", '[profile "prod x"]\nregion = x\n', "prod x"),
    "config: single quotes": ("config", "[profile 'prod x']\nregion = x\n", "prod x"),
    "config: quotes in the middle": ("config", "[profile pr'o'd]\nregion = x\n", "prod"),
    "config: quote not closed": ("config", "[profile 'prod]\nregion = x\n", "prod"),
    "config: backslash": ("config", "[profile prod\\ x]\nregion = x\n", "prod x"),
    "config: backslash at the end": ("config", "[profile prod\\]\nregion = x\n", "prod"),
    "config: backslash in double quotes": ("config", '[profile "a\\"b\\c"]\nregion = x\n', 'a"b\\c'),
    "config: backslash in single quotes": ("config", "[profile 'a\\']\nregion = x\n", "a\\"),
    "config: two words": ("config", "[profile prod x]\nregion = x\n", "prod"),
    "config: only the word": ("config", "[profile]\nregion = x\n", "profile"),
    "config: a longer word": ("config", "[profiles prod]\nregion = x\n", "prod"),
    "config: empty quotes": ("config", "[profile '']\nregion = x\n", ""),
    "config: sso-session": ("config", "[sso-session prod]\nregion = x\n", "prod"),
    "config: the same profile in two spellings": ("config", "[profile p]\nregion=x\n[profile 'p']\nregion=y\n", "p"),
}

# name: (credentials file, config file, profile)
BOTH = {
    "both": ("[default]\n" + GOOD, "[default]\nregion = x\n", "default"),
    "the same key in both": ("[default]\nregion = x\n", "[default]\nregion = y\n", "default"),
    "keys in config only": ("[other]\nregion = x\n", "[default]\n" + GOOD, "default"),
    "a profile of credentials only": ("[p]\n" + GOOD, "[default]\nregion = y\n", "p"),
    "a profile of config only": ("[default]\n" + GOOD, "[profile p]\nregion = y\n", "p"),
    "a profile of both": ("[p]\n" + GOOD, "[profile p]\nregion = y\naws_session_token = t\n", "p"),
    "config without prefix": ("[p]\n" + GOOD, "[p]\nregion = y\n", "p"),
    "credentials with prefix": ("[profile p]\nregion = x\n", "[profile p]\naws_session_token = t\n", "p"),
    "a profile of neither": ("[a]\nregion = x\n", "[profile b]\nregion = y\n", "p"),
    "no default inherited": ("[default]\n" + GOOD, "[profile p]\nregion = y\n[default]\nregion = z\n", "p"),
    "both empty": ("", "", "default"),
    "credentials broken": ("[default\n", "[default]\nregion = y\n", "default"),
    "config broken": ("[default]\n" + GOOD, "region\n", "default"),
    "default in both spellings": ("[default]\n" + GOOD, "[profile default]\nregion = y\n[default]\nregion = z\n", "default"),
    "half a key in each": ("[p]\naws_access_key_id = A\n", "[profile p]\naws_secret_access_key = S\n", "p"),
    "not ASCII in both": ("[ü]\nregion = é\n", "[profile ü]\naws_session_token = ß\n", "ü"),
    "quoted in config, plain in credentials": ("[a b]\n" + GOOD, '[profile "a b"]\nregion = y\n', "a b"),
}

# of a config file: name: (text, section, service); asked for endpoint_url and other
SERVICES = {
    "plain": ("[services a]\nsts =\n  endpoint_url = https://x\n", "a", "sts"),
    "the second service": ("[services a]\nsts =\n  endpoint_url = x\nsecrets_manager =\n  endpoint_url = y\n", "a",
                           "secrets_manager"),
    "another service": ("[services a]\ns3 =\n  endpoint_url = x\n", "a", "sts"),
    "another section": ("[services b]\nsts =\n  endpoint_url = x\n", "a", "sts"),
    "two keys": ("[services a]\nsts =\n  other = o\n  endpoint_url = x\n", "a", "sts"),
    "the key twice": ("[services a]\nsts =\n  endpoint_url = x\n  endpoint_url = y\n", "a", "sts"),
    "many blanks": ("[services \t a ]\nsts = \n \t endpoint_url \t=\t x \t\n", "a", "sts"),
    "upper case": ("[services a]\nSTS =\n  ENDPOINT_URL = x\n  endpoint_url = y\n", "a", "sts"),
    "no group": ("[services a]\nsts = endpoint_url = x\n", "a", "sts"),
    "equals in the value": ("[services a]\nsts =\n  endpoint_url = x=y\n", "a", "sts"),
    "nothing in the value": ("[services a]\nsts =\n  endpoint_url =\n", "a", "sts"),
    "a comment in between": ("[services a]\nsts =\n  # c\n  endpoint_url = x\n", "a", "sts"),
    "a blank line in between": ("[services a]\nsts =\n\n  endpoint_url = x\n\n", "a", "sts"),
    "quoted": ("[services 'a b']\nsts =\n  endpoint_url = x\n", "a b", "sts"),
    "three words": ("[services a b]\nsts =\n  endpoint_url = x\n", "a", "sts"),
    "CR LF": ("[services a]\r\nsts =\r\n  endpoint_url = x\r\n", "a", "sts"),
    "a profile of that name": ("[profile a]\nsts =\n  endpoint_url = x\n", "a", "sts"),
    "a key that ends alike": ("[services a]\nsts =\n  my_endpoint_url = x\n", "a", "sts"),
}

passed = failed = 0


def check(name, got, expected):
    global passed, failed
    if got == expected:
        passed += 1
    else:
        failed += 1
        print(f"not ok: {name}\n   got      {got}\n   expected {expected}")


def by_botocore(kind, path, profile):
    try:
        if kind == "config":
            profiles = configloader.load_config(path)["profiles"]
        else:
            profiles = configloader.raw_config_parse(path)
    except ConfigParseError:
        return "error"
    if profile not in profiles:
        return "absent"
    values = (profiles[profile].get(key) for key in KEYS)
    return [None if isinstance(value, dict) else value for value in values]


def tool(*arguments):
    program = os.path.join(os.environ["UNIT_BUILD"], "tool_profile")
    answer = subprocess.run([program, *arguments], capture_output=True, text=True)
    if answer.returncode != 0:
        return answer.stderr
    first, *values = answer.stdout.split("\n")[:-1]
    if first.startswith("error"):
        return "error"
    if first != "found":
        return first
    return [None if value == "-" else bytes.fromhex(value).decode() for value in values]


def both_by_botocore(credentials, config, profile):
    """What a session makes of both: what every setting but the keys is taken from."""
    session = botocore.session.Session(profile=profile)
    session.set_config_variable("credentials_file", credentials)
    session.set_config_variable("config_file", config)
    try:
        if profile not in session.full_config["profiles"]:
            return "absent"
        values = session.get_scoped_config()
    except ConfigParseError:
        return "error"
    return [values.get(key) for key in KEYS]


def services_by_botocore(path, section, service):
    try:
        services = configloader.load_config(path)["services"]
    except ConfigParseError:
        return "error"
    if section not in services:
        return "absent"
    group = services[section].get(service, {})
    return [group.get(key) if isinstance(group, dict) else None for key in ("endpoint_url", "other")]


def write(path, text):
    with open(path, "w", newline="", encoding="utf-8") as stream:
        stream.write(text)
    return path


def random_file(rng):
    pieces = ["[default]", "[p]", "[", "]", "region", "aws_access_key_id", "AWS_SESSION_TOKEN", "s3", "a", "=", ":", " "]
    pieces += ["  ", "\t", "#", ";", "\n", "\n", "\n", "\r\n", "\n  ", "\n    ", "x", "\x0b", "\x1c", "'"]
    weights = [4 if piece in ("=", "\n", "[default]", "region") else 1 for piece in pieces]
    start = rng.choice(["[default]\n", "[default]\nregion = x", ""])
    return start + "".join(rng.choices(pieces, weights, k=rng.randint(0, 40)))


def error_line(directory, text):
    path = os.path.join(directory, "file")
    with open(path, "w", newline="") as stream:
        stream.write(text)
    tool = os.path.join(os.environ["UNIT_BUILD"], "tool_profile")
    return subprocess.run([tool, "credentials", path, "default"], capture_output=True, text=True).stdout.strip()


def main():
    rng = random.Random(SEED)
    cases = dict(CASES)
    for i in range(RANDOM_FILES):
        cases[f"random {i}"] = ("credentials", random_file(rng), "default")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "file")
        for name, (kind, text, profile) in cases.items():
            with open(path, "w", newline="", encoding="utf-8") as stream:
                stream.write(text)
            check(f"{name} {text!r}", tool(kind, path, profile, *KEYS), by_botocore(kind, path, profile))

        for name, (credentials, config, profile) in BOTH.items():
            write(path, credentials)
            write(path + "2", config)
            check(f"both files: {name}", tool("both", path, path + "2", profile, *KEYS),
                  both_by_botocore(path, path + "2", profile))
        if "services" in configloader.load_config(write(path, "")):
            for name, (text, section, service) in SERVICES.items():
                write(path, text)
                check(f"services: {name}", tool("services", path, section, service, "endpoint_url", "other"),
                      services_by_botocore(path, section, service))

        check("number of the bad line", error_line(directory, "[default]\n\n# c\nregion\n"), "error 4")
        check("number of the doubled line", error_line(directory, "[default]\r\na=1\r\na=2\r\n"), "error 3")
        check("NUL", error_line(directory, "[default]\nregion = a\0b\n"), "error 2")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
