#!/usr/bin/python3
"""src/core/words splits a command line as Python's shlex does, which botocore uses for credential_process.

Covers: core/words.
"""

import os
import random
import shlex
import subprocess
import sys

MAX_WORDS = 16
RANDOM_LINES = 5000
SEED = 11

CASES = [
    "", " ", "a", "a b", "  a  b  ", "a\tb\nc\rd", "'a b'", '"a b"', "a'b c'd", 'a"b c"d', "''", '""', "a '' b", "a''",
    "\\a", "\\ a", "a\\ b", "a\\", "'a", '"a', "'a\\'", "'a\\'b'", '"a\\"b"', '"a\\\\b"', '"a\\b"', '"a\\$b"', '"a\\',
    "a # b", "#a", "a#b", "$HOME `id` $(id)", "a;b|c&d>e<f", "~/x *.c ?", "a\x0bb", "a\x0cb", "\xa0a", "ä ö", "'\n'",
    "/usr/bin/x --profile 'my profile' --region=eu-central-1", " ".join("x" * 17), " ".join("x" * 16),
]  # fmt: skip

passed = failed = 0


def expected(line):
    try:
        words = shlex.split(line)
    except ValueError:
        return -1
    return -2 if len(words) > MAX_WORDS else words


def read(answer):
    number, *words = answer.split()
    return [bytes.fromhex(word.replace("-", "")).decode() for word in words] if int(number) >= 0 else int(number)


def main():
    global passed, failed
    rng = random.Random(SEED)
    lines = CASES + ["".join(rng.choices("ab \t'\"\\\\$#\n", k=rng.randint(1, 14))) for _ in range(RANDOM_LINES)]
    # more than fits comes before what is wrong behind it
    lines = [line for line in lines if line.count(" ") < 40]
    tool = os.path.join(os.environ["UNIT_BUILD"], "tool_text")
    asked = "".join(f"words {line.encode().hex() or '-'}\n" for line in lines)
    run = subprocess.run([tool], input=asked, capture_output=True, text=True, check=True)
    for line, answer in zip(lines, run.stdout.splitlines(), strict=True):
        if read(answer) == expected(line):
            passed += 1
        else:
            failed += 1
            print(f"not ok: {line!r}\n   got      {read(answer)}\n   expected {expected(line)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
