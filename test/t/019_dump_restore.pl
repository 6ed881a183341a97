# 019_dump_restore.pl
#	  A dump carries registrations, not runs; restored in another cluster they
#	  are off until rotate_enable.

use strict;
use warnings;
use utf8;

use Encode qw(decode);
use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $old = $t->add('app');

$t->sql("SELECT rotate_register('prod/app', password_length => 20, exclude_characters => 'x''\\\"é', own_pending_only => true)");
$t->sql("SELECT rotate_now('prod/app')");
my $registration = $t->row('SELECT * FROM rotate_registration');
my $now = $t->password('prod/app');

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
my $roles = PostgreSQL::Test::Utils::tempdir . '/roles.sql';
$t->node->command_ok([ 'pg_dump', '-f', $dump, '-d', $t->node->connstr('postgres') ], 'pg_dump');
$t->node->command_ok([ 'pg_dumpall', '--roles-only', '-f', $roles, '-d', $t->node->connstr('postgres') ], 'pg_dumpall of the roles');
unlike(slurp_file($dump), qr/rotate_run/, 'no run is in the dump');
like(slurp_file($dump), qr/COPY public\.rotate_registration/, 'registrations are');

# The new server takes the place of the old one, at its address.
my $port = $t->port;
my $new = RotateTest->new(name => 'new', emulator => $emulator, start => 0);
$t->stop;
$new->node->append_conf('postgresql.conf', "port = $port");
$new->node->{_port} = $port;
$new->start;
$new->sql('CREATE ROLE in_the_way LOGIN');	# other oids than in the old cluster
$new->node->psql('postgres', slurp_file($roles));
$new->sql(decode('UTF-8', slurp_file($dump)));

my $restored = $new->row('SELECT * FROM rotate_registration');
is_deeply($restored, $registration, 'the registration is restored, byte for byte');
is($new->sql('SELECT count(*) FROM rotate_history'), '0', 'the runs are not');
isnt($new->sql("SELECT oid FROM pg_roles WHERE rolname = 'app'"), $registration->{role_oid}, 'the role has another oid');

is($new->sql('SELECT state FROM rotate_status'), 'off: registered in another cluster', 'rotate_status says that it is off');
my ($there, $here) = ($registration->{system_identifier}, $new->sql('SELECT system_identifier FROM pg_control_system()'));
$emulator->clear_log;
foreach my $function ('rotate_now', 'rotate_abandon')
{
	$new->refused(
		"SELECT $function('prod/app')",
		{
			sqlstate => '55000',
			message => 'secret "prod/app" was registered in another cluster and is off in this one',
			detail => "It was registered with system identifier $there; this cluster's is $here.",
			hint => 'If this cluster has taken over from that one (dump and restore, pg_upgrade), call rotate_enable(\'prod/app\').'
		},
		"$function refuses", role => 'app', secret => 'prod/app');
}
$new->refused(
	"SELECT rotate_now('prod/app', dry_run => true)",
	{ sqlstate => '55000', message => 'secret "prod/app" was registered in another cluster and is off in this one' },
	'a dry run too', role => 'app', secret => 'prod/app', runs => 0);
is($emulator->log->{count}, 0, 'Secrets Manager was not asked');

# rotate_enable
$new->error_is(
	"SELECT rotate_enable('prod/none')",
	{ sqlstate => '42704', message => 'secret "prod/none" is not registered' },
	'rotate_enable of what is not registered');
$new->sql('ALTER ROLE app RENAME TO app2');
$new->error_is(
	"SELECT rotate_enable('prod/app')",
	{ sqlstate => '42704', message => 'could not enable secret "prod/app": role "app" does not exist' },
	'rotate_enable without the role');
$new->sql('ALTER ROLE app2 RENAME TO app');

$new->sql("SELECT rotate_enable('prod/app')");
is($new->row('SELECT * FROM rotate_registration')->{role_oid}, $new->sql("SELECT oid FROM pg_roles WHERE rolname = 'app'"),
	'rotate_enable binds to the role as it is here');
is($new->sql("SELECT state IN ('failing', 'never rotated') FROM rotate_status"), 't', 'rotate_status no longer says off');
is($new->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'and it rotates');
my $password = $new->password('prod/app');
is(length $password, 20, 'as it was registered');
ok($new->can_login('app', $password), 'the new password logs in');
ok(!$new->can_login('app', $now), 'the old one does not');
is($new->sql('SELECT state FROM rotate_status'), 'ok', 'rotate_status says ok');
$new->sql("SELECT rotate_enable('prod/app')");
is($new->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'to enable once more changes nothing');

$new->stop;
done_testing();
