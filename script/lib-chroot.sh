# lib-chroot.sh
#	  Debian systems of other releases, in directories; sourced by matrix and bare.
#
# They are made with debootstrap from the mirror that this machine's own apt
# uses, below $ROTATE_MATRIX_DIR (default ~/.cache/rotate_ext).
#
# /proc and /dev are mounted only in a mount namespace of the command that runs
# inside, so however that ends nothing stays mounted, and processes that it
# left behind end with it.  That makes it safe to remove such a directory.

CHROOT_DIR=${ROTATE_MATRIX_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/rotate_ext}

chroot_prerequisites()
{
	[ "$(id -u)" -eq 0 ] || die "needs root: it makes chroots and mounts in them"
	command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
	unshare --mount --pid --fork true 2>/dev/null ||
		die "this machine lets nobody make a mount namespace (a container without CAP_SYS_ADMIN?)"
	mkdir -p "$CHROOT_DIR" || exit 1
}

# Debian's mirror in this machine's apt set-up.
debian_mirror()
{
	local mirror

	mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
		sed -nE 's#^(Debian)? (.*/debian/?)$#\2#p')
	[ -n "$mirror" ] || die "could not find a Debian mirror in apt's set-up (apt-get indextargets)"
	echo "${mirror%%$'\n'*}"
}

# Sources for a suite: the mirror, and what this machine has beside it for the
# same suite (updates, security).
debian_sources()
{
	local suite=$1

	{
		echo "deb $(debian_mirror) $suite main"
		[ "$suite" != experimental ] || echo "deb $(debian_mirror) sid main"
		apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main' 'Created-By: Packages' 'Origin: Debian' |
			grep -E " $suite-[a-z]+ " || true
	} | sort -u
}

# make_chroot SUITE DIR: a bare system (debootstrap's minbase), nothing more.
make_chroot()
{
	local suite=$1 target=$2 base=$1 log="$2.log"

	[ "$suite" != experimental ] || base=sid
	say "making a bare Debian \"$suite\" in $target"
	[ ! -e "$target.new" ] || remove_chroot "$target.new"
	debootstrap --variant=minbase "$base" "$target.new" "$(debian_mirror)" >"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		die "could not make a Debian \"$suite\""
	}
	rm -f "$log"
	debian_sources "$suite" >"$target.new/etc/apt/sources.list"
	if [ "$base" = sid ]; then
		# Sid's lists expire in days; a mirror that lags is good enough to try with.
		echo 'Acquire::Check-Valid-Until "false";' >"$target.new/etc/apt/apt.conf.d/rotate_ext"
	fi
	if [ "$suite" = experimental ]; then
		# Packages of experimental are taken only where one asks for them.
		printf 'Package: postgresql* libpq* libecpg* libpgtypes*\nPin: release a=experimental\nPin-Priority: 990\n' \
			>"$target.new/etc/apt/preferences.d/postgresql"
	fi
	mv "$target.new" "$target"
}

# Removes the directory's own files, and stops at anything mounted in it.
remove_chroot()
{
	case "$1" in
		"$CHROOT_DIR"/?*) rm -rf --one-file-system "$1" ;;
		*) die "will not remove \"$1\": it is not below $CHROOT_DIR" ;;
	esac
}

# in_chroot DIR COMMAND...: as root, with a clean environment and the network
# of this machine; the packages that apt fetches are kept beside the chroots.
in_chroot()
{
	local target=$1 apt_cache
	shift

	apt_cache="$CHROOT_DIR/apt/$(. "$target/etc/os-release" && echo "${VERSION_CODENAME:-unknown}")"
	mkdir -p "$apt_cache"
	unshare --mount --pid --ipc --fork --kill-child --propagation private -- bash -c '
		set -e
		target=$1 apt_cache=$2
		shift 2
		mount -t proc proc "$target/proc"
		mount --rbind /dev "$target/dev"
		if [ -d "$target/dev/shm" ]; then
			mount -t tmpfs -o mode=1777 shm "$target/dev/shm"
		fi
		mount --bind "$apt_cache" "$target/var/cache/apt/archives"
		cat /etc/resolv.conf >"$target/etc/resolv.conf"
		cat /etc/hosts >"$target/etc/hosts"
		# in a session of its own, as on a machine, where it is not that of init
		setsid --wait chroot "$target" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			HOME=/root LANG=C.UTF-8 TERM=dumb \
			${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
			${ROTATE_PG_VERSION:+ROTATE_PG_VERSION="$ROTATE_PG_VERSION"} "$@"
	' in_chroot "$target" "$apt_cache" "$@" </dev/null
}
