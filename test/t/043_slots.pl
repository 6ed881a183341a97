# 043_slots.pl
#	  Worker slots, and the transactions that a rotation is asked for in.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

# One slot is the server's own, for the launcher of logical replication.
my $t = RotateTest->new(conf => 'max_worker_processes = 2');
my $emulator = $t->emulator;

foreach my $role ('app', 'busy')
{
	$t->add($role);
	$t->sql("SELECT rotate_register('prod/$role')");
}
my $WORKERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'";

# All slots used up
my $before = $t->unchanged('app', 'prod/app');
my $rule = $emulator->fault(action => 'pause', operation => 'GetSecretValue', version_stage => 'AWSCURRENT');
my $busy = $t->start_sql("SELECT outcome FROM rotate_now('prod/busy')");
$emulator->wait_for_fault($rule) or die 'no call came';
$t->set('rotate_ext.start_timeout' => '300');
$t->error_is("SELECT rotate_now('prod/app')", {
		sqlstate => '53000',
		message => 'could not start a rotation worker: all worker slots are in use',
		detail => 'None came free within 300 ms (rotate_ext.start_timeout).',
		hint => 'Increase max_worker_processes, or try again when fewer workers run.'
	}, 'without a free worker slot there is an error after rotate_ext.start_timeout');
is($t->unchanged('app', 'prod/app'), $before, 'and nothing has changed');

$t->set('rotate_ext.start_timeout' => '30000');
my $waiting = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')", app => 'waiting');
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'waiting' AND wait_event_type = 'Extension'", '1');
$emulator->release($rule);
is($busy->finish->{stdout}, 'rotated', 'the one that had the slot ends');
is($waiting->finish->{stdout}, 'rotated', 'and the one that waited for it gets it');
ok($t->wait_for($WORKERS, '0'), 'no worker is left');

# Transactions
$t->sql('CREATE TABLE written (a int)');
foreach my $case (
	[ 'BEGIN; INSERT INTO written VALUES (1); %s', 'a row was written' ],
	[ 'BEGIN; SAVEPOINT s; INSERT INTO written VALUES (1); ROLLBACK TO s; %s', 'a row was written, and rolled back to a savepoint' ],
	[ 'BEGIN; SELECT pg_current_xact_id(); %s', 'a transaction id was taken' ],
	[ 'DO $$ BEGIN INSERT INTO written VALUES (1); PERFORM * FROM rotate_now(\'prod/app\'); END $$', 'in a DO block' ],
	[ 'WITH w AS (INSERT INTO written VALUES (1) RETURNING a) SELECT rotate_now(\'prod/app\') FROM w', 'in the same statement' ])
{
	my ($sql, $name) = @$case;
	$before = $t->unchanged('app', 'prod/app');
	$t->error_is(sprintf($sql, "SELECT rotate_now('prod/app')"), {
			sqlstate => '25001',
			message => 'cannot execute rotate_now() in a transaction that has already written',
			detail => 'The rotation runs in a transaction of its own, which could wait for this one.',
			hint => 'Commit first, and call it in a transaction by itself.'
		}, "refused where $name");
	is($t->unchanged('app', 'prod/app'), $before, 'and nothing has changed');
}

# One that is read-only, as for ALTER ROLE
$before = $t->unchanged('app', 'prod/app');
$emulator->clear_log;
foreach my $call ("rotate_now('prod/app')", "rotate_abandon('prod/app')", "rotate_rollback('prod/app')",
	q{rotate_event('{"Step": "setSecret", "SecretId": "prod/app"}')},
	"rotate_register('prod/x')", "rotate_unregister('prod/app')", "rotate_enable('prod/app')")
{
	my ($function) = $call =~ /^(\w+)/;
	foreach my $begin ('BEGIN READ ONLY', 'SET default_transaction_read_only = on')
	{
		$t->error_is("$begin; SELECT $call",
			{ sqlstate => '25006', message => "cannot execute $function() in a read-only transaction" }, "$begin; $call");
	}
}
is($emulator->log->{count}, 0, 'refused before anything is asked for');
is($t->unchanged('app', 'prod/app'), $before, 'and nothing has changed');
is($t->sql("BEGIN READ ONLY; SELECT outcome FROM rotate_now('prod/app', dry_run => true)"), 'would PROVE_LOGIN(AWSCURRENT)',
	'what only looks may be called there');
is($t->sql('BEGIN READ ONLY; SELECT region FROM rotate_credentials()'), 'eu-central-1', 'rotate_credentials(), too');
is($t->sql('BEGIN READ ONLY; SELECT count(*) FROM rotate_status'), '2', 'and so may rotate_status');

my $rotate = "SELECT outcome FROM rotate_now('prod/app')";
$t->sql("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS \$\$ $rotate \$\$");
foreach my $case (
	[ "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM written; $rotate; COMMIT", 'a serializable transaction' ],
	[ "BEGIN ISOLATION LEVEL SERIALIZABLE DEFERRABLE; $rotate; COMMIT", 'a deferrable one' ],
	[ 'SELECT f()', 'a function' ],
	[ "DO \$\$ BEGIN PERFORM f(); EXCEPTION WHEN division_by_zero THEN NULL; END \$\$; SELECT 'rotated'", 'a DO block with an exception handler' ],
	[ "BEGIN; SAVEPOINT s; $rotate; ROLLBACK TO s; COMMIT", 'a savepoint, rolled back' ],
	[ "BEGIN; $rotate; ROLLBACK", 'a transaction, rolled back' ],
	[ "BEGIN; DECLARE c CURSOR FOR $rotate; FETCH c; CLOSE c; COMMIT", 'a cursor' ],
	[ "BEGIN; DECLARE c CURSOR FOR SELECT rotate_now('prod/app') FROM generate_series(1, 9); FETCH c; CLOSE c; COMMIT; SELECT 'rotated'", 'a cursor that is not read to its end' ],
	[ "PREPARE p AS SELECT outcome FROM rotate_now(\$1); EXECUTE p('prod/app')", 'a prepared statement' ])
{
	my ($sql, $name) = @$case;
	my $current = $t->labels('prod/app')->{AWSCURRENT};
	my $out = eval { $t->sql($sql) } || $@;
	like($out, qr/^rotated$/m, "$name can call rotate_now()");
	isnt($t->labels('prod/app')->{AWSCURRENT}, $current, 'which rotates, whatever becomes of the transaction');
	ok($t->can_login('app', $t->password('prod/app')), 'to a password that logs in');
}

# Several in one statement
my $runs = scalar(@{ [ $t->history('prod/app') ] });
is($t->sql("SELECT string_agg((rotate_now(s)).outcome, ',') FROM unnest(ARRAY['prod/app', 'prod/busy', 'prod/app']) s"),
	'rotated,rotated,rotated', 'several rotations in one statement succeed');
is(scalar(@{ [ $t->history('prod/app') ] }) - $runs, 2, 'with a run for each');
ok($t->can_login($_, $t->password("prod/$_")), "and $_ can log in") foreach 'app', 'busy';

# An error in a block that catches it leaves a session that can go on.
is($t->sql(<<'END'), "secret \"prod/nothing\" is not registered\nrotated", 'an error that is caught does no harm');
CREATE FUNCTION try(s text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT outcome FROM rotate_now(s));
EXCEPTION WHEN undefined_object THEN
	RETURN SQLERRM;
END $$;
GRANT EXECUTE ON FUNCTION rotate_now TO busy;
SET ROLE busy;
SELECT try('prod/nothing');
SELECT try('prod/app');
END

# Single-user mode has no slots at all.
$t->stop;
my ($out, $err) = ('', '');
IPC::Run::run([ $t->node->installed_command('postgres'), '--single', '-D', $t->node->data_dir, 'postgres' ],
	'<', \"SELECT rotate_now('prod/app')\n", '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
like($err, qr/ERROR:  could not start a rotation worker: the server runs in single-user mode/, 'single-user mode is told at once');

done_testing();
