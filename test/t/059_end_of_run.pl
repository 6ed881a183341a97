# 059_end_of_run.pl
#	  What must still happen when a run has failed, the old password and the record,
#	  is kept from happening: by a lock that somebody holds, by more cancels.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $node = $t->node;
$t->add('app');
$t->sql("SELECT rotate_register('prod/app')");
my $worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'";
my $cancel = "SELECT pg_cancel_backend(pid) FROM ($worker) w";

# A lock on the run's row ends the record's wait, not the worker's patience.
my $rule = $emulator->fault(action => 'hang', operation => 'PutSecretValue');
my $call = $t->start_sql("SELECT rotate_now('prod/app')");
$emulator->wait_for_fault($rule) or die 'no call came';
my $session = $node->background_psql('postgres', timeout => 60);
$session->query_safe('BEGIN; SELECT run_id FROM rotate_run WHERE outcome IS NULL FOR UPDATE');
my $start = time;
$t->sql($cancel);
my $error = RotateTest::parse_error($call->finish->{stderr});
cmp_ok(time - $start, '<', 20, 'somebody holds the run\'s row: the worker waits for lock_timeout, and no longer');
is($error->{sqlstate}, '57014', 'its caller is told that it was cancelled');
ok($t->wait_for("SELECT count(*) = 0 FROM ($worker) w"), 'the worker is gone');
like($t->server_log, qr/canceling statement due to lock timeout/, 'the log says what the record waited for');
$session->query_safe('COMMIT');
is($t->sql("SELECT state FROM rotate_status"), 'interrupted', 'rotate_status knows that the run has no end');
$emulator->clear_faults;

# More cancels do not keep the old password from coming back.
my $old = $t->verifier_of('app');
$rule = $emulator->fault(action => 'hang', operation => 'DescribeSecret', after => 1);
$emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage');
$call = $t->start_sql("SELECT rotate_now('prod/app')");
$emulator->wait_for_fault($rule) or die 'no call came';
ok($t->verifier_of('app') ne $old, 'the password is set, and the move was refused');
$session->query_safe("BEGIN; ALTER ROLE app VALID UNTIL 'infinity'");
$t->sql($cancel);
ok($t->wait_for("SELECT count(*) = 1 FROM pg_locks l JOIN ($worker) w USING (pid) WHERE NOT l.granted"),
	'the way back waits for another change of the role');
$t->sql($cancel);
sleep 0.3;
$session->query_safe('COMMIT');
$error = RotateTest::parse_error($call->finish->{stderr});
is($error->{sqlstate}, '57014', 'cancelled twice') or diag($error->{message});
ok($t->verifier_of('app') eq $old, 'the role has its old verifier');
is(($t->history('prod/app'))[-1]{outcome}, 'failed', 'and the run its record');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

$session->quit;
$t->stop;
done_testing();
