"""The Makefile says what is missing, or too old, before the compiler does."""

import os
import stat
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PGXS = "/dev/null"  # there, and empty
VERSIONS = {"libcurl": "7.88.1", "libcrypto": "3.0.0", "jansson": "2.14"}


def program(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return path


def make(pg_version="PostgreSQL 15.1", pgxs=PGXS, **versions):
    """What make says, with a pg_config and a pkg-config that know these versions only."""
    with tempfile.TemporaryDirectory() as directory:
        pg_config = "/nonexistent/pg_config"
        if pg_version:
            pg_config = program(directory, "pg_config",
                                f'case $1 in --version) echo "{pg_version}";; --pgxs) echo "{pgxs}";; esac\n')
        known = {**VERSIONS, **versions}
        cases = "".join(f"{name}) v={version};;\n" for name, version in known.items() if version)
        pkg_config = program(directory, "pkg-config", f"""
last() {{ for word; do :; done; echo "$word"; }}
set -- $*
case $1 in
--exists) name=$2 least=$4;;
*) name=$(last "$@");;
esac
case $name in
{cases}*) exit 1;;
esac
case $1 in
--exists) [ "$(printf '%s\\n' "$least" $v | sort -V | head -n 1)" = "$least" ];;
--modversion) echo $v;;
esac
""")
        run = subprocess.run(["make", "-C", ROOT, "-n", f"PG_CONFIG={pg_config}", f"PKG_CONFIG={pkg_config}"],
                             capture_output=True, text=True, check=False)
        return run.returncode, run.stderr


CASES = [
    ("no pg_config", {"pg_version": None}, "PostgreSQL's pg_config was not found"),
    ("PostgreSQL 14", {"pg_version": "PostgreSQL 14.9"}, "rotate_ext needs PostgreSQL 15 or later, and "),
    ("no server headers", {"pgxs": "/nonexistent/pgxs.mk"}, "PostgreSQL's server headers (PGXS) are missing"),
    ("no libcurl", {"libcurl": None}, "rotate_ext needs libcurl 7.61.0 or later, found none; install"),
    ("an old libcurl", {"libcurl": "7.60.0"}, "rotate_ext needs libcurl 7.61.0 or later, found 7.60.0; install"),
    ("no OpenSSL", {"libcrypto": None}, "rotate_ext needs libcrypto 1.1.1 or later, found none; install"),
    ("an old OpenSSL", {"libcrypto": "1.1.0"}, "rotate_ext needs libcrypto 1.1.1 or later, found 1.1.0; install"),
    ("no jansson", {"jansson": None}, "rotate_ext needs jansson 2.11 or later, found none; install"),
    ("an old jansson", {"jansson": "2.10"}, "rotate_ext needs jansson 2.11 or later, found 2.10; install"),
]


def main():
    failed = 0
    for name, arguments, expected in CASES:
        status, said = make(**arguments)
        if status == 0 or expected not in said:
            failed += 1
            print(f"{name}: expected \"{expected}\", make said: {said}")
    # with nothing missing none of this is said
    _, said = make()
    if "rotate_ext needs" in said or "missing" in said or "not found" in said:
        failed += 1
        print(f"nothing missing: make said: {said}")
    print(f"{len(CASES) + 1 - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
