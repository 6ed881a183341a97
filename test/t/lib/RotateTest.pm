# RotateTest.pm
#	  What the TAP tests share: a server with the extension, the emulator of
#	  Secrets Manager, roles and secrets, and what came of them.
#
#	my $t = RotateTest->new;                      # server, emulator, extension
#	$t->add('app', secret => 'prod/app');         # role, and secret with its login
#	$t->sql("SELECT rotate_register('prod/app', 'app')");
#	my $row = $t->row("SELECT * FROM rotate_now('prod/app')");
#	ok($t->can_login('app', $t->password('prod/app')));
#
# Strings are characters, not bytes.  Passwords reach the server only as
# verifiers made here, so that a search for a leak finds the server's own.

package RotateTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(sha256 sha256_hex hmac_sha256);
use Encode qw(encode decode);
use File::Basename qw(dirname);
use IPC::Run ();
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotateTest::Emulator;
use Test::More;

our $REGION = 'eu-central-1';

# Of pg_authid: the kind of a role's verifier, and a hash of it instead of itself,
# since a test that fails prints what it has compared.
our $VERIFIER = q{coalesce(coalesce(substring(rolpassword FROM '^(md5|SCRAM-SHA-256[$][0-9]+)'), 'unknown') || ' ' || }
  . q{encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex'), '')};

# No library, and no psql, may find a developer's own settings.
delete @ENV{ grep { /^AWS_/ } keys %ENV };

my $json = JSON::PP->new->canonical->allow_nonref;

=pod

new(name, emulator, conf, hba, env, start, create_extension, init)

A running server with the extension created in database postgres, and an
emulator.  emulator: one that is shared with another server.  conf: lines for
postgresql.conf.  hba: lines that go before those of pg_hba.conf here, which
trust the socket and ask for scram-sha-256 over TCP.  env: what the postmaster
gets in its environment, undef to take a variable away.  init: options of the
node's init.

=cut

sub new
{
	my ($class, %options) = @_;
	my $emulator = $options{emulator} || RotateTest::Emulator->new(region => $REGION);
	my $node = PostgreSQL::Test::Cluster->new($options{name} || 'main');
	my $self = bless {
		node => $node,
		emulator => $emulator,
		env => {
			AWS_ACCESS_KEY_ID => $emulator->access_key_id,
			AWS_SECRET_ACCESS_KEY => $emulator->secret_access_key,
			AWS_EC2_METADATA_DISABLED => 'true',
			%{ $options{env} || {} }
		}
	}, $class;

	$node->init(%{ $options{init} || {} });
	$node->append_conf('postgresql.conf', join("\n",
		"listen_addresses = '127.0.0.1'",
		"rotate_ext.endpoint_url = '" . $emulator->endpoint_url . "'",
		"rotate_ext.ca_bundle = '" . $emulator->ca . "'",
		"rotate_ext.region = '$REGION'",
		$options{conf} || ''));
	$self->set_hba(@{ $options{hba} || [] }, 'host all all 127.0.0.1/32 scram-sha-256');
	if (!exists $options{start} || $options{start})
	{
		$self->start;
		$self->sql('CREATE EXTENSION rotate_ext')
		  if !exists $options{create_extension} || $options{create_extension};
	}
	return $self;
}

sub node { return $_[0]->{node}; }
sub emulator { return $_[0]->{emulator}; }
sub port { return $_[0]->{node}->port + 0; }

# Only the postmaster has the credentials: that nothing else needs them is
# part of what is tested.
sub _with_env
{
	my ($self, $what) = @_;
	local %ENV = %ENV;

	foreach my $name (keys %{ $self->{env} })
	{
		my $value = $self->{env}{$name};
		defined $value ? ($ENV{$name} = $value) : delete $ENV{$name};
	}
	return $what->();
}

# setenv(NAME => value, ...): for the next start or restart.
sub setenv
{
	my ($self, %env) = @_;
	$self->{env} = { %{ $self->{env} }, %env };
	return;
}

sub start
{
	my $self = shift;
	return $self->_with_env(sub { $self->{node}->start });
}

sub restart
{
	my $self = shift;
	return $self->_with_env(sub { $self->{node}->restart });
}

# set_hba(LINE...): pg_hba.conf, after a line that lets the tests in by the
# socket; call reload afterwards on a running server.
sub set_hba
{
	my ($self, @lines) = @_;
	my $path = $self->{node}->data_dir . '/pg_hba.conf';

	open my $file, '>', $path or die "could not write $path: $!";
	print $file join("\n", 'local all all trust', @lines), "\n";
	close $file;
	return;
}

# set(name => value, ...): settings in postgresql.conf, effective on return for
# new sessions and new workers.  undef takes one away.
sub set
{
	my ($self, %settings) = @_;

	foreach my $name (sort keys %settings)
	{
		my $value = $settings{$name};
		# adjust_conf changes what is there, and adds nothing
		$self->{node}->adjust_conf('postgresql.conf', $name, undef);
		if (defined $value)
		{
			$value =~ s/'/''/g;
			$self->{node}->append_conf('postgresql.conf', "$name = '$value'");
		}
	}
	$self->reload;
	return;
}

# Returns when the postmaster has read its files: a new session shows it.
sub reload
{
	my $self = shift;
	my $before = $self->sql('SELECT pg_conf_load_time()');

	$self->{node}->reload;
	$self->{node}->poll_query_until('postgres', "SELECT pg_conf_load_time() > '$before'")
	  or die 'could not reload the configuration';
	return;
}

sub literal
{
	my $text = shift;
	$text =~ s/'/''/g;
	return $text =~ /\\/ ? 'E\'' . ($text =~ s/\\/\\\\/gr) . '\'' : "'$text'";
}

sub identifier
{
	my $name = shift;
	$name =~ s/"/""/g;
	return "\"$name\"";
}

# psql(SQL, database, user, app): run it as a superuser by the socket.  Returns
# exit status, output and messages, in full (VERBOSITY=verbose).
sub psql
{
	my ($self, $sql, %options) = @_;
	my $call = $self->start_sql($sql, %options);
	my $result = $call->finish;
	return ($result->{status}, $result->{stdout}, $result->{stderr});
}

# start_sql(SQL, ...): the same without waiting; see RotateTest::Call below.
sub start_sql
{
	my ($self, $sql, %options) = @_;
	my $node = $self->{node};
	my $call = { stdout => '', stderr => '' };
	local %ENV = $node->_get_env;

	# From a file: IPC::Run feeds a string only while the test waits in it.
	open my $stdin, '+>', undef or die "could not create a temporary file: $!";
	print $stdin encode('UTF-8', $sql);
	seek $stdin, 0, 0;

	$ENV{PGHOST} = $node->host;
	$ENV{PGPORT} = $node->port;
	$ENV{PGDATABASE} = $options{database} || 'postgres';
	$ENV{PGUSER} = encode('UTF-8', $options{user}) if defined $options{user};
	$ENV{PGAPPNAME} = $options{app} if defined $options{app};
	$ENV{PGCLIENTENCODING} = 'UTF8';
	$call->{timer} = IPC::Run::timeout($options{timeout} || $PostgreSQL::Test::Utils::timeout_default);
	$call->{handle} = IPC::Run::start(
		[
			$node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose',
			'-f', '-'
		],
		'<', $stdin, '>', \$call->{stdout}, '2>', \$call->{stderr}, $call->{timer});
	return bless $call, 'RotateTest::Call';
}

# sql(SQL, ...): its output; dies where it fails.
sub sql
{
	my ($self, $sql, %options) = @_;
	my ($status, $out, $err) = $self->psql($sql, %options);

	die "could not run \"$sql\": $err" if $status != 0;
	return $out;
}

# rows(QUERY): a list of hashes; booleans and numbers as JSON::PP has them,
# everything else as text.
sub rows
{
	my ($self, $query, %options) = @_;
	$query =~ s/;\s*$//;
	my $rows = $self->sql("SELECT coalesce(json_agg(to_json(r)), '[]') FROM ($query) r", %options);
	return @{ $json->decode($rows) };
}

# row(QUERY): the only row.
sub row
{
	my ($self, $query, %options) = @_;
	my @rows = $self->rows($query, %options);

	die "one row was expected, not " . scalar(@rows) . ", from: $query" if @rows != 1;
	return $rows[0];
}

# sql_error(SQL, ...): the error as {sqlstate, message, detail, hint}, each ''
# where it is not there; undef where the SQL succeeded.
sub sql_error
{
	my ($self, $sql, %options) = @_;
	my ($status, $out, $err) = $self->psql($sql, %options);
	return $status == 0 ? undef : parse_error($err);
}

# The last error in psql's verbose messages.
sub parse_error
{
	my $text = shift;
	my %error = map { $_ => '' } qw(sqlstate message detail hint context);
	my $field;

	foreach my $line (split /\n/, $text)
	{
		if ($line =~ /^(?:psql:\S+: )?(?:psql: error: .*?)?(ERROR|FATAL|PANIC):\s+([0-9A-Z]{5}):\s(.*)$/)
		{
			%error = map { $_ => '' } keys %error;
			($error{sqlstate}, $error{message}, $field) = ($2, $3, 'message');
		}
		elsif ($line =~ /^(?:psql:\S+: )?(?:WARNING|NOTICE|INFO|LOG|DEBUG):/) { $field = undef; }
		elsif ($line =~ /^(DETAIL|HINT|CONTEXT):\s+(.*)$/ && defined $field)
		{
			$field = lc $1;
			$error{$field} = $2;
		}
		elsif ($line =~ /^(LINE \d+|QUERY|STATEMENT|LOCATION|SCHEMA NAME|TABLE NAME):/) { $field = undef; }
		elsif (defined $field) { $error{$field} .= "\n$line"; }
	}
	$error{message} = $text if $error{sqlstate} eq '';
	return \%error;
}

# error_is(SQL, {sqlstate, message, detail, hint}, NAME, ...): compares what is
# given by text, or by a pattern.
sub error_is
{
	my ($self, $sql, $expected, $name, %options) = @_;
	my $error = $self->sql_error($sql, %options);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$self->{last_error} = { %{ $error || {} } };
	if (!defined $error)
	{
		fail($name);
		diag("succeeded, and should not have: $sql");
		return 0;
	}
	foreach my $field (keys %$expected)
	{
		# What matches a pattern is shown as that pattern, the rest as it is.
		$error->{$field} = $expected->{$field}
		  if ref $expected->{$field} && $error->{$field} =~ $expected->{$field};
	}
	return is_deeply({ map { $_ => "$error->{$_}" } keys %$expected }, { map { $_ => "$expected->{$_}" } keys %$expected },
		$name);
}

# refused(SQL, {sqlstate, message, detail, hint}, NAME, role, secret, runs, ...):
# the error, and what it must leave behind: the role's verifier and the secret
# as they were, no password in any text, and a failed run with this very error
# in rotate_history.  role, secret: what to look at, where there is such a
# thing.  runs => 0: nothing is recorded (rotate_register, dry_run).
sub refused
{
	my ($self, $sql, $expected, $name, %options) = @_;
	my ($role, $secret) = delete @options{qw(role secret)};
	my $runs = delete $options{runs};
	my %where = map { $_ => $options{$_} } grep { exists $options{$_} } 'database';
	my $verifier = "SELECT $VERIFIER FROM pg_authid WHERE rolname = " . literal(defined $role ? $role : '');
	my $last = 'SELECT coalesce(max(run_id), 0) FROM rotate_history';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$runs = 1 unless defined $runs;
	return subtest $name => sub {
		my $before = $self->row("SELECT ($last) AS run, ($verifier) AS verifier", %where);
		my $state = defined $secret ? $self->{emulator}->secret($secret) : undef;

		$self->error_is($sql, $expected, 'the error', %options) or return;
		my $error = $self->{last_error};
		my $after = $self->row("SELECT ($verifier) AS verifier, "
			  . '(SELECT coalesce(json_agg(r), \'[]\') FROM (SELECT outcome, sqlstate, error, hint '
			  . "FROM rotate_history WHERE run_id > $before->{run}) r) AS runs", %where);
		is($after->{verifier}, $before->{verifier}, 'the role is as before');
		is_deeply(defined $secret ? $self->{emulator}->secret($secret) : undef, $state, 'the secret is as before');

		my $text = $error->{message} . ($error->{detail} ne '' ? "\nDETAIL:  $error->{detail}" : '');
		is_deeply(
			$after->{runs},
			[ ({ outcome => 'failed', sqlstate => $error->{sqlstate}, error => $text, hint => $error->{hint} || undef })
				x $runs ],
			$runs ? 'rotate_history has it' : 'rotate_history has nothing of it');

		my @told = grep { index("$text $error->{hint}", $_) >= 0 } $self->_passwords($secret);
		is(scalar(@told), 0, 'no password is told');
	};
}

# Every password in the secret's versions that no other text looks like.
sub _passwords
{
	my ($self, $secret) = @_;
	return unless defined $secret;
	return grep { length($_) >= 8 }
	  map { /"password"\s*:\s*"((?:[^"\\]|\\.)*)"/s ? $1 : () } values %{ { $self->{emulator}->texts($secret) } };
}

# hashed_verifier(VERIFIER): as $VERIFIER shows it
sub hashed_verifier
{
	my $verifier = shift;
	return ($verifier =~ /^(md5|SCRAM-SHA-256\$[0-9]+)/)[0] . ' ' . sha256_hex($verifier);
}

# scram_verifier(PASSWORD): as PostgreSQL would make it of an ASCII password.
sub scram_verifier
{
	my ($password, $iterations) = @_;
	my $bytes = encode('UTF-8', $password);
	my $salt = join '', map { chr int rand 256 } 1 .. 16;
	my $block = hmac_sha256($salt . pack('N', 1), $bytes);
	my $salted = $block;

	$iterations ||= 4096;
	for (2 .. $iterations)
	{
		$block = hmac_sha256($block, $bytes);
		$salted ^= $block;
	}
	return sprintf('SCRAM-SHA-256$%d:%s$%s:%s',
		$iterations,
		encode_base64($salt, ''),
		encode_base64(sha256(hmac_sha256('Client Key', $salted)), ''),
		encode_base64(hmac_sha256('Server Key', $salted), ''));
}

# create_role(NAME, PASSWORD, ATTRIBUTES): attributes default to LOGIN.
sub create_role
{
	my ($self, $name, $password, $attributes) = @_;
	$attributes = 'LOGIN' unless defined $attributes;
	$attributes .= ' PASSWORD ' . literal(scram_verifier($password)) if defined $password;
	$self->sql('CREATE ROLE ' . identifier($name) . " $attributes");
	return;
}

# set_password(NAME, PASSWORD): by hand, as a person would.
sub set_password
{
	my ($self, $name, $password) = @_;
	$self->sql('ALTER ROLE ' . identifier($name) . ' PASSWORD ' . literal(scram_verifier($password)));
	return;
}

# secret_json(NAME, PASSWORD, more keys; undef takes one away): what Secrets
# Manager holds for a login at this server.
sub secret_json
{
	my ($self, $role, $password, %more) = @_;
	my %value = (
		engine => 'postgres',
		host => '127.0.0.1',
		port => $self->port,
		dbname => 'postgres',
		username => $role,
		password => $password,
		%more);

	delete @value{ grep { !defined $value{$_} } keys %value };
	return \%value;
}

# random_password(): what no other text looks like, to be searched for.
sub random_password
{
	my @characters = ('a' .. 'z', 'A' .. 'Z', 0 .. 9);
	return join '', map { $characters[ rand @characters ] } 1 .. 32;
}

# add(ROLE, secret, password, attributes, json, more options of the
# emulator's /secrets): a role and a secret whose AWSCURRENT version is its
# login.  json: keys that differ in the secret.  Returns the password.
sub add
{
	my ($self, $role, %options) = @_;
	my $secret = delete $options{secret} || "prod/$role";
	my $password = delete $options{password};
	my $keys = delete $options{json} || {};

	$password = random_password() unless defined $password;
	$self->create_role($role, $password, delete $options{attributes});
	$self->{emulator}->create_secret($secret, $self->secret_json($role, $password, %$keys), %options);
	return $password;
}

# add_rotated(ROLE): and registered, looked at by the launcher, and rotated once.
sub add_rotated
{
	my ($self, $role) = @_;

	$self->add($role);
	$self->sql("SELECT rotate_register('prod/$role')");
	$self->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/$role' AND outcome IS NOT NULL");
	$self->sql("SELECT rotate_now('prod/$role')");
	return;
}

# lose_change(ROLE): what a failover without the last commits does to it.
sub lose_change
{
	my ($self, $role) = @_;
	$self->set_password($role, $self->password("prod/$role", 'AWSPREVIOUS'));
	return;
}

# What came of it.

sub verifier_of
{
	my ($self, $role) = @_;
	return $self->sql("SELECT $VERIFIER FROM pg_authid WHERE rolname = " . literal($role));
}

# labels(SECRET): {AWSCURRENT => version id, ...}
sub labels { my ($self, $secret) = @_; return $self->{emulator}->labels($secret); }

# password(SECRET, LABEL): of the version with the label, AWSCURRENT unless given
sub password
{
	my ($self, $secret, $label) = @_;
	return $self->{emulator}->value($secret, $label || 'AWSCURRENT')->{password};
}

# unchanged(ROLE, SECRET): a text that stays equal as long as the role's
# verifier and the secret's versions, values and labels do.
sub unchanged
{
	my ($self, $role, $secret) = @_;
	return $json->encode({ verifier => $self->verifier_of($role), secret => $self->{emulator}->secret($secret) });
}

# login(ROLE, PASSWORD, host, dbname, sslmode): over TCP, the way an
# application does; undef where it succeeds, else the error's text.
sub login
{
	my ($self, $role, $password, %options) = @_;
	local %ENV = $self->{node}->_get_env;
	my ($out, $err) = ('', '');

	$ENV{PGHOST} = $options{host} || '127.0.0.1';
	$ENV{PGPORT} = $options{port} || $self->port;
	$ENV{PGDATABASE} = $options{dbname} || 'postgres';
	$ENV{PGUSER} = encode('UTF-8', $role);
	$ENV{PGPASSWORD} = encode('UTF-8', $password);
	$ENV{PGSSLMODE} = $options{sslmode} || 'prefer';
	my $ok = IPC::Run::run([ $self->{node}->installed_command('psql'), '-XAtwq', '-c', 'SELECT session_user' ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $ok ? undef : decode('UTF-8', $err);
}

# True, or false where the server refuses the password; dies where the login
# fails for another reason, so that "refused" can't be a mistake of the test.
sub can_login
{
	my ($self, $role, $password, %options) = @_;
	my $error = $self->login($role, $password, %options);

	return 1 unless defined $error;
	return 0 if $error =~ /password authentication failed/;
	die "could not try the login of $role: $error";
}

# history(SECRET): the rows of rotate_history, oldest first.
sub history
{
	my ($self, $secret) = @_;
	return $self->rows('SELECT * FROM rotate_history WHERE secret = ' . literal($secret) . ' ORDER BY run_id');
}

sub server_log
{
	my $self = shift;
	return PostgreSQL::Test::Utils::slurp_file($self->{node}->logfile);
}

# wait_for(QUERY, EXPECTED): until the query gives that ('t' unless given).
sub wait_for
{
	my ($self, $query, $expected) = @_;
	return $self->{node}->poll_query_until('postgres', $query, defined $expected ? $expected : 't');
}

sub stop
{
	my ($self, $mode) = @_;
	$self->{node}->stop($mode || 'fast');
	return;
}

# A psql that runs while the test goes on.
package RotateTest::Call;

use Encode qw(decode);

# Wait for its end: {status, stdout, stderr, error}.
sub finish
{
	my $self = shift;

	if (!exists $self->{result})
	{
		$self->{handle}->finish;
		my ($out, $err) = map { decode('UTF-8', $_) } @{$self}{qw(stdout stderr)};
		chomp $out;
		chomp $err;
		my $status = $self->{handle}->full_result || 0;
		$self->{result} = {
			status => $status,
			stdout => $out,
			stderr => $err,
			error => $status == 0 ? undef : RotateTest::parse_error($err)
		};
	}
	return $self->{result};
}

# Is it still running?
sub running
{
	my $self = shift;
	return 0 if exists $self->{result} || !$self->{handle}->pumpable;
	$self->{handle}->pump_nb;
	return $self->{handle}->pumpable ? 1 : 0;
}

# The client is gone without a goodbye.
sub kill
{
	my $self = shift;
	$self->{handle}->kill_kill(grace => 0);
	return;
}

1;
