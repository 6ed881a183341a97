# 088_aws_clock.pl
#	  A machine whose clock is wrong: the rotation is signed by AWS's clock, and
#	  a warning says how far off this one is.
#
# It is the emulator's clock that is shifted, both its idea of the time and its
# Date header.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $rotate = 'SELECT outcome FROM rotate_now(\'prod/app\')';

$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');

# rotated(OFFSET, REQUESTS): the warnings that came with it
sub rotated
{
	my ($offset, $requests) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$emulator->control('/clock', offset => $offset);
	$emulator->clear_log;
	my ($status, $out, $err) = $t->psql($rotate);
	is($out, 'rotated', "AWS's clock is $offset s ahead: rotated") or diag($err);
	is($emulator->log->{count}, $requests, "by $requests requests");
	ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
	$emulator->control('/versions/prune', secret => 'prod/app');
	return $err;
}

my $warning = qr/WARNING:  01000: the clock of this machine is/;

unlike(rotated(0, 5), $warning, 'no warning where the clock is right');
foreach my $offset (200, -200)
{
	unlike(rotated($offset, 5), $warning, 'none where AWS does not mind');
}
foreach my $case ([ 1200, 'behind' ], [ -1200, 'ahead of' ], [ 86400 * 400, 'behind' ])
{
	my ($offset, $where) = @$case;
	my $err = rotated($offset, 6);
	my ($seconds) = $err =~ /the clock of this machine is (\d+) seconds \Q$where\E AWS's$/m;
	ok(defined $seconds && abs($seconds - abs $offset) <= 5, "the warning tells the seconds, and that it is $where")
	  or diag($err);
	is(() = $err =~ /$warning/g, 1, 'it is told once');
	like($err, qr/^HINT:  Set the clock of the database server's machine right\.$/m, 'and what to do');
	like($t->server_log, qr/WARNING:  the clock of this machine is $seconds seconds/, 'it is in the server\'s log');
}

# Corrected, and still refused: there is one correction, and no more.
$emulator->control('/clock', offset => 1200);
$emulator->clear_log;
$emulator->fault(action => 'error', type => 'InvalidSignatureException', times => 0,
	message => 'Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z');
my ($status, $out, $err) = $t->psql($rotate);
my $error = RotateTest::parse_error($err);
is($error->{sqlstate}, '28000', 'refused again, it fails');
is($error->{hint}, 'Set the clock of the database server\'s machine right.', 'with the same advice');
like($err, $warning, 'after the warning');
is($emulator->log->{count}, 2, 'and is not sent a third time');
$emulator->clear_faults;

# A Date that is wrong, too: the clock is corrected once a call, whatever AWS goes on to say.
$emulator->control('/clock', offset => 0);
$emulator->clear_log;
$emulator->fault(action => 'replace', status => 400, headers => { Date => 'Tue, 01 Jan 2030 00:00:00 GMT' },
	body => '{"__type": "InvalidSignatureException", "message": "Signature expired: x is now earlier than y"}');
is($t->sql_error($rotate)->{sqlstate}, '28000', 'a Date header that is wrong itself');
is($emulator->log->{count}, 2, 'is believed once');
$emulator->clear_faults;
$emulator->control('/clock', offset => 1200);

# A wrong key is no matter of the clock.
$emulator->control('/keys', access_key_id => $emulator->access_key_id, secret_access_key => 'another');
$emulator->clear_log;
$error = $t->sql_error($rotate);
is($error->{sqlstate}, '28000', 'a wrong key besides a wrong clock');
like($error->{hint}, qr/^Check the access key/, 'is told as a wrong key');
is($emulator->log->{count}, 2, 'after one correction');

$t->stop;
done_testing();
