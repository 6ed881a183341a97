# 018_status.pl
#	  What rotate_status and rotate_history say after a success, a failure, an
#	  interruption, and while a rotation runs; and who may read them.

use strict;
use warnings;

use FindBin;
use JSON::PP ();
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $old = $t->add('app');

sub status
{
	my $row = $t->row("SELECT * FROM rotate_status WHERE secret = 'prod/app'");
	return { map { $_ => $row->{$_} } qw(state consecutive_failures last_error last_sqlstate last_hint) };
}

sub fine { return { state => shift, consecutive_failures => 0, last_error => undef, last_sqlstate => undef, last_hint => undef }; }

is($t->sql('SELECT count(*) FROM rotate_status'), '0', 'nothing is registered');
$t->sql("SELECT rotate_register('prod/app')");
is_deeply(status(), fine('never rotated'), 'registered, and never rotated');
is_deeply([ $t->history('prod/app') ], [], 'registering is no run');

# A success.
my $row = $t->row("SELECT * FROM rotate_now('prod/app')");
is_deeply(status(), fine('ok'), 'a rotation that succeeded');
my $success = $t->sql('SELECT last_success FROM rotate_status');
is($t->sql("SELECT last_success = finished_at FROM rotate_status, rotate_history"), 't', 'last_success is its end');
my $run = ($t->history('prod/app'))[-1];
is_deeply(
	{ map { $_ => $run->{$_} } qw(secret role source requested_by version_id outcome sqlstate error hint) },
	{
		secret => 'prod/app', role => 'app', source => 'rotate_now', requested_by => $t->sql('SELECT session_user'),
		version_id => $row->{version_id}, outcome => 'rotated', sqlstate => undef, error => undef, hint => undef
	},
	'rotate_history of a success');
is($t->sql('SELECT started_at < finished_at AND finished_at - started_at > lockout AND lockout > interval \'0\' FROM rotate_history'),
	't', 'with times that fit together');
is($run->{lockout}, $row->{lockout}, 'the lockout that rotate_now told');
my @at = map { $_->{at_ms} } @{ $run->{phases} };
is_deeply(\@at, [ sort { $a <=> $b } @at ], 'phases in the order of their time');
is($run->{phases}[-1]{action}, 'MOVE_CURRENT', 'the last of which moved the label');

# While one runs.
my $fault = $emulator->fault(action => 'pause', operation => 'DescribeSecret');
my $call = $t->start_sql("SELECT rotate_now('prod/app')");
$emulator->wait_for_fault($fault);
is(status()->{state}, 'running', 'while a rotation runs');
is(($t->history('prod/app'))[-1]{outcome}, undef, 'its row has no outcome yet');
$emulator->release($fault);
is($call->finish->{status}, 0, 'it goes on');
is_deeply(status(), fine('ok'), 'and is done');
$emulator->clear_faults;

# One that ends while rotate_status is being read was under way, and is no interrupted one.
$fault = $emulator->fault(action => 'pause', operation => 'DescribeSecret');
$call = $t->start_sql("SELECT rotate_now('prod/app')");
$emulator->wait_for_fault($fault);
my $holder = $t->node->background_psql('postgres', timeout => 60);
$holder->query_safe('SELECT pg_advisory_lock(1)');
my $reader = $t->start_sql('SELECT state FROM rotate_status WHERE (SELECT pg_advisory_lock_shared(1)::text) IS NOT NULL');
$t->wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", '1') or die 'nobody waits';
$emulator->release($fault);
is($call->finish->{status}, 0, 'a rotation that ends');
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'", '0') or die 'the worker stays';
$holder->quit;
is($reader->finish->{stdout}, 'running', 'while rotate_status is read is not shown as interrupted');
$emulator->clear_faults;

# Failures in a row.
my $denied = $emulator->fault(action => 'access_denied', operation => 'DescribeSecret', times => 0);
foreach my $n (1 .. 3)
{
	my $error = $t->sql_error("SELECT rotate_now('prod/app')");
	my $status = status();

	is_deeply(
		$status,
		{
			state => 'failing', consecutive_failures => $n, last_error => $error->{message},
			last_sqlstate => '42501', last_hint => $error->{hint}
		},
		"failure $n");
}
isnt($t->sql('SELECT last_success FROM rotate_status'), $success, 'last_success is that of the second rotation');
$success = $t->sql('SELECT last_success FROM rotate_status');
$run = ($t->history('prod/app'))[-1];
is_deeply([ @{$run}{qw(outcome version_id lockout)} ], [ 'failed', undef, undef ], 'rotate_history of a failure');
ok(defined $run->{finished_at}, 'it has ended');
$emulator->clear_faults;

# To abandon, or to fail at that, is no rotation.
$t->sql_error("SELECT rotate_abandon('prod/app')");
is(status()->{consecutive_failures}, 3, 'rotate_abandon that failed does not count');
is(status()->{last_sqlstate}, '42501', 'nor is its error the last');
$emulator->add_version('prod/app', '[]', 'AWSPENDING');
$t->sql("SELECT rotate_abandon('prod/app')");
is_deeply([ @{ status() }{qw(state consecutive_failures)} ], [ 'failing', 3 ], 'rotate_abandon that succeeded does not mend it');

# Interrupted: the server is gone without a word.
$fault = $emulator->fault(action => 'hang', operation => 'UpdateSecretVersionStage');
$call = $t->start_sql("SELECT rotate_now('prod/app')");
ok($emulator->wait_for_fault($fault), 'a rotation is about to move the label');
$t->node->stop('immediate');
$call->finish;
$emulator->clear_faults;
$t->start;
is_deeply(
	status(),
	{ state => 'interrupted', consecutive_failures => 3, last_error => undef, last_sqlstate => undef, last_hint => undef },
	'an interrupted run');
is($t->sql('SELECT last_success FROM rotate_status'), $success, 'and no success');

$denied = $emulator->fault(action => 'access_denied', operation => 'DescribeSecret');
$t->sql_error("SELECT rotate_now('prod/app')");
is(status()->{consecutive_failures}, 5, 'once the next run has marked it, it counts as a failure in the row');
is_deeply([ map { $_->{outcome} } ($t->history('prod/app'))[ -2, -1 ] ], [ 'interrupted', 'failed' ], 'so says rotate_history');

is($t->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'completed', 'the next run completes it');
is_deeply(status(), fine('ok'), 'and ends the row of failures');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

# Another secret's failures are its own.
$t->add('other');
$t->sql("SELECT rotate_register('prod/other')");
$t->sql('ALTER ROLE other NOLOGIN');
$t->sql_error("SELECT rotate_now('prod/other')");
is_deeply(status(), fine('ok'), 'another secret\'s failure is its own');
is($t->sql("SELECT state FROM rotate_status WHERE secret = 'prod/other'"), 'failing', 'and shown there');

# What rows say of a secret that the launcher looks after, oldest first.
$t->add('looked_after');
$t->sql("SELECT rotate_register('prod/looked_after')");
my %tells = (
	'' => 'never rotated, 0',
	'launcher unchanged' => 'never rotated, 0',
	'launcher failed' => 'failing, 1',
	'launcher failed, launcher failed' => 'failing, 2',
	'launcher failed, launcher unchanged' => 'never rotated, 0',
	'rotate_now rotated, launcher unchanged' => 'ok, 0',
	'rotate_now failed, launcher unchanged' => 'failing, 1',
	'rotate_now failed, launcher settled' => 'ok, 0',
	'rotate_now failed, launcher failed, launcher completed' => 'ok, 0',
	'rotate_now failed, launcher repaired, launcher unchanged' => 'ok, 0',
	'rotate_now interrupted, launcher completed, launcher unchanged' => 'ok, 0',
	'rotate_now rotated, launcher repaired, launcher failed' => 'failing, 1',
	'rotate_now failed, launcher repaired, launcher failed, launcher unchanged' => 'ok, 0');
foreach my $rows (sort keys %tells)
{
	$t->sql("DELETE FROM rotate_run WHERE secret = 'prod/looked_after'");
	foreach my $row (split /, /, $rows)
	{
		my ($source, $outcome) = split / /, $row;
		my $sqlstate = $outcome eq 'failed' ? "'08006'" : 'NULL';
		$t->sql('INSERT INTO rotate_run (secret, arn, source, requested_by, started_at, finished_at, outcome, sqlstate) '
			  . "VALUES ('prod/looked_after', 'arn', '$source', 'x', now(), now(), '$outcome', $sqlstate)");
	}
	is($t->sql("SELECT state || ', ' || consecutive_failures FROM rotate_status WHERE secret = 'prod/looked_after'"),
		$tells{$rows}, $rows eq '' ? 'no run' : $rows);
}
$t->sql("SELECT rotate_unregister('prod/looked_after')");

# Who may read.
$t->sql('CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE ROLE nobody LOGIN');
is($t->sql('SELECT count(*) FROM rotate_status', user => 'watcher'), '2', 'pg_monitor reads rotate_status');
cmp_ok($t->sql('SELECT count(*) FROM rotate_history', user => 'watcher'), '>', 5, 'and rotate_history');
foreach my $name ('rotate_status', 'rotate_history')
{
	$t->error_is("SELECT * FROM $name", { sqlstate => '42501', message => "permission denied for view $name" },
		"$name is for nobody else", user => 'nobody');
}
foreach my $name ('rotate_registration', 'rotate_run')
{
	$t->error_is("SELECT * FROM $name", { sqlstate => '42501', message => "permission denied for table $name" },
		"$name is not for pg_monitor", user => 'watcher');
}

# After rotate_unregister the history stays.
$t->sql("SELECT rotate_unregister('prod/app')");
cmp_ok(scalar($t->history('prod/app')), '>', 5, 'rotate_unregister leaves the history');

$t->stop;
done_testing();
