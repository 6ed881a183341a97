# 050_leak.pl
#	  No password, no AWS key and no session token is left anywhere it could be
#	  read: with everything logged that can be, after runs that succeed, after
#	  runs that fail at every stage, and while they are under way.
#
# That the search finds what is there is shown by canaries: a password that
# somebody gives in an ALTER ROLE, and a password in each encoding.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Leak qw(%encodings nasty_password);
use Test::More;

my $json = JSON::PP->new->allow_nonref;

# The searcher itself.

foreach my $encoding (sort keys %encodings)
{
	my $leak = RotateTest::Leak->new;
	my $secret = nasty_password();
	my ($head, $tail) = map { $encodings{$encoding}->($_) } substr($secret, 0, 16), substr($secret, -16);

	$leak->add('it', $secret);
	$leak->add('another', nasty_password()) for 1 .. 5;
	is(scalar($leak->in_bytes("\0\xff$head\xff", 'bytes')), 1, "the searcher finds the start of a password as $encoding");
	is(scalar($leak->in_bytes("\0\xff$tail\xff", 'bytes')), 1, 'and the end');
	is(scalar($leak->in_bytes(substr($head, 1) . ' ' . substr($tail, 1), 'bytes')), 0, 'and nothing where it is not');
}
{
	my $leak = RotateTest::Leak->new;
	my $secret = nasty_password();
	my %heads = map { $encodings{$_}->(substr $secret, 0, 16) => 1 } keys %encodings;

	is(scalar(keys %heads), scalar(keys %encodings), 'the encodings differ for the passwords used here');
	$leak->add('it', $secret);
	foreach my $before (0 .. 5)
	{
		my $text = encode_base64(('x' x $before) . RotateTest::Leak::utf8($secret) . 'more', '');
		is(scalar(grep { /base64 at/ } $leak->in_bytes($text, 'base64')), 2, "in base64, $before bytes from the start");
	}

	my $directory = PostgreSQL::Test::Utils::tempdir('searched');
	mkdir "$directory/below";
	open my $file, '>:raw', "$directory/below/file" or die $!;
	print $file 'x' x (4 * 1024 * 1024 - 7), RotateTest::Leak::utf8($secret), 'x' x 100;
	close $file;
	is(join(' and ', $leak->in_files($directory)),
		'the end of it, as plain text, in below/file and the start of it, as plain text, in below/file',
		'across the pieces that a file is read in');
}

# A server that logs all it can.

my @libraries = qw(pg_stat_statements auto_explain passwordcheck rotate_ext);
my $pkglibdir = `pg_config --pkglibdir`;
chomp $pkglibdir;
my $has_audit = -e "$pkglibdir/pgaudit.so";
unshift @libraries, 'pgaudit' if $has_audit;

my %loud = (
	shared_preload_libraries => join(',', @libraries),
	dynamic_shared_memory_type => 'mmap',
	autovacuum => 'off',
	logging_collector => 'on',
	log_filename => 'server.log',
	log_rotation_size => 0,
	log_destination => 'stderr,csvlog,jsonlog',
	log_min_messages => 'debug5',
	log_min_error_statement => 'debug5',
	log_error_verbosity => 'verbose',
	log_statement => 'all',
	log_min_duration_statement => 0,
	log_duration => 'on',
	log_connections => 'on',
	log_disconnections => 'on',
	log_replication_commands => 'on',
	log_lock_waits => 'on',
	log_temp_files => 0,
	log_parameter_max_length => -1,
	log_parameter_max_length_on_error => -1,
	debug_print_parse => 'on',
	debug_print_rewritten => 'on',
	debug_print_plan => 'on',
	track_activities => 'on',
	track_activity_query_size => '64kB',
	track_functions => 'all',
	compute_query_id => 'on',
	'pg_stat_statements.track' => 'all',
	'pg_stat_statements.track_utility' => 'on',
	'auto_explain.log_min_duration' => 0,
	'auto_explain.log_nested_statements' => 'on',
	'auto_explain.log_verbose' => 'on',
	'auto_explain.log_analyze' => 'on',
	'auto_explain.log_triggers' => 'on',
	'auto_explain.log_settings' => 'on');
if ($has_audit)
{
	%loud = (
		%loud,
		'pgaudit.log' => 'all',
		'pgaudit.log_catalog' => 'on',
		'pgaudit.log_client' => 'on',
		'pgaudit.log_level' => 'notice',
		'pgaudit.log_parameter' => 'on',
		'pgaudit.log_relation' => 'on',
		'pgaudit.log_rows' => 'on',
		'pgaudit.log_statement' => 'on');
}

# For what is the test's own doing, which must not stand in the log.
my $quiet = join ' ', map { "-c $_" } qw(log_min_messages=panic log_min_error_statement=panic log_statement=none
  log_duration=off log_min_duration_statement=-1 debug_print_parse=off debug_print_rewritten=off
  debug_print_plan=off track_activities=off pg_stat_statements.track=none auto_explain.log_min_duration=-1),
  $has_audit ? 'pgaudit.log=none' : ();

sub key { my $length = shift; return join '', map { ('a' .. 'z', 'A' .. 'Z', 0 .. 9, '+', '/')[ rand 64 ] } 1 .. $length; }

my $leak = RotateTest::Leak->new;
my $verifiers = RotateTest::Leak->new;
my %known; # every password, by itself

sub secret { my ($name, $text) = @_; $leak->add($name, $text); return $text; }

sub password
{
	my ($name, $middle) = @_;
	my $password = nasty_password($middle);
	$known{$password} = 1;
	return secret($name, $password);
}

# No form of a verifier may be seen where a pg_monitor can look.
$verifiers->add('a verifier', 'SCRAM-SHA-256$4096:');

my $emulator = RotateTest::Emulator->new(region => $RotateTest::REGION);
my %key = (
	access_key_id => 'ASIALEAKTEST' . uc(key(8) =~ tr{+/}{ab}r),
	secret_access_key => secret('the secret access key', key(40)),
	session_token => secret('the session token', key(700) . '=='));
$emulator->control('/keys', %key);

my $aws = PostgreSQL::Test::Utils::tempdir('aws');
my $t = RotateTest->new(
	emulator => $emulator,
	start => 0,
	hba => ['host all plain 127.0.0.1/32 password'],
	conf => join("\n", map { "$_ = '$loud{$_}'" } sort keys %loud),
	env => {
		AWS_ACCESS_KEY_ID => $key{access_key_id},
		AWS_SECRET_ACCESS_KEY => $key{secret_access_key},
		AWS_SESSION_TOKEN => $key{session_token},
		AWS_SHARED_CREDENTIALS_FILE => "$aws/credentials"
	});
my $data = $t->node->data_dir;

# A postmaster that starts with debug3 or more logs its whole environment, the
# key in it, before any library of ours is there.  So it starts without.
$t->node->adjust_conf('postgresql.conf', 'log_min_messages', 'warning');
$t->start;

sub quietly
{
	my $what = shift;
	local $ENV{PGOPTIONS} = $quiet;
	return $what->();
}

sub quiet_sql { my $sql = shift; return quietly(sub { return $t->sql($sql); }); }

# As the DBA would do it, with all the server's loudness, and a client that
# wants to hear everything too.
my $told = '';

sub loud
{
	my $sql = shift;
	local $ENV{PGOPTIONS} = '-c client_min_messages=debug5';
	my ($status, $out, $err) = $t->psql($sql);
	$told .= "$out\n$err\n";
	return ($status, $out, $err);
}

# What Secrets Manager's next random passwords are.
sub hand_out { my @passwords = @_; $emulator->control('/settings', random_passwords => \@passwords); return; }

my $runs = 0;

sub next_passwords
{
	$runs++;
	hand_out(map { password("new password $runs.$_") } 1 .. 2);
	return;
}

sub succeeds
{
	my ($sql, $outcome, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	next_passwords();
	my ($status, $out, $err) = loud($sql);
	my $ok = ok($status == 0 && $out =~ $outcome, $name);
	diag(substr "status $status\n$out\n" . ($err =~ s/^.*(?:DEBUG|LOG|NOTICE): .*\n//mgr), 0, 4000) unless $ok;
	return;
}

sub fails
{
	my ($sql, $message, $name, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $fault;

	next_passwords() unless $options{same_passwords};
	$fault = $emulator->fault(times => 0, %{ $options{fault} }) if $options{fault};
	my ($status, $out, $err) = loud($sql);
	$emulator->control('/faults/clear', id => $fault) if defined $fault;
	my ($error) = $err =~ /^(?:psql:\S+: )?ERROR:\s+(.*)$/m;
	like($status == 0 ? "succeeded: $out" : $error, $message, $name);
	return;
}

# held(OPERATION, sub): a rotation is stopped where it calls this, and that is done.
sub held
{
	my ($operation, $what, %options) = @_;
	my $sql = $options{sql} // q{SELECT rotate_now('prod/shop')};
	local $ENV{PGOPTIONS} = '-c client_min_messages=debug5';

	next_passwords();
	my $fault = $emulator->fault(action => 'pause', operation => $operation);
	my $call = $t->start_sql($sql, app => 'the caller');
	$emulator->wait_for_fault($fault) or die "$operation was not called";
	$what->();
	$emulator->release($fault);
	my $result = $call->finish;
	$told .= "$result->{stdout}\n$result->{stderr}\n";
	return $result;
}

# What can be read while the server runs.

sub views
{
	my $user = shift;
	my $of_superuser = $user eq 'watcher' ? 'false' : 'true';
	my $dump = <<~"END";
		SELECT format('SELECT %L, t::text FROM %s t', c.oid::regclass, c.oid::regclass)
		FROM pg_class c
		WHERE has_table_privilege(c.oid, 'SELECT') AND (
			c.relkind = 'v' AND (c.relname ~ '^pg_stat'
				OR c.relname IN ('pg_settings', 'pg_locks', 'pg_cursors', 'pg_prepared_statements')
				OR $of_superuser AND c.relname IN ('pg_file_settings', 'pg_hba_file_rules', 'pg_shmem_allocations',
					'pg_backend_memory_contexts'))
			OR c.relkind IN ('r', 'v') AND c.relname ~ '^rotate_')
		ORDER BY c.relname
		\\gexec
		END
	local $ENV{PGOPTIONS} = $user eq 'watcher' ? '' : $quiet;
	return $t->sql($dump, $user eq 'watcher' ? (user => 'watcher') : ());
}

sub is_clean
{
	my ($name, @found) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(join("\n", @found), '', $name);
}

my %seen_by;

sub search_views
{
	my $when = shift;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $user (qw(superuser watcher))
	{
		my $text = views($user);
		$seen_by{$user} .= $text;
		is_clean("$when, no view that a $user reads has a secret", map { $_->in_text($text, 'the views') } $leak, $verifiers);
	}
	return;
}

sub search_files
{
	my $when = shift;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_clean("$when, no file of the data directory has a secret", $leak->in_files($data));
	is_clean('nor one but pg_authid and the WAL a verifier', $verifiers->in_files($data, qr{^\Q$data\E/(global|pg_wal)/}));
	return;
}

# Roles and secrets, unheard.

my $old = password('the first password');
quietly(
	sub {
		$t->sql('CREATE EXTENSION rotate_ext; CREATE EXTENSION pg_stat_statements');
		$t->add('shop_app', secret => 'prod/shop', password => $old);
		$t->add('plain', secret => 'prod/plain', password => password('the first password of plain'),
			json => { ssl => JSON::PP::false });
		$t->create_role('watcher', undef, 'LOGIN IN ROLE pg_monitor');
		$t->create_role('canary', undef, 'LOGIN');
		$t->sql(join ';', map { "ALTER ROLE watcher SET " . s/^-c //r } $quiet =~ /(-c \S+)/g);
		# a retry would only take time here
		$t->set('rotate_ext.max_attempts' => 1, 'rotate_ext.login_timeout' => '500ms',
			log_min_messages => $loud{log_min_messages});
	});

# pg_stat_activity, all the while.

sub watch
{
	my $user = shift;
	my $script = "SELECT a FROM pg_stat_activity a WHERE pid <> pg_backend_pid() \\watch 0.02\n";
	local %ENV = $t->node->_get_env;
	my %watch = (file => PostgreSQL::Test::Utils::tempdir('watch') . "/$user");

	PostgreSQL::Test::Utils::append_to_file("$watch{file}.sql", $script);

	@ENV{qw(PGHOST PGPORT PGDATABASE PGAPPNAME)} = ($t->node->host, $t->node->port, 'postgres', 'watch');
	$ENV{PGOPTIONS} = $quiet if $user ne 'watcher';
	$ENV{PGUSER} = 'watcher' if $user eq 'watcher';
	$watch{handle} = IPC::Run::start([ $t->node->installed_command('psql'), '-XAtq', '-f', "$watch{file}.sql" ],
		'<', \undef, '>', $watch{file}, '2>', "$watch{file}.err");
	return \%watch;
}

my %watches = map { $_ => watch($_) } qw(superuser watcher);
quietly(sub { $t->wait_for(q{SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'watch'}); })
  or die 'pg_stat_activity is not watched';

# The canary.

{
	my $canary = RotateTest::Leak->new;
	my $password = nasty_password();

	$canary->add('the canary', $password);
	loud('ALTER ROLE canary PASSWORD ' . RotateTest::literal($password) . ' \; SELECT pg_sleep(0.5)');
	my @found = $canary->in_files($data);
	ok(scalar(grep { m{start of .* SQL literal, in log/server\.log$} } @found),
		'a password in an ALTER ROLE is found in the log');
	ok(scalar(grep { m{in log/server\.csv$} } @found), 'in the log as CSV');
	ok(scalar(grep { m{in log/server\.json$} } @found), 'in the log as JSON');
	ok(scalar(grep { m{in pg_stat_tmp/pgss_query_texts\.stat$} } @found), 'in the texts of pg_stat_statements');
	ok(scalar($canary->in_text(views('superuser'), 'the views')), 'and in its view');
	foreach my $user (sort keys %watches)
	{
		ok(scalar($canary->in_file($watches{$user}{file})), "a $user sees it in pg_stat_activity");
	}
	$told = '';
}

# Runs that succeed.

succeeds(q{SELECT rotate_register('prod/shop', 'shop_app', exclude_characters => '')}, qr/shop/, 'a secret is registered');
succeeds(q{SELECT rotate_now('prod/shop', dry_run => true)}, qr/would/, 'a dry run');
succeeds(q{SELECT rotate_now('prod/shop')}, qr/rotated/, 'a rotation');
succeeds(q{SELECT rotate_now('prod/shop', force => true)}, qr/rotated/, 'a forced rotation');
succeeds(q{SELECT rotate_rollback('prod/shop')}, qr/rolled back/, 'a rollback');
succeeds(q{SELECT rotate_rollback('prod/shop')}, qr/rolled back/, 'and one of that');
succeeds(q{SELECT rotate_now('prod/plain')}, qr/rotated/, 'a rotation where the server asks for the password itself');

# Runs that are stopped on their way, with all that they hold.

foreach my $operation (qw(GetSecretValue PutSecretValue UpdateSecretVersionStage))
{
	my $result = held(
		$operation,
		sub {
			search_views("at $operation");
			search_files("at $operation");
			cmp_ok(scalar(glob("$data/pg_dynshmem/mmap.*") // ''), 'ne', '', 'shared memory among them');
		});
	ok(!defined $result->{error}, 'and the rotation goes on');
}

# Runs that fail, stage by stage.

my $rotate = q{SELECT rotate_now('prod/shop')};

fails($rotate, qr/could not describe secret/, 'DescribeSecret is denied',
	fault => { action => 'access_denied', operation => 'DescribeSecret' });
fails($rotate, qr/could not describe secret/, 'the service is out of order',
	fault => { action => 'error', status => 500, operation => 'DescribeSecret' });
fails($rotate, qr/could not get a value/, 'the KMS key is denied',
	fault => { action => 'kms_denied', operation => 'GetSecretValue' });
fails($rotate, qr/could not get a value/, 'the answer with the password ends early',
	fault => { action => 'truncate', bytes => 330, operation => 'GetSecretValue' });
fails($rotate, qr/could not get a value/, 'the answer with the password lacks a field',
	fault => { action => 'replace', unset => ['VersionId'], operation => 'GetSecretValue' });
fails($rotate, qr/could not get a value/, 'the answer with the password has a field of the wrong type',
	fault => { action => 'replace', set => { ARN => 5 }, operation => 'GetSecretValue' });
fails($rotate, qr/could not get a value/, 'the answer with the password is too large',
	fault => { action => 'huge', operation => 'GetSecretValue' });
fails($rotate, qr/could not get a random password/, 'GetRandomPassword is denied',
	fault => { action => 'access_denied', operation => 'GetRandomPassword' });

hand_out('SCRAM-SHA-256$4096:' . password('a random password like a verifier'));
fails($rotate, qr/could not use the random password/, 'the random password can\'t be used', same_passwords => 1);

quiet_sql('ALTER ROLE shop_app CONNECTION LIMIT 0');
fails($rotate, qr/could not prove the login .* AWSCURRENT/, 'the first login fails');
quiet_sql('ALTER ROLE shop_app CONNECTION LIMIT -1');

fails($rotate, qr/could not put a new value/, 'PutSecretValue is denied',
	fault => { action => 'access_denied', operation => 'PutSecretValue' });
fails($rotate, qr/could not put a new value/, 'PutSecretValue gets no answer',
	fault => { action => 'cut', operation => 'PutSecretValue' });
foreach my $type (qw(ValidationException InvalidParameterException InternalServiceError Unheard))
{
	my $new = password("the password that $type quotes");
	my $status = $type eq 'InternalServiceError' ? 500 : 400;

	hand_out($new, password('the one after it'));
	fails($rotate, qr/could not put a new value/, "$type quotes the value",
		same_passwords => 1,
		fault => {
			action => 'error', type => $type, status => $status, operation => 'PutSecretValue',
			message => 'Value ' . $json->encode({ password => $new }) . " at 'secretString' failed: $new"
		});
}

hand_out(password('a password that passwordcheck refuses', 'shop_app'));
fails($rotate, qr/password must not contain user name/, 'a checker refuses the password', same_passwords => 1);
succeeds(q{SELECT rotate_abandon('prod/shop')}, qr/abandoned/, 'and it is abandoned');

my $result = held('PutSecretValue',
	sub { quietly(sub { $t->set_password('shop_app', password('set by somebody else')); }); });
ok(defined $result->{error}, 'the password is changed at the same time');
fails($rotate, qr/could not rotate/, 'and the role\'s password is in no version');
quietly(sub { $t->set_password('shop_app', $t->password('prod/shop')); });
succeeds($rotate, qr/completed/, 'until it is again');

$result = held('PutSecretValue', sub { quiet_sql('ALTER ROLE shop_app CONNECTION LIMIT 0'); });
like($result->{error}{message}, qr/could not prove the login .* AWSPENDING/, 'the second login fails');
quiet_sql('ALTER ROLE shop_app CONNECTION LIMIT -1');
succeeds($rotate, qr/completed/, 'and the next run completes it');

fails($rotate, qr/could not move a staging label/, 'the move is denied',
	fault => { action => 'access_denied', operation => 'UpdateSecretVersionStage' });
succeeds(q{SELECT rotate_now('prod/shop', dry_run => true)}, qr/would/, 'a dry run with a pending version');
succeeds($rotate, qr/completed/, 'and the next run completes it');
fails($rotate, qr/./, 'the move is not answered',
	fault => { action => 'cut', operation => 'UpdateSecretVersionStage' });
fails(q{SELECT rotate_abandon('prod/shop')}, qr/could not abandon/, 'and may not be abandoned');
succeeds($rotate, qr/completed/, 'but completed');

$result = held(
	'PutSecretValue',
	sub {
		quiet_sql(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
			WHERE backend_type = 'rotate_ext rotation worker'});
	});
ok(defined $result->{error}, 'the worker is terminated');
succeeds($rotate, qr/rotated|completed/, 'and the next run goes on');
$result = held('UpdateSecretVersionStage',
	sub { quiet_sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'the caller'}); });
ok(defined $result->{error}, 'the caller is cancelled');
quietly(sub { $t->wait_for(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'}); })
  or die 'the worker has not ended';

# Secrets that are none.

{
	my $login = sub {
		my %value = (%{ $t->secret_json('shop_app', 'unused') }, @_);
		return $json->encode(\%value);
	};
	my @bad = (
		[ 'not JSON' => sub { return substr $login->(password => $_[0]), 0, -1; } ],
		[ 'more than JSON' => sub { return $login->(password => $_[0]) . " $_[0]"; } ],
		[ 'nothing but the password' => sub { return $_[0]; } ],
		[ 'the password as JSON' => sub { return $json->encode($_[0]); } ],
		[ 'an array' => sub { return $json->encode([ $_[0] ]); } ],
		[ 'a password in an array' => sub { return $login->(password => [ $_[0] ]); } ],
		[ 'a password as a key' => sub { return $login->(password => { $_[0] => 1 }); } ],
		[ 'two passwords' => sub { return $login->(password => $_[0]) =~ s/\}$/, "password": "x"}/r; } ],
		[ 'a password as a key twice' => sub { my $key = $json->encode($_[0]); return "{$key: 1, $key: 2}"; } ],
		[ 'a password in a number\'s place' => sub { return $login->(password => 'x', port => $_[0]); } ],
		[ 'a password as engine' => sub { return $login->(password => 'x', engine => $_[0]); } ],
		[ 'a password as ssl' => sub { return $login->(password => 'x', ssl => $_[0]); } ],
		[ 'a password as username' => sub { return $login->(password => 'x', username => $_[0]); } ],
		[ 'a password with NUL' => sub { return $login->(password => "$_[0]\0$_[0]"); } ],
		[ 'a password like a verifier' => sub { return $login->(password => "SCRAM-SHA-256\$$_[0]"); } ]);

	foreach my $case (@bad)
	{
		my ($name, $make) = @$case;
		my $text = $make->(password("a password in a secret that is $name"));

		my $of = 'bad/' . ($name =~ s/\W/-/gr);
		$emulator->create_secret($of, $text);
		fails("SELECT rotate_register('$of')", qr/could not register/, "rotate_register() of $name");
		$emulator->add_version('prod/shop', $text, 'AWSPENDING');
		fails($rotate, qr/could not rotate/, "a pending version that is $name");
	}
	succeeds(q{SELECT rotate_now('prod/shop', dry_run => true)}, qr/problem of AWSPENDING/, 'a dry run says why');
	succeeds(q{SELECT rotate_abandon('prod/shop')}, qr/abandoned/, 'it is abandoned');

	my $binary = password('a password in a binary secret');
	$emulator->control('/versions', secret => 'prod/shop', stages => ['AWSPENDING'],
		binary => encode_base64(RotateTest::Leak::utf8($login->(password => $binary)), ''));
	fails($rotate, qr/could not rotate/, 'a pending version that is binary');
	succeeds(q{SELECT rotate_abandon('prod/shop')}, qr/abandoned/, 'it is abandoned too');
}

# AWS credentials that are none.

foreach my $type (qw(InvalidSignatureException SignatureDoesNotMatch InvalidClientTokenId IncompleteSignature Unheard))
{
	fails($rotate, qr/could not describe secret/, "$type quotes the session token",
		fault => {
			action => 'error', type => $type, operation => 'DescribeSecret',
			message => "The Canonical String was 'x-amz-security-token:$key{session_token}'"
		});
}
fails($rotate, qr/could not describe secret/, 'the session has expired',
	fault => { action => 'error', type => 'ExpiredTokenException', operation => 'DescribeSecret' });

sub credentials
{
	my $text = shift;
	open my $file, '>', "$aws/credentials" or die $!;
	print $file $text;
	close $file;
	return;
}

my $wrong = secret('a wrong secret access key', key(40));
my $profile = sub {
	my ($id, $secret, $token) = @_;
	return "[leak]\naws_access_key_id = $id\naws_secret_access_key = $secret\naws_session_token = $token\n";
};
quietly(sub { $t->set('rotate_ext.profile' => 'leak'); });
credentials($profile->(@key{qw(access_key_id secret_access_key session_token)}));
succeeds($rotate, qr/rotated|completed/, 'a rotation with credentials from a file');
credentials($profile->($key{access_key_id}, $wrong, $key{session_token}));
fails($rotate, qr/could not describe secret/, 'with the wrong key');
credentials($profile->(@key{qw(access_key_id secret_access_key)}, secret('a wrong session token', key(400))));
fails($rotate, qr/could not describe secret/, 'with the wrong session token');
credentials($profile->(@key{qw(access_key_id)}, "$wrong $wrong", $key{session_token}));
fails($rotate, qr/could not use the AWS credentials/, 'with a blank in the key');
credentials("[leak]\naws_access_key_id = $key{access_key_id}\n$key{secret_access_key}\n");
fails($rotate, qr/could not read file/, 'from a file that is not one of credentials');
credentials("[leak]\naws_secret_access_key = $key{secret_access_key}\n");
fails($rotate, qr/could not find AWS credentials/, 'without an ID');
credentials("[$key{secret_access_key}]\naws_access_key_id = $key{session_token}\n");
fails($rotate, qr/could not find AWS profile/, 'of another profile');
quietly(sub { $t->set('rotate_ext.profile' => undef); });

# Every password there was is one that is looked for.

{
	my @unknown;
	my $secrets = $emulator->control('/state')->{secrets};

	foreach my $secret (sort keys %$secrets)
	{
		foreach my $version (values %{ $secrets->{$secret}{versions} })
		{
			my $value = eval { $json->decode($version->{string} // '') };
			my $password = ref $value eq 'HASH' && !ref $value->{password} ? $value->{password} // 'x' : 'x';
			push @unknown, $secret if $password ne 'x' && !grep { index($password, $_) >= 0 } keys %known;
		}
	}
	is_clean('every password in Secrets Manager is one that is looked for', @unknown);
	cmp_ok(scalar(keys %known), '>', 80, 'and there were many');
}

# The search.

quiet_sql('ANALYZE rotate_registration, rotate_run');
search_views('at the end');
search_files('at the end');
cmp_ok($leak->searched, '>', 20_000_000, 'in many bytes of many files');
is_clean('no secret was told to a client', map { $_->in_text($told, 'its messages') } $leak, $verifiers);
like($told, qr/DEBUG:.*ERROR:/s, 'which heard everything');

quiet_sql(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'watch'});
foreach my $user (sort keys %watches)
{
	my $watch = $watches{$user};

	$watch->{handle}->finish;
	is_clean("no secret was ever in pg_stat_activity, for a $user",
		map { $_->in_file($watch->{file}) } $leak, $verifiers);
	my $text = PostgreSQL::Test::Utils::slurp_file($watch->{file});
	like($text, qr/"?rotation of a secret"?/, 'where the workers were seen');
	like($text, qr/rotate_ext [0-9a-f]{32}/, 'and the logins that they proved');
	like($seen_by{$user}, qr/rotation of a secret/, 'and in all the views');
}

my $log = PostgreSQL::Test::Utils::slurp_file("$data/log/server.log");
like($log, qr/could not put a new value into secret/, 'the log has the errors');
like($log, qr/DEBUG: .*registering background worker/, 'every small thing');
like($log, qr/parse tree/, 'the parse trees');
like($log, qr/Query Text: .*rotate_run/, 'the plans of auto_explain');
SKIP:
{
	skip 'pgaudit is not installed', 1 unless $has_audit;
	like($log, qr/AUDIT: .*ALTER ROLE,.*ALTER ROLE ""shop_app"" PASSWORD <redacted>/i, 'and what pgaudit says of the change');
}

$t->stop;
search_files('after the end of the server');
is_clean('nor has the postmaster\'s output', map { $_->in_file($t->node->logfile) } $leak, $verifiers);

done_testing();
