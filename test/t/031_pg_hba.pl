# 031_pg_hba.pl
#	  What pg_hba.conf says of the login: a line that asks for no password
#	  proves nothing, and one that changes half way is noticed in time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use Test::More;

my $t = RotateTest->new;
my $rotate = "SELECT rotate_now('prod/app')";
my @app = (role => 'app', secret => 'prod/app');
my $port = $t->port;
my $here = "At host \"127.0.0.1\", port $port: ";
my $scram = 'host all all 127.0.0.1/32 scram-sha-256';
my $owner = getpwuid($<);

$t->add('app');
$t->sql("SELECT rotate_register('prod/app', 'app')");
$t->set('rotate_ext.login_timeout' => '5s');

my $let_in = 'The server let the role in by trust, peer, a certificate or the like, so its password is not proved.';
my %wrong = (
	'a trust line' => [ [ 'host all app 127.0.0.1/32 trust', $scram ],
		login_error('not_asked', 'app', detail => $here . $let_in) ],
	'a reject line' => [ [ 'host all app 127.0.0.1/32 reject', $scram ],
		login_error('hba', 'app', detail => qr/^\Q$here\Epg_hba\.conf rejects connection for host "127\.0\.0\.1", user "app"/) ],
	'no line' => [ [ 'host all others 127.0.0.1/32 scram-sha-256' ],
		login_error('hba', 'app', detail => qr/^\Q$here\Eno pg_hba\.conf entry for host "127\.0\.0\.1", user "app"/) ],
	'a line for another database' => [ [ 'host orders app 127.0.0.1/32 scram-sha-256' ],
		login_error('hba', 'app', detail => qr/^\Q$here\Eno pg_hba\.conf entry for host "127\.0\.0\.1", user "app"/) ],
	'an ident line' => [ [ 'host all app 127.0.0.1/32 ident', $scram ],
		login_error('hba', 'app', detail => qr/^\Q$here\EIdent authentication failed for user "app"/) ]);

foreach my $name (sort keys %wrong)
{
	my ($lines, $error) = @{ $wrong{$name} };

	write_hba($t, @$lines);
	$t->refused($rotate, $error, $name, @app);
	write_hba($t, $scram);
	refused_midway($t, { %$error, message => $error->{message} =~ s/AWSCURRENT/AWSPENDING/r },
		"$name that comes half way",
		change => sub { write_hba($t, @$lines) });
	write_hba($t, $scram);
	still_rotates($t, 'app', "$name: once it is gone, it rotates");
}

# Every method that asks for the password proves it.
foreach my $method (qw(password md5 scram-sha-256))
{
	write_hba($t, "host all all 127.0.0.1/32 $method");
	still_rotates($t, 'app', "the method $method rotates");
}

# Over the socket.
my $directory = $t->sql('SHOW unix_socket_directories');
my $socket = "At host \"$directory\", port $port: ";

$t->add('local', json => { host => $directory });
write_hba($t, 'local all all scram-sha-256', $scram);
my $row = still_rotates($t, 'local', 'a Unix-domain socket rotates', host => $directory);
is($row->{detail}{tls}, 'off', 'there is no TLS in it');

my @local = ('SELECT rotate_now(\'prod/local\')');
write_hba($t, 'local all local trust', $scram);
$t->refused(@local, login_error('not_asked', 'local', detail => $socket . $let_in),
	'a trust line for the socket', role => 'local', secret => 'prod/local');
write_hba($t, 'local all local peer map=owner', $scram);
open my $ident, '>>', $t->node->data_dir . '/pg_ident.conf' or die;
print $ident "owner $owner local\n";
close $ident;
$t->reload;
$t->refused(@local, login_error('not_asked', 'local', detail => $socket . $let_in),
	'peer', role => 'local', secret => 'prod/local');
write_hba($t, 'local all local peer', $scram);
$t->refused(
	@local,
	login_error('hba', 'local', detail => $socket . 'Peer authentication failed for user "local"'),
	'peer that refuses the role', role => 'local', secret => 'prod/local');
write_hba($t, 'local all all scram-sha-256', $scram);
still_rotates($t, 'local', 'asked for the password again, it rotates', host => $directory);

$t->stop;
done_testing();
