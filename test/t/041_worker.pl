# 041_worker.pl
#	  The worker itself: it ends at its time limit, on request, or by kill -9, and
#	  whatever it left is finished by the next run.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

# In this server the library is preloaded; but its launcher has no database to
# look after, since what follows an interrupted run by hand is the subject here.
my $t = RotateTest->new(
	conf => "shared_preload_libraries = 'rotate_ext'\nrotate_ext.database = 'none'\nrestart_after_crash = on\nwal_writer_delay = 10s\n"
	  . "synchronous_commit = off");
my $emulator = $t->emulator;
$t->add('app');
$t->sql("SELECT rotate_register('prod/app')");

my $WORKER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'";

sub consistent
{
	my $name = shift;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($t->can_login('app', $t->password('prod/app')), $name);
}

# pause(OPERATION, more of the rule): a rotation that stands still there; its
# psql, the rule and the worker's pid.
sub pause
{
	my ($operation, %more) = @_;
	my $rule = $emulator->fault(action => 'pause', operation => $operation, %more);
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");

	$emulator->wait_for_fault($rule) or die "the rotation did not reach $operation";
	return ($call, $rule, $t->sql($WORKER));
}

is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'rotates with the library preloaded');

# Memory
my ($call, $rule, $pid) = pause('UpdateSecretVersionStage');
like(PostgreSQL::Test::Utils::slurp_file("/proc/$pid/limits"), qr/^Max core file size\s+0\s+0\s/m,
	'the worker writes no core file');
is((stat "/proc/$pid/environ")[4], 0, 'nor is it dumpable: its files in /proc are root\'s');
ok(!open(my $environ, '<', "/proc/$pid/environ"), 'so that another process of its user cannot read its memory');

# What explains the password is written with it, and not a moment later.
is($t->sql("SELECT a.xmin = r.xmin FROM pg_authid a, rotate_run r WHERE a.rolname = 'app' AND r.outcome IS NULL"), 't',
	'the password and its place in rotate_run are of one transaction');

# The change of the password is on disk as soon as it is seen, although
# synchronous_commit is off: or a crash would take it back behind AWSCURRENT's move.
my $pending = $t->password('prod/app', 'AWSPENDING');
$t->stop('immediate');
$emulator->release($rule);
isnt($call->finish->{status}, 0, 'an immediate shutdown ends the caller');
$t->start;
ok($t->can_login('app', $pending), 'the password that was set before the crash is the role\'s after it');
ok($t->password('prod/app') eq $pending, 'and the move that was under way has reached the secret');
is($t->row("SELECT state FROM rotate_status")->{state}, 'interrupted', 'rotate_status says how the run ended');
is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'the next run rotates');
is(($t->history('prod/app'))[-2]{outcome}, 'interrupted', 'and records that the one before was interrupted');
consistent('AWSCURRENT logs in');

# So is whose version was made: or after a crash it would be somebody else's.
($call, $rule) = pause('PutSecretValue', when => 'after');
my $made = $t->labels('prod/app')->{AWSPENDING};
$t->stop('immediate');
$emulator->release($rule);
$call->finish;
$t->start;
is($t->sql("SELECT count(*) FROM rotate_run WHERE created_version_id = '$made'"), '1',
	'a version that was made before the crash is known as ours after it');
is($t->row("SELECT * FROM rotate_now('prod/app')")->{version_id}, $made, 'the next run goes on with it');
consistent('AWSCURRENT logs in');

# kill -9 at each call: the server restarts, and the next run finishes the work.
foreach my $operation ('DescribeSecret', 'GetSecretValue', 'PutSecretValue', 'UpdateSecretVersionStage')
{
	foreach my $when ('before', 'after')
	{
		my ($call, $rule, $pid) = pause($operation, when => $when);
		kill 'KILL', $pid;
		$call->finish;
		$emulator->control('/faults/clear', id => $rule);
		$t->{node}->poll_query_until('postgres', 'SELECT true');
		my $outcome = $t->row("SELECT * FROM rotate_now('prod/app')")->{outcome};
		like($outcome, qr/^(rotated|completed)$/, "kill -9 $when $operation: the next run ends well");
		consistent('with AWSCURRENT logging in');
		is($t->labels('prod/app')->{AWSCURRENT}, $t->labels('prod/app')->{AWSPENDING} || $t->labels('prod/app')->{AWSCURRENT},
			'and nothing left pending');
	}
}

# worker_timeout, in seconds too short for the emulator.  The role gets its
# verifier back as long as no move of the label was sent.
$t->set('rotate_ext.worker_timeout' => '1000', 'rotate_ext.request_timeout' => '60000');
foreach my $operation ('DescribeSecret', 'GetRandomPassword', 'PutSecretValue')
{
	my $verifier = $t->verifier_of('app');
	my $id = $emulator->fault(action => 'hang', operation => $operation);
	$t->error_is("SELECT rotate_now('prod/app')",
		{ sqlstate => '57014', message => 'the run took longer than rotate_ext.worker_timeout (1000 ms)' },
		"a run that hangs at $operation ends at rotate_ext.worker_timeout");
	$emulator->clear_faults;
	is($t->verifier_of('app'), $verifier, 'the role is as before');
	is(($t->history('prod/app'))[-1]{sqlstate}, '57014', 'and rotate_history says why');
}
$t->row("SELECT * FROM rotate_now('prod/app')");
consistent('the next run makes up for it');

# With the move on its way, restoring would lock everyone out when it arrives.
foreach my $end ('rotate_ext.worker_timeout', 'pg_cancel_backend()', 'pg_terminate_backend()')
{
	$t->set('rotate_ext.worker_timeout' => $end =~ /^pg/ ? '60000' : '1000');
	my ($call, $rule, $pid) = pause('UpdateSecretVersionStage');
	my $pending = $t->password('prod/app', 'AWSPENDING');
	$t->sql("SELECT " . $end =~ s/\(\)/($pid)/r) if $end =~ /^pg/;
	my $result = $call->finish;
	isnt($result->{status}, 0, "$end ends a run that waits for the move");
	ok($t->can_login('app', $pending), 'the role keeps the pending password');
	$emulator->release($rule);
	$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'", '0');
	for (1 .. 100)
	{
		last if $t->password('prod/app') eq $pending;
		select undef, undef, undef, 0.05;
	}
	ok($t->password('prod/app') eq $pending, 'since the move may arrive after all, as it does here');
	consistent('and AWSCURRENT logs in');
	is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'the next run rotates');
}

# A worker that is told to end before the move puts the old password back.
$t->set('rotate_ext.worker_timeout' => '60000');
foreach my $function ('pg_cancel_backend', 'pg_terminate_backend')
{
	my ($call, $rule, $pid) = pause('PutSecretValue');
	my $verifier = $t->verifier_of('app');
	$t->sql("SELECT $function($pid)");
	my $error = $call->finish->{error};
	is_deeply([ @{$error}{qw(sqlstate message hint)} ], [ '57014', 'canceling the run due to user request', 'Running it again is safe.' ],
		'which is not said to be the caller\'s doing') if $function eq 'pg_cancel_backend';
	isnt($error, undef, "$function() ends a run");
	is($t->verifier_of('app'), $verifier, 'the role is as before');
	consistent('AWSCURRENT logs in');
	$emulator->clear_faults;
	like($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, qr/^(rotated|completed)$/, 'the next run ends well');
}

# Settings are read anew, with no restart.
$t->set('rotate_ext.request_timeout' => '200', 'rotate_ext.max_attempts' => '1');
$emulator->fault(action => 'hang', operation => 'DescribeSecret', times => 0);
$t->error_is("SELECT rotate_now('prod/app')", { message => qr/no answer within 200 ms/ },
	'rotate_ext.request_timeout takes effect on reload', );
$emulator->clear_faults;

$t->stop;
done_testing();
