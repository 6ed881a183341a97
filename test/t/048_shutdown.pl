# 048_shutdown.pl
#	  The worker is told to end, by a shutdown or by pg_terminate_backend(), while
#	  the role has a password that AWSCURRENT does not have.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use POSIX ();
use PostgreSQL::Test::Utils;
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $node = $t->node;
$t->add('app');
$t->sql("SELECT rotate_register('prod/app')");
my $old = $t->verifier_of('app');
my $current = $t->labels('prod/app')->{AWSCURRENT};

# start_until_set(): the psql of a rotation whose new password is set and whose
# login is being tried: that waits for a lock, as every new session does now.
# With it, the session that holds the lock.
sub start_until_set
{
	my $session = $node->background_psql('postgres', timeout => 60);
	my $before = $t->verifier_of('app');
	my $rule = $emulator->fault(action => 'pause', operation => 'PutSecretValue', times => 1);
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");

	$emulator->wait_for_fault($rule) or die 'no call came';
	$session->query_safe('BEGIN; LOCK TABLE pg_db_role_setting IN ACCESS EXCLUSIVE MODE');
	$emulator->release($rule);
	my $set = wait_in($session, "SELECT $RotateTest::VERIFIER <> '$before' FROM pg_authid WHERE rolname = 'app'");
	is($set, 't', 'the new password is set, and its login is being tried');
	return ($call, $session);
}

# wait_in(SESSION, QUERY): until the query says "t".
sub wait_in
{
	my ($session, $query) = @_;
	my $answer = '';

	for (1 .. 500)
	{
		$answer = $session->query_safe($query);
		last if $answer eq 't';
		sleep 0.02;
	}
	return $answer;
}

my $terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'";

sub error_of
{
	my $error = RotateTest::parse_error($_[0]->finish->{stderr});
	return $error->{sqlstate};
}

# pg_terminate_backend() while the new login is being tried
my ($call, $session) = start_until_set();
is($session->query_safe($terminate), 't', 'the worker is terminated');
is(error_of($call), '57P01', 'the caller is told so');
$session->quit;
is($t->verifier_of('app'), $old, 'the role has its old verifier again');
is($t->labels('prod/app')->{AWSCURRENT}, $current, 'AWSCURRENT is where it was');
my @history = $t->history('prod/app');
is($history[-1]{outcome}, 'failed', 'the run has its end in rotate_history');
is($history[-1]{sqlstate}, '57P01', 'which says why');
ok(defined $history[-1]{lockout}, 'and how long nobody could log in');
is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'completed', 'the rotation can be completed');

# A fast shutdown at the same moment
$old = $t->verifier_of('app');
($call, $session) = start_until_set();
my $begun = time;
$node->stop('fast');
cmp_ok(time - $begun, '<', 2, 'a fast shutdown is not held up');
$call->finish;
$t->start;
is($t->verifier_of('app'), $old, 'after the restart the role has its old verifier');
is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'completed', 'and the rotation can be completed');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

# A transaction that has changed the role does not hold it up either.
($call, $session) = start_until_set();
$session->query_safe("ALTER ROLE app VALID UNTIL 'infinity'");
$begun = time;
$session->query_safe($terminate);
is(error_of($call), '57P01', 'where the way back is barred, the worker ends all the same');
cmp_ok(time - $begun, '<', 2, 'soon');
$session->query_safe('COMMIT');
$session->quit;
is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'completed', 'the next run completes the rotation');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

# One that ends in time does not keep the old password from coming back.
$old = $t->verifier_of('app');
($call, $session) = start_until_set();
$session->query_safe("ALTER ROLE app VALID UNTIL '2100-01-01'");
$session->query_safe($terminate);
is(wait_in($session, "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
			. "WHERE NOT l.granted AND a.backend_type LIKE 'rotate_ext%'"), 't', 'the way back waits for another change of the role');
$session->query_safe('COMMIT');
is(error_of($call), '57P01', 'and is gone when that is over');
$session->quit;
is($t->verifier_of('app'), $old, 'the role has its old verifier');
is($t->sql("SELECT rolvaliduntil::date FROM pg_authid WHERE rolname = 'app'"), '2100-01-01', 'and what the other one changed');
is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'completed', 'the rotation can be completed');

# A password that somebody sets at that moment is theirs.
my $other = $node->background_psql('postgres', timeout => 60);
my $theirs = RotateTest::scram_verifier('by hand');
# a session of psql's prints its statements
$t->sql('CREATE FUNCTION set_by_hand() RETURNS void AS '
	  . RotateTest::literal("ALTER ROLE app PASSWORD '$theirs'") . ' LANGUAGE sql');
$other->query_safe('SELECT 1');
($call, $session) = start_until_set();
$other->query_safe('SELECT set_by_hand()');
$other->quit;
$session->query_safe($terminate);
is(error_of($call), '57P01', 'terminated, when somebody has set another password');
$session->quit;
is($t->verifier_of('app'), RotateTest::hashed_verifier($theirs), 'which stays');
like($t->server_log, qr/WARNING:  role "app" was given another password during the rotation; it is left as it is/,
	'the log says so');
$t->set_password('app', $t->password('prod/app'));
is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'completed', 'put right, the rotation can be completed');

# While the label's move is under way, its answer is waited for, a moment: half a second at least from the signal.
my $rule = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage', times => 1);
$call = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");
$emulator->wait_for_fault($rule) or die 'no call came';
my $worker = $t->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'");
kill 'TERM', $worker;
my $taken = sub { return !grep { hex($_) & 1 << POSIX::SIGTERM - 1 } slurp_file("/proc/$worker/status") =~ /^(?:Sig|Shd)Pnd:\s+(\w+)/mg; };
1 until $taken->();
$emulator->release($rule);
like($call->finish->{stdout}, qr/^rotated$/m, 'an answer that comes in time finishes the rotation');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

$rule = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage', times => 1);
$call = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");
$emulator->wait_for_fault($rule) or die 'no call came';
my $set = $t->verifier_of('app');
$begun = time;
$t->sql($terminate);
is(error_of($call), '08007', 'where none comes, the caller is told that it is not known');
cmp_ok(time - $begun, '<', 2, 'soon');
is($t->verifier_of('app'), $set, 'and the role keeps the password that the label may still move to');
$emulator->release($rule);

$t->stop;
done_testing();
