# 044_concurrency.pl
#	  Many callers at once: one rotation at a time for a role, in the whole cluster.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

# Five slots, of which one is the server's own.
my $t = RotateTest->new(conf => 'max_worker_processes = 5');
my $emulator = $t->emulator;
my @roles = ('app', 'shop', 'report');

foreach my $role (@roles)
{
	$t->add($role);
	$t->sql("SELECT rotate_register('prod/$role')");
}
my $oid = $t->sql("SELECT 'app'::regrole::oid");

# pause(): a rotation of prod/app that stands still.
sub pause
{
	my $rule = $emulator->fault(action => 'pause', operation => 'DescribeSecret', times => 1);
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");

	$emulator->wait_for_fault($rule) or die 'no call came';
	return ($call, $rule);
}

# Two at once
is($t->sql("SELECT rotate_is_running($oid)"), 'f', 'no rotation is running');
my ($first, $rule) = pause();
is($t->sql("SELECT rotate_is_running($oid)"), 't', 'rotate_is_running() sees the one that is');
is($t->sql("SELECT rotate_is_running('shop'::regrole)"), 'f', 'and of which role it is');
is($t->sql('SELECT string_agg(secret || state, $$,$$ ORDER BY secret) FROM rotate_status'),
	'prod/apprunning,prod/reportnever rotated,prod/shopnever rotated', 'so does rotate_status');
is($t->sql("SELECT outcome FROM rotate_now('prod/shop')"), 'rotated', 'another role is rotated beside it');

$t->set('rotate_ext.start_timeout' => '300');
foreach my $statement ("rotate_now('prod/app')", "rotate_abandon('prod/app')", "rotate_now('prod/app', dry_run => true)")
{
	$t->error_is("SELECT $statement", {
			sqlstate => '55P03',
			message => 'could not begin: another rotation of secret "prod/app" is under way',
			detail => 'It did not end within 300 ms (rotate_ext.start_timeout).',
			hint => 'Look at rotate_history for its outcome and try again.'
		}, "$statement waits for it no longer than rotate_ext.start_timeout");
}
$t->set('rotate_ext.start_timeout' => '30000');

# No advisory lock that SQL can take or release is in the way, whatever its keys.
my $key = 0x726f7445;
is($t->sql("SELECT pg_advisory_unlock_all(); SELECT pg_advisory_unlock($key, $oid), pg_advisory_unlock(${key}::bigint << 32 | $oid)"),
	"\nf|f", 'SQL cannot release the turn');
is($t->sql("SELECT rotate_is_running($oid)"), 't', 'which is still taken');
my $thief = $t->node->background_psql('postgres', timeout => 60);
$thief->query_safe("SELECT pg_advisory_lock($key, o), pg_advisory_lock(${key}::bigint << 32 | o) FROM unnest(ARRAY[$oid, 0]) o");

my $second = $t->start_sql("SELECT version_id FROM rotate_now('prod/app')", app => 'second');
ok($t->wait_for("SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'second'", 'Lock'), 'a second rotation waits');
is($t->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'"), '1', 'and uses no worker slot meanwhile');
$emulator->release($rule);
is($first->finish->{stdout}, 'rotated', 'the first one ends');
is($second->finish->{stdout}, $t->labels('prod/app')->{AWSCURRENT}, 'and the second rotates after it');
is(scalar(grep { $_->{outcome} eq 'rotated' } $t->history('prod/app')), 2, 'so there were two');
$thief->quit;

# Twenty callers, three secrets, four slots
$emulator->control('/settings', writes_per_second => 0);
my @calls;
foreach my $n (0 .. 19)
{
	my $secret = "prod/$roles[$n % 3]";
	push @calls, $t->start_sql("SELECT secret, outcome, version_id FROM rotate_now('$secret')");
}
my (%versions, @failed);
foreach my $n (0 .. 19)
{
	my $result = $calls[$n]->finish;
	my ($secret, $outcome, $version) = split /\|/, $result->{stdout};
	if ($result->{status} != 0) { push @failed, $result->{stderr}; next; }
	push @failed, "$n: $result->{stdout}" if $secret ne "prod/$roles[$n % 3]" || $outcome ne 'rotated' || $versions{$version}++;
}
is_deeply(\@failed, [], 'each of twenty callers at once gets a rotation of its own');
ok($t->can_login($_, $t->password("prod/$_")), "AWSCURRENT of $_ logs in") foreach @roles;

my @history = $t->rows('SELECT * FROM rotate_history ORDER BY run_id');
is_deeply([ grep { ($_->{outcome} // '') !~ /^rotated$/ } @history ], [], 'each run has ended well');
is($t->sql('SELECT count(*) FROM rotate_history a JOIN rotate_history b ON a.secret = b.secret AND a.run_id < b.run_id '
		. 'AND a.finished_at > b.started_at'), '0', 'and none began before the one before it had ended');
unlike($t->server_log, qr/deadlock|concurrently updated/, 'no deadlock, nothing updated concurrently');

# ALTER ROLE by hand at the same time: no internal error on either side.
my $altering = $t->start_sql(join('', map { "ALTER ROLE app CONNECTION LIMIT $_; SELECT pg_sleep(0.003);" } 10 .. 160));
foreach my $n (1 .. 6)
{
	is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'rotated', "rotation $n beside ALTER ROLE");
}
my $by_hand = $altering->finish;
is($by_hand->{stderr}, '', 'ALTER ROLE by hand works as ever');
ok($t->can_login('app', $t->password('prod/app')), 'and AWSCURRENT logs in');

# One who has altered the role, and does not end.
my $dba = $t->node->background_psql('postgres', timeout => 60);
$dba->query_safe('BEGIN; ALTER ROLE app CONNECTION LIMIT 5');
is($t->sql("SELECT outcome FROM rotate_now('prod/shop')"), 'rotated', 'a transaction that has altered a role holds up no other role');
$t->refused("SELECT rotate_now('prod/app')", {
		sqlstate => '55P03',
		message => 'could not set the password of role "app"',
		detail => 'A transaction that is still open has changed the role.',
		hint => 'End it: in pg_locks it holds RowExclusiveLock on pg_authid.'
	}, 'and its own only for so long', role => 'app');
is($dba->query_safe('SELECT count(*) FROM pg_locks WHERE relation = $$pg_authid$$::regclass AND mode = $$RowExclusiveLock$$ AND pid = pg_backend_pid()'),
	'1', 'which can be found as the hint says');
$dba->query_safe('COMMIT');
$dba->quit;
is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'completed', 'then it goes on');

# ALTER ROLE in the very moment in which the password is being set waits for that;
# unless somebody's transaction that has altered a role, any role, keeps the
# rotation from holding it back.  docs/recovery.md says what to do then.
$t->sql(<<'END');
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE UPDATE ON rotate_run FOR EACH ROW
	WHEN (NEW.verifier_hash IS DISTINCT FROM OLD.verifier_hash) EXECUTE FUNCTION slow();
END
$dba = $t->node->background_psql('postgres', timeout => 60);
foreach my $open (0, 1)
{
	$dba->query_safe('BEGIN; ALTER ROLE report CONNECTION LIMIT 5') if $open;
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");
	$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%' AND wait_event = 'PgSleep'", '1') or die;
	my $error = $t->sql_error("ALTER ROLE app CONNECTION LIMIT 2$open");
	is($error ? "$error->{sqlstate} $error->{message}" : '', $open ? 'XX000 tuple concurrently updated' : '',
		'ALTER ROLE of the role that is being rotated ' . ($open ? 'may fail beside a transaction that is open for long' : 'waits, and succeeds'));
	is($call->finish->{stdout}, 'rotated', 'the rotation does not mind');
	is($t->sql_error("ALTER ROLE app CONNECTION LIMIT 2$open"), undef, 'repeated, it succeeds') if $open;
	is($t->sql("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'"), "2$open", 'its change is there');
	ok($t->can_login('app', $t->password('prod/app')), 'and AWSCURRENT logs in');
}
$dba->query_safe('COMMIT');
$dba->quit;

$t->stop;
done_testing();
