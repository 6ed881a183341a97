# 075_lambda_secrets.pl
#	  RotationToken lets its bearer write the secret's value.  With the
#	  function's database role set up as docs/lambda.md says, it is in no log
#	  of a server that logs all it can, in no view, table or file, and in no
#	  line of the function's.  And that role can do nothing but rotate.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Leak;
use RotateTest::Service;
use Test::More;

my @libraries = qw(pg_stat_statements auto_explain rotate_ext);
chomp(my $pkglibdir = `pg_config --pkglibdir`);
my $has_audit = -e "$pkglibdir/pgaudit.so";
unshift @libraries, 'pgaudit' if $has_audit;

my %loud = (
	shared_preload_libraries => join(',', @libraries),
	dynamic_shared_memory_type => 'mmap',
	logging_collector => 'on',
	log_filename => 'server.log',
	log_rotation_size => 0,
	log_destination => 'stderr,csvlog,jsonlog',
	log_min_error_statement => 'debug5',
	log_error_verbosity => 'verbose',
	log_statement => 'all',
	log_min_duration_statement => 0,
	log_duration => 'on',
	log_parameter_max_length => -1,
	log_parameter_max_length_on_error => -1,
	debug_print_parse => 'on',
	debug_print_rewritten => 'on',
	debug_print_plan => 'on',
	track_activity_query_size => '64kB',
	track_functions => 'all',
	compute_query_id => 'on',
	'pg_stat_statements.track' => 'all',
	'auto_explain.log_min_duration' => 0,
	'auto_explain.log_nested_statements' => 'on',
	'auto_explain.log_verbose' => 'on',
	'auto_explain.log_analyze' => 'on',
	'auto_explain.log_settings' => 'on',
	$has_audit
	? ('pgaudit.log' => 'all', 'pgaudit.log_parameter' => 'on', 'pgaudit.log_client' => 'on')
	: ());

my $s = RotateTest::Service->new(conf => join("\n", map { "$_ = '$loud{$_}'" } sort keys %loud));
my $t = $s->{t};
my $emulator = $s->emulator;
my $data = $t->node->data_dir;
my $app = $s->add('app', timeout => 4);
$t->sql('CREATE EXTENSION pg_stat_statements');
# a server that starts with debug3 or more logs its environment
$t->set(log_min_messages => 'debug5');
$s->control('/settings', rotation_attempts => 2);

my $leak = RotateTest::Leak->new;
my $tokens = 0;

sub is_clean
{
	my ($name, @found) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(join("\n", @found), '', $name);
}

# look_for(TOKEN): every rotation has its own
sub look_for { my $token = shift; $leak->add('RotationToken ' . ++$tokens, $token); return $token; }

# start(APP, TOKEN): a rotation with a RotationToken that is known before: the
# service takes up the one that is not complete.
sub start
{
	my ($of, $token) = @_;

	$token //= look_for(RotateTest::random_password() . '-rotation-' . RotateTest::random_password());
	$s->control('/service-pending', secret => $of->{secret}, rotation_token => $token);
	$emulator->control('/secrets/update', secret => $of->{secret},
		attributes => { rotation_enabled => JSON::PP::true, rotation_lambda_arn => $of->{function_arn} });
	my $answer = $s->begin($of);
	die 'the rotation was not taken up' if ($answer->{message} // '') !~ /^A previous rotation isn't complete/;
	return $token;
}

sub finish { my $of = shift; my $rotation = $s->ended($of); $s->idle; return $rotation; }

sub views
{
	my $quiet = '-c log_min_messages=panic -c log_min_error_statement=panic';
	local $ENV{PGOPTIONS} = $quiet;
	return $t->sql(<<~'END');
		SELECT format('SELECT t::text FROM %s t', c.oid::regclass) FROM pg_class c
		WHERE c.relkind = 'v' AND (c.relname ~ '^pg_stat' OR c.relname IN ('pg_prepared_statements', 'pg_locks', 'pg_cursors'))
			OR c.relkind IN ('r', 'v') AND c.relname ~ '^rotate_'
		ORDER BY c.relname
		\gexec
		END
}

# The function's role as it should not be: what is searched for is found.
{
	my $canary = RotateTest::Leak->new;
	my $careless = $s->add('canary');
	my @kept = map { s/^rotate_lambda=//r } split /\n/,
		$t->sql(q{SELECT unnest(rolconfig) FROM pg_roles WHERE rolname = 'rotate_lambda'});

	$t->sql('ALTER ROLE rotate_lambda RESET ALL');
	my $rotation = $s->rotate($careless);
	is($rotation->{status}, 'succeeded', 'a rotation with a role that has no settings of its own') or BAIL_OUT($rotation->{reason});
	$canary->add('it', $rotation->{rotation_token});
	my @found = $canary->in_files($data);
	foreach my $where (qw(server.log server.csv server.json))
	{
		ok(scalar(grep { m{log/\Q$where\E$} } @found), "RotationToken is then in $where");
	}
	my $log = slurp_file("$data/log/server.log");
	my $token = quotemeta $rotation->{rotation_token};
	ok($log =~ /parameters: \$1 = '[^\n]*$token/, 'as a parameter of a statement');
	ok($log =~ /Output: [^\n]*rotate_event[^\n]*$token/, 'as a constant in a plan of auto_explain');
	ok($log =~ /AUDIT: [^\n]*$token/, 'in what pgaudit says') if $has_audit;
	ok(scalar(grep { /as bytes of a tree/ } @found), 'and in the plan that debug_print_plan prints');
	my @warned = grep { defined $_->{warning} } $s->log_lines($careless);
	is(scalar(@warned), 4, 'and the function\'s log has a warning each time');
	like($warned[0]{warning}, qr/^the RotationToken of this event could be logged .*HINT: Use ALTER ROLE rotate_lambda SET /, 'with what to do');
	is_clean('but not the token', map { $canary->in_text($_->{line}, 'the function\'s log') }
		@{ $s->control('/functions/output', function => $careless->{function})->{lines} });

	# one after the other, by what the warnings say
	my %advised;
	while (keys %advised < 10)
	{
		$s->rotate($careless);
		my ($line) = reverse $s->log_lines($careless);
		last unless defined $line->{warning};
		my ($advice) = $line->{warning} =~ /\(HINT: Use (ALTER ROLE .*)\.\)$/;
		last if $advised{$advice}++;
		$t->sql($advice);
	}
	cmp_ok(scalar(keys %advised), '>=', 3, 'following the warnings ends them');
	my @advised = grep { !/idle_session_timeout/ } split /\n/,
		$t->sql(q{SELECT unnest(rolconfig) FROM pg_roles WHERE rolname = 'rotate_lambda' ORDER BY 1});
	is_deeply([ sort @advised ], [ sort grep { !/idle_session_timeout/ } @kept ], 'with the settings that the documentation names');
	$t->sql("ALTER ROLE rotate_lambda SET $_") foreach map { s/=(.*)/ = '$1'/r } @kept;
}

# With the role as it should be.
my ($rotation, $token);
foreach my $operation (qw(PutSecretValue UpdateSecretVersionStage))
{
	my $held = $emulator->fault(action => 'pause', operation => $operation);
	$token = start($app);
	$emulator->wait_for_fault($held);
	is_clean("at $operation, no view and no table has it", $leak->in_text(views(), 'the views'));
	is_clean("at $operation, nor has a file", $leak->in_files($data));
	$emulator->release($held);
	$emulator->clear_faults;
	is(finish($app)->{status}, 'succeeded', 'and the rotation succeeds');
}
my ($last) = grep { $_->{operation} eq 'PutSecretValue' } reverse @{ $emulator->log->{entries} };
is($last->{parameters}{RotationToken}, $token, 'the token was in the event, and Secrets Manager got it');

sub goes_wrong
{
	my ($name, $reason, %options) = @_;
	my $id = $options{event} ? $s->invocation_fault(action => 'event', times => 0, function => $app->{function}, set => $options{event}) : undef;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my $token = start($app);
	my $ended = finish($app);
	like($ended->{reason}, $reason, $name);
	$s->control('/invocation-faults/clear', id => $id) if defined $id;
	$emulator->clear_faults;
	return;
}

# Events that are refused, with a token in them, or in the place of another member.
my $bad = look_for(RotateTest::random_password() x 10);
goes_wrong('a RotationToken that is too long', qr/22023: .*"RotationToken" has 320 characters/, event => { RotationToken => $bad });
goes_wrong('a step that is none', qr/Event\.Invalid|22023/, event => { Step => look_for(RotateTest::random_password()) });
goes_wrong('a secret that is not registered', qr/42704/, event => { SecretId => "$app->{arn}x" });
goes_wrong('a ClientRequestToken that no version has', qr/55000|42/, event => { ClientRequestToken => 'x' x 36 });
goes_wrong('a RotationToken that is not a string', qr/22023/, event => { RotationToken => [ look_for(RotateTest::random_password()) ] });

# Secrets Manager refuses, and quotes it.
foreach my $type (qw(ValidationException InvalidParameterException AccessDeniedException Unheard))
{
	my $quoted = look_for(RotateTest::random_password() . '-rotation-' . RotateTest::random_password());
	$emulator->fault(action => 'error', type => $type, operation => 'PutSecretValue', times => 0,
		message => "1 validation error detected: Value '$quoted' at 'rotationToken' failed to satisfy constraint");
	start($app, $quoted);
	like(finish($app)->{reason}, qr/could not put a new value/, "$type quotes it");
	$emulator->clear_faults;
}

# Cut off by the statement's timeout, by a kill of the session, of the function.
$emulator->fault(action => 'latency', operation => 'PutSecretValue', seconds => 3.5);
$token = start($app);
$rotation = finish($app);
is($rotation->{status}, 'succeeded', 'a rotation after one that was cut off') or diag($rotation->{reason});
is(($s->invocations($rotation))[0]{error_type}, '57014', 'by its statement timeout');
$emulator->clear_faults;
foreach my $how ('pg_cancel_backend', 'pg_terminate_backend')
{
	my $held = $emulator->fault(action => 'pause', operation => 'PutSecretValue');
	start($app);
	$emulator->wait_for_fault($held);
	$t->sql("SELECT $how(pid) FROM pg_stat_activity WHERE application_name = 'rotate_lambda'");
	$t->wait_for(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'rotate_lambda' AND state = 'active'});
	$emulator->release($held);
	$emulator->clear_faults;
	is(finish($app)->{status}, 'succeeded', "a rotation whose session meets $how");
}

# Once more with a new token, so that there is nothing left of the old ones by chance.
start($app);
is(finish($app)->{status}, 'succeeded', 'a last rotation');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

# The search.
cmp_ok($tokens, '>=', 15, 'there were many tokens');
is_clean('no view and no table has any', $leak->in_text(views(), 'the views'));
is_clean('no file of the data directory', $leak->in_files($data));
cmp_ok($leak->searched, '>', 20_000_000, 'in many bytes');
is_clean('no line of the function\'s log', map { $leak->in_text($_->{line}, 'the function\'s log') }
	@{ $s->control('/functions/output', function => $app->{function})->{lines} });
is_clean('no error that the service has seen', map { $leak->in_text($_->{error_message} // '', 'an error') }
	@{ $s->control('/invocations', function => $app->{function})->{invocations} });
my $log = slurp_file("$data/log/server.log");
ok($log =~ /execute <unnamed>: SELECT [^\n]*rotate_event\(\$1/, 'the server has logged the calls');
ok($log =~ /canceling statement due to statement timeout/, 'and the errors');
unlike(join("\n", map { $_->{line} } @{ $s->control('/functions/output', function => $app->{function})->{lines} }), qr/"warning"/,
	'rotate_event() has not warned');

# What the role may do, by trying it, with the very login of the function.
sub as_function
{
	my $sql = shift;
	my ($out, $err) = ('', '');
	local %ENV = (%ENV, PGHOST => '127.0.0.1', PGPORT => $t->port, PGDATABASE => 'postgres', PGUSER => 'rotate_lambda',
		PGPASSWORD => $s->{password}, PGSSLMODE => 'verify-full', PGSSLROOTCERT => $emulator->ca);

	IPC::Run::run([ $t->node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=sqlstate', '-c', $sql ], '<', \undef, '>', \$out, '2>', \$err);
	return $err =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5})/ ? $1 : $err eq '' ? 'done' : $err;
}

is(as_function('SELECT 1'), 'done', 'the function\'s login works');
my $functions = $t->sql(q{SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid WHERE e.extname = 'rotate_ext' AND has_function_privilege('rotate_lambda', p.oid, 'EXECUTE')});
is($functions =~ s/\s+$//r, 'rotate_event(jsonb)', 'of the extension\'s functions it may call one');
my $relations = $t->sql(q{SELECT count(*) FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid WHERE e.extname = 'rotate_ext' AND c.relkind IN ('r', 'v', 'S') AND CASE c.relkind
		WHEN 'S' THEN has_sequence_privilege('rotate_lambda', c.oid, 'SELECT, USAGE, UPDATE')
		ELSE has_table_privilege('rotate_lambda', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
			OR has_any_column_privilege('rotate_lambda', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END});
is($relations + 0, 0, 'of its tables and views it has nothing');

my $before = $t->unchanged('app', 'prod/app');
foreach my $sql (
	q{SELECT rotate_now('prod/app')}, q{SELECT rotate_now('prod/app', dry_run => true)}, q{SELECT rotate_register('prod/other')},
	q{SELECT rotate_unregister('prod/app')}, q{SELECT rotate_abandon('prod/app')}, q{SELECT rotate_enable('prod/app')},
	q{SELECT rotate_is_running('app'::regrole)},
	'SELECT * FROM rotate_registration', 'INSERT INTO rotate_run DEFAULT VALUES', 'DELETE FROM rotate_run', 'SELECT * FROM rotate_status',
	'SELECT * FROM rotate_history', q{ALTER ROLE app PASSWORD 'x'}, 'ALTER ROLE app NOLOGIN', 'CREATE ROLE more', 'SET ROLE app',
	'SET SESSION AUTHORIZATION app', 'GRANT app TO rotate_lambda', 'SELECT * FROM pg_authid', 'SELECT passwd FROM pg_shadow',
	'CREATE DATABASE more', 'CREATE SCHEMA more', 'CREATE TABLE public.more ()', 'CREATE EXTENSION dblink', 'DROP EXTENSION rotate_ext',
	q{ALTER SYSTEM SET rotate_ext.endpoint_url = 'http://127.0.0.1'}, 'SET log_parameter_max_length = -1',
	q{ALTER ROLE rotate_lambda SET log_parameter_max_length = -1}, q{COPY (SELECT 1) TO '/tmp/more'}, q{COPY (SELECT 1) TO PROGRAM 'true'},
	q{SELECT pg_read_file('postgresql.conf')}, q{SELECT lo_import('/etc/passwd')}, 'CREATE FUNCTION public.more() RETURNS int LANGUAGE sql RETURN 1',
	'CREATE OR REPLACE FUNCTION public.rotate_event(jsonb) RETURNS jsonb LANGUAGE sql RETURN $1', 'ALTER FUNCTION rotate_event(jsonb) OWNER TO rotate_lambda',
	'GRANT EXECUTE ON FUNCTION rotate_event(jsonb) TO public', 'CHECKPOINT', 'SELECT pg_reload_conf()', 'VACUUM rotate_run')
{
	# GRANT and VACUUM of what is not its own warn, and do nothing
	my $got = as_function($sql);
	ok($got eq '42501' || $got =~ /WARNING/, "it may not $sql") or diag($got);
}
foreach my $setting (qw(rotate_ext.region rotate_ext.endpoint_url rotate_ext.combine_steps rotate_ext.profile))
{
	like(as_function("SET $setting = 'on'"), qr/^(55P02|42501)$/, "it may not set $setting");
}
foreach my $sql (
	q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'checkpointer'},
	q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid()})
{
	like(as_function($sql), qr/^(42501|done|.*WARNING)/, 'other processes are not its own');
}
is(as_function(q{SELECT rotate_event('{"Step": "testSecret", "SecretId": "prod/other", "ClientRequestToken": "00000000-0000-0000-0000-000000000000"}')}),
	'42704', 'nor rotate a secret that is not registered');
is(as_function(q{SELECT rotate_event('{"Step": "setSecret", "SecretId": "prod/app", "ClientRequestToken": "00000000-0000-0000-0000-000000000000"}')}),
	'55000', 'nor one of which no rotation is under way');
is($t->unchanged('app', 'prod/app'), $before, 'and nothing has changed');
is($t->sql('SHOW log_parameter_max_length') =~ s/\s+$//r, '-1', 'the server was loud to the end');

$s->stop;
is_clean('after the end of the server, no file has a token', $leak->in_files($data));
done_testing();
