# 078_aws_addresses.pl
#	  Credentials from the addresses that AWS's services have on a machine:
#	  169.254.169.254, 169.254.170.2, 169.254.170.23, and those of IPv6.
#
# The whole test runs in a network namespace of its own, where these addresses
# are on the loopback interface and anybody may listen at port 80; within that
# in a user namespace in which it is who it was, for a server does not run as
# root.  Without such namespaces this can't be tested, and the test fails.

use strict;
use warnings;

BEGIN
{
	if (!$ENV{ROTATE_TEST_IN_NAMESPACE})
	{
		my $script = <<~'END';
			ip link set lo up
			for address in 169.254.169.254/32 169.254.170.2/32 169.254.170.23/32 192.0.2.1/32; do
				ip addr add $address dev lo
			done
			for address in fd00:ec2::254/128 fd00:ec2::23/128; do
				ip -6 addr add $address dev lo nodad
			done
			echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
			user=$1 group=$2
			shift 2
			exec unshare -U --map-user=$user --map-group=$group "$@"
			END
		$ENV{ROTATE_TEST_IN_NAMESPACE} = 1;
		exec 'unshare', '-Urn', 'sh', '-ec', $script, 'sh', $>, $) + 0, $^X, (map { "-I$_" } @INC), $0;
		die "could not run unshare: $!";
	}
}

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Agents;
use RotateTest::Emulator;
use Test::More;

my $emulator = RotateTest::Emulator->new(region => $RotateTest::REGION);
my $agents = RotateTest::Agents->new($emulator,
	qw(169.254.169.254:80 169.254.170.2:80 169.254.170.23:80 192.0.2.1:80 fd00:ec2::254:80 fd00:ec2::23:80));
my $dir = PostgreSQL::Test::Utils::tempdir('addresses');
my $proxy = $agents->foreign_url;
my %nothing = map { $_ => undef } qw(AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_EC2_METADATA_DISABLED
  AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CONTAINER_CREDENTIALS_FULL_URI);
my %always = (
	AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials",
	AWS_CONFIG_FILE => "$dir/config",
	map { $_ => $proxy } qw(http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY));
my $t = RotateTest->new(
	emulator => $emulator,
	conf => "rotate_ext.max_attempts = 1\nrotate_ext.region = ''",
	env => { %nothing, %always });

$agents->set(instance => (answer => $agents->credentials('ASIAREALINSTANCE0001')));
$agents->set(container => (answer => $agents->credentials('ASIAREALCONTAINER001'), token => 'the token'));
$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');

# address: the Host header; a test of a rotation with the key.
sub works
{
	my ($name, $provider, $key_id, $host, %env) = @_;

	$t->setenv(%nothing, %env);
	$t->stop;
	$t->start;
	$agents->cell(
		$provider, $name,
		sub {
			$emulator->clear_log;
			$agents->requests;
			is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'a rotation is done');
			is_deeply([ grep { $_->{access_key_id} ne $key_id } @{ $emulator->log->{entries} } ], [], 'with the key');
			my @requests = $agents->requests;
			is_deeply([ grep { $_->{server} ne 'agent' || $_->{headers}{host} ne $host } @requests ], [], "from $host");
			cmp_ok(scalar(@requests), '>=', 1, 'which was asked');
		});
	return;
}

my %token = (AWS_CONTAINER_AUTHORIZATION_TOKEN => 'the token');
works('169.254.169.254', 'EC2 instance', 'ASIAREALINSTANCE0001', '169.254.169.254');
$agents->cell(
	'EC2 instance', 'the region of 169.254.169.254',
	sub { is($t->sql('SELECT region FROM rotate_credentials()'), $RotateTest::REGION, 'is used'); });
works('fd00:ec2::254', 'EC2 instance', 'ASIAREALINSTANCE0001', '[fd00:ec2::254]',
	AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE => 'IPv6');
works('169.254.170.2', 'container', 'ASIAREALCONTAINER001', '169.254.170.2',
	%token, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI => '/v2/credentials/4711');
works('169.254.170.23', 'container', 'ASIAREALCONTAINER001', '169.254.170.23',
	%token, AWS_CONTAINER_CREDENTIALS_FULL_URI => 'http://169.254.170.23/v1/credentials');
works('fd00:ec2::23', 'container', 'ASIAREALCONTAINER001', '[fd00:ec2::23]',
	%token, AWS_CONTAINER_CREDENTIALS_FULL_URI => 'http://[fd00:ec2::23]/v1/credentials');

# An address that answers, and must not be asked.
foreach my $url ('http://192.0.2.1/creds', 'http://169.254.169.254/creds')
{
	$t->setenv(%nothing, %token, AWS_CONTAINER_CREDENTIALS_FULL_URI => $url);
	$t->stop;
	$t->start;
	$agents->cell(
		'container', "http to $url",
		sub {
			$agents->requests;
			$t->set('rotate_ext.region' => $RotateTest::REGION);
			$t->error_is('SELECT * FROM rotate_credentials()', { sqlstate => 'F0000' }, 'is refused');
			is(scalar($agents->requests), 0, 'and nobody is asked');
		});
}

# A machine that is no instance: nothing listens there.
$t->setenv(%nothing);
$t->stop;
$agents->control('close');
$t->start;
$agents->cell(
	'EC2 instance', 'absent',
	sub {
		$t->error_is(
			'SELECT * FROM rotate_credentials()',
			{
				sqlstate => '28000',
				message => 'could not find AWS credentials',
				detail => qr/\nEC2 instance metadata service: nothing answers at its address\.$/
			},
			'there are no credentials');
	});

$t->stop;
$agents->table;
done_testing();
