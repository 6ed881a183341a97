# Lambda.pm
#	  The Lambda function's program, run on a runtime API of the tests' own.
#
#	my $function = RotateTest::Lambda->new(env => { PGHOST => ... });
#	my $done = $function->invoke({ Step => 'createSecret', ... });
#	is($done->{kind}, 'response');
#
# Each has a runtime API of its own (test/lambda/runtime_api.py), and ends with
# this object.

package RotateTest::Lambda;

use strict;
use warnings;

use Cwd qw(abs_path);
use Fcntl qw(:flock);
use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP ();
use POSIX qw(WNOHANG);
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $root = abs_path(dirname(__FILE__) . '/../../../..');
my $number = 0;

# build(TARGET): make -C lambda, once for all test files of a run; where to.
sub build
{
	my ($target, $under) = @_;
	my $directory = $under || ($ENV{ROTATE_TEST_DIR} || "$root/build") . '/lambda-build';

	mkdir $directory;
	open my $lock, '>', "$directory/.lock" or die "could not open $directory/.lock: $!";
	flock $lock, LOCK_EX or die "could not lock $directory/.lock: $!";
	my $log = `make -s -C '$root/lambda' BUILD='$directory' $target 2>&1`;
	die "could not build the Lambda function: $log" if $? != 0;
	return $directory;
}

my $program;

sub program { return $program ||= build('all') . '/lambda/rotate_lambda'; }

# new(env => {...}, command => [...])
sub new
{
	my ($class, %options) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir('lambda');
	my $ports = "$directory/port.json";
	my $self = bless { log => "$directory/log", owner => $$, number => ++$number }, $class;

	$self->{api_pid} = open($self->{api}, '|-', '/usr/bin/python3', '-B', "$root/test/lambda/runtime_api.py",
		'--port-file', $ports)
	  or die "could not start the runtime API: $!";
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	while (!-e $ports)
	{
		die 'could not start the runtime API' if time() > $until;
		sleep 0.02;
	}
	$self->{port} = $json->decode(PostgreSQL::Test::Utils::slurp_file($ports))->{port};
	$self->{http} = HTTP::Tiny->new(timeout => 600);

	my @command = @{ $options{command} || [ program() ] };
	my %env = (AWS_LAMBDA_RUNTIME_API => "127.0.0.1:$self->{port}", TMPDIR => $directory, %{ $options{env} || {} });
	$self->{pid} = fork();
	die "could not fork: $!" unless defined $self->{pid};
	if ($self->{pid} == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', $self->{log};
		open STDERR, '>&', \*STDOUT;
		%ENV = map { $_ => $env{$_} } grep { defined $env{$_} } keys %env;
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	return $self;
}

sub control
{
	my ($self, $path, %body) = @_;
	my $answer = $self->{http}->post("http://127.0.0.1:$self->{port}/$path", { content => $json->encode(\%body) });

	die "the runtime API refused $path: $answer->{status} $answer->{content}" unless $answer->{success};
	return $json->decode($answer->{content});
}

# invoke(EVENT, deadline_ms, trace_id, wait): a hash is sent as JSON, text as
# it is.  "value" is the answer's body, parsed.
sub invoke
{
	my ($self, $event, %options) = @_;
	my $done = $self->control('invoke', event => ref $event ? $json->encode($event) : $event, %options);

	$done->{value} = $json->decode($done->{body}) if defined $done->{body};
	return $done;
}

# start_invoke(EVENT, ...): the same without waiting; call finish on it.
sub start_invoke
{
	my ($self, @arguments) = @_;
	my $pid = open(my $pipe, '-|');

	die "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		print $json->encode($self->invoke(@arguments));
		close STDOUT;
		POSIX::_exit(0);
	}
	return sub { local $/; return $json->decode(scalar <$pipe>); };
}

sub fault { my ($self, %fault) = @_; return $self->control('fault', %fault); }
sub state { my $self = shift; return $self->control('state'); }
sub pid { return $_[0]->{pid}; }

# What it has printed, as text.
sub output { return PostgreSQL::Test::Utils::slurp_file($_[0]->{log}); }

# last_line(): of the log, parsed, once the function asks for more or is gone.
sub last_line
{
	my $self = shift;
	$self->wait_idle;
	my @lines = split /\n/, $self->output;
	return $json->decode($lines[-1]);
}

sub wait_idle
{
	my $self = shift;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	until (defined $self->ended || $self->state->{waiting})
	{
		die 'the function is not waiting for an invocation' if time() > $until;
		sleep 0.01;
	}
	return;
}

# Its exit status, 128 + N for signal N; undef while it runs.
sub ended
{
	my $self = shift;

	if (!defined $self->{status} && waitpid($self->{pid}, WNOHANG) == $self->{pid})
	{
		$self->{status} = ($? & 127) ? 128 + ($? & 127) : $? >> 8;
	}
	return $self->{status};
}

sub wait_end
{
	my $self = shift;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	until (defined $self->ended)
	{
		die 'the function has not ended' if time() > $until;
		sleep 0.01;
	}
	return $self->{status};
}

sub stop
{
	my $self = shift;

	if (!defined $self->ended)
	{
		kill 'TERM', $self->{pid};
		$self->wait_end;
	}
	close delete $self->{api} if $self->{api};
	return;
}

sub DESTROY
{
	my $self = shift;
	local ($?, $@);
	$self->stop if $self->{owner} == $$;
	return;
}

1;
