# 089_aws_pace.pl
#	  The quota of writes: the rotations of a server share it, and one that is
#	  throttled all the same goes on slowly, with AWSCURRENT logging in meanwhile.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use POSIX qw(fmod);
use RotateTest;
use Test::More;
use Time::HiRes qw(CLOCK_MONOTONIC clock_gettime sleep time);

my $ROTATIONS = 12;
my $t = RotateTest->new(conf => 'max_worker_processes = 30');
my $emulator = $t->emulator;
my %writes = map { $_ => 1 } qw(PutSecretValue UpdateSecretVersionStage);

$t->add("app$_") for 1 .. $ROTATIONS;
$t->sql(join ';', map { "SELECT rotate_register('prod/app$_', 'app$_')" } 1 .. $ROTATIONS);

sub quota { $emulator->control('/settings', writes_per_second => $_[0]); return; }

# All at the same time; returns what each said, and the seconds that it took.
sub rotate_all
{
	my $started = time();
	$emulator->clear_log;
	my @calls = map { $t->start_sql("SELECT outcome FROM rotate_now('prod/app$_')") } 1 .. $ROTATIONS;
	my @said = map { my $result = $_->finish; $result->{stdout} || $result->{stderr} } @calls;
	is_deeply(\@said, [ ('rotated') x $ROTATIONS ], "$ROTATIONS rotations at the same time: all succeed");
	is(scalar(grep { !$t->can_login("app$_", $t->password("prod/app$_")) } 1 .. $ROTATIONS), 0, 'every AWSCURRENT logs in');
	return time() - $started;
}

sub entries { return sort { $a->{started} <=> $b->{started} } grep { $writes{ $_->{operation} } } @{ $emulator->log->{entries} }; }

# A slow pace, and a quota that leaves room for a machine that stutters.
quota(14);
$t->set('rotate_ext.writes_per_second' => 8);
rotate_all();
my @entries = entries();
is(scalar(@entries), 2 * $ROTATIONS, 'two writes for each, none of them twice');
is(scalar(grep { defined $_->{error} } @entries), 0, 'and none throttled');
my $seconds = $entries[-1]{started} - $entries[0]{started};
cmp_ok($seconds, '>', (@entries - 2) / 8 - 0.3, sprintf('24 writes at 8 a second were sent within %.1f s', $seconds));
cmp_ok($seconds, '<', 8, 'which is not too slow, either');

# Moves do not wait behind the PutSecretValue calls of others.
my $lockouts = $t->sql(
	"SELECT max(extract(epoch FROM lockout)) FROM (SELECT * FROM rotate_history ORDER BY run_id DESC LIMIT $ROTATIONS) r");
cmp_ok($lockouts, '<', 1.5, "no role was locked out for longer than $lockouts s");

# One alone does not wait.  A slot has 2 seconds then; it begins at the start of one that nobody has a place in.
$t->set('rotate_ext.writes_per_second' => 1);
sleep(4 - fmod(clock_gettime(CLOCK_MONOTONIC), 2));
my $begun = time();
is($t->sql('SELECT outcome FROM rotate_now(\'prod/app1\')'), 'rotated', 'one rotation at one write a second');
$seconds = time() - $begun;
cmp_ok($seconds, '<', 1.5, sprintf('waits neither for its move nor for its answer: %.2f s', $seconds));
is($t->sql('SELECT state FROM rotate_status WHERE secret = \'prod/app1\'') =~ /rotating/ ? 1 : 0, 0, 'and its turn is over');

# Regions have quotas of their own; another cluster knows nothing of ours, so AWS throttles.
$t->set('rotate_ext.writes_per_second' => undef);
quota(6);
$seconds = rotate_all();
@entries = entries();
cmp_ok(scalar(grep { ($_->{error} || '') eq 'ThrottlingException' } @entries), '>', 0, 'AWS throttles');
cmp_ok(scalar(@entries), '<', 4 * 2 * $ROTATIONS, sprintf('and is not hammered: %d tries, in %.1f s', scalar @entries, $seconds));

# A move that is throttled for longer: AWSCURRENT logs in meanwhile, and the rotation goes on.
quota(0);
my $old = $t->password('prod/app1');
my $rule = $emulator->fault(action => 'throttle', operation => 'UpdateSecretVersionStage', times => 4);
my $call = $t->start_sql('SELECT outcome FROM rotate_now(\'prod/app1\')');
$emulator->wait_for_fault($rule, 3);
my $logged_in = 0;
for (1 .. 100)
{
	last if $logged_in = $t->can_login('app1', $old);
	sleep 0.05;
}
ok($logged_in, 'after three tries AWSCURRENT logs in again');
is($emulator->labels('prod/app1')->{AWSCURRENT} eq $emulator->labels('prod/app1')->{AWSPENDING} ? 1 : 0, 0,
	'while the rotation is under way');
is($call->finish->{stdout}, 'rotated', 'which goes on by itself');
ok($t->can_login('app1', $t->password('prod/app1')) && !$t->can_login('app1', $old), 'to its end');
my ($run) = $t->rows('SELECT * FROM rotate_history WHERE secret = \'prod/app1\' ORDER BY run_id DESC LIMIT 1');
is($run->{outcome}, 'rotated', 'it is one run');
is(() = $t->sql("SELECT phases FROM rotate_history WHERE run_id = $run->{run_id}") =~ /SET_PASSWORD/g, 2,
	'that set the password twice');
$emulator->clear_faults;

# Without end: each fails in good time, with the role as it was.
$t->set('rotate_ext.worker_timeout' => 14000);
my %without_end = (DescribeSecret => 3, PutSecretValue => 4, UpdateSecretVersionStage => 5);
my %verifier;
foreach my $operation (keys %without_end)
{
	my $n = $without_end{$operation};
	$verifier{$operation} = $t->verifier_of("app$n");
	$emulator->fault(action => 'throttle', operation => $operation, times => 0, secret => $emulator->secret("prod/app$n")->{arn});
}
$begun = time();
my %calls = map { $_ => $t->start_sql("SELECT rotate_now('prod/app$without_end{$_}')") } keys %without_end;
foreach my $operation (sort keys %without_end)
{
	my $error = $calls{$operation}->finish->{error} || {};
	is($error->{sqlstate}, '53000', "$operation throttled without end: it fails");
	like($error->{message}, qr/^could not .*: ThrottlingException: Rate exceeded$/, 'and says why');
	is($error->{hint}, 'Try again later.', 'and what to do');
	is($t->verifier_of("app$without_end{$operation}"), $verifier{$operation}, 'the role is as before');
}
$seconds = time() - $begun;
cmp_ok($seconds, '>', 5, sprintf('it tried for long: %.1f s', $seconds));
$emulator->clear_faults;
is($t->sql('SELECT outcome FROM rotate_now(\'prod/app5\')'), 'completed', 'the next run completes it');

# A run whose time is over while it is in line does not stay until its turn would have come, up to half a minute later.
$t->set('rotate_ext.worker_timeout' => 5000, 'rotate_ext.writes_per_second' => 1);
my @waiting = map { $t->start_sql("SELECT rotate_now('prod/app$_')") } 1 .. $ROTATIONS;
my @late = grep { ($_->finish->{error}{message} || '') =~ /rotate_ext.worker_timeout/ } @waiting;
cmp_ok(scalar(@late), '>', $ROTATIONS / 2, sprintf('one write a second: %d of %d run out of time', scalar @late, $ROTATIONS));
my $workers = 'SELECT count(*) FROM pg_stat_activity WHERE backend_type = \'rotate_ext rotation worker\'';
for (1 .. 50)
{
	last if $t->sql($workers) eq '0';
	sleep 0.1;
}
is($t->sql($workers), '0', 'and their workers end');

$t->stop;
done_testing();
