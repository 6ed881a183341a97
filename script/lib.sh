# lib.sh
#	  What the scripts beside it share; sourced by them, never run.
#
# Nothing here leaves a mark on the machine: a PostgreSQL to test with is a
# private copy of the installed one (see private_postgres), everything else
# lives below one temporary directory.

# Where the project is; the scripts may be called from anywhere.
ROTATE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say()
{
	printf '%s\n' "$*"
}

die()
{
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# The pg_config of a major version as Debian lays it out.
debian_pg_config()
{
	echo "/usr/lib/postgresql/$1/bin/pg_config"
}

# The major version that is to be used, or nothing if the machine has none
# that serves: PG_CONFIG's, ROTATE_PG_VERSION, or the newest server here.
chosen_pg_version()
{
	local version newest=

	if [ -n "${PG_CONFIG:-}" ]; then
		"$PG_CONFIG" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'
	elif [ -n "${ROTATE_PG_VERSION:-}" ]; then
		echo "$ROTATE_PG_VERSION"
	else
		for version in $(cd /usr/lib/postgresql 2>/dev/null && ls | grep -E '^[0-9]+$' | sort -n); do
			if [ "$version" -ge 15 ] && [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
				newest=$version
			fi
		done
		echo "$newest"
	fi
}

# The pg_config to build against, once bootstrap has run.
chosen_pg_config()
{
	if [ -n "${PG_CONFIG:-}" ]; then
		command -v "$PG_CONFIG"
	else
		debian_pg_config "$(chosen_pg_version)"
	fi
}

# copy_tree TARGET: the project as it stands in the work tree (not only what is
# committed), without what was built in it.
copy_tree()
{
	mkdir -p "$1"
	tar -C "$ROTATE_ROOT" -cf - --exclude=./.git --exclude=./build --exclude=./results \
		--exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude='tmp_check' --exclude='__pycache__' \
		--exclude='.deps' . | tar -C "$1" -xf - --no-same-owner
}

# private_postgres PG_CONFIG PREFIX: copy the installed PostgreSQL below PREFIX
# and print the copy's pg_config.
#
# PostgreSQL finds its directories relative to its programs, so the copy loads
# what is installed into the copy: the extension can be tried by any user,
# beside another one that is installed, and with nothing to undo.
private_postgres()
{
	local pg_config=$1 prefix=$2 dir

	for dir in --bindir --pkglibdir --sharedir; do
		dir=$("$pg_config" $dir)
		mkdir -p "$prefix$(dirname "$dir")"
		# Real files: a program looks through symbolic links for its own place.
		[ -d "$prefix$dir" ] || cp -RL "$dir" "$prefix$dir"
	done
	for dir in --includedir --includedir-server --libdir; do
		dir=$("$pg_config" $dir)
		mkdir -p "$prefix$(dirname "$dir")"
		[ -e "$prefix$dir" ] || ln -s "$dir" "$prefix$dir"
	done
	echo "$prefix$("$pg_config" --bindir)/pg_config"
}

# end_processes DIR: end what was started under the directory and outlived the
# one who started it (a server's parent is init).  Each is known by its working
# directory, or by the ROTATE_TEST_DIR it was started with; never by its name.
end_processes()
{
	local dir=$1 signal pid found

	for signal in QUIT TERM KILL; do
		found=
		for pid in $(cd /proc && ls | grep -E '^[0-9]+$'); do
			[ "$pid" = $$ ] && continue
			case "$(readlink "/proc/$pid/cwd" 2>/dev/null)/" in
				"$dir"/*) ;;
				*)
					grep -qzxF "ROTATE_TEST_DIR=$dir" "/proc/$pid/environ" 2>/dev/null || continue
					;;
			esac
			kill -"$signal" "$pid" 2>/dev/null && found=yes
		done
		[ -n "$found" ] || return 0
		sleep 1
	done
}

# run_in_copy NAME PROGRAM [ARGUMENT...]: install what is missing, and run the
# program of a copy of the tree, in a clean environment: as an ordinary user
# (called by root: as postgres), with PG_CONFIG a private PostgreSQL and
# ROTATE_TEST_DIR the temporary directory that everything is in.  Ends the
# calling script; nothing is left behind but packages.
run_in_copy()
{
	local name=$1 program=$2 pg_config private as=
	shift 2

	"$ROTATE_ROOT/script/bootstrap" || die "could not install what is needed"
	pg_config=$(chosen_pg_config) && [ -n "$pg_config" ] || die "could not find pg_config"

	# The path is short, for it holds Unix sockets, and readable by another user.
	copy_dir=$(mktemp -d "/tmp/rotate_$name.XXXXXX") || exit 1
	trap 'trap - EXIT HUP INT TERM; end_processes "$copy_dir"; rm -rf --one-file-system "$copy_dir"' EXIT
	trap 'exit 130' HUP INT TERM

	mkdir "$copy_dir/home" "$copy_dir/tmp"
	copy_tree "$copy_dir/src" || exit 1
	private=$(private_postgres "$pg_config" "$copy_dir/pg") || exit 1
	if [ "$(id -u)" -eq 0 ]; then
		chown -R postgres:postgres "$copy_dir"
		as="setpriv --reuid=postgres --regid=postgres --init-groups"
	fi
	# In the background: a trap has to wait for what is in the foreground.
	$as env -i PATH="$(dirname "$private"):/usr/local/bin:/usr/bin:/bin" HOME="$copy_dir/home" \
		TMPDIR="$copy_dir/tmp" LANG=C.UTF-8 TZ=UTC ROTATE_TEST_DIR="$copy_dir" PG_CONFIG="$private" \
		"$copy_dir/src/$program" "$@" </dev/null &
	wait $!
	exit
}
