#!/bin/bash
#
# lib-soak.sh
#	  What script/soak runs, in its copy of the tree, as an ordinary user: the test
#	  test/t/094_soak.pl, for longer.
#
#	  lib-soak.sh SECONDS SEED

set -euo pipefail
cd "$(dirname "$0")/.."
. script/lib-throwaway.sh

step "Building rotate_ext" build_extension
say "$(($1 / 60)) minutes with seed $2"
cd test
log=$work/soak.log
pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")/..
export TESTDIR=$work/tap TESTDATADIR=$work/tap/tmp_check TESTLOGDIR=$work/tap/tmp_check/log
export PG_REGRESS=$pgxs/test/regress/pg_regress PG_TEST_PORT_DIR=$work/tap/ports
export ROTATE_SOAK_SECONDS=$1 ROTATE_SOAK_SEED=$2
unset PGHOST PGUSER PGDATABASE
mkdir -p "$TESTLOGDIR" "$PG_TEST_PORT_DIR"
status=0
perl -I "$pgxs/test/perl" -I t/lib t/094_soak.pl 2>&1 | tee "$log" || status=$?

passed=$(grep -cE '^ok [0-9]' "$log" || true)
failed=$(grep -cE '^not ok [0-9]' "$log" || true)
[ $status -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
if [ "$failed" -gt 0 ]; then
	say "---- the end of the test's own log"
	tail -n 100 "$TESTLOGDIR/regress_log_094_soak"
	say "----"
fi
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
