# 028_aws_stale_reads.pl
#	  Eventual consistency: what was written a moment ago is not seen yet.
#
# A run that begins on such a view may be turned back; but whatever it does,
# AWSCURRENT logs in when it is done, or the error says that the end is open,
# and rotating goes on once Secrets Manager has come to rest.

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

sub check
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $out, $err) = $t->psql($rotate);
	my $error = $status ? RotateTest::parse_error($err) : undef;

	ok(!$status || $error->{sqlstate} eq '08007' || $t->can_login('app', $t->password('prod/app')),
		"$name: AWSCURRENT logs in, or the end is open (" . ($status ? $error->{message} : $out) . ')')
	  or diag($err);
	return $out;
}

foreach my $setting ('stale_reads_after_put', 'stale_reads_after_label')
{
	foreach my $reads (1 .. 5)
	{
		$emulator->control('/settings', $setting => $reads);
		check("$setting = $reads, first run");
		my $out = check("$setting = $reads, at once another");
		is($out, 'rotated', 'which looks again, where a value is not where its label was said to be') if $reads == 1;
		$emulator->fault(action => 'cut', when => 'after', operation => 'UpdateSecretVersionStage', times => 3);
		check("$setting = $reads, and the move's answer is lost");
		$emulator->clear_faults;
		$emulator->control('/settings', $setting => 0);

		# reads are up to date again once those that were promised are over
		$t->psql('SELECT rotate_now(\'prod/app\', dry_run => true)') for 1 .. 5;
		my $old = $t->password('prod/app');
		like($t->sql($rotate), qr/^(rotated|completed)$/, "$setting = $reads is over: the next rotation succeeds");
		isnt($t->password('prod/app'), $old, 'with another password');
		ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
		ok(!$t->can_login('app', $old), 'the old password does not');
		$emulator->control('/versions/prune', secret => 'prod/app');
	}
}

$t->stop;
done_testing();
