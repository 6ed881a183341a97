# 070_lambda_rotation.pl
#	  The whole of it: boto3 calls rotate_secret, the service invokes the packed
#	  Lambda function four times, and the role's password has changed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Service;
use Test::More;

my $s = RotateTest::Service->new;
my $t = $s->{t};
my $emulator = $s->emulator;
my $app = $s->add('app');
my $old = $t->password('prod/app');
my $current = $t->labels('prod/app')->{AWSCURRENT};

$emulator->clear_log;
my $answer = $s->begin($app, RotationRules => { ScheduleExpression => 'rate(30 days)' });
is($answer->{error}, undef, 'boto3\'s rotate_secret succeeds');
my $token = $answer->{VersionId};
my $rotation = $s->ended($app);
$s->idle;
is($rotation->{status}, 'succeeded', 'and so does the rotation') or diag($rotation->{reason});
is($rotation->{attempts}, 1, 'at the first attempt');

my @invocations = $s->invocations($rotation);
is_deeply([ map { "$_->{step} $_->{outcome}" } @invocations ], [ map { "$_ succeeded" } @RotateTest::Service::STEPS ],
	'the function was invoked four times');
is_deeply([ map { $_->{response}{outcome} } @invocations ], [qw(created completed proved unchanged)], 'and told what was done in each');
is(scalar(grep { $_->{cold} } @invocations), 1, 'by one process');
is_deeply([ map { $_->{pid} } @invocations ], [ ($invocations[0]{pid}) x 4 ], 'that was kept');

# What it has come to.
my $new = $t->password('prod/app');
my $labels = $t->labels('prod/app');
is_deeply($labels, { AWSCURRENT => $token, AWSPENDING => $token, AWSPREVIOUS => $current },
	'AWSCURRENT has moved, AWSPREVIOUS is on the one before, and AWSPENDING says that it is finished');
isnt($new, $old, 'the password is another one');
ok($t->can_login('app', $new), 'with which the role logs in');
ok(!$t->can_login('app', $old), 'and with the old one it does not');
my $described = $s->aws('describe_secret', SecretId => 'prod/app');
is($described->{RotationEnabled}, JSON::PP::true, 'boto3 sees the rotation turned on');
is($described->{RotationLambdaARN}, $app->{function_arn}, 'with the function');
ok($described->{LastRotatedDate}, 'a rotation that is over');
# Debian 12's boto3 does not know NextRotationDate
ok($emulator->secret('prod/app')->{attributes}{next_rotation}, 'and when the next one will be');
is_deeply($described->{VersionIdsToStages}, { $token => [qw(AWSCURRENT AWSPENDING)], $current => ['AWSPREVIOUS'] }, 'and the labels');
is($s->aws('get_secret_value', SecretId => 'prod/app')->{VersionId}, $token, 'applications get the new version');

# Who did what.
my @calls = grep { ($_->{user_agent} // '') !~ /Boto3/ } @{ $emulator->log->{entries} };
my @by_function = grep { $_->{access_key_id} ne $emulator->access_key_id } @calls;
is_deeply([ map { "$_->{operation} $_->{parameters}{SecretId}" } @by_function ], ["GetSecretValue $app->{login_arn}"],
	'the function asked Secrets Manager for its own login, once, and for nothing else');
is(scalar(grep { ($_->{parameters}{SecretId} // '') eq $app->{login_arn} } @calls), 1, 'which the database host has not read');
is($s->control('/state')->{counters}{current_moved_by_put}, 0, 'no PutSecretValue moved AWSCURRENT');

# The way to the database.
my $server_log = $t->server_log;
my @logins = $server_log =~ /connection authorized: user=rotate_lambda .*$/mg;
is(scalar(@logins), 1, 'one login to the database');
like($logins[0], qr/application_name=rotate_lambda SSL enabled/, 'with TLS');
ok($t->wait_for(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'rotate_lambda'}), 'and no session is left');

# What is written down.
my @lines = $s->log_lines($app);
is_deeply([ map { "$_->{step} $_->{outcome} $_->{result}" } @lines ],
	[ 'createSecret ok created', 'setSecret ok completed', 'testSecret ok proved', 'finishSecret ok unchanged' ],
	'the function\'s log has a line for each');
is(scalar(grep { exists $_->{warning} } @lines), 0, 'without a warning');
is_deeply([ map { "$_->{source} $_->{outcome}" } $t->history('prod/app') ],
	[ 'rotate_event: createSecret created', 'rotate_event: setSecret completed', 'rotate_event: testSecret proved',
		'rotate_event: finishSecret unchanged' ],
	'and rotate_history, too');

# Once more, with the process that is there: from the schedule.
$s->control('/rotations/start', secret => 'prod/app');
$rotation = $s->ended($app);
is($rotation->{status}, 'succeeded', 'a rotation by the schedule');
is_deeply([ map { $_->{pid} } $s->invocations($rotation) ], [ ($invocations[0]{pid}) x 4 ], 'by the same process');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
is($t->labels('prod/app')->{AWSPREVIOUS}, $token, 'AWSPREVIOUS is what was current');

# The same password in the function's own secret and in the database is
# rotated in the same way, by the extension; the function uses the new one.
$t->sql('SELECT rotate_register(' . RotateTest::literal($app->{login}) . ')');
$t->sql('SELECT rotate_now(' . RotateTest::literal($app->{login}) . ')');
$rotation = $s->rotate($app);
is($rotation->{status}, 'succeeded', 'a rotation after the function\'s own login was rotated');
is($rotation->{attempts}, 1, 'with the new password at once');

# A server whose certificate is not the right one gets no password, and no event.
my $other = PostgreSQL::Test::Utils::tempdir('other_ca');
system('/usr/bin/python3', '-B', "$FindBin::RealBin/../emulator/certs.py", $other) == 0 or die 'could not make a CA';
my $distrustful = $s->add('distrustful', env => { ROTATE_DB_CA => PostgreSQL::Test::Utils::slurp_file("$other/ca.pem") });
my $astray = $s->add('astray', env => { PGHOST => 'nobody.invalid,127.0.0.1', PGPORT => '5432,1' });
$s->control('/settings', rotation_attempts => 2);
foreach my $case (
	[ $distrustful, qr/^createSecret: Database\.ConnectionFailed: .*127\.0\.0\.1.* certificate verify failed/ ],
	[ $astray, qr/^createSecret: Database\.ConnectionFailed: .*nobody\.invalid.*; .*127\.0\.0\.1.*Connection refused/ ])
{
	my ($app, $reason) = @$case;
	my $verifier = $t->verifier_of($app->{role});
	my $value = $t->password($app->{secret});

	$rotation = $s->rotate($app);
	is($rotation->{status}, 'failed', "$app->{role}: the rotation fails");
	is($rotation->{attempts}, 2, 'after all attempts');
	like($rotation->{reason}, $reason, 'and the service has seen which host and why');
	is($t->verifier_of($app->{role}), $verifier, 'the role is as before');
	ok($t->password($app->{secret}) eq $value, 'AWSCURRENT too');
	$answer = $s->begin($app);
	is($answer->{message}, 'A previous rotation isn\'t complete. That rotation will be reattempted.',
		'rotate_secret then says that it is not complete');
	$s->ended($app);
}
is(() = $t->server_log =~ /connection authorized: user=rotate_lambda .*application_name=rotate_lambda/g, 3, 'there was no login but of the three rotations');

$s->stop;
done_testing();
