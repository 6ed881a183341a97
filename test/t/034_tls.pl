# 034_tls.pl
#	  TLS of the login as the secret's ssl key says: true verifies, false does
#	  without, absent takes it where the server has it.  detail.tls says which.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir('tls');
my $certs = "$FindBin::RealBin/../emulator/certs.py";

foreach my $name (qw(server stranger))
{
	mkdir "$dir/$name" or die;
	system('/usr/bin/python3', '-B', $certs, "$dir/$name") == 0 or die 'could not make certificates';
	chmod 0600, "$dir/$name/server.key";
}

my $t = RotateTest->new(conf => "listen_addresses = '127.0.0.1,127.0.0.2'\n"
	  . "ssl_cert_file = '$dir/server/server.pem'\nssl_key_file = '$dir/server/server.key'\n"
	  . "ssl_ca_file = '$dir/server/ca.pem'\n");
my $port = $t->port;
my $here = "At host \"127.0.0.1\", port $port: ";
my %ssl = (
	verified => JSON::PP::true,
	verified_text => 'true',
	plain => JSON::PP::false,
	plain_text => 'false',
	any => undef);

$t->set('rotate_ext.login_timeout' => '5s');
sub hba { $t->set_hba(@_); $t->reload; return; }
hba('host all all 127.0.0.0/8 scram-sha-256');
$t->add($_, json => { ssl => $ssl{$_} }) foreach sort keys %ssl;
$t->sql("SELECT rotate_register('prod/$_', '$_')") foreach sort keys %ssl;

sub rotates
{
	my ($role, $tls, $name) = @_;
	my $row = still_rotates($t, $role, "$name: rotates");

	is($row->{detail}{tls}, $tls, "and says that TLS was $tls");
	return;
}

sub refused
{
	my ($role, $reason, $detail, $name, $host) = @_;

	$t->refused("SELECT rotate_now('prod/$role')",
		login_error($reason, $role, detail => ref $detail ? $detail : $here . $detail),
		"$name: refused", role => $role, secret => "prod/$role");
	return;
}

my $no_ca = 'the secret\'s ssl key demands TLS, but rotate_ext.login_ca_file is not set to verify the server\'s '
  . 'certificate by';
my $failed = "connection to server at \"127.0.0.1\", port $port failed: ";

# A server without TLS.
refused('verified', 'expose', $no_ca, 'ssl true without a CA file');
refused('verified_text', 'expose', $no_ca, 'ssl "true" without a CA file');
$t->set('rotate_ext.login_ca_file' => "$dir/server/ca.pem");
refused('verified', 'no_connection', $failed . 'server does not support SSL, but SSL was required',
	'ssl true at a server without TLS');
rotates('plain', 'off', 'ssl false at a server without TLS');
rotates('any', 'off', 'no ssl key at a server without TLS');

# With TLS.
$t->set(ssl => 'on');
rotates('verified', 'verify-full', 'ssl true');
rotates('verified_text', 'verify-full', 'ssl "true"');
rotates('plain', 'off', 'ssl false');
rotates('plain_text', 'off', 'ssl "false"');
rotates('any', 'unverified', 'no ssl key');

$t->set('rotate_ext.login_ca_file' => undef);
refused('verified', 'expose', $no_ca, 'ssl true without a CA file, at a server with TLS');
rotates('any', 'unverified', 'no ssl key without a CA file');

# Whose certificate?
$t->set('rotate_ext.login_ca_file' => "$dir/stranger/ca.pem");
refused('verified', 'no_connection', $failed . 'SSL error: certificate verify failed', 'a CA that did not sign it');
rotates('any', 'unverified', 'no ssl key, and a CA that did not sign it');
$t->set('rotate_ext.login_ca_file' => "$dir/none.pem");
refused('verified', 'no_connection', qr/root certificate file "\Q$dir\E\/none\.pem" does not exist/, 'a CA file that is not there');
$t->set('rotate_ext.login_ca_file' => "$dir/server/ca.pem");

$t->add('misnamed', json => { host => '127.0.0.2', ssl => JSON::PP::true });
$t->sql("SELECT rotate_register('prod/misnamed', 'misnamed')");
refused('misnamed', 'no_connection',
	qr/^At host "127\.0\.0\.2", port $port: .*server certificate for .* does not match host name "127\.0\.0\.2"/,
	'a certificate for another name');

# A certificate is worth nothing as a login.
hba('hostssl all verified 127.0.0.1/32 cert', 'host all all 127.0.0.0/8 scram-sha-256');
refused('verified', 'hba', 'connection requires a valid client certificate', 'a cert line');

# Lines for one of the two.
hba('hostssl all all 127.0.0.0/8 scram-sha-256');
rotates('verified', 'verify-full', 'hostssl, ssl true');
rotates('any', 'unverified', 'hostssl, no ssl key');
refused('plain', 'hba',
	"no pg_hba.conf entry for host \"127.0.0.1\", user \"plain\", database \"postgres\", no encryption",
	'hostssl, ssl false');
hba('hostnossl all all 127.0.0.0/8 scram-sha-256');
refused('verified', 'hba',
	"no pg_hba.conf entry for host \"127.0.0.1\", user \"verified\", database \"postgres\", SSL encryption",
	'hostnossl, ssl true');
rotates('any', 'off', 'hostnossl, no ssl key');
rotates('plain', 'off', 'hostnossl, ssl false');

# Clear text is for whom we are sure of: this server's own listener.
hba('host all all 127.0.0.0/8 password');
rotates('verified', 'verify-full', 'the method password, ssl true');
rotates('any', 'unverified', 'the method password, no ssl key');

# A relay to this server: with a verified certificate it can but hand on what it can't read.
{
	hba('host all all 127.0.0.0/8 scram-sha-256');
	my $relay = start_stranger('relay', target => $port);
	my $password = $t->add('relayed', json => { port => $relay->port });
	$t->sql("SELECT rotate_register('prod/relayed', 'relayed')");
	# A libpq that keeps to SCRAM needs no certificate: the relay is told no password.
	my $require_auth = knows_require_auth($t);
	rotates('relayed', $require_auth ? 'unverified' : 'verify-full', 'a relay, no ssl key');
	is(index($relay->received, 'relayed'), -1, 'it could not even read the role\'s name');

	$t->set('rotate_ext.login_ca_file' => "$dir/stranger/ca.pem");
	my $role = 'relayed';
	if ($require_auth)
	{
		rotates('relayed', 'unverified', 'a relay, with a CA that did not sign its certificate');
		$role = 'relayed_verified';
		$t->add($role, json => { port => $relay->port, ssl => JSON::PP::true });
		$t->sql("SELECT rotate_register('prod/$role', '$role')");
	}
	$t->refused("SELECT rotate_now('prod/$role')",
		login_error('no_connection', $role, detail => qr/certificate verify failed/),
		'a relay, with a CA that did not sign its certificate', role => $role, secret => "prod/$role");
	is(index($relay->received, 'relayed'), -1, 'it could still not read it');
}

$t->stop;
done_testing();
