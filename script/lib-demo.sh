#!/bin/bash
#
# lib-demo.sh
#	  What script/demo shows, in its copy of the tree, as an ordinary user.
#
# No password is ever printed: what is shown of one is whether it logs in.

set -euo pipefail
cd "$(dirname "$0")/.."
. script/lib-throwaway.sh

labels()
{
	secret_state prod/app | field '"\n".join("  %-12s %s" % (label, id) for label, id in sorted(j["labels"].items()))'
}

# The password of the version that carries AWSCURRENT, as an application gets it.
current_password()
{
	secret_state prod/app | field 'json.loads(j["versions"][j["labels"]["AWSCURRENT"]]["string"])["password"]'
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

# after OLD_PASSWORD
after()
{
	title "After"
	labels
	try_login "the old password" "$1"
	try_login "AWSCURRENT's password" "$(current_password)"
}

# lockout RUNS: of those of rotate_history the one that set the password.
lockout()
{
	psql -XAtq -c "SELECT 'Lockout window (AWSCURRENT did not log in): ' ||
		round(extract(epoch FROM lockout) * 1000, 1) || ' ms' FROM rotate_history WHERE $1 AND lockout IS NOT NULL"
}

# What Amazon's command line is told where it can't find it out.
aws_command()
{
	AWS_ACCESS_KEY_ID=$(ready 'j["access_key_id"]') AWS_SECRET_ACCESS_KEY=$(ready 'j["secret_access_key"]') \
		AWS_EC2_METADATA_DISABLED=true /usr/bin/aws --region eu-central-1 \
		--endpoint-url "https://127.0.0.1:$(ready 'j["https_port"]')" --ca-bundle "$work/tls/ca.pem" "$@"
}

first_act()
{
	local old

	title "Before"
	labels
	old=$(current_password)
	try_login "AWSCURRENT's password" "$old"

	title "CREATE EXTENSION rotate_ext;  SELECT * FROM rotate_now('prod/app');"
	psql -Xq -c 'CREATE EXTENSION rotate_ext'
	psql -Xx -P footer=off -c "SELECT secret, role, version_id, outcome, lockout, total, detail ->> 'tls' AS tls,
		detail ->> 'requests' AS requests FROM rotate_now('prod/app')" 2>&1
	after "$old"

	title "The time that each phase took"
	psql -X -P footer=off -c "SELECT p ->> 'action' || coalesce('(' || (p ->> 'version') || ')', '') AS phase,
		round((p ->> 'at_ms')::numeric, 1) AS \"from, ms\", round((p ->> 'ms')::numeric, 1) AS \"took, ms\"
		FROM rotate_history, jsonb_array_elements(phases) WITH ORDINALITY AS e (p, n) ORDER BY n"
	lockout true

	title "SELECT * FROM rotate_status;"
	psql -Xx -P footer=off -c "SELECT secret, role, state, last_success, consecutive_failures FROM rotate_status"
}

second_act()
{
	local old last_run arn rotation

	step "Building the Lambda function" build_function
	step "Creating its role \"rotate_lambda\", which may call rotate_event() and nothing else" make_function_login
	step "Deploying the function in the emulator" register_function

	title "Before"
	labels
	old=$(current_password)
	try_login "AWSCURRENT's password" "$old"
	last_run=$(psql -XAtq -c "SELECT max(run_id) FROM rotate_history")

	arn=$(control /functions/list | field 'j["functions"][0]["arn"]')
	title "aws secretsmanager rotate-secret --secret-id prod/app --rotation-rules AutomaticallyAfterDays=30"
	say "    --rotation-lambda-arn $arn"
	aws_command secretsmanager rotate-secret --secret-id prod/app --rotation-lambda-arn "$arn" \
		--rotation-rules AutomaticallyAfterDays=30

	title "What Secrets Manager saw of it"
	rotation=$(control /rotations/wait '{"secret": "prod/app"}')
	field '"  the rotation: %s, attempts: %d" % (j["rotation"]["status"], j["rotation"]["attempts"])' <<<"$rotation"
	control /invocations | field '"\n".join(["  step          outcome     started at        took"] + [
		"  %-12s  %-10s %8.1f ms %8.1f ms%s" % (i["step"], i["outcome"],
			(i["delivered"] - j["invocations"][0]["started"]) * 1000, i["seconds"] * 1000,
			"  (cold: process ready after %.1f ms)" % (i["init_seconds"] * 1000) if i["cold"]
			else "") for i in j["invocations"]])'
	after "$old"

	title "What the database recorded of the four steps"
	psql -X -P footer=off -c "SELECT run_id AS run, source, outcome,
		round(extract(epoch FROM finished_at - started_at) * 1000, 1) AS \"took, ms\",
		round(extract(epoch FROM lockout) * 1000, 1) AS \"lockout, ms\"
		FROM rotate_history WHERE run_id > $last_run ORDER BY run_id"
	lockout "run_id > $last_run"
	[ "$(field 'j["rotation"]["status"]' <<<"$rotation")" = succeeded ] || die "the rotation has not succeeded"
}

third_act()
{
	local old last_run fault rotation killed

	old=$(current_password)
	last_run=$(psql -XAtq -c "SELECT max(run_id) FROM rotate_history")

	title "SELECT * FROM rotate_now('prod/app');  while Secrets Manager does not answer"
	fault=$(control /faults '{"action": "hang", "operation": "UpdateSecretVersionStage"}' | field 'j["id"]')
	psql -Xq -c "SELECT rotate_now('prod/app')" >"$work/killed.log" 2>&1 &
	rotation=$!
	[ "$(control /faults/wait '{"id": '"$fault"'}' | field 'j["reached"]')" = True ] || die "the rotation did not get there"
	say "  The role has its new password, the label has not moved:"
	labels
	try_login "AWSCURRENT's password" "$old"

	title "kill -9 of the postmaster, and a start"
	kill_server
	wait $rotation || :
	control /faults/clear >/dev/null
	boot_server >/dev/null 2>&1
	for _ in $(seq 100); do
		killed=$(psql -XAtq -c "SELECT extract(milliseconds FROM finished_at - pg_postmaster_start_time())::int
			FROM rotate_history WHERE run_id > $last_run AND source = 'launcher' AND outcome = 'completed'")
		[ -z "$killed" ] || break
		sleep 0.1
	done
	[ -n "$killed" ] || die "the rotation was not finished"
	say "  The launcher finished the rotation $killed ms after the server's start."
	after "$old"

	title "What the database recorded"
	psql -X -P footer=off -c "SELECT run_id AS run, source, attempt, outcome FROM rotate_history
		WHERE run_id > $last_run ORDER BY run_id"
	title "SELECT * FROM rotate_status;"
	psql -Xx -P footer=off -c "SELECT secret, state, last_success, consecutive_failures, recovery FROM rotate_status"
}

title "Preparing"
step "Building rotate_ext" build_extension
step "Starting an emulator of Secrets Manager, over HTTPS" start_emulator
PGPORT=$(free_port)
export PGPORT PGOPTIONS="-c client_min_messages=notice"
step "Starting a throwaway $(postgres --version | sed -E 's/^postgres \(PostgreSQL\) ([^ ]+).*/PostgreSQL \1/')" start_server \
	"shared_preload_libraries = 'rotate_ext'"
step "Creating role \"app\" and secret \"prod/app\" with its login" make_login app prod/app

title "==== First: the database rotates, when it is told to ===="
first_act

title "==== Second: Secrets Manager rotates, through the Lambda function ===="
second_act

title "==== Third: the server is killed when nobody can log in ===="
third_act
end_throwaway
