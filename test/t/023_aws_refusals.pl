# 023_aws_refusals.pl
#	  Each call refused: by IAM, by KMS, for the credentials, for the clock.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Faults;
use Test::More;

my $t = RotateTest->new;

$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');

sub iam_hint
{
	my $call = shift;
	return 'Allow secretsmanager:GetRandomPassword on resource "*" in the IAM policy of the role or user whose '
	  . 'credentials the database server uses.'
	  if $call eq 'GetRandomPassword';
	return "Allow secretsmanager:$call on this secret in the IAM policy of the role or user whose credentials the "
	  . 'database server uses; look also for a deny in the secret\'s resource policy.';
}

sub kms_hint
{
	my $actions = $_[0] =~ /^(Put|Update)/ ? 'kms:GenerateDataKey and kms:Decrypt' : 'kms:Decrypt';
	return "Allow $actions on the secret's KMS key to the role or user whose credentials the database server uses.";
}

run_faults($t, [
	{
		name => 'denied by IAM',
		rule => { action => 'access_denied', times => 0 },
		effect => 'before',
		sqlstate => '42501',
		message => sub {
			qr/AccessDeniedException: User: arn:aws:iam::123456789012:user\/emulator is not authorized to perform: secretsmanager:$_[0] on .*/;
		},
		hint => \&iam_hint,
		definite => 1,
		requests => 1
	},
	{
		name => 'denied by KMS',
		rule => { action => 'kms_denied', times => 0 },
		effect => 'before',
		sqlstate => '42501',
		message => 'AccessDeniedException: Access to KMS is not allowed',
		hint => \&kms_hint,
		definite => 1,
		requests => 1
	},
	{
		name => 'an expired token',
		rule => { action => 'error', type => 'ExpiredTokenException', times => 0,
			message => 'The security token included in the request is expired' },
		effect => 'before',
		sqlstate => '28000',
		message => 'ExpiredTokenException: The security token included in the request is expired',
		hint => 'Renew the credentials of the server\'s environment.',
		definite => 1,
		requests => 2
	},
	{
		name => 'a token that has expired and was renewed meanwhile',
		rule => { action => 'error', type => 'ExpiredTokenException', times => 1,
			message => 'The security token included in the request is expired' },
		effect => 'before',
		outcome => 'rotated',
		definite => 1,
		requests => 2
	},
	{
		name => 'an invalid signature',
		rule => { action => 'error', type => 'InvalidSignatureException', times => 0,
			message => 'The request signature we calculated does not match the signature you provided.' },
		effect => 'before',
		sqlstate => '28000',
		message =>
		  'InvalidSignatureException: The request signature we calculated does not match the signature you provided.',
		hint => 'Check the access key and the session token of the server\'s environment, and the region, which is '
		  . '"eu-central-1".',
		definite => 1,
		requests => 1
	},
	{
		name => 'a wrong clock, and no Date header to correct it by',
		rule => { action => 'error', type => 'InvalidSignatureException', times => 0,
			message => 'Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z' },
		effect => 'before',
		sqlstate => '28000',
		message =>
		  'InvalidSignatureException: Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z',
		hint => 'Set the clock of the database server\'s machine right.',
		definite => 1,
		requests => 1
	},
]);

# A clock that goes wrong is corrected by AWS's Date header, once, for the whole run.
foreach my $offset (3600, -3600)
{
	$t->emulator->clear_log;
	$t->emulator->control('/clock', offset => $offset);
	is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', "AWS's clock differs by $offset s");
	is($t->emulator->log->{count}, 6, 'one request more');
	$t->emulator->control('/clock', offset => 0);
}

# It goes wrong in the middle of a run, at the call that matters most.
my $pause = $t->emulator->fault(action => 'pause', operation => 'PutSecretValue', when => 'after');
my $call = $t->start_sql('SELECT outcome FROM rotate_now(\'prod/app\')');
$t->emulator->wait_for_fault($pause);
$t->emulator->control('/clock', offset => 7200);
$t->emulator->release($pause);
is($call->finish->{stdout}, 'rotated', 'the clock jumps before the label is moved');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');

$t->stop;
done_testing();
