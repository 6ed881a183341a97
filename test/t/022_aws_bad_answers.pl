# 022_aws_bad_answers.pl
#	  Secrets Manager, or something in its place, answers at each call with
#	  what it should not: errors, throttling, nonsense.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Faults;
use Test::More;

my $t = RotateTest->new;
my $endpoint = $t->emulator->endpoint_url;

$t->set('rotate_ext.request_timeout' => '5s');
$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');

my $elsewhere = 'Does rotate_ext.endpoint_url, or a proxy, lead to something else than Secrets Manager?';
my $once = "The endpoint is \"$endpoint/\"; attempts: 1.";

# PutSecretValue's value may be quoted by whatever answers: that text is not told.
run_faults($t, [
	{
		name => 'HTTP 500 once',
		rule => { action => 'error', status => 500, times => 1 },
		effect => 'before',
		outcome => 'rotated',
		definite => 1,
		requests => 2
	},
	{
		name => 'HTTP 500 always',
		rule => { action => 'error', status => 500, times => 0 },
		effect => 'before',
		sqlstate => '58000',
		message => 'HTTP 500',
		hint => 'Try again later.',
		requests => 3
	},
	{
		name => 'InternalServiceError always, after the effect',
		rule => { action => 'error', type => 'InternalServiceError', message => 'An error occurred', status => 500,
			times => 0, when => 'after' },
		effect => 'after',
		sqlstate => '58000',
		message => sub { 'InternalServiceError: '
			  . ($_[0] eq 'PutSecretValue' ? "(AWS's message is left out, since it may quote the value)" : 'An error occurred') },
		hint => 'Try again later.',
		requests => 3
	},
	{
		name => 'throttled twice, then fine',
		rule => { action => 'throttle', times => 2 },
		effect => 'before',
		outcome => 'rotated',
		definite => 1,
		requests => 3
	},
	{
		name => 'LimitExceededException',
		rule => { action => 'error', type => 'LimitExceededException', message => 'Too many versions', times => 0 },
		effect => 'before',
		sqlstate => '53400',
		message => 'LimitExceededException: Too many versions',
		hint => 'The secret has too many recent versions. Try again in 10 minutes or later.',
		definite => 1,
		requests => 1
	},
	{
		name => 'not JSON',
		rule => { action => 'replace', body => '<html>It works!</html>', times => 0 },
		effect => 'after',
		sqlstate => '08P01',
		message => 'the answer is not a JSON object',
		detail => $once,
		hint => $elsewhere,
		requests => 1
	},
	{
		name => 'JSON, but an array',
		rule => { action => 'replace', body => '[]', times => 0 },
		effect => 'after',
		sqlstate => '08P01',
		message => 'the answer is not a JSON object',
		detail => $once,
		hint => $elsewhere,
		requests => 1
	},
	{
		name => '10 MB',
		rule => { action => 'huge', times => 0 },
		effect => 'after',
		sqlstate => '08P01',
		message => 'the answer is larger than 1048576 bytes',
		detail => $once,
		hint => $elsewhere,
		requests => 1
	},
	{
		name => '10 MB in chunks, no length told',
		rule => { action => 'huge', chunked => JSON::PP::true, times => 0 },
		effect => 'after',
		sqlstate => '08P01',
		message => 'the answer is larger than 1048576 bytes',
		detail => $once,
		hint => $elsewhere,
		requests => 1
	},
	{
		name => 'a redirect, which is not followed',
		rule => { action => 'redirect', location => $t->emulator->http_url . '/', times => 0 },
		effect => 'before',
		sqlstate => '08P01',
		message => 'HTTP 307',
		detail => $once,
		hint => $elsewhere,
		definite => 1,
		requests => 1
	},
]);

# What is not ASCII is none of AWS's names: no text of an endpoint's reaches a
# message or a table by way of a version's id.
foreach my $id ("\x{e4}" x 32, "\e[2J" . 'a' x 32)
{
	my $arn = $t->sql('SELECT arn FROM rotate_registration LIMIT 1');
	my $secret = $t->sql('SELECT secret FROM rotate_registration LIMIT 1');
	my $body = JSON::PP->new->ascii->encode({ ARN => $arn, Name => $secret, VersionIdsToStages => { $id => ['AWSCURRENT'] } });
	$t->emulator->fault(action => 'replace', operation => 'DescribeSecret', body => $body, times => 1);
	$t->error_is("SELECT rotate_now('$secret')",
		{ sqlstate => '08P01', message => qr/a field of the answer is missing or not as it should be/ },
		'the id of a version with strange characters is refused');
}

is(scalar(grep { !$_->{tls} } @{ $t->emulator->log->{connections} }), 0, 'no connection went without TLS');
$t->stop;
done_testing();
