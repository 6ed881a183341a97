# 081_container.pl
#	  Credentials of the container's agent (ECS, EKS Pod Identity): a rotation
#	  with them, and every way in which the agent, its token and its address can
#	  be wrong.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Agents;
use RotateTest::Emulator;
use Test::More;

my $emulator = RotateTest::Emulator->new(region => $RotateTest::REGION);
my $agents = RotateTest::Agents->new($emulator);
my $dir = PostgreSQL::Test::Utils::tempdir('container');
my $token_file = "$dir/token";
my $url = $agents->url . '/v2/credentials/4711?a=b';
my $t = RotateTest->new(
	emulator => $emulator,
	init => { allows_streaming => 1 },
	hba => ['local replication all trust'],
	conf => "rotate_ext.max_attempts = 1\nlog_min_messages = debug2",
	env => {
		AWS_ACCESS_KEY_ID => undef,
		AWS_SECRET_ACCESS_KEY => undef,
		AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials",
		AWS_CONFIG_FILE => "$dir/config",
		AWS_CONTAINER_CREDENTIALS_FULL_URI => $url,
		AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => $token_file,
		http_proxy => $agents->foreign_url,
		HTTPS_PROXY => $agents->foreign_url,
		ALL_PROXY => $agents->foreign_url
	});
my $who = 'the container\'s credentials endpoint';
my $could_not = "could not get AWS credentials from $who";

sub write_token
{
	my $text = shift;
	open my $out, '>:raw', "$token_file.new" or die $!;
	print $out $text;
	close $out;
	rename "$token_file.new", $token_file or die $!;
	return;
}

sub with_env { $t->setenv(@_); $t->stop; $t->start; return; }

# What the worker says when it is asked for its credentials.
sub refused
{
	my ($expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$t->error_is('SELECT * FROM rotate_credentials()', $expected, 'the error');
	is(join(', ', $agents->told(join "\n", values %{ $t->{last_error} })), '', 'which tells no secret');
	is(scalar(grep { $_->{server} eq 'foreign' } $agents->requests), 0, 'and nobody else was asked');
	return;
}

sub fault
{
	my ($name, $fault, $expected) = @_;
	$agents->cell(
		'container', $name,
		sub {
			$agents->set(container => (fault => $fault));
			refused($expected);
			$agents->set(container => (fault => undef));
		});
	return;
}

$t->add('app');
my $token = 'Basic ' . $agents->secret('the container\'s token', 60);
write_token($token);
$agents->set(container => (answer => $agents->credentials('ASIACONTAINER0000001'), token => $token));

$agents->cell(
	'container', 'a rotation',
	sub {
		$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');
		$emulator->clear_log;
		$agents->requests;
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'is done');
		is_deeply([ grep { $_->{access_key_id} ne 'ASIACONTAINER0000001' } @{ $emulator->log->{entries} } ], [],
			'with the container\'s key');
		my @requests = $agents->requests;
		is(scalar(@requests), 1, 'which were asked for once');
		is("$requests[0]{server} $requests[0]{method} $requests[0]{path}", 'agent GET /v2/credentials/4711?a=b',
			'at the URL, by no proxy');
		is($requests[0]{headers}{authorization}, $token, 'with the token');
	});
$agents->cell(
	'container', 'what is shown',
	sub {
		my $row = $t->row('SELECT provider, access_key_last4, '
			  . 'expires BETWEEN now() + interval \'5 hours 58 minutes\' AND now() + interval \'6 hours 1 minute\' AS soon, '
			  . 'region, endpoint FROM rotate_credentials()');
		is_deeply(
			$row,
			{
				provider => $who,
				access_key_last4 => '0001',
				soon => JSON::PP::true,
				region => $RotateTest::REGION,
				endpoint => $emulator->endpoint_url . '/'
			},
			'provider, the key\'s end, when it expires, region and endpoint');
		is(join(', ', $agents->told($t->server_log)), '', 'and no secret is in the log');
		like($t->server_log, qr/AWS credentials are those of \Q$who\E/, 'which says whose they are');
	});
$agents->cell(
	'container', 'the token\'s file changes',
	sub {
		my $next = 'Basic ' . $agents->secret('the container\'s next token', 60);
		$agents->set(container => (token => $next));
		refused({ sqlstate => '28000', message => "$could_not: HTTP 403" });
		write_token($next);
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'the new one is used at once');
	});

$agents->cell(
	'container', 'on a standby',
	sub {
		my $standby = PostgreSQL::Test::Cluster->new('standby');
		$t->node->backup('copy');
		$standby->init_from_backup($t->node, 'copy', has_streaming => 1);
		$t->_with_env(sub { $standby->start; });
		is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery(), access_key_last4 FROM rotate_credentials()'),
			't|0001', 'they are shown as well');
		$standby->stop;
	});

# What the agent answers.
fault('HTTP 400', { kind => 'status', status => 400 }, { sqlstate => '28000', message => "$could_not: HTTP 400" });
fault(
	'HTTP 403',
	{ kind => 'status', status => 403, body => "{\"message\": \"$token\"}" },
	{
		sqlstate => '28000',
		message => "$could_not: HTTP 403",
		detail => 'The address is "' . $agents->url . '/".',
		hint => 'Look at the role of the task or of the pod, and at the token that its environment names.'
	});
fault('HTTP 404', { kind => 'status', status => 404 }, { sqlstate => '28000', message => "$could_not: HTTP 404", hint => '' });
fault('HTTP 429', { kind => 'status', status => 429 }, { sqlstate => '53000', message => "$could_not: HTTP 429" });
fault('HTTP 500', { kind => 'status', status => 500 }, { sqlstate => '58000', message => "$could_not: HTTP 500" });
fault('HTTP 503', { kind => 'status', status => 503 }, { sqlstate => '58000', message => "$could_not: HTTP 503" });
fault(
	'slow',
	{ kind => 'slow', seconds => 4 },
	{ sqlstate => '08006', message => "$could_not: no answer within 2000 ms" });
fault('closes the connection', { kind => 'close' }, { sqlstate => '08006', message => qr/^\Q$could_not\E: Empty reply/ });
fault('cuts the answer off', { kind => 'cut' }, { sqlstate => '08006', message => qr/^\Q$could_not\E: / });
fault('is not HTTP', { kind => 'not_http' }, { sqlstate => '28000', message => qr/^\Q$could_not\E: / });
fault(
	'huge',
	{ kind => 'huge' },
	{ sqlstate => '28000', message => "$could_not: the answer is larger than 65536 bytes" });
foreach my $status (301, 302, 307, 308)
{
	fault(
		"redirects elsewhere ($status)",
		{ kind => 'redirect', status => $status, to => $agents->foreign_url . '/x' },
		{ sqlstate => '28000', message => "$could_not: HTTP $status" });
}

sub bad_answer
{
	my ($name, $fault, $problem) = @_;
	fault(
		$name, $fault,
		{
			sqlstate => '28000',
			message => "$could_not: its answer can't be used",
			detail => 'Of the answer of "' . $agents->url . "/\": $problem."
		});
	return;
}

my $good = $agents->credentials('ASIACONTAINER0000002');
my $json = JSON::PP->new->canonical;

sub changed { my %answer = (%$good, @_); delete @answer{ grep { !defined $answer{$_} } keys %answer }; return $json->encode(\%answer); }

bad_answer('garbage', { kind => 'body', body => "<html>$good->{Token}</html>" }, 'it is not a JSON object');
bad_answer('nothing', { kind => 'body', body => '' }, 'it is not a JSON object');
bad_answer('truncated', { kind => 'truncated' }, 'it is not a JSON object');
bad_answer('a list', { kind => 'body', body => '["' . $good->{Token} . '"]' }, 'it is not a JSON object');
bad_answer('a key twice', { kind => 'body', body => changed() =~ s/\}$/,"Token":"$good->{Token}"}/r }, 'it is not a JSON object');
bad_answer('no key', { kind => 'body', body => changed(AccessKeyId => undef) }, 'AccessKeyId is missing');
bad_answer('a number for a key', { kind => 'body', body => changed(AccessKeyId => 5) }, 'AccessKeyId is missing');
bad_answer('an empty secret', { kind => 'body', body => changed(SecretAccessKey => '') }, 'SecretAccessKey is missing');
bad_answer('no token', { kind => 'body', body => changed(Token => undef) }, 'the session token is missing');
bad_answer('no expiry', { kind => 'body', body => changed(Expiration => undef) }, 'Expiration is missing, or not in ISO 8601');
bad_answer('an odd expiry', { kind => 'body', body => changed(Expiration => 'tomorrow') },
	'Expiration is missing, or not in ISO 8601');
fault(
	'a token with CR/LF',
	{ kind => 'body', body => changed(Token => "$good->{Token}\r\nX-Evil: 1") },
	{
		sqlstate => '28000',
		message => "could not use the AWS credentials of $who",
		detail => 'The access key ID, the secret access key or the session token holds a blank, a line end or a character '
		  . 'that is not ASCII.'
	});

# Credentials that have expired are used, as long as there are no others.
$agents->cell(
	'container', 'expired',
	sub {
		my $expired = $agents->credentials('ASIACONTAINER0000003', expires_in => -60);
		$agents->set(container => (answer => $expired));
		$agents->requests;
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'but AWS still takes them');
		is(scalar($agents->requests), 1, 'and the agent is not asked again before each request');
		like($t->server_log, qr/WARNING:.*the AWS credentials of \Q$who\E have expired/, 'the log says so');
		$agents->set(container => (answer => $good));
	});

# It passes.
$t->set('rotate_ext.max_attempts' => 3);
foreach my $status (429, 500, 503)
{
	$agents->cell(
		'container', "HTTP $status, twice",
		sub {
			$agents->set(container => (fault => { kind => 'status', status => $status, times => 2 }));
			is($t->sql('SELECT access_key_last4 FROM rotate_credentials()'), '0002', 'it is asked again');
			is(scalar($agents->requests), 3, 'and again');
		});
}
$agents->set(container => (fault => undef));
$t->set('rotate_ext.max_attempts' => 1);

# The token's file.
my %bad_tokens = (
	'a line end' => [ "$token\n", 'The token' ],
	'CR and LF' => [ "$token\r\nX-Evil: 1", 'The token' ],
	'nothing' => [ '', 'The token' ],
	'what is not ASCII' => [ "$token\xe9", 'The token' ]);
foreach my $name (sort keys %bad_tokens)
{
	$agents->cell(
		'container', "a token file with $name",
		sub {
			write_token($bad_tokens{$name}[0]);
			refused({
				sqlstate => 'F0000',
				message => $could_not,
				detail => 'The token of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is empty, or holds a line end or another '
				  . 'character that no header may hold.'
			});
			is(scalar($agents->requests), 0, 'nobody is asked');
		});
}
my $unread = "could not read AWS credentials: ";
$agents->cell('container', 'a token file with NUL',
	sub { write_token("$token\0x"); refused({ sqlstate => 'F0000', message => qr/holds no token$/ }); });
$agents->cell('container', 'a token file that is huge',
	sub { write_token('x' x 20000); refused({ sqlstate => 'F0000', message => qr/holds no token$/ }); });
unlink $token_file;
$agents->cell(
	'container',
	'no token file',
	sub {
		refused({
			sqlstate => 'F0000',
			message => "${unread}could not read the token file of the container \"$token_file\": No such file or directory"
		});
	});
$agents->cell(
	'container',
	'a token file that nobody writes',
	sub {
		require POSIX;
		POSIX::mkfifo($token_file, 0600) or die $!;
		refused({ sqlstate => 'F0000', detail => qr/^The token of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is empty/ });
		unlink $token_file;
	});

# The token in the environment, and no token.
$agents->set(container => (token => $token));
with_env(AWS_CONTAINER_AUTHORIZATION_TOKEN => $token, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => undef);
$agents->cell('container', 'the token in the environment',
	sub { is($t->sql('SELECT access_key_last4 FROM rotate_credentials()'), '0002', 'is used'); });
write_token('another');
with_env(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => $token_file);
$agents->cell('container', 'the token in both',
	sub { refused({ sqlstate => '28000', message => "$could_not: HTTP 403" }); });
with_env(AWS_CONTAINER_AUTHORIZATION_TOKEN => "$token\r\nX-Evil: 1", AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => undef);
$agents->cell(
	'container',
	'the token in the environment with CR/LF',
	sub { refused({ sqlstate => 'F0000', detail => qr/^The token of AWS_CONTAINER_AUTHORIZATION_TOKEN / }); });

# The address.
my %bad_urls = (
	'http to a foreign host' => [
		'http://192.0.2.1/creds',
		'The URL in AWS_CONTAINER_CREDENTIALS_FULL_URI must begin with "https://" for any host but this machine\'s loopback, '
		  . '169.254.170.2, 169.254.170.23 and fd00:ec2::23.'
	],
	'http to the instance\'s service' =>
	  [ 'http://169.254.169.254/creds', qr/must begin with "https:\/\/" for any host but this machine's loopback/ ],
	'http to a foreign host that looks like a good one' =>
	  [ 'http://169.254.170.2.example.com/creds', qr/must begin with "https:\/\/" for any host but this machine's loopback/ ],
	'a user in the URL' =>
	  [ 'http://127.0.0.1@192.0.2.1/creds', qr/must not hold a user name or a password/ ],
	'another scheme' => [ 'file:///etc/passwd', qr/must begin with "https:\/\/" or "http:\/\/"/ ]);
foreach my $name (sort keys %bad_urls)
{
	with_env(
		AWS_CONTAINER_AUTHORIZATION_TOKEN => $token,
		AWS_CONTAINER_CREDENTIALS_FULL_URI => $bad_urls{$name}[0]);
	$agents->cell('container', $name,
		sub { refused({ sqlstate => 'F0000', message => $could_not, detail => $bad_urls{$name}[1] }); });
}
with_env(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI => '@192.0.2.1/creds');
$agents->cell(
	'container',
	'a relative URI that leads elsewhere',
	sub {
		refused({
			sqlstate => 'F0000',
			message => $could_not,
			detail => 'The path in AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must begin with "/".'
		});
	});

# https, to any host; its certificate is verified as Secrets Manager's is.
with_env(
	AWS_CONTAINER_CREDENTIALS_RELATIVE_URI => undef,
	AWS_CONTAINER_CREDENTIALS_FULL_URI => $agents->tls_url('good') . '/creds');
$agents->cell('container', 'https',
	sub { is($t->sql('SELECT access_key_last4 FROM rotate_credentials()'), '0002', 'is used'); });
foreach my $kind (qw(untrusted wrong_name expired))
{
	with_env(AWS_CONTAINER_CREDENTIALS_FULL_URI => $agents->tls_url($kind) . '/creds');
	$agents->cell(
		'container',
		"https with a certificate that is $kind",
		sub {
			$agents->requests;
			refused({ sqlstate => '08001', message => qr/^\Q$could_not\E: / });
			is(scalar($agents->requests), 0, 'the token is not sent');
		});
}

# Nobody is there.
with_env(AWS_CONTAINER_CREDENTIALS_FULL_URI => 'http://localhost:1/creds');
$agents->cell(
	'container', 'absent',
	sub {
		refused({
			sqlstate => '08001',
			message => "$could_not: could not connect: Connection refused",
			detail => 'The address is "http://localhost:1/".'
		});
	});

is(join(', ', $agents->told($t->server_log)), '', 'no secret is in the server\'s log');
$t->stop;
$agents->table;
done_testing();
