# 059_launcher_review.pl
#	  What rotate_status says beside the launcher's runs, and what may keep the
#	  launcher from its work or make it work without end: workers that end all the
#	  time, secrets that fail all the time, a database that can't be read, a clock
#	  that is set back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = RotateTest->new(conf => "shared_preload_libraries = 'rotate_ext'\nrotate_ext.max_attempts = 1\n"
	  . "rotate_ext.request_timeout = 500\nmax_worker_processes = 20");
my $emulator = $t->emulator;
my $node = $t->node;
$t->wait_for('SELECT rotate_recovery()', 'on');

# looked(NAME, OUTCOME): the launcher has looked at it since the server's start.
sub looked
{
	my ($name, $outcome) = @_;
	return $t->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/$name' AND source = 'launcher' "
		  . 'AND started_at > pg_postmaster_start_time() AND outcome '
		  . (defined $outcome ? "= '$outcome'" : 'IS NOT NULL'));
}

sub add
{
	my $name = shift;
	$t->add($name);
	$t->sql("SELECT rotate_register('prod/$name')");
	looked($name);
	return;
}

sub status
{
	my $name = shift;
	my $row = $t->row("SELECT state, next_due IS NOT NULL AS due, consecutive_failures AS failures FROM rotate_status "
		  . "WHERE secret = 'prod/$name'");
	return "$row->{state}, " . ($row->{due} ? 'due' : 'not due') . ", $row->{failures}";
}

# What nobody wants any more is not due.
add('app');
$emulator->fault(action => 'error', type => 'LimitExceededException', message => 'x', operation => 'UpdateSecretVersionStage');
$t->psql("SELECT rotate_now('prod/app')");
is(status('app'), 'failing, due, 1', 'a rotation that has begun and failed is due');
$t->sql("SELECT rotate_abandon('prod/app')");
is(status('app'), 'failing, not due, 1', 'and when it was abandoned it is not');
$t->sql("SELECT rotate_now('prod/app')");
is(status('app'), 'ok, not due, 0', 'the next one has succeeded');

# A look that failed counts until the next one that did not.
my $rule = $emulator->fault(action => 'access_denied', operation => 'DescribeSecret', times => 0);
$t->restart;
looked('app', 'failed');
is(status('app'), 'failing, not due, 1', 'a look that was denied is a failure');
$emulator->clear_faults;
$t->restart;
looked('app', 'unchanged');
is(status('app'), 'ok, not due, 0', 'which is over with the next look');

# Credentials that have expired, or are not there yet after the machine's start
$rule = $emulator->fault(action => 'error', type => 'ExpiredTokenException', message => 'x', operation => 'DescribeSecret',
	times => 0);
$t->restart;
looked('app', 'failed');
like($t->sql("SELECT sqlstate || ' ' || (retry_at > finished_at) FROM rotate_history WHERE source = 'launcher' "
		  . "AND outcome = 'failed' ORDER BY run_id DESC LIMIT 1"), qr/^28000 true$/, 'a look without good credentials is made again');
$emulator->clear_faults;
$t->wait_for("SELECT state FROM rotate_status", 'ok');
is(status('app'), 'ok, not due, 0', 'until there are some');

# A database that can't be read; a reload is enough
$t->sql('CREATE DATABASE closed');
$t->sql('CREATE EXTENSION rotate_ext', database => 'closed');
my $session = $t->start_sql('SELECT pg_sleep(4), rotate_recovery()', database => 'closed');
$t->wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4)%' AND datname = 'closed'");
$t->sql('ALTER DATABASE closed ALLOW_CONNECTIONS false');
$t->set('rotate_ext.database' => 'closed');
like($session->finish->{stdout}, qr/off: the launcher could not read its tables; the server's log says why/,
	'a database that can not be connected to: recovery is off');
sleep 3;
$t->set('rotate_ext.database' => undef);
my $start = time;
$t->wait_for('SELECT rotate_recovery()', 'on');
cmp_ok(time - $start, '<', 2, 'another one is looked after at once');

# An interrupted run, and a rotate_abandon() that has nothing to abandon
$t->set('rotate_ext.database' => 'none');
$t->wait_for("SELECT rotate_recovery() LIKE 'off: database%'");
$t->sql("UPDATE rotate_run SET outcome = NULL, finished_at = NULL WHERE outcome = 'rotated'; "
	  . "DELETE FROM rotate_run WHERE source = 'launcher'");
is(status('app'), 'interrupted, not due, 1', 'a run that was interrupted');
isnt($t->sql_error("SELECT rotate_abandon('prod/app')"), undef, 'has left nothing to abandon');
is(status('app'), 'interrupted, not due, 2', 'and is still that after the attempt');
$t->set('rotate_ext.database' => undef);

# Workers that end all the time wake the launcher all the time.
$t->wait_for('SELECT rotate_recovery()', 'on');
$t->sql('CREATE TABLE calls_go_on ()');
my @calls = map {
	$t->start_sql('DO $$ BEGIN WHILE to_regclass(\'calls_go_on\') IS NOT NULL LOOP PERFORM rotate_credentials(); COMMIT; END LOOP; END $$')
} 1 .. 6;
sleep 1;
$t->add('busy');
$t->sql("SELECT rotate_register('prod/busy')");
looked('busy');
is(scalar(grep { $_->running } @calls), 6, 'they do not keep it from starting what is due');
$t->sql('DROP TABLE calls_go_on');
$_->finish foreach @calls;

# Those that fail all the time come after those that were not looked at.
add($_) foreach qw(a b c);
$t->set('rotate_ext.max_workers' => 1, 'rotate_ext.request_timeout' => 1500);
$rule = $emulator->fault(action => 'hang', operation => 'DescribeSecret', times => 0);
$t->restart;
looked($_) foreach qw(app busy a b c);
is($t->sql('WITH run AS (SELECT run_id, secret FROM rotate_history WHERE started_at > pg_postmaster_start_time()), '
		  . 'first AS (SELECT min(run_id) AS run_id FROM run GROUP BY secret) '
		  . 'SELECT count(*) FROM run WHERE run_id <= (SELECT max(run_id) FROM first)'), '5', 'nothing is looked at twice before all was looked at once');
$emulator->clear_faults;
$t->stop;

# The clock of the machine, set back by an hour
my $dir = PostgreSQL::Test::Utils::tempdir;
PostgreSQL::Test::Utils::append_to_file("$dir/clock.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>
int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	int (*next)(struct timeval *, void *) = (int (*)(struct timeval *, void *)) dlsym(RTLD_NEXT, "gettimeofday");
	int result = next(tv, tz);

	if (access(getenv("CLOCK_FILE"), F_OK) == 0)
		tv->tv_sec -= 3600;
	return result;
}
C
PostgreSQL::Test::Utils::system_or_bail('cc', '-shared', '-fPIC', '-o', "$dir/clock.so", "$dir/clock.c", '-ldl');
$t->setenv(LD_PRELOAD => "$dir/clock.so", CLOCK_FILE => "$dir/back");
$t->start;
looked($_) foreach qw(app busy a b c);
# a row that only an order's limit keeps from being found: nothing records that it was tried
$t->sql("INSERT INTO rotate_registration SELECT (json_populate_record(r, json_build_object('secret', repeat('x', 3000), "
	  . "'arn', 'y', 'role_oid', 0, 'role_name', 'z'))).* FROM rotate_registration r LIMIT 1");
$t->reload;
sub tried { my $log = $t->server_log; return scalar(() = $log =~ /ERROR:  secret "x+" is not registered/g); }
for (1 .. 100) { last if tried() >= 2; sleep 0.1; }
my $tried = tried();
my $before = $t->sql('SELECT clock_timestamp()');
PostgreSQL::Test::Utils::append_to_file("$dir/back", '');
is($t->sql("SELECT clock_timestamp() < '$before'::timestamptz - interval '59 min'"), 't', 'the clock is set back');
my $last = $t->sql('SELECT max(run_id) FROM rotate_history');
$t->sql("SELECT rotate_now('prod/app')");
sleep 3;
cmp_ok($t->sql('SELECT max(run_id) FROM rotate_history') - $last, '<=', 7, 'which is no reason to look at everything for an hour');
for (1 .. 100) { last if tried() > $tried; sleep 0.1; }
cmp_ok(tried(), '>', $tried, 'nor to wait for an hour with what was to be tried again in seconds');
unlink "$dir/back";
$t->sql("DELETE FROM rotate_registration WHERE arn = 'y'");
my $row = RotateTest::literal($t->sql("SELECT to_json(r) FROM rotate_registration r WHERE secret = 'prod/a'"));
$t->sql('ALTER DATABASE closed ALLOW_CONNECTIONS true');
$t->sql("INSERT INTO rotate_registration SELECT * FROM json_populate_record(NULL::rotate_registration, $row)", database => 'closed');
$t->sql('ALTER DATABASE closed ALLOW_CONNECTIONS false');
$t->set('rotate_ext.database' => 'closed');
sleep 3;
PostgreSQL::Test::Utils::append_to_file("$dir/back", '');
$t->sql('ALTER DATABASE closed ALLOW_CONNECTIONS true');
is($node->poll_query_until('closed', "SELECT count(*) > 0 FROM rotate_history WHERE source = 'launcher'"), 1, 'nor to read a database only then');

$t->stop;
done_testing();
