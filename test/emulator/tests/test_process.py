"""Start, stop, TLS."""

import os
import pwd
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import unittest

from .support import EmulatorTest, ROOT, EmulatorProcess, client, tls_connect

DIRECTORY = os.path.join(ROOT, "emulator")


class Process(unittest.TestCase):
    def test_stdin(self):
        emulator = EmulatorProcess()
        self.addCleanup(emulator.stop)
        emulator.process.stdin.close()
        self.assertEqual(emulator.process.wait(timeout=10), 0)

    def test_sigterm(self):
        emulator = EmulatorProcess("--tls-name", "secretsmanager.test", "--region", "eu-west-1",
                                   "--account", "111122223333")
        self.addCleanup(emulator.stop)
        self.assertEqual(emulator.ready["pid"], emulator.process.pid)
        aws = client(emulator)
        self.addCleanup(aws.close)
        arn = aws.create_secret(Name="x", SecretString="y")["ARN"]
        self.assertTrue(arn.startswith("arn:aws:secretsmanager:eu-west-1:111122223333:secret:x-"))
        context = ssl.create_default_context(cafile=emulator.ready["ca"])
        with socket.create_connection(("127.0.0.1", emulator.ready["https_port"])) as raw, \
                context.wrap_socket(raw, server_hostname="secretsmanager.test"):
            pass
        key = os.path.join(os.path.dirname(emulator.ready["ca"]), "ca.key")
        self.assertEqual(stat.S_IMODE(os.stat(key).st_mode), 0o600)
        emulator.process.send_signal(signal.SIGTERM)
        self.assertEqual(emulator.process.wait(timeout=10), 0)

    def test_announced_on_stdout(self):
        """As another user where that can be tried, from another directory, without options."""
        options = {}
        if os.geteuid() == 0:
            options["user"] = pwd.getpwnam("nobody").pw_uid
        with tempfile.TemporaryDirectory() as temporary:
            os.chmod(temporary, 0o777)
            with subprocess.Popen([sys.executable, "-B", DIRECTORY, "--exit-with-stdin"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=temporary,
                                  env=dict(os.environ, TMPDIR=temporary), **options) as process:
                self.assertIn(b'"control_port"', process.stdout.readline())
                self.assertEqual(len(os.listdir(temporary)), 1)
                process.stdin.close()
                self.assertEqual(process.wait(timeout=10), 0)
            self.assertEqual(os.listdir(temporary), [])

    def test_certificates_by_hand(self):
        with tempfile.TemporaryDirectory() as temporary:
            subprocess.run([sys.executable, os.path.join(DIRECTORY, "certs.py"), temporary,
                            "db.test", "10.1.2.3"], check=True)
            text = subprocess.run(["openssl", "x509", "-in", os.path.join(temporary, "server.pem"),
                                   "-noout", "-ext", "subjectAltName"], check=True,
                                  capture_output=True, text=True).stdout
            for name in ("127.0.0.1", "DNS:localhost", "DNS:db.test", "10.1.2.3"):
                self.assertIn(name, text)
            subprocess.run(["openssl", "verify", "-CAfile", os.path.join(temporary, "ca.pem"),
                            os.path.join(temporary, "server.pem")], check=True,
                           capture_output=True)


class Tls(EmulatorTest):
    def port(self, certificate):
        return self.control("/listeners", certificate=certificate)["port"]

    def test_good(self):
        ready = self.emulator.ready
        self.assertEqual(self.port("good"), ready["https_port"])
        self.assertEqual(self.port("plain"), ready["http_port"])
        self.assertEqual(tls_connect(ready["https_port"], ready["ca"]), "TLSv1.3")

    def test_refused(self):
        for certificate, text in (("untrusted", "unable to get local issuer"),
                                  ("wrong_name", "IP address mismatch"),
                                  ("expired", "certificate has expired")):
            with self.subTest(certificate):
                with self.assertRaisesRegex(ssl.SSLCertVerificationError, text):
                    tls_connect(self.port(certificate), self.emulator.ready["ca"])
                self.assertEqual(self.port(certificate), self.port(certificate))

    def test_loopback_only(self):
        """Every listening socket of the emulator is on 127.0.0.1."""
        pid = self.emulator.ready["pid"]
        inodes = set()
        for name in os.listdir("/proc/%d/fd" % pid):
            target = os.readlink("/proc/%d/fd/%s" % (pid, name))
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
        addresses = []
        for table in ("tcp", "tcp6"):
            with open("/proc/%d/net/%s" % (pid, table), encoding="ascii") as lines:
                for fields in map(str.split, lines):
                    if fields[3] == "0A" and fields[9] in inodes:
                        addresses.append(fields[1].split(":")[0])
        self.assertGreaterEqual(len(addresses), 3)
        self.assertEqual(set(addresses), {"0100007F"})
