# 016_refused_by_the_server.pl
#	  A password that the server does not take for the role: a password
#	  checker's word, or a role that may not be altered.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $old = $t->add('app');
my %of_app = (role => 'app', secret => 'prod/app');

$t->sql("SELECT rotate_register('prod/app')");

# Background workers leave session_preload_libraries out; this one must not.
foreach my $setting ('session_preload_libraries', 'shared_preload_libraries')
{
	$t->node->append_conf('postgresql.conf', "$setting = 'passwordcheck'");
	$t->restart;

	my $id = $emulator->add_version('prod/app', $t->secret_json('app', 'short1'), 'AWSPENDING');
	$t->refused(
		"SELECT rotate_now('prod/app')",
		{
			sqlstate => '22023',
			message => qr/\Acould not rotate secret "prod\/app": the password of its AWSPENDING version was refused: password is too short\z/,
			hint => 'Call rotate_abandon(\'prod/app\') to give this version up; rotate_now() then makes another.'
		},
		"$setting: a password checker refuses the pending password", %of_app);
	ok($t->can_login('app', $old), '  the old one logs in');
	is($t->labels('prod/app')->{AWSPENDING}, $id, '  AWSPENDING is where it was');
	is_deeply(
		[ map { $_->{action} } @{ ($t->rows('SELECT phases FROM rotate_history ORDER BY run_id DESC LIMIT 1'))[0]{phases} } ],
		[ 'OBSERVE', 'PROVE_LOGIN' ],
		'  no action after that is told');

	is($t->row("SELECT outcome FROM rotate_abandon('prod/app')")->{outcome}, 'abandoned', '  rotate_abandon, as the hint says');
	is($t->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'rotated', '  and rotate_now makes one that is taken');
	$old = $t->password('prod/app');
	ok($t->can_login('app', $old), '  which logs in');

	# AWSPREVIOUS's password is the role's, and the checker judges AWSCURRENT's too.
	my $good = RotateTest::random_password() . 'a1';
	$emulator->add_version('prod/app', $t->secret_json('app', 'short2'), 'AWSCURRENT');
	$emulator->add_version('prod/app', $t->secret_json('app', $old), 'AWSPREVIOUS');
	$emulator->control('/labels', secret => 'prod/app', labels => { AWSPENDING => undef });
	$t->refused(
		"SELECT rotate_now('prod/app')",
		{
			sqlstate => '22023',
			message => qr/\Acould not rotate secret "prod\/app": the password of its AWSCURRENT version was refused: password is too short\z/,
			hint => ''
		},
		"$setting: a password checker refuses AWSCURRENT's password", %of_app);
	$emulator->create_secret('prod/app', $t->secret_json('app', $old));
	$t->sql("SELECT rotate_unregister('prod/app')");
	$t->sql("SELECT rotate_register('prod/app')");
	$t->node->append_conf('postgresql.conf', "$setting = ''");
}
$t->restart;

# A role of PostgreSQL's own, made to log in behind its back.
my $reserved = RotateTest::random_password();
$t->sql("UPDATE pg_authid SET rolcanlogin = true, rolpassword = '"
	  . RotateTest::scram_verifier($reserved) . "' WHERE rolname = 'pg_monitor'");
$emulator->create_secret('prod/monitor', $t->secret_json('pg_monitor', $reserved));
$t->sql("SELECT rotate_register('prod/monitor')");
my $pending = $emulator->add_version('prod/monitor', $t->secret_json('pg_monitor', RotateTest::random_password()), 'AWSPENDING');
$t->refused(
	"SELECT rotate_now('prod/monitor')",
	{
		sqlstate => '42939',
		message => 'could not rotate secret "prod/monitor": the password of its AWSPENDING version was refused: '
		  . 'role name "pg_monitor" is reserved',
		detail => 'Cannot alter reserved roles.',
		hint => 'Call rotate_abandon(\'prod/monitor\') to give this version up; rotate_now() then makes another.'
	},
	'a reserved role', role => 'pg_monitor', secret => 'prod/monitor');
ok($t->can_login('pg_monitor', $reserved), 'its password is as before');

# One that cannot log in, reserved or not.
$emulator->create_secret('prod/reader', $t->secret_json('pg_read_all_data', $reserved));
$t->refused(
	"SELECT rotate_register('prod/reader')",
	{
		sqlstate => '55000',
		message => 'could not register secret "prod/reader": role "pg_read_all_data" is not permitted to log in',
		hint => 'Use ALTER ROLE ... LOGIN.'
	},
	'a reserved role that cannot log in', role => 'pg_read_all_data', secret => 'prod/reader', runs => 0);

$t->stop;
done_testing();
