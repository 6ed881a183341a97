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

is($t->sql('SELECT rotate_recovery()'), 'on', 'recovery is on') or diag($t->server_log);
is($t->sql('SELECT count(*) FROM rotate_history'), '0', 'nothing to look at');
my $old = $t->add('app');
$t->sql("SELECT rotate_register('prod/app')");
ok($t->wait_for("SELECT count(*) = 1 FROM rotate_history WHERE source = 'launcher' AND outcome = 'unchanged'"),
	'a new registration is looked at');
is($t->sql("SELECT state FROM rotate_status"), 'never rotated', 'which is no rotation');
is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'it rotates');
my $lines = () = $t->server_log =~ /rotate_ext/g;

# Idle: the launcher sleeps until it is woken.
my $pid = launcher_pid();
sub switches { return (slurp("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m)[0]; }
sub slurp { return PostgreSQL::Test::Utils::slurp_file($_[0]); }
sleep 1;
my $switches = switches();
sleep 3;
is(switches(), $switches, 'the launcher does not wake up without a reason');

# A change that a failover has lost: the role has AWSPREVIOUS's password after the restart.
$node->stop;
$t->start;
ok(looked('prod/app'), 'after a restart the secret is looked at again');
is($t->sql("SELECT state FROM rotate_status"), 'ok', 'its state is ok');
$t->restart for 1 .. 2;
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

# Killed in the middle of a rotation
foreach my $at (['before', 'PutSecretValue'], ['after', 'PutSecretValue'], ['before', 'UpdateSecretVersionStage'],
	['after', 'UpdateSecretVersionStage'])
{
	my ($when, $operation) = @$at;
	my $rule = $emulator->fault(action => 'pause', operation => $operation, when => $when);
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");
	$emulator->wait_for_fault($rule) or die 'no call came';
	my $worker = $t->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'");
	my $last = $t->sql('SELECT max(run_id) FROM rotate_history');
	kill 'KILL', $worker;
	$call->finish;
	$emulator->clear_faults;
	back();
	$t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE run_id > $last AND outcome IS NOT NULL");
	my @runs = $t->rows("SELECT outcome, source, attempt FROM rotate_history WHERE run_id >= $last ORDER BY run_id");
	is($runs[0]{outcome}, 'interrupted', "killed $when $operation: the run was interrupted");
	is($runs[1]{source}, 'launcher', 'and the launcher has followed it up');
	is($runs[1]{attempt}, 2, 'as its second attempt');
	is($runs[1]{outcome}, ($when eq 'before') == ($operation eq 'PutSecretValue') || $operation =~ /^Put/
			&& $when eq 'before' || $operation =~ /^Upd/ && $when eq 'after' ? 'settled' : 'completed', 'as it should')
	  or diag(explain(\@runs));
	ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
}

$t->stop;
done_testing();
