# 080_web_identity.pl
#	  Credentials of a role for a web identity token (EKS's IRSA), from STS: a
#	  rotation with them, and every way in which STS, its answer and the token's
#	  file can be wrong.

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
my $dir = PostgreSQL::Test::Utils::tempdir('identity');
my $token_file = "$dir/token";
my $role = 'arn:aws:iam::123456789012:role/team/app';
my %none = (
	AWS_ACCESS_KEY_ID => undef,
	AWS_SECRET_ACCESS_KEY => undef,
	AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials",
	AWS_CONFIG_FILE => "$dir/config");
my $t = RotateTest->new(
	emulator => $emulator,
	conf => "rotate_ext.max_attempts = 1\nrotate_ext.request_timeout = 1000\nlog_min_messages = debug2",
	env => {
		%none,
		AWS_WEB_IDENTITY_TOKEN_FILE => $token_file,
		AWS_ROLE_ARN => $role,
		AWS_ENDPOINT_URL_STS => $agents->url,
		# to be passed over: the identity comes first
		AWS_CONTAINER_CREDENTIALS_FULL_URI => $agents->foreign_url
	});
my $could_not = "could not assume role \"$role\" of the web identity";

sub write_token
{
	my $text = shift;
	open my $out, '>:raw', "$token_file.new" or die $!;
	print $out $text;
	close $out;
	rename "$token_file.new", $token_file or die $!;
	return;
}

sub new_token
{
	my $token = join '.', map { $agents->secret("part $_ of a web identity token", 300) =~ tr{+/=}{-_x}r } 1 .. 3;
	$agents->{secrets}{"a web identity token"} = $token;
	return $token;
}

sub with_env { $t->setenv(@_); $t->stop; $t->start; return; }

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
		'web identity', $name,
		sub {
			$agents->set(sts => (fault => $fault));
			refused($expected);
			$agents->set(sts => (fault => undef));
		});
	return;
}

$t->add('app');
my $token = new_token();
write_token($token);
my $good = $agents->credentials('ASIAWEBIDENTITY00001', token_key => 'SessionToken');
$agents->set(sts => (web_token => $token));
$agents->control('role', arn => $role, answer => $good);

$agents->cell(
	'web identity', 'a rotation',
	sub {
		$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');
		$emulator->clear_log;
		$agents->requests;
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'is done');
		is_deeply([ grep { $_->{access_key_id} ne 'ASIAWEBIDENTITY00001' } @{ $emulator->log->{entries} } ], [],
			'with the role\'s key');
		my @requests = $agents->requests;
		is(scalar(@requests), 1, 'for which STS was asked once');
		my $form = $requests[0]{form};
		like(delete $form->{RoleSessionName}, qr/^rotate_ext-\d+$/, 'for a session of ours');
		is_deeply(
			$form,
			{
				Action => 'AssumeRoleWithWebIdentity',
				Version => '2011-06-15',
				RoleArn => $role,
				WebIdentityToken => $token
			},
			'with the token and nothing else');
		is($requests[0]{headers}{authorization}, undef, 'and no signature');
		is($requests[0]{headers}{'content-type'}, 'application/x-www-form-urlencoded; charset=utf-8', 'as a form');
	});
$agents->cell(
	'web identity', 'what is shown',
	sub {
		my $row = $t->row('SELECT provider, access_key_last4, '
			  . 'expires BETWEEN now() + interval \'5 hours 58 minutes\' AND now() + interval \'6 hours 1 minute\' AS soon '
			  . 'FROM rotate_credentials()');
		is_deeply($row,
			{ provider => "role \"$role\" of the web identity", access_key_last4 => '0001', soon => JSON::PP::true },
			'provider, the key\'s end, and when it expires');
	});
$agents->cell(
	'web identity', 'the token\'s file changes',
	sub {
		my $next = new_token();
		$agents->set(sts => (web_token => $next));
		refused({
			sqlstate => '28000',
			message => "$could_not: InvalidIdentityToken: (AWS's message is left out, since it quotes a token)"
		});
		write_token("$next\n");
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'the new one is used at once');
	});

# What STS answers.
sub error
{
	my ($code, $message) = @_;
	return "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>$code</Code>"
	  . "<Message>$message</Message></Error><RequestId>1</RequestId></ErrorResponse>";
}

fault(
	'HTTP 403, AccessDenied',
	{ kind => 'status', status => 403, body => error('AccessDenied', 'Not authorized to perform sts:AssumeRoleWithWebIdentity') },
	{
		sqlstate => '28000',
		message => "$could_not: AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
		detail => 'The address is "' . $agents->url . '/".',
		hint => 'Look at the role\'s trust policy: it must name the OIDC provider, and the service account or whoever else '
		  . 'the token is of.'
	});
fault(
	'HTTP 400, ExpiredTokenException',
	{ kind => 'status', status => 400, body => error('ExpiredTokenException', 'Token expired: current date &gt; 5') },
	{
		sqlstate => '28000',
		message => "$could_not: ExpiredTokenException: Token expired: current date > 5",
		hint => 'Look at who writes the token\'s file, and when.'
	});
fault('HTTP 400, Throttling', { kind => 'status', status => 400, body => error('Throttling', 'Rate exceeded') },
	{ sqlstate => '53000', message => "$could_not: Throttling: Rate exceeded" });
fault(
	'HTTP 400, IDPCommunicationError',
	{ kind => 'status', status => 400, body => error('IDPCommunicationError', 'no answer') },
	{ sqlstate => '58000', message => "$could_not: IDPCommunicationError: no answer" });
foreach my $case ([ 403, '28000' ], [ 404, '28000' ], [ 500, '58000' ], [ 503, '58000' ])
{
	fault("HTTP $case->[0]", { kind => 'status', status => $case->[0], body => "<html>$good->{SessionToken}</html>" },
		{ sqlstate => $case->[1], message => "$could_not: HTTP $case->[0]" });
}
fault('redirects elsewhere', { kind => 'redirect', to => $agents->foreign_url . '/' },
	{ sqlstate => '28000', message => "$could_not: HTTP 302" });
fault('redirects elsewhere (308)', { kind => 'redirect', status => 308, to => $agents->foreign_url . '/' },
	{ sqlstate => '28000', message => "$could_not: HTTP 308" });
fault('slow', { kind => 'slow', seconds => 3 }, { sqlstate => '08006', message => "$could_not: no answer within 1000 ms" });
fault('closes the connection', { kind => 'close' }, { sqlstate => '08006', message => qr/^\Q$could_not\E: Empty reply/ });
fault('cuts the answer off', { kind => 'cut' }, { sqlstate => '08006' });
fault('is not HTTP', { kind => 'not_http' }, { sqlstate => '28000', message => qr/^\Q$could_not\E: / });
fault('huge', { kind => 'huge' }, { sqlstate => '28000', message => "$could_not: the answer is larger than 65536 bytes" });

sub answer
{
	my %credentials = (%$good, @_);
	my $fields = join '', map { "<$_>$credentials{$_}</$_>" } grep { defined $credentials{$_} } sort keys %credentials;
	return '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
	  . "<AssumeRoleWithWebIdentityResult><Credentials>$fields</Credentials></AssumeRoleWithWebIdentityResult>"
	  . '</AssumeRoleWithWebIdentityResponse>';
}

my %bad_answers = (
	'garbage' => 'hello',
	'nothing' => '',
	'JSON' => '{"AccessKeyId": "ASIA"}',
	'another action\'s answer' => answer() =~ s/WithWebIdentity//gr,
	'no key' => answer(AccessKeyId => undef),
	'no secret' => answer(SecretAccessKey => undef),
	'no token' => answer(SessionToken => undef),
	'an empty token' => answer(SessionToken => ''),
	'no expiry' => answer(Expiration => undef),
	'an odd expiry' => answer(Expiration => 'tomorrow'),
	'a document type' => '<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]>' . answer(SessionToken => '&y;'),
	'an entity' => answer(SessionToken => '&y;'),
	'a token of 20,000 characters' => answer(SessionToken => 'x' x 20000));
foreach my $name (sort keys %bad_answers)
{
	fault(
		$name,
		{ kind => 'body', body => $bad_answers{$name} },
		{
			sqlstate => '28000',
			message => "$could_not: STS's answer can't be used",
			detail => 'The answer of "' . $agents->url . '/" does not hold all of the role\'s credentials.'
		});
}
fault('truncated', { kind => 'truncated' }, { sqlstate => '28000', message => "$could_not: STS's answer can't be used" });
fault(
	'a token with CR/LF',
	{ kind => 'body', body => answer(SessionToken => "abc&#13;&#10;X-Evil: 1") },
	{ sqlstate => '28000', message => "could not use the AWS credentials of role \"$role\" of the web identity" });
fault(
	'expired',
	{ kind => 'body', body => answer(Expiration => RotateTest::Agents::time_in(-60)) },
	{
		sqlstate => '28000',
		message => "could not use the AWS credentials of role \"$role\" of the web identity",
		detail => 'They have expired already.'
	});
$agents->cell(
	'web identity',
	'a clock that is far off',
	sub {
		# as STS sees it: its clock is two hours behind this machine's
		$agents->set(sts => (clock => -7200));
		$agents->control('role', arn => $role,
			answer => { %$good, Expiration => RotateTest::Agents::time_in(3600 - 7200) });
		is($t->sql('SELECT expires > now() + interval \'58 minutes\' FROM rotate_credentials()'),
			't', 'an hour is an hour');
		$agents->set(sts => (clock => 0));
		$agents->control('role', arn => $role, answer => $good);
	});

# It passes.
$t->set('rotate_ext.max_attempts' => 3);
foreach my $case (
	[ 'HTTP 500, twice' => { kind => 'status', status => 500 } ],
	[ 'closes the connection, twice' => { kind => 'close' } ],
	[ 'IDPCommunicationError, twice' => { kind => 'status', status => 400, body => error('IDPCommunicationError', 'x') } ])
{
	$agents->cell(
		'web identity',
		$case->[0],
		sub {
			$agents->set(sts => (fault => { %{ $case->[1] }, times => 2 }));
			$agents->requests;
			is($t->sql('SELECT access_key_last4 FROM rotate_credentials()'), '0001', 'STS is asked again');
			is(scalar($agents->requests), 3, 'and again');
		});
}
$agents->set(sts => (fault => undef));
$t->set('rotate_ext.max_attempts' => 1);

# The token's file.
my %bad_tokens = (
	'a line end within' => "abc\r\ndef",
	'nothing' => '',
	'a line end alone' => "\n",
	'what is not ASCII' => "abc\xe9");
foreach my $name (sort keys %bad_tokens)
{
	$agents->cell(
		'web identity',
		"a token file with $name",
		sub {
			write_token($bad_tokens{$name});
			$agents->requests;
			refused({
				sqlstate => 'F0000',
				message => "could not assume the role of the web identity: file \"$token_file\" holds no token",
				detail => 'It is empty, or holds more than printable ASCII characters.'
			});
			is(scalar($agents->requests), 0, 'STS is not asked');
		});
}
$agents->cell('web identity', 'a token file that is huge',
	sub { write_token('x' x 20000); refused({ sqlstate => 'F0000', detail => 'It is larger than 16384 bytes.' }); });
unlink $token_file;
$agents->cell(
	'web identity',
	'no token file',
	sub {
		refused({
			sqlstate => 'F0000',
			message => 'could not read AWS credentials: could not read the web identity token file '
			  . "\"$token_file\": No such file or directory"
		});
	});
write_token(new_token());

# The variables.
my %bad_settings = (
	'no role' => [
		{ AWS_ROLE_ARN => undef },
		{
			message => 'could not assume the role of the web identity',
			detail => 'AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not.'
		}
	],
	'a role that is none' => [
		{ AWS_ROLE_ARN => 'app' },
		{ message => 'could not assume the role of the web identity: it is not named by its ARN' }
	],
	'a session name that is none' => [
		{ AWS_ROLE_SESSION_NAME => 'two words' },
		{
			message => 'could not assume the role of the web identity: the session\'s name must have 2 to 64 of the '
			  . 'characters a-z, A-Z, 0-9 and _+=,.@-'
		}
	],
	'http to a foreign host' => [
		{ AWS_ENDPOINT_URL_STS => 'http://sts.example.com' },
		{
			message => 'could not use the URL in AWS_ENDPOINT_URL_STS',
			detail => 'The URL must begin with "https://" for any host but this machine\'s loopback.'
		}
	],
	'absent' => [
		{ AWS_ENDPOINT_URL_STS => 'http://127.0.0.1:1' },
		{
			sqlstate => '08001',
			message => "$could_not: could not connect: Connection refused",
			detail => 'The address is "http://127.0.0.1:1/".',
			hint => 'In a private network STS needs a VPC endpoint or a NAT gateway; AWS_ENDPOINT_URL_STS sets another address.'
		}
	]);
my %settings = (AWS_ROLE_ARN => $role, AWS_ROLE_SESSION_NAME => undef, AWS_ENDPOINT_URL_STS => $agents->url);
foreach my $name (sort keys %bad_settings)
{
	my ($env, $expected) = @{ $bad_settings{$name} };
	with_env(%settings, %$env);
	$agents->cell('web identity', $name, sub { refused({ sqlstate => 'F0000', %$expected }); });
}

# The session's name, and where STS is.
with_env(%settings, AWS_ROLE_SESSION_NAME => 'db-1@prod', AWS_ENDPOINT_URL_STS => undef, AWS_ENDPOINT_URL => $agents->url);
$agents->cell(
	'web identity',
	'a session name, and AWS_ENDPOINT_URL',
	sub {
		my $next = new_token();
		$agents->set(sts => (web_token => $next));
		write_token($next);
		$agents->requests;
		is($t->sql('SELECT access_key_last4 FROM rotate_credentials()'), '0001', 'are used');
		is(($agents->requests)[0]{form}{RoleSessionName}, 'db-1@prod', 'the name as it is');
	});

# By a profile.
open my $config, '>', "$dir/config" or die $!;
print $config "[profile web]\nrole_arn = $role\nweb_identity_token_file = $token_file\nduration_seconds = 1800\n"
  . "role_session_name = by-profile\n[profile half]\nweb_identity_token_file = $token_file\n";
close $config;
with_env(AWS_WEB_IDENTITY_TOKEN_FILE => undef, AWS_ROLE_ARN => undef, AWS_ROLE_SESSION_NAME => undef, AWS_PROFILE => 'web');
$agents->cell(
	'web identity',
	'by a profile',
	sub {
		$agents->requests;
		is($t->sql('SELECT provider FROM rotate_credentials()'), "role \"$role\" of profile \"web\"", 'is used');
		my $form = ($agents->requests)[0]{form};
		is("$form->{RoleSessionName} $form->{DurationSeconds}", 'by-profile 1800', 'with its session name and duration');
		$t->set('rotate_ext.profile' => 'half');
		refused({
			sqlstate => 'F0000',
			message => 'could not use the AWS credentials of profile "half"',
			detail => 'web_identity_token_file is set, but role_arn is not.'
		});
	});

is(join(', ', $agents->told($t->server_log)), '', 'no secret is in the server\'s log');
$t->stop;
$agents->table;
done_testing();
