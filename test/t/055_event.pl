# 055_event.pl
#	  rotate_event(): the four steps of a rotation that Secrets Manager has
#	  started, in their order and out of it, repeated, alone, at the same time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $json = JSON::PP->new->canonical;
my @steps = qw(createSecret setSecret testSecret finishSecret);
my $arn;

sub literal { return RotateTest::literal($_[0]); }

# begin(SECRET): the empty version that the service makes.
sub begin
{
	my $secret = shift;
	my $made = $emulator->control('/service-pending', secret => $secret);
	$arn = $made->{secret}{arn};
	return $made;
}

sub call_of
{
	my ($step, $made, %more) = @_;
	my %event = (
		Step => $step,
		SecretId => $arn,
		ClientRequestToken => $made->{id},
		RotationToken => $made->{rotation_token},
		%more);
	delete @event{ grep { !defined $event{$_} } keys %event };
	return 'SELECT rotate_event(' . literal($json->encode(\%event)) . ')';
}

sub event
{
	my ($step, $made, %more) = @_;
	return $json->decode($t->sql(call_of($step, $made, %more)));
}

sub add
{
	my $role = shift;
	my $password = $t->add($role, attributes => undef, @_);
	$emulator->control('/secrets/update', secret => "prod/$role",
		attributes => { rotation_enabled => JSON::PP::true });
	$t->sql("SELECT rotate_register('prod/$role')");
	return $password;
}

# The whole, in order; and each step once more.
my $old = add('app');
my $made = begin('prod/app');
my $current = $t->labels('prod/app')->{AWSCURRENT};

is(event('createSecret', $made)->{outcome}, 'created', 'createSecret makes the value');
is($t->labels('prod/app')->{AWSCURRENT}, $current, 'and moves nothing');
ok($t->can_login('app', $old), 'nor does it set the password');
my $put = (grep { $_->{operation} eq 'PutSecretValue' } @{ $emulator->log->{entries} })[0];
is($put->{parameters}{RotationToken}, $made->{rotation_token}, 'RotationToken is passed on');
is($put->{parameters}{ClientRequestToken}, $made->{id}, 'and the token is the version');

my $before = $t->unchanged('app', 'prod/app');
is(event('create_secret', $made)->{outcome}, 'unchanged', 'createSecret once more, in the other spelling');
is($t->unchanged('app', 'prod/app'), $before, 'changes nothing');
$t->error_is(call_of('testSecret', $made),
	{ sqlstate => '55000', message => qr/^could not test secret "prod\/app": role "app" does not have the password/ },
	'testSecret before setSecret is an error');
is($t->unchanged('app', 'prod/app'), $before, 'and changes nothing');

my $answer = event('setSecret', $made);
is($answer->{outcome}, 'completed', 'setSecret sets, proves and moves');
is($answer->{secret}, 'prod/app', 'its answer names the secret');
ok($answer->{lockout_ms} > 0, 'and the time that AWSCURRENT did not log in');
is($t->labels('prod/app')->{AWSCURRENT}, $made->{id}, 'AWSCURRENT has moved');
is($t->labels('prod/app')->{AWSPENDING}, $made->{id}, 'AWSPENDING stays');
ok($t->can_login('app', $t->password('prod/app')), 'the new password is accepted');
ok(!$t->can_login('app', $old), 'the old one refused');

$before = $t->unchanged('app', 'prod/app');
is(event('testSecret', $made)->{outcome}, 'proved', 'testSecret proves the login');
is(event('finishSecret', $made)->{outcome}, 'unchanged', 'finishSecret finds it finished');
foreach my $step (@steps, reverse @steps)
{
	ok(event($step, $made), "$step of a finished rotation succeeds");
}
is($t->unchanged('app', 'prod/app'), $before, 'and none of these changed anything');
is($t->row("SELECT source FROM rotate_history ORDER BY run_id LIMIT 1")->{source},
	'rotate_event: createSecret', 'rotate_history says which step it was');

# Each step in its own act.
$t->set('rotate_ext.combine_steps' => 'off');
$made = begin('prod/app');
$current = $t->labels('prod/app')->{AWSCURRENT};
event('createSecret', $made);
is(event('setSecret', $made)->{outcome}, 'set', 'without combine_steps setSecret only sets');
is($t->labels('prod/app')->{AWSCURRENT}, $current, 'AWSCURRENT is where it was');
ok($t->can_login('app', $t->password('prod/app', 'AWSPENDING')), 'the pending password is accepted');
is(event('testSecret', $made)->{outcome}, 'proved', 'testSecret proves it');
is($t->labels('prod/app')->{AWSCURRENT}, $current, 'and moves nothing');
is(event('finishSecret', $made)->{outcome}, 'completed', 'finishSecret moves the label');
is($t->labels('prod/app')->{AWSCURRENT}, $made->{id}, 'to the new version');
$t->set('rotate_ext.combine_steps' => undef);

# A step left out is made up for.
$made = begin('prod/app');
$t->error_is(call_of('finishSecret', $made),
	{ sqlstate => '55006', message => qr/a rotation that Secrets Manager started is under way/ },
	'finishSecret of a version without a value is an error');
event('createSecret', $made);
is(event('finishSecret', $made)->{outcome}, 'completed', 'finishSecret does what setSecret has not done');
ok($t->can_login('app', $t->password('prod/app')), 'and AWSCURRENT logs in');

# RotateImmediately=false: testSecret alone, on a version with AWSCURRENT's value.
add('tested');
my $pending = $emulator->add_version('prod/tested', $emulator->text('prod/tested', 'AWSCURRENT'), 'AWSPENDING');
$arn = $emulator->secret('prod/tested')->{arn};
$before = $t->unchanged('tested', 'prod/tested');
is(event('testSecret', { id => $pending })->{outcome}, 'proved', 'testSecret alone proves the login');
is($t->unchanged('tested', 'prod/tested'), $before, 'and changes neither verifier nor labels');
$t->set_password('tested', 'changed by hand');
$before = $t->unchanged('tested', 'prod/tested');
$t->error_is(call_of('testSecret', { id => $pending }),
	{ sqlstate => '28P01', message => qr/^could not rotate secret "prod\/tested": the password of role "tested" is not/ },
	'where AWSCURRENT does not log in it fails with the SQLSTATE of the login');
is($t->unchanged('tested', 'prod/tested'), $before, 'and changes nothing either');

# A finished rotation whose login can't be tried is a success, marked so.
$arn = $emulator->secret('prod/app')->{arn};
$t->sql('ALTER ROLE app CONNECTION LIMIT 0');
$t->set('rotate_ext.login_timeout' => '300ms');
is(event('testSecret', $made)->{outcome}, 'unproved', 'testSecret of a finished rotation without a way in is unproved');
$t->sql('ALTER ROLE app CONNECTION LIMIT -1');
$t->set('rotate_ext.login_timeout' => undef);
my $right = $t->password('prod/app');
$t->set_password('app', 'changed by hand');
$t->error_is(call_of('testSecret', $made), { sqlstate => '28P01' }, 'a refused one is an error');
$t->set_password('app', $right);

# What is refused.
my @refused = (
	[ 'a token that no version has', { ClientRequestToken => 'f' x 36 },
		'55000', qr/the version of the event's ClientRequestToken does not carry AWSPENDING$/ ],
	[ 'a secret that is not registered', { SecretId => "$arn-no" }, '42704', qr/is not registered$/ ],
	[ 'an unknown step', { Step => 'revertSecret' }, '22023', 'invalid rotation event: member "Step" names no step of a rotation' ],
	[ 'no step', { Step => undef }, '22023', 'invalid rotation event: member "Step" is missing' ],
	[ 'no secret', { SecretId => undef }, '22023', 'invalid rotation event: member "SecretId" is missing' ],
	[ 'no token', { ClientRequestToken => undef }, '22023', 'invalid rotation event: member "ClientRequestToken" is missing' ],
	[ 'a token of the wrong type', { ClientRequestToken => [1] }, '22023', 'invalid rotation event: member "ClientRequestToken" is not a string' ],
	[ 'a step of the wrong type', { Step => JSON::PP::true }, '22023', 'invalid rotation event: member "Step" is not a string' ],
	[ 'a short token', { ClientRequestToken => 'x' x 31 }, '22023', 'invalid rotation event: member "ClientRequestToken" has 31 characters' ],
	[ 'a long token', { ClientRequestToken => 'x' x 65 }, '22023', 'invalid rotation event: member "ClientRequestToken" has 65 characters' ],
	[ 'a short RotationToken', { RotationToken => 'x' x 35 }, '22023', 'invalid rotation event: member "RotationToken" has 35 characters' ],
	[ 'a name that is none', { SecretId => 'a b' }, '22023', 'invalid name of a secret' ]);
$made = begin('prod/app');
$before = $t->unchanged('app', 'prod/app');
foreach my $case (@refused)
{
	my ($name, $change, $sqlstate, $message) = @$case;
	$t->error_is(call_of('setSecret', $made, %$change), { sqlstate => $sqlstate, message => $message }, "refused: $name");
}
$t->error_is("SELECT rotate_event('[]')", { sqlstate => '22023', message => 'invalid rotation event: it is not a JSON object' },
	'refused: not an object');
is($t->unchanged('app', 'prod/app'), $before, 'none of these changed anything');

$emulator->control('/secrets/update', secret => 'prod/app', attributes => { rotation_enabled => JSON::PP::false });
$before = $t->unchanged('app', 'prod/app');
foreach my $step (@steps)
{
	$t->error_is(call_of($step, $made),
		{ sqlstate => '55000', message => 'could not rotate secret "prod/app": its rotation is turned off in Secrets Manager' },
		"$step of a secret whose rotation is turned off is refused");
}
is($t->unchanged('app', 'prod/app'), $before, 'and changes nothing');
$emulator->control('/secrets/update', secret => 'prod/app', attributes => { rotation_enabled => JSON::PP::true });

# The client goes away; the step is finished, and the retry joins it.
event('createSecret', $made);
my $pause = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
my $call = $t->start_sql(call_of('setSecret', $made));
$emulator->wait_for_fault($pause);
$call->kill;
my $retry = $t->start_sql(call_of('setSecret', $made));
$emulator->release($pause);
is($retry->finish->{status}, 0, 'the retry of a step whose client has gone away succeeds');
is($t->labels('prod/app')->{AWSCURRENT}, $made->{id}, 'and the label has moved');
is((grep { $_->{operation} eq 'UpdateSecretVersionStage' && $_->{parameters}{MoveToVersionId} eq $made->{id} }
		@{ $emulator->log->{entries} }), 1, 'once');

# The same step from several at once, and all steps at once.
$made = begin('prod/app');
my @calls = map { $t->start_sql(call_of($_, $made)) } ('createSecret') x 4;
is_deeply([ map { $_->finish->{status} } @calls ], [ (0) x 4 ], 'createSecret from four sessions at once');
@calls = map { $t->start_sql(call_of($_, $made)) } ('setSecret', 'finishSecret', 'setSecret', 'createSecret');
is_deeply([ map { $_->finish->{status} } @calls ], [ (0) x 4 ], 'and different steps');
is($t->labels('prod/app')->{AWSCURRENT}, $made->{id}, 'end with the new version');
ok($t->can_login('app', $t->password('prod/app')), 'that logs in');

# The function's role: rotate_event and nothing else, and its tokens in no log.
$t->sql('CREATE ROLE rotate_lambda LOGIN; GRANT EXECUTE ON FUNCTION rotate_event(jsonb) TO rotate_lambda');
$made = begin('prod/app');
my $as = "SET SESSION AUTHORIZATION rotate_lambda;";
my ($status, $out, $err) = $t->psql("$as " . call_of('createSecret', $made));
is($status, 0, 'the role of the function may call rotate_event()');
like($err, qr/WARNING:.*the RotationToken of this event could be logged/, 'and is warned that its token could be logged');
like($err, qr/HINT:\s+Use ALTER ROLE rotate_lambda SET log_parameter_max_length = 0\./, 'with what to do about it');
foreach my $denied (
	"SELECT rotate_now('prod/app')", "SELECT rotate_register('prod/x')", "SELECT rotate_unregister('prod/app')",
	"SELECT rotate_abandon('prod/app')", "SELECT rotate_enable('prod/app')", 'SELECT * FROM rotate_registration',
	'SELECT * FROM rotate_run', 'SELECT * FROM rotate_status', 'SELECT * FROM rotate_history',
	"ALTER ROLE app PASSWORD 'x'", 'SELECT * FROM pg_authid')
{
	is($t->sql_error("$as $denied")->{sqlstate}, '42501', "it may not $denied");
}
$t->error_is("$as " . call_of('createSecret', $made, SecretId => 'prod/other'), { sqlstate => '42704' },
	'nor call it for a secret that is not registered');

$t->stop;
done_testing();
