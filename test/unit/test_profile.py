#!/usr/bin/python3
"""src/aws/profile_file reads AWS's shared files as botocore does.

Covers: aws/profile_file.
"""

import os
import random
import subprocess
import sys
import tempfile

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


def by_ours(kind, path, profile):
    tool = os.path.join(os.environ["UNIT_BUILD"], "tool_profile")
    answer = subprocess.run([tool, kind, path, profile, *KEYS], capture_output=True, text=True)
    if answer.returncode != 0:
        return answer.stderr
    first, *values = answer.stdout.split("\n")[:-1]
    if first != "found":
        return first.split()[0]
    return [None if value == "-" else bytes.fromhex(value).decode() for value in values]


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
            check(f"{name} {text!r}", by_ours(kind, path, profile), by_botocore(kind, path, profile))

        check("number of the bad line", error_line(directory, "[default]\n\n# c\nregion\n"), "error 4")
        check("number of the doubled line", error_line(directory, "[default]\r\na=1\r\na=2\r\n"), "error 3")
        check("NUL", error_line(directory, "[default]\nregion = a\0b\n"), "error 2")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
