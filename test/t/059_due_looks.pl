# 059_due_looks.pl
#	  What the launcher was to look at stays due until something has really looked:
#	  a call that is refused or fails does not take its place, nor does a clock that
#	  is wrong; and a database that it comes to look after is looked at from the start.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;
use Time::HiRes qw(usleep);

my $t = RotateTest->new(conf => "shared_preload_libraries = 'rotate_ext'\nrotate_ext.max_attempts = 1\n"
	  . "rotate_ext.request_timeout = 500\nrestart_after_crash = on");
my $emulator = $t->emulator;
$t->wait_for('SELECT rotate_recovery()', 'on');

sub last_run { return $t->row("SELECT * FROM rotate_history WHERE secret = 'prod/$_[0]' ORDER BY run_id DESC LIMIT 1"); }

# looked(NAME, AFTER, OUTCOME): the launcher looks at it after that run.
sub looked
{
	my ($name, $after, $outcome) = @_;
	return $t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/$name' AND source = 'launcher' "
		  . "AND run_id > $after AND outcome " . (defined $outcome ? "= '$outcome'" : 'IS NOT NULL'));
}

# due(NAME): what is planned becomes due.
sub due
{
	my $name = shift;
	$t->sql("UPDATE rotate_run SET retry_at = now() WHERE retry_at IS NOT NULL AND run_id = "
		  . "(SELECT max(run_id) FROM rotate_run WHERE secret = 'prod/$name')");
	$t->reload;
	return;
}

sub repaired
{
	my ($name, $after) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(looked($name, $after, 'repaired'), 'so the launcher repairs');
	ok($t->can_login($name, $t->password("prod/$name")), 'and AWSCURRENT logs in');
	return;
}

# Calls that fail while a look is due, each in its own way
$t->add_rotated('app');
$t->lose_change('app');
my $last = last_run('app')->{run_id};
$emulator->fault(action => 'error', type => 'LimitExceededException', message => 'x', operation => 'DescribeSecret');
$t->restart;
looked('app', $last, 'failed');
my $look = last_run('app');
ok(defined $look->{retry_at}, 'a look that failed is made again');
$emulator->fault(action => 'error', status => 503, operation => 'DescribeSecret', times => 4);
my $event = sprintf('{"Step": "testSecret", "SecretId": "prod/app", "ClientRequestToken": "%s"}', 'x' x 32);
foreach my $sql ("rotate_now('prod/app')", "rotate_abandon('prod/app')", "rotate_event('$event')", "rotate_rollback('prod/app')")
{
	my ($status, $out, $err) = $t->psql("SELECT $sql");
	isnt($status, 0, "$sql fails");
	unlike($err, qr/NOTICE/, 'and will not be tried again');
	is(last_run('app')->{retry_at}, $look->{retry_at}, 'but the look is due as before');
}
$last = last_run('app')->{run_id};
due('app');
repaired('app', $last);

# One that is to be tried again itself, but later than that
$emulator->fault(action => 'error', type => 'LimitExceededException', message => 'x', operation => 'UpdateSecretVersionStage');
is($t->sql_error("SELECT rotate_now('prod/app')")->{sqlstate}, '53400', 'a rotation that has begun has to wait');
$t->sql("UPDATE rotate_run SET retry_at = now() + interval '5 minutes' WHERE run_id = " . last_run('app')->{run_id});
$look = last_run('app');
$emulator->fault(action => 'error', type => 'LimitExceededException', message => 'x', operation => 'DescribeSecret');
is($t->sql_error("SELECT rotate_now('prod/app')")->{sqlstate}, '53400', 'and so has the next call');
is(last_run('app')->{retry_at}, $look->{retry_at}, 'the launcher does not, any longer than it had to');
$last = last_run('app')->{run_id};
due('app');
ok(looked('app', $last, 'completed'), 'and completes the rotation');

# One that succeeds, and leaves the role without AWSCURRENT's password
$t->lose_change('app');
$last = last_run('app')->{run_id};
$emulator->fault(action => 'error', type => 'LimitExceededException', message => 'x', operation => 'DescribeSecret');
$t->restart;
looked('app', $last, 'failed');
$emulator->control('/versions', secret => 'prod/app', string => '{"not": "a login"}', stages => ['AWSPENDING']);
is($t->sql("SELECT outcome FROM rotate_abandon('prod/app')"), 'abandoned', 'a version is given up');
$last = last_run('app')->{run_id};
due('app');
repaired('app', $last);
is(last_run('app')->{outcome}, 'repaired', 'and that is the end of it') or diag(explain(last_run('app')));

# One that is refused because of what the launcher is to finish
my $rule = $emulator->fault(action => 'hang', operation => 'UpdateSecretVersionStage', times => 0);
is($t->sql_error("SELECT rotate_now('prod/app')")->{sqlstate}, '08007', 'a move without an answer');
is($t->sql_error("SELECT rotate_abandon('prod/app')")->{sqlstate}, '55000', 'rotate_abandon() is refused: the role has that password');
$last = last_run('app')->{run_id};
$emulator->clear_faults;
ok(looked('app', $last, 'completed'), 'the launcher finishes the rotation all the same');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

# A look that is kept from looking, while it is open what logs in
my $file = PostgreSQL::Test::Utils::tempdir('instance') . '/id';
PostgreSQL::Test::Utils::append_to_file($file, 'one machine');
$t->set('rotate_ext.instance_file' => $file);
$t->add_rotated('open');
foreach my $case (
	[ 'it is not told where the labels are', '42501', sub { $emulator->fault(action => 'access_denied', operation => 'DescribeSecret', times => 2) }, sub { } ],
	[ 'it is told that, and no value', '42501', sub { $emulator->fault(action => 'access_denied', operation => 'GetSecretValue', times => 2) }, sub { } ],
	[ 'it cannot decrypt a value', '42501', sub { $emulator->fault(action => 'kms_denied', operation => 'GetSecretValue', times => 2) }, sub { } ],
	[ 'the instance file is away', 'F0000', sub { rename $file, "$file.away" or die $! }, sub { rename "$file.away", $file or die $! } ])
{
	my ($name, $sqlstate, $keep, $let) = @$case;
	my $rule = $emulator->fault(action => 'hang', operation => 'UpdateSecretVersionStage', times => 0);
	is($t->sql_error("SELECT rotate_now('prod/open')")->{sqlstate}, '08007', "$name: a move without an answer");
	my $last = last_run('open')->{run_id};
	$keep->();
	looked('open', $last, 'failed');
	my $look = $t->row("SELECT * FROM rotate_history WHERE secret = 'prod/open' AND run_id > $last ORDER BY run_id LIMIT 1");
	is($look->{sqlstate}, $sqlstate, 'the look fails');
	ok(defined $look->{retry_at}, 'and the launcher does not leave it at that');
	$let->();
	$emulator->control('/faults/clear', id => $rule);
	ok(looked('open', $last, 'completed'), 'until it can, and finishes the rotation');
	ok($t->can_login('open', $t->password('prod/open')), 'AWSCURRENT logs in');
	$emulator->clear_faults;
}
$t->set('rotate_ext.instance_file' => undef);

# One that has no way to this server: an address that follows a failover is not there yet
$t->set(listen_addresses => '127.0.0.1, 127.0.0.2');
$t->set_hba('host all all 127.0.0.0/8 scram-sha-256');
$t->restart;
$t->add('moving', json => { host => '127.0.0.2' });
$t->sql("SELECT rotate_register('prod/moving')");
$t->sql("SELECT rotate_now('prod/moving')");
$t->lose_change('moving');
$t->set(listen_addresses => '127.0.0.1');
$last = last_run('moving')->{run_id};
$t->restart;
looked('moving', $last, 'failed');
$look = last_run('moving');
is($look->{sqlstate}, '55000', 'it does not send the password to who knows whom');
ok(defined $look->{retry_at}, 'and looks again');
$t->set(listen_addresses => '127.0.0.1, 127.0.0.2');
$t->restart;
repaired('moving', $last);
$t->set(listen_addresses => '127.0.0.1');
$t->restart;

# A call that moves no label, while a move of before may still arrive
$t->set('rotate_ext.request_timeout' => 10000);
$t->add_rotated('late');
my $late = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
my $call = $t->start_sql("SELECT rotate_now('prod/late')");
$emulator->wait_for_fault($late) or die 'no call came';
my $moved_to = $t->labels('prod/late')->{AWSPENDING};
$last = last_run('late')->{run_id};
kill 'KILL', $t->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'");
$call->finish;
$emulator->add_version('prod/late', $t->secret_json('late', RotateTest::random_password()), 'AWSPENDING');
$t->node->poll_query_until('postgres', 'SELECT true');
ok(looked('late', $last, 'repaired'), 'after a crash, and with its version no longer pending, AWSCURRENT has its login again');
is($t->sql("SELECT outcome FROM rotate_abandon('prod/late')"), 'abandoned', 'and what is pending is given up');
ok(defined last_run('late')->{retry_at}, 'the look that was due is still');
$emulator->release($late);
for (1 .. 500)
{
	last if $t->labels('prod/late')->{AWSCURRENT} eq $moved_to;
	usleep(20_000);
}
is($t->labels('prod/late')->{AWSCURRENT}, $moved_to, 'for the label moves late');
$last = last_run('late')->{run_id};
due('late');
repaired('late', $last);
$t->set('rotate_ext.request_timeout' => 500);

# One that fails after the start, before the launcher has got there
$t->add_rotated('second');
$t->lose_change('second');
$t->set('rotate_ext.max_workers' => 1, 'rotate_ext.request_timeout' => 10000);
$rule = $emulator->fault(action => 'pause', operation => 'DescribeSecret');
$last = last_run('second')->{run_id};
$t->restart;
$emulator->wait_for_fault($rule);
is(last_run('app')->{outcome}, undef, 'after a start the launcher is still at another secret');
$emulator->fault(action => 'error', status => 503, operation => 'DescribeSecret');
isnt($t->sql_error("SELECT rotate_now('prod/second')"), undef, 'when a rotation fails that had begun nothing');
is(last_run('second')->{retry_at}, undef, 'and is not tried again');
$emulator->clear_faults;
repaired('second', $last);
$t->set('rotate_ext.max_workers' => undef, 'rotate_ext.request_timeout' => 500);

# The clock was ahead, and is right again: as the rows of that time show it
$t->lose_change('second');
$t->sql("UPDATE rotate_run SET started_at = now() + interval '1 hour' WHERE run_id = "
	  . "(SELECT max(run_id) FROM rotate_run WHERE secret = 'prod/second')");
$last = last_run('second')->{run_id};
$t->restart;
repaired('second', $last);
foreach my $source ('launcher', 'rotate_now')
{
	$last = last_run('second')->{run_id};
	$t->sql("UPDATE rotate_run SET outcome = 'failed', source = '$source', started_at = now() + interval '1 hour', "
		  . "retry_at = now() + interval '1 hour 2 seconds' WHERE run_id = $last");
	$t->reload;
	ok(looked('second', $last), "what the $source was to be followed by in two seconds does not wait for an hour");
}
$last = last_run('second')->{run_id};
$t->reload;
is(last_run('second')->{run_id}, $last, 'and once is enough');

# One that has failed for what a person had to set right
$t->set('rotate_ext.instance_file' => $file);
$last = last_run('second')->{run_id};
$t->sql("SELECT rotate_unregister('prod/second')");
$t->sql("SELECT rotate_register('prod/second')");
ok(looked('second', $last), 'what is registered anew is looked at');
$t->lose_change('second');
PostgreSQL::Test::Utils::append_to_file($file, ', or another');
$last = last_run('second')->{run_id};
$t->restart;
looked('second', $last, 'failed');
$look = last_run('second');
is($look->{hint}, "If this server has taken over from that one, call rotate_enable('prod/second').", 'on another machine a look is refused');
is($look->{retry_at}, undef, 'and not made again');
$t->sql("SELECT rotate_enable('prod/second')");
repaired('second', $look->{run_id});

# and one that is under way meanwhile, and may have seen what was before
$last = last_run('second')->{run_id};
due('second');
looked('second', $last, 'unchanged') or die 'the launcher does not look';
$t->set('rotate_ext.request_timeout' => 10000);
$rule = $emulator->fault(action => 'pause', operation => 'DescribeSecret');
$last = last_run('second')->{run_id};
$t->sql("SELECT rotate_enable('prod/second')");
$emulator->wait_for_fault($rule);
$t->sql("SELECT rotate_enable('prod/second')");
$emulator->release($rule);
ok($t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/second' AND run_id > $last + 1 AND outcome = 'unchanged'"),
	'it is followed by another');
is(last_run('second')->{retry_at}, undef, 'and that is the end of it');
$t->set('rotate_ext.request_timeout' => 500, 'rotate_ext.instance_file' => undef);

# A database that it comes to look after
$t->sql('CREATE DATABASE other');
$t->sql('CREATE EXTENSION rotate_ext', database => 'other');
$t->add('elsewhere');
$t->sql("SELECT rotate_register('prod/elsewhere')", database => 'other');
$t->sql("SELECT rotate_now('prod/elsewhere')", database => 'other');
$t->lose_change('elsewhere');
$t->set('rotate_ext.database' => 'other');
ok($t->node->poll_query_until('other', "SELECT count(*) = 1 FROM rotate_history WHERE outcome = 'repaired'"),
	'rotate_ext.database is another one: what is there is looked at');

# Dropped, and restored from a dump, which registers nothing and so wakes nobody
my $row = RotateTest::literal($t->sql('SELECT to_json(r) FROM rotate_registration r', database => 'other'));
sub restore
{
	$t->sql('DROP DATABASE other');
	$t->sql('CREATE DATABASE other');
	$t->sql('CREATE EXTENSION rotate_ext', database => 'other');
	$t->sql("INSERT INTO rotate_registration SELECT * FROM json_populate_record(NULL::rotate_registration, $row)",
		database => 'other');
	return;
}
restore();
like($t->sql('SELECT recovery FROM rotate_status', database => 'other'), qr/^(?:on|off: the launcher has just been told of this database)$/,
	'dropped and restored, rotate_status tells the launcher');
ok($t->node->poll_query_until('other', "SELECT recovery = 'on' FROM rotate_status"), 'which looks after it');
ok($t->node->poll_query_until('other', "SELECT count(*) = 1 FROM rotate_history WHERE source = 'launcher'"), 'at once');
restore();
$emulator->fault(action => 'error', status => 503, when => 'after', operation => 'PutSecretValue');
my ($status, $out, $err) = $t->psql("SELECT rotate_now('prod/elsewhere')", database => 'other');
like($err, qr/NOTICE:  00000: the launcher tries again at /, 'a rotation that fails there before that is followed up');
ok($t->node->poll_query_until('other', "SELECT count(*) = 1 FROM rotate_history WHERE outcome = 'completed' AND source = 'launcher'"),
	'and completed');
ok($t->can_login('elsewhere', $t->password('prod/elsewhere')), 'AWSCURRENT logs in');

$t->stop;
done_testing();
