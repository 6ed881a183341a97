# 040_session.pl
#	  The worker's session: what the database's owner, or ALTER ROLE, sets for
#	  every session must have no say in a rotation.

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

# The test's own sessions are the server's defaults; the worker's are not.
sub plain
{
	my ($sql, %options) = @_;
	local $ENV{PGOPTIONS} = '-c role=none -c search_path=public -c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0'
	  . ' -c default_transaction_read_only=off -c default_transaction_isolation=read\ committed'
	  . ' -c session_preload_libraries= -c session_authorization=postgres -c client_encoding=UTF8';
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
	'work_mem' => '64kB');
my $version = int($t->sql('SHOW server_version_num') / 10000);
$by_owner{$version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode'} = 'on';
$by_owner{scram_iterations} = '1' if $version >= 16;
$by_owner{transaction_timeout} = '1' if $version >= 17;

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

$t->stop;
done_testing();
