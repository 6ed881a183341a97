# 093_concurrency.pl
#	  Fifty sessions that rotate the same secrets and different ones, by
#	  rotate_now() and by the service's events, while other sessions alter, rename,
#	  drop and create the roles; with eight worker slots, of which two are taken by
#	  launchers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use Test::More;

my $t = RotateTest->new(
	conf => join("\n", "shared_preload_libraries = 'rotate_ext'", 'max_worker_processes = 8', 'max_connections = 150',
		'restart_after_crash = off', 'deadlock_timeout = 200ms'));
my $emulator = $t->emulator;
my $json = JSON::PP->new->canonical;
my @different = map { "one_$_" } 1 .. 6;
my @events = ('event_1', 'event_2');
my @shaken = ('altered', 'renamed', 'dropped');
my @roles = ('same', @different, @events, @shaken);

$emulator->control('/settings', writes_per_second => 0);
foreach my $role (@roles)
{
	$t->add($role);
	$emulator->control('/secrets/update', secret => "prod/$role", attributes => { rotation_enabled => JSON::PP::true });
	$t->sql("SELECT rotate_register('prod/$role')");
}
my %arn = map { $_ => $emulator->secret("prod/$_")->{arn} } @roles;
my %first = map { $_ => $t->labels("prod/$_")->{AWSCURRENT} } @roles;

# An error of a call is part of its answer.
$t->sql(<<'END');
CREATE FUNCTION answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN json_build_object('sqlstate', SQLSTATE, 'message', SQLERRM);
END $$
END

sub call
{
	my ($role, $statement) = @_;
	return "SELECT json_build_object('role', '$role', 'answer', answer(" . RotateTest::literal($statement) . ")::json);\n";
}

sub rotate_now
{
	my $role = shift;
	return call($role, "SELECT to_json(r) FROM (SELECT outcome, version_id FROM rotate_now('prod/$role')) r");
}

# Any error that a session is not to get ends it with a status.
my (%sessions, %token);

sub session
{
	my ($name, $sql) = @_;
	my $n = 1 + scalar grep { /^$name / } keys %sessions;
	$sessions{"$name $n"} = $t->start_sql($sql);
	return;
}

# 18 on one secret, 12 on six others
session('same', rotate_now('same') x 3) foreach 1 .. 18;
foreach my $role (@different)
{
	session('different', rotate_now($role) x 4) foreach 1 .. 2;
}

# 8 with the steps of two rotations that the service has started, each step as often as there are sessions; and 2 by hand beside them
foreach my $role (@events)
{
	$token{$role} = $emulator->control('/service-pending', secret => "prod/$role")->{id};
	my $steps = '';
	foreach my $step (qw(createSecret setSecret testSecret finishSecret))
	{
		my $event = $json->encode({ Step => $step, SecretId => $arn{$role}, ClientRequestToken => $token{$role} });
		$steps .= call($role, "SELECT rotate_event('$event')");
	}
	session('event', $steps) foreach 1 .. 4;
	session('beside events', rotate_now($role) x 2);
}

# 10 on roles that are altered, renamed, dropped: by these, and by those that do so
foreach my $role (@shaken)
{
	session('shaken', join '', (rotate_now($role), "SELECT pg_sleep(0.05);\n") x 6) foreach 1 .. 2;
}
session('ALTER ROLE', join '', map { "ALTER ROLE altered CONNECTION LIMIT $_; SELECT pg_sleep(0.004);\n" } 10 .. 260);
session('ALTER ROLE', join '', map { "ALTER ROLE same VALID UNTIL '2099-01-01' CONNECTION LIMIT $_; SELECT pg_sleep(0.006);\n" } 10 .. 210);
session('RENAME', "ALTER ROLE renamed RENAME TO renamed_2; SELECT pg_sleep(0.02);\nALTER ROLE renamed_2 RENAME TO renamed; SELECT pg_sleep(0.1);\n" x 15);
# and made anew with the password that it had, and registered anew
session('DROP', join '', (
	"SELECT pg_sleep(0.1);\nSELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 'dropped' \\gset\n",
	"DROP ROLE dropped; SELECT pg_sleep(0.02);\nCREATE ROLE dropped LOGIN PASSWORD :'verifier'; SELECT pg_sleep(0.05);\n",
	"BEGIN; SELECT rotate_unregister('prod/dropped'); SELECT rotate_register('prod/dropped'); COMMIT;\n") x 4);
is(scalar(keys %sessions), 50, 'fifty sessions at once');

my (@failed, %answers);
foreach my $name (sort keys %sessions)
{
	my $result = $sessions{$name}->finish;
	push @failed, "$name: $result->{stderr}" if $result->{status} != 0;
	foreach my $line (grep { /^\{/ } split /\n/, $result->{stdout})
	{
		my $call = $json->decode($line);
		push @{ $answers{ $call->{role} } }, $call->{answer};
	}
}
is_deeply(\@failed, [], 'no session fails, those that alter roles neither');

# What each role's calls may be told
my %allowed = (
	(map { $_ => [] } 'same', 'altered', @different),
	(map { $_ => [
		qr/^55006 could not rotate secret "prod\/$_": a rotation that Secrets Manager started is under way$/,
		qr/^55000 could not rotate secret "prod\/$_": the version of the event's ClientRequestToken does not carry AWSPENDING$/,
		qr/^55000 could not test secret "prod\/$_": role "$_" does not have the password of the AWSPENDING version$/ ] } @events),
	renamed => [
		qr/^55000 could not rotate secret "prod\/renamed": role "renamed" is now called "renamed_2"$/,
		qr/^28000 could not prove the login of role "renamed" with AWS(CURRENT|PENDING): the server refused the role$/,
		qr/^28P01 could not prove the login of role "renamed" with AWS(CURRENT|PENDING): the password was rejected$/,
		qr/^55000 could not prove the login of role "renamed" with AWS(CURRENT|PENDING): the session runs as another role$/ ],
	dropped => [
		qr/^42704 could not rotate secret "prod\/dropped": role "dropped" does not exist$/,
		qr/^55000 could not rotate secret "prod\/dropped": role "dropped" is not the one that was registered$/,
		qr/^28P01 could not rotate secret "prod\/dropped": the password of role "dropped" is not the one in the secret$/,
		qr/^55000 the registration of secret "prod\/dropped" was changed while its rotation waited for its turn$/ ]);
my (%told, @unexpected, %versions, %succeeded);
foreach my $role (@roles)
{
	foreach my $answer (@{ $answers{$role} })
	{
		my $text = $answer->{outcome} // "$answer->{sqlstate} $answer->{message}";
		$told{ $text =~ s/ ?"[^"]*"//gr }++;
		if (!defined $answer->{outcome})
		{
			push @unexpected, "$role: $text" unless grep { $text =~ $_ } @{ $allowed{$role} };
			next;
		}
		push @unexpected, "$role: $text" if $text !~ /^(rotated|completed|created|unchanged|proved)$/;
		next unless defined $answer->{version_id};
		push @unexpected, "$role: version $answer->{version_id} twice" if $versions{ $answer->{version_id} }++;
		$succeeded{$role}++;
	}
}
note(sprintf '%4d %s', $told{$_}, $_) foreach sort keys %told;
is_deeply(\@unexpected, [], 'every answer is a success or a clear error');
is($succeeded{same}, 54, 'each of the calls on one secret has rotated it, to a version of its own');
is_deeply([ map { $succeeded{$_} } @different ], [ (8) x 6 ], 'and so has each of those on others');
is($succeeded{altered}, 12, 'and on the role that is altered');

# The launcher goes on with what has failed half way, a second or two later: until there is none of that, either.
ok($t->wait_for("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker') "
	  . "AND NOT EXISTS (SELECT FROM rotate_status WHERE next_due < now() + interval '10 s')"), 'no worker is left, and nothing is due');

# No rotation is lost: each move of AWSCURRENT starts where the last one ended,
# and there is one for each success.
my (%at, %moves);
foreach my $entry (@{ $emulator->log(operation => 'UpdateSecretVersionStage')->{entries} })
{
	my %sent = %{ $entry->{parameters} };
	next if !$entry->{effect} || $sent{VersionStage} ne 'AWSCURRENT';
	push @{ $moves{ $sent{SecretId} } }, [ @sent{qw(RemoveFromVersionId MoveToVersionId)} ];
}
foreach my $role (@roles)
{
	my $at = $first{$role};
	my @moves = @{ $moves{ $arn{$role} } || [] };
	my @lost = grep { my $lost = $_->[0] ne $at; $at = $_->[1]; $lost } @moves;

	ok(!@lost && $at eq $t->labels("prod/$role")->{AWSCURRENT}, "$role: " . @moves . ' moves of AWSCURRENT, each from where it was');
	is(scalar(@moves), $succeeded{$role}, '  one for each success') if $role =~ /^(same|altered|one_)/;
}
foreach my $role (@events)
{
	ok((grep { $_->[1] eq $token{$role} } @{ $moves{ $arn{$role} } }), "$role: the service's rotation is among them");
}

is($t->sql('SELECT count(*) FROM rotate_history WHERE outcome IS NULL'), '0', 'every run has an outcome');
is($t->sql("SELECT count(*) FROM rotate_history WHERE outcome = 'interrupted'"), '0', 'none was interrupted');
is($t->sql('SELECT count(*) FROM rotate_run a JOIN rotate_run b ON a.role_oid = b.role_oid AND a.run_id < b.run_id '
		. 'AND a.finished_at > b.started_at'), '0', 'none of a role began before the one before it had ended');
is($t->sql('SELECT rotate_recovery()'), 'on', 'the launcher is there');

# The role that is another one now
$t->set_password('dropped', $t->password('prod/dropped'));
$t->sql("SELECT rotate_unregister('prod/dropped'); SELECT rotate_register('prod/dropped')");
foreach my $role (@roles)
{
	ok($t->can_login($role, $t->password("prod/$role")), "AWSCURRENT of $role logs in");
	like($t->sql("SELECT outcome FROM rotate_now('prod/$role')"), qr/^(rotated|completed)$/, '  and is rotated');
}
$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'", '0');
is($t->sql("SELECT count(*) FROM rotate_status WHERE state <> 'ok'"), '0', 'every secret is well');

unlike($t->server_log, qr/deadlock|tuple concurrently|XX000|PANIC|terminated by signal/, 'no deadlock, nothing updated concurrently');
$t->stop;
done_testing();
