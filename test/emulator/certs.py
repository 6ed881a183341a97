"""A throwaway CA and server certificates, made with the openssl command.

Also by hand: /usr/bin/python3 test/emulator/certs.py DIR [NAME...]
"""

import ipaddress
import os
import subprocess
import sys

DEFAULT_NAMES = ("127.0.0.1", "localhost")

# Listeners with these certificates exist to be refused.
KINDS = ("good", "untrusted", "wrong_name", "expired")


def _openssl(*arguments):
    done = subprocess.run(("openssl",) + arguments, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError("could not run openssl " + arguments[0] + ": " + done.stderr.strip())


def _key(path):
    # the file is made before openssl writes into it, so nobody else can read it
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def _alt_name(name):
    try:
        return "IP:" + str(ipaddress.ip_address(name))
    except ValueError:
        return "DNS:" + name


def make_ca(directory, name="ca"):
    """Make NAME.pem and NAME.key in the directory; returns the path of NAME.pem."""
    key = os.path.join(directory, name + ".key")
    pem = os.path.join(directory, name + ".pem")
    if not os.path.exists(pem):
        _key(key)
        _openssl("req", "-x509", "-new", "-key", key, "-sha256", "-days", "30",
                 "-subj", "/CN=emulator throwaway " + name,
                 "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", pem)
    return pem


def make_server(directory, name="server", names=DEFAULT_NAMES, ca="ca", days=30):
    """Make NAME.pem and NAME.key, signed by the CA; returns both paths."""
    base = os.path.join(directory, name)
    pem, key, csr, ext = (base + suffix for suffix in (".pem", ".key", ".csr", ".ext"))
    _key(key)
    with open(ext, "w", encoding="ascii") as out:
        out.write("basicConstraints=critical,CA:FALSE\n"
                  "keyUsage=critical,digitalSignature\n"
                  "extendedKeyUsage=serverAuth\n"
                  "subjectAltName=" + ",".join(map(_alt_name, names)) + "\n")
    _openssl("req", "-new", "-key", key, "-subj", "/CN=" + names[-1], "-out", csr)
    _openssl("x509", "-req", "-in", csr, "-CA", os.path.join(directory, ca + ".pem"),
             "-CAkey", os.path.join(directory, ca + ".key"), "-CAcreateserial",
             "-sha256", "-days", str(days), "-extfile", ext, "-out", pem)
    os.unlink(csr)
    os.unlink(ext)
    return pem, key


def make_kind(directory, kind, names=DEFAULT_NAMES):
    """The certificate and key of one of KINDS."""
    make_ca(directory)
    if kind == "good":
        return make_server(directory, "server", names)
    if kind == "untrusted":
        make_ca(directory, "other-ca")
        return make_server(directory, "untrusted", names, ca="other-ca")
    if kind == "wrong_name":
        return make_server(directory, "wrong-name", ("secretsmanager.invalid",))
    if kind == "expired":
        return make_server(directory, "expired", names, days=-1)
    raise ValueError("unknown kind of certificate: " + kind)


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    make_kind(sys.argv[1], "good", DEFAULT_NAMES + tuple(sys.argv[2:]))
