# 098_synchronous_standby.pl
#	  A synchronous standby that is gone: a rotation stops before it changes
#	  anything; what it has changed stands, and the way back waits for nobody.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = RotateTest->new(init => { allows_streaming => 1 });
my $emulator = $t->emulator;
my @app = (role => 'app', secret => 'prod/app');
my $NOW = "SELECT outcome FROM rotate_now('prod/app')";
my $OF_WORKER = "FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'";

$t->add('app');
$t->sql("SELECT rotate_register('prod/app')");
$t->sql($NOW);

# lose_standby(): on return each commit waits for a standby that is not there.
# It is the checkpointer that makes it so, some time after a reload.
sub lose_standby
{
	$t->set(synchronous_standby_names => 'gone');
	for (1 .. 100)
	{
		my $probe = $t->start_sql("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, '', '')", app => 'probe');
		my $waiting = "FROM pg_stat_activity WHERE application_name = 'probe' AND wait_event = 'SyncRep'";

		sleep 0.05 while $probe->running && $t->sql("SELECT count(*) $waiting") eq '0';
		if ($probe->running)
		{
			$t->sql("SELECT pg_cancel_backend(pid) $waiting");
			$probe->finish;
			return;
		}
		$probe->finish;
	}
	die 'commits do not wait for the standby';
}

sub find_standby
{
	$t->set(synchronous_standby_names => undef);
	return;
}

sub add_pending
{
	return $emulator->add_version('prod/app', $t->secret_json('app', RotateTest::random_password()), 'AWSPENDING');
}

sub time_limit
{
	my $limit = shift;
	$t->set('rotate_ext.worker_timeout' => $limit);
	return { sqlstate => '57014', message => "the run took longer than rotate_ext.worker_timeout ($limit ms)" };
}

# It is gone before the run begins.
foreach my $case ('nothing pending', 'a usable pending version', 'synchronous_commit off for the database')
{
	my $error = time_limit(1000);

	add_pending() if $case =~ /pending version/;
	$t->sql('ALTER DATABASE postgres SET synchronous_commit = off') if $case =~ /off/;
	lose_standby();
	$emulator->clear_log;
	$t->refused("SELECT rotate_now('prod/app')", $error, "$case, and the standby is gone: the time limit ends the run", @app);
	is($emulator->log->{count}, 0, 'Secrets Manager was not asked');
	find_standby();
}
$t->sql('ALTER DATABASE postgres RESET synchronous_commit');

# cancel(CALL): while it waits for the standby.  Its error.
sub cancel
{
	my $call = shift;
	$t->wait_for("SELECT wait_event = 'SyncRep' $OF_WORKER") or die 'the worker does not wait';
	$t->sql("SELECT pg_cancel_backend(pid) $OF_WORKER");
	return $call->finish->{error};
}

# A cancel ends the run, too, and not only the wait that it found.
time_limit(60000);
lose_standby();
$emulator->clear_log;
is(cancel($t->start_sql($NOW))->{message}, 'canceling the run due to user request', 'cancelled before it begins');
is($emulator->log->{count}, 0, 'Secrets Manager was not asked');
find_standby();

# It goes while the run is under way, which the next thing to be written stops: by the time limit, or by a cancel.
foreach my $case (
	[ 'the version is made', $NOW ],
	[ 'the password is set', $NOW ],
	[ 'AWSPENDING is moved back', "SELECT rotate_rollback('prod/app')" ])
{
	foreach my $cancelled (0, 1)
	{
		my ($what, $sql) = @$case;
		my $error = time_limit($cancelled ? 60000 : 6000);

		$emulator->control('/labels', secret => 'prod/app', labels => { AWSPENDING => undef });
		add_pending() if $what =~ /set/;
		my $rule = $emulator->fault(action => 'pause', operation => 'DescribeSecret');
		my $before = $t->unchanged('app', 'prod/app');
		my $call = $t->start_sql($sql);
		$emulator->wait_for_fault($rule) or die 'no call came';
		lose_standby();
		$emulator->release($rule);
		ok($t->wait_for("SELECT wait_event = 'SyncRep' $OF_WORKER"), "before $what the worker waits for the standby");
		is(($cancelled ? cancel($call) : $call->finish->{error})->{message},
			$cancelled ? 'canceling the run due to user request' : $error->{message}, 'and not longer than it may');
		is($t->unchanged('app', 'prod/app'), $before, 'role and secret are as before');
		find_standby();
	}
}

# start_until_set(): a run whose password is set, by a commit that waits.  The
# standby goes while the run waits for somebody who has locked the role's row.
sub start_until_set
{
	my $holder = $t->node->background_psql('postgres', timeout => 60);
	my $call;

	add_pending();
	my $rule = $emulator->fault(action => 'pause', operation => 'DescribeSecret');
	$call = $t->start_sql($NOW);
	$emulator->wait_for_fault($rule) or die 'no call came';
	$holder->query_safe('BEGIN; ALTER ROLE app CONNECTION LIMIT 7');
	$emulator->release($rule);
	$t->wait_for("SELECT wait_event = 'transactionid' $OF_WORKER") or die 'the run does not wait for the row';
	lose_standby();
	$holder->query_safe('ROLLBACK');
	$holder->quit;
	ok($t->wait_for("SELECT wait_event = 'SyncRep' $OF_WORKER"), 'the password is set, and the standby does not answer');
	return $call;
}

# What is committed here stands: the label follows it.
time_limit(60000);
my $call = start_until_set();
$t->sql("SELECT pg_cancel_backend(pid) $OF_WORKER");
ok($t->wait_for("SELECT wait_event = 'SyncRep' AND (SELECT count(*) = 0 FROM pg_locks l WHERE l.pid = a.pid AND relation = 'pg_authid'::regclass) "
		  . ($OF_WORKER =~ s/pg_stat_activity/pg_stat_activity a/r)), 'the wait is cancelled, and the next is for the record');
ok($t->can_login('app', $t->password('prod/app')), 'meanwhile AWSCURRENT logs in');
find_standby();
is($call->finish->{stdout}, 'completed', 'with the standby back the run ends');

# The same by the time limit, which ends every wait.
time_limit(10000);
$call = start_until_set();
is($call->finish->{stdout}, 'completed', 'after the time limit it is completed, and the record waits no more');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
find_standby();

# A worker that is told to end puts the old password back, without the standby.
time_limit(60000);
my $verifier = $t->verifier_of('app');
my $labels = $t->labels('prod/app');
$call = start_until_set();
my $start = time;
$t->sql("SELECT pg_terminate_backend(pid) $OF_WORKER");
is($call->finish->{error}{sqlstate}, '57P01', 'terminated');
cmp_ok(time - $start, '<', 2, 'soon');
ok($t->verifier_of('app') eq $verifier, 'the role has its old verifier');
is($t->labels('prod/app')->{AWSCURRENT}, $labels->{AWSCURRENT}, 'and AWSCURRENT is where it was');
find_standby();

# So does a run that fails.
my $rule = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
$emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage', times => 0);
$call = $t->start_sql($NOW);
$emulator->wait_for_fault($rule) or die 'no call came';
ok($t->verifier_of('app') ne $verifier, 'a new password is set');
lose_standby();
$start = time;
$emulator->release($rule);
is($call->finish->{error}{sqlstate}, '42501', 'its label may not be moved');
cmp_ok(time - $start, '<', 10, 'which is told without the standby');
ok($t->verifier_of('app') eq $verifier, 'the role has its old verifier');
is(($t->history('prod/app'))[-1]{sqlstate}, '42501', 'and the run its record');
$emulator->clear_faults;
find_standby();
is($t->sql($NOW), 'completed', 'with the standby back it is completed');

$t->stop;
done_testing();
