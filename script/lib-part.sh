#!/bin/bash
#
# lib-part.sh
#	  Run one part of the tests; script/test calls it in its copy of the tree.
#
# As an ordinary user, with PG_CONFIG the private PostgreSQL and ROTATE_TEST_DIR
# the temporary directory that everything lives in.  Prints the tests' output;
# where one failed, log/PART.failed says what is worth reading.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

part=$1
jobs=$ROTATE_TEST_JOBS
failed_log="$ROTATE_TEST_DIR/log/$part.failed"
pgxs_dir=$(dirname "$("$PG_CONFIG" --pgxs)")/..

# The installed headers' warnings are not ours, and the bitcode for just in
# time compilation would only compile everything once more.
make_with()
{
	make PG_CONFIG="$PG_CONFIG" with_llvm=no "$@"
}

# check NAME COMMAND...: one line of TAP for a command.
check()
{
	local name=$1 log
	shift

	log=$(mktemp)
	if "$@" >"$log" 2>&1; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		status=1
		{
			echo "$name:"
			tail -n 100 "$log"
		} | tee -a "$failed_log" | sed 's/^/# /'
	fi
	rm -f "$log"
}

part_install()
{
	make_with -s -j"$jobs" COPT=-Werror && make_with -s install
}

build_with_clang()
{
	# PostgreSQL was configured for gcc, whose options clang partly ignores.
	cp -R . "$ROTATE_TEST_DIR/clang" && cd "$ROTATE_TEST_DIR/clang" && make_with clean &&
		make_with -s -j"$jobs" CC=clang \
			COPT='-Werror -Wno-unknown-warning-option -Wno-ignored-optimization-argument -Wno-ignored-attributes'
}

# Other versions of clang-format lay out the same style differently.
check_format()
{
	local file wrong=0

	while IFS= read -r file; do
		"$1" --style=file "$file" | cmp -s - "$file" || {
			echo "$file: not formatted as clang-format does it: $(basename "$1") -i $file"
			wrong=1
		}
	done < <(find . -name '*.[ch]' -not -path './build/*' | sort)
	return $wrong
}

check_scripts()
{
	local file wrong=0

	for file in .ci/run $(grep -lE '^#!/bin/(ba)?sh' -r script) script/lib*.sh; do
		bash -n "$file" || wrong=1
	done
	for file in bench/*.py lambda/*.py; do
		/usr/bin/python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$file" || wrong=1
	done
	return $wrong
}

part_build()
{
	local clang_format

	status=0
	echo "ok - build with gcc, without a warning"	# or script/test would have stopped
	check "build with clang, without a warning" build_with_clang
	clang_format=$(command -v clang-format-14 || command -v clang-format)
	if "$clang_format" --version | grep -q 'version 14\.'; then
		check "formatting" check_format "$clang_format"
	else
		echo "ok - formatting # SKIP needs clang-format 14"
	fi
	check "syntax of the scripts" check_scripts
	return $status
}

# wanted_files DIRECTORY FILE...: those that script/test was asked for, or all.
wanted_files()
{
	local directory=$1 file
	shift

	for file in "$@"; do
		if [ -z "$ROTATE_TEST_FILES" ]; then
			echo "$file"
		else
			case " $ROTATE_TEST_FILES " in
				*" $directory/$file "*) echo "$file" ;;
			esac
		fi
	done
}

# run_one FILE: one test file, with a log and a time limit of its own.
run_one()
{
	local file=$1 name log

	name=$(basename "$file")
	log="$LOGS/$name.log"
	case $file in
		*.c) set -- "$UNIT_BUILD/${name%.c}" ;;
		*.py) set -- /usr/bin/python3 -B "$file" ;;
		*.pl) set -- prove --verbose --timer $PROVE_ARGS "$file" ;;
	esac
	timeout -k 10 "$ROTATE_TEST_FILE_TIMEOUT" "$@" >"$log" 2>&1
	echo $? >"$log.status"
}
export -f run_one

# run_files FILE...: several at a time; prints the logs in the files' order.
run_files()
{
	local file name log code status=0

	export LOGS="$ROTATE_TEST_DIR/log/$part"
	mkdir -p "$LOGS"
	[ $# -gt 0 ] || return 0
	printf '%s\n' "$@" | xargs -P "$jobs" -I '{}' bash -c 'run_one "{}"'
	for file in "$@"; do
		name=$(basename "$file")
		log="$LOGS/$name.log"
		code=$(cat "$log.status" 2>/dev/null)
		echo "== $file"
		cat "$log"
		[ "$code" = 0 ] && continue
		status=1
		grep -aqE '^not ok|^[0-9]+ passed, [1-9][0-9]* failed' "$log" || echo "not ok - $name ended with status $code before its last line"
		{
			echo "== $file (exit status $code)"
			grep -avE '^ *ok\b' "$log" | tail -n 100
			if [ -f "${TESTLOGDIR:-}/regress_log_${name%.pl}" ]; then
				echo "-- the end of its own log"
				tail -n 60 "$TESTLOGDIR/regress_log_${name%.pl}"
			fi
		} >>"$failed_log"
	done
	return $status
}

part_unit()
{
	export UNIT_BUILD="$ROTATE_TEST_DIR/unit"
	cd test/unit && make -j"$jobs" BUILD="$UNIT_BUILD" COPT=-Werror all >"$ROTATE_TEST_DIR/log/unit-build.log" 2>&1 || {
		tail -n 100 "$ROTATE_TEST_DIR/log/unit-build.log" | tee "$failed_log"
		return 1
	}
	run_files $(wanted_files test/unit $(make -s list))
}

part_emulator()
{
	cd test/emulator && python3 -B -W error::SyntaxWarning -m unittest discover -v -s tests -t . 2>&1
}

part_regress()
{
	local base="$ROTATE_TEST_DIR/regress" status

	mkdir -p "$base"
	initdb --no-sync --auth=trust --username=postgres --encoding=UTF8 --locale=C -D "$base/data" >"$base/initdb.log" 2>&1 || {
		cat "$base/initdb.log"
		return 1
	}
	cat >>"$base/data/postgresql.conf" <<-END
		listen_addresses = ''
		unix_socket_directories = '$base'
		fsync = off
	END
	pg_ctl -D "$base/data" -l "$base/server.log" -w start || {
		cat "$base/server.log"
		return 1
	}
	PGHOST="$base" PGUSER=postgres make_with installcheck
	status=$?
	pg_ctl -D "$base/data" -m immediate stop >/dev/null
	if [ $status -ne 0 ]; then
		{
			tail -n 40 "$ROTATE_TEST_DIR/log/regress.log"
			head -n 300 regression.diffs 2>/dev/null
			echo "-- the end of the server's log"
			tail -n 60 "$base/server.log"
		} >"$failed_log"
	fi
	return $status
}

part_tap()
{
	cd test || return 1
	export TESTDIR="$ROTATE_TEST_DIR/tap"
	export TESTDATADIR="$TESTDIR/tmp_check" TESTLOGDIR="$TESTDIR/tmp_check/log"
	export PG_REGRESS="$pgxs_dir/test/regress/pg_regress" PG_TEST_PORT_DIR="$TESTDIR/ports"
	export PROVE_ARGS="-I $pgxs_dir/test/perl -I t/lib"
	mkdir -p "$TESTLOGDIR" "$PG_TEST_PORT_DIR"
	run_files $(wanted_files test t/*.pl)
}

"part_$part"
