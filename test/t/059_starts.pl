# 059_starts.pl
#	  What the launcher looks at after a start, whatever the rows of before it say: their
#	  times are of another server's clock, or of one that was wrong; a run that was
#	  interrupted had failed often before; a call that never had a registration
#	  is the latest.  And what it could not read it reads as soon as somebody asks; what
#	  a service leaves half done it finishes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = RotateTest->new(conf => join("\n", "shared_preload_libraries = 'rotate_ext'", 'rotate_ext.max_attempts = 1',
		'rotate_ext.request_timeout = 20000', 'max_prepared_transactions = 5'));
my $emulator = $t->emulator;
$t->wait_for('SELECT rotate_recovery()', 'on');

sub last_run { return $t->sql("SELECT max(run_id) FROM rotate_history WHERE secret = 'prod/$_[0]'"); }

# looked(NAME, AFTER, OUTCOME): the launcher looks at it after that run.
sub looked
{
	my ($name, $after, $outcome) = @_;
	return $t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/$name' AND source = 'launcher' "
		  . "AND run_id > $after AND outcome = '$outcome'");
}

# An old primary whose clock was a little ahead: its last runs seem to have been after the start.
$t->add_rotated($_) foreach qw(one two);
$t->lose_change($_) foreach qw(one two);
$t->set('rotate_ext.max_workers' => 1);
my %last = map { $_ => last_run($_) } qw(one two);
$t->sql("UPDATE rotate_run SET started_at = now() + interval '3 seconds' WHERE run_id IN (" . join(', ', values %last) . ')');
my $rule = $emulator->fault(action => 'pause', operation => 'DescribeSecret');
$t->restart;
$emulator->wait_for_fault($rule) or die 'no call came';
sleep 3;
$emulator->release($rule);
ok(looked($_, $last{$_}, 'repaired'), "a clock that was ahead on the old primary does not hide secret $_") foreach qw(one two);
$t->set('rotate_ext.max_workers' => undef);
my $all = $t->sql('SELECT max(run_id) FROM rotate_history');
$t->reload;
sleep 1;
is($t->sql('SELECT max(run_id) FROM rotate_history'), $all, 'and once is enough');

# So do rows whose numbers begin anew.
$t->sql('TRUNCATE rotate_run RESTART IDENTITY');
$t->reload;
ok($t->wait_for("SELECT count(*) = 2 FROM rotate_history WHERE outcome = 'unchanged'"), 'without any history all is looked at');
sleep 2;
is($t->sql('SELECT max(run_id) FROM rotate_history'), 2, 'once');

# A run that failed often, and was then interrupted: once, which is no reason to wait.
$t->lose_change('one');
my $last = last_run('one');
$t->sql("UPDATE rotate_run SET attempt = 10, outcome = NULL, finished_at = NULL, started_at = now() WHERE run_id = $last");
my $start = time;
$t->restart;
ok(looked('one', $last, 'repaired'), 'a look that was interrupted after many that failed is made again');
cmp_ok(time - $start, '<', 5, 'at once');

# What was interrupted several times in a row has to wait, unless somebody has called for it since.
foreach my $case ([ launcher => 4, 'has to wait' ], [ rotate_now => 1, 'does not have to' ])
{
	my ($source, $attempt, $name) = @$case;

	$t->lose_change('one');
	$t->sql("INSERT INTO rotate_run (secret, arn, source, requested_by, attempt, started_at, finished_at, outcome) SELECT 'prod/one', arn, "
		  . "CASE n WHEN 4 THEN '$source' ELSE 'launcher' END, 'x', CASE n WHEN 4 THEN $attempt ELSE n END, now(), CASE WHEN n < 4 THEN now() END, "
		  . "CASE WHEN n < 4 THEN 'interrupted' END FROM rotate_registration, generate_series(1, 4) n WHERE secret = 'prod/one'");
	$last = last_run('one');
	$t->restart;
	sleep 4;
	is($t->sql("SELECT count(*) FROM rotate_history WHERE secret = 'prod/one' AND run_id > $last"), $source eq 'launcher' ? '0' : '1',
		"interrupted for the fourth time in a row, what the $source began $name");
	$t->sql("UPDATE rotate_run SET started_at = now() - interval '15 seconds' WHERE run_id = $last");
	$t->reload;
	ok(looked('one', $last, 'repaired'), 'and is followed up');
}

# A pause that was planned while the clock was ahead
$t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/two' AND started_at > pg_postmaster_start_time() "
	  . 'AND outcome IS NOT NULL') or die 'the other secret is not looked at';
$last = last_run('two');
$t->sql("UPDATE rotate_run SET outcome = 'failed', retry_at = now() + interval '1 day' WHERE run_id = $last");
$t->reload;
ok(looked('two', $last, 'settled'), 'no look waits for longer than any pause is');

# So was one whose time a call has kept that has failed since the clock was set right.
$last = last_run('two');
$t->sql("UPDATE rotate_run SET started_at = now() + interval '1 hour', source = 'launcher' WHERE run_id = $last; "
	  . 'INSERT INTO rotate_run (secret, arn, source, requested_by, started_at, finished_at, outcome, retry_at) '
	  . "SELECT 'prod/two', arn, 'rotate_now', 'x', now(), now(), 'failed', now() + interval '1 hour' FROM rotate_registration WHERE secret = 'prod/two'");
$last = last_run('two');
$t->reload;
ok(looked('two', $last, 'settled'), 'nor for what a wrong clock has said of an earlier look');

# Two superusers rotate a secret that is not registered: the one that comes too late is no run of the secret's.
$t->add('three');
my @rules = map { $emulator->fault(action => 'pause', operation => 'DescribeSecret', after => $_) } 0, 1;
my $first = $t->start_sql("SELECT rotate_now('prod/three')");
$emulator->wait_for_fault($rules[0]) or die 'no call came';
my $second = $t->start_sql("SELECT rotate_now('prod/three')");
$emulator->wait_for_fault($rules[1]) or die 'no call came';
$emulator->fault(action => 'error', status => 503, when => 'after', operation => 'PutSecretValue');
$emulator->release($rules[0]);
my $result = $first->finish;
is($result->{error}{sqlstate}, '58000', 'of two rotations that register their secret the first fails, when it has begun');
like($result->{stderr}, qr/NOTICE:  00000: the launcher tries again/, 'and goes on');
ok($t->wait_for("SELECT count(*) = 1 FROM rotate_history WHERE secret = 'prod/three' AND outcome = 'completed'"),
	'to its end, while the other one still waits for Secrets Manager');
$emulator->release($rules[1]);
is($second->finish->{error}{sqlstate}, '42710', 'that one is told that the secret is registered');
# as one that came after the end of the first leaves it behind
$t->sql("INSERT INTO rotate_run (secret, source, requested_by, started_at, finished_at, outcome, sqlstate) "
	  . "VALUES ('prod/three', 'rotate_now', 'x', now(), now(), 'failed', '42710')");
is($t->sql("SELECT state || ' ' || consecutive_failures FROM rotate_status WHERE secret = 'prod/three'"), 'ok 0', 'which is well');
$last = last_run('three');
$t->sql("SELECT rotate_enable('prod/three')");
ok(looked('three', $last, 'unchanged'), 'and is looked at when it is enabled');

# A registration that is prepared is committed by a session that knows nothing of it.
$t->add('four');
$result = $t->sql_error("BEGIN; SELECT rotate_register('prod/four'); PREPARE TRANSACTION 'four'");
is($result->{sqlstate}, '0A000', 'a registration can not be prepared') or diag(explain($result));
is($result->{message}, 'cannot PREPARE a transaction that has changed a registration of rotate_ext', 'and says so');
is($t->sql("SELECT count(*) FROM rotate_status WHERE secret = 'prod/four'"), '0', 'nothing is registered');

# A look that somebody cancels has found out nothing, and is made again as one that is terminated.
foreach my $how (qw(cancel terminate))
{
	$t->lose_change('one');
	$rule = $emulator->fault(action => 'pause', operation => 'GetSecretValue');
	$last = last_run('one');
	$t->sql("UPDATE rotate_run SET retry_at = now() WHERE run_id = $last");
	$t->reload;
	$emulator->wait_for_fault($rule) or die 'no call came';
	$t->sql("SELECT pg_${how}_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'");
	ok(looked('one', $last, 'repaired'), "pg_${how}_backend() of a look: it is made again");
	$emulator->clear_faults;
}

# A promoted standby may have settings of its own.
my $url = $t->sql('SHOW rotate_ext.endpoint_url');
$t->lose_change('one');
$last = last_run('one');
$t->set('rotate_ext.endpoint_url' => 'https://');
$t->restart;
ok(looked('one', $last, 'failed'), 'a look with a setting that can not be used');
is($t->sql("SELECT sqlstate FROM rotate_history WHERE secret = 'prod/one' AND run_id > $last ORDER BY run_id LIMIT 1"), 'F0000', 'fails');
$t->set('rotate_ext.endpoint_url' => $url);
ok(looked('one', $last, 'repaired'), 'and is made again, until somebody has set it right');

# The service sets the password, and never comes back to move the label: without combine_steps nothing logs in then.
$t->set('rotate_ext.combine_steps' => 'off');
$t->add_rotated('five');
my $arn = $emulator->secret('prod/five')->{arn};
sub event
{
	my ($step, $token) = @_;
	return $t->sql("SELECT rotate_event(json_build_object('Step', '$step', 'SecretId', '$arn', 'ClientRequestToken', '$token')::jsonb)->>'outcome'");
}
sub next_due { return $t->sql("SELECT round(extract(epoch FROM next_due - clock_timestamp()) / 60) FROM rotate_status WHERE secret = 'prod/five'"); }
$emulator->control('/secrets/update', secret => 'prod/five', attributes => { rotation_enabled => JSON::PP::true });
my $made = $emulator->control('/service-pending', secret => 'prod/five')->{id};
event('createSecret', $made);
is(next_due(), '', 'nothing is due when the service has its version');
is(event('setSecret', $made), 'set', 'when it has set the password');
is($t->can_login('five', $t->password('prod/five')), 0, 'AWSCURRENT does not log in');
is(next_due(), '5', 'and the launcher looks in five minutes');
event('testSecret', $made);
is(next_due(), '5', 'also when the login was proved');
event('finishSecret', $made);
is(next_due(), '', 'but not when the service has moved the label');
$made = $emulator->control('/service-pending', secret => 'prod/five')->{id};
event($_, $made) foreach qw(createSecret setSecret testSecret);
$last = last_run('five');
$t->sql("UPDATE rotate_run SET retry_at = now() WHERE run_id = $last");
$t->reload;
ok(looked('five', $last, 'completed'), 'where it does not, the launcher does');
ok($t->can_login('five', $t->password('prod/five')), 'and AWSCURRENT logs in');
is($t->labels('prod/five')->{AWSCURRENT}, $made, 'on the version of the service');
event('finishSecret', $made);
is($t->sql("SELECT state FROM rotate_status WHERE secret = 'prod/five'"), 'ok', 'which may come back after that');
$t->set('rotate_ext.combine_steps' => undef);

# Registrations that are restored from a dump with the extension wake nobody; who asks does.
$t->set_password('four', $t->password('prod/four'));
$t->sql("SELECT rotate_register('prod/four')");
my $row = RotateTest::literal($t->sql("SELECT to_json(r) FROM rotate_registration r WHERE secret = 'prod/four'"));
$t->sql('DROP EXTENSION rotate_ext');
$t->reload;
sleep 1;
$t->sql('CREATE EXTENSION rotate_ext');
$t->sql("INSERT INTO rotate_registration SELECT * FROM json_populate_record(NULL::rotate_registration, $row)");
$t->sql('SELECT recovery FROM rotate_status');
ok($t->wait_for("SELECT count(*) = 1 FROM rotate_history WHERE source = 'launcher'"), 'what is restored with the extension is looked at when somebody asks');

# DROP EXTENSION locks the one table, and then the other.
my $drop = $t->node->background_psql('postgres', timeout => 60);
$drop->query_safe('BEGIN; LOCK TABLE rotate_registration; SELECT 1');
$t->reload;
ok($t->wait_for("SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND backend_type = 'rotate_ext recovery worker'"),
	'the launcher\'s worker waits for DROP EXTENSION');
is($drop->query_safe("SELECT count(*) FROM pg_locks WHERE relation = 'rotate_run'::regclass"), '0', 'and not that for the worker');
$drop->query_safe('ROLLBACK');
$drop->quit;

# What could not be read is read when somebody asks.
my $session = $t->node->background_psql('postgres', timeout => 60);
$session->query_safe('BEGIN; LOCK TABLE rotate_registration; SELECT 1');
$t->reload;
sleep 1;
$t->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rotate_ext recovery worker'"), sleep 1.5 for 1 .. 8;
like($session->query_safe('SELECT rotate_recovery()'), qr/off: the launcher could not read its tables/, 'a table that is locked can not be read');
$session->query_safe('COMMIT');
$session->quit;
$start = time;
ok($t->wait_for('SELECT rotate_recovery()', 'on'), 'when it can, the launcher learns it from who asks');
cmp_ok(time - $start, '<', 4, 'in a moment');

# What can't be done is not tried again and again at once: a look that can't even record itself, a database that can't be read.
sub count_in_log { my $what = shift; return scalar(() = $t->server_log =~ /$what/g); }
$t->sql("INSERT INTO rotate_registration SELECT (json_populate_record(r, json_build_object('secret', repeat('x', 3000), "
	  . "'arn', 'y', 'role_oid', 0, 'role_name', 'z'))).* FROM rotate_registration r LIMIT 1");
$t->reload;
sleep 5;
my $tries = count_in_log(qr/ERROR:  secret "x+" is not registered/);
ok($tries > 1 && $tries < 4, 'a secret whose looks can not begin is tried after growing pauses') or diag($tries);
$t->sql('CREATE DATABASE closed ALLOW_CONNECTIONS false');
$t->set('rotate_ext.database' => 'closed');
sleep 5;
$tries = count_in_log(qr/FATAL:  database "closed" is not currently accepting connections/);
ok($tries > 1 && $tries < 4, 'and so is a database') or diag($tries);

# A database that it comes to look after counts its runs by itself.
$t->sql('CREATE DATABASE other');
$t->sql('CREATE EXTENSION rotate_ext; ALTER TABLE rotate_run ALTER COLUMN run_id RESTART WITH 1000', database => 'other');
$t->add('six');
$t->sql("SELECT rotate_register('prod/six')", database => 'other');
$t->sql("SELECT rotate_now('prod/six')", database => 'other');
$t->lose_change('six');
$t->set('rotate_ext.database' => 'other');
ok($t->node->poll_query_until('other', "SELECT count(*) = 1 FROM rotate_history WHERE outcome = 'repaired'"),
	'in a database with more runs than in the one before all is looked at, too');

$t->stop;
done_testing();
