# 083_roles.pl
#	  Roles that a profile assumes: with another profile's credentials, a chain
#	  of them, those of another provider; external ID, session, duration; and
#	  every way in which the profile or STS can be wrong.

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
my $dir = PostgreSQL::Test::Utils::tempdir('roles');
my $token_file = "$dir/token";
my %key = (id => 'AKIASOURCEOFROLES001', secret => $agents->secret('the source\'s secret key', 40));
my %session = (
	id => 'ASIASOURCEOFROLES001',
	secret => $agents->secret('the source\'s temporary secret key', 40),
	token => $agents->secret('the source\'s session token', 300));
my $t = RotateTest->new(
	emulator => $emulator,
	conf => "rotate_ext.max_attempts = 1\nrotate_ext.request_timeout = 1000\nlog_min_messages = debug2",
	env => {
		AWS_ACCESS_KEY_ID => $key{id},
		AWS_SECRET_ACCESS_KEY => $key{secret},
		AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials",
		AWS_CONFIG_FILE => "$dir/config",
		AWS_CONTAINER_CREDENTIALS_FULL_URI => $agents->url . '/creds',
		AWS_EC2_METADATA_DISABLED => undef,
		AWS_EC2_METADATA_SERVICE_ENDPOINT => $agents->url,
		AWS_ENDPOINT_URL_STS => $agents->url
	});

sub arn { return "arn:aws:iam::123456789012:role/$_[0]"; }

# The last line of a profile may name its keys.
my $credentials = <<"END";
[base]
aws_access_key_id = $key{id}
aws_secret_access_key = $key{secret}
[temporary]
aws_access_key_id = $session{id}
aws_secret_access_key = $session{secret}
aws_session_token = $session{token}
[itself]
role_arn = @{[arn('one')]}
source_profile = itself
aws_access_key_id = $key{id}
aws_secret_access_key = $key{secret}
[half]
aws_access_key_id = $key{id}
[blank]
aws_access_key_id = $key{id}
aws_secret_access_key = two words
END
my $config = <<"END";
[profile one]
role_arn = @{[arn('one')]}
source_profile = base
[profile of_temporary]
role_arn = @{[arn('one')]}
source_profile = temporary
[profile all]
role_arn = @{[arn('all')]}
source_profile = base
external_id = x/y:z=@,.-\\+ ä
role_session_name = db.prod
duration_seconds = 43200
[profile two]
role_arn = @{[arn('two')]}
source_profile = one
[profile three]
role_arn = @{[arn('three')]}
source_profile = two
[profile of_web]
role_arn = @{[arn('one')]}
source_profile = web
[profile web]
role_arn = @{[arn('web')]}
web_identity_token_file = $token_file
[profile of_environment]
role_arn = @{[arn('one')]}
credential_source = Environment
[profile of_instance]
role_arn = @{[arn('one')]}
credential_source = Ec2InstanceMetadata
[profile of_container]
role_arn = @{[arn('one')]}
credential_source = EcsContainer
[profile of_keys_with_role]
role_arn = @{[arn('one')]}
source_profile = keys_and_role
[profile keys_and_role]
role_arn = @{[arn('none')]}
source_profile = base
aws_access_key_id = $key{id}
aws_secret_access_key = $key{secret}
[profile mfa]
role_arn = @{[arn('one')]}
source_profile = base
mfa_serial = arn:aws:iam::123456789012:mfa/x
[profile both]
role_arn = @{[arn('one')]}
source_profile = base
credential_source = Environment
[profile neither]
role_arn = @{[arn('one')]}
[profile loop]
role_arn = @{[arn('one')]}
source_profile = loop
[profile loop1]
role_arn = @{[arn('one')]}
source_profile = loop2
[profile loop2]
role_arn = @{[arn('one')]}
source_profile = loop1
[profile of_nobody]
role_arn = @{[arn('one')]}
source_profile = nobody
[profile of_empty]
role_arn = @{[arn('one')]}
source_profile = empty
[profile empty]
region = eu-central-1
[profile of_half]
role_arn = @{[arn('one')]}
source_profile = half
[profile of_blank]
role_arn = @{[arn('one')]}
source_profile = blank
[profile no_source]
role_arn = @{[arn('one')]}
credential_source = environment
[profile short]
role_arn = @{[arn('one')]}
source_profile = base
duration_seconds = 899
[profile long]
role_arn = @{[arn('one')]}
source_profile = base
duration_seconds = 43201
[profile odd_duration]
role_arn = @{[arn('one')]}
source_profile = base
duration_seconds = 1h
[profile odd_session]
role_arn = @{[arn('one')]}
source_profile = base
role_session_name = a b
[profile no_arn]
role_arn = one
source_profile = base
[profile denied]
role_arn = @{[arn('denied')]}
source_profile = base
[profile wrong_id]
role_arn = @{[arn('all')]}
source_profile = base
external_id = another
[profile sso]
sso_session = work
sso_account_id = 123456789012
sso_role_name = Admin
[sso-session work]
sso_start_url = https://x.awsapps.com/start
[profile old_sso]
sso_start_url = https://x.awsapps.com/start
[profile of_sso]
role_arn = @{[arn('one')]}
source_profile = sso
END
foreach my $file ([ credentials => $credentials ], [ config => $config ], [ token => 'abc.def.ghi' ])
{
	open my $out, '>', "$dir/$file->[0]" or die $!;
	print $out $file->[1];
	close $out;
}

# role(NAME, KEY ID, options): a role whose credentials Secrets Manager knows, and STS, for the next in a chain.
sub role
{
	my ($name, $id, %options) = @_;
	my $answer = $agents->credentials($id, token_key => 'SessionToken');
	$agents->control('role', arn => arn($name), answer => $answer, %options);
	$agents->control('key', id => $id, secret => $answer->{SecretAccessKey}, token => $answer->{SessionToken});
	return $answer;
}

my $one = role('one', 'ASIAROLENUMBER000001');
role('two', 'ASIAROLENUMBER000002', key => 'ASIAROLENUMBER000001');
role('three', 'ASIAROLENUMBER000003', key => 'ASIAROLENUMBER000002');
role('all', 'ASIAROLENUMBER000004', external_id => "x/y:z=@,.-\\+ \xe4");
role('denied', 'ASIAROLENUMBER000005', key => 'nobody\'s');
role('web', 'ASIAROLENUMBER000006');
$agents->set(sts => (web_token => 'abc.def.ghi'));
$agents->control('key', %key);
$agents->control('key', %session);
foreach my $service ([ instance => 'ASIAOFTHEINSTANCE001' ], [ container => 'ASIAOFTHECONTAINER01' ])
{
	my $answer = $agents->credentials($service->[1]);
	$agents->set($service->[0] => (answer => $answer));
	$agents->control('key', id => $service->[1], secret => $answer->{SecretAccessKey}, token => $answer->{Token});
}

sub refused
{
	my ($expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$t->error_is('SELECT * FROM rotate_credentials()', $expected, 'the error');
	is(join(', ', $agents->told(join "\n", values %{ $t->{last_error} })), '', 'which tells no secret');
	is(scalar(grep { $_->{server} eq 'foreign' } $agents->requests), 0, 'and nobody else was asked');
	return;
}

# STS's forms, one for each role assumed, and who signed.
sub forms { return map { { %{ $_->{form} }, signed_by => $_->{key_id} } } grep { $_->{service} eq 'sts' } $agents->requests; }

$t->add('app');
$t->set('rotate_ext.profile' => 'one');
$agents->cell(
	'role', 'a rotation',
	sub {
		$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');
		$emulator->clear_log;
		$agents->requests;
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'is done');
		is_deeply([ grep { $_->{access_key_id} ne 'ASIAROLENUMBER000001' } @{ $emulator->log->{entries} } ], [],
			'with the role\'s key');
		my ($form, @more) = forms();
		is(scalar(@more), 0, 'for which STS was asked once');
		like(delete $form->{RoleSessionName}, qr/^rotate_ext-\d+$/, 'for a session of ours');
		is_deeply($form,
			{ Action => 'AssumeRole', Version => '2011-06-15', RoleArn => arn('one'), signed_by => $key{id} },
			'signed with the source\'s key');
		is($t->sql('SELECT provider || \', \' || access_key_last4 FROM rotate_credentials()'),
			'role "' . arn('one') . '" of profile "one", 0001', 'it is shown');
	});
$agents->cell(
	'role', 'all settings',
	sub {
		$agents->requests;
		$t->set('rotate_ext.profile' => 'all');
		is($t->sql('SELECT access_key_last4 FROM rotate_credentials()'), '0004', 'are used');
		my ($form) = forms();
		is("$form->{RoleSessionName} $form->{DurationSeconds}", 'db.prod 43200', 'session and duration');
	});
my %sources = (
	of_temporary => [ 'ASIASOURCEOFROLES001' ],
	two => [ $key{id}, 'ASIAROLENUMBER000001' ],
	three => [ $key{id}, 'ASIAROLENUMBER000001', 'ASIAROLENUMBER000002' ],
	itself => [ $key{id} ],
	of_keys_with_role => [ $key{id} ],
	of_web => [ undef, 'ASIAROLENUMBER000006' ],
	of_environment => [ $key{id} ],
	of_instance => ['ASIAOFTHEINSTANCE001'],
	of_container => ['ASIAOFTHECONTAINER01']);
foreach my $profile (sort keys %sources)
{
	$agents->cell(
		'role',
		"with the credentials of: $profile",
		sub {
			$agents->requests;
			$t->set('rotate_ext.profile' => $profile);
			like($t->sql('SELECT provider FROM rotate_credentials()'), qr/ of profile "$profile"$/, 'is assumed');
			is_deeply([ map { $_->{signed_by} } forms() ], $sources{$profile}, 'and signed for as it should be');
		});
}
$agents->cell(
	'role', 'a clock that is twenty minutes off',
	sub {
		$t->set('rotate_ext.profile' => 'one');
		$agents->set(sts => (clock => 1200));
		$agents->requests;
		is($t->sql('SELECT access_key_last4 FROM rotate_credentials()'), '0001', 'STS\'s own time is used');
		is(scalar($agents->requests), 2, 'in the second request');
		$agents->set(sts => (clock => 0));
	});

# What the profile says.
my $use = sub { return "could not use the AWS credentials of profile \"$_[0]\""; };
my $assume = sub { return "could not assume the role of profile \"$_[0]\": $_[1]"; };
my %bad = (
	mfa => {
		detail => 'It asks for a code of a multi-factor device (mfa_serial), which a server has not.',
		hint => 'Use a role whose trust policy does not demand one.'
	},
	both => { detail => 'Both source_profile and credential_source are set.' },
	neither => { detail => 'role_arn is set, but neither source_profile nor credential_source.' },
	loop => { detail => 'By its source_profile it leads back to itself.' },
	loop1 => { detail => 'By its source_profile it leads back to itself.' },
	of_nobody => { detail => 'Its source_profile has no credentials: profile "nobody".' },
	of_empty => { detail => 'Its source_profile has no credentials: profile "empty".' },
	of_half => {
		sqlstate => '28000',
		message => $use->('half'),
		detail => 'aws_access_key_id is set, but aws_secret_access_key is not.'
	},
	of_blank => { sqlstate => '28000', message => 'could not use the AWS credentials of the shared credentials file' },
	no_source => { detail => 'credential_source must be Environment, Ec2InstanceMetadata or EcsContainer.' },
	short => { message => $assume->('short', 'duration_seconds must be a number from 900 to 43200') },
	long => { message => $assume->('long', 'duration_seconds must be a number from 900 to 43200') },
	odd_duration => { message => $assume->('odd_duration', 'duration_seconds must be a number from 900 to 43200') },
	odd_session => {
		message => $assume->(
			'odd_session', 'the session\'s name must have 2 to 64 of the characters a-z, A-Z, 0-9 and _+=,.@-')
	},
	no_arn => { message => $assume->('no_arn', 'it is not named by its ARN') },
	sso => {
		detail => 'It is one of IAM Identity Center (SSO), where a person has to sign in.',
		hint => 'Use a role of the machine, a profile with keys, role_arn or credential_process.'
	},
	old_sso => { detail => 'It is one of IAM Identity Center (SSO), where a person has to sign in.' },
	of_sso => { message => $use->('sso') });
$agents->requests;
foreach my $profile (sort keys %bad)
{
	$agents->cell(
		'role',
		"profile $profile",
		sub {
			$t->set('rotate_ext.profile' => $profile);
			refused({ sqlstate => 'F0000', message => $use->($profile =~ s/loop1/loop2/r =~ s/loop2/loop1/r), %{ $bad{$profile} } });
			is(scalar($agents->requests), 0, 'STS is not asked');
		});
}

# What STS says.
my $denied = 'User: arn:aws:iam::123456789012:user/x is not authorized to perform: sts:AssumeRole on resource: ';
my $allow = 'Allow sts:AssumeRole on the role in the policy of whose credentials they are, and let the role\'s trust policy '
  . 'name them (with the external ID, if it asks for one).';
$agents->cell(
	'role',
	'HTTP 403, AccessDenied',
	sub {
		$t->set('rotate_ext.profile' => 'denied');
		refused({
			sqlstate => '28000',
			message => 'could not assume role "' . arn('denied') . "\" of profile \"denied\": AccessDenied: $denied" . arn('denied'),
			hint => $allow
		});
	});
$agents->cell(
	'role',
	'another external ID',
	sub {
		$t->set('rotate_ext.profile' => 'wrong_id');
		refused({ sqlstate => '28000', message => qr/AccessDenied/, hint => $allow });
	});
$agents->cell(
	'role',
	'a key that STS does not know, and quotes',
	sub {
		$t->set('rotate_ext.profile' => 'of_temporary');
		$agents->control('key', %session, secret => 'another');
		refused({
			sqlstate => '28000',
			message => 'could not assume role "' . arn('one') . '" of profile "of_temporary": SignatureDoesNotMatch: '
			  . '(AWS\'s message is left out, since it quotes a token)',
			hint => 'Check the credentials that the role is assumed with.'
		});
		$agents->control('key', %session);
	});

my $could_not = 'could not assume role "' . arn('one') . '" of profile "one"';
$t->set('rotate_ext.profile' => 'one');
foreach my $case (
	[ 'HTTP 404', { kind => 'status', status => 404 }, { sqlstate => '28000', message => "$could_not: HTTP 404" } ],
	[ 'HTTP 500', { kind => 'status', status => 500 }, { sqlstate => '58000', message => "$could_not: HTTP 500" } ],
	[ 'slow', { kind => 'slow', seconds => 3 }, { sqlstate => '08006', message => "$could_not: no answer within 1000 ms" } ],
	[ 'garbage', { kind => 'body', body => 'x' }, { sqlstate => '28000', message => "$could_not: STS's answer can't be used" } ],
	[ 'truncated', { kind => 'truncated' }, { sqlstate => '28000', message => "$could_not: STS's answer can't be used" } ],
	[ 'huge', { kind => 'huge' }, { sqlstate => '28000', message => "$could_not: the answer is larger than 65536 bytes" } ],
	[
		'redirects elsewhere',
		{ kind => 'redirect', status => 307, to => $agents->foreign_url . '/' },
		{ sqlstate => '28000', message => "$could_not: HTTP 307" }
	])
{
	my ($name, $fault, $expected) = @$case;
	$agents->cell('role', $name, sub { $agents->set(sts => (fault => $fault)); refused($expected); });
}
$agents->set(sts => (fault => undef));
$agents->cell(
	'role',
	'expired',
	sub {
		$agents->control('role', arn => arn('one'), answer => { %$one, Expiration => RotateTest::Agents::time_in(-60) });
		refused({
			sqlstate => '28000',
			message => 'could not use the AWS credentials of role "' . arn('one') . '" of profile "one"',
			detail => 'They have expired already.'
		});
	});
$agents->cell(
	'role',
	'a token with CR/LF',
	sub {
		$agents->control('role', arn => arn('one'), answer => { %$one, SessionToken => "$one->{SessionToken}\r\nX-Evil: 1" });
		refused({
			sqlstate => '28000',
			message => 'could not use the AWS credentials of role "' . arn('one') . '" of profile "one"',
			detail => qr/holds a blank, a line end/
		});
		$agents->control('role', arn => arn('one'), answer => $one);
	});
my %places = (
	'absent' => [ 'http://127.0.0.1:1', { sqlstate => '08001', message => "$could_not: could not connect: Connection refused" } ],
	'http to a foreign host' => [
		'http://192.0.2.1',
		{ sqlstate => 'F0000', message => 'could not use the URL in AWS_ENDPOINT_URL_STS' }
	]);
foreach my $name (sort keys %places)
{
	my ($url, $expected) = @{ $places{$name} };
	$t->setenv(AWS_ENDPOINT_URL_STS => $url);
	$t->stop;
	$t->start;
	$agents->cell('role', $name, sub { refused($expected); });
}
$t->setenv(AWS_ENDPOINT_URL_STS => $agents->url);
$t->stop;
$t->start;
$agents->cell(
	'role',
	'a source that fails',
	sub {
		$t->set('rotate_ext.profile' => 'of_container');
		$agents->set(container => (answer => undef));
		refused({ sqlstate => '28000', message => 'could not get AWS credentials from the container\'s credentials endpoint: HTTP 404' });
	});
$agents->cell(
	'role',
	'a source that is not there',
	sub {
		$t->setenv(AWS_CONTAINER_CREDENTIALS_FULL_URI => undef);
		$t->stop;
		$t->start;
		refused({
			sqlstate => '28000',
			message => $use->('of_container'),
			detail => "Its credential_source has no credentials.\nContainer: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor "
			  . 'AWS_CONTAINER_CREDENTIALS_FULL_URI is set.'
		});
	});

# AWS_PROFILE may name one that has no more than a region; then the next in the chain is asked.
$agents->cell(
	'role',
	'AWS_PROFILE without credentials',
	sub {
		$t->setenv(AWS_PROFILE => 'empty', AWS_ACCESS_KEY_ID => undef, AWS_SECRET_ACCESS_KEY => undef);
		$t->set('rotate_ext.profile' => undef, 'rotate_ext.region' => undef);
		$t->stop;
		$t->start;
		is($t->sql('SELECT provider || \', \' || region FROM rotate_credentials()'),
			'the EC2 instance metadata service, eu-central-1', 'the machine\'s role is used');
	});

is(join(', ', $agents->told($t->server_log)), '', 'no secret is in the server\'s log');
$t->stop;
$agents->table;
done_testing();
