# 026_aws_credentials.pl
#	  Where the credentials and the region come from, what is said where they
#	  are missing or wrong, and that no key is ever told.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Emulator;
use Test::More;

my $emulator = RotateTest::Emulator->new(region => $RotateTest::REGION);
my $dir = PostgreSQL::Test::Utils::tempdir('aws');
my ($file, $config) = ("$dir/credentials", "$dir/config");
my $t = RotateTest->new(
	emulator => $emulator,
	env => {
		AWS_ACCESS_KEY_ID => undef,
		AWS_SECRET_ACCESS_KEY => undef,
		AWS_SHARED_CREDENTIALS_FILE => $file,
		AWS_CONFIG_FILE => $config
	});
my $rotate = 'SELECT rotate_now(\'prod/app\')';
my @keys = ($emulator->secret_access_key);

sub write_file
{
	my ($path, $text) = @_;
	open my $out, '>', $path or die "could not write $path: $!";
	print $out $text;
	close $out;
	return;
}

# A key that the emulator knows: its id, its secret.
sub new_key
{
	my ($id, %more) = @_;
	my $secret = RotateTest::random_password() . '/+x';
	$emulator->control('/keys', access_key_id => $id, secret_access_key => $secret, %more);
	push @keys, $secret, grep { defined } $more{session_token};
	return ($id, $secret);
}

sub profile
{
	my ($name, $id, $secret, $token) = @_;
	return "[$name]\naws_access_key_id = $id\naws_secret_access_key = $secret\n"
	  . (defined $token ? "aws_session_token = $token\n" : '');
}

sub refused
{
	my ($expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$t->refused($rotate, $expected, $name, role => 'app', secret => 'prod/app');
	is(scalar(grep { index(join("\n", values %{ $t->{last_error} }), $_) >= 0 } @keys), 0, 'no key is told');
	return;
}

sub rotated
{
	my ($id, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$emulator->clear_log;
	my ($status, $out, $err) = $t->psql('SELECT outcome FROM rotate_now(\'prod/app\')');
	is($out, 'rotated', $name) or diag($err);
	is_deeply([ grep { $_->{access_key_id} ne $id } @{ $emulator->log->{entries} } ], [], "with the key $id");
	return;
}

sub with_env { $t->setenv(@_); $t->stop; $t->start; return; }

# A profile of the shared files.
my @first = new_key('AKIAPROFILEDEFAULT00');
my @second = new_key('AKIAPROFILESECOND000');
my @session = new_key('ASIAPROFILESESSION00', session_token => 'Token0fTheSession/WhichIsLong==');

write_file($file, profile('default', @first) . profile('second', @second)
	  . profile('session', @session, 'Token0fTheSession/WhichIsLong==') . profile('no_token', @session)
	  . "[half]\naws_access_key_id = $first[0]\n[empty]\nregion = eu-central-1\n"
	  . profile('wrong_secret', $first[0], $second[1]) . profile('unknown_key', 'AKIANOBODYKNOWSTHIS0', $second[1])
	  . "[blank]\naws_access_key_id = $first[0]\naws_secret_access_key = $first[1] x\n");
write_file($config, profile('profile of_config', @second));
$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');
rotated($first[0], 'the profile "default" of the shared credentials file');
foreach my $case ([ 'second', $second[0] ], [ 'session', $session[0] ], [ 'of_config', $second[0] ])
{
	$t->set('rotate_ext.profile' => $case->[0]);
	rotated($case->[1], "rotate_ext.profile = $case->[0]");
}

my $write = 'Write aws_access_key_id and aws_secret_access_key for the profile to ~/.aws/credentials of the operating '
  . 'system user that runs the server.';
my $check =
  'Check the access key and the session token of the shared credentials file, and the region, which is "eu-central-1".';
my %wrong = (
	nobody => { message => 'could not find AWS profile "nobody"', detail => 'The profile is named by rotate_ext.profile.',
		hint => $write },
	empty => { message => 'could not find AWS credentials in profile "empty"',
		detail => 'The profile is named by rotate_ext.profile.', hint => $write },
	half => { message => 'could not use the AWS credentials of profile "half"',
		detail => 'aws_access_key_id is set, but aws_secret_access_key is not.' },
	blank => { message => 'could not use the AWS credentials of the shared credentials file',
		detail => 'The access key ID, the secret access key or the session token holds a blank, a line end or a character '
		  . 'that is not ASCII.' },
	wrong_secret => { message => qr/^could not describe secret "prod\/app": InvalidSignatureException: /, hint => $check },
	unknown_key => { message => qr/^could not describe secret "prod\/app": UnrecognizedClientException: /, hint => $check },
	no_token => { message => qr/^could not describe secret "prod\/app": \w+: /, hint => $check });
foreach my $profile (sort keys %wrong)
{
	$t->set('rotate_ext.profile' => $profile);
	refused({ sqlstate => '28000', %{ $wrong{$profile} } }, "profile $profile");
}

$t->set('rotate_ext.profile' => 'session');
$emulator->control('/keys', access_key_id => $session[0], secret_access_key => $session[1],
	session_token => 'Token0fTheSession/WhichIsLong==', expires_in => -60);
refused({
	sqlstate => '28000',
	message => qr/^could not describe secret "prod\/app": ExpiredTokenException: /,
	hint => 'Renew the credentials of the shared credentials file.'
}, 'an expired session token');

write_file($file, "[default\n");
$t->set('rotate_ext.profile' => undef);
refused({ sqlstate => 'F0000', message => "could not read file \"$file\"", detail => qr/^Line 1: / },
	'a credentials file that is none');

# AWS_PROFILE, and no credentials at all.
write_file($file, profile('second', @second));
with_env(AWS_PROFILE => 'second');
rotated($second[0], 'AWS_PROFILE');
unlink $file, $config;
refused({ sqlstate => '28000', message => 'could not find AWS profile "second"',
	detail => 'The profile is named by AWS_PROFILE.', hint => $write }, 'AWS_PROFILE without files');
with_env(AWS_PROFILE => "sec\xffond");
is($t->sql_error('SELECT rotate_now(\'prod/app\')')->{message}, 'could not find AWS profile "sec?ond"', 'AWS_PROFILE, not in UTF-8');
like($t->sql('SELECT upper(error) FROM rotate_history ORDER BY run_id DESC LIMIT 1'), qr/^COULD NOT FIND AWS PROFILE "SEC\?OND"$/m,
	'and rotate_history can be read');
with_env(AWS_PROFILE => undef);
refused({
	sqlstate => '28000',
	message => 'could not find AWS credentials',
	detail => join("\n",
		'Environment: AWS_ACCESS_KEY_ID is not set.',
		'Web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set.',
		"Shared files: profile \"default\" has no credentials in \"$file\" and \"$config\".",
		'Container: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set.',
		'EC2 instance metadata service: it is switched off by AWS_EC2_METADATA_DISABLED.'),
	hint => 'Give the machine, the pod or the task a role, or set rotate_ext.profile, or write the credentials to '
	  . '~/.aws/credentials of the operating system user that runs the server.'
}, 'no credentials at all');

# The environment comes before the files.
write_file($file, profile('default', @second));
with_env(AWS_ACCESS_KEY_ID => $first[0], AWS_SECRET_ACCESS_KEY => $first[1]);
rotated($first[0], 'the server\'s environment');

# The region.
my $arn = $t->sql('SELECT arn FROM rotate_status');
$t->set('rotate_ext.region' => undef);
rotated($first[0], 'a registered secret\'s region is its ARN\'s');
$t->add('other');
$t->refused('SELECT rotate_now(\'prod/other\')', {
	sqlstate => 'F0000',
	message => 'could not find out the AWS region',
	hint => 'Set rotate_ext.region, or name the secret by its full ARN.'
}, 'no region is known', role => 'other', secret => 'prod/other');
$t->set('rotate_ext.region' => 'EU West');
$t->refused('SELECT rotate_now(\'prod/other\')', {
	sqlstate => 'F0000',
	message => 'could not use AWS region "EU West"',
	detail => 'A region is named by lower-case letters, digits and hyphens.'
}, 'a region that is none', role => 'other', secret => 'prod/other');
$t->set('rotate_ext.region' => 'us-east-1');
my $other = $emulator->secret('prod/other')->{arn};
like($t->sql("SELECT outcome FROM rotate_now('$other')"), qr/^rotated$/, 'an ARN\'s region goes before rotate_ext.region');
ok($t->can_login('other', $t->password('prod/other')), 'AWSCURRENT logs in');

my $log = $t->server_log;
is(scalar(grep { index($log, $_) >= 0 } @keys), 0, 'no key is in the server\'s log');

$t->stop;
done_testing();
