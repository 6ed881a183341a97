# 045_ddl.pl
#	  The extension's own surroundings: several databases, a schema with a quoted
#	  name, and DDL on all of it while a rotation is under way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new(conf => 'restart_after_crash = off');
my $emulator = $t->emulator;
my $SCHEMA = '"Rotate %s; of"';

$t->sql('CREATE DATABASE other');
$t->sql("CREATE SCHEMA $SCHEMA; CREATE EXTENSION rotate_ext SCHEMA $SCHEMA", database => 'other');
$t->add('app');
$t->sql("SELECT $SCHEMA.rotate_register('prod/app')", database => 'other');

my $row = $t->row("SELECT * FROM $SCHEMA.rotate_now('prod/app')", database => 'other');
is($row->{outcome}, 'rotated', 'the extension works in a schema whose name must be quoted');
is($t->sql("SELECT state FROM $SCHEMA.rotate_status", database => 'other'), 'ok', 'its views too');
$t->error_is("SELECT $SCHEMA.rotate_unregister('prod/nothing')", { sqlstate => '42704' }, 'and its errors', database => 'other');

# pause(DATABASE, SCHEMA): a rotation that stands still between the new
# password and the move of the label.
sub pause
{
	my ($database, $schema, $operation) = @_;
	my $rule = $emulator->fault(action => 'pause', operation => $operation || 'UpdateSecretVersionStage');
	my $call = $t->start_sql("SELECT outcome FROM $schema.rotate_now('prod/app')", database => $database);

	$emulator->wait_for_fault($rule) or die 'no call came';
	return ($call, $rule);
}

sub consistent
{
	my $name = shift;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'", '0'), "$name: the worker ends");
	ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
	return;
}

# The same secret, registered in two databases: the turn is the cluster's.
$t->sql("SELECT rotate_register('prod/app')");
my ($call, $rule) = pause('other', $SCHEMA);
is($t->sql("SELECT state FROM rotate_status"), 'running', 'a rotation in one database is seen in another');
$t->set('rotate_ext.start_timeout' => '300');
$t->error_is("SELECT rotate_now('prod/app')",
	{ sqlstate => '55P03', message => 'could not begin: another rotation of secret "prod/app" is under way' },
	'and waited for there');
$t->set('rotate_ext.start_timeout' => undef);
my $waiting = $t->start_sql("SELECT outcome FROM rotate_now('prod/app')");
$emulator->release($rule);
is($call->finish->{stdout}, 'rotated', 'it ends');
is($waiting->finish->{stdout}, 'rotated', 'and the other database has its turn, knowing the password by AWSCURRENT');
consistent('two databases');

# In a database with a setting of long ago, and with everything for everybody
$t->sql('CREATE DATABASE odd');
# from 19 it can't be turned off
$t->sql('ALTER DATABASE odd SET standard_conforming_strings = off') if $t->sql('SHOW server_version_num') < 190000;
$t->sql("ALTER DEFAULT PRIVILEGES GRANT ALL ON $_ TO PUBLIC", database => 'odd') foreach qw(TABLES SEQUENCES FUNCTIONS);
my ($status, $out, $err) = $t->psql('CREATE EXTENSION rotate_ext', database => 'odd');
is("$status$err", '0', 'CREATE EXTENSION with standard_conforming_strings = off');
my $defaults = "SET standard_conforming_strings = on; SELECT pg_get_function_arguments('rotate_register'::regproc)";
is($t->sql($defaults, database => 'odd'), $t->sql($defaults), 'makes the functions as elsewhere');
is($t->sql("SELECT count(*) FROM (SELECT relacl FROM pg_class WHERE relname ~ '^rotate_' UNION ALL "
		. "SELECT proacl FROM pg_proc WHERE proname ~ '^rotate_') o (acl), aclexplode(acl) a WHERE a.grantee = 0", database => 'odd'),
	'0', 'and default privileges grant nothing to PUBLIC');
$t->add('odd');
$t->sql("SELECT rotate_register('prod/odd')", database => 'odd');
is($t->sql("SELECT outcome FROM rotate_now('prod/odd')", database => 'odd'), 'rotated', 'a secret rotates there');
unlike($t->server_log, qr/nonstandard use/, 'none of our statements depends on that setting');

# Its schema
($call, $rule) = pause('other', $SCHEMA);
$t->error_is('ALTER EXTENSION rotate_ext SET SCHEMA public', { sqlstate => '0A000' },
	'ALTER EXTENSION SET SCHEMA is not supported', database => 'other');
$t->sql("ALTER SCHEMA $SCHEMA RENAME TO elsewhere", database => 'other');
$emulator->release($rule);
is($call->finish->{stdout}, 'rotated', 'a schema that is renamed under way is no matter');
consistent('a renamed schema');
is($t->sql("SELECT outcome FROM elsewhere.rotate_now('prod/app')", database => 'other'), 'rotated', 'and it works there');

# DROP EXTENSION, before the password is changed and after
foreach my $operation ('PutSecretValue', 'UpdateSecretVersionStage')
{
	my ($call, $rule) = pause('other', 'elsewhere', $operation);
	$t->sql('SET statement_timeout = 10000; DROP EXTENSION rotate_ext', database => 'other');
	$emulator->release($rule);
	my $result = $call->finish;
	if ($operation eq 'PutSecretValue')
	{
		is($result->{error}{sqlstate}, '42704', 'DROP EXTENSION before the password is changed is an error for the rotation');
		is($result->{error}{message}, 'could not find the extension "rotate_ext" in this database', 'that says so');
	}
	else
	{
		is($result->{stdout}, 'rotated', 'DROP EXTENSION while the label is moved does not make the rotation a failure');
		like($result->{stderr}, qr/WARNING:.*the outcome of this run could not be recorded in rotate_history/, 'but it is told');
	}
	consistent("DROP EXTENSION at $operation");
	$t->sql("CREATE EXTENSION rotate_ext SCHEMA elsewhere; SELECT elsewhere.rotate_register('prod/app')", database => 'other');
	like($t->sql("SELECT outcome FROM elsewhere.rotate_now('prod/app')", database => 'other'), qr/^(rotated|completed)$/,
		'created again, it goes on');
	consistent('the next run');
}

# REINDEX while the password is set: neither has what the other one waits for.
($call, $rule) = pause('other', 'elsewhere', 'PutSecretValue');
my $waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = ''Lock'' AND";
my $role = $t->start_sql("BEGIN; ALTER ROLE app VALID UNTIL 'infinity'; DO 'BEGIN WHILE NOT ($waits query LIKE ''REINDEX%'') LOOP "
	  . "PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); END LOOP; END'; COMMIT", app => 'role');
$t->wait_for("SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'role' AND query LIKE 'DO%'");
$emulator->release($rule);
$t->wait_for("$waits backend_type LIKE ''rotate_ext%''" =~ s/''/'/gr) or die 'the rotation does not wait';
is($t->sql_error('REINDEX TABLE elsewhere.rotate_run', database => 'other'), undef, 'REINDEX while a password is set');
is($role->finish->{status}, 0, 'ALTER ROLE too');
is($call->finish->{stdout}, 'rotated', 'and the rotation goes on');

# Made anew, before the password is changed and after: the numbers of its runs begin anew, too.
$t->add('second');
foreach my $operation ('PutSecretValue', 'UpdateSecretVersionStage')
{
	my $anew = 'DROP EXTENSION rotate_ext; CREATE EXTENSION rotate_ext SCHEMA elsewhere';
	my $history = 'SELECT run_id, secret, source, outcome, version_id, set_version_id FROM elsewhere.rotate_run ORDER BY run_id';

	$t->sql("$anew; SELECT elsewhere.rotate_register('prod/app')", database => 'other');
	my ($call, $rule) = pause('other', 'elsewhere', $operation);
	$t->sql("$anew; SELECT elsewhere.rotate_register('prod/second')", database => 'other');
	$emulator->fault(action => 'access_denied', operation => 'DescribeSecret');
	$t->sql_error("SELECT elsewhere.rotate_now('prod/second')", database => 'other');
	my $before = $t->sql($history, database => 'other');
	$emulator->release($rule);
	is($call->finish->{error}{message}, $operation eq 'PutSecretValue' ? 'could not find the extension "rotate_ext" in this database' : undef,
		"DROP and CREATE EXTENSION at $operation");
	is($t->sql($history, database => 'other'), $before, 'a run of the old one writes into no row of another');
	consistent("DROP and CREATE EXTENSION at $operation");
	$t->sql("SELECT elsewhere.rotate_register('prod/app')", database => 'other');
	$t->sql("SELECT elsewhere.rotate_now('prod/app')", database => 'other');
	consistent('the next run');
}

# DROP DATABASE and rename wait for nobody; FORCE ends the worker.
($call, $rule) = pause('other', 'elsewhere', 'PutSecretValue');
$t->error_is('DROP DATABASE other', { sqlstate => '55006' }, 'DROP DATABASE is refused while a rotation is under way there');
$emulator->release($rule);
is($call->finish->{stdout}, 'rotated', 'which is not disturbed');

foreach my $operation ('PutSecretValue', 'UpdateSecretVersionStage')
{
	my ($call, $rule) = pause('other', 'elsewhere', $operation);
	my ($status, $out, $err) = $t->psql('SET statement_timeout = 20000; DROP DATABASE other WITH (FORCE)');
	$emulator->release($rule);
	$call->finish;
	is($status, 0, "DROP DATABASE WITH (FORCE) at $operation") or diag $err;
	ok($t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rotate_ext%'", '0'), 'ends the worker');
	like($t->sql("SELECT outcome FROM rotate_now('prod/app')"), qr/^(rotated|completed)$/, 'the other database can go on');
	consistent('after DROP DATABASE');
	$t->sql('CREATE DATABASE other') if $operation eq 'PutSecretValue';
	$t->sql("CREATE SCHEMA elsewhere; CREATE EXTENSION rotate_ext SCHEMA elsewhere; SELECT elsewhere.rotate_register('prod/app')",
		database => 'other') if $operation eq 'PutSecretValue';
}

# A lock that the caller itself holds: nobody could see that deadlock.
$t->set('rotate_ext.worker_timeout' => '1000');
$t->error_is("BEGIN; LOCK TABLE rotate_run; SELECT rotate_now('prod/app')",
	{ sqlstate => '57014', message => 'the run took longer than rotate_ext.worker_timeout (1000 ms)' },
	'a lock of the caller\'s own that is in the way ends the run');
$t->set('rotate_ext.worker_timeout' => undef);
consistent('a lock of the caller\'s own');

# The role itself
($call, $rule) = pause('postgres', 'public', 'PutSecretValue');
$t->sql('ALTER ROLE app RENAME TO app2');
$emulator->release($rule);
my $error = $call->finish->{error};
is($error->{message}, 'could not rotate secret "prod/app": role "app" is now called "app2"', 'a role that is renamed meanwhile is seen');
$t->sql('ALTER ROLE app2 RENAME TO app');
consistent('a renamed role');
is($t->sql("SELECT outcome FROM rotate_now('prod/app')"), 'completed', 'with its name back it is rotated');

($call, $rule) = pause('postgres', 'public', 'PutSecretValue');
$t->sql('DROP ROLE app');
$emulator->release($rule);
is($call->finish->{error}{message}, 'could not rotate secret "prod/app": role "app" does not exist', 'and one that is dropped');

unlike($t->server_log, qr/terminated by signal|PANIC/, 'the server never crashed');
$t->stop;
done_testing();
