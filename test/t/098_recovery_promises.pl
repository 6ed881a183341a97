# 098_recovery_promises.pl
#	  What docs/recovery.md says beside the fault matrix: a look at what is well
#	  changes nothing, repair => false only reports, what is tried again and what
#	  is not, the old password given back by hand while AWS is down, and a launcher
#	  without a worker slot.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep);

my $t = RotateTest->new(conf => join("\n", "shared_preload_libraries = 'rotate_ext'", 'restart_after_crash = on',
		'rotate_ext.max_attempts = 1', 'rotate_ext.request_timeout = 500'));
my $emulator = $t->emulator;
my $move = 'UpdateSecretVersionStage';
$t->wait_for('SELECT rotate_recovery()', 'on');

# add(NAME, more arguments of rotate_register): registered, and looked at once.
sub add
{
	my ($name, $more) = @_;
	$t->add($name);
	$t->sql("SELECT rotate_register('prod/$name'" . ($more || '') . ')');
	looked($name, 0);
	return;
}

# looked(NAME, RUN): the first run of the launcher's after that one, when it has ended.
sub looked
{
	my ($name, $after) = @_;
	my $which = "secret = 'prod/$name' AND source = 'launcher' AND run_id > $after AND outcome IS NOT NULL";

	$t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE $which") or die "the launcher does not look at $name";
	return $t->row("SELECT * FROM rotate_history WHERE $which ORDER BY run_id LIMIT 1");
}

sub last_run { return $t->sql('SELECT coalesce(max(run_id), 0) FROM rotate_history'); }

# restart(NAME...): each one's first look after a restart.
sub restart
{
	my @names = @_;
	my $last = last_run();

	$t->restart;
	return map { looked($_, $last) } @names;
}

# until_logs_in(NAME): AWSCURRENT does, after a while.
sub until_logs_in
{
	my $name = shift;
	my $in = 0;

	for (1 .. 100) { last if $in = $t->can_login($name, $t->password("prod/$name")); sleep 0.1; }
	return $in;
}

# Where all is well, a look changes nothing.
my @well = qw(new rotated pending empty);
add($_) foreach @well;
$t->sql("SELECT rotate_now('prod/$_')") foreach qw(rotated pending empty);
$emulator->add_version('prod/pending', $t->secret_json('pending', RotateTest::random_password()), 'AWSPENDING');
$emulator->control('/service-pending', secret => 'prod/empty');
my %before = map { $_ => $t->unchanged($_, "prod/$_") } @well;
$emulator->clear_log;
is_deeply([ map { $_->{outcome} } restart(@well) ], [ ('unchanged') x @well ], 'where AWSCURRENT logs in, a look finds nothing to do');
is_deeply([ grep { $t->unchanged($_, "prod/$_") ne $before{$_} } @well ], [], 'and changes nothing, whatever is pending');
is_deeply([ grep { !/^(DescribeSecret|GetSecretValue)$/ } keys %{ $emulator->log->{operations} } ], [], 'it only reads');

# repair => false: a password that is lost is reported.
add($_, ', repair => false') foreach qw(reported set broken gone);
$t->sql("SELECT rotate_now('prod/reported')");
$t->lose_change('reported');
my $verifier = $t->verifier_of('reported');
my ($run) = restart('reported');
is_deeply(
	{ map { $_ => $run->{$_} } qw(outcome sqlstate error hint retry_at) },
	{
		outcome => 'failed', sqlstate => '55000', retry_at => undef, hint => "Call rotate_now('prod/reported') to go on.",
		error => 'role "reported" does not have AWSCURRENT\'s password of secret "prod/reported", and repair is turned off for it'
	},
	'repair => false: a password that a failover has taken back is reported');
is($t->verifier_of('reported'), $verifier, 'and not given again');
is($t->sql("SELECT state FROM rotate_status WHERE secret = 'prod/reported'"), 'failing', 'rotate_status says so');
is($t->sql("SELECT outcome FROM rotate_now('prod/reported')"), 'rotated', 'as the hint says, rotate_now() goes on');
ok($t->can_login('reported', $t->password('prod/reported')), 'and AWSCURRENT logs in');

# What was under way is finished all the same, or taken back; what is gone is reported.
foreach my $case (
	[ 'nothing else happens' => 'set', undef, 'completed', undef, 1 ],
	[ 'its version is spoilt' => 'broken', sub { $emulator->control('/versions', secret => 'prod/broken',
			id => $t->labels('prod/broken')->{AWSPENDING}, string => '{}', stages => ['AWSPENDING']) },
		'failed', qr/the value of its AWSPENDING version cannot be used/, 1 ],
	[ 'AWSPENDING is taken away' => 'gone', sub { $emulator->control('/labels', secret => 'prod/gone', labels => { AWSPENDING => undef }) },
		'failed', qr/and repair is turned off for it/, 0 ])
{
	my ($what, $name, $meanwhile, $outcome, $error, $logs_in) = @$case;
	my $last = last_run();

	$t->set('rotate_ext.request_timeout' => 60000);
	my $rule = $emulator->fault(action => 'pause', then => 'cut', operation => $move);
	my $call = $t->start_sql("SELECT rotate_now('prod/$name')");
	$emulator->wait_for_fault($rule) or die 'no call came';
	$meanwhile->() if $meanwhile;
	kill 'KILL', $t->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'");
	$call->finish;
	$emulator->clear_faults;
	$t->node->poll_query_until('postgres', 'SELECT true');
	$run = looked($name, $last);
	is($run->{outcome}, $outcome, "repair => false, a rotation was interrupted, and $what: $outcome");
	like($run->{error}, $error, 'which is told') if defined $error;
	is($t->can_login($name, $t->password("prod/$name")), $logs_in, 'AWSCURRENT ' . ($logs_in ? 'logs in' : 'does not log in'));
	is($t->sql("SELECT round(extract(epoch FROM retry_at - finished_at)) FROM rotate_history WHERE run_id = $run->{run_id}"),
		$name eq 'broken' ? '60' : '', 'the launcher looks ' . ($name eq 'broken' ? 'once more after a minute' : 'no more'));
	$t->set('rotate_ext.request_timeout' => 500);
}
is($t->sql("SELECT outcome FROM rotate_now('prod/gone')"), 'rotated', 'until somebody calls rotate_now()');

# AWS goes away before the move is answered, and the old password is given back by hand.
foreach my $arrived (0, 1)
{
	my $name = $arrived ? 'arrived' : 'lost';

	add($name);
	my $old = $t->password("prod/$name");
	$emulator->fault(action => 'hang', operation => $move, when => $arrived ? 'after' : 'before');
	$emulator->fault(action => 'error', status => 503, operation => 'DescribeSecret', after => 1, times => 0);
	is($t->sql_error("SELECT rotate_now('prod/$name')")->{sqlstate}, '08007', "the label's move gets no answer, and AWS is down: $name");
	is($t->can_login($name, $old), 0, 'the old password does not log in');
	my $last = last_run();
	$t->wait_for("SELECT count(*) > 1 FROM rotate_history WHERE secret = 'prod/$name' AND source = 'launcher' AND outcome = 'failed'");
	is($t->sql("SELECT last_sqlstate FROM rotate_status WHERE secret = 'prod/$name'"), '58000', 'rotate_status has what the launcher meets');
	is($t->sql("SELECT sqlstate FROM rotate_history WHERE run_id = $last"), '08007', 'rotate_history the run that left it so');
	$t->set_password($name, $old);
	is($t->can_login($name, $old), 1, 'ALTER ROLE lets those in that have it');
	$emulator->clear_faults;
	$t->wait_for("SELECT state FROM rotate_status WHERE secret = 'prod/$name'", 'ok');
	isnt($t->password("prod/$name"), $old, 'when AWS is back, AWSCURRENT is the new version');
	ok($t->can_login($name, $t->password("prod/$name")), 'which logs in');
}

# A run that took too long is tried again; one that somebody has cancelled is not.
foreach my $how ('rotate_ext.worker_timeout', 'pg_cancel_backend()')
{
	my $name = $how =~ /timeout/ ? 'late' : 'cancelled';

	add($name);
	$t->set('rotate_ext.request_timeout' => 60000, 'rotate_ext.worker_timeout' => $name eq 'late' ? 1000 : undef);
	my $rule = $emulator->fault(action => 'hang', when => 'after', operation => 'PutSecretValue');
	my $call = $t->start_sql("SELECT rotate_now('prod/$name')");
	$emulator->wait_for_fault($rule) or die 'no call came';
	$t->sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'") if $name eq 'cancelled';
	is($call->finish->{error}{sqlstate}, '57014', "a rotation that has begun is ended by $how");
	$emulator->clear_faults;
	$t->set('rotate_ext.request_timeout' => 500, 'rotate_ext.worker_timeout' => undef);
	is($t->sql("SELECT retry_at IS NOT NULL FROM rotate_history WHERE secret = 'prod/$name' AND source = 'rotate_now'"),
		$name eq 'late' ? 't' : 'f', $name eq 'late' ? 'and tried again' : 'and not tried again');
}

# What the service has begun it tries again itself; but whether AWSCURRENT logs in is the launcher's, too.
add('service');
$emulator->control('/secrets/update', secret => 'prod/service', attributes => { rotation_enabled => JSON::PP::true });
my $token = $emulator->control('/service-pending', secret => 'prod/service')->{id};
sub event
{
	my $step = shift;
	my %event = (Step => $step, SecretId => $emulator->secret('prod/service')->{arn}, ClientRequestToken => $token);
	return 'SELECT rotate_event(' . RotateTest::literal(JSON::PP->new->encode(\%event)) . ')';
}
sub due { return $t->sql("SELECT next_due IS NOT NULL FROM rotate_status WHERE secret = 'prod/service'"); }
$emulator->fault(action => 'error', status => 503, when => 'after', operation => 'PutSecretValue');
is($t->sql_error(event('createSecret'))->{sqlstate}, '58000', 'a step of the service\'s rotation fails after it has made its version');
is(due(), 'f', 'which the launcher leaves to the service');
$t->sql(event('createSecret'));
my $last = last_run();
$emulator->fault(action => 'hang', operation => $move, times => 0);
is($t->sql_error(event('setSecret'))->{sqlstate}, '08007', 'another one leaves open where AWSCURRENT is');
is(due(), 't', 'which the launcher looks into');
$emulator->clear_faults;
looked('service', $last);
ok(until_logs_in('service'), 'until AWSCURRENT logs in');
is($t->labels('prod/service')->{AWSCURRENT}, $token, 'on the version of the service\'s rotation');
$t->sql("SELECT rotate_unregister(secret) FROM rotate_status WHERE role NOT IN ('new', 'rotated')");
$t->stop;

# Worker slots: one is the server's own, one the launcher's, and one is left.
$t->node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$t->start;
$t->set('rotate_ext.request_timeout' => 60000);
$t->wait_for('SELECT count(DISTINCT secret) = (SELECT count(*) FROM rotate_registration) FROM rotate_history '
	  . "WHERE source = 'launcher' AND outcome IS NOT NULL AND started_at > pg_postmaster_start_time()") or die 'not all are looked at';
# after the last look it reads its tables once more
sleep 1;
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext %worker'", '0');
my $parallel = $t->sql('SHOW server_version_num') >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
my $call = $t->start_sql("SET $parallel = on; SELECT pg_sleep(600)", app => 'parallel');
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'", '1') or die 'there is no parallel worker';
$last = last_run();
$t->sql("UPDATE rotate_run SET retry_at = now() WHERE run_id = (SELECT max(run_id) FROM rotate_run WHERE secret = 'prod/new')");
$t->reload;
sleep 2;
is($t->sql("SELECT count(*) FROM rotate_run WHERE run_id > $last"), '0', 'without a free worker slot the launcher does nothing');
is($t->sql('SELECT rotate_recovery()'), 'on', 'but is there');
$t->sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'parallel' AND backend_type = 'client backend'");
$call->finish;
is(looked('new', $last)->{outcome}, 'unchanged', 'and goes on when there is one, of which nobody tells it');

$t->node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$t->restart;
is($t->sql('SELECT rotate_recovery()'), 'off: the launcher is not running; the server\'s log says why', 'without a slot of its own there is no launcher');
like($t->server_log, qr/LOG:  too many background workers\n.*DETAIL:  Up to 1 background worker can be registered with the current settings\./,
	'and so says the log');

$t->stop;
done_testing();
