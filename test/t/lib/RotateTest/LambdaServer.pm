# LambdaServer.pm
#	  What the Lambda function needs around it: a server with TLS, its login
#	  as a secret and as a client certificate, and a rotate_event() that does
#	  as the event says.

package RotateTest::LambdaServer;

use strict;
use warnings;

use File::Basename qw(dirname);
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Emulator;
use Time::HiRes qw(sleep time);

# A name that needs its quotes.
our $SCHEMA = 'rot"ate; x';

# What the event's member "do" says is done, and then the outcome is told.
my $rotate_event = <<'SQL';
CREATE FUNCTION %s.rotate_event(event jsonb) RETURNS jsonb LANGUAGE plpgsql AS $f$
BEGIN
	IF event->>'do' = 'raise' AND event ? 'hint' THEN
		RAISE EXCEPTION 'refused for a test' USING errcode = '55006', hint = event->>'hint';
	ELSIF event->>'do' = 'raise' THEN
		RAISE EXCEPTION 'refused for a test' USING errcode = '55006';
	ELSIF event->>'do' = 'leak' THEN
		RAISE EXCEPTION 'refused' USING detail = 'do not tell';
	ELSIF event->>'do' = 'warn' THEN
		RAISE WARNING 'be warned' USING hint = 'take care';
	ELSIF event->>'do' LIKE 'sleep %%' THEN
		PERFORM pg_sleep(substr(event->>'do', 7)::float8);
	ELSIF event->>'do' LIKE 'fill %%' THEN
		RETURN jsonb_build_object('outcome', 'filled', 'fill', repeat('x', substr(event->>'do', 6)::int));
	END IF;
	PERFORM nextval('%s.calls');
	RETURN jsonb_build_object('outcome', 'did ' || (event->>'Step'), 'as', current_user);
END
$f$
SQL

sub new
{
	my ($class, %options) = @_;
	my $emulator = RotateTest::Emulator->new(region => $RotateTest::REGION);
	my $tls = dirname($emulator->ca);
	my $t = RotateTest->new(
		emulator => $emulator,
		create_extension => 0,
		init => { allows_streaming => 1 },
		conf => join("\n",
			"listen_addresses = '127.0.0.1, 127.0.0.2'",
			'ssl = on',
			"ssl_cert_file = '$tls/server.pem'",
			"ssl_key_file = '$tls/server.key'",
			"ssl_ca_file = '$tls/ca.pem'",
			$options{conf} || ''),
		hba => [
			'local replication all trust',
			'hostnossl all all 0.0.0.0/0 reject',
			'hostssl all cert_lambda 127.0.0.0/8 cert',
			'hostssl all all 127.0.0.0/8 scram-sha-256'
		]);
	my $self = bless { t => $t, tls => $tls, token => 'rotationtoken-' . RotateTest::random_password() }, $class;
	my $schema = RotateTest::identifier($SCHEMA);

	$self->{password} = RotateTest::random_password();
	$t->create_role('rotate_lambda', $self->{password});
	$t->create_role('cert_lambda');
	# or log_statement = all, which these servers have, would log the event
	$t->sql("ALTER ROLE $_ SET log_parameter_max_length = 0") foreach qw(rotate_lambda cert_lambda);
	(my $function = $rotate_event) =~ s/%s/$schema/g;
	$function =~ s/%%/%/g;
	$t->sql("CREATE SCHEMA $schema; CREATE SEQUENCE $schema.calls; $function;
		GRANT USAGE ON SCHEMA $schema TO rotate_lambda, cert_lambda;
		GRANT USAGE ON SEQUENCE $schema.calls TO rotate_lambda, cert_lambda");

	$emulator->create_secret('rotate/login', $t->secret_json('rotate_lambda', $self->{password}));
	$self->{ca_text} = slurp_file($emulator->ca);
	$self->{env} = {
		PGHOST => '127.0.0.1',
		PGPORT => $t->port,
		ROTATE_SCHEMA => $SCHEMA,
		ROTATE_DB_CA => $emulator->ca,
		ROTATE_LOGIN_SECRET => $emulator->secret('rotate/login')->{arn},
		AWS_ACCESS_KEY_ID => $emulator->access_key_id,
		AWS_SECRET_ACCESS_KEY => $emulator->secret_access_key,
		AWS_ENDPOINT_URL_SECRETS_MANAGER => $emulator->endpoint_url,
		AWS_CA_BUNDLE => $emulator->ca
	};
	$self->_client_certificate;
	return $self;
}

sub _run
{
	my @command = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '>', \$out, '2>', \$err) or die "could not run @command: $err";
	return;
}

# A certificate for cert_lambda, its key readable by anybody, as in a zip; and
# the certificate of a CA that nobody here trusts.
sub _client_certificate
{
	my $self = shift;
	my $dir = PostgreSQL::Test::Utils::tempdir('certificate');
	my @new_key = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes');

	_run('openssl', 'req', '-new', @new_key, '-keyout', "$dir/client.key", '-subj', '/CN=cert_lambda', '-out', "$dir/csr");
	_run('openssl', 'x509', '-req', '-in', "$dir/csr", '-CA', "$self->{tls}/ca.pem", '-CAkey', "$self->{tls}/ca.key",
		'-CAcreateserial', '-days', '2', '-out', "$dir/client.pem");
	chmod 0644, "$dir/client.key";
	_run('openssl', 'req', '-x509', @new_key, '-keyout', "$dir/other.key", '-subj', '/CN=other', '-out', "$dir/other.pem");
	$self->{other_ca} = "$dir/other.pem";
	$self->{certificate_env} = {
		PGUSER => 'cert_lambda',
		PGSSLCERT => "$dir/client.pem",
		PGSSLKEY => "$dir/client.key",
		(map { $_ => undef } qw(ROTATE_LOGIN_SECRET AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY))
	};
	return;
}

# event(STEP, more members)
sub event
{
	my ($self, $step, %more) = @_;
	return {
		Step => $step,
		SecretId => 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/app-AbCdEf',
		ClientRequestToken => '5f1b3f9e-0a3c-4a5e-9f4d-0123456789ab',
		RotationToken => $self->{token},
		%more
	};
}

# sessions_are(N): a session ends a moment after its client has gone.
sub sessions_are
{
	my ($self, $n) = @_;
	return $self->{t}->node->poll_query_until('postgres',
		"SELECT count(*) = $n FROM pg_stat_activity WHERE application_name = 'rotate_lambda'");
}

# The process of the function's session, once it is in a call or idle.
sub backend
{
	my $self = shift;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (time() < $until)
	{
		my $pid = $self->{t}->sql(
			"SELECT pid FROM pg_stat_activity WHERE application_name = 'rotate_lambda' AND (state = 'idle' AND query LIKE 'SELECT %' OR wait_event = 'PgSleep')");
		return $pid + 0 if $pid =~ /^\d+\s*$/;
		sleep 0.05;
	}
	die 'the function has no session';
}

# How many calls of rotate_event have ended well.
sub calls
{
	my $self = shift;
	return $self->{t}->sql('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM '
		  . RotateTest::identifier($SCHEMA) . '.calls') + 0;
}

# Another server, that lets nobody write: a standby of this one.
sub read_only_server
{
	my $self = shift;
	my $primary = $self->{t}->node;
	my $node = PostgreSQL::Test::Cluster->new('standby');

	$primary->backup('for_standby');
	$node->init_from_backup($primary, 'for_standby', has_streaming => 1);
	$node->start;
	return $node;
}

sub server_log { my $self = shift; return slurp_file($self->{t}->node->logfile); }

1;
