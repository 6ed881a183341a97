# 096_rollback_faults.pl
#	  rotate_rollback() interrupted, unanswered or refused at each of its
#	  moves: AWSCURRENT logs in at the end, and the next call goes on from there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep);

my $t = RotateTest->new(conf => 'restart_after_crash = on');
my $emulator = $t->emulator;
my $move = 'UpdateSecretVersionStage';
my $ROLLBACK = "SELECT outcome FROM rotate_rollback('prod/app')";
my $WORKER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'";
my ($tried, $passed) = (0, 0);

$t->set('rotate_ext.request_timeout' => 300, 'rotate_ext.max_attempts' => 1);
$t->add('app');
$t->sql("SELECT rotate_register('prod/app', 'app')");

# fresh(): both passwords and the labels after a rotation.
sub fresh
{
	$emulator->clear_faults;
	$emulator->control('/versions/prune', secret => 'prod/app');
	$t->sql("SELECT rotate_now('prod/app')");
	return { old => $t->password('prod/app', 'AWSPREVIOUS'), new => $t->password('prod/app'), labels => $t->labels('prod/app') };
}

# ends_with(PASSWORD, NAME): the role and AWSCURRENT have it, and nothing is pending.
sub ends_with
{
	my ($password, $name) = @_;
	my $labels = $t->labels('prod/app');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($t->can_login('app', $t->password('prod/app')), "$name: AWSCURRENT logs in");
	ok($t->password('prod/app') eq $password, 'with the right password') if defined $password;
	is($labels->{AWSPENDING}, $labels->{AWSCURRENT}, 'nothing is left pending');
	return;
}

sub cell
{
	my ($name, $test) = @_;

	$tried++;
	$passed++ if subtest $name => $test;
	return;
}

# The worker is killed at each boundary, and with it the server's memory.
my @boundaries = (
	[ 'before AWSPENDING is moved', { when => 'before' }, 'new', 'new' ],
	[ 'after AWSPENDING was moved', { when => 'after' }, 'new', 'new' ],
	[ 'after the password was set and proved', { when => 'before', after => 1 }, 'new', 'old' ],
	[ 'after AWSCURRENT was moved', { when => 'after', after => 1 }, 'old', 'old' ]);
foreach my $boundary (@boundaries)
{
	my ($when, $rule, $current, $logs_in) = @$boundary;

	foreach my $next ('rotate_rollback', 'rotate_now')
	{
		cell "killed $when, then $next()" => sub {
			my $was = fresh();
			my $fault = $emulator->fault(action => 'hang', operation => $move, seconds => 60, %$rule);
			$t->set('rotate_ext.request_timeout' => 60000);
			my $call = $t->start_sql($ROLLBACK);

			$emulator->wait_for_fault($fault);
			kill 'KILL', $t->sql($WORKER);
			isnt($call->finish->{error}, undef, 'the caller is told');
			$emulator->clear_faults;
			$t->{node}->poll_query_until('postgres', 'SELECT true');
			ok($t->password('prod/app') eq $was->{$current}, "AWSCURRENT is the $current version");
			ok($t->can_login('app', $was->{$logs_in}), "the role has the $logs_in password");
			is($t->sql("SELECT state FROM rotate_status"), 'interrupted', 'rotate_status says so');
			is($t->sql("SELECT created_version_id FROM rotate_run ORDER BY run_id DESC LIMIT 1"),
				$was->{labels}{AWSPREVIOUS}, 'the run says where it was to go');

			$t->set('rotate_ext.request_timeout' => 300);
			my ($status, $out, $err) = $t->psql("SELECT outcome FROM $next('prod/app')");
			if ($next eq 'rotate_rollback')
			{
				is($out, 'rolled back', 'once more');
				ends_with($was->{old}, 'rolled back');
				is($err =~ /NOTICE:.*an earlier rollback of secret "prod\/app" was interrupted, and is done/ ? 1 : 0,
					$current eq 'old' ? 1 : 0, 'there is a notice where nothing was left to do');
			}
			elsif ($when =~ /^before|AWSCURRENT/)
			{
				is($out, 'rotated', 'a new password');
				ends_with(undef, 'rotated');
			}
			else
			{
				is($out, 'completed', 'the rollback is completed');
				ends_with($was->{old}, 'completed');
			}
			is(($t->history('prod/app'))[-2]{outcome}, 'interrupted', 'rotate_history has the one that was killed');
		};
	}
}

# Once it is known to be done, the next call goes the other way.
my $was = fresh();
my $fault = $emulator->fault(action => 'hang', when => 'after', after => 1, operation => $move, seconds => 60);
$t->set('rotate_ext.request_timeout' => 60000);
my $call = $t->start_sql($ROLLBACK);
$emulator->wait_for_fault($fault);
kill 'KILL', $t->sql($WORKER);
$call->finish;
$t->{node}->poll_query_until('postgres', 'SELECT true');
$emulator->clear_faults;
$t->set('rotate_ext.request_timeout' => 300);
$t->sql($ROLLBACK) foreach 1 .. 2;
ends_with($was->{new}, 'called once more after that');

# AWSPENDING's move is lost, or its answer, or it is refused for a moment.
my %passing = (
	'the request is lost' => { action => 'hang', when => 'before' },
	'the answer is lost' => { action => 'hang', when => 'after' },
	'the connection is cut' => { action => 'cut', when => 'before' },
	'the connection is cut after the effect' => { action => 'cut', when => 'after' },
	'HTTP 500 after the effect' => { action => 'error', status => 500, when => 'after' },
	'it arrives late' => { action => 'pause', when => 'before', seconds => 0.45 });
foreach my $name (sort keys %passing)
{
	cell "AWSPENDING's move: $name" => sub {
		my $was = fresh();
		$emulator->fault(%{ $passing{$name} }, operation => $move);
		my ($status, $out, $err) = $t->psql($ROLLBACK);
		is($out, 'rolled back', 'rolled back') or diag($err);
		ends_with($was->{old}, 'rolled back');
	};
}

# Throttled for a moment, it takes a moment longer.
foreach my $which ('AWSPENDING', 'AWSCURRENT')
{
	cell "$which\'s move is throttled once" => sub {
		my $was = fresh();
		$emulator->fault(action => 'throttle', operation => $move, after => $which eq 'AWSPENDING' ? 0 : 1);
		my ($status, $out, $err) = $t->psql($ROLLBACK);
		is($out, 'rolled back', 'rolled back') or diag($err);
		ends_with($was->{old}, 'rolled back');
	};
}

# For good
my %lasting = (
	'denied' => [ { action => 'access_denied' }, '42501' ],
	'throttled' => [ { action => 'throttle' }, '53000' ],
	'refused for where the label is' => [ { action => 'error', type => 'InvalidParameterException', message => 'no' }, '22023' ]);
foreach my $name (sort keys %lasting)
{
	my ($rule, $sqlstate) = @{ $lasting{$name} };

	foreach my $which ('AWSPENDING', 'AWSCURRENT')
	{
		next if $which eq 'AWSCURRENT' && $name ne 'denied';
		cell "$which\'s move is $name" => sub {
			my $was = fresh();
			my $before = $t->unchanged('app', 'prod/app');
			# throttling is waited for as long as there is time
			$t->set('rotate_ext.worker_timeout' => $name eq 'throttled' ? 3000 : undef);
			$emulator->fault(%$rule, operation => $move, times => $which eq 'AWSPENDING' ? 0 : 1,
				after => $which eq 'AWSPENDING' ? 0 : 1);
			is($t->sql_error($ROLLBACK)->{sqlstate}, $sqlstate, 'an error');
			is($t->unchanged('app', 'prod/app'), $before, 'role and secret are as before, AWSPENDING too');
			is($t->sql("SELECT coalesce(created_version_id, '') FROM rotate_run ORDER BY run_id DESC LIMIT 1"), '',
				'nothing is left to do');
			$emulator->clear_faults;
			$t->set('rotate_ext.worker_timeout' => undef);
			is($t->sql($ROLLBACK), 'rolled back', 'without the fault it rolls back');
			ends_with($was->{old}, 'then');
		};
	}
}

# AWSPENDING can't be put back either: said, and the next call goes on.
cell 'AWSPENDING cannot be put back' => sub {
	my $was = fresh();
	my $verifier = $t->verifier_of('app');
	$emulator->fault(action => 'access_denied', operation => $move, times => 0, after => 1);
	my ($status, $out, $err) = $t->psql($ROLLBACK);
	is(RotateTest::parse_error($err)->{sqlstate}, '42501', 'the error is that of the rollback');
	like($err,
		qr/WARNING:.*AWSPENDING of secret "prod\/app" may have been left on version \Q$was->{labels}{AWSPREVIOUS}\E\nDETAIL:  It could not be put back: AccessDeniedException\.\nHINT:  Call rotate_rollback\('prod\/app'\) again/,
		'and a warning says what is left behind');
	is($t->verifier_of('app'), $verifier, 'the role is as before');
	is($t->sql("SELECT created_version_id FROM rotate_run ORDER BY run_id DESC LIMIT 1"), $was->{labels}{AWSPREVIOUS},
		'the run says where it was to go');
	is($t->sql("SELECT state FROM rotate_status WHERE secret = 'prod/app'"), 'failing', 'and rotate_status counts it');
	$emulator->clear_faults;
	is($t->sql("SELECT outcome FROM rotate_abandon('prod/app')"), 'abandoned', 'it can be given up');
	ok($t->can_login('app', $t->password('prod/app')), 'and AWSCURRENT logs in');
};

# It is put back, while one that was never answered may still arrive: whose it is must be known then.
cell 'AWSPENDING is put back, and moves late' => sub {
	my $was = fresh();
	my $pause = $emulator->fault(action => 'pause', operation => $move);
	$emulator->fault(action => 'access_denied', operation => $move, after => 2);
	is($t->sql_error($ROLLBACK)->{sqlstate}, '42501', 'an error');
	is_deeply($t->labels('prod/app'), $was->{labels}, 'the labels are as before');
	is($t->sql("SELECT created_version_id FROM rotate_run ORDER BY run_id DESC LIMIT 1"), $was->{labels}{AWSPREVIOUS},
		'but the run says where AWSPENDING may yet go');
	$emulator->release($pause);
	for (1 .. 100) { last if $t->labels('prod/app')->{AWSPENDING} eq $was->{labels}{AWSPREVIOUS}; sleep 0.05; }
	is($t->labels('prod/app')->{AWSPENDING}, $was->{labels}{AWSPREVIOUS}, 'which it does');
	is($t->sql($ROLLBACK), 'rolled back', 'called again, it goes on');
	ends_with($was->{old}, 'then');
};

# The rollback goes on after an interruption, and fails: AWSPENDING goes to where a finished rotation has it.
cell 'gone on with, and refused' => sub {
	my $was = fresh();
	$emulator->control('/labels', secret => 'prod/app', labels => { AWSPENDING => $was->{labels}{AWSPREVIOUS} });
	$emulator->fault(action => 'access_denied', operation => $move);
	is($t->sql_error($ROLLBACK)->{sqlstate}, '42501', 'an error');
	ends_with($was->{new}, 'given up');
};

# The role can't be given its password back, since somebody holds its row: AWSPENDING still leads to the one that it has.
cell 'the role cannot be put back' => sub {
	my $was = fresh();
	$t->set('rotate_ext.request_timeout' => 30000);
	my $pause = $emulator->fault(action => 'pause', operation => $move, after => 1);
	$emulator->fault(action => 'access_denied', operation => $move, after => 1);
	my $call = $t->start_sql($ROLLBACK, timeout => 90);
	$emulator->wait_for_fault($pause) or die 'no call came';
	my $session = $t->node->background_psql('postgres', timeout => 90);
	$session->query_safe('BEGIN; ALTER ROLE app CONNECTION LIMIT 7');
	$emulator->release($pause);
	is($call->finish->{error}{sqlstate}, '55P03', 'an error');
	ok($t->can_login('app', $was->{old}), 'the role has the old password');
	is($t->labels('prod/app')->{AWSPENDING}, $was->{labels}{AWSPREVIOUS}, 'and AWSPENDING is on its version');
	$session->query_safe('COMMIT');
	$session->quit;
	is($t->sql($ROLLBACK), 'rolled back', 'called again, it goes on');
	ends_with($was->{old}, 'then');
	$t->set('rotate_ext.request_timeout' => 300);
};

# A worker that is told to end while it tries the old password has no time for AWS.
cell 'terminated' => sub {
	my $was = fresh();
	my $verifier = $t->verifier_of('app');
	$t->set('rotate_ext.request_timeout' => 30000);
	my $pause = $emulator->fault(action => 'pause', operation => $move);
	my $call = $t->start_sql($ROLLBACK);
	my $session = $t->node->background_psql('postgres', timeout => 60);
	$emulator->wait_for_fault($pause) or die 'no call came';
	# new sessions wait for it
	$session->query_safe('BEGIN; LOCK TABLE pg_db_role_setting IN ACCESS EXCLUSIVE MODE');
	$emulator->release($pause);
	for (1 .. 500)
	{
		last if $session->query_safe("SELECT $RotateTest::VERIFIER <> '$verifier' FROM pg_authid WHERE rolname = 'app'") eq 't';
		sleep 0.02;
	}
	$session->query_safe("SELECT pg_terminate_backend(pid) FROM ($WORKER) w");
	is($call->finish->{error}{sqlstate}, '57P01', 'an error');
	$session->quit;
	is($t->verifier_of('app'), $verifier, 'the role is as before');
	is($t->labels('prod/app')->{AWSPENDING}, $was->{labels}{AWSPREVIOUS}, 'AWSPENDING is where it was moved to');
	is($t->sql($ROLLBACK), 'rolled back', 'called again, it goes on');
	ends_with($was->{old}, 'then');
	$t->set('rotate_ext.request_timeout' => 300);
};

# AWSCURRENT's move is never answered: nothing is taken back.
cell 'AWSCURRENT\'s move is never answered' => sub {
	my $was = fresh();
	$emulator->fault(action => 'hang', operation => $move, times => 0, after => 1);
	my $error = $t->sql_error($ROLLBACK);
	is($error->{sqlstate}, '08007', 'the end is open');
	is($error->{hint}, "Call rotate_rollback('prod/app') again: it looks where the label is, and goes on from there.", 'what to do');
	is($t->sql("SELECT state FROM rotate_status WHERE secret = 'prod/app'"), 'failing', 'and rotate_status counts it');
	ok($t->can_login('app', $was->{old}), 'the role keeps the password that the label may move to');
	is($t->labels('prod/app')->{AWSPENDING}, $was->{labels}{AWSPREVIOUS}, 'and AWSPENDING stays');
	$emulator->clear_faults;
	is($t->sql($ROLLBACK), 'rolled back', 'called again, it goes on');
	ends_with($was->{old}, 'then');
};

# It arrives after the run: the same call again is content with that.
cell 'AWSCURRENT\'s move arrives late' => sub {
	my $was = fresh();
	my $pause = $emulator->fault(action => 'pause', operation => $move, times => 0, after => 1);
	is($t->sql_error($ROLLBACK)->{sqlstate}, '08007', 'the end is open');
	$emulator->release($pause);
	for (1 .. 100) { last if $t->password('prod/app') eq $was->{old}; sleep 0.05; }
	$emulator->clear_faults;
	is($t->sql($ROLLBACK), 'rolled back', 'called again');
	ends_with($was->{old}, 'then');
};

# Others, meanwhile
my %meanwhile = (
	'the service begins a rotation' => sub { $emulator->control('/service-pending', secret => 'prod/app') },
	'AWSPENDING is taken away' => sub { $emulator->control('/labels', secret => 'prod/app', labels => { AWSPENDING => undef }) },
	'someone puts another pending value' =>
	  sub { $emulator->add_version('prod/app', $t->secret_json('app', 'another-Password-1'), 'AWSPENDING') });
foreach my $name (sort keys %meanwhile)
{
	cell $name => sub {
		my $was = fresh();
		my $verifier = $t->verifier_of('app');
		my $pause = $emulator->fault(action => 'pause', operation => $move, after => 1, seconds => 0.2);
		# refused, so that everything is looked at again
		$emulator->fault(action => 'error', type => 'InvalidParameterException', message => 'no', operation => $move, after => 1);
		my $call = $t->start_sql($ROLLBACK);
		$emulator->wait_for_fault($pause);
		$meanwhile{$name}->();
		my $error = $call->finish->{error};
		is($error->{message}, 'could not roll back secret "prod/app": AWSPENDING was taken off the version during the rotation', 'refused');
		is($error->{hint}, "Call rotate_rollback('prod/app') again.", 'with a hint');
		is($t->verifier_of('app'), $verifier, 'the role has its verifier back');
		ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
		$emulator->control('/labels', secret => 'prod/app', labels => $was->{labels});
	};
}
cell 'someone moves AWSCURRENT to the same version' => sub {
	my $was = fresh();
	my $pause = $emulator->fault(action => 'pause', operation => $move, after => 1, seconds => 0.2);
	my $call = $t->start_sql($ROLLBACK);
	$emulator->wait_for_fault($pause);
	$emulator->control('/labels', secret => 'prod/app',
		labels => { AWSCURRENT => $was->{labels}{AWSPREVIOUS}, AWSPREVIOUS => $was->{labels}{AWSCURRENT} });
	my $result = $call->finish;
	is($result->{stdout}, 'rolled back', 'is what was asked for') or diag($result->{stderr});
	ends_with($was->{old}, 'then');
	is($emulator->log(operation => 'GetRandomPassword')->{count}, $emulator->log(operation => 'PutSecretValue')->{count},
		'and no rotation is begun');
};

# What is shown is out of date for a moment, as it may be after a rotation.
cell 'labels as they were before the last rotation' => sub {
	my $was = fresh();
	$emulator->control('/settings', stale_reads_after_label => 4);
	$t->sql("SELECT rotate_now('prod/app')");
	my $new = $t->password('prod/app');
	my ($status, $out, $err) = $t->psql($ROLLBACK);
	is($out, 'rolled back', 'rolled back') or diag($err);
	$emulator->control('/settings', stale_reads_after_label => 0);
	ends_with($was->{new}, 'to what was AWSCURRENT before, not to what was AWSPREVIOUS');
};

# With the launcher nobody has to call again.
$t->set(shared_preload_libraries => 'rotate_ext');
$t->restart;
foreach my $boundary (@boundaries)
{
	my ($when, $rule) = @$boundary;

	cell "killed $when, with the launcher" => sub {
		my $was = fresh();
		my $fault = $emulator->fault(action => 'hang', operation => $move, seconds => 60, %$rule);
		$t->set('rotate_ext.request_timeout' => 60000);
		my $call = $t->start_sql($ROLLBACK);
		my $password = $when =~ /^before/ ? $was->{new} : $was->{old};

		$emulator->wait_for_fault($fault);
		kill 'KILL', $t->sql($WORKER . ' LIMIT 1');
		isnt($call->finish->{error}, undef, 'the caller is told');
		$emulator->clear_faults;
		$t->{node}->poll_query_until('postgres', 'SELECT true');
		$t->wait_for("SELECT source = 'launcher' AND outcome IS NOT NULL FROM rotate_run ORDER BY run_id DESC LIMIT 1");
		ends_with($password, 'without help');
		is(($t->history('prod/app'))[-1]{outcome}, $when =~ /^before/ ? 'settled' : 'completed', 'rotate_history says so');
		is($t->sql('SELECT state FROM rotate_status'), 'ok', 'and rotate_status');
		$t->set('rotate_ext.request_timeout' => 300);
		if ($when !~ /^before/)
		{
			is($t->sql($ROLLBACK), 'rolled back', 'who calls again all the same');
			ends_with($was->{old}, 'has what was asked for');
		}
	};
}

# A rollback that does not come about leaves a rotation that is to be finished to the launcher.
cell 'refused while a rotation waits to be tried again' => sub {
	my $was = fresh();
	$t->set('rotate_ext.worker_timeout' => 3000);
	$emulator->fault(action => 'throttle', operation => $move, times => 0);
	is($t->sql_error("SELECT rotate_now('prod/app')")->{sqlstate}, '53000', 'a rotation has begun, and failed');
	$t->set('rotate_ext.worker_timeout' => undef);
	my $pending = $t->labels('prod/app')->{AWSPENDING};
	$emulator->clear_faults;
	$emulator->control('/labels', secret => 'prod/app', labels => { AWSPREVIOUS => undef });
	is($t->sql_error($ROLLBACK)->{sqlstate}, '55000', 'there is nothing to roll back to');
	is($t->sql('SELECT next_due IS NOT NULL FROM rotate_status'), 't', 'the rotation is still due');
	$t->wait_for("SELECT source = 'launcher' AND outcome IS NOT NULL FROM rotate_run ORDER BY run_id DESC LIMIT 1");
	is($t->labels('prod/app')->{AWSCURRENT}, $pending, 'and is finished');
	ends_with(undef, 'then');
	$emulator->control('/labels', secret => 'prod/app', labels => { AWSPREVIOUS => $was->{labels}{AWSCURRENT} });
};

note "rollback faults: $tried cells tried, $passed passed";
$t->stop;
done_testing();
