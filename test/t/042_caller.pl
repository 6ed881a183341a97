# 042_caller.pl
#	  The caller goes away: cancelled, out of time, terminated, disconnected, at
#	  each moment.  A rotation that has begun goes on, and nothing is left behind.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep);

# Segments of shared memory can be counted where they are files.
my $t = RotateTest->new(conf => 'dynamic_shared_memory_type = mmap');
my $emulator = $t->emulator;
$t->add('app');
$t->sql("SELECT rotate_register('prod/app')");

my $postmaster = (split /\n/, PostgreSQL::Test::Utils::slurp_file($t->node->data_dir . '/postmaster.pid'))[0];
my $number = 0;

sub segments
{
	my @files = glob($t->node->data_dir . '/pg_dynshmem/*');
	return scalar @files;
}
# the one of the registration's worker has gone when that has
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'", '0') or die 'a worker does not end';
my $segments = segments();

# start(SQL before): the psql of a rotation, by an application name of its own.
sub start
{
	my $before = shift || '';
	my $app = 'caller' . ++$number;
	my $call = $t->start_sql("$before SELECT outcome FROM rotate_now('prod/app')", app => $app);
	$call->{app} = $app;
	return $call;
}

sub pid_of
{
	my $call = shift;
	my $query = "SELECT pid FROM pg_stat_activity WHERE application_name = '$call->{app}' AND state = 'active'";
	my $pid = '';

	for (1 .. 500)
	{
		$pid = $t->sql($query);
		last if $pid ne '';
		sleep 0.02;
	}
	return $pid;
}

# What can end a caller, given its psql and its process in the server.
my %end = (
	'pg_cancel_backend()' => sub { kill 'INT', $_[1]; },
	'pg_terminate_backend()' => sub { kill 'TERM', $_[1]; },
	'a client that is killed' => sub { $_[0]->kill; kill 'TERM', $_[1]; });
my %error = ('pg_cancel_backend()' => '57014', 'pg_terminate_backend()' => '57P01');

# finished(NAME, COUNT): so many runs have ended well, and nothing is left.
sub finished
{
	my ($name, $count) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($t->wait_for("SELECT count(*) FROM rotate_history WHERE outcome = 'rotated'", $count), "$name: the rotation completes");
	ok($t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'", '0'), 'its worker ends');
	ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
	is(segments(), $segments, 'and no shared memory is left');
	return;
}

my $runs = 0;

# While the worker is at work.
foreach my $how (sort keys %end)
{
	my $rule = $emulator->fault(action => 'pause', operation => 'GetSecretValue');
	my $call = start();
	$emulator->wait_for_fault($rule) or die 'no call came';
	is(segments(), $segments + 1, 'a rotation has a segment of shared memory');
	my $pid = pid_of($call);
	$end{$how}->($call, $pid);
	ok($t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND state = 'active'", '0'), "$how ends the caller at once");
	is($call->finish->{error}{sqlstate}, $error{$how}, 'with its error') if $error{$how};
	is($t->sql('SELECT state FROM rotate_status'), 'running', 'and the worker goes on');
	$emulator->release($rule);
	finished("$how while the worker is at work", ++$runs);
}
{
	my $rule = $emulator->fault(action => 'pause', operation => 'GetSecretValue');
	my $call = start('SET statement_timeout = 500;');
	is($call->finish->{error}{message}, 'canceling statement due to statement timeout', 'statement_timeout ends the caller');
	$emulator->release($rule);
	finished('statement_timeout while the worker is at work', ++$runs);
}

# Before the worker is there: a postmaster that stands still starts none.
foreach my $how (sort keys %end)
{
	my $observer = $t->node->background_psql('postgres', timeout => 60);
	my $call;

	$observer->query_safe('SELECT 1');
	# psql is connected and waits in SQL, until the postmaster has been stopped
	$observer->query_safe('SELECT pg_advisory_lock(1)');
	$call = start('SELECT pg_advisory_lock_shared(1);');
	my $pid = pid_of($call);
	kill 'STOP', $postmaster;
	$observer->query_safe('SELECT pg_advisory_unlock(1)');
	for (1 .. 500)
	{
		last if segments() > $segments
		  && $observer->query("SELECT wait_event = 'MessageQueueInternal' OR wait_event = 'MessageQueueReceive' OR wait_event = 'BgWorkerStartup' FROM pg_stat_activity WHERE pid = $pid") eq 't';
		sleep 0.02;
	}
	is(segments(), $segments + 1, 'a worker has been ordered');
	is($observer->query("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'"), '0', 'and is not there');
	$end{$how}->($call, $pid);
	for (1 .. 500)
	{
		last if $observer->query("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND state = 'active'") eq '0';
		sleep 0.02;
	}
	is($observer->query("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND state = 'active'"), '0', 'the caller has ended');
	is(segments(), $segments, 'and has taken its order back');
	kill 'CONT', $postmaster;
	$observer->quit;
	# by another worker, so that the one that was ordered has been started, too
	$t->sql('SELECT rotate_credentials()');
	finished("$how before the worker is there: the rotation before", $runs);
	is(scalar($t->history('prod/app')), $runs, 'and this one has not begun');
	eval { $call->finish; };
}

my @not_started = ('could not start a rotation worker', 'Its process was not started, or ended before it took its order.',
	q{Look at the server's log. Nothing has been changed; try again, in a new session if rotate_ext was updated.});

# Where the server cannot start the process: none that it may have comes free for the user.
{
	my $observer = $t->node->background_psql('postgres', timeout => 60);
	my $limit = join ' ', 'prlimit --nproc --raw --noheadings --output SOFT --pid', $postmaster;
	my $before = `$limit`;
	chomp $before;
	like($before, qr/^(\d+|unlimited)$/, 'the server may start processes');

	$observer->query_safe('SELECT pg_advisory_lock(1)');
	my $call = start('SELECT pg_advisory_lock_shared(1);');
	pid_of($call);
	system("prlimit --pid $postmaster --nproc=1:") == 0 or die 'could not set the limit';
	$observer->query_safe('SELECT pg_advisory_unlock(1)');
	my $result = $call->finish;
	system("prlimit --pid $postmaster --nproc=$before:") == 0 or die 'could not set the limit back';
	$observer->quit;
	is($result->{error}{sqlstate}, '53000', 'a worker that could not be started is an error');
	is_deeply([ @{ $result->{error} }{qw(message detail hint)} ], \@not_started, 'which says that nothing has begun');
	like($t->server_log, qr/could not fork (background )?worker process/, q{the server's log has the reason});
	is(segments(), $segments, 'no shared memory is left');
	is(scalar($t->history('prod/app')), $runs, 'and there is no run');
}

# Where the library was replaced under a session: the worker has another one.
{
	my $dir = PostgreSQL::Test::Utils::tempdir();
	chomp(my $library = `$ENV{PG_CONFIG} --pkglibdir` . '');
	my $bytes = PostgreSQL::Test::Utils::slurp_file("$library/rotate_ext.so");
	is($bytes =~ s/(?<=order of rotate_ext, version )1\.0/0.9/g, 1, 'a library of another version');
	PostgreSQL::Test::Utils::append_to_file("$dir/rotate_ext.so", $bytes);

	$t->set(dynamic_library_path => "$dir:\$libdir");
	$t->error_is("SELECT rotate_now('prod/app')",
		{ sqlstate => '53000', message => $not_started[0], detail => $not_started[1], hint => $not_started[2] }, 'does not take the order');
	like($t->server_log, qr/ERROR: .* could not take a rotation's order: it is of another version of rotate_ext\n/, q{as the server's log says});
	is(segments(), $segments, 'no shared memory is left');
	is(scalar($t->history('prod/app')), $runs, 'and there is no run');
	$t->set(dynamic_library_path => undef);
}

# While it waits for its turn: it has ordered nothing.
foreach my $how (sort keys %end)
{
	my $rule = $emulator->fault(action => 'pause', operation => 'GetSecretValue');
	my $first = start();
	$emulator->wait_for_fault($rule) or die 'no call came';
	my $second = start();
	my $pid = pid_of($second);
	ok($t->wait_for("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid"), 'a second rotation waits for its turn');
	$end{$how}->($second, $pid);
	ok($t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND state = 'active'", '0'), "$how ends it");
	$emulator->release($rule);
	is($first->finish->{stdout}, 'rotated', 'the first one is not disturbed');
	finished("$how of one that waits for its turn", ++$runs);
	is(scalar($t->history('prod/app')), $runs, 'and of the second there is no run');
}

is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'after all that a rotation works');
finished('and', ++$runs);

$t->stop;
done_testing();
