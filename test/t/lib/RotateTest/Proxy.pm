# Proxy.pm
#	  Starts a proxy (proxy.py) that leads to the emulator, whatever host is
#	  asked for.
#
#	my $proxy = RotateTest::Proxy->new($emulator);
#	$proxy->mode('status 502');
#	$proxy->asked;      # since the last mode(): {target => 'CONNECT host:443', headers => {...}}, ...

package RotateTest::Proxy;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

my $program = abs_path(dirname(__FILE__) . '/proxy.py');

# new(emulator, tls => 1)
sub new
{
	my ($class, $emulator, %options) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('proxy');
	my ($target) = $emulator->endpoint_url =~ /:(\d+)$/;
	my ($tls) = $emulator->ca =~ m{^(.*)/};
	my $self = bless { dir => $dir, scheme => $options{tls} ? 'https' : 'http' }, $class;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	$self->mode('ok');
	$self->{pid} = open($self->{pipe}, '|-',
		'/usr/bin/python3', '-B', $program, "$dir/port", "$dir/log", "$dir/mode", $target,
		$options{tls} ? ("$tls/server.pem", "$tls/server.key") : ())
	  or die "could not start the proxy: $!";
	while (!-e "$dir/port")
	{
		die 'could not start the proxy' if !kill(0, $self->{pid}) || time() > $until;
		sleep 0.02;
	}
	$self->{port} = PostgreSQL::Test::Utils::slurp_file("$dir/port");
	return $self;
}

sub port { return $_[0]->{port}; }

# url(LOGIN): login, if any, as it stands in a URL
sub url
{
	my ($self, $login) = @_;
	return "$self->{scheme}://" . (defined $login ? "$login\@" : '') . "127.0.0.1:$self->{port}";
}

sub mode
{
	my ($self, $mode) = @_;

	foreach my $file ([ mode => $mode ], [ log => '' ])
	{
		open my $out, '>', "$self->{dir}/$file->[0]" or die "could not write: $!";
		print $out $file->[1];
		close $out;
	}
	return;
}

sub asked
{
	my $self = shift;
	return map { JSON::PP->new->decode($_) } split /\n/, PostgreSQL::Test::Utils::slurp_file("$self->{dir}/log");
}

sub stop
{
	my $self = shift;
	close delete $self->{pipe} if $self->{pipe};
	return;
}

# Not in the processes that a test forks.
sub DESTROY
{
	my $self = shift;
	local ($?, $!);
	$self->stop;
	return;
}

1;
