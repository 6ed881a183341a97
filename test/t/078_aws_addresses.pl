# 078_aws_addresses.pl
#	  Credentials from the addresses that AWS's services have on a machine:
#	  169.254.169.254, 169.254.170.2, 169.254.170.23, and those of IPv6.
#
# The whole test runs in a network namespace of its own, where these addresses
# are on the loopback interface and anybody may listen at port 80; within that
# in a user namespace in which it is who it was, for a server does not run as
# root.  Where an unprivileged user gets no namespaces (a container or a chroot
# may forbid them), a library that is loaded into every process leads these
# addresses to ports of 127.0.0.1 instead.

use strict;
use warnings;

my $library;

BEGIN
{
	$library = <<'END';
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const char *const addresses[] = {
	"169.254.169.254", "169.254.170.2", "169.254.170.23", "192.0.2.1", "fd00:ec2::254", "fd00:ec2::23"};

/* Where the address leads: 127.0.0.1, for an IPv6 socket as IPv6 writes it. */
static void
lead(struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *) address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) address;
	int base = atoi(getenv("ROTATE_TEST_ADDRESSES"));
	int i;

	for (i = 0; i < 6; i++)
	{
		unsigned char raw[16];

		if (i < 4 && address->ss_family == AF_INET && v4->sin_port == htons(80) &&
			inet_pton(AF_INET, addresses[i], raw) == 1 && memcmp(raw, &v4->sin_addr, 4) == 0)
		{
			v4->sin_port = htons(base + i);
			inet_pton(AF_INET, "127.0.0.1", &v4->sin_addr);
			return;
		}
		if (i >= 4 && address->ss_family == AF_INET6 && v6->sin6_port == htons(80) &&
			inet_pton(AF_INET6, addresses[i], raw) == 1 && memcmp(raw, &v6->sin6_addr, 16) == 0)
		{
			v6->sin6_port = htons(base + i);
			inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6->sin6_addr);
			return;
		}
	}
}

#define LED(name) \
	int name(int fd, const struct sockaddr *address, socklen_t length) \
	{ \
		int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, #name); \
		struct sockaddr_storage copy; \
		if (length > sizeof(copy)) \
			return next(fd, address, length); \
		memcpy(&copy, address, length); \
		lead(&copy); \
		return next(fd, (struct sockaddr *) &copy, length); \
	}

LED(bind)
LED(connect)
END

	if (!$ENV{ROTATE_TEST_IN_NAMESPACE} && system('unshare -Urn true 2>/dev/null') == 0)
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
	elsif (!$ENV{ROTATE_TEST_IN_NAMESPACE})
	{
		require File::Temp;
		my $dir = File::Temp::tempdir('addressesXXXXXX', TMPDIR => 1);

		open my $source, '>', "$dir/addresses.c" or die "could not write $dir/addresses.c: $!";
		print $source $library;
		close $source;
		system("cc -shared -fPIC -o '$dir/addresses.so' '$dir/addresses.c' -ldl") == 0
		  or die 'could not build the library that leads the addresses to this machine';
		$ENV{ROTATE_TEST_IN_NAMESPACE} = $dir;
		$ENV{ROTATE_TEST_ADDRESSES} = 20000 + 8 * ($$ % 1000);
		$ENV{LD_PRELOAD} = "$dir/addresses.so";
		exec $^X, (map { "-I$_" } @INC), $0;
		die "could not run $^X: $!";
	}
}

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Agents;
use RotateTest::Emulator;
use Test::More;

note('the addresses are '
	  . ($ENV{ROTATE_TEST_ADDRESSES} ? 'led to 127.0.0.1 by a library' : 'those of a network namespace'));
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
if ($ENV{ROTATE_TEST_ADDRESSES})
{
	require File::Path;
	File::Path::remove_tree($ENV{ROTATE_TEST_IN_NAMESPACE});
}
done_testing();
