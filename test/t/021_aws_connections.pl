# 021_aws_connections.pl
#	  The connection to Secrets Manager fails at each call: refused, hanging,
#	  cut before the effect and after it, an answer that is not whole.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use RotateTest;
use RotateTest::Faults;
use Socket qw(IPPROTO_TCP);
use Test::More;

use constant TCP_CORK => 3;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $endpoint = $emulator->endpoint_url;

$t->set('rotate_ext.request_timeout' => 500);
$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');

my $reached =
  'Secrets Manager was reached, but its answer was not. Try again later; look for a proxy or a firewall in between.';
my $unreached = 'Secrets Manager can\'t be reached from the database server. In a private network it needs a VPC '
  . 'endpoint or a NAT gateway; rotate_ext.endpoint_url sets another address.';

sub broken
{
	my ($name, $message, $effect, %rule) = @_;
	return {
		name => $name,
		rule => { %rule, times => 0 },
		effect => $effect,
		sqlstate => '08006',
		message => $message,
		detail => "The endpoint is \"$endpoint/\"; attempts: 3.",
		hint => $reached,
		requests => 3
	};
}

run_faults($t, [
	broken('hangs', 'no answer within 500 ms', 'before', action => 'hang'),
	broken('hangs after the effect', 'no answer within 500 ms', 'after', action => 'hang', when => 'after'),
	broken('cut before the effect', qr/.*(Empty reply|Recv failure|SSL_read|SSL_ERROR).*/, 'before', action => 'cut'),
	broken('cut after the effect', qr/.*(Empty reply|Recv failure|SSL_read|SSL_ERROR).*/, 'after',
		action => 'cut', when => 'after'),
	broken('reset', qr/.+/, 'before', action => 'cut', reset => JSON::PP::true),
	broken('an answer cut off', qr/.*(bytes remaining|outstanding read data).*/, 'after', action => 'truncate'),
	broken('a Content-Length that is too long', qr/.*(bytes remaining|outstanding read data).*/, 'after',
		action => 'wrong_length'),
	broken('a byte now and then', 'no answer within 500 ms', 'after', action => 'drip'),
	{
		name => 'cut once',
		rule => { action => 'cut' },
		effect => 'before',
		outcome => 'rotated',
		definite => 1,
		requests => 2
	},
	{
		name => 'cut once after the effect',
		rule => { action => 'cut', when => 'after' },
		effect => 'after',
		outcome => 'rotated',
		definite => 1,
		requests => 2
	},
]);

# Connection refused, from a certain call on.  A forwarder of plain HTTP stops
# to listen, and closes what is open, with the last byte of the answer before.
sub forward
{
	my ($answers) = @_;
	my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "could not listen: $!";
	my ($upstream) = $emulator->http_url =~ m{//(.*)};
	my $pid = fork;

	die "could not fork: $!" unless defined $pid;
	return ($pid, $listener->sockport) if $pid;

	my $select = IO::Select->new($listener);
	my (%peer, %client, %buffer);
	while ($answers > 0)
	{
		foreach my $socket ($select->can_read)
		{
			my $bytes;
			if ($socket == $listener)
			{
				my $client = $listener->accept;
				my $server = IO::Socket::INET->new(PeerAddr => $upstream);
				setsockopt($client, IPPROTO_TCP, TCP_CORK, pack('i', 1));
				@peer{ $client, $server } = ($server, $client);
				$client{$client} = 1;
				$select->add($client, $server);
				next;
			}
			if (!sysread($socket, $bytes, 65536))
			{
				$select->remove($socket, $peer{$socket});
				close $peer{$socket};
				close $socket;
				next;
			}
			syswrite($peer{$socket}, $bytes);
			next if $client{$socket};
			$buffer{$socket} .= $bytes;
			if ($buffer{$socket} =~ /^(.*?\r\n\r\n)(.*)/s)
			{
				my ($head, $body) = ($1, $2);
				my ($length) = $head =~ /Content-Length: (\d+)/i;
				next if length($body) < $length;
				$buffer{$socket} = '';
				if (--$answers <= 0) { close $listener; last; }
				setsockopt($peer{$socket}, IPPROTO_TCP, TCP_CORK, pack('i', $_)) for 0, 1;
			}
		}
	}
	POSIX::_exit(0);
}

# How many answers come before it; GetRandomPassword goes out beside GetSecretValue.
my %before = (DescribeSecret => 0, GetSecretValue => 1, PutSecretValue => 3, UpdateSecretVersionStage => 4);
foreach my $call (sort { $before{$a} <=> $before{$b} } keys %before)
{
	subtest "$call: connection refused" => sub {
		my ($pid, $port) = forward($before{$call});
		my $old = $t->password('prod/app');
		my $verifier = $t->verifier_of('app');
		my $labels = $t->labels('prod/app');
		my $failed = $call eq 'UpdateSecretVersionStage' ? 'describe secret "prod/app"'
		  : $call eq 'PutSecretValue' ? 'put a new value into secret "prod/app"'
		  : $call eq 'GetSecretValue' ? 'get a value of secret "prod/app"' : 'describe secret "prod/app"';

		waitpid($pid, 0) if $call eq 'DescribeSecret';
		$t->set('rotate_ext.endpoint_url' => "http://127.0.0.1:$port");
		$t->error_is('SELECT rotate_now(\'prod/app\')', {
			sqlstate => '08001',
			message => "could not $failed: could not connect: Connection refused",
			detail => "The endpoint is \"http://127.0.0.1:$port/\"; attempts: 3.",
			hint => $unreached
		}, 'the error');
		waitpid($pid, 0) if $call ne 'DescribeSecret';
		is($t->verifier_of('app'), $verifier, 'the role has its old verifier');
		is($t->labels('prod/app')->{$_}, $labels->{$_}, "$_ is where it was") for 'AWSCURRENT', 'AWSPREVIOUS';
		my @history = $t->history('prod/app');
		is($history[-1]{sqlstate}, '08001', 'rotate_history has it');

		$t->set('rotate_ext.endpoint_url' => $endpoint);
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'),
			$call eq 'UpdateSecretVersionStage' ? 'completed' : 'rotated', 'with the endpoint back, it succeeds');
		ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
		ok(!$t->can_login('app', $old), 'the old password does not');
	};
}

$t->stop;
done_testing();
