# Emulator.pm
#	  Starts the emulator of Secrets Manager and talks to its control port.
#
# test/emulator/README.md has the paths and what they take.  The emulator ends
# when this process does, however that ends.

package RotateTest::Emulator;

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(sha256_hex);
use Encode qw(encode);
use Errno qw(EINTR);
use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

my $json = JSON::PP->new->utf8->canonical;
my $program = abs_path(dirname(__FILE__) . '/../../../emulator');

# new(region, options => [command line options])
sub new
{
	my ($class, %options) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('emulator');
	my $ports = "$dir/ports.json";
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	# Its standard input is a pipe from here, and its end is the signal to end.
	my $pid = open(my $pipe, '|-',
		'/usr/bin/python3', '-B', $program, '--exit-with-stdin', '--port-file', $ports, '--tls-dir', "$dir/tls",
		'--region', $options{region} || 'eu-central-1', @{ $options{options} || [] })
	  or die "could not start the emulator: $!";
	while (!-e $ports)
	{
		die 'could not start the emulator; its messages are in the log of this test'
		  if !kill(0, $pid) || time() > $until;
		sleep 0.02;
	}
	my $self = bless {
		pid => $pid,
		pipe => $pipe,
		ready => $json->decode(PostgreSQL::Test::Utils::slurp_file($ports)),
		http => HTTP::Tiny->new(timeout => $PostgreSQL::Test::Utils::timeout_default)
	}, $class;
	return $self;
}

sub endpoint_url { return 'https://127.0.0.1:' . $_[0]->{ready}{https_port}; }
sub http_url { return 'http://127.0.0.1:' . $_[0]->{ready}{http_port}; }
sub ca { return $_[0]->{ready}{ca}; }
sub access_key_id { return $_[0]->{ready}{access_key_id}; }
sub secret_access_key { return $_[0]->{ready}{secret_access_key}; }

# control(PATH, member => value, ...): the answer; dies where it is an error.
sub control
{
	my ($self, $path, %body) = @_;
	my $answer = $self->{http}->post('http://127.0.0.1:' . $self->{ready}{control_port} . $path,
		{ headers => { 'Content-Type' => 'application/json' }, content => $json->encode(\%body) });

	die "the emulator refused $path: $answer->{status} $answer->{content}" unless $answer->{success};
	return $json->decode($answer->{content});
}

# create_secret(NAME, VALUE, more members of /secrets): with one version, that
# carries AWSCURRENT.  VALUE: a hash for JSON, or the text itself.
sub create_secret
{
	my ($self, $name, $value, %more) = @_;
	return $self->control('/secrets',
		name => $name,
		versions => [ { _value($value), stages => ['AWSCURRENT'] } ],
		%more);
}

# add_version(NAME, VALUE, LABEL...): its id.
sub add_version
{
	my ($self, $name, $value, @labels) = @_;
	return $self->control('/versions', secret => $name, _value($value), stages => \@labels)->{id};
}

sub _value
{
	my $value = shift;
	return (empty => JSON::PP::true) unless defined $value;
	return ref $value ? (json => $value) : (string => $value);
}

# secret(NAME): its versions, labels and attributes.  A hash is there instead of
# each value, since a test that fails prints what it has compared.
sub secret
{
	my ($self, $name) = @_;
	my $state = $self->control('/state', secret => $name);

	$_->{string} = sha256_hex(encode('UTF-8', $_->{string}))
	  foreach grep { defined $_->{string} } values %{ $state->{versions} };
	return $state;
}

# texts(NAME): the values that its versions have, by version id.
sub texts
{
	my ($self, $name) = @_;
	my $versions = $self->control('/state', secret => $name)->{versions};

	return map { $_ => $versions->{$_}{string} } grep { defined $versions->{$_}{string} } keys %$versions;
}

sub labels { my ($self, $name) = @_; return $self->secret($name)->{labels}; }

# text(NAME, LABEL): the value of the version with the label, undef without.
sub text
{
	my ($self, $name, $label) = @_;
	my $id = $self->labels($name)->{$label};
	return defined $id ? { $self->texts($name) }->{$id} : undef;
}

# value(NAME, LABEL): the same, parsed.
sub value
{
	my ($self, $name, $label) = @_;
	my $text = $self->text($name, $label);
	die "no version of $name with a value carries $label" unless defined $text;
	return JSON::PP->new->decode($text);
}

# fault(action, operation, ...): a rule's id, see the emulator's README.
sub fault { my ($self, %rule) = @_; return $self->control('/faults', %rule)->{id}; }
sub clear_faults { my $self = shift; return $self->control('/faults/clear'); }
sub release { my ($self, $id) = @_; return $self->control('/faults/release', id => $id); }

# wait_for_fault(ID, COUNT): until so many calls have met the rule.
sub wait_for_fault
{
	my ($self, $id, $count) = @_;
	return $self->control('/faults/wait', id => $id, count => $count || 1,
		timeout => $PostgreSQL::Test::Utils::timeout_default)->{reached};
}

# log(operation, since): requests that came in, with counts and round trips.
sub log { my ($self, %select) = @_; return $self->control('/log', %select); }
sub clear_log { my $self = shift; return $self->control('/log/clear'); }
sub reset { my $self = shift; return $self->control('/reset'); }

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
