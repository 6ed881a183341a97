# 056_launcher.pl
#	  The launcher: at every start of the server it has every registered secret
#	  looked at, and what is unfinished or lost put right; and nothing that is done
#	  to its database, its extension or itself holds it up or is held up by it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = RotateTest->new(conf => "shared_preload_libraries = 'rotate_ext'\nrestart_after_crash = on\n");
my $emulator = $t->emulator;
my $node = $t->node;

# started(): the launcher has looked at everything since the server's start.
sub looked
{
	my $secret = shift;
	return $t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = '$secret' AND source = 'launcher' "
		  . 'AND started_at > pg_postmaster_start_time() AND outcome IS NOT NULL');
}

# back(): the postmaster has put everything back up after a crash.
sub back
{
	for (1 .. 200)
	{
		my ($status) = $t->psql('SELECT 1');
		return if $status == 0;
		sleep 0.05;
	}
	die 'the server did not come back';
}

sub launcher_pid { return $t->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext launcher'"); }

ok($t->wait_for('SELECT rotate_recovery()', 'on'), 'recovery is on');
is($t->sql('SELECT count(*) FROM rotate_history'), '0', 'nothing to look at');
$t->add('app');
# its worker is long gone when the transaction ends
$t->sql("BEGIN; SELECT rotate_register('prod/app'); SELECT pg_sleep(1); COMMIT");
ok($t->wait_for("SELECT count(*) = 1 FROM rotate_history WHERE source = 'launcher' AND outcome = 'unchanged'"),
	'a new registration is looked at');
is($t->sql("SELECT state FROM rotate_status"), 'never rotated', 'which is no rotation');
is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'it rotates');
# Idle: the launcher sleeps until it is woken.
my $pid = launcher_pid();
sub switches { return (slurp("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m)[0]; }
sub slurp { return PostgreSQL::Test::Utils::slurp_file($_[0]); }
# the end of each worker is a reason
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^rotate_ext .* worker'", '0') or die 'the workers do not end';
sleep 1;
my $switches = switches();
sleep 3;
is(switches(), $switches, 'the launcher does not wake up without a reason');

# A change that a failover has lost: the role has AWSPREVIOUS's password after the restart.
$node->stop;
$t->start;
ok(looked('prod/app'), 'after a restart the secret is looked at again');
is($t->sql("SELECT state FROM rotate_status"), 'ok', 'its state is ok');
$t->restart;
ok(looked('prod/app'), 'and again');
is($t->sql("SELECT count(*) FROM rotate_history WHERE source = 'launcher' AND outcome = 'unchanged'"), '1',
	'that there was nothing to do is on record once');
my $lost = $t->password('prod/app', 'AWSPREVIOUS');
$t->set_password('app', $lost);
my $start = time;
$t->restart;
ok($t->wait_for("SELECT count(*) = 1 FROM rotate_history WHERE outcome = 'repaired' AND source = 'launcher'"),
	'a password that a failover has taken back is given again');
cmp_ok(time - $start, '<', 5, 'soon');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
ok(defined $t->row('SELECT * FROM rotate_status')->{next_due}, 'and it will be looked at once more');

# Labels out of date: they show what was before our last move, which a failover has
# taken from the role, so that all seems well.
$t->sql("SELECT rotate_now('prod/app')");
my $labels = $t->labels('prod/app');
$emulator->control('/labels', secret => 'prod/app', labels => { AWSCURRENT => $labels->{AWSPREVIOUS}, AWSPREVIOUS => undef });
$t->set_password('app', $t->password('prod/app'));
$t->restart;
ok(looked('prod/app'), 'labels that contradict what we have just done');
is($t->sql("SELECT outcome || ' ' || (retry_at IS NOT NULL) FROM rotate_history ORDER BY run_id DESC LIMIT 1"), 'unchanged true',
	'are looked at again after a while');
$emulator->control('/labels', secret => 'prod/app', labels => $labels);
$t->sql("UPDATE rotate_run SET retry_at = now() WHERE run_id = (SELECT max(run_id) FROM rotate_run)");
$t->reload;
ok($t->wait_for("SELECT outcome FROM rotate_history ORDER BY run_id DESC LIMIT 1", 'repaired'), 'and then put right');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

# Killed in the middle of a rotation: the server starts anew, and the launcher
# goes on from wherever things stand.
foreach my $case (
	[ before => 'DescribeSecret', 'settled' ],
	[ before => 'PutSecretValue', 'settled' ],
	[ after => 'PutSecretValue', 'completed' ],
	[ before => 'UpdateSecretVersionStage', 'completed' ],
	[ after => 'UpdateSecretVersionStage', 'completed' ])
{
	my ($when, $operation, $outcome) = @$case;
	my $rule = $emulator->fault(action => 'hang', operation => $operation, when => $when);
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");
	$emulator->wait_for_fault($rule) or die 'no call came';
	my $last = $t->sql('SELECT max(run_id) FROM rotate_history');
	my $worker = $t->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'");
	kill 'KILL', $worker;
	$call->finish;
	$emulator->clear_faults;
	back();
	$t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE run_id > $last AND outcome IS NOT NULL");
	is_deeply(
		[ $t->rows("SELECT outcome, source, attempt FROM rotate_history WHERE run_id >= $last ORDER BY run_id") ],
		[
			{ outcome => 'interrupted', source => 'rotate_now', attempt => 1 },
			{ outcome => $outcome, source => 'launcher', attempt => 2 }
		],
		"killed $when $operation: the launcher has followed it up");
	ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
	is($t->sql("SELECT state || ', ' || coalesce(next_due::text, 'nothing due') FROM rotate_status"), 'ok, nothing due',
		'and the secret is well');
}

# Nothing that happens to it brings it down for good.
sub is_on { return $t->wait_for('SELECT rotate_recovery()', 'on'); }

$pid = launcher_pid();
$t->sql("SELECT pg_terminate_backend($pid)");
ok($t->wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rotate_ext launcher' AND pid <> $pid"),
	'terminated, it is started again');
ok(is_on(), 'and works');

# repaired(NAME): it can still do what it is for.
sub repaired
{
	my $name = shift;
	$t->lose_change('app');
	$t->restart;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $deadline = time + 10;
	sleep 0.1 until $t->can_login('app', $t->password('prod/app')) || time > $deadline;
	ok($t->can_login('app', $t->password('prod/app')), $name);
	return;
}

# A row that nobody could have made by the functions
$t->add('good');
$t->sql("SELECT rotate_register('prod/good')");
$t->sql("UPDATE rotate_registration SET arn = 'garbage', role_oid = 0, host = E'\\n', secret = repeat('x', 3000) "
	  . "WHERE secret = 'prod/good'");
my $exits = () = $t->server_log =~ /rotate_ext launcher" \(PID \d+\) (?:exited|was terminated)/g;
repaired("a row that makes no sense is in no other secret's way");
is(scalar(() = $t->server_log =~ /rotate_ext launcher" \(PID \d+\) (?:exited|was terminated)/g) - $exits, 1,
	'nor does it end the launcher, which only the restart did');
$t->sql("DELETE FROM rotate_registration WHERE arn = 'garbage'");

# Settings, read anew; its database, dropped and made again
$t->sql('CREATE DATABASE other');
$t->sql('CREATE EXTENSION rotate_ext', database => 'other');
is($t->sql('SELECT rotate_recovery()', database => 'other'),
	'off: rotate_ext.database is "postgres", not this database', 'another database is told that it is not looked after');
$t->set('rotate_ext.database' => 'other');
ok($t->wait_for('SELECT rotate_recovery()', 'off: rotate_ext.database is "other", not this database'), 'a reload is enough');
is($t->sql('SELECT rotate_recovery()', database => 'other'), 'on', 'for the other one to be');
$t->restart;
is($node->poll_query_until('other', 'SELECT rotate_recovery()', 'on'), 1, 'from the start, too');
$start = time;
is($t->sql_error('DROP DATABASE other'), undef, 'it can be dropped');
cmp_ok(time - $start, '<', 2, 'at once');
$t->reload;
ok($t->wait_for('SELECT rotate_recovery()', 'off: database "other" (rotate_ext.database) does not exist'), 'which is told');
$t->sql('CREATE DATABASE other');
$t->sql('CREATE EXTENSION rotate_ext', database => 'other');
$t->add('second');
$t->sql("SELECT rotate_register('prod/second')", database => 'other');
is($node->poll_query_until('other', 'SELECT rotate_recovery()', 'on'), 1, 'made again, it is looked after');
is($node->poll_query_until('other', 'SELECT outcome FROM rotate_history', 'unchanged'), 1, 'and its secret looked at');
$t->sql('ALTER DATABASE other RENAME TO another');
is($t->sql('SELECT rotate_recovery()', database => 'another'), 'off: rotate_ext.database is "other", not this database',
	'renamed, it is told that it is not');
is($node->poll_query_until('another', 'SELECT rotate_recovery()', 'off: database "other" (rotate_ext.database) does not exist'), 1,
	'which the launcher learns');
$t->set('rotate_ext.database' => undef);
ok(is_on(), 'back to the first');

# The extension, dropped and made again
$t->sql('DROP EXTENSION rotate_ext');
$t->sql('CREATE EXTENSION rotate_ext');
is($t->sql('SELECT count(*) FROM rotate_registration'), '0', 'DROP EXTENSION works while the launcher runs');
$t->sql("SELECT rotate_register('prod/app')");
ok(is_on(), 'and CREATE EXTENSION makes it work again');
$t->sql("SELECT rotate_now('prod/app')");
repaired('as before');

# The launcher's look finds the interrupted run also where somebody waits for the role's turn behind it.
{
	$t->sql("SELECT rotate_now('prod/app')") for 1 .. 2;
	my $run = $t->sql("SELECT max(run_id) - 1 FROM rotate_run");
	my $holder = $node->background_psql('postgres', timeout => 60);
	$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^rotate_ext .* worker'", '0');
	# due a little later, when what it reads is locked
	$t->sql("UPDATE rotate_run SET outcome = NULL, finished_at = NULL WHERE run_id = $run; "
		  . "UPDATE rotate_run SET outcome = 'failed', sqlstate = '08006', retry_at = now() + interval '4 s' WHERE run_id = $run + 1");
	$t->reload;
	sleep 1;
	$holder->query_safe('BEGIN; LOCK TABLE rotate_run IN ACCESS EXCLUSIVE MODE');
	$t->wait_for("SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE relation = 'rotate_run'::regclass AND NOT granted "
		  . "AND backend_type = 'rotate_ext rotation worker'", '1') or die 'the launcher does not look';
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");
	$t->wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", '1') or die 'nobody waits for the turn';
	$holder->query_safe('COMMIT');
	$holder->quit;
	is($call->finish->{stdout}, 'rotated', 'a rotation that waits behind a look of the launcher\'s');
	is($t->sql("SELECT a.outcome || ' before ' || b.source FROM rotate_run a JOIN rotate_run b ON a.finished_at <= b.started_at "
			. "WHERE a.run_id = $run ORDER BY b.run_id LIMIT 1"), 'interrupted before launcher', 'which has found what was interrupted');
}

# ALTER EXTENSION UPDATE to a version whose library is not loaded
my $directory = $node->config_data('--sharedir') . '/extension';
my @scripts = map { "$directory/rotate_ext--$_.sql" } '1.0--1.0.test', '1.0.test--1.0';
PostgreSQL::Test::Utils::append_to_file($_, "SELECT 1;\n") foreach @scripts;
$t->sql("ALTER EXTENSION rotate_ext UPDATE TO '1.0.test'");
$t->reload;
ok($t->wait_for('SELECT rotate_recovery()', 'off: the server has version 1.0 of the library loaded, and the extension here is of another; '
	  . 'restart the server, or run ALTER EXTENSION rotate_ext UPDATE'),
	'ALTER EXTENSION UPDATE without a restart: it is idle, and says so');
like($t->server_log, qr/WARNING:  the launcher of rotate_ext is idle: the extension in database "postgres" is not of version 1\.0, which this server has loaded\n.*HINT:  Restart the server to load the installed version; then run ALTER EXTENSION rotate_ext UPDATE\./,
	'in the log, too');
$t->sql("ALTER EXTENSION rotate_ext UPDATE TO '1.0'");
ok(is_on(), 'back again, it works, with no restart and no reload');
unlink @scripts;

# A shutdown, while its workers' requests hang
$emulator->fault(action => 'hang', operation => 'DescribeSecret', times => 0);
$emulator->clear_log;
$t->restart;
$emulator->control('/log/wait', operation => 'DescribeSecret', count => 1, ended => JSON::PP::false);
$start = time;
$node->stop('fast');
cmp_ok(time - $start, '<', 2, 'a fast shutdown is not held up by a request that hangs');
$emulator->clear_faults;

# Without shared_preload_libraries there is no launcher, and that is told.
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', undef);
$t->start;
is($t->sql('SELECT recovery FROM rotate_status'), 'off: rotate_ext is not in shared_preload_libraries',
	'without preload rotate_status says that recovery is off');
is($t->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'"), '0', 'nothing runs');
is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'and rotations work');

$t->stop;
done_testing();
