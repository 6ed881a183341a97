# 036_session_of_the_login.pl
#	  What else could have a say in the login: the postmaster's environment
#	  and home directory, the role's and the database's settings, names with
#	  several addresses, a database that is not there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use Test::More;

# Wherever libpq listens to one of these, the login goes wrong.
my $home = PostgreSQL::Test::Utils::tempdir('home');
mkdir "$home/.postgresql" or die;
foreach my $file ("$home/.pgpass", "$home/.pg_service.conf", "$home/pg_service.conf",
	map { "$home/.postgresql/$_" } qw(root.crt root.crl postgresql.crt postgresql.key))
{
	open my $handle, '>', $file or die;
	print $handle $file =~ /pgpass/ ? "*:*:*:*:wrong\n" : $file =~ /service/ ? "[wrong]\nhost=127.0.0.9\nuser=wrong\n" : "wrong\n";
	close $handle;
	chmod 0600, $file;
}

my $tls = PostgreSQL::Test::Utils::tempdir('tls');
system('/usr/bin/python3', '-B', "$FindBin::RealBin/../emulator/certs.py", $tls) == 0 or die 'could not make certificates';
chmod 0600, "$tls/server.key";

my $t = RotateTest->new(
	start => 0,
	conf => "ssl = on\nssl_cert_file = '$tls/server.pem'\nssl_key_file = '$tls/server.key'\n"
	  . "listen_addresses = 'localhost'\ndatestyle = 'iso, mdy'\n");
my %hostile = (
	PGHOST => '127.0.0.9',
	PGHOSTADDR => '127.0.0.9',
	PGPORT => 9,
	PGUSER => 'wrong',
	PGDATABASE => 'wrong',
	PGPASSWORD => 'wrong',
	PGPASSFILE => "$home/.pgpass",
	PGSERVICE => 'wrong',
	PGSERVICEFILE => "$home/pg_service.conf",
	PGSYSCONFDIR => $home,
	PGOPTIONS => '-c role=wrong',
	PGAPPNAME => 'wrong',
	PGSSLMODE => 'verify-full',
	PGREQUIRESSL => '1',
	PGSSLROOTCERT => "$home/.postgresql/root.crt",
	PGSSLCERT => "$home/.postgresql/postgresql.crt",
	PGSSLKEY => "$home/.postgresql/postgresql.key",
	PGSSLCRL => "$home/.postgresql/root.crl",
	PGSSLCRLDIR => $home,
	PGSSLMINPROTOCOLVERSION => 'TLSv1.3',
	PGSSLMAXPROTOCOLVERSION => 'TLSv1',
	PGCHANNELBINDING => 'require',
	PGREQUIREAUTH => 'none',
	PGREQUIREPEER => 'nobody',
	PGGSSENCMODE => 'require',
	PGKRBSRVNAME => 'wrong',
	PGTARGETSESSIONATTRS => 'standby',
	PGLOADBALANCEHOSTS => 'wrong',
	PGCONNECT_TIMEOUT => 'wrong',
	PGTZ => 'Nowhere/At_All',
	PGGEQO => 'wrong',
	PGLOCALEDIR => $home,
	HOME => $home);
$t->setenv(%hostile);
{
	# The node takes PGAPPNAME away, and has a PGHOST and PGPORT of its own.
	no warnings 'redefine';
	my $original = \&PostgreSQL::Test::Cluster::_get_env;
	local *PostgreSQL::Test::Cluster::_get_env = sub { return ($original->(@_), %hostile) };
	$t->start;
}
$t->sql('CREATE EXTENSION rotate_ext');
$t->set('rotate_ext.login_timeout' => '5s');

my $postmaster = (split /\n/, PostgreSQL::Test::Utils::slurp_file($t->node->data_dir . '/postmaster.pid'))[0];
my $environment = PostgreSQL::Test::Utils::slurp_file("/proc/$postmaster/environ");
is_deeply([ grep { index("\0$environment", "\0$_=$hostile{$_}\0") < 0 } sort keys %hostile ],
	[], 'the postmaster has a hostile environment');

$t->add('app');
$t->add('plain', json => { ssl => JSON::PP::false });
$t->add('verified', json => { ssl => JSON::PP::true });
$t->set('rotate_ext.login_ca_file' => "$tls/ca.pem");
foreach my $case ([ app => 'unverified' ], [ plain => 'off' ], [ verified => 'verify-full' ])
{
	my $row = still_rotates($t, $case->[0], "role $case->[0] rotates in that environment");
	is($row->{detail}{tls}, $case->[1], "TLS is $case->[1]");
}

# The role's settings.
my @app = (role => 'app', secret => 'prod/app');
my $port = $t->port;
my $here = "At host \"127.0.0.1\", port $port: ";
$t->sql('CREATE ROLE other');
foreach my $setting (
	'application_name = \'mine\'', 'search_path = \'wrong\'', 'default_transaction_read_only = on', 'statement_timeout = 1',
	'client_encoding = \'LATIN1\'', 'log_statement = \'all\'', 'log_min_duration_statement = 0', 'log_duration = on',
	'datestyle = \'German\'', 'extra_float_digits = -15', 'bytea_output = \'escape\'', 'lock_timeout = 1',
	'default_transaction_isolation = \'serializable\'', 'idle_session_timeout = 1000', 'track_activities = off',
	'jit_above_cost = 0', 'DateStyle = \'SQL, DMY\'', 'client_min_messages = debug5', 'transaction_deferrable = on')
{
	next if $setting =~ /^transaction_/;
	$t->sql("ALTER ROLE app SET $setting");
	still_rotates($t, 'app', "ALTER ROLE app SET $setting");
	$t->sql('ALTER ROLE app RESET ALL');
}

# The login's statement is cancelled, which is no cancel of the run: it waits for a
# snapshot that is safe, longer than its session's statement_timeout.
my $writer = $t->node->background_psql('postgres', timeout => 60);
$t->sql('CREATE TABLE written (a int)');
$writer->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO written VALUES (1)');
$t->sql("ALTER ROLE app SET $_")
  foreach 'statement_timeout = 200', 'default_transaction_isolation = serializable', 'default_transaction_read_only = on',
  'default_transaction_deferrable = on';
$t->refused("SELECT rotate_now('prod/app')",
	login_error('server_error', 'app', sqlstate => '08006', detail => $here . 'canceling statement due to statement timeout'),
	'a statement_timeout that is too short', @app);
$writer->query_safe('ROLLBACK');
$writer->quit;
still_rotates($t, 'app', 'one that is not');
$t->sql('ALTER ROLE app RESET ALL');

$t->sql('GRANT other TO app');
$t->sql('ALTER ROLE app SET role = other');
$t->refused("SELECT rotate_now('prod/app')", login_error('wrong_user', 'app', detail => "At host \"127.0.0.1\", port $port."),
	'ALTER ROLE app SET role', @app);
$t->sql('ALTER ROLE app RESET ALL');
refused_midway($t, login_error('wrong_user', 'app', label => 'AWSPENDING', detail => "At host \"127.0.0.1\", port $port."),
	'a role of its own that it gets half way',
	change => sub { $t->sql('ALTER ROLE app SET role = other') });
$t->sql('ALTER ROLE app RESET ALL');
still_rotates($t, 'app', 'without it, it rotates');

# The database of the login.
$t->sql('CREATE DATABASE orders');
$t->add('orders', json => { dbname => 'orders' });
my @orders = (role => 'orders', secret => 'prod/orders');
foreach my $setting ('search_path = \'wrong\'', 'default_transaction_read_only = on', 'application_name = \'theirs\'',
	'password_encryption = \'md5\'')
{
	$t->sql("ALTER DATABASE orders SET $setting");
	still_rotates($t, 'orders', "ALTER DATABASE orders SET $setting");
	like($t->verifier_of('orders'), qr/^SCRAM-SHA-256\$/, 'the verifier is SCRAM\'s');
	$t->sql('ALTER DATABASE orders RESET ALL');
}

sub refused_database
{
	my ($sqlstate, $what, $name) = @_;
	$t->refused("SELECT rotate_now('prod/orders')",
		login_error('server_error', 'orders', sqlstate => $sqlstate, detail => $here . $what), $name, @orders);
	return;
}

$t->sql('REVOKE CONNECT ON DATABASE orders FROM public');
refused_database('42501', 'permission denied for database "orders"', 'a database that the role may not connect to');
$t->sql('GRANT CONNECT ON DATABASE orders TO public');
$t->sql('ALTER DATABASE orders ALLOW_CONNECTIONS false');
refused_database('55000', 'database "orders" is not currently accepting connections', 'a database without connections');
$t->sql('ALTER DATABASE orders ALLOW_CONNECTIONS true');
$t->sql('ALTER DATABASE orders RENAME TO orders2');
refused_database('3D000', 'database "orders" does not exist', 'a database that is not there');
refused_midway_database();
$t->sql('ALTER DATABASE orders2 RENAME TO orders');
still_rotates($t, 'orders', 'with its database back, it rotates');

# It goes away half way.
sub refused_midway_database
{
	$t->sql('ALTER DATABASE orders2 RENAME TO orders');
	refused_midway($t,
		login_error('server_error', 'orders', label => 'AWSPENDING', sqlstate => '3D000',
			detail => $here . 'database "orders" does not exist'),
		'a database that goes half way',
		role => 'orders',
		change => sub { $t->sql('ALTER DATABASE orders RENAME TO orders2') });
	return;
}

# A name with several addresses: the server listens on those of localhost that this machine has.
$t->add('local', json => { host => 'localhost' });
$t->set_hba('host all all localhost scram-sha-256', 'host all all 127.0.0.1/32 scram-sha-256');
$t->reload;
still_rotates($t, 'local', 'host localhost rotates');
$t->set(listen_addresses => '127.0.0.1');
$t->restart;
my $addresses = `getent ahosts localhost`;
if ($addresses =~ /::1/)
{
	$t->refused("SELECT rotate_now('prod/local')",
		login_error('expose', 'local', detail => qr/::1 port $port is not this server's own listener/),
		'localhost has an address that the server does not listen on', role => 'local', secret => 'prod/local');
}
else { still_rotates($t, 'local', 'host localhost rotates, with one address'); }

# Nothing listens at all, or the name has a comma.
my $free = PostgreSQL::Test::Cluster::get_free_port();
$t->add('nobody', json => { port => $free });
$t->sql("SELECT rotate_register('prod/nobody', 'nobody', allow_plaintext_login => true)");
$t->refused("SELECT rotate_now('prod/nobody')",
	login_error('no_connection', 'nobody', detail => qr/^At host "127\.0\.0\.1", port $free: .*Connection refused/),
	'nobody listens there', role => 'nobody', secret => 'prod/nobody');
$t->add('comma', json => { host => '127.0.0.1,127.0.0.1' });
$t->refused("SELECT rotate_now('prod/comma')",
	login_error('no_connection', 'comma', detail => "At host \"127.0.0.1,127.0.0.1\", port $port: a host name can't hold a comma"),
	'two hosts', role => 'comma', secret => 'prod/comma');
unlike($t->server_log, qr/\bwrong\b.*authentication|user "wrong"/, 'nobody came as "wrong"');

$t->stop;
done_testing();
