# 082_instance.pl
#	  Credentials and region of the EC2 instance metadata service, version 2: a
#	  rotation with them, and every way in which the service can be wrong.

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
my $dir = PostgreSQL::Test::Utils::tempdir('instance');
my $t = RotateTest->new(
	emulator => $emulator,
	conf => "rotate_ext.max_attempts = 1\nlog_min_messages = debug2\nrotate_ext.region = ''",
	env => {
		AWS_ACCESS_KEY_ID => undef,
		AWS_SECRET_ACCESS_KEY => undef,
		AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials",
		AWS_CONFIG_FILE => "$dir/config",
		AWS_EC2_METADATA_DISABLED => undef,
		AWS_EC2_METADATA_SERVICE_ENDPOINT => $agents->url,
		http_proxy => $agents->foreign_url,
		ALL_PROXY => $agents->foreign_url
	});
my $who = 'the EC2 instance metadata service';
my $could_not = "could not get AWS credentials from $who";
my $show = 'SELECT * FROM rotate_credentials()';

sub with_env { $t->setenv(@_); $t->stop; $t->start; return; }

sub refused
{
	my ($expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$t->error_is($show, $expected, 'the error');
	is(join(', ', $agents->told(join "\n", values %{ $t->{last_error} })), '', 'which tells no secret');
	my @requests = $agents->requests;
	is(scalar(grep { $_->{server} eq 'foreign' } @requests), 0, 'and nobody else was asked');
	is(scalar(grep { $_->{method} eq 'GET' && !defined $_->{headers}{'x-aws-ec2-metadata-token'} } @requests),
		0, 'nor version 1');
	return;
}

sub fault
{
	my ($step, $name, $fault, $expected) = @_;
	$agents->cell(
		'EC2 instance', "$step: $name",
		sub {
			$agents->set(instance => (fault => { %$fault, step => $step }));
			refused($expected);
			$agents->set(instance => (fault => undef));
		});
	return;
}

$t->add('app');
my $good = $agents->credentials('ASIAINSTANCE00000001');
$agents->set(instance =>
	  (token => $agents->secret('the token of the service', 56), answer => { Code => 'Success', Type => 'AWS-HMAC', %$good }));

$agents->cell(
	'EC2 instance', 'a rotation',
	sub {
		$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');
		$emulator->clear_log;
		$agents->requests;
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'is done');
		is_deeply([ grep { $_->{access_key_id} ne 'ASIAINSTANCE00000001' } @{ $emulator->log->{entries} } ], [],
			'with the instance\'s key');
		my @requests = $agents->requests;
		is(join(', ', map { "$_->{server} $_->{method} $_->{path}" } @requests),
			'agent PUT /latest/api/token, agent GET /latest/meta-data/iam/security-credentials/, '
			  . 'agent GET /latest/meta-data/iam/security-credentials/app-role',
			'version 2, by no proxy');
		is($requests[0]{headers}{'x-aws-ec2-metadata-token-ttl-seconds'}, '21600', 'a token for six hours');
		is($requests[0]{headers}{'content-type'}, undef, 'which is no form');
		is($requests[0]{headers}{'content-length'}, '0', 'and has no body');
	});
$agents->cell(
	'EC2 instance', 'the region',
	sub {
		is($t->sql('SELECT region FROM rotate_credentials()'), $RotateTest::REGION, 'is the instance\'s');
		is(scalar(grep { $_->{path} eq '/latest/meta-data/placement/region' } $agents->requests), 1, 'asked for once');
		$t->set('rotate_ext.region' => 'us-east-1');
		is($t->sql('SELECT region FROM rotate_credentials()'), 'us-east-1', 'unless another is set');
		is(scalar(grep { $_->{path} eq '/latest/meta-data/placement/region' } $agents->requests), 0, 'and not asked for');
		$t->set('rotate_ext.region' => '');
	});

my $region = 'could not get the AWS region from the EC2 instance metadata service';
fault('region', 'HTTP 404', { kind => 'status', status => 404 }, { sqlstate => '28000', message => "$region: HTTP 404" });
fault('region', 'HTTP 500', { kind => 'status', status => 500 }, { sqlstate => '58000', message => "$region: HTTP 500" });
fault(
	'region', 'garbage',
	{ kind => 'body', body => 'EU West' },
	{
		sqlstate => '28000',
		message => "$region: its answer can't be used",
		detail => 'Of the answer of "' . $agents->url . '/": it is no name of a region.'
	});
$t->set('rotate_ext.region' => $RotateTest::REGION);

my $hop = 'The answer with the token reaches a container only if the instance\'s metadata hop limit '
  . '(HttpPutResponseHopLimit) allows it: set it to 2.';
fault(
	'token', 'hop limit: its answer never comes',
	{ kind => 'slow', seconds => 3 },
	{ sqlstate => '08006', message => "$could_not: no answer within 1000 ms", hint => $hop });

sub bad
{
	my ($step, $name, $fault, $problem) = @_;
	fault(
		$step, $name, $fault,
		{
			sqlstate => '28000',
			message => "$could_not: its answer can't be used",
			detail => 'Of the answer of "' . $agents->url . "/\": $problem."
		});
	return;
}

foreach my $step (qw(token role credentials))
{
	fault($step, "HTTP $_->[0]", { kind => 'status', status => $_->[0], body => $good->{Token} },
		{ sqlstate => $_->[1], message => "$could_not: HTTP $_->[0]", hint => '' })
	  foreach [ 400, '28000' ], [ 401, '28000' ], [ 403, '28000' ], [ 429, '53000' ], [ 500, '58000' ], [ 503, '58000' ];
	fault($step, 'redirects elsewhere', { kind => 'redirect', to => $agents->foreign_url . '/latest/api/token' },
		{ sqlstate => '28000', message => "$could_not: HTTP 302" });
	fault($step, 'huge', { kind => 'huge' },
		{ sqlstate => '28000', message => "$could_not: the answer is larger than 65536 bytes" });
	fault($step, 'closes the connection', { kind => 'close' },
		{ sqlstate => '08006', message => qr/^\Q$could_not\E: Empty reply/ });
	fault($step, 'cuts the answer off', { kind => 'cut' }, { sqlstate => '08006', message => qr/^\Q$could_not\E: / });
	fault($step, 'is not HTTP', { kind => 'not_http' }, { sqlstate => '28000', message => qr/^\Q$could_not\E: / });
}
fault('token', 'HTTP 404', { kind => 'status', status => 404 }, { sqlstate => '28000', message => "$could_not: HTTP 404" });
fault($_, 'slow', { kind => 'slow', seconds => 3 },
	{ sqlstate => '08006', message => "$could_not: no answer within 1000 ms", hint => '' })
  foreach qw(role credentials);
bad('token', 'nothing', { kind => 'body', body => '' }, 'it is no token');
bad('token', 'garbage', { kind => 'body', body => "\x01\x02" }, 'it is no token');
bad('token', 'CR/LF in it', { kind => 'body', body => "abc\r\nX-Evil: 1" }, 'it is no token');
bad('token', 'too long', { kind => 'body', body => 'x' x 2000 }, 'it is no token');
bad('role', 'nothing', { kind => 'body', body => '' }, 'it is no name of a role');
bad('role', 'a path', { kind => 'body', body => '../../../user-data' }, 'it is no name of a role');
bad('role', 'two lines', { kind => 'body', body => "one\ntwo" }, 'it is no name of a role');
bad('credentials', 'garbage', { kind => 'body', body => "<html>$good->{Token}" }, 'it is not a JSON object');
bad('credentials', 'truncated', { kind => 'truncated' }, 'it is not a JSON object');
bad(
	'credentials', 'a role that EC2 may not assume',
	{ kind => 'body', body => '{"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"}' },
	'its Code is AssumeRoleUnauthorizedAccess: the role\'s trust policy does not name EC2');
bad('credentials', 'another code', { kind => 'body', body => "{\"Code\": \"$good->{Token}\"}" }, 'its Code is not Success');
bad('credentials', 'no secret', { kind => 'body', body => '{"Code": "Success", "AccessKeyId": "ASIA"}' },
	'SecretAccessKey is missing');
fault(
	'credentials', 'a token with CR/LF',
	{
		kind => 'body',
		body => "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Token\":\"C\\r\\nD\",\"Expiration\":\"2099-01-01T00:00:00Z\"}"
	},
	{ sqlstate => '28000', message => "could not use the AWS credentials of $who" });

$agents->cell(
	'EC2 instance', 'expired',
	sub {
		$agents->set(instance => (answer => $agents->credentials('ASIAINSTANCE00000002', expires_in => -60)));
		$agents->requests;
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'but AWS still takes them');
		is(scalar($agents->requests), 3, 'and it is not asked again before each request');
	});
$agents->set(instance => (answer => $good));
$t->set('rotate_ext.max_attempts' => 3);
$agents->cell(
	'EC2 instance', 'HTTP 500, twice',
	sub {
		foreach my $step (qw(token role credentials))
		{
			$agents->set(instance => (fault => { step => $step, kind => 'status', status => 500, times => 2 }));
			is($t->sql('SELECT access_key_last4 FROM rotate_credentials()'), '0001', "$step: it is asked again");
			is(scalar($agents->requests), 5, 'and again');
		}
		$agents->set(instance => (fault => undef));
	});
$t->set('rotate_ext.max_attempts' => 1);

$agents->cell(
	'EC2 instance',
	'credentials: HTTP 404',
	sub {
		$agents->set(instance => (fault => { step => 'credentials', kind => 'status', status => 404 }));
		refused({ sqlstate => '28000', message => "$could_not: HTTP 404" });
		$agents->set(instance => (fault => undef));
	});

# What an instance without a role says, at the end of the chain.
sub chain { my $last = shift; return qr/^Environment: .*\nWeb identity: .*\nShared files: .*\nContainer: .*\nEC2 instance metadata service: $last\.$/; }

$agents->cell(
	'EC2 instance',
	'no role',
	sub {
		$agents->set(instance => (role => undef));
		refused({
			sqlstate => '28000',
			message => 'could not find AWS credentials',
			detail => chain('the instance has no role \(instance profile\)')
		});
		$agents->set(instance => (role => 'app-role'));
	});

# The settings.
my %bad_settings = (
	'http to a foreign host' => [
		AWS_EC2_METADATA_SERVICE_ENDPOINT => 'http://192.0.2.1',
		qr/^The URL in AWS_EC2_METADATA_SERVICE_ENDPOINT must begin with "https:\/\/" for any host but this machine's loopback, 169.254.169.254 and fd00:ec2::254\.$/
	],
	'http to a container\'s agent' =>
	  [ AWS_EC2_METADATA_SERVICE_ENDPOINT => 'http://169.254.170.2', qr/must begin with "https/ ],
	'a path' => [ AWS_EC2_METADATA_SERVICE_ENDPOINT => $agents->url . '/latest', qr/holds a path that can't be sent/ ],
	'a mode that is none' => [
		AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE => 'IPv5',
		qr/^AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE must be "IPv4" or "IPv6"\.$/
	]);
foreach my $name (sort keys %bad_settings)
{
	my ($variable, $value, $detail) = @{ $bad_settings{$name} };
	with_env(
		AWS_EC2_METADATA_SERVICE_ENDPOINT => $agents->url,
		AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE => undef,
		$variable => $value);
	$agents->cell('EC2 instance', $name,
		sub { refused({ sqlstate => 'F0000', message => $could_not, detail => $detail }); });
}
with_env(AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE => undef, AWS_EC2_METADATA_SERVICE_ENDPOINT => 'http://localhost:1');
$agents->cell(
	'EC2 instance', 'absent where it is named',
	sub { refused({ sqlstate => '08001', message => "$could_not: could not connect: Connection refused", hint => '' }); });
with_env(AWS_EC2_METADATA_SERVICE_ENDPOINT => $agents->url, AWS_EC2_METADATA_DISABLED => 'True');
$agents->cell(
	'EC2 instance',
	'disabled',
	sub {
		refused({
			sqlstate => '28000',
			message => 'could not find AWS credentials',
			detail => chain('it is switched off by AWS_EC2_METADATA_DISABLED')
		});
		is(scalar($agents->requests), 0, 'and not asked');
		$t->set('rotate_ext.region' => '');
		refused({
			sqlstate => 'F0000',
			message => 'could not find out the AWS region',
			detail => 'Neither rotate_ext.region nor AWS_REGION nor the profile in use names one. '
			  . 'EC2 instance metadata service: it is switched off by AWS_EC2_METADATA_DISABLED.'
		});
	});

is(join(', ', $agents->told($t->server_log)), '', 'no secret is in the server\'s log');
$t->stop;
$agents->table;
done_testing();
