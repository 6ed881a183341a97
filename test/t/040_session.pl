# 040_session.pl
#	  The worker's session: what the database's owner, or ALTER ROLE, sets for
#	  every session must have no say in a rotation, nor what the owner puts in the
#	  place of the extension's tables.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new(create_extension => 0);

# The owner is no superuser, and may create objects wherever the names of the
# extension's own objects could be looked for.
$t->sql('CREATE ROLE owner LOGIN');
$t->sql('CREATE DATABASE shop OWNER owner');
$t->sql('CREATE EXTENSION rotate_ext SCHEMA public', database => 'shop');
$t->sql('GRANT CREATE ON SCHEMA public TO owner', database => 'shop');

my $hijack = '';
foreach my $schema ('hijack', 'public')
{
	$hijack .= <<"END";
CREATE FUNCTION $schema.raise() RETURNS text LANGUAGE plpgsql AS
	\$\$ BEGIN RAISE EXCEPTION 'hijacked'; END \$\$;
CREATE FUNCTION $schema.now() RETURNS timestamptz LANGUAGE sql AS \$\$ SELECT $schema.raise()::timestamptz \$\$;
CREATE FUNCTION $schema.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS \$\$ SELECT $schema.raise()::timestamptz \$\$;
CREATE FUNCTION $schema.pg_backend_pid() RETURNS int LANGUAGE sql AS \$\$ SELECT $schema.raise()::int \$\$;
CREATE FUNCTION $schema.quote_ident(text) RETURNS text LANGUAGE sql AS \$\$ SELECT $schema.raise() \$\$;
CREATE FUNCTION $schema.quote_ident(name) RETURNS text LANGUAGE sql AS \$\$ SELECT $schema.raise() \$\$;
CREATE FUNCTION $schema.count() RETURNS bigint LANGUAGE sql AS \$\$ SELECT $schema.raise()::bigint \$\$;
CREATE FUNCTION $schema.never(text, text) RETURNS boolean LANGUAGE sql AS \$\$ SELECT $schema.raise()::boolean \$\$;
CREATE FUNCTION $schema.never(oid, oid) RETURNS boolean LANGUAGE sql AS \$\$ SELECT $schema.raise()::boolean \$\$;
CREATE FUNCTION $schema.never(bigint, bigint) RETURNS boolean LANGUAGE sql AS \$\$ SELECT $schema.raise()::boolean \$\$;
CREATE FUNCTION $schema.never(bytea, bytea) RETURNS boolean LANGUAGE sql AS \$\$ SELECT $schema.raise()::boolean \$\$;
CREATE OPERATOR $schema.= (FUNCTION = $schema.never, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR $schema.= (FUNCTION = $schema.never, LEFTARG = oid, RIGHTARG = oid);
CREATE OPERATOR $schema.= (FUNCTION = $schema.never, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR $schema.= (FUNCTION = $schema.never, LEFTARG = bytea, RIGHTARG = bytea);
CREATE TABLE $schema.pg_extension (extname name, extnamespace oid);
CREATE TABLE $schema.pg_authid (oid oid, rolname name, rolpassword text);
END
}
$t->sql("CREATE SCHEMA hijack; $hijack
CREATE TABLE hijack.rotate_registration (secret text);
CREATE TABLE hijack.rotate_run (run_id bigint);", database => 'shop', user => 'owner');

my $password = $t->add('app', json => { dbname => 'shop' });
$t->create_role('other', 'no matter');

my $version = int($t->sql('SHOW server_version_num') / 10000);

# The test's own sessions are the server's defaults; the worker's are not.
sub plain
{
	my ($sql, %options) = @_;
	local $ENV{PGOPTIONS} = '-c role=none -c search_path=public -c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0'
	  . ' -c default_transaction_read_only=off -c default_transaction_isolation=read\ committed'
	  . ' -c session_preload_libraries= -c session_authorization=postgres -c client_encoding=UTF8 -c exit_on_error=off'
	  . ($version >= 17 ? ' -c transaction_timeout=0' : '');
	return $t->sql($sql, database => 'shop', %options);
}

# rotates(NAME): a rotation in the database as it is set up now.
sub rotates
{
	my $name = shift;
	my $before = $t->password('prod/app');
	my $outcome = eval { plain("SELECT outcome FROM public.rotate_now('prod/app')"); };

	$outcome = $@ unless defined $outcome;
	plain('ALTER DATABASE shop RESET ALL; ALTER ROLE postgres RESET ALL; ALTER ROLE ALL RESET ALL; '
		  . 'ALTER ROLE postgres IN DATABASE shop RESET ALL');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	subtest $name => sub {
		is($outcome, 'rotated', 'rotates');
		like($t->verifier_of('app'), qr/^SCRAM-SHA-256\$4096 /, 'the verifier is one of the server-wide kind');
		ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
		ok(!$t->can_login('app', $before), 'what was AWSCURRENT does not');
	};
	return;
}

plain("SELECT rotate_register('prod/app')");
rotates('nothing set');

# By the owner: no superuser is needed for these.
my %by_owner = (
	'role' => 'owner',
	'session_authorization' => 'owner',
	'search_path' => 'hijack, public, pg_catalog',
	'password_encryption' => 'md5',
	'default_transaction_read_only' => 'on',
	'default_transaction_isolation' => 'serializable',
	'default_transaction_deferrable' => 'on',
	'synchronous_commit' => 'off',
	'lock_timeout' => '1',
	'idle_in_transaction_session_timeout' => '1',
	'statement_timeout' => '200',
	'idle_session_timeout' => '200',
	'row_security' => 'off',
	'application_name' => 'rotate_ext 00000000000000000000000000000000',
	'client_min_messages' => 'error',
	'client_encoding' => 'LATIN1',
	'DateStyle' => 'German',
	'IntervalStyle' => 'sql_standard',
	'TimeZone' => 'Pacific/Chatham',
	'bytea_output' => 'escape',
	'standard_conforming_strings' => 'off',
	'quote_all_identifiers' => 'on',
	'transform_null_equals' => 'on',
	'default_table_access_method' => 'heap',
	'plan_cache_mode' => 'force_generic_plan',
	'enable_indexscan' => 'off',
	'jit_above_cost' => '0',
	'exit_on_error' => 'on',
	'work_mem' => '64kB');
$by_owner{$version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode'} = 'on';
$by_owner{scram_iterations} = '1' if $version >= 16;
$by_owner{transaction_timeout} = '200' if $version >= 17;
delete $by_owner{standard_conforming_strings} if $version >= 19; # which is always on

sub set_by_owner
{
	my $name = shift;
	my $value = $by_owner{$name};

	$value = RotateTest::literal($value) unless $name eq 'search_path';
	local $ENV{PGOPTIONS} = '-c statement_timeout=0 -c default_transaction_read_only=off'
	  . ' -c session_authorization=owner -c role=none';
	$t->sql("ALTER DATABASE shop SET $name = $value", database => 'postgres', user => 'owner');
	return;
}

foreach my $name (sort keys %by_owner)
{
	set_by_owner($name);
	rotates("the database's owner sets $name = $by_owner{$name}");
}

set_by_owner($_) foreach sort keys %by_owner;
rotates('the owner sets all of these');

# An error must not end the worker before it has put everything back.
set_by_owner('exit_on_error');
my $verifier = $t->verifier_of('app');
$t->emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage');
is(eval { plain("SELECT outcome FROM public.rotate_now('prod/app')") }, undef, 'the owner sets exit_on_error, and a rotation fails');
is($t->verifier_of('app'), $verifier, 'the role has its password back');
is(plain('SELECT outcome FROM public.rotate_history ORDER BY run_id DESC LIMIT 1'), 'failed', 'and the run is on record');
plain('ALTER DATABASE shop RESET ALL');
is(plain("SELECT outcome FROM public.rotate_now('prod/app')"), 'completed', 'the next one goes on');

# By a superuser, without a thought of rotations.
foreach my $setting (
	[ session_replication_role => 'replica' ],
	[ zero_damaged_pages => 'on' ],
	[ log_statement => 'all' ],
	[ log_min_duration_statement => '0' ],
	[ log_parser_stats => 'on' ],
	[ debug_print_parse => 'on' ],
	[ deadlock_timeout => '1' ],
	[ track_activities => 'off' ],
	[ session_preload_libraries => 'passwordcheck' ],
	[ lc_messages => 'C' ])
{
	my ($name, $value) = @$setting;
	plain("ALTER DATABASE shop SET $name = '$value'");
	rotates("a superuser sets $name = $value for the database");
}

plain('ALTER ROLE postgres SET role = owner; ALTER ROLE postgres SET default_transaction_read_only = on; '
	  . 'ALTER ROLE postgres IN DATABASE shop SET password_encryption = md5');
rotates('ALTER ROLE SET for the bootstrap superuser');
plain('ALTER ROLE ALL SET search_path = hijack, pg_catalog; ALTER ROLE ALL SET password_encryption = md5; '
	  . 'ALTER ROLE ALL SET default_transaction_read_only = on');
rotates('ALTER ROLE ALL SET');

# What a database may not do without.
plain('ALTER DATABASE shop SET session_preload_libraries = passwordcheck');
$t->emulator->control('/settings', random_passwords => ['app-in-the-password-1']);
my $before = $t->unchanged('app', 'prod/app');
my $error = $t->sql_error("SELECT public.rotate_now('prod/app')", database => 'shop');
is($error->{message},
	'could not rotate secret "prod/app": the password of its AWSPENDING version was refused: password must not contain user name',
	'a checker of session_preload_libraries judges the password');
is($t->unchanged('app', 'prod/app') eq $before, '', 'which waits as AWSPENDING');
ok($t->can_login('app', $t->password('prod/app')), 'and AWSCURRENT still logs in');
plain("ALTER DATABASE shop RESET ALL; SELECT rotate_abandon('prod/app')");
rotates('after rotate_abandon()');

# Of the server itself, password_encryption counts.
$t->set_hba('host all all 127.0.0.1/32 md5');
$t->set(password_encryption => 'md5');
is(plain("SELECT outcome FROM rotate_now('prod/app')"), 'rotated', 'password_encryption = md5 of the server itself');
like($t->verifier_of('app'), qr/^md5/, 'is kept to');

# replaced(NAME, RELATION, CALL, BEFORE): the database's owner owns schema public, too: what is in it goes, and something
# else has its place, while a statement on the extension's tables already waits for the owner.
sub replaced
{
	my ($name, $relation, $call, $before) = @_;
	my %columns = map { $_ => [ $t->rows("SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute "
			  . "WHERE attrelid = 'public.$_'::regclass AND attnum > 0 ORDER BY attnum", database => 'shop') ] }
	  qw(rotate_run rotate_registration);
	my $table = $t->sql("SELECT 'public.$relation'::regclass::oid", database => 'shop');
	my $waiting = "SELECT count(*) > 0 FROM pg_locks WHERE relation = $table AND";
	my $objects = '';

	foreach my $object (sort keys %columns)
	{
		$objects .= "CREATE VIEW public.$object AS SELECT "
		  . join(', ', map { "public.run()::$_->{type} AS $_->{name}" } @{ $columns{$object} }) . ';';
	}
	my $begun = $before ? $before->() : undef;
	my $owner = $t->start_sql("BEGIN; DROP SCHEMA public CASCADE; CREATE SCHEMA public;
		CREATE FUNCTION public.run() RETURNS text LANGUAGE plpgsql AS
			'BEGIN RAISE EXCEPTION ''run as %'', current_user; END';
		$objects
		DO 'BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = $table AND NOT granted) LOOP
			PERFORM pg_sleep(0.01); END LOOP; END';
		COMMIT", database => 'shop', user => 'owner');
	$t->wait_for("$waiting granted AND mode = 'AccessExclusiveLock'") or die 'the owner does not hold the table';
	$begun = $call->($begun);
	is($owner->finish->{status}, 0, "$name: the database's owner replaces the extension's tables under it");
	is_deeply([ @{ $begun->finish->{error} }{qw(sqlstate message)} ],
		[ '42501', "could not use \"$relation\": it is not the extension's own table" ], 'which is seen, and nothing of it has run');
	$t->sql('DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner; '
		  . 'CREATE EXTENSION rotate_ext SCHEMA public', database => 'shop');
	plain("SELECT rotate_register('prod/app')");
	return;
}

my $rotate = "SELECT outcome FROM public.rotate_now('prod/app')";
my $rule;
replaced('a caller', 'rotate_registration', sub { $t->start_sql($rotate, database => 'shop') });
replaced('a worker', 'rotate_run', sub { $t->emulator->release($rule); return $_[0] }, sub {
	$rule = $t->emulator->fault(action => 'pause', operation => 'DescribeSecret');
	my $call = $t->start_sql($rotate, database => 'shop');
	$t->emulator->wait_for_fault($rule) or die 'no call came';
	return $call;
});
# Nor has one who was given the tables.
$t->sql('ALTER TABLE public.rotate_run OWNER TO owner', database => 'shop');
$t->sql("CREATE FUNCTION hijack.run() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''run''; END';
	CREATE TRIGGER run BEFORE INSERT ON public.rotate_run EXECUTE FUNCTION hijack.run()", database => 'shop', user => 'owner');
$t->error_is($rotate, { sqlstate => '42501', message => 'could not use table "rotate_run": its owner "owner" is not a superuser',
	hint => 'Let a superuser own it, with ALTER TABLE ... OWNER TO.' }, 'a table of the extension that was given to somebody', database => 'shop');
$t->sql('DROP TRIGGER run ON public.rotate_run; ALTER TABLE public.rotate_run OWNER TO postgres', database => 'shop');
is(plain($rotate), 'rotated', 'made anew, the extension rotates');

$t->stop;
done_testing();
