# 073_lambda_test_only.pl
#	  RotateImmediately=false: the service sends testSecret alone.  Nothing is
#	  changed by it, whatever comes of it; and where AWSCURRENT does not log
#	  in, it fails with the SQLSTATE of the login.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use RotateTest::Service;
use Test::More;

my $s = RotateTest::Service->new;
my $t = $s->{t};
my $emulator = $s->emulator;

# Verifier, labels, versions and values; not the attributes, in which the
# service itself notes that rotation was turned on.
sub state_of
{
	my $app = shift;
	my $secret = $emulator->secret($app->{secret});
	return JSON::PP->new->canonical->encode(
		{ verifier => $t->verifier_of($app->{role}), map { $_ => $secret->{$_} } qw(labels versions) });
}

sub try_only { my $app = shift; return $s->rotate($app, RotateImmediately => JSON::PP::false); }

sub changes_nothing
{
	my ($app, $name) = @_;
	my $before = state_of($app);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$emulator->clear_log;
	my $rotation = try_only($app);
	ok(state_of($app) eq $before, "$name: verifier, labels and values are byte for byte as before");
	is_deeply([ grep { /^(Put|Update|GetRandom)/ } keys %{ $emulator->log->{operations} } ], [], 'and no call could change any');
	return $rotation;
}

my $app = $s->add('app');

foreach my $combined ('on', 'off')
{
	$t->set('rotate_ext.combine_steps' => $combined);
	foreach my $after ('restored', 'removed')
	{
		$s->control('/settings', pending_after_test => $after);
		my $rotation = changes_nothing($app, "combine_steps $combined, no AWSPENDING before");
		is($rotation->{status}, 'succeeded', 'it succeeds') or diag($rotation->{reason});
		is_deeply([ map { "$_->{step} $_->{response}{outcome}" } $s->invocations($rotation) ], ['testSecret proved'],
			'testSecret alone was sent, and proved the login');
	}
}
$s->control('/settings', pending_after_test => 'restored');
$t->set('rotate_ext.combine_steps' => undef);
ok($t->wait_for(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'rotate_lambda'}),
	'and the function has left no session');

# After a rotation AWSPENDING is on AWSCURRENT's version.
is($s->rotate($app)->{status}, 'succeeded', 'a rotation');
is(changes_nothing($app, 'after a rotation')->{status}, 'succeeded', 'it succeeds');
$s->control('/settings', pending_after_test => 'removed');
my $labels = $t->labels('prod/app');
delete $labels->{AWSPENDING};
is(try_only($app)->{status}, 'succeeded', 'and where the service takes AWSPENDING away');
is_deeply($t->labels('prod/app'), $labels, 'that is all that has changed');
is($s->rotate($app)->{status}, 'succeeded', 'and the next rotation succeeds');
$s->control('/settings', pending_after_test => 'restored');

# Duplicated, killed, late: no change either.
$s->control('/settings', rotation_backoff => 0.01);
foreach my $fault (
	{ action => 'duplicate', concurrent => JSON::PP::true },
	{ action => 'kill', at_call => 'GetSecretValue', secret => $app->{arn} },
	{ action => 'kill', seconds => 0 },
	{ action => 'lose' })
{
	my $id = $s->invocation_fault(%$fault);
	is(changes_nothing($app, "the invocation meets $fault->{action}")->{status}, 'succeeded', 'and the retry succeeds');
	$s->control('/invocation-faults/clear', id => $id);
}

# AWSCURRENT does not log in.
$s->control('/settings', rotation_attempts => 2);
$t->set('rotate_ext.login_timeout' => '500ms');
my @cases = (
	[ 'the password was changed by hand', '28P01', qr/the password of role "app" is not the one in the secret|is not AWSCURRENT's/,
		sub { $t->set_password('app', 'changed by hand'); },
		sub { $t->set_password('app', $t->password('prod/app')); } ],
	[ 'the role has no password', '28P01', qr/./,
		sub { $t->sql('ALTER ROLE app PASSWORD NULL'); },
		sub { $t->set_password('app', $t->password('prod/app')); } ],
	[ 'the role may not log in', '28000', qr/./, sub { $t->sql('ALTER ROLE app NOLOGIN'); }, sub { $t->sql('ALTER ROLE app LOGIN'); } ],
	[ 'the password has expired', '28P01', qr/./,
		sub { $t->sql(q{ALTER ROLE app VALID UNTIL '2001-01-01'}); }, sub { $t->sql(q{ALTER ROLE app VALID UNTIL 'infinity'}); } ],
	[ 'the role has no connection left', '53300', qr/./,
		sub { $t->sql('ALTER ROLE app CONNECTION LIMIT 0'); }, sub { $t->sql('ALTER ROLE app CONNECTION LIMIT -1'); } ],
	[ 'the role may not connect to the database', '42501', qr/./,
		sub { $t->sql('REVOKE CONNECT ON DATABASE postgres FROM public; GRANT CONNECT ON DATABASE postgres TO rotate_lambda'); },
		sub { $t->sql('GRANT CONNECT ON DATABASE postgres TO public'); } ]);
foreach my $case (@cases)
{
	my ($name, $sqlstate, $message, $break, $mend) = @$case;

	$break->();
	my $rotation = changes_nothing($app, $name);
	is($rotation->{status}, 'failed', 'it fails');
	my @invocations = $s->invocations($rotation);
	is_deeply([ map { "$_->{step} $_->{error_type} $_->{error_type_header}" } @invocations ],
		[ ("testSecret $sqlstate $sqlstate") x 2 ], "with SQLSTATE $sqlstate of the login as the error's type, each time")
	  or diag(map { "$_->{error_message}\n" } @invocations);
	like($invocations[0]{error_message}, $message, 'and the reason');
	is(($t->history('prod/app'))[-1]{sqlstate}, $sqlstate, 'rotate_history has the same');
	note($invocations[0]{error_message});
	$mend->();
}
is(changes_nothing($app, 'when all is well again')->{status}, 'succeeded', 'it succeeds');

$s->stop;
done_testing();
