# 047_history.pl
#	  Runs that are kept, notifications, and who may do what.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
$t->add('app');
$t->add('shop');
$t->sql("SELECT rotate_register('prod/app')");

sub runs { return join ',', map { $_->{run_id} } $t->history('prod/app'); }

# Retention: days, of which the tests have none.
$t->row("SELECT * FROM rotate_now('prod/app')") foreach 1 .. 3;
is(runs(), '1,2,3', 'each run has a row');
$t->sql("UPDATE rotate_run SET started_at = started_at - interval '399 days'");
$t->row("SELECT * FROM rotate_now('prod/app')");
is(runs(), '1,2,3,4', 'runs are kept for 400 days');
$t->set('rotate_ext.history_retention' => '398');
$t->sql("UPDATE rotate_run SET started_at = started_at - interval '399 days' WHERE run_id = 4");
$t->sql("INSERT INTO rotate_run (secret, source, requested_by, started_at, outcome) "
	  . "VALUES ('prod/shop', 'rotate_now', 'postgres', now() - interval '500 days', 'rotated')");

# The row of the role's present verifier is needed: a failing run must not take it away.
$emulator->fault(action => 'access_denied', operation => 'DescribeSecret');
$t->error_is("SELECT rotate_now('prod/app')", { sqlstate => '42501' }, 'a run that fails');
is(runs(), '4,6', 'after rotate_ext.history_retention they go, but for the one that explains the role\'s verifier');
is(scalar(@{ [ $t->history('prod/shop') ] }), 1, 'and those of another secret');
$t->row("SELECT * FROM rotate_now('prod/app')");
is(runs(), '6,7', 'which goes when there is a new verifier');

# That row is what makes a password known when its version has lost its labels.
my $rule = $emulator->fault(action => 'error', type => 'InternalServiceError', status => 500,
	operation => 'UpdateSecretVersionStage', times => 0, when => 'before');
my $call = $t->start_sql("SELECT rotate_now('prod/app')");
$emulator->wait_for_fault($rule) or die 'no call came';
$t->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'");
$call->finish;
$emulator->clear_faults;
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'", '0');
$emulator->control('/labels', secret => 'prod/app', labels => { AWSPENDING => undef });
$t->sql("UPDATE rotate_run SET started_at = started_at - interval '500 days'");
$emulator->fault(action => 'access_denied', operation => 'DescribeSecret');
$t->sql_error("SELECT rotate_now('prod/app')");
is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'a password that we set is known, however long ago');
ok($t->can_login('app', $t->password('prod/app')), 'and AWSCURRENT logs in');

# NOTIFY: a plain role may listen, and learns the number of the run.
$t->sql('CREATE ROLE listener LOGIN');
my $listener = $t->start_sql("LISTEN rotate_ext;\nSELECT pg_sleep(0.1);\n" x 50, user => 'listener', app => 'listener');
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'listener' AND query LIKE '%pg_sleep%'", '1');
my $last = $t->sql('SELECT max(run_id) FROM rotate_history');
$t->sql("SELECT rotate_now('prod/app')");
$t->sql_error("SELECT rotate_now('prod/nothing')");
$t->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'nobody'");
my @notices = $listener->finish->{stdout} =~ /^Asynchronous notification .*/mg;
s/ received from server process with PID \d+\.// foreach @notices;
is_deeply(\@notices, [ map { "Asynchronous notification \"rotate_ext\" with payload \"$_\"" } $last + 1, $last + 2 ],
	'a notification holds the run\'s number and nothing else, of a failed one too');

# Privileges: each by itself
$t->sql('CREATE ROLE caller LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
sub denied
{
	my ($user, $sql, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return $t->error_is($sql, { sqlstate => '42501', message => "permission denied for $what" }, "$user: $sql is denied", user => $user);
}
foreach my $user ('caller', 'watcher')
{
	denied($user, "SELECT rotate_now('prod/app')", 'function rotate_now');
	denied($user, "SELECT rotate_register('prod/shop')", 'function rotate_register');
	denied($user, "SELECT rotate_unregister('prod/app')", 'function rotate_unregister');
	denied($user, "SELECT rotate_enable('prod/app')", 'function rotate_enable');
	denied($user, "SELECT rotate_abandon('prod/app')", 'function rotate_abandon');
	denied($user, 'SELECT * FROM rotate_run', 'table rotate_run');
	denied($user, 'SELECT * FROM rotate_registration', 'table rotate_registration');
}
denied('caller', 'SELECT * FROM rotate_status', 'view rotate_status');
denied('caller', 'SELECT * FROM rotate_history', 'view rotate_history');
is($t->sql('SELECT state FROM rotate_status', user => 'watcher'), 'ok', 'a member of pg_monitor reads rotate_status');
cmp_ok($t->sql('SELECT count(*) FROM rotate_history', user => 'watcher'), '>', 3, 'and rotate_history');

$t->sql('GRANT EXECUTE ON FUNCTION rotate_now TO caller');
is($t->sql("SELECT outcome FROM rotate_now('prod/app')", user => 'caller'), 'rotated', 'EXECUTE on rotate_now() is all that a caller needs');
is(($t->history('prod/app'))[-1]{requested_by}, 'caller', 'rotate_history says who it was');
denied('caller', "SELECT rotate_register('prod/shop')", 'function rotate_register');
my $before = $t->unchanged('shop', 'prod/shop');
$emulator->clear_log;
$t->error_is("SELECT rotate_now('prod/shop')", {
		sqlstate => '42704',
		message => 'secret "prod/shop" is not registered',
		hint => q{Register it with rotate_register('prod/shop').}
	}, 'who may not register does not register by rotating', user => 'caller');
is($emulator->log->{count}, 0, 'and the secret is not even looked at');
is($t->unchanged('shop', 'prod/shop'), $before, 'nor the role touched');

$t->sql('GRANT EXECUTE ON FUNCTION rotate_register TO caller; REVOKE EXECUTE ON FUNCTION rotate_now FROM caller');
is($t->sql("SELECT registered_role FROM rotate_register('prod/shop')", user => 'caller'), 'shop', 'EXECUTE on rotate_register() is all that it takes');
denied('caller', "SELECT rotate_now('prod/shop')", 'function rotate_now');
is($t->sql("SELECT registered_by FROM rotate_registration WHERE secret = 'prod/shop'"), 'caller', 'a registration says who made it');

# SET ROLE hides nobody; nor does a function of another owner.
$t->sql('GRANT EXECUTE ON FUNCTION rotate_now TO watcher; GRANT watcher TO caller');
$t->sql("SET ROLE watcher; SELECT rotate_now('prod/app')", user => 'caller');
is(($t->history('prod/app'))[-1]{requested_by}, 'caller', 'the session\'s user is recorded');

# However many rows there are, none is read that is not needed.
$t->sql("INSERT INTO rotate_run (secret, arn, role_oid, role_name, source, requested_by, started_at, finished_at, outcome, "
	  . "created_version_id, version_id, set_version_id, verifier_hash) SELECT 'many/' || i % 100, 'arn:many-' || i % 100, 1000000 + i % 100, "
	  . "'many', 'rotate_now', 'x', now(), now(), 'rotated', i, i, i, sha256(i::text::bytea) FROM generate_series(1, 20000) i; ANALYZE rotate_run");
sub scans
{
	$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'", '0');
	return $t->sql("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'rotate_run'");
}
foreach my $call ("rotate_now('prod/app')", "rotate_rollback('prod/app')", "rotate_now('prod/app', dry_run => true)")
{
	my $before = scans();
	$t->sql("SELECT $call");
	is(scans(), $before, "$call finds its rows by index");
}

# Whoever listens, and reads nothing for long, fills the server's queue of notifications; before 17 that takes 8 GB.
if ($t->sql('SHOW server_version_num') >= 170000)
{
	$t->node->append_conf('postgresql.conf', 'max_notify_queue_pages = 64');
	$t->restart;
	my $idle = $t->start_sql("LISTEN other; BEGIN; SELECT 1; SELECT pg_sleep(600)", user => 'listener', app => 'idle');
	$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'idle' AND query LIKE '%pg_sleep%'", '1');
	my $fill = "DO 'BEGIN FOR i IN 1 .. 1000 LOOP PERFORM pg_notify(''other'', repeat(''x'', 7000) || i); COMMIT; END LOOP; END'";
	is($t->sql_error($fill, user => 'listener')->{sqlstate}, '54000', 'the queue of notifications is full');
	is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'rotated', 'a secret is rotated all the same');
	is(($t->history('prod/app'))[-1]{outcome}, 'rotated', 'which is on record');
	$emulator->fault(action => 'access_denied', operation => 'DescribeSecret');
	$t->sql_error("SELECT rotate_now('prod/app')");
	is(($t->history('prod/app'))[-1]{sqlstate}, '42501', 'and so is a failure');
	$t->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'idle'");
	$idle->finish;
}

$t->stop;
done_testing();
