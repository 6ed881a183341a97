#!/bin/bash
#
# lib-demo.sh
#	  What script/demo shows, in its copy of the tree, as an ordinary user.
#
# No password is ever printed: what is shown of one is whether it logs in.

set -euo pipefail
cd "$(dirname "$0")/.."
. script/lib.sh

work=$ROTATE_TEST_DIR
log=$work/demo.log

title()
{
	if [ -t 1 ]; then
		printf '\n\033[1m%s\033[0m\n' "$*"
	else
		printf '\n%s\n' "$*"
	fi
}

step()
{
	local status
	printf '%s ... ' "$1"
	shift
	set +e
	(set -e; "$@") >"$log" 2>&1
	status=$?
	set -e
	if [ $status -ne 0 ]; then
		say failed
		tail -n 40 "$log"
		exit 1
	fi
	say done
}

# control PATH JSON: the emulator's control port.
control()
{
	/usr/bin/python3 - "$1" "$2" "$work/ports.json" <<-'END'
		import json, sys, urllib.request
		path, body, ports = sys.argv[1:]
		port = json.load(open(ports))["control_port"]
		print(urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body.encode()).read().decode())
	END
}

# field EXPRESSION: a Python expression over the JSON on standard input, called j.
field()
{
	/usr/bin/python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"
}

build()
{
	make -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" with_llvm=no && make -s PG_CONFIG="$PG_CONFIG" with_llvm=no install
}

start_emulator()
{
	/usr/bin/python3 test/emulator --port-file "$work/ports.json" --tls-dir "$work/tls" --region eu-central-1 &
	for _ in $(seq 100); do
		[ -s "$work/ports.json" ] && return 0
		sleep 0.1
	done
	return 1
}

free_port()
{
	/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_server()
{
	initdb -D "$work/data" -U postgres -A trust --no-sync
	echo "host all all 127.0.0.1/32 scram-sha-256" >"$work/data/pg_hba.conf.new"
	{ echo "local all all trust"; cat "$work/data/pg_hba.conf.new"; } >"$work/data/pg_hba.conf"
	cat >>"$work/data/postgresql.conf" <<-END
		listen_addresses = '127.0.0.1'
		port = $PGPORT
		unix_socket_directories = '$work'
		fsync = on
		rotate_ext.region = 'eu-central-1'
		rotate_ext.endpoint_url = 'https://127.0.0.1:$(field 'j["https_port"]' <"$work/ports.json")'
		rotate_ext.ca_bundle = '$work/tls/ca.pem'
	END
	AWS_ACCESS_KEY_ID=$(field 'j["access_key_id"]' <"$work/ports.json") \
		AWS_SECRET_ACCESS_KEY=$(field 'j["secret_access_key"]' <"$work/ports.json") \
		pg_ctl -D "$work/data" -l "$work/server.log" -w start
}

# The role, and a secret that holds its login: what a DBA has before rotate_ext comes.
make_login()
{
	local password secret
	password=$(/usr/bin/python3 -c 'import secrets; print(secrets.token_urlsafe(24))')
	psql -Xq <<<"CREATE ROLE app LOGIN PASSWORD '$password'"
	secret=$(printf '{"engine": "postgres", "host": "127.0.0.1", "port": %d, "username": "app", "password": "%s"}' \
		"$PGPORT" "$password")
	control /secrets "$(field 'json.dumps({"name": "prod/app",
		"versions": [{"stages": ["AWSCURRENT"], "string": json.dumps(j)}]})' <<<"$secret")"
	printf '%s' "$password" >"$work/old_password"
}

labels()
{
	control /state '{"secret": "prod/app"}' |
		field '"\n".join("  %-12s %s" % (label, id) for label, id in sorted(j["labels"].items()))'
}

# The password of the version that carries AWSCURRENT, as an application gets it.
current_password()
{
	control /state '{"secret": "prod/app"}' |
		field 'json.loads(j["versions"][j["labels"]["AWSCURRENT"]]["string"])["password"]'
}

# try_login NAME PASSWORD
try_login()
{
	local answer
	if answer=$(PGPASSWORD=$2 psql -XAtq -h 127.0.0.1 -U app -c 'SELECT current_user' postgres 2>&1); then
		say "  $1: accepted, logged in as \"$answer\""
	else
		say "  $1: refused (${answer##*FATAL:  })"
	fi
}

title "Preparing"
step "Building rotate_ext" build
step "Starting an emulator of Secrets Manager, over HTTPS" start_emulator
PGPORT=$(free_port)
export PGPORT PGHOST=$work PGUSER=postgres PGDATABASE=postgres PGOPTIONS="-c client_min_messages=notice"
step "Starting a throwaway $(postgres --version | sed 's/ (.*//')" start_server
step "Creating role \"app\" and secret \"prod/app\" with its login" make_login

title "Before"
labels
try_login "AWSCURRENT's password" "$(current_password)"

title "CREATE EXTENSION rotate_ext;  SELECT * FROM rotate_now('prod/app');"
psql -Xq -c 'CREATE EXTENSION rotate_ext'
psql -Xx -P footer=off -c "SELECT secret, role, version_id, outcome, lockout, total, detail ->> 'tls' AS tls,
	detail ->> 'requests' AS requests FROM rotate_now('prod/app')" 2>&1

title "After"
labels
try_login "the old password" "$(cat "$work/old_password")"
try_login "AWSCURRENT's password" "$(current_password)"

title "The time that each phase took"
psql -X -P footer=off -c "SELECT p ->> 'action' || coalesce('(' || (p ->> 'version') || ')', '') AS phase,
	round((p ->> 'at_ms')::numeric, 1) AS \"from, ms\", round((p ->> 'ms')::numeric, 1) AS \"took, ms\"
	FROM rotate_history, jsonb_array_elements(phases) WITH ORDINALITY AS e (p, n) ORDER BY n"
psql -XAtq -c "SELECT 'Lockout window (AWSCURRENT did not log in): ' ||
	round(extract(epoch FROM lockout) * 1000, 1) || ' ms' FROM rotate_history"

title "SELECT * FROM rotate_status;"
psql -Xx -P footer=off -c "SELECT secret, role, state, last_success, consecutive_failures FROM rotate_status"
pg_ctl -D "$work/data" -m fast -w stop >/dev/null
