# 024_aws_lost_answers.pl
#	  The label is moved and nobody is told, or it is moved late: AWSCURRENT
#	  must log in at the end, and the old password must not come back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $move = 'UpdateSecretVersionStage';

$t->set('rotate_ext.request_timeout' => 500);
$t->add('app');
$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');

sub check
{
	my ($old, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $new = $t->password('prod/app');
	isnt($new, $old, "$name: AWSCURRENT has the new password");
	ok($t->can_login('app', $new), 'which logs in');
	ok(!$t->can_login('app', $old), 'and the old one does not');
	$emulator->clear_faults;
	return;
}

my %lost = (
	'the connection is cut' => { action => 'cut' },
	'with a reset' => { action => 'cut', reset => JSON::PP::true },
	'no answer comes' => { action => 'hang' },
	'HTTP 503' => { action => 'error', status => 503 },
	'an answer cut off' => { action => 'truncate' },
	'not JSON' => { action => 'replace', body => 'moved!' },
	'a redirect for an answer' => { action => 'redirect' },
	'throttled, it says' => { action => 'throttle' });

foreach my $name (sort keys %lost)
{
	foreach my $times (1, 0)
	{
		my $old = $t->password('prod/app');
		$emulator->clear_log;
		$emulator->fault(%{ $lost{$name} }, when => 'after', operation => $move, times => $times);
		my ($status, $out, $err) = $t->psql('SELECT outcome FROM rotate_now(\'prod/app\')');
		is($out, 'rotated', "$name, " . ($times ? 'once' : 'always')) or diag($err);
		cmp_ok($emulator->log(operation => $move)->{count}, '<=', 2, 'found out by a look, not by moving on') if $times;
		check($old, $name);
		$emulator->control('/versions/prune', secret => 'prod/app');
	}
}

# The move is held up beyond the time limit, is given up, and takes effect after all.
my $old = $t->password('prod/app');
my $pause = $emulator->fault(action => 'pause', operation => $move, times => 0);
my $call = $t->start_sql('SELECT outcome FROM rotate_now(\'prod/app\')');
$emulator->wait_for_fault($pause, 4);
ok($t->can_login('app', $t->password('prod/app', 'AWSPENDING')), 'while it is looked at again, the new password stays');
$emulator->release($pause);
is($call->finish->{stdout}, 'rotated', 'a move that arrives late');
check($old, 'late, while the run goes on');

# It arrives after the run has ended.
$old = $t->password('prod/app');
$pause = $emulator->fault(action => 'pause', operation => $move, times => 0);
my $error = $t->sql_error('SELECT rotate_now(\'prod/app\')');
is($error->{sqlstate}, '08007', 'the run ends without knowing');
is($error->{message}, 'could not learn whether AWSCURRENT of secret "prod/app" was moved', 'and says so');
like($error->{detail}, qr/^Role "app" was left with the password of version \S+, to which the label may still move\. The run ended with: could not move a staging label of secret "prod\/app": no answer within 500 ms$/,
	'what it leaves behind');
is($error->{hint}, 'Call rotate_now(\'prod/app\') again: it looks where the label is, and goes on from there.', 'and what to do');
ok($t->can_login('app', $t->password('prod/app', 'AWSPENDING')), 'the role keeps the password that the label may get');
$emulator->release($pause);
$emulator->control('/log/wait', operation => $move, count => 1);
for (1 .. 100) { last if $t->password('prod/app') ne $old; select undef, undef, undef, 0.05; }
check($old, 'late, after the run');
$old = $t->password('prod/app');
is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'the next rotation is an ordinary one');
check($old, 'afterwards');

# Those after it are refused for good: the first one may still arrive.
$old = $t->password('prod/app');
$pause = $emulator->fault(action => 'pause', operation => $move);
$emulator->fault(action => 'access_denied', operation => $move, after => 1, times => 0);
$error = $t->sql_error('SELECT rotate_now(\'prod/app\')');
is($error->{sqlstate}, '08007', 'refused for good, but for one that was not answered');
ok($t->can_login('app', $t->password('prod/app', 'AWSPENDING')), 'the old password is not put back');
$emulator->release($pause);
for (1 .. 100) { last if $t->password('prod/app') ne $old; select undef, undef, undef, 0.05; }
check($old, 'late, after others were refused');

# The next one is refused because the first one has arrived.
$t->set('rotate_ext.max_attempts' => 1);
$old = $t->password('prod/app');
my $theirs = $emulator->add_version('prod/app', $t->secret_json('app', RotateTest::random_password()), 'AWSPENDING');
$emulator->fault(action => 'pause', operation => $move, seconds => 0.6);
is(($t->psql("SELECT outcome || ' ' || version_id FROM rotate_now('prod/app')"))[1], "completed $theirs",
	'a move that has arrived before the next: no other version is made');
check($old, 'arrived before the next');

# A look finds that it has arrived, with a version that somebody else had made.
$old = $t->password('prod/app');
$theirs = $emulator->add_version('prod/app', $t->secret_json('app', RotateTest::random_password()), 'AWSPENDING');
$emulator->fault(action => 'cut', when => 'after', operation => $move);
is(($t->psql("SELECT outcome || ' ' || version_id FROM rotate_now('prod/app')"))[1], "completed $theirs", 'a look finds a move that has arrived');
check($old, 'found');
$t->set('rotate_ext.max_attempts' => undef);

# The run's time is over while the move is under way.
$t->set('rotate_ext.worker_timeout' => 1500, 'rotate_ext.request_timeout' => '10s');
$old = $t->password('prod/app');
$pause = $emulator->fault(action => 'pause', operation => $move, times => 0);
$error = $t->sql_error('SELECT rotate_now(\'prod/app\')');
is($error->{sqlstate}, '08007', 'out of time with the move under way');
like($error->{detail}, qr/The run ended with: the run took longer than rotate_ext\.worker_timeout \(1500 ms\)$/, 'and why');
ok($t->can_login('app', $t->password('prod/app', 'AWSPENDING')), 'the old password is not put back');
$emulator->release($pause);
for (1 .. 100) { last if $t->password('prod/app') ne $old; select undef, undef, undef, 0.05; }
check($old, 'late, after the time limit');

$t->stop;
done_testing();
