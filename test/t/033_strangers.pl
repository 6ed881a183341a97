# 033_strangers.pl
#	  Who listens where the secret's host leads may be anyone: no password is
#	  handed to a stranger, in whatever way it asks for it.

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use Test::More;

my $t = RotateTest->new;
my $port = $t->port;
my $number = 0;
my $require_auth = knows_require_auth($t);

$t->set('rotate_ext.login_timeout' => '2s');

# What it was sent holds the password neither in clear nor as md5 makes it of it.
sub knows
{
	my ($stranger, $role, $password) = @_;
	my $received = $stranger->received;
	my $hash = md5_hex($password . $role);

	return scalar grep { index($received, $_) >= 0 } $password, $hash, md5_hex($hash . 'salt');
}

# A role whose secret leads to the stranger.
sub lead_to
{
	my ($stranger, %options) = @_;
	my $role = 'app' . ++$number;
	my $json = delete $options{json} || {};
	my $attributes = delete $options{attributes};
	my $password = $t->add($role, json => { host => '127.0.0.1', port => $stranger->port, %$json });

	$t->sql("ALTER ROLE $role $attributes") if $attributes;
	$t->sql("SELECT rotate_register('prod/$role', '$role'"
		  . join('', map { ", $_ => $options{$_}" } sort keys %options) . ')');
	return ($role, $password);
}

sub refused_at
{
	my ($stranger, $role, $reason, $what, $name) = @_;
	my $where = 'At host "127.0.0.1", port ' . $stranger->port . ': ';

	$t->refused(
		"SELECT rotate_now('prod/$role')",
		login_error($reason, $role, detail => ref $what ? qr/^\Q$where\E$what/ : $where . $what),
		$name, role => $role, secret => "prod/$role");
	return;
}

# A secret that leads to the stranger, with nothing that would allow it: a
# libpq that keeps to SCRAM talks to it, and sends it no password; with an
# older one nothing is sent at all.
sub refused_unasked
{
	my ($stranger, $role, $password, $reason, $what, $exposed, $name) = @_;

	if ($require_auth)
	{
		refused_at($stranger, $role, $reason, $what, $name);
		ok(!knows($stranger, $role, $password), 'it was not told the password');
		return;
	}
	refused_at($stranger, $role, 'expose', $exposed, $name);
	is($stranger->received, '', 'it was sent nothing at all');
	return;
}

my %modes = (
	clear => [ 'method', 'the server asked for the password in clear' ],
	md5 => [ 'method', 'the server asked for an md5 hash of the password' ],
	scram_clear => [ 'method', 'the server asked for the password in clear' ],
	both => [ 'method', 'the server asked for the password in clear' ],
	short => [ 'method', 'the server sent a malformed authentication request' ],
	gss => [ 'method', 'the server asked for another kind of authentication' ],
	unknown => [ 'method', 'the server asked for another kind of authentication' ],
	ok => [ 'not_asked', 'The server let the role in by trust, peer, a certificate or the like, so its password is '
		  . 'not proved.' ],
	late => [ 'no_connection', qr/./ ],
	hang => [ 'no_connection', 'timeout expired' ],
	close => [ 'no_connection', qr/.*(server closed the connection unexpectedly|Connection reset)/ ],
	error => [ 'rejected', 'password authentication failed for user "app"' ],
	scram => [ 'no_connection', 'timeout expired' ]);

# What libpq itself says of it.
if ($require_auth)
{
	my $failed = 'connection to server at "127\.0\.0\.1", port \d+ failed: ';
	my $not = $failed . 'authentication method requirement "scram-sha-256" failed: ';

	%modes = (
		%modes,
		clear => [ 'method', qr/${not}server requested a cleartext password$/ ],
		md5 => [ 'method', qr/${not}server requested a hashed password$/ ],
		scram_clear => [ 'method', qr/${not}server requested a cleartext password$/ ],
		both => [ 'method', qr/${not}server requested a cleartext password$/ ],
		short => [ 'no_connection', qr/${failed}received invalid authentication request$/ ],
		gss => [ 'method', qr/${not}server requested GSSAPI authentication$/ ],
		unknown => [ 'method', qr/${not}server requested/ ],
		ok => [ 'method', qr/${not}server did not complete authentication$/ ],
		late => [ 'method', qr/${not}server did not complete authentication$/ ]);
}

foreach my $mode (sort keys %modes)
{
	my ($reason, $what) = @{ $modes{$mode} };
	my $stranger = start_stranger($mode);
	my ($role, $password) = lead_to($stranger);
	my $address = '127.0.0.1 port ' . $stranger->port;

	refused_unasked($stranger, $role, $password, $reason, $what,
		"$address is not this server's own listener, and rotate_ext.login_ca_file is not set to verify its "
		  . 'certificate by',
		"stranger \"$mode\"");

	($role, $password) = lead_to($stranger, allow_plaintext_login => 'true');
	refused_at($stranger, $role, $reason, $what, 'the same with allow_plaintext_login');
	ok(length($stranger->received) > 0, 'now it was talked to');
	ok(!knows($stranger, $role, $password), 'but not told the password');
}

# The own port, at an address of this machine that the server does not listen on.
{
	my $stranger = start_stranger('clear', address => '127.0.0.2', port => $port);
	my ($role, $password) = lead_to($stranger, json => { host => '127.0.0.2' });

	$t->refused(
		"SELECT rotate_now('prod/$role')",
		$require_auth
		? login_error('method', $role, detail => qr/^At host "127\.0\.0\.2", port $port: .*server requested a cleartext password$/)
		: login_error('expose', $role, detail => qr/^At host "127\.0\.0\.2", port $port: 127\.0\.0\.2 port $port is not this server's own listener/),
		'the own port at another address of this machine', role => $role, secret => "prod/$role");
	ok(!knows($stranger, $role, $password), 'no password was sent there');
	is($stranger->received, '', 'and nothing else') unless $require_auth;
}

# TLS is demanded or forbidden, and the stranger has none.
foreach my $ssl (JSON::PP::true, JSON::PP::false)
{
	my $stranger = start_stranger('clear');
	my ($role, $password) = lead_to($stranger, json => { ssl => $ssl });

	if (!$ssl)
	{
		refused_unasked($stranger, $role, $password, @{ $modes{clear} },
			'127.0.0.1 port ' . $stranger->port . ' is not this server\'s own listener, and the secret\'s ssl key '
			  . 'forbids TLS',
			'ssl false');
		next;
	}
	refused_at(
		$stranger, $role, 'expose',
		'the secret\'s ssl key demands TLS, but rotate_ext.login_ca_file is not set to verify the server\'s '
		  . 'certificate by',
		'ssl true');
	is($stranger->received, '', 'nothing was sent there');
}
$t->set('rotate_ext.login_ca_file' => $t->emulator->ca);
foreach my $options ({}, { allow_plaintext_login => 'true', json => { ssl => JSON::PP::true } })
{
	my $stranger = start_stranger('clear');
	my ($role, $password) = lead_to($stranger, %$options);

	# Without its being demanded, SCRAM needs no TLS.
	my @expected =
	  $require_auth && !%$options
	  ? @{ $modes{clear} }
	  : ('no_connection',
		'connection to server at "127.0.0.1", port ' . $stranger->port
		  . ' failed: server does not support SSL, but SSL was required');
	refused_at($stranger, $role, @expected, 'a stranger without TLS where that is demanded');
	ok(length($stranger->received) > 0 && !knows($stranger, $role, $password), 'it was asked for TLS and told no more');
}
$t->set('rotate_ext.login_ca_file' => undef);

# An md5 role may give an md5 hash to a stranger only where that was allowed, and even then nothing in clear.
$t->set(password_encryption => 'md5');
foreach my $mode (qw(clear md5 scram))
{
	my $stranger = start_stranger($mode);
	my ($role, $password) = lead_to($stranger);

	$t->sql("ALTER ROLE $role PASSWORD '$password'");
	refused_at($stranger, $role, 'expose',
		'127.0.0.1 port ' . $stranger->port
		  . ' is not this server\'s own listener, and rotate_ext.login_ca_file is not set to verify its certificate by',
		"an md5 role at stranger \"$mode\"");
	is($stranger->received, '', 'nothing was sent there');

	($role, $password) = lead_to($stranger, allow_plaintext_login => 'true');
	$t->sql("ALTER ROLE $role PASSWORD '$password'");
	$t->refused("SELECT rotate_now('prod/$role')", { message => qr/^could not prove the login of role "$role" with AWSCURRENT/ },
		'the same with allow_plaintext_login', role => $role, secret => "prod/$role");
	is(index($stranger->received, $password), -1, 'no password in clear');
}
$t->set(password_encryption => undef);

# A relay leads to this very server.
{
	my $relay = start_stranger('relay', target => $port);
	my ($role, $password) = lead_to($relay);

	if ($require_auth)
	{
		still_rotates($t, $role, 'by SCRAM it is proved through the relay');
		ok(!knows($relay, $role, $_), 'which was not told a password') foreach $password, $t->password("prod/$role");
	}
	else
	{
		refused_at($relay, $role, 'expose',
			'127.0.0.1 port ' . $relay->port
			  . ' is not this server\'s own listener, and rotate_ext.login_ca_file is not set to verify its certificate by',
			'a relay to this server');
		is($relay->received, '', 'it was sent nothing');
	}

	($role, $password) = lead_to($relay, allow_plaintext_login => 'true');
	still_rotates($t, $role, 'with allow_plaintext_login it is proved through the relay');
	ok(length($relay->received) > 0, 'which it went through');
	ok(!knows($relay, $role, $_), 'which was not told a password') foreach $password, $t->password("prod/$role");

	$t->set_hba("host all $role 127.0.0.1/32 password", 'host all all 127.0.0.1/32 scram-sha-256');
	$t->reload;
	refused_at($relay, $role, @{ $modes{clear} },
		'a relay to a line of pg_hba.conf that asks for clear text');
	ok(!knows($relay, $role, $t->password("prod/$role")), 'the relay was not told it');
	$t->set_hba('host all all 127.0.0.1/32 scram-sha-256');
	$t->reload;
	still_rotates($t, $role, 'with scram-sha-256 again it rotates');
}

$t->stop;
done_testing();
