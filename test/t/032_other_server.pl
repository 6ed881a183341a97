# 032_other_server.pl
#	  The secret's host leads to another server, to a copy of this one, or to
#	  a pooler: each takes the password, and none of them is this server.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use RotateTest;
use RotateTest::Login;
use Test::More;

my $t = RotateTest->new(init => { allows_streaming => 1 }, hba => ['local replication all trust']);
my $other = RotateTest->new(name => 'other', emulator => $t->emulator, create_extension => 0);
my $password = 'the same on both servers';
my $require_auth = knows_require_auth($t);
my $let_in = 'The login was accepted, but the session is not one of this server\'s.';

$t->set('rotate_ext.login_timeout' => '5s');

# Another cluster, with the same role and password.
$t->add('app', password => $password, json => { port => $other->port });
$other->create_role('app', $password);
ok($other->can_login('app', $password), 'the other server takes the password');

my @app = (role => 'app', secret => 'prod/app');
my $rotate = "SELECT rotate_now('prod/app')";
my $at_other = 'At host "127.0.0.1", port ' . $other->port . ': ';
my $theirs = $other->verifier_of('app');

$t->sql("SELECT rotate_register('prod/app', 'app')");
$t->refused(
	$rotate,
	$require_auth
	? login_error('other_server', 'app', detail => $at_other . $let_in)
	: login_error('expose', 'app',
		detail => $at_other . '127.0.0.1 port ' . $other->port . ' is not this server\'s own listener, and '
		  . 'rotate_ext.login_ca_file is not set to verify its certificate by'),
	'another cluster', @app);
unlike($other->server_log, qr/application_name|connection authorized: user=app .*rotate_ext/, 'it was not logged in to')
  unless $require_auth;
$t->sql("SELECT rotate_unregister('prod/app')");
$t->sql("SELECT rotate_register('prod/app', 'app', allow_plaintext_login => true)");
$t->refused($rotate, login_error('other_server', 'app', detail => $at_other . $let_in),
	'another cluster, where the login is allowed', @app);
is($other->verifier_of('app'), $theirs, 'nothing has changed there either');

# A host that leads elsewhere half way does not, since a name is resolved for each login anew:
# here it is the server behind a relay that changes.
{
	my $relay = start_stranger('relay', target => $t->port);
	my $port = $relay->port;

	$t->add('moved', password => $password, json => { port => $port });
	$other->create_role('moved', $password);
	$t->sql("SELECT rotate_register('prod/moved', 'moved', allow_plaintext_login => true)");
	refused_midway($t,
		login_error('rejected', 'moved', label => 'AWSPENDING',
			detail => "At host \"127.0.0.1\", port $port: password authentication failed for user \"moved\""),
		'a host that leads to another server from the middle on',
		role => 'moved',
		change => sub { $relay->stop; $relay = start_stranger('relay', port => $port, target => $other->port) });
	$relay->stop;
	$relay = start_stranger('relay', port => $port, target => $t->port);
	still_rotates($t, 'moved', 'back at this server it rotates');
}

# A copy of this server: same system identifier, same role, password and registration.
$t->add('kept');
$t->sql("SELECT rotate_register('prod/kept', 'kept', allow_plaintext_login => true)");
$t->node->backup('copy');
my $copy_node = PostgreSQL::Test::Cluster->new('copy');
$copy_node->init_from_backup($t->node, 'copy');
my $copy = bless { %$t, node => $copy_node }, ref $t;
$copy->start;
is($copy->sql('SELECT system_identifier FROM pg_control_system()'),
	$t->sql('SELECT system_identifier FROM pg_control_system()'), 'the copy has the same system identifier');
$copy->refused(
	"SELECT rotate_now('prod/kept')",
	login_error('other_server', 'kept', detail => 'At host "127.0.0.1", port ' . $t->port . ": $let_in"),
	'a copy can\'t rotate the secret of the server it was made from', role => 'kept', secret => 'prod/kept');
still_rotates($t, 'kept', 'that server can');

# And this server can't rotate what leads to its copy.
my $copied = $t->add('copied', json => { port => $copy_node->port });
$copy->create_role('copied', $copied);
$t->sql("SELECT rotate_register('prod/copied', 'copied', allow_plaintext_login => true)");
$t->refused(
	"SELECT rotate_now('prod/copied')",
	login_error('other_server', 'copied', detail => 'At host "127.0.0.1", port ' . $copy_node->port . ": $let_in"),
	'a secret that leads to the copy', role => 'copied', secret => 'prod/copied');

# A pooler, at another port and at the server's own port of another address.
my $dir = PostgreSQL::Test::Utils::tempdir('pgbouncer');
my @poolers;

# Also where the test dies.
END { $_->kill_kill foreach @poolers; }

sub start_pooler
{
	my ($address, $port, %passwords) = @_;
	open my $users, '>', "$dir/users" or die;
	print $users "\"$_\" \"$passwords{$_}\"\n" foreach sort keys %passwords;
	close $users;
	open my $ini, '>', "$dir/pgbouncer.ini" or die;
	print $ini join("\n",
		'[databases]', '* = host=127.0.0.1 port=' . $t->port,
		'[pgbouncer]', "listen_addr = $address", "listen_port = $port", 'unix_socket_dir =', "auth_file = $dir/users",
		'auth_type = scram-sha-256', "logfile = $dir/log", ''), "\n";
	close $ini;
	my $handle = IPC::Run::start([ '/usr/sbin/pgbouncer', '-q', "$dir/pgbouncer.ini" ], '<', \undef, '>', \my $out, '2>&1');
	@poolers = $handle;
	foreach (1 .. 200)
	{
		last if IO::Socket::INET->new(PeerAddr => $address, PeerPort => $port);
		Time::HiRes::sleep(0.05);
	}
	return $handle;
}

SKIP:
{
	skip 'pgbouncer is not there', 6 unless -x '/usr/sbin/pgbouncer';
	require IO::Socket::INET;
	require Time::HiRes;

	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $pooled = $t->add('pooled', json => { port => $port });
	my $pooler = start_pooler('127.0.0.1', $port, pooled => $pooled);
	my @pooled = (role => 'pooled', secret => 'prod/pooled');
	my $stands_between = login_error('pooler', 'pooled',
		detail => "At host \"127.0.0.1\", port $port: The login proves the pooler's list of passwords, not the "
		  . 'server\'s.');

	ok($t->can_login('pooled', $pooled, port => $port), 'the pooler takes the password');
	$t->sql("SELECT rotate_register('prod/pooled', 'pooled')");
	$t->refused(
		"SELECT rotate_now('prod/pooled')",
		$require_auth
		? $stands_between
		: login_error('expose', 'pooled',
			detail => "At host \"127.0.0.1\", port $port: 127.0.0.1 port $port is not this server's own listener, and "
			  . 'rotate_ext.login_ca_file is not set to verify its certificate by'),
		'a pooler', @pooled);
	$t->sql("SELECT rotate_unregister('prod/pooled')");
	$t->sql("SELECT rotate_register('prod/pooled', 'pooled', allow_plaintext_login => true)");
	$t->refused("SELECT rotate_now('prod/pooled')", $stands_between, 'a pooler, where the login is allowed', @pooled);
	$pooler->signal('TERM');
	$pooler->finish;
	@poolers = ();

	$pooled = $t->add('behind', json => { host => '127.0.0.2' });
	$pooler = start_pooler('127.0.0.2', $t->port, behind => $pooled);
	ok($t->can_login('behind', $pooled, host => '127.0.0.2'), 'the pooler takes the password at the server\'s port');
	my $file = PostgreSQL::Test::Utils::tempdir('instance') . '/instance';
	open my $instance, '>', $file or die;
	print $instance 'this machine';
	close $instance;
	$t->set('rotate_ext.instance_file' => $file);
	$t->sql("SELECT rotate_register('prod/behind', 'behind', login_host => '127.0.0.1')");
	still_rotates($t, 'behind', 'login_host leads past the pooler');
	$pooler->signal('TERM');
	$pooler->finish;
	@poolers = ();
}

$copy->stop;
$other->stop;
$t->stop;
done_testing();
