# 057_retries.pl
#	  What the launcher tries again, when, and what it does not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;
use Time::HiRes qw(time);

my $t = RotateTest->new(conf => "shared_preload_libraries = 'rotate_ext'\nrotate_ext.max_attempts = 1\n"
	  . "rotate_ext.request_timeout = 500");
my $emulator = $t->emulator;
$t->wait_for('SELECT rotate_recovery()', 'on');

# add(NAME): registered, and looked at once.
sub add
{
	my $name = shift;
	$t->add($name);
	$t->sql("SELECT rotate_register('prod/$name')");
	$t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/$name' AND outcome IS NOT NULL");
	return;
}

# last_run(NAME, more): its latest run, with the seconds from its end to the next.
sub last_run
{
	my $name = shift;
	return $t->row('SELECT *, extract(epoch FROM retry_at - finished_at)::float AS pause FROM rotate_history '
		  . "WHERE secret = 'prod/$name' ORDER BY run_id DESC LIMIT 1");
}

# wait_for_run(NAME, AFTER): the launcher's first run after another one, when it has ended.
sub wait_for_run
{
	my ($name, $after) = @_;
	$t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/$name' AND source = 'launcher' "
		  . "AND run_id > $after AND outcome IS NOT NULL") or return { outcome => 'none' };
	return $t->row("SELECT *, extract(epoch FROM retry_at - finished_at)::float AS pause FROM rotate_history "
		  . "WHERE secret = 'prod/$name' AND source = 'launcher' AND run_id > $after ORDER BY run_id LIMIT 1");
}

sub between
{
	my ($got, $least, $most, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(defined $got && $got >= $least && $got <= $most, $name)
	  or diag((defined $got ? $got : 'nothing') . " is not within $least and $most");
	return;
}

# A rotation that failed before it made a version is over: its caller was told.
add('over');
$emulator->fault(action => 'error', status => 503, operation => 'DescribeSecret');
my ($status, $out, $err) = $t->psql("SELECT rotate_now('prod/over')");
isnt($status, 0, 'a rotation fails before it has begun anything');
unlike($err, qr/NOTICE/, 'nothing is announced');
is(last_run('over')->{retry_at}, undef, 'nor planned') or diag($err);
$emulator->clear_faults;

# begin(NAME): rotate_now() makes a version, whose label is there, and fails.
sub begin
{
	my $name = shift;
	$emulator->fault(action => 'error', status => 503, when => 'after', operation => 'PutSecretValue');
	return $t->psql("SELECT rotate_now('prod/$name')");
}

# One that has made its version is finished by the launcher.
add('begun');
$emulator->fault(action => 'error', status => 503, operation => 'DescribeSecret', after => 1);
my $old = $t->password('prod/begun');
($status, $out, $err) = begin('begun');
isnt($status, 0, 'a rotation fails after it has begun');
like($err, qr/NOTICE:  00000: the launcher tries again at \d{4}-/, 'its caller is told that it goes on');
my $run = last_run('begun');
is($run->{sqlstate}, '58000', 'for what passes by itself') or diag(explain($run));
between($run->{pause}, 0.9, 2.1, 'soon');
is($t->sql("SELECT next_due IS NOT NULL FROM rotate_status WHERE secret = 'prod/begun'"), 't', 'rotate_status shows when');
my $retry = wait_for_run('begun', $run->{run_id});
is($retry->{attempt}, 2, 'it is the second attempt');
is($retry->{outcome}, 'failed', 'which fails too');
between($retry->{pause}, 1.9, 4.1, 'and the next one waits longer');
$retry = wait_for_run('begun', $retry->{run_id});
is($retry->{outcome}, 'completed', 'the third completes the rotation') or diag(explain($retry));
is($retry->{attempt}, 3, 'as the third attempt');
isnt($t->password('prod/begun'), $old, 'AWSCURRENT is the new version');
ok($t->can_login('begun', $t->password('prod/begun')), 'and logs in');
is($t->sql("SELECT state || coalesce(next_due::text, '') FROM rotate_status WHERE secret = 'prod/begun'"), 'ok',
	'rotate_status has nothing more to say');
is($t->sql("SELECT consecutive_failures FROM rotate_status WHERE secret = 'prod/begun'"), '0', 'nor any failure');

# By the class of the error
my %cases = (
	quota => [ { action => 'error', type => 'LimitExceededException', message => 'x' }, '53400', 600, 1201 ],
	throttled => [ { action => 'throttle' }, '53000', 10, 21 ],
	denied => [ { action => 'access_denied' }, '42501' ],
	invalid => [ { action => 'error', type => 'InvalidParameterException', message => 'x' }, '22023' ],
	silent => [ { action => 'hang' }, '08007', 0.9, 2.1 ]);
foreach my $name (sort keys %cases)
{
	my ($rule, $sqlstate, $least, $most) = @{ $cases{$name} };

	add($name);
	my $id = $emulator->fault(%$rule, operation => 'UpdateSecretVersionStage', times => 0);
	# throttling is waited for as long as there is time
	$t->set('rotate_ext.worker_timeout' => $name eq 'throttled' ? 3000 : undef);
	my ($status, $out, $err) = $t->psql("SELECT rotate_now('prod/$name')");
	my $run = $t->row("SELECT *, extract(epoch FROM retry_at - finished_at)::float AS pause FROM rotate_history "
		  . "WHERE secret = 'prod/$name' AND source = 'rotate_now'");
	is($run->{sqlstate}, $sqlstate, "$name: $sqlstate") or diag($err);
	if (defined $least)
	{
		between($run->{pause}, $least, $most, "$name: tried again, not before $least s");
	}
	else
	{
		is($run->{pause}, undef, "$name: not tried again");
		unlike($err, qr/NOTICE/, "$name: nothing of the kind is announced");
		is($t->row("SELECT state, next_due FROM rotate_status WHERE secret = 'prod/$name'")->{state}, 'failing',
			"$name: rotate_status says that it fails");
	}
	$emulator->clear_faults;
}
$retry = wait_for_run('silent', last_run('silent')->{run_id} - 1);
ok($t->can_login('silent', $t->password('prod/silent')), 'where the answer was lost, AWSCURRENT logs in in the end');

# Who calls a function begins anew, however often the launcher has tried; and what
# leaves open whether AWSCURRENT logs in waits a minute at most, whoever did it.
add('often');
$t->sql("UPDATE rotate_run SET outcome = 'failed', attempt = 12, retry_at = now() + interval '1 hour' WHERE secret = 'prod/often'");
$emulator->fault(action => 'hang', operation => 'UpdateSecretVersionStage', times => 0);
is($t->sql_error("SELECT rotate_now('prod/often')")->{sqlstate}, '08007', 'after many attempts somebody calls rotate_now()');
$run = $t->row("SELECT *, extract(epoch FROM retry_at - finished_at)::float AS pause FROM rotate_history "
	  . "WHERE secret = 'prod/often' AND source = 'rotate_now'");
is($run->{attempt}, 1, 'a first attempt');
between($run->{pause}, 0.9, 2.1, 'tried again soon');
wait_for_run('often', $run->{run_id});
$t->sql("UPDATE rotate_run SET attempt = 12, retry_at = now() WHERE secret = 'prod/often' AND run_id = "
	  . "(SELECT max(run_id) FROM rotate_run WHERE secret = 'prod/often' AND outcome IS NOT NULL)");
$t->reload;
ok($t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/often' AND attempt > 12 AND outcome = 'failed'"),
	'the launcher has tried often');
$run = $t->row("SELECT *, extract(epoch FROM retry_at - finished_at)::float AS pause FROM rotate_history "
	  . "WHERE secret = 'prod/often' AND attempt > 12 ORDER BY run_id LIMIT 1");
between($run->{pause}, 31, 65, 'and waits a minute at most');
$emulator->clear_faults;
is($t->sql("SELECT outcome FROM rotate_now('prod/often')"), 'completed', 'until somebody calls');

# A rotation that can't succeed stops, even one that the launcher has taken over.
add('wrong');
begin('wrong');
$run = last_run('wrong');
$emulator->control('/versions', secret => 'prod/wrong', id => $t->labels('prod/wrong')->{AWSPENDING},
	string => '{"broken": true}', stages => ['AWSPENDING']);
$retry = wait_for_run('wrong', $run->{run_id});
is($retry->{outcome}, 'failed', 'a secret that has become wrong: the launcher tries');
is($retry->{retry_at}, undef, 'and stops');
like($retry->{error}, qr/the value of its AWSPENDING version cannot be used/, 'and says why');
is($t->sql("SELECT state FROM rotate_status WHERE secret = 'prod/wrong'"), 'failing', 'in rotate_status');

# What nobody wants any more is not finished.
add('given_up');
begin('given_up');
my $before = $t->labels('prod/given_up');
$t->sql("SELECT rotate_abandon('prod/given_up')");
select undef, undef, undef, 3;
is(last_run('given_up')->{outcome}, 'abandoned', 'rotate_abandon() ends it');
is($t->labels('prod/given_up')->{AWSCURRENT}, $before->{AWSCURRENT}, 'AWSCURRENT stays');

# A backend that is gone before its rotation failed makes no difference.
add('gone');
my $hang = $emulator->fault(action => 'hang', when => 'after', operation => 'PutSecretValue');
my $call = $t->start_sql("SELECT rotate_now('prod/gone')");
$emulator->wait_for_fault($hang);
$call->kill;
$run = wait_for_run('gone', last_run('gone')->{run_id});
is($run->{outcome}, 'completed', 'a rotation whose caller has gone is finished, too');

# More secrets than workers
$t->set('rotate_ext.max_workers' => 2);
add("many$_") foreach 1 .. 6;
my $pause = $emulator->fault(action => 'pause', operation => 'DescribeSecret', times => 0);
$t->restart;
ok($emulator->wait_for_fault($pause, 2), 'after a restart two are looked at');
is($t->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'"), '2', 'and no more at once');
$emulator->clear_faults;
ok($t->wait_for("SELECT count(DISTINCT secret) = 6 FROM rotate_history WHERE secret LIKE 'prod/many%' AND outcome IS NOT NULL "
			. 'AND started_at > pg_postmaster_start_time()'), 'in the end all of them');

# More than worker slots: one is the server's own, one the launcher's
$t->node->append_conf('postgresql.conf', 'max_worker_processes = 3');
my $start = time;
$t->restart;
ok($t->wait_for('SELECT count(DISTINCT secret) = (SELECT count(*) FROM rotate_registration) FROM rotate_history '
		  . "WHERE source = 'launcher' AND outcome IS NOT NULL AND started_at > pg_postmaster_start_time()"),
	'with one slot for the list and for the looks, all are looked at');
cmp_ok(time - $start, '<', 10, 'with no long pauses');

$t->stop;
done_testing();
