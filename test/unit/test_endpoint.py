#!/usr/bin/python3
"""src/core/endpoint finds the hosts that botocore's rules give: Secrets Manager's and STS's, in every region of every
partition, plain, FIPS, dual stack, and both.

The rules are those in botocore/ (see the README there), and the installed botocore's own. Both are evaluated by the
installed botocore. Where that is older than the rules in botocore/, its own are asked for plain and FIPS only: what is
dual stack has changed since.

Covers: core/endpoint.
"""

import json
import os
import subprocess
import sys

import botocore
import botocore.session
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.regions import EndpointResolver

CARRIED_VERSION = (1, 43, 117)
SERVICES = ["secretsmanager", "sts"]

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "botocore")
loader = botocore.session.get_session().get_component("data_loader")
installed_version = tuple(int(part) for part in botocore.__version__.split("."))
failures = []


def carried(name):
    with open(os.path.join(here, f"{name}.json"), encoding="utf-8") as stream:
        return json.load(stream)


def regions_of(partitions):
    """Not "aws-global" and its like: names for a partition's global services."""
    return {region for p in partitions["partitions"] for region in p["regions"] if not region.endswith("-global")}


def host(provider, service, region, fips, dual_stack):
    parameters = {"Region": region, "UseFIPS": fips, "UseDualStack": dual_stack}
    if service == "sts":
        parameters["UseGlobalEndpoint"] = False
    try:
        url = provider.resolve_endpoint(**parameters).url
    except BotoCoreError as error:
        return f"error: {error}"
    assert url.startswith("https://"), url
    return url[len("https://") :]


def by_rules(partitions, rules, variants, extra=()):
    """{(service, region, fips, dual_stack): host}"""
    expected = {}
    for service in SERVICES:
        provider = EndpointProvider(rules(service), partitions)
        for region in sorted(regions_of(partitions) | set(extra)):
            for fips, dual_stack in variants:
                expected[service, region, fips, dual_stack] = host(provider, service, region, fips, dual_stack)
    return expected


def by_endpoint_table():
    """What botocore went by before it had rules; it names the regions that each service is in."""
    resolver = EndpointResolver(loader.load_data("endpoints"))
    expected = {}
    for service in SERVICES:
        for partition in resolver.get_available_partitions():
            for region in resolver.get_available_endpoints(service, partition):
                expected[service, region, False, False] = resolver.construct_endpoint(service, region)["hostname"]
                fips = resolver.construct_endpoint(service, region, use_fips_endpoint=True)
                expected[service, region, True, False] = fips["hostname"]
    return expected


def compare(what, expected, lowest):
    tool = os.path.join(os.environ["UNIT_BUILD"], "tool_endpoint")
    asked = "".join(f"{s} {r} {int(fips)} {int(dual)}\n" for s, r, fips, dual in expected)
    answer = subprocess.run([tool], input=asked, capture_output=True, text=True)
    got = answer.stdout.splitlines()
    if len(expected) < lowest or len(got) != len(expected):
        failures.append(f"{what}: {len(expected)} endpoints, {len(got)} answers {answer.stderr}")
    for key, line in zip(expected, got):
        if line != expected[key]:
            failures.append(f"{what}: {key}: got {line}, expected {expected[key]}")
    return len(expected)


plain = [(False, False), (True, False)]
every = plain + [(False, True), (True, True)]
# newer than any table
future = ["eu-nowhere-9", "us-gov-nowhere-9", "cn-nowhere-9"]
n = compare("carried rules", by_rules(carried("partitions"), carried, every, future), 300)


def installed(service):
    return loader.load_service_model(service, "endpoint-rule-set-1")


variants = every if installed_version >= CARRIED_VERSION else plain
n += compare("installed rules", by_rules(loader.load_data("partitions"), installed, variants), 100)
n += compare("installed table", by_endpoint_table(), 100)

for failure in failures:
    print(f"not ok: {failure}")
print(f"{n - len(failures)} passed, {len(failures)} failed")
sys.exit(1 if failures else 0)
