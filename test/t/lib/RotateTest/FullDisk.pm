# FullDisk.pm
#	  A server whose WAL is on a small disk, which can be filled and freed.
#
#	my $disk = RotateTest::FullDisk->new($node);    # after its init, before its start
#	$disk->fill($t);                                # there is next to no room for WAL any more
#	$disk->free;
#
# The disk is a tmpfs in a mount namespace of its own, which the server is
# started in.  Where an unprivileged user gets no namespaces (a container may
# forbid them), a library that is loaded into the server says instead that no
# space is left for pg_wal.  The node needs WAL segments of 1 MB.

package RotateTest::FullDisk;

use strict;
use warnings;

use IPC::Open2 qw(open2);
use PostgreSQL::Test::Utils;
use RotateTest;
use Test::More;

my $segment = 1024 * 1024;
my $segments = 32;

# What the namespaces live on; servers in them are still to be stopped when a test dies.
my @pipes;

sub new
{
	my ($class, $node) = @_;
	my $self = bless {
		node => $node,
		wal => $node->data_dir . '/pg_wal',
		dir => PostgreSQL::Test::Utils::tempdir('disk')
	}, $class;

	$self->{kind} = $self->_mount ? 'a tmpfs' : $self->_preload;
	note("the full disk is $self->{kind}");
	return $self;
}

# False where that is not allowed.  The namespace lives as long as a cat that
# reads from here; pg_ctl, found in PATH, enters it, as the user it was.
sub _mount
{
	my $self = shift;
	my ($wal, $bytes) = ($self->{wal}, $segment * $segments);
	my $back = "unshare -U --map-user=$<";

	$self->{pid} = open2(my $out, my $in, 'unshare', '-Urm', 'sh', '-c',
		"cp -R '$wal' '$self->{dir}/wal' && mount -t tmpfs -o size=$bytes,mode=0700 tmpfs '$wal' "
		  . "&& cp -R '$self->{dir}/wal/.' '$wal' && $back true && echo ready && exec cat");
	push @pipes, $out, $in;
	my $ready = readline $out;
	return 0 unless defined $ready && $ready eq "ready\n";

	my $pg_ctl = $self->{node}->config_data('--bindir') . '/pg_ctl';
	$self->{enter} = "nsenter -t $self->{pid} -U -m --preserve-credentials $back";
	PostgreSQL::Test::Utils::append_to_file("$self->{dir}/pg_ctl", "#!/bin/sh\nexec $self->{enter} '$pg_ctl' \"\$@\"\n");
	chmod 0755, "$self->{dir}/pg_ctl";
	$ENV{PATH} = "$self->{dir}:$ENV{PATH}";
	return 1;
}

sub _preload
{
	my $self = shift;

	PostgreSQL::Test::Utils::append_to_file("$self->{dir}/full.c", <<'END');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Is it a file of pg_wal, and no space left there? */
static int
is_full(int fd)
{
	char link[64];
	char path[PATH_MAX + 1];
	const char *flag = getenv("FULL_DISK");
	ssize_t length;

	if (flag == NULL || access(flag, F_OK) != 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, PATH_MAX);
	if (length <= 0)
		return 0;
	path[length] = '\0';
	return strstr(path, "/pg_wal/") != NULL;
}

#define NO_SPACE(fd) if (is_full(fd)) { errno = ENOSPC; return -1; }

ssize_t
pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	static ssize_t (*next)(int, const void *, size_t, off_t);

	NO_SPACE(fd);
	if (!next)
		next = dlsym(RTLD_NEXT, "pwrite");
	return next(fd, buffer, size, offset);
}

ssize_t
pwrite64(int fd, const void *buffer, size_t size, off_t offset)
{
	return pwrite(fd, buffer, size, offset);
}

ssize_t
pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	static ssize_t (*next)(int, const struct iovec *, int, off_t);

	NO_SPACE(fd);
	if (!next)
		next = dlsym(RTLD_NEXT, "pwritev");
	return next(fd, vector, count, offset);
}

ssize_t
pwritev64(int fd, const struct iovec *vector, int count, off_t offset)
{
	return pwritev(fd, vector, count, offset);
}
END
	system("cc -shared -fPIC -o '$self->{dir}/full.so' '$self->{dir}/full.c' -ldl") == 0
	  or die 'could not build the library that plays a full disk';
	return 'a library loaded into the server';
}

# What the postmaster is to have in its environment.
sub environment
{
	my $self = shift;
	return $self->{enter} ? () : (LD_PRELOAD => "$self->{dir}/full.so", FULL_DISK => "$self->{dir}/full");
}

# Segments that are there already are used up, but for a little of the last one.
sub fill
{
	my ($self, $t) = @_;

	if (!$self->{enter})
	{
		PostgreSQL::Test::Utils::append_to_file("$self->{dir}/full", '');
		return;
	}
	$self->_run("dd if=/dev/zero of='$self->{wal}/ballast' bs=64k >/dev/null 2>&1; test -s '$self->{wal}/ballast'");
	$t->sql(qq{
		DO \$\$
		BEGIN
			WHILE EXISTS (SELECT FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}\$'
					AND name > pg_walfile_name(pg_current_wal_insert_lsn())) LOOP
				PERFORM pg_logical_emit_message(false, 'x', 'x');
				PERFORM pg_switch_wal();
			END LOOP;
			WHILE $segment - (pg_current_wal_insert_lsn() - '0/0'::pg_lsn) % $segment > 12000 LOOP
				PERFORM pg_logical_emit_message(false, 'x', repeat('x', 4000));
			END LOOP;
		END \$\$});
	return;
}

sub free
{
	my $self = shift;

	$self->{enter} ? $self->_run("rm '$self->{wal}/ballast'") : unlink "$self->{dir}/full";
	return;
}

sub _run
{
	my ($self, $command) = @_;

	system("$self->{enter} sh -c \"$command\"") == 0 or die "could not run: $command";
	return;
}

1;
