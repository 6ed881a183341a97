#!/usr/bin/python3
"""Packs the Lambda function: the program, every library it needs, and a list of them.

    package.py interpreter        print the path of this machine's dynamic linker
    package.py zip PROGRAM ZIP    write the zip

The libraries are the distribution's own files, byte for byte, so that what is
in the zip can be told by package and version, and renewed by building again.
The C library and its dynamic linker are among them: Lambda's are older than
the ones the others were built with, and are changed under us.

Not in the list of libraries, since glibc 2.34 has them in itself: those that
look up host names (files and dns).

The same files give the same zip, byte for byte.
"""

import glob
import os
import re
import subprocess
import sys
import zipfile

ROOTS = ("Amazon_Root_CA_*.crt", "Starfield_Services_Root_Certificate_Authority_-_G2.crt")
ROOTS_DIR = "/usr/share/ca-certificates/mozilla"


def die(text):
    sys.exit("package.py: " + text)


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, check=False)
    if done.returncode != 0:
        die("could not run %s: %s" % (" ".join(command), done.stdout.strip()))
    return done.stdout


def interpreter():
    found = re.search(r"program interpreter: ([^\]]+)\]", run("readelf", "--program-headers", sys.executable))
    if not found:
        die("could not find the dynamic linker's name in " + sys.executable)
    return found.group(1)


def libraries(program):
    """Name in the zip -> path here, of all that the program needs, at any depth."""
    found = {}
    listing = run("ldd", program)
    if "not found" in listing:
        die("a library is missing:\n" + listing)
    for name, path in re.findall(r"^\s+(\S+) => (/\S+) \(", listing, re.MULTILINE):
        found[os.path.basename(name)] = path
    found[os.path.basename(interpreter())] = interpreter()
    return found


def check(program, found):
    """What would make a library of the system's be loaded in the place of ours."""
    version = os.confstr("CS_GNU_LIBC_VERSION").split()[-1]
    if tuple(map(int, version.split(".")[:2])) < (2, 34):
        die("glibc %s looks up names by libraries of the system's; 2.34 or later is needed" % version)
    for path in found.values():
        dynamic = run("readelf", "--dynamic", path)
        if re.search(r"\((RUNPATH|RPATH)\)", dynamic):
            die(path + " has a search path of its own")
    if "(RUNPATH)" in run("readelf", "--dynamic", program):
        die(program + " has RUNPATH, which LD_LIBRARY_PATH overrides")


def package_of(path):
    """Debian package and version that a file is of."""
    real = os.path.realpath(path)
    for name in (path, real, real[len("/usr"):] if real.startswith("/usr/") else "/usr" + real):
        done = subprocess.run(("dpkg-query", "--search", name), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False)
        # A package that took the place of another's file has a line of its own, "diversion by … from: …".
        owners = [line.split(": ")[0] for line in done.stdout.splitlines() if not line.startswith("diversion by ")]
        if done.returncode == 0 and owners:
            package = owners[0].split(", ")[0]
            return run("dpkg-query", "--show", "--showformat", "${Package} ${Version}", package)
    return die("no package has the file " + path)


def roots():
    paths = sorted(path for pattern in ROOTS for path in glob.glob(os.path.join(ROOTS_DIR, pattern)))
    if len(paths) < 5:
        die("could not find Amazon's root certificates in %s; the package ca-certificates has them" % ROOTS_DIR)
    return paths


def read(path):
    with open(path, "rb") as file:
        return file.read()


def pack(program, target):
    found = libraries(program)
    check(program, found)
    entries = {"bootstrap": (read(program), 0o755)}
    lines = []
    for name, path in found.items():
        entries["lib/" + name] = (read(path), 0o755)
        lines.append("lib/%s %s" % (name, package_of(path)))
    entries["aws-ca.pem"] = (b"".join(read(path).rstrip(b"\n") + b"\n" for path in roots()), 0o644)
    lines.append("aws-ca.pem %s" % package_of(roots()[0]))
    entries["LIBRARIES"] = ("\n".join(sorted(lines)).encode() + b"\n", 0o644)

    with zipfile.ZipFile(target + ".new", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name in sorted(entries):
            content, mode = entries[name]
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (0o100000 | mode) << 16
            out.writestr(info, content)
    os.replace(target + ".new", target)
    print("%s: %.1f MB, %.1f MB unpacked, %d libraries" % (
        target, os.path.getsize(target) / 1e6, sum(len(c) for c, _ in entries.values()) / 1e6, len(found)))


if __name__ == "__main__":
    if sys.argv[1:] == ["interpreter"]:
        print(interpreter())
    elif len(sys.argv) == 4 and sys.argv[1] == "zip":
        pack(sys.argv[2], sys.argv[3])
    else:
        sys.exit(__doc__)
