# Login.pm
#	  What the tests of roles and logins share: errors of a login by text, a
#	  change in the middle of a rotation, and who else may listen on loopback.

package RotateTest::Login;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(knows_require_auth login_error refused_midway still_rotates write_hba start_stranger);

my $json = JSON::PP->new->canonical;

# reason => SQLSTATE, what the message says of it, hint
my %reasons = (
	rejected => [
		'28P01',
		'the password was rejected',
		'The server\'s log has the reason. If the password is right, look at the role\'s VALID UNTIL, and at '
		  . 'password_encryption: a verifier of md5 can\'t answer a pg_hba.conf line that demands scram-sha-256.'
	],
	too_many => [
		'53300',
		'there are too many connections',
		'A proof needs one connection: raise the role\'s CONNECTION LIMIT, the database\'s, or max_connections.'
	],
	hba => [
		'28000',
		'the server refused the role',
		'The role needs LOGIN, and pg_hba.conf a line for this role, database and address with the method '
		  . 'scram-sha-256.'
	],
	not_asked => [
		'55000',
		'no password was asked for',
		'Give pg_hba.conf a line for this role, database and address with the method scram-sha-256, above the '
		  . 'one that matches now.'
	],
	expose => [
		'55000',
		'the password could reach a stranger',
		'Set "ssl" to true in the secret and rotate_ext.login_ca_file to the CA of the server\'s certificate, '
		  . 'let the login go to this server\'s own address, or register the secret with allow_plaintext_login.'
	],
	method => [
		'28000',
		'the server asked for the password in a way that would hand it over',
		'Make sure that host and port lead to this server. Where they do, pg_hba.conf needs the method '
		  . 'scram-sha-256, or the login verified TLS ("ssl": true in the secret, rotate_ext.login_ca_file).'
	],
	no_connection => [
		'08001',
		'no connection came about',
		'Look at host, port and ssl in the secret, at listen_addresses, firewalls, and with "ssl": true at the '
		  . 'server\'s certificate and rotate_ext.login_ca_file.'
	],
	other_server => [
		'55000',
		'it reached another server',
		'Correct host and port in the secret. A copy of a database must have secrets of its own.'
	],
	pooler => [
		'55000',
		'a connection pooler stands in between',
		'Register the secret with login_host, so that the login goes to the server itself.'
	],
	wrong_user => [
		'55000',
		'the session runs as another role',
		'Look at the role\'s settings (ALTER ROLE ... SET role) and at its membership.'
	],
	server_error => [ undef, 'the server reported an error', '' ]);

# knows_require_auth(T): is the server's libpq one that can be told to send no
# password but by SCRAM (16 and later)?  Then strangers are talked to, as
# src/db/login.h (b) has it; with an older one only where that is allowed.
sub knows_require_auth
{
	my $t = shift;
	return $t->sql('SHOW server_version_num') >= 160000;
}

# login_error(REASON, ROLE, label, more fields): what error_is() and refused()
# expect of a login that was not proved.
sub login_error
{
	my ($reason, $role, %fields) = @_;
	my ($sqlstate, $what, $hint) = @{ $reasons{$reason} };
	my $label = delete $fields{label} || 'AWSCURRENT';
	my %error = (message => "could not prove the login of role \"$role\" with $label: $what", hint => $hint);

	$error{sqlstate} = $sqlstate if defined $sqlstate;
	return { %error, %fields };
}

# refused_midway(T, {sqlstate, …}, NAME, change => sub {…}, role, secret, at,
# verifier): a rotation is held where it calls the operation (PutSecretValue
# unless given), CHANGE happens, and the rotation goes on into the error.  The
# role has its old verifier, to the byte, AWSCURRENT and every older version
# are as before, and rotate_history has the error.  verifier => sub: what the
# verifier is to be instead.
sub refused_midway
{
	my ($t, $expected, $name, %options) = @_;
	my $role = $options{role} || 'app';
	my $secret = $options{secret} || "prod/$role";
	my $emulator = $t->emulator;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return subtest $name => sub {
		my $verifier = $t->verifier_of($role);
		my $before = $emulator->secret($secret);
		my $run = $t->sql('SELECT coalesce(max(run_id), 0) FROM rotate_history');
		my $fault = $emulator->fault(action => 'pause', operation => $options{at} || 'PutSecretValue');
		my $call = $t->start_sql("SELECT * FROM rotate_now('$secret')");

		ok($emulator->wait_for_fault($fault), 'the rotation is half way');
		$options{change}->();
		$emulator->release($fault);
		my $result = $call->finish;
		my $error = $result->{error};
		if (!defined $error)
		{
			fail('the error');
			diag("succeeded, and should not have: $result->{stdout}");
			return;
		}
		foreach my $field (sort keys %$expected)
		{
			my $value = $expected->{$field};
			ref $value ? like($error->{$field}, $value, $field) : is($error->{$field}, $value, $field);
		}

		$verifier = $options{verifier}->() if $options{verifier};
		is($t->verifier_of($role), $verifier, 'the role has its verifier, to the byte');
		my $after = $emulator->secret($secret);
		is($after->{labels}{AWSCURRENT}, $before->{labels}{AWSCURRENT}, 'AWSCURRENT is where it was');
		is($after->{labels}{AWSPREVIOUS}, $before->{labels}{AWSPREVIOUS}, 'and AWSPREVIOUS');
		my %now = %{ $after->{versions} };
		foreach my $id (keys %now)
		{
			delete $now{$id} unless exists $before->{versions}{$id};
		}
		is_deeply(
			{ map { $_ => $now{$_}{string} } keys %now },
			{ map { $_ => $before->{versions}{$_}{string} } keys %{ $before->{versions} } },
			'no value has changed');

		my $text = $error->{message} . ($error->{detail} ne '' ? "\nDETAIL:  $error->{detail}" : '');
		is_deeply(
			[ $t->rows("SELECT outcome, sqlstate, error, hint FROM rotate_history WHERE run_id > $run") ],
			[
				{
					outcome => 'failed',
					sqlstate => $error->{sqlstate},
					error => $text,
					hint => $error->{hint} eq '' ? undef : $error->{hint}
				}
			],
			'rotate_history has it');
		my %texts = $emulator->texts($secret);
		my @told = grep { index("$text $error->{hint} $error->{context}", $_) >= 0 }
		  map { /"password"\s*:\s*"([^"]{8,})"/ ? $1 : () } values %texts;
		is(scalar(@told), 0, 'no password is told');
	};
}

# still_rotates(T, ROLE, NAME, secret, login options): once the cause is gone.
# A new password, that logs in; returns rotate_now()'s row.
sub still_rotates
{
	my ($t, $role, $name, %options) = @_;
	my $secret = delete $options{secret} || "prod/$role";
	my $row;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	subtest $name => sub {
		my $old = $t->password($secret);
		$row = eval { $t->row('SELECT * FROM rotate_now(' . RotateTest::literal($secret) . ')') };
		ok(defined $row, 'rotate_now() succeeds') or diag($@), return;
		like($row->{outcome}, qr/^(rotated|completed)$/, 'and rotates');
		my $new = $t->password($secret);
		isnt($new, $old, 'the password is another');
		ok($t->can_login($role, $new, %options), 'and logs in');
		ok(!$t->can_login($role, $old, %options), 'the old one does not');
	};
	return $row;
}

# write_hba(T, LINE…): pg_hba.conf with these lines, after one that lets only
# the superuser in by the socket; effective on return.
sub write_hba
{
	my ($t, @lines) = @_;
	my $path = $t->node->data_dir . '/pg_hba.conf';

	open my $file, '>', $path or die "could not write $path: $!";
	print $file join("\n", 'local all ' . scalar(getpwuid($<)) . ' trust', @lines), "\n";
	close $file;
	$t->reload;
	return;
}

# start_stranger(MODE, address, port, target, option => value…): stranger.py,
# which says what its modes are.  Ends with this object.
sub start_stranger
{
	my ($mode, %options) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('stranger');
	my $self = bless {
		record => "$dir/record",
		port => $options{port} || PostgreSQL::Test::Cluster::get_free_port()
	}, 'RotateTest::Stranger';
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	my $pid = open(my $pipe, '|-', '/usr/bin/python3', '-B', __FILE__ =~ s/Login\.pm$/stranger.py/r,
		$mode, $options{address} || '127.0.0.1', $self->{port}, $self->{record}, $options{target} || 0)
	  or die "could not start the stranger: $!";
	$self->{pipe} = $pipe;
	while (!-e $self->{record})
	{
		die 'could not start the stranger' if !kill(0, $pid) || time() > $until;
		sleep 0.02;
	}
	return $self;
}

package RotateTest::Stranger;

sub port { return $_[0]->{port}; }

# Every byte that it was sent, over all connections.
sub received { return PostgreSQL::Test::Utils::slurp_file($_[0]->{record}); }

sub stop
{
	my $self = shift;
	local ($?, $!);
	close delete $self->{pipe} if $self->{pipe};
	return;
}

sub DESTROY { $_[0]->stop; return; }

1;
