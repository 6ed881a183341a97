# 049_registration.pl
#	  Registrations that outlive what they were made in: another cluster, a
#	  renamed role, an earlier registration of the same secret.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
foreach my $role ('app', 'shop')
{
	$t->add($role);
	$t->sql("SELECT rotate_register('prod/$role')");
}

sub status
{
	my $column = shift;
	return $t->sql("SELECT $column FROM rotate_status WHERE secret = 'prod/app'");
}

# A dump restored into another cluster, in which each of two roles has got the
# oid that the other one had.
$t->sql(<<'SQL');
CREATE TABLE dump AS SELECT * FROM rotate_registration;
DELETE FROM rotate_registration;
UPDATE dump SET system_identifier = '1',
	role_oid = (SELECT oid FROM pg_authid WHERE rolname = CASE role_name WHEN 'app' THEN 'shop' ELSE 'app' END);
INSERT INTO rotate_registration SELECT * FROM dump;
SQL
is(status('state'), 'off: registered in another cluster', 'a restored registration is off');
$t->add('other');
$t->sql("SELECT rotate_register('prod/other')");
pass('its stale oids are in no new registration\'s way');
$t->sql("SELECT rotate_enable('prod/$_')") foreach ('app', 'shop');
is($t->sql('SELECT bool_and(role_oid = role_name::regrole) FROM rotate_registration'), 't',
	'each is bound to its role by name, in any order');
is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'rotated', 'and rotates');

# The role is known by its oid, too.
$t->sql('ALTER ROLE other RENAME TO renamed');
$emulator->create_secret('prod/renamed', $t->secret_json('renamed', 'any'));
$t->error_is("SELECT rotate_register('prod/renamed')",
	{ sqlstate => '42710', message => 'role "renamed" is already registered for secret "prod/other"' },
	'a role that was renamed is not registered twice');

# failures in a row
sub fail_once
{
	$emulator->fault(action => 'error', operation => 'DescribeSecret', type => 'AccessDeniedException', times => 1);
	$t->psql("SELECT rotate_now('prod/app')");
	return;
}
fail_once();
is(status("state || ' ' || consecutive_failures"), 'failing 1', 'a failure is counted');

my $rule = $emulator->fault(action => 'pause', operation => 'GetSecretValue', times => 1);
my $call = $t->start_sql("SELECT rotate_now('prod/app')");
$emulator->wait_for_fault($rule) or die 'no call came';
$t->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'");
$call->finish;
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'", '0');
$emulator->clear_faults;
is(status('state'), 'interrupted', 'a run that was ended by force has no end');
fail_once();
is(status("state || ' ' || consecutive_failures"), 'failing 3', 'it is a failure, and not what ends a series of them');

# A registration begins anew.
$t->sql("SELECT rotate_unregister('prod/app')");
$t->sql("SELECT rotate_register('prod/app')");
is(status("state || ' ' || consecutive_failures"), 'never rotated 0', 'an earlier registration\'s failures are not this one\'s');
is(status('last_error IS NULL'), 't', 'nor its error');
is(status('last_success IS NOT NULL'), 't', 'but when the secret was rotated for this role is still known');
$t->sql("SELECT rotate_unregister('prod/app')");
is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'rotated', 'the first run can register');
is(status("state || ' ' || consecutive_failures"), 'ok 0', 'and counts');

# It is read again when the role's turn has come: what it said before may be out
# of date.  A second rotation waits here in its worker, and not in its caller,
# since its secret was not registered yet when that looked: it is to be registered
# by the run itself, or was by somebody while the postmaster started no worker.
my $waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND backend_type LIKE 'rotate_ext%'";
my $postmaster = (split /\n/, PostgreSQL::Test::Utils::slurp_file($t->node->data_dir . '/postmaster.pid'))[0];
$t->sql("CREATE TABLE app AS SELECT * FROM rotate_registration WHERE secret = 'prod/app'");
foreach my $by ('the run', 'somebody')
{
	$rule = $emulator->fault(action => 'pause', operation => 'DescribeSecret', times => 1);
	my $first = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");
	$emulator->wait_for_fault($rule) or die 'no call came';

	my $session = $t->node->background_psql('postgres', timeout => 60);
	$session->query_safe("SELECT rotate_unregister('prod/app'); SELECT pg_advisory_lock(1)");
	my $second = $t->start_sql("SELECT pg_advisory_lock_shared(1); SELECT outcome FROM rotate_now('prod/app')", app => 'second');
	$t->wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", '1');
	kill 'STOP', $postmaster if $by eq 'somebody';
	$session->query_safe('SELECT pg_advisory_unlock(1)');
	if ($by eq 'somebody')
	{
		for (1 .. 500)
		{
			last if $session->query("SELECT wait_event ~ 'MessageQueue|BgWorker' FROM pg_stat_activity WHERE application_name = 'second'") eq 't';
			select undef, undef, undef, 0.02;
		}
		$session->query_safe('INSERT INTO rotate_registration SELECT * FROM app');
		kill 'CONT', $postmaster;
	}
	ok($t->wait_for($waits, '1'), "registered by $by, a rotation waits for its turn");
	# nobody may begin another one before it, and leave a later row behind
	is($t->sql("SELECT count(*) FROM rotate_registration WHERE secret = 'prod/app'"), $by eq 'the run' ? '0' : '1', 'the run itself registers when it has it');
	$session->query_safe("SELECT rotate_unregister('prod/app')") if $by eq 'somebody';
	$emulator->release($rule);
	$first->finish;
	my $result = $second->finish;
	like($result->{stdout}, qr/^rotated$/m, 'and rotates') if $by eq 'the run';
	is($result->{error}{message}, 'the registration of secret "prod/app" was changed while its rotation waited for its turn',
		'and does not rotate what is not registered any more') if $by eq 'somebody';
	$session->quit;
}

$t->stop;
done_testing();
