# 046_standby.pl
#	  Standbys and copies: only the primary that is registered rotates.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use PostgreSQL::Test::Cluster;
use Test::More;

my $t = RotateTest->new(name => 'primary', init => { allows_streaming => 1 });
my $primary = $t->node;
$t->set_hba('local replication all trust', 'host all all 127.0.0.1/32 scram-sha-256');
$t->reload;
$t->add('app');
$t->sql("SELECT rotate_register('prod/app')");
$t->row("SELECT * FROM rotate_now('prod/app')");
$t->add('plain');
$t->sql("SELECT rotate_register('prod/plain', allow_plaintext_login => true)");
$t->row("SELECT * FROM rotate_now('prod/plain')");
$primary->backup('copy');

# another(NAME, options of init_from_backup): a server made from that copy, as
# the same kind of object.
sub another
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $self = bless { %$t, node => $node }, ref $t;

	$node->init_from_backup($primary, 'copy', %options);
	$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'\n");
	$self->start;
	return $self;
}

# A standby
my $standby = another('standby', has_streaming => 1);
$primary->wait_for_catchup('standby', 'replay', $primary->lsn('write'));
my $before = $t->unchanged('app', 'prod/app');

my $source = sprintf 'This one replicates from host "%s", port %d.', $primary->host, $primary->port;
foreach my $call ("rotate_now('prod/app')", "rotate_now('prod/app', dry_run => true)", "rotate_abandon('prod/app')",
	"rotate_rollback('prod/app')", q{rotate_event('{"Step": "setSecret", "SecretId": "prod/app"}')},
	"rotate_register('prod/x')", "rotate_unregister('prod/app')", "rotate_enable('prod/app')")
{
	my ($function) = $call =~ /^(\w+)/;
	$standby->error_is("SELECT $call", {
			sqlstate => '25006',
			message => "cannot execute $function() on a standby",
			hint => "Call it on the primary; the standbys follow. $source"
		}, "$call is refused on a standby");
}
is($standby->sql("SELECT state FROM rotate_status WHERE secret = 'prod/app'"), 'ok', 'rotate_status works there');
is($standby->sql("SELECT outcome FROM rotate_history WHERE secret = 'prod/app'"), 'rotated', 'and so does rotate_history');
is($standby->sql("SELECT rotate_is_running('app'::regrole)"), 'f', 'and rotate_is_running()');
is($t->unchanged('app', 'prod/app'), $before, 'nothing has changed');

# A physical copy that runs by itself, with the same system identifier and the
# same settings and credentials: its login reaches the primary, not itself.
my $copy = another('copy');
is($copy->sql('SELECT system_identifier FROM pg_control_system()'), $t->sql('SELECT system_identifier FROM pg_control_system()'),
	'a copy has the system identifier of the original');
# refused(ROLE, MESSAGE): in the copy; everything stays as it is.
sub refused
{
	my ($role, $message) = @_;
	my $before = $t->unchanged($role, "prod/$role");
	my $verifier = $copy->verifier_of($role);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$copy->error_is("SELECT rotate_now('prod/$role')", { sqlstate => '55000', message => $message }, 'the copy cannot rotate');
	is($t->unchanged($role, "prod/$role"), $before, 'role and labels of the original are unchanged');
	is($copy->verifier_of($role), $verifier, 'as is the role in the copy');
	my $moves = sub { $t->emulator->log(operation => 'UpdateSecretVersionStage')->{count} };
	my $moved = $moves->();
	$copy->error_is("SELECT rotate_rollback('prod/$role')", { sqlstate => '55000', message => $message }, 'nor can it roll back');
	is($moves->(), $moved, 'and moves no label for that');
	is(($copy->history("prod/$role"))[-1]{error} =~ s/\n.*//sr, $message, 'whose rotate_history has the error');
	return;
}
refused('app', 'could not prove the login of role "app" with AWSCURRENT: '
	  . (knows_require_auth($copy) ? 'it reached another server' : 'the password could reach a stranger'));
refused('plain', 'could not prove the login of role "plain" with AWSCURRENT: it reached another server');
foreach my $role ('app', 'plain')
{
	$t->emulator->add_version("prod/$role", $t->secret_json($role, 'a pending password of the original'), 'AWSPENDING');
	my $error = $copy->sql_error("SELECT rotate_now('prod/$role')");
	is($error->{sqlstate}, '55000', 'nor can it finish a rotation of the original');
	ok($copy->verifier_of($role) eq $t->verifier_of($role), 'whose password does not reach its role');
	$t->sql("SELECT rotate_abandon('prod/$role')");
}
$copy->stop;

# The standby takes over: the same registration holds there.
$t->row("SELECT * FROM rotate_now('prod/app')");
$primary->wait_for_catchup('standby', 'replay', $primary->lsn('write'));
my $port = $primary->port;
$t->stop;
# and gets the primary's address, as a failover would have it
$standby->stop;
$standby->node->append_conf('postgresql.conf', "port = $port\n");
$standby->node->{_port} = $port;
$standby->start;
$standby->node->promote;
is($standby->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'promoted, it rotates');
ok($standby->can_login('app', $standby->password('prod/app')), 'and AWSCURRENT logs in');
is($standby->sql("SELECT state FROM rotate_status WHERE secret = 'prod/app'"), 'ok', 'rotate_status agrees');

$standby->stop;
done_testing();
