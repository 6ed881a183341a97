# 020_aws_cost.pl
#	  What a rotation costs: requests, round trips, connections, logins; and
#	  that the emulator's ways to spell an error make no difference.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new(conf => "log_connections = on\nlog_line_prefix = '%m %u '\nlog_timezone = 'UTC'");
my $emulator = $t->emulator;

sub logins { my $log = $t->server_log; my $n = () = $log =~ /connection authorized: user=app /g; return $n; }

$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');

# The delay shows which calls go out together.
$emulator->control('/settings', latency => 0.1);
foreach my $round ('first', 'second')
{
	my $before = logins();
	$emulator->clear_log;
	my $row = $t->row('SELECT outcome, extract(epoch FROM lockout) AS lockout FROM rotate_now(\'prod/app\')');
	my $log = $emulator->log;
	my @entries = @{ $log->{entries} };
	my ($move) = grep { $_->{operation} eq 'UpdateSecretVersionStage' } @entries;
	my @used = grep { my $c = $_; grep { $_->{connection} == $c->{id} } @entries } @{ $log->{connections} };

	is($row->{outcome}, 'rotated', "the $round rotation succeeds");
	cmp_ok($log->{count}, '<=', 6, "it costs at most 6 requests ($log->{count})");
	cmp_ok($log->{round_trips}, '<=', 4, "in at most 4 round trips ($log->{round_trips})");
	is($emulator->control('/state')->{counters}{current_moved_by_put}, 0, 'PutSecretValue moves no label by itself');
	is(logins() - $before, 2, 'and 2 logins of the role');
	cmp_ok(scalar(@used), '<=', 2, 'there are no more connections than calls at the same time');
	is(scalar(grep { !$_->{tls} } @used), 0, 'all of them with TLS');

	# The window ends with the move's answer: nothing else that costs $latency fits in beside it.
	my @within = grep { $_->{ended} > $move->{ended} - $row->{lockout} } @entries;
	is(join(' ', map { $_->{operation} } @within), 'UpdateSecretVersionStage', 'one request is in the lockout window');
	cmp_ok($row->{lockout}, '>=', 0.1, 'which is measured, with the answer waited for');
}
$emulator->control('/settings', latency => 0);

# A pending version that is there already is finished, not replaced.
$t->emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage', times => 0);
$t->sql_error('SELECT * FROM rotate_now(\'prod/app\')');
$emulator->clear_faults;
$emulator->clear_log;
is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'completed', 'a pending version is completed');
ok(!$emulator->log->{operations}{PutSecretValue}, 'without another version');

# However errors are spelt.
foreach my $style ('plain', 'namespaced', 'capital', 'header', 'both')
{
	$emulator->control('/settings', error_style => $style);
	$emulator->fault(action => 'kms_denied', operation => 'GetSecretValue');
	$t->refused('SELECT rotate_now(\'prod/app\')', {
		sqlstate => '42501',
		message => 'could not get a value of secret "prod/app": AccessDeniedException: Access to KMS is not allowed',
		detail => '',
		hint => 'Allow kms:Decrypt on the secret\'s KMS key to the role or user whose credentials the database server uses.'
	}, "an error in the style \"$style\"", role => 'app', secret => 'prod/app');
	$emulator->fault(action => 'throttle', operation => 'UpdateSecretVersionStage');
	is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', "throttled in the style \"$style\"");
	ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
}

$t->stop;
done_testing();
