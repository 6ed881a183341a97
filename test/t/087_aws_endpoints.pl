# 087_aws_endpoints.pl
#	  Where Secrets Manager is looked for: the region's endpoint, FIPS, dual
#	  stack, URLs from the environment and the profile; and the profile's CA
#	  certificates.
#
# Everything goes through a proxy, which tells what it was asked for.  The
# region is one where all four endpoints of a service have names of their own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Emulator;
use RotateTest::Proxy;
use Test::More;

my $region = 'eusc-de-east-1';
my %public = (
	plain => "secretsmanager.$region.amazonaws.eu",
	fips => "secretsmanager-fips.$region.amazonaws.eu",
	dual => "secretsmanager.$region.api.amazonwebservices.eu",
	both => "secretsmanager-fips.$region.api.amazonwebservices.eu");
my @urls = map { "$_.example.com" } qw(setting service all profile services);
my $emulator = RotateTest::Emulator->new(region => $region,
	options => [ map { ('--tls-name', $_) } @urls, sort values %public ]);
my $proxy = RotateTest::Proxy->new($emulator);
my $config = PostgreSQL::Test::Utils::tempdir('aws') . '/config';
my $t = RotateTest->new(
	emulator => $emulator,
	env => { https_proxy => $proxy->url, AWS_CONFIG_FILE => $config, (map { $_ => undef } qw(NO_PROXY no_proxy)) });
my $rotate = 'SELECT outcome FROM rotate_now(\'prod/app\')';

# profile(TEXT): the profile "default", and what comes after it
sub profile
{
	my $text = shift;
	open my $out, '>', $config or die "could not write $config: $!";
	print $out "[default]\n$text";
	close $out;
	return;
}

sub env { $t->setenv(@_); $t->restart; return; }

sub asked_for
{
	my ($host, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$proxy->mode('ok');
	my ($status, $out, $err) = $t->psql('SELECT outcome FROM rotate_now(\'prod/app\', dry_run => true)');
	is($status, 0, "$name: it works") or diag($err);
	my %targets = map { $_->{target} => 1 } $proxy->asked;
	is(join(' ', sort keys %targets), "CONNECT $host:443", "$name: at $host");
	return;
}

sub refused
{
	my ($message, $more, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$proxy->mode('ok');
	$t->refused($rotate, { sqlstate => 'F0000', message => $message, %$more }, $name, role => 'app', secret => 'prod/app');
	is(scalar($proxy->asked), 0, 'and nobody was asked');
	return;
}

profile('');
$t->set('rotate_ext.endpoint_url' => undef, 'rotate_ext.region' => $region);
$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');
is($t->sql($rotate), 'rotated', 'a rotation in a partition of its own');

# FIPS and dual stack.
asked_for($public{plain}, 'nothing is set');
$t->set('rotate_ext.use_fips_endpoint' => 'on');
asked_for($public{fips}, 'rotate_ext.use_fips_endpoint');
$t->set('rotate_ext.use_dualstack_endpoint' => 'on');
asked_for($public{both}, 'both settings');
$t->set('rotate_ext.use_fips_endpoint' => undef);
asked_for($public{dual}, 'rotate_ext.use_dualstack_endpoint');
profile("use_fips_endpoint = true\n");
asked_for($public{both}, 'the profile\'s use_fips_endpoint');
$t->set('rotate_ext.use_dualstack_endpoint' => undef);
profile("use_dualstack_endpoint = TRUE\n");
asked_for($public{dual}, 'the profile\'s use_dualstack_endpoint');
$t->set('rotate_ext.use_dualstack_endpoint' => 'off');
asked_for($public{plain}, 'a setting goes before the profile');
profile("use_fips_endpoint = yes\n");
refused('could not use the value of use_fips_endpoint', { detail => 'It must be "true" or "false".' }, 'a switch that is neither');

# URLs.
profile("endpoint_url = https://profile.example.com\n");
asked_for('profile.example.com', 'the profile\'s endpoint_url');
my $services = "services = here\nendpoint_url = https://profile.example.com\n"
  . "[services here]\nsts =\n  endpoint_url = https://sts.example.com\nsecrets_manager = \n  endpoint_url = https://services.example.com\n";
profile($services);
asked_for('services.example.com', 'the URL of the profile\'s services section');
$t->set('rotate_ext.endpoint_url' => 'https://setting.example.com');
asked_for('setting.example.com', 'rotate_ext.endpoint_url goes before the profile');
$t->set('rotate_ext.endpoint_url' => undef);
profile("ignore_configured_endpoint_urls = true\n$services");
asked_for($public{plain}, 'the profile\'s ignore_configured_endpoint_urls');
profile("services = elsewhere\n$services" =~ s/services = here\n//r);
refused('could not find section "[services elsewhere]" in the shared AWS config file',
	{ detail => 'The AWS profile in use names it.' }, 'a services section that is not there');
profile("endpoint_url = https://user:password\@profile.example.com\n");
refused('could not use the URL in the AWS profile\'s endpoint_url',
	{ detail => 'The URL must not hold a user name or a password.' }, 'a URL with a password');

# A URL and FIPS: which of them counts, nobody has said.
profile("endpoint_url = https://profile.example.com\n");
$t->set('rotate_ext.use_fips_endpoint' => 'on');
refused('could not use the URL in the AWS profile\'s endpoint_url: FIPS endpoints are asked for, too',
	{ hint => 'Set rotate_ext.use_fips_endpoint to "off" where the URL is right, or take the URL away.' }, 'a URL and FIPS');
$t->set('rotate_ext.use_fips_endpoint' => undef, 'rotate_ext.use_dualstack_endpoint' => 'on');
refused('could not use the URL in the AWS profile\'s endpoint_url: dual-stack endpoints are asked for, too',
	{ hint => 'Set rotate_ext.use_dualstack_endpoint to "off" where the URL is right, or take the URL away.' },
	'a URL and dual stack');
$t->set('rotate_ext.use_dualstack_endpoint' => undef);

# The environment.
profile($services);
env(AWS_ENDPOINT_URL => 'https://all.example.com');
asked_for('all.example.com', 'AWS_ENDPOINT_URL goes before the profile');
env(AWS_ENDPOINT_URL_SECRETS_MANAGER => 'https://service.example.com');
asked_for('service.example.com', 'AWS_ENDPOINT_URL_SECRETS_MANAGER goes before AWS_ENDPOINT_URL');
$t->set('rotate_ext.endpoint_url' => 'https://setting.example.com');
asked_for('setting.example.com', 'rotate_ext.endpoint_url goes before both');
env(AWS_IGNORE_CONFIGURED_ENDPOINT_URLS => 'true', AWS_USE_FIPS_ENDPOINT => 'true', AWS_USE_DUALSTACK_ENDPOINT => 'true');
$t->set('rotate_ext.endpoint_url' => undef);
asked_for($public{both}, 'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS, AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT');
$t->set('rotate_ext.use_fips_endpoint' => 'off');
asked_for($public{dual}, 'a setting goes before the environment');
$t->set('rotate_ext.endpoint_url' => 'https://setting.example.com', 'rotate_ext.use_dualstack_endpoint' => 'off');
asked_for('setting.example.com', 'rotate_ext.endpoint_url is not ignored');
$t->set(map { $_ => undef } qw(rotate_ext.endpoint_url rotate_ext.use_fips_endpoint rotate_ext.use_dualstack_endpoint));
env(AWS_USE_FIPS_ENDPOINT => '1');
refused('could not use the value of AWS_USE_FIPS_ENDPOINT', { detail => 'It must be "true" or "false".' },
	'a variable that is neither');
env((map { $_ => undef } qw(AWS_USE_FIPS_ENDPOINT AWS_USE_DUALSTACK_ENDPOINT)));

# CA certificates.
$t->set('rotate_ext.ca_bundle' => undef);
$t->error_is($rotate, { sqlstate => '08001', message => qr/^could not describe secret "prod\/app": .*certificate/i },
	'the system\'s CAs do not know the emulator\'s');
profile('ca_bundle = ' . $emulator->ca . "\n");
asked_for($public{plain}, 'the profile\'s ca_bundle');

$t->stop;
done_testing();
