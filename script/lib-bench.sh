#!/bin/bash
#
# lib-bench.sh
#	  What script/bench runs, in its copy of the tree, as an ordinary user.
#
#	  lib-bench.sh REPEAT LATENCY[,LATENCY...]

set -euo pipefail
cd "$(dirname "$0")/.."
. script/lib-throwaway.sh

make_roles()
{
	psql -Xq -c 'CREATE EXTENSION rotate_ext'
	make_function_login
	make_login app bench/app
	make_login direct bench/direct
	psql -Xq -v ON_ERROR_STOP=1 -c "SELECT rotate_register(name) FROM unnest('{bench/app,bench/direct}'::text[]) AS name"
}

step "Building rotate_ext" build_extension
step "Building the Lambda function" build_function
step "Starting an emulator of Secrets Manager, over HTTPS" start_emulator
PGPORT=$(free_port)
export PGPORT
# the time of the commit that sets a password is how the lockout is seen from outside
step "Starting a throwaway server" start_server "track_commit_timestamp = on"
step "Creating roles and secrets" make_roles
step "Deploying the function in the emulator" register_function
title "Measuring; this takes about a minute"
/usr/bin/python3 bench/lambda_rotation.py "$work/ports.json" "$work/tls/ca.pem" "$work/server-tls/ca.pem" "$1" "$2"
end_throwaway
