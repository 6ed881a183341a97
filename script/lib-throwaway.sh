# lib-throwaway.sh
#	  A throwaway server with TLS and rotate_ext, the emulator of Secrets Manager,
#	  and the Lambda function between them; for the demo and the benchmark, sourced
#	  by scripts that script/lib.sh's run_in_copy runs.
#
# No password is ever printed, or an argument of a program, where others could
# see it.

. script/lib.sh

work=$ROTATE_TEST_DIR
export PGHOST=$work PGUSER=postgres PGDATABASE=postgres PYTHONPATH=$PWD/test PYTHONDONTWRITEBYTECODE=yes

title()
{
	if [ -t 1 ]; then
		printf '\n\033[1m%s\033[0m\n' "$*"
	else
		printf '\n%s\n' "$*"
	fi
}

# step TEXT COMMAND...: a command that says nothing but how it ended.
step()
{
	local status log=$work/step.log

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

# control PATH [JSON]: the emulator's control port.
control()
{
	/usr/bin/python3 -c '
import json, sys
from emulator.client import Emulator
print(json.dumps(Emulator(sys.argv[1]).control(sys.argv[2], **json.load(sys.stdin))))' \
		"$work/ports.json" "$1" <<<"${2:-"{}"}"
}

# field EXPRESSION: a Python expression over the JSON on standard input, called j.
field()
{
	/usr/bin/python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"
}

# ready EXPRESSION: the same over what the emulator said when it was ready.
ready()
{
	field "$1" <"$work/ports.json"
}

build_extension()
{
	make -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" with_llvm=no && make -s PG_CONFIG="$PG_CONFIG" with_llvm=no install
}

build_function()
{
	make -s -C lambda -j"$(nproc)"
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

# start_server [SETTING...]: with a CA of its own.  Only the postmaster has AWS
# credentials; the function's role gets in with TLS and not without.
start_server()
{
	/usr/bin/python3 test/emulator/certs.py "$work/server-tls"
	initdb -D "$work/data" -U postgres -A trust --no-sync
	cat >"$work/data/pg_hba.conf" <<-END
		local   all all trust
		hostssl all rotate_lambda 127.0.0.1/32 scram-sha-256
		host    all rotate_lambda all reject
		host    all all 127.0.0.1/32 scram-sha-256
	END
	cat >>"$work/data/postgresql.conf" <<-END
		listen_addresses = '127.0.0.1'
		port = $PGPORT
		unix_socket_directories = '$work'
		fsync = on
		ssl = on
		ssl_cert_file = '$work/server-tls/server.pem'
		ssl_key_file = '$work/server-tls/server.key'
		rotate_ext.region = 'eu-central-1'
		rotate_ext.endpoint_url = 'https://127.0.0.1:$(ready 'j["https_port"]')'
		rotate_ext.ca_bundle = '$work/tls/ca.pem'
		rotate_ext.login_ca_file = '$work/server-tls/ca.pem'
	END
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$work/data/postgresql.conf"
	boot_server
}

boot_server()
{
	AWS_ACCESS_KEY_ID=$(ready 'j["access_key_id"]') AWS_SECRET_ACCESS_KEY=$(ready 'j["secret_access_key"]') \
		pg_ctl -D "$work/data" -l "$work/server.log" -w start
}

# make_login ROLE SECRET [OPTIONS]: the role, and a secret that holds its login.
make_login()
{
	local password secret

	password=$(/usr/bin/python3 -c 'import secrets; print(secrets.token_urlsafe(24))')
	psql -Xq -v ON_ERROR_STOP=1 <<<"CREATE ROLE $1 LOGIN ${3:-} PASSWORD '$password'"
	secret=$(printf '{"engine": "postgres", "host": "127.0.0.1", "port": %d, "ssl": true, "username": "%s", "password": "%s"}' \
		"$PGPORT" "$1" "$password")
	control /secrets "$(field 'json.dumps({"name": "'"$2"'",
		"versions": [{"stages": ["AWSCURRENT"], "string": json.dumps(j)}]})' <<<"$secret")"
}

# make_function_login: the function's role, as docs/lambda.md has it, and its secret.
make_function_login()
{
	make_login rotate_lambda rotate/lambda-login "CONNECTION LIMIT 4"
	psql -Xq -v ON_ERROR_STOP=1 <<-'END'
		GRANT EXECUTE ON FUNCTION public.rotate_event(jsonb) TO rotate_lambda;
		ALTER ROLE rotate_lambda SET idle_session_timeout = '10min';
		ALTER ROLE rotate_lambda SET log_parameter_max_length = 0;
		ALTER ROLE rotate_lambda SET log_parameter_max_length_on_error = 0;
		ALTER ROLE rotate_lambda SET plan_cache_mode = force_generic_plan;
	END
}

# register_function: deploy it in the emulator.  TLS is verify-full, its default.
register_function()
{
	local arn

	arn=$(secret_state rotate/lambda-login | field 'j["arn"]')
	control /functions "$(ready 'json.dumps({"name": "rotate-ext", "timeout": 60,
		"command": ["'"$PWD"'/build/lambda/rotate_lambda"], "env": {
			"TMPDIR": "'"$work"'/tmp", "PGHOST": "127.0.0.1", "PGPORT": "'"$PGPORT"'",
			"ROTATE_DB_CA": "'"$work"'/server-tls/ca.pem",
			"ROTATE_LOGIN_SECRET": "'"$arn"'",
			"AWS_ENDPOINT_URL_SECRETS_MANAGER": "https://127.0.0.1:%d" % j["https_port"],
			"AWS_CA_BUNDLE": "'"$work"'/tls/ca.pem"}})')"
}

# kill_server: as a power failure would; returns when none of its processes is left.
kill_server()
{
	local postmaster pids pid

	postmaster=$(head -n 1 "$work/data/postmaster.pid")
	pids=$(psql -XAtq -c "SELECT pid FROM pg_stat_activity")
	kill -KILL "$postmaster"
	for pid in $pids; do
		for _ in $(seq 100); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.05
		done
	done
}

secret_state()
{
	control /state "$(printf '{"secret": "%s"}' "$1")"
}

# end_throwaway: in order, where everything went well; run_in_copy ends the rest.
end_throwaway()
{
	pg_ctl -D "$work/data" -m fast -w stop >/dev/null
	kill "$(ready 'j["pid"]')"
}
