#!/usr/bin/python3
"""boto3 for the tests: calls of Secrets Manager, one a line, until the end of the input.

In: {"operation": "rotate_secret", "parameters": {...}}.  Out: {"answer": {...}}, or {"error": code,
"message": text}.  Endpoint, CA, region and keys are in the environment, as every SDK reads them; but the
endpoint, which this boto3 may be too old to read there.
"""

import json
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

client = boto3.client("secretsmanager", endpoint_url=os.environ["AWS_ENDPOINT_URL_SECRETS_MANAGER"],
                      config=Config(retries={"max_attempts": 0}))
for line in sys.stdin:
    call = json.loads(line)
    try:
        answer = getattr(client, call["operation"])(**call["parameters"])
        answer.pop("ResponseMetadata")
        result = {"answer": answer}
    except ClientError as error:
        result = {"error": error.response["Error"]["Code"], "message": error.response["Error"]["Message"]}
    print(json.dumps(result, default=str), flush=True)
