#!/usr/bin/python3
"""src/core/endpoint finds the host that botocore finds, for every region that botocore knows.

Covers: core/endpoint.
"""

import os
import subprocess
import sys

import botocore.session
from botocore.regions import EndpointResolver

resolver = EndpointResolver(botocore.session.get_session().get_data("endpoints"))
expected = {}
for partition in resolver.get_available_partitions():
    regions = resolver.get_available_endpoints("secretsmanager", partition, allow_non_regional=True)
    for region in regions:
        # "fips-us-east-1" and its like are endpoints of their own, not regions
        if "fips" not in region:
            expected[region] = resolver.construct_endpoint("secretsmanager", region)["hostname"]
# a region that is newer than any table
expected["eu-nowhere-9"] = "secretsmanager.eu-nowhere-9.amazonaws.com"

tool = os.path.join(os.environ["UNIT_BUILD"], "tool_endpoint")
answer = subprocess.run([tool], input="\n".join(expected) + "\n", capture_output=True, text=True)
got = dict(zip(expected, answer.stdout.splitlines()))
wrong = {region: got.get(region) for region in expected if got.get(region) != expected[region]}
for region, host in wrong.items():
    print(f"not ok: {region}: got {host}, expected {expected[region]}")
if len(expected) < 20:
    wrong["few"] = "botocore knows too few regions for this to be a test"
    print(f"not ok: {wrong['few']}")
print(f"{len(expected) - len(wrong)} passed, {len(wrong)} failed")
sys.exit(1 if wrong else 0)
