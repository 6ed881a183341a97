# 085_credentials_leak.pl
#	  No key and no token of any provider of AWS credentials is left anywhere it
#	  could be read: with everything logged that can be, after rotations that
#	  succeed, after faults that quote what was sent, and while one is under way.
#
# 050_leak.pl does the same for passwords and for keys in the environment, and
# shows that the search finds what is there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Agents;
use RotateTest::Emulator;
use RotateTest::Leak;
use Test::More;

my $json = JSON::PP->new->canonical;
my $emulator = RotateTest::Emulator->new(region => $RotateTest::REGION);
my $agents = RotateTest::Agents->new($emulator);
my $dir = PostgreSQL::Test::Utils::tempdir('leak');
my $keylog = "$dir/tls_keys";
my %loud = (
	dynamic_shared_memory_type => 'mmap',
	logging_collector => 'on',
	log_filename => 'server.log',
	log_rotation_size => 0,
	log_destination => 'stderr,csvlog,jsonlog',
	log_min_error_statement => 'debug5',
	log_error_verbosity => 'verbose',
	log_statement => 'all',
	log_duration => 'on',
	log_connections => 'on',
	log_parameter_max_length_on_error => -1,
	debug_print_parse => 'on',
	debug_print_plan => 'on',
	track_activities => 'on',
	'rotate_ext.max_attempts' => 1,
	'rotate_ext.request_timeout' => '20s');
my %nothing = map { $_ => undef } qw(AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_EC2_METADATA_DISABLED
  AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_AUTHORIZATION_TOKEN
  AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE AWS_EC2_METADATA_SERVICE_ENDPOINT);
my $t = RotateTest->new(
	emulator => $emulator,
	start => 0,
	conf => join("\n", map { "$_ = '$loud{$_}'" } sort keys %loud),
	env => {
		%nothing,
		AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials",
		AWS_CONFIG_FILE => "$dir/config",
		AWS_ENDPOINT_URL_STS => $agents->url,
		SSLKEYLOGFILE => $keylog
	});
my $data = $t->node->data_dir;
my $told = '';

# Started with all its loudness a postmaster would log its environment, before any library of ours is there.
sub start
{
	my %env = @_;

	$t->setenv(%nothing, %env);
	$t->node->adjust_conf('postgresql.conf', 'log_min_messages', 'warning');
	$t->start;
	$t->set(log_min_messages => 'debug5');
	return;
}

sub write_file
{
	my ($path, $text) = @_;
	open my $out, '>', $path or die "$path: $!";
	print $out $text;
	close $out;
	chmod 0700, $path;
	return;
}

sub loud
{
	my $sql = shift;
	local $ENV{PGOPTIONS} = '-c client_min_messages=debug5';
	my ($status, $out, $err) = $t->psql($sql);
	$told .= "$out\n$err\n";
	return $status == 0 ? $out : ($err =~ /^(?:psql:\S+: )?ERROR:\s+(.*)$/m)[0];
}

my $leak;

# All secrets that there are, looked for in the data directory and in what clients were told.
sub search
{
	my $when = shift;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my %secrets = $agents->secrets;

	$leak = RotateTest::Leak->new;
	$leak->add($_, $secrets{$_}) foreach sort keys %secrets;
	is(join("\n", $leak->in_files($data)), '', "$when, no file of the data directory has a secret");
	is(join("\n", $leak->in_text($told, 'the messages')), '', 'and no client was told one');
	return;
}

my $views = <<~'END';
	SELECT format('SELECT t::text FROM %s t', c.oid::regclass)
	FROM pg_class c
	WHERE c.relkind = 'v' AND (c.relname ~ '^pg_stat' OR c.relname IN ('pg_settings', 'pg_locks', 'pg_file_settings'))
		OR c.relkind IN ('r', 'v') AND c.relname ~ '^rotate_'
	\gexec
	END

# A rotation that succeeds, with a look at everything while it is under way.
sub rotation
{
	my ($provider, $key_id) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$agents->cell(
		$provider, 'a rotation',
		sub {
			my $fault = $emulator->fault(action => 'pause', operation => 'PutSecretValue');
			my $call = $t->start_sql('SELECT outcome FROM rotate_now(\'prod/app\')');
			$emulator->wait_for_fault($fault) or die 'PutSecretValue was not called';
			my $seen = do { local $ENV{PGOPTIONS} = '-c log_min_messages=panic -c log_statement=none'; $t->sql($views); };
			search('meanwhile');
			is(join("\n", $leak->in_text($seen, 'the views')), '', 'nor any view');
			like($seen, qr/rotation of a secret/, 'where the worker is seen');
			$emulator->release($fault);
			my $result = $call->finish;
			$told .= "$result->{stdout}\n$result->{stderr}\n";
			is($result->{stdout}, 'rotated', 'it is done');
			is_deeply([ grep { ($_->{access_key_id} // '') ne $key_id } @{ $emulator->log->{entries} } ], [],
				'with the provider\'s key');
			$emulator->clear_log;
			like(loud('SELECT * FROM rotate_credentials()'), qr/\|\Q@{[substr $key_id, -4]}\E\|/, 'it is shown');
		});
	return;
}

sub fails
{
	my ($provider, $name, $message, $before, $after) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$agents->cell(
		$provider, $name,
		sub {
			$before->();
			like(loud('SELECT outcome FROM rotate_now(\'prod/app\')'), $message, 'the error');
			$after->() if $after;
		});
	return;
}

# Faults of a service, that quote what it was sent and what it hands out.
sub service_fails
{
	my ($provider, $service, $answer, @quoted) = @_;
	my $quoted = join ' ', @quoted, values %$answer;
	my $after = sub { $agents->set($service => (fault => undef)); };

	my $sts_error = sub {
		return "<ErrorResponse><Error><Code>$_[0]</Code><Message>no: $_[1]</Message></Error></ErrorResponse>";
	};
	my %bodies = (
		'text' => $quoted,
		'JSON' => $json->encode({ %$answer, Code => $quoted, Message => $quoted, message => $quoted }),
		'JSON that is cut off' => substr($json->encode($answer), 0, -2),
		'XML' => $sts_error->('AccessDenied', $quoted),
		'XML with a token as the code' => $sts_error->($quoted[0] // 'x', 'y'));
	foreach my $kind (sort keys %bodies)
	{
		fails($provider, "HTTP 403 with $kind", qr/^28000: could not/,
			sub { $agents->set($service => (fault => { kind => 'status', status => 403, body => $bodies{$kind} })); }, $after);
		fails($provider, "HTTP 500 with $kind", qr/^(?:28000|58000): could not/,
			sub { $agents->set($service => (fault => { kind => 'status', status => 500, body => $bodies{$kind} })); }, $after);
		fails($provider, "HTTP 200 with $kind", qr/^28000: could not/,
			sub { $agents->set($service => (fault => { kind => 'body', body => $bodies{$kind} })); }, $after);
	}
	fails($provider, $_, qr/^(?:28000|08006): could not/, sub { $agents->set($service => (fault => { kind => $_ })); }, $after)
	  foreach qw(cut not_http truncated huge);
	fails(
		$provider,
		'a redirect',
		qr/^28000: could not/,
		sub { $agents->set($service => (fault => { kind => 'redirect', to => $agents->foreign_url . "/$quoted[0]" })); },
		$after) if @quoted;
	return;
}

# What Secrets Manager says of the credentials.
sub secretsmanager_fails
{
	my ($provider, $token) = @_;
	foreach my $type (qw(InvalidSignatureException UnrecognizedClientException ExpiredTokenException))
	{
		my $fault;
		fails(
			$provider,
			"Secrets Manager's $type",
			qr/^28000: could not describe secret/,
			sub {
				$fault = $emulator->fault(times => 0, action => 'error', type => $type, operation => 'DescribeSecret',
					message => "The Canonical String was 'x-amz-security-token:$token'");
			},
			sub { $emulator->control('/faults/clear', id => $fault); });
	}
	$emulator->clear_log;
	return;
}

sub with_lines { my ($answer, $key) = @_; return { %$answer, $key => "$answer->{$key}\r\n$answer->{$key}" }; }

# Web identity.
my $web_token = join '.', map { $agents->secret("part $_ of the web identity token", 200) =~ tr{+/=}{-_x}r } 1 .. 3;
$agents->secret('the web identity token', 16);
$agents->{secrets}{'the web identity token'} = $web_token;
my $role = 'arn:aws:iam::123456789012:role/app';
my $web = $agents->credentials('ASIALEAKWEBIDENTITY1', token_key => 'SessionToken');
write_file("$dir/web_token", $web_token);
$agents->set(sts => (web_token => $web_token));
$agents->control('role', arn => $role, answer => $web);
start(AWS_WEB_IDENTITY_TOKEN_FILE => "$dir/web_token", AWS_ROLE_ARN => $role);
$t->sql('CREATE EXTENSION rotate_ext');
{
	local $ENV{PGOPTIONS} = '-c log_min_messages=panic -c log_statement=none';
	$t->add('app');
}
$t->sql('SELECT rotate_register(\'prod/app\')');
$emulator->clear_log;
rotation('web identity', 'ASIALEAKWEBIDENTITY1');
service_fails('web identity', 'sts', $web, $web_token);
secretsmanager_fails('web identity', $web->{SessionToken});
fails(
	'web identity',
	'another token',
	qr/^28000: could not assume role .*: InvalidIdentityToken: \(AWS's message is left out, since it quotes a token\)/,
	sub { $agents->set(sts => (web_token => 'another')); },
	sub { $agents->set(sts => (web_token => $web_token)); });
fails(
	'web identity',
	'a token file with two lines',
	qr/^F0000: could not assume/,
	sub { write_file("$dir/web_token", "$web_token\n$web_token"); },
	sub { write_file("$dir/web_token", $web_token); });
fails(
	'web identity',
	'a key with a line end',
	qr/^28000: could not use the AWS credentials/,
	sub { $agents->control('role', arn => $role, answer => with_lines($web, 'SessionToken')); },
	sub { $agents->control('role', arn => $role, answer => $web); });
search('after it');

# A role, and a process, by profiles.
my %source = (id => 'ASIALEAKSOURCE000001', secret => $agents->secret('the source\'s secret key', 40),
	token => $agents->secret('the source\'s session token', 400));
my $password = $agents->secret('a password in the command', 30);
my $process = $agents->credentials('ASIALEAKPROCESS00001', token_key => 'SessionToken');
$agents->control('key', %source);
write_file("$dir/credentials",
	"[base]\naws_access_key_id=$source{id}\naws_secret_access_key=$source{secret}\naws_session_token=$source{token}\n"
	  . "[role]\nrole_arn=$role\nsource_profile=base\nexternal_id=x\n"
	  . "[process]\ncredential_process=$dir/give --password '$password'\n"
	  . "[quote]\ncredential_process=$dir/give --password '$password\n"
	  . "[absent]\ncredential_process=$dir/absent --password '$password'\n"
	  . "[secret_source]\nrole_arn=$role\ncredential_source=$source{secret}\n"
	  . "[secret_arn]\nrole_arn=$source{secret}\nsource_profile=base\n"
	  . "[secret_session]\nrole_arn=$role\nsource_profile=base\nrole_session_name=$source{secret} x\n"
	  . "[secret_duration]\nrole_arn=$role\nsource_profile=base\nduration_seconds=$source{secret}\n"
	  . "[half]\naws_access_key_id=$source{id}\n");
$agents->control('role', arn => $role, answer => $web, external_id => 'x');
$t->set('rotate_ext.profile' => 'role');
rotation('role', 'ASIALEAKWEBIDENTITY1');
service_fails('role', 'sts', $web, $source{token}, $source{secret});
secretsmanager_fails('role', $web->{SessionToken});
fails(
	'role', 'a wrong key that STS explains',
	qr/^28000: could not assume role .*: SignatureDoesNotMatch: \(AWS's message is left out/,
	sub { $agents->control('key', %source, secret => 'another'); },
	sub { $agents->control('key', %source); });
fails('role', "profile $_", qr/^(?:F0000|28000): could not/, sub { $t->set('rotate_ext.profile' => $_); })
  foreach qw(secret_source secret_arn secret_session secret_duration half quote absent);
search('after it');

sub give { my $text = shift; write_file("$dir/output", $text); return; }
write_file("$dir/give", "#!/bin/sh\ncat $dir/output | tee /dev/stderr\n. $dir/then\n");
write_file("$dir/then", '');
give($json->encode({ %$process, Version => 1 }));
$t->set('rotate_ext.profile' => 'process');
rotation('process', 'ASIALEAKPROCESS00001');
secretsmanager_fails('process', $process->{SessionToken});
fails('process', 'it prints text', qr/^28000: could not/, sub { give(join ' ', values %$process); });
fails('process', 'it prints what is cut off', qr/^28000: could not/, sub { give(substr $json->encode($process), 0, -2); });
fails('process', 'it prints another version', qr/^28000: could not/, sub { give($json->encode({ %$process, Version => 3 })); });
fails('process', 'it prints a line end in a key', qr/^28000: could not/,
	sub { give($json->encode({ %{ with_lines($process, 'SecretAccessKey') }, Version => 1 })); });
fails('process', 'it prints too much', qr/^28000: could not/, sub { give("$process->{SessionToken}\n" x 1000); });
fails('process', 'it fails', qr/^28000: could not/, sub { write_file("$dir/then", "exit 1\n"); });
search('after it');
$t->set('rotate_ext.profile' => undef);

# The container's agent.
my $container_token = $agents->secret('the container\'s token', 60);
my $container = $agents->credentials('ASIALEAKCONTAINER001');
$agents->set(container => (answer => $container, token => $container_token));
write_file("$dir/token", $container_token);
$t->stop;
start(AWS_CONTAINER_CREDENTIALS_FULL_URI => $agents->url . '/v2', AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => "$dir/token");
rotation('container', 'ASIALEAKCONTAINER001');
service_fails('container', 'container', $container, $container_token);
secretsmanager_fails('container', $container->{Token});
fails(
	'container',
	'a token with a line end',
	qr/^F0000: could not get/,
	sub { write_file("$dir/token", "$container_token\r\nX: y"); });
search('after it');
my $path = $agents->secret('the path of the credentials', 40) =~ tr{+/=}{-_.}r;
$agents->{secrets}{'the path of the credentials'} = $path;
$t->stop;
start(AWS_CONTAINER_CREDENTIALS_FULL_URI => "http://127.0.0.1:1/$path", AWS_CONTAINER_AUTHORIZATION_TOKEN => $container_token);
fails('container', 'absent', qr/^08001: could not get/, sub { });
$t->stop;
start(AWS_CONTAINER_CREDENTIALS_FULL_URI => "http://192.0.2.1/$path", AWS_CONTAINER_AUTHORIZATION_TOKEN => $container_token);
fails('container', 'a foreign host', qr/^F0000: could not get/, sub { });

# The EC2 instance.
my $instance_token = $agents->secret('the token of the instance\'s service', 56);
my $instance = $agents->credentials('ASIALEAKINSTANCE0001');
$agents->set(instance => (answer => $instance, token => $instance_token));
$t->stop;
start(AWS_EC2_METADATA_SERVICE_ENDPOINT => $agents->url);
rotation('EC2 instance', 'ASIALEAKINSTANCE0001');
service_fails('EC2 instance', 'instance', $instance, $instance_token);
secretsmanager_fails('EC2 instance', $instance->{Token});
foreach my $step (qw(role credentials))
{
	fails(
		'EC2 instance', "$step: what was sent comes back",
		qr/^28000: could not/,
		sub {
			$agents->set(instance => (fault => { step => $step, kind => 'body', body => "$instance_token/$instance->{Token}" }));
		},
		sub { $agents->set(instance => (fault => undef)); });
}

# The whole log was searched, and it is long.
search('at the end');
cmp_ok($leak->searched, '>', 10_000_000, 'in many bytes');
my $log = PostgreSQL::Test::Utils::slurp_file("$data/log/server.log");
like($log, qr/could not get AWS credentials from the container's credentials endpoint/, 'the log has the errors');
like($log, qr/DEBUG: .*registering background worker/, 'and every small thing');
like($told, qr/DEBUG:.*ERROR:/s, 'clients heard everything');
ok(!-e $keylog, 'and nobody has written the keys of the TLS connections');
$t->stop;
search('after the end of the server');
is(join("\n", $leak->in_file($t->node->logfile)), '', 'nor has the postmaster\'s output one');
$agents->table;
done_testing();
