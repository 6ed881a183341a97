# 086_aws_proxy.pl
#	  Secrets Manager through a proxy: its login, its faults, whom it is asked
#	  for and what it is told.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64);
use RotateTest;
use RotateTest::Emulator;
use RotateTest::Proxy;
use Test::More;

my $name = 'secretsmanager.eu-central-1.amazonaws.com';
my $emulator =
  RotateTest::Emulator->new(region => $RotateTest::REGION, options => [ map { ('--tls-name', $_) } $name, '*.invalid' ]);
my $proxy = RotateTest::Proxy->new($emulator);
my $tls_proxy = RotateTest::Proxy->new($emulator, tls => 1);
my $password = 'Pr0xy@Secret/' . RotateTest::random_password();
(my $encoded = "some%20one:$password") =~ s/([@\/])/sprintf '%%%02X', ord $1/ge;
my $login = encode_base64("some one:$password", '');
my $rotate = 'SELECT outcome FROM rotate_now(\'prod/app\')';
my @never = ($password, $encoded, $login, 'S0cksPassword', 'EnvPassword');

# The session token must not get to the proxy.
my $token = 'TheSessionToken/' . RotateTest::random_password();
$emulator->control('/keys', access_key_id => 'ASIAPROXYTEST0000000', secret_access_key => 'proxyTestSecretKey',
	session_token => $token);
my $t = RotateTest->new(
	emulator => $emulator,
	env => {
		AWS_ACCESS_KEY_ID => 'ASIAPROXYTEST0000000',
		AWS_SECRET_ACCESS_KEY => 'proxyTestSecretKey',
		AWS_SESSION_TOKEN => $token,
		HTTPS_PROXY => $proxy->url($encoded),
		(map { $_ => undef } qw(https_proxy NO_PROXY no_proxy ALL_PROXY all_proxy)),
		HTTP_PROXY => 'http://127.0.0.1:1'
	});
$t->set('rotate_ext.endpoint_url' => undef, 'rotate_ext.connect_timeout' => 800, 'rotate_ext.max_attempts' => 2);
$t->add('app');

sub env { $t->setenv(@_); $t->restart; return; }

sub targets { return join ' ', sort keys %{ { map { $_->{target} => 1 } $_[0]->asked } }; }

sub refused
{
	my ($expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$t->refused($rotate, $expected, $what, role => 'app', secret => 'prod/app');
	is(scalar(grep { index(join("\n", values %{ $t->{last_error} }), $_) >= 0 } @never), 0, 'no login is told');
	return;
}

# With a login.
$proxy->mode("login $login");
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');
is($t->sql($rotate), 'rotated', 'a rotation through a proxy that asks for a login');
is(targets($proxy), "CONNECT $name:443", 'it was asked for the region\'s public endpoint');
is_deeply([ map { join ' ', sort keys %{ $_->{headers} } } $proxy->asked ],
	[ ('host proxy-authorization proxy-connection user-agent') x $proxy->asked ],
	'and told nothing else: neither a signature nor a token');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

# Its faults.
my $through = 'Secrets Manager can\'t be reached through the proxy. It is set by rotate_ext.https_proxy or HTTPS_PROXY; '
  . 'hosts that NO_PROXY lists are reached without it.';

sub detail
{
	my ($url, $attempts) = @_;
	return "The endpoint is \"https://$name/\", the proxy \"$url/\"; attempts: " . ($attempts || 2) . '.';
}

my %faults = (
	'login bm9ib2R5' => 'the proxy refused to connect: HTTP 407',
	'status 403' => 'the proxy refused to connect: HTTP 403',
	'status 502' => 'the proxy refused to connect: HTTP 502',
	'status 302' => 'the proxy refused to connect: HTTP 302',
	'hang' => 'no connection through the proxy within 800 ms',
	'cut' => qr/[^:]+ \(through the proxy\)/,
	'half' => qr/.+ \(through the proxy\)/);
foreach my $mode (sort keys %faults)
{
	my $message = ref $faults{$mode} ? qr/^could not describe secret "prod\/app": $faults{$mode}$/
	  : "could not describe secret \"prod/app\": $faults{$mode}";
	$proxy->mode($mode);
	refused({ sqlstate => '08001', message => $message, detail => detail($proxy->url), hint => $through }, "proxy: $mode");
	is(scalar($proxy->asked), 2, 'it was asked twice');
}
$proxy->mode('garbage');
refused({ sqlstate => qr/^08(001|P01)$/, message => qr/^could not describe secret "prod\/app": .+ \(through the proxy\)$/,
	detail => qr/^The endpoint is .*, the proxy / }, 'proxy: garbage');
$proxy->mode('ok');
is($t->sql($rotate), 'rotated', 'with the proxy in order again, it succeeds');

# The certificate is that of the endpoint, as without a proxy.
$t->set('rotate_ext.ca_bundle' => undef);
refused({ sqlstate => '08001', message => qr/^could not describe secret "prod\/app": .*certificate.* \(through the proxy\)$/i,
	detail => detail($proxy->url, 1) }, 'a proxy is not trusted more than anybody else');
env(AWS_CA_BUNDLE => $emulator->ca);
is($t->sql($rotate), 'rotated', 'AWS_CA_BUNDLE, through the proxy');

# rotate_ext.https_proxy goes before the environment, and takes a reload only.
$proxy->mode('ok');
$t->set('rotate_ext.ca_bundle' => $emulator->ca, 'rotate_ext.https_proxy' => $tls_proxy->url);
is($t->sql($rotate), 'rotated', 'rotate_ext.https_proxy, over TLS');
is(targets($tls_proxy), "CONNECT $name:443", 'it was asked');
is(targets($proxy), '', 'and the one of the environment was not');
$t->set('rotate_ext.https_proxy' => 'https://localhost.invalid:' . $tls_proxy->port);
refused({ sqlstate => '08001', message => qr/ \(through the proxy\)$/i }, 'a proxy whose name leads nowhere');
$t->set('rotate_ext.https_proxy' => 'http://127.0.0.1:1');
refused({ sqlstate => '08001', message => 'could not describe secret "prod/app": could not connect to the proxy: Connection refused',
	detail => detail('http://127.0.0.1:1'), hint => $through }, 'a proxy that is not there');

# Port 80, given or not; to libcurl, a URL without a port is of 1080, where somebody else listens.
my $somebody = IO::Socket::INET->new(LocalAddr => '127.0.86.1', LocalPort => 1080, Listen => 5) or die "could not listen: $!";
foreach my $url ('http://127.0.86.1', 'http://127.0.86.1:80')
{
	$t->set('rotate_ext.https_proxy' => $url);
	refused({ sqlstate => '08001', message => qr/: (could not connect to the proxy: Connection refused|the proxy refused .*)$/,
		detail => detail('http://127.0.86.1') }, "$url is port 80");
}
$somebody->close;

my %bad = (
	'http://u:S0cksPassword@127.0.0.1:1' => 'The URL must not hold a user name or a password.',
	'socks5://u:S0cksPassword@127.0.0.1:1' => 'The URL must begin with "http://" or "https://".',
	'http://pro xy' => 'The URL holds no valid host name.');
foreach my $url (sort keys %bad)
{
	$t->set('rotate_ext.https_proxy' => $url);
	refused({ sqlstate => 'F0000', message => 'could not use the proxy in rotate_ext.https_proxy', detail => $bad{$url} },
		'rotate_ext.https_proxy ' . ($url =~ s/:S0cks.*@/:...@/r));
}
$t->set('rotate_ext.https_proxy' => undef);

# A proxy that can't be used, and one in lower case, which goes first.
env(https_proxy => 'socks5h://u:EnvPassword@127.0.0.1:1');
refused({ sqlstate => 'F0000', message => 'could not use the proxy in https_proxy',
	detail => 'The URL must begin with "http://" or "https://".', hint => 'It has the form "http://[user:password@]host:port".' },
	'a proxy of another kind');

# NO_PROXY: nobody is at that name, so the request fails; the proxy must not have seen it.
env(https_proxy => undef, NO_PROXY => '10.0.0.0/8, .invalid');
$t->set('rotate_ext.endpoint_url' => 'https://sm.invalid');
refused({ sqlstate => '08001', message => qr/^could not describe secret "prod\/app": ((?!proxy).)+$/,
	detail => 'The endpoint is "https://sm.invalid/"; attempts: 2.' }, 'a host of NO_PROXY is not asked for at the proxy');
is(targets($proxy), '', 'nor anything else');
$t->set('rotate_ext.endpoint_url' => undef);
is($t->sql($rotate), 'rotated', 'other hosts are');
is(targets($proxy), "CONNECT $name:443", 'by their names');
$proxy->mode('ok');
$t->set('rotate_ext.endpoint_url' => $emulator->endpoint_url);
is($t->sql($rotate), 'rotated', 'a loopback endpoint');
is(targets($proxy), '', 'is none of the proxy\'s business');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

my $log = $t->server_log;
is(scalar(grep { index($log, $_) >= 0 } $password, $encoded, $login, 'EnvPassword', $token), 0,
	'no login and no token is in the server\'s log');

$t->stop;
done_testing();
