# Agents.pm
#	  Starts what hands out AWS credentials (agents.py), tells it what to hand
#	  out and how to fail, and keeps the table of what was tried.
#
#	my $agents = RotateTest::Agents->new($emulator);
#	$agents->set(container => (answer => $agents->credentials('ASIA…'), token => 'Basic …'));
#	$agents->set(container => (fault => { kind => 'status', status => 500 }));
#	my @requests = $agents->requests;                # since the last time
#	$agents->cell('container', 'HTTP 500', sub { … });  # a subtest
#	$agents->table;
#
# Faults: kind => status (status, body), body (body), truncated, cut, close, slow
# (seconds), huge, redirect (status, to), not_http; times => so often; step =>
# token, role, credentials or region of the EC2 instance metadata service.

package RotateTest::Agents;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP ();
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $json = JSON::PP->new->utf8->canonical;
my $program = abs_path(dirname(__FILE__) . '/agents.py');

sub new
{
	my ($class, $emulator, @places) = @_;
	my $ports = PostgreSQL::Test::Utils::tempdir('agents') . '/ports.json';
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	# Its standard input is a pipe from here, and its end is the signal to end.
	my $pid = open(my $pipe, '|-', '/usr/bin/python3', '-B', $program, $ports, @places)
	  or die "could not start agents.py: $!";
	while (!-e $ports)
	{
		die 'could not start agents.py' if !kill(0, $pid) || time() > $until;
		sleep 0.02;
	}
	return bless {
		emulator => $emulator,
		pipe => $pipe,
		ports => $json->decode(PostgreSQL::Test::Utils::slurp_file($ports)),
		http => HTTP::Tiny->new(timeout => $PostgreSQL::Test::Utils::timeout_default),
		secrets => {},
		cells => []
	}, $class;
}

sub url { return 'http://127.0.0.1:' . $_[0]->{ports}{agent}; }
# tls_url(KIND): another listener, with a certificate of the emulator's kinds (see its /listeners).
sub tls_url
{
	my ($self, $kind) = @_;
	my $dir = dirname($self->{emulator}->ca);
	return 'https://127.0.0.1:' . $self->control('tls', directory => $dir, kind => $kind)->{port};
}

sub foreign_url { return 'http://127.0.0.1:' . $_[0]->{ports}{foreign}; }

sub control
{
	my ($self, $path, %body) = @_;
	my $answer = $self->{http}
	  ->post("http://127.0.0.1:$self->{ports}{control}/$path", { content => $json->encode(\%body) });

	die "agents.py refused $path: $answer->{status} $answer->{content}" unless $answer->{success};
	return $json->decode($answer->{content});
}

sub set { my ($self, $service, %changes) = @_; return $self->control('set', service => $service, %changes); }

# requests(SERVICE): those that came since the last call.
sub requests
{
	my ($self, $service) = @_;
	return grep { !defined $service || $_->{service} eq $service } @{ $self->control('log')->{entries} };
}

sub time_in { my ($seconds, $format) = @_; return strftime($format || '%Y-%m-%dT%H:%M:%SZ', gmtime(time() + $seconds)); }

# secret(NAME, LENGTH): a random text that must never be told, without blanks.
sub secret
{
	my ($self, $name, $length) = @_;
	my @characters = ('a' .. 'z', 'A' .. 'Z', 0 .. 9, '+', '/', '=');
	my $text = join '', map { $characters[ rand @characters ] } 1 .. $length;
	$self->{secrets}{$name} = $text;
	return $text;
}

sub secrets { return %{ $_[0]->{secrets} }; }

# credentials(KEY ID, expires_in, token_key): temporary ones that Secrets Manager
# knows, as the services answer them.
sub credentials
{
	my ($self, $id, %options) = @_;
	my $expires_in = $options{expires_in} // 6 * 3600;
	my $secret = $self->secret("the secret access key of $id", 40);
	my $token = $self->secret("the session token of $id", 400);

	$self->{emulator}->control('/keys',
		access_key_id => $id,
		secret_access_key => $secret,
		session_token => $token,
		expires_in => $options{really_expires_in} // ($expires_in > 0 ? $expires_in : 3600));
	return {
		AccessKeyId => $id,
		SecretAccessKey => $secret,
		($options{token_key} || 'Token') => $token,
		Expiration => time_in($expires_in)
	};
}

# cell(PROVIDER, FAULT, sub): a subtest, and a line of the table.  One that dies is a
# failed cell, not the end of the file.
sub cell
{
	my ($self, $provider, $fault, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $ok = subtest("$provider: $fault", sub { eval { $what->(); 1 } or fail("died: $@"); });
	push @{ $self->{cells} }, [ $provider, $fault, $ok ];
	return $ok;
}

# Print what was tried, and how it went.
sub table
{
	my $self = shift;
	my @passed = grep { $_->[2] } @{ $self->{cells} };
	note(sprintf '%-24s %-44s %s', 'provider', 'cell', 'result');
	note(sprintf '%-24s %-44s %s', $_->[0], $_->[1], $_->[2] ? 'passed' : 'FAILED') foreach @{ $self->{cells} };
	note(sprintf '%d cells tried, %d passed', scalar @{ $self->{cells} }, scalar @passed);
	return;
}

# told(TEXT): the names of the secrets that the text holds 8 characters of.
sub told
{
	my ($self, $text) = @_;
	my @told;

	foreach my $name (sort keys %{ $self->{secrets} })
	{
		my $secret = $self->{secrets}{$name};
		push @told, $name if grep { index($text, substr $secret, $_, 8) >= 0 } 0 .. length($secret) - 8;
	}
	return @told;
}

# Not in the processes that a test forks.
sub DESTROY
{
	my $self = shift;
	local ($?, $!);
	close delete $self->{pipe} if $self->{pipe};
	return;
}

1;
