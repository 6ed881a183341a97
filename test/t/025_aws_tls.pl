# 025_aws_tls.pl
#	  Whom rotate_ext takes for Secrets Manager: certificates, endpoint URLs,
#	  proxies.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

# Nothing listens at port 1: a proxy that was asked would fail the request.
my %proxies = map { $_ => 'http://127.0.0.1:1' } qw(HTTPS_PROXY https_proxy HTTP_PROXY http_proxy ALL_PROXY all_proxy);
my $t = RotateTest->new(env => { %proxies, NO_PROXY => undef, no_proxy => undef });
my $emulator = $t->emulator;
my $rotate = 'SELECT outcome FROM rotate_now(\'prod/app\')';
my $untrusted = 'The endpoint needs a certificate that holds its name, is in date and is of a trusted CA; '
  . 'rotate_ext.ca_bundle names the file of CA certificates to trust.';

$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');
is($t->sql($rotate), 'rotated', 'a proxy in the environment is not used for a loopback endpoint');

sub listener { return 'https://127.0.0.1:' . $emulator->control('/listeners', certificate => $_[0])->{port}; }

sub refused
{
	my ($expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$emulator->clear_log;
	$t->refused($rotate, $expected, $name, role => 'app', secret => 'prod/app');
	is($emulator->log->{count}, 0, 'and no request was sent');
	return;
}

my %certificates = (
	untrusted => qr/certificate/i,
	wrong_name => qr/(subject name|does not match|no alternative certificate)/i,
	expired => qr/expired/);
foreach my $certificate (sort keys %certificates)
{
	my $url = listener($certificate);
	$t->set('rotate_ext.endpoint_url' => $url);
	refused({
		sqlstate => '08001',
		message => qr/^could not describe secret "prod\/app": .*$certificates{$certificate}/,
		detail => "The endpoint is \"$url/\"; attempts: 1.",
		hint => $untrusted
	}, "certificate: $certificate");
}

my $plain = listener('plain');
$t->set('rotate_ext.endpoint_url' => $plain);
$t->refused($rotate, {
	sqlstate => '08001',
	message => qr/^could not describe secret "prod\/app": ./,
	detail => "The endpoint is \"$plain/\"; attempts: 3."
}, 'plain HTTP where HTTPS should be', role => 'app', secret => 'prod/app');

my %urls = (
	'http://192.0.2.1:8080' => 'must begin with "https://" for any host but this machine\'s loopback',
	'http://localhost.example.com' => 'must begin with "https://" for any host but this machine\'s loopback',
	'ftp://127.0.0.1' => 'must begin with "https://"',
	'127.0.0.1:443' => 'must begin with "https://"',
	'https://' => 'holds no valid host name',
	'https://a b' => 'holds no valid host name',
	'https://127.0.0.1:0' => 'holds no valid port after its host name',
	'https://127.0.0.1:65536' => 'holds no valid port after its host name',
	'https://127.0.0.1/path' => 'must end after its host and port',
	'https://user:password@127.0.0.1' => 'must not hold a user name or a password');
foreach my $url (sort keys %urls)
{
	$t->set('rotate_ext.endpoint_url' => $url);
	refused({
		sqlstate => 'F0000',
		message => 'could not use the URL in rotate_ext.endpoint_url',
		detail => "The URL $urls{$url}.",
		hint => 'It has the form "https://host[:port]".'
	}, "endpoint_url $url");
}

$t->set('rotate_ext.endpoint_url' => $emulator->endpoint_url, 'rotate_ext.ca_bundle' => '/nonexistent/ca.pem');
refused({
	sqlstate => '08001',
	message => qr/^could not describe secret "prod\/app": .*\/nonexistent\/ca\.pem/,
	hint => $untrusted
}, 'ca_bundle: no such file');
$t->set('rotate_ext.ca_bundle' => $t->node->data_dir . '/postgresql.conf');
refused({ sqlstate => '08001', message => qr/^could not describe secret "prod\/app": ./, hint => $untrusted },
	'ca_bundle: no certificate in it');
$t->set('rotate_ext.ca_bundle' => undef);
refused({ sqlstate => '08001', message => qr/^could not describe secret "prod\/app": .*certificate/i, hint => $untrusted },
	'no ca_bundle: the system\'s CAs do not know the emulator\'s');

$t->set('rotate_ext.ca_bundle' => $emulator->ca, 'rotate_ext.endpoint_url' => $emulator->http_url);
is($t->sql($rotate), 'rotated', 'plain http is allowed on loopback');
$t->set('rotate_ext.endpoint_url' => listener('good'));
is($t->sql($rotate), 'rotated', 'a good certificate is accepted');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

$t->stop;
done_testing();
