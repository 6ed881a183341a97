"""Measure one rotation through the Lambda function, many times, and beside each
a rotate_now() and a bare login.  README.md says what each number is.

    lambda_rotation.py PORT_FILE CA DATABASE_CA REPEAT LATENCY,...

script/lib-bench.sh prepares what this uses: in the server at PGHOST, PGPORT the
roles app and direct, in the emulator their secrets and the function.
"""

import json
import os
import sys
import time

import boto3

import libpq
from emulator.client import Emulator
from report import Samples, heading, machine

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
FUNCTION = "rotate-ext"
WARM_UP = 3


class Bench:
    def __init__(self, port_file, ca, database_ca):
        self.emulator = Emulator(port_file)
        self.database_ca = database_ca
        ready = self.emulator.ready
        self.client = boto3.client(
            "secretsmanager", region_name=ready["region"], endpoint_url=self.emulator.https_url,
            verify=ca, aws_access_key_id=ready["access_key_id"],
            aws_secret_access_key=ready["secret_access_key"])
        self.session = libpq.Connection(
            host=os.environ["PGHOST"], port=os.environ["PGPORT"], user=os.environ["PGUSER"],
            dbname="postgres", options="-c client_min_messages=warning")
        functions = self.emulator.control("/functions/list")["functions"]
        self.function = next(item for item in functions if item["name"] == FUNCTION)
        self.last_run = 0
        self.samples = None

    def round(self, latency_ms, repeat):
        """All repetitions at one latency of Secrets Manager."""
        self.emulator.control("/settings", latency=latency_ms / 1000)
        for number in range(-WARM_UP, repeat):
            if number <= 0:
                self.samples = Samples()    # the last one: after the warm-up
            self.through_function("app", "bench/app")
            self.by_rotate_now("direct", "bench/direct")
            self.bare_login("app", "bench/app")

    def _begin(self, secret):
        # old versions would add up to AWS's limit, and the logs grow
        self.emulator.control("/versions/prune", secret=secret)
        self.emulator.control("/log/clear")
        self.emulator.control("/invocations/clear")

    def _add(self, name, value):
        self.samples.add(name, value)

    def through_function(self, role, secret):
        # a cold start each time, as after thirty days
        self.emulator.control("/functions/kill", function=FUNCTION)
        self._begin(secret)
        begun = time.monotonic()
        self.client.rotate_secret(SecretId=secret, RotationLambdaARN=self.function["arn"],
                                  RotationRules={"AutomaticallyAfterDays": 30})
        rotation = self.emulator.control("/rotations/wait", secret=secret)["rotation"]
        invocations = self.emulator.control("/invocations")["invocations"]
        if rotation["status"] != "succeeded" or rotation["attempts"] != 1:
            raise RuntimeError("the rotation has not succeeded at once: %s %s" % (
                rotation["status"], rotation["reason"]))
        if tuple(item["step"] for item in invocations) != STEPS:
            raise RuntimeError("these are not the four invocations of one rotation")

        self._add("whole", (invocations[-1]["ended"] - begun) * 1000)
        self._add("cold start", invocations[0]["init_seconds"] * 1000)
        self._add("memory", max(item["memory_kb"] for item in invocations) / 1024)
        for item in invocations:
            answer = item["response"]
            if isinstance(answer, str):
                answer = json.loads(answer)
            self._add(item["step"], item["seconds"] * 1000)
            self._add(item["step"] + " in database", answer["total_ms"])
        self._add("lockout", self._lockout("rotate_event: setSecret"))
        log = self.emulator.control("/log")
        self._add("lockout outside", self._lockout_outside(role, log))
        function_keys = {entry["access_key_id"] for entry in log["entries"]
                         if entry["access_key_id"].startswith("ASIA")}
        # RotateSecret itself is the caller's
        entries = [entry for entry in log["entries"] if entry["operation"] != "RotateSecret"]
        by_function = [entry for entry in entries if entry["access_key_id"] in function_keys]
        self._add("requests", len(entries))
        self._add("requests of the function", len(by_function))
        self._add("operations", _counted(entries))
        self._move_request(log)

    def by_rotate_now(self, role, secret):
        self._begin(secret)
        begun = time.monotonic()
        row = self.session.rows("SELECT outcome, detail ->> 'requests' AS requests, detail ->> 'tls' AS tls"
                                " FROM rotate_now('%s')" % secret)[0]
        self._add("now", (time.monotonic() - begun) * 1000)
        if row["outcome"] != "rotated":
            raise RuntimeError("rotate_now has not rotated: " + row["outcome"])
        self._add("now lockout", self._lockout("rotate_now"))
        log = self.emulator.control("/log")
        self._add("now lockout outside", self._lockout_outside(role, log))
        self._add("now requests", log["count"])
        self._add("now operations", _counted(log["entries"]))

    def bare_login(self, role, secret):
        """What libpq needs for one login as the worker does it: TLS verify-full, SCRAM."""
        state = self.emulator.control("/state", secret=secret)
        login = json.loads(state["versions"][state["labels"]["AWSCURRENT"]]["string"])
        connection = libpq.Connection(
            host=login["host"], port=login["port"], user=role, dbname="postgres",
            password=login["password"], sslmode="verify-full", sslrootcert=self.database_ca)
        self._add("login", connection.seconds * 1000)
        connection.close()

    def _lockout(self, source):
        """In milliseconds, as the run that set the password measured it."""
        row = self.session.rows(
            "SELECT run_id, extract(epoch FROM lockout) * 1000 AS ms FROM rotate_history"
            " WHERE source = '%s' AND lockout IS NOT NULL AND run_id > %d"
            " ORDER BY run_id DESC LIMIT 1" % (source, self.last_run))[0]
        self.last_run = int(row["run_id"])
        return float(row["ms"])

    def _lockout_outside(self, role, log):
        """From the commit of the new verifier to the end of the call that moved the label."""
        committed = float(self.session.rows(
            "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) AS at FROM pg_authid"
            " WHERE rolname = '%s'" % role)[0]["at"])
        move = _move(log)
        return (move["time"] + move["ended"] - move["started"] - committed) * 1000

    def _move_request(self, log):
        move = _move(log)
        self._add("move request", (move["ended"] - move["started"]) * 1000)


def _move(log):
    return next(entry for entry in log["entries"]
                if entry["operation"] == "UpdateSecretVersionStage")


def _counted(entries):
    counts = {}
    for entry in entries:
        counts[entry["operation"]] = counts.get(entry["operation"], 0) + 1
    return ", ".join("%d %s" % (count, name) for name, count in sorted(counts.items()))


def show(samples, latency):
    heading("Secrets Manager takes %d ms more a request" % latency if latency
            else "Secrets Manager answers at once")
    print(" through the Lambda function")
    samples.line("cold start", "start of the process to its first next")
    for step in STEPS:
        samples.line(step, step)
        samples.line(step + " in database", "    of it the run in the database")
    samples.line("whole", "RotateSecret to the answer of finishSecret")
    samples.line("lockout", "lockout window")
    samples.line("lockout outside", "    the same, seen from outside")
    samples.line("move request", "    of it moving AWSCURRENT, in Secrets Manager")
    samples.line("requests", "requests to Secrets Manager", "", 0)
    samples.line("requests of the function", "    of them by the function", "", 0)
    samples.line("memory", "peak memory of the function", "MB")
    print(" by rotate_now()")
    samples.line("now", "call to row")
    samples.line("now lockout", "lockout window")
    samples.line("now lockout outside", "    the same, seen from outside")
    samples.line("now requests", "requests to Secrets Manager", "", 0)
    print(" a bare login")
    samples.line("login", "libpq, TLS verify-full, SCRAM")
    print(" ratios")
    samples.ratio("lockout", "now lockout", "lockout: through the function / rotate_now()")
    samples.ratio("lockout", "login", "lockout through the function / bare login")
    samples.ratio("now lockout", "login", "lockout of rotate_now() / bare login")
    samples.ratio("whole", "now", "whole: through the function / rotate_now()")
    print(" the requests, and how many of each")
    for name, label in (("operations", "through the function"), ("now operations", "rotate_now()")):
        for counted in samples.distinct(name):
            print("  %s: %s" % (label, counted))


def main(port_file, ca, database_ca, repeat, latencies):
    bench = Bench(port_file, ca, database_ca)
    server = bench.session.rows("SELECT current_setting('server_version') AS version,"
                                " current_setting('fsync') AS fsync,"
                                " current_setting('scram_iterations', true) AS iterations")[0]
    print("Rotations: medians of %d repetitions, after %d to warm up" % (int(repeat), WARM_UP))
    for line in machine():
        print("  " + line)
    print("  PostgreSQL %s, fsync %s, libpq %s, SCRAM iterations %s" % (
        server["version"], server["fsync"], libpq.version(), server["iterations"] or "4096"))
    for latency in latencies.split(","):
        bench.round(int(latency), int(repeat))
        show(bench.samples, int(latency))
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
