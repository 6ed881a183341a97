# 027_aws_interrupts.pl
#	  The worker is cancelled, terminated or shut down while a call to Secrets
#	  Manager hangs: it ends at once, and the next rotation goes on from there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Faults;
use Test::More;
use Time::HiRes qw(time usleep);

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $rotate = 'SELECT outcome FROM rotate_now(\'prod/app\')';
my $worker = 'FROM pg_stat_activity WHERE backend_type = \'rotate_ext rotation worker\'';

$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');

# Interrupt the rotation while this call hangs; the error that its caller gets.
sub interrupted
{
	my ($operation, $interrupt) = @_;
	my $fault = $emulator->fault(action => 'hang', operation => $operation, times => 0);
	my $call = $t->start_sql($rotate);

	$emulator->wait_for_fault($fault);
	my $begun = time();
	$interrupt->();
	my $result = $call->finish;
	cmp_ok(time() - $begun, '<', 5, 'it ends at once');
	return $result->{error} || {};
}

sub check_repaired
{
	my ($operation, $old, $before) = @_;
	my $is_move = $operation eq 'UpdateSecretVersionStage';

	ok($t->password('prod/app') eq $old, 'AWSCURRENT is where it was');
	$emulator->clear_faults;
	is($t->sql($rotate), $is_move ? 'completed' : 'rotated', 'the next rotation succeeds');
	ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
	ok(!$t->can_login('app', $old), 'the old password does not');
	is($t->sql("SELECT count(*) $worker"), 0, 'no worker is left');
	return;
}

foreach my $operation (@CALLS)
{
	my $is_move = $operation eq 'UpdateSecretVersionStage';

	subtest "cancelled in $operation" => sub {
		my $old = $t->password('prod/app');
		my $verifier = $t->verifier_of('app');
		my $error = interrupted($operation, sub { $t->sql("SELECT pg_cancel_backend(pid) $worker") });
		my @history = $t->history('prod/app');

		is($error->{sqlstate}, $is_move ? '08007' : '57014', 'SQLSTATE');
		is($history[-1]{outcome}, 'failed', 'rotate_history has it');
		is($history[-1]{sqlstate}, $error->{sqlstate}, 'with its SQLSTATE');
		# the move may have reached AWS
		$is_move
		  ? ok($t->can_login('app', $t->password('prod/app', 'AWSPENDING')), 'the role keeps the pending password')
		  : is($t->verifier_of('app'), $verifier, 'the role has its old verifier');
		check_repaired($operation, $old);
	};
	subtest "terminated in $operation" => sub {
		my $old = $t->password('prod/app');
		my $verifier = $t->verifier_of('app');
		my $error = interrupted($operation, sub { $t->sql("SELECT pg_terminate_backend(pid) $worker") });

		if ($is_move)
		{
			# once the password is changed, the worker ends the run in order
			is($error->{message}, 'could not learn whether AWSCURRENT of secret "prod/app" was moved', 'the caller is told');
			like($error->{detail}, qr/ The run ended with: terminating the rotation due to administrator command$/, 'and why');
			is($error->{hint}, 'Call rotate_now(\'prod/app\') again: it looks where the label is, and goes on from there.',
				'and what to do');
			is(($t->history('prod/app'))[-1]{sqlstate}, '08007', 'rotate_history has it');
		}
		else
		{
			is($error->{message}, 'the rotation worker ended without an answer', 'the caller is told');
			is($error->{sqlstate}, '57P01', 'with the SQLSTATE of what ended it');
			is($error->{detail}, 'terminating background worker "rotate_ext rotation worker" due to administrator command', 'and why');
			is($error->{hint}, 'Look at the server\'s log and at rotate_history. Running the rotation again is safe.',
				'and what to do');
		}
		$is_move
		  ? ok($t->can_login('app', $t->password('prod/app', 'AWSPENDING')), 'the role keeps the pending password')
		  : is($t->verifier_of('app'), $verifier, 'the role has its old verifier');
		check_repaired($operation, $old);
	};
}

foreach my $operation ('DescribeSecret', 'UpdateSecretVersionStage')
{
	subtest "fast shutdown in $operation" => sub {
		my $old = $t->password('prod/app');
		interrupted($operation, sub { $t->stop('fast') });
		$t->start;
		check_repaired($operation, $old);
	};
}

sub has_ended
{
	my $pid = shift;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	usleep(20_000) while kill(0, $pid) && time() < $until;
	return !kill(0, $pid);
}

# A worker that outlives its server for a moment may meet anything: that is no failure of the rotation's.
$t->set('rotate_ext.max_attempts' => 1);
foreach my $operation ('DescribeSecret', 'PutSecretValue')
{
	subtest "the postmaster is killed, and the answer lost, in $operation" => sub {
		my $old = $t->password('prod/app');
		my $fault = $emulator->fault(action => 'pause', then => 'cut', operation => $operation, times => 0);
		my $call = $t->start_sql($rotate);

		$emulator->wait_for_fault($fault);
		my $pid = $t->sql("SELECT pid $worker");
		kill 'STOP', $pid;
		# the lost answer is there to be seen first
		$emulator->release($fault);
		$emulator->clear_faults;
		my $postmaster = $t->node->{_pid};
		$t->node->kill9;
		ok(has_ended($postmaster), 'the postmaster is gone');
		kill 'CONT', $pid;
		$call->finish;
		ok(has_ended($pid), 'the worker ends');
		$t->start;
		is($t->sql('SELECT state FROM rotate_status'), 'interrupted', 'the rotation was interrupted');
		check_repaired($operation, $old);
		is(($t->history('prod/app'))[-2]{outcome}, 'interrupted', 'as rotate_history says');
	};
}

$t->stop;
done_testing();
