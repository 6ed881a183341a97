# 038_meanwhile.pl
#	  Somebody else alters the role at the very moment: their password stays
#	  theirs, and nobody reads "tuple concurrently updated".

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Gates;
use RotateTest::Login;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;

$t->set('rotate_ext.login_timeout' => '3s');

sub registered
{
	my $role = shift;
	my $password = $t->add($role);
	$t->sql("SELECT rotate_register('prod/$role', '$role')");
	return $password;
}

# A password set by hand before ours: theirs stays.
my $theirs;
registered('hand');
refused_midway($t,
	{
		sqlstate => '28P01',
		message => 'could not rotate secret "prod/hand": the password of role "hand" is not the one in the secret'
	},
	'a password that someone sets before we do',
	role => 'hand',
	change => sub { $t->set_password('hand', 'by hand'); $theirs = $t->verifier_of('hand') },
	verifier => sub { $theirs });
ok($t->can_login('hand', 'by hand'), 'theirs logs in');
$t->set_password('hand', $t->password('prod/hand'));
still_rotates($t, 'hand', 'with AWSCURRENT\'s password it rotates');

# The pending password itself, set by somebody else.
{
	my $old = registered('helped');
	my $fault = $emulator->fault(action => 'pause', when => 'after', operation => 'PutSecretValue');
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/helped')");
	$emulator->wait_for_fault($fault);
	my $pending = $t->password('prod/helped', 'AWSPENDING');
	$t->set_password('helped', $pending);
	$emulator->release($fault);
	is($call->finish->{stdout}, 'rotated', 'someone sets the pending password: the rotation is completed');
	ok($t->can_login('helped', $pending), 'it logs in');
	ok($t->password('prod/helped') eq $pending, 'and is AWSCURRENT\'s');
}

# Set by hand while the label moves: the move can't be held back any more, and the next run says what is wrong.
{
	registered('late');
	my $fault = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/late')");
	$emulator->wait_for_fault($fault);
	$t->set_password('late', 'by hand');
	my $verifier = $t->verifier_of('late');
	$emulator->release($fault);
	$call->finish;
	is($t->verifier_of('late'), $verifier, 'a password set while the label moves stays');
	$t->refused(
		"SELECT rotate_now('prod/late')",
		{
			sqlstate => '28P01',
			message => 'could not rotate secret "prod/late": the password of role "late" is not the one in the secret'
		},
		'the next run tells of it', role => 'late', secret => 'prod/late');
}

# And while the label move is refused: nothing of ours is to be taken back then.
{
	registered('kept');
	my $pause = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
	my $deny = $emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage', times => 0);
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/kept')");
	$emulator->wait_for_fault($pause);
	$t->set_password('kept', 'by hand');
	my $verifier = $t->verifier_of('kept');
	$emulator->release($pause);
	isnt($call->finish->{error}, undef, 'a move that is refused is an error');
	is($t->verifier_of('kept'), $verifier, 'a password set by hand meanwhile is not overwritten with the old one');
	$emulator->clear_faults;
}

# The new password is set once more, by somebody, and AWSCURRENT is edited: that login was not proved.
{
	registered('again');
	my $pause = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/again')");
	$emulator->wait_for_fault($pause);
	my $pending = $t->password('prod/again', 'AWSPENDING');
	$t->set_password('again', $pending);
	$emulator->add_version('prod/again', $t->secret_json('again', RotateTest::random_password()), 'AWSCURRENT');
	$emulator->release($pause);
	is($call->finish->{stdout}, 'rotated', 'someone sets the new password again and edits AWSCURRENT: it is rotated all the same');
	ok($t->password('prod/again') eq $pending, 'to that password');
	is(join(' ', (map { $_->{action} } @{ ($t->history('prod/again'))[-1]{phases} })[ -3 .. -1 ]), 'MOVE_CURRENT PROVE_LOGIN MOVE_CURRENT',
		'whose login was proved again');
}

# After the first password was set, the pending version gives way to one that does not log in.
{
	registered('twice');
	my $verifier = $t->verifier_of('twice');
	my $pending = sub {
		return $emulator->add_version('prod/twice', $t->secret_json('twice', RotateTest::random_password(), @_), 'AWSPENDING');
	};
	$pending->();
	my $pause = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
	$emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage');
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/twice')");
	$emulator->wait_for_fault($pause);
	ok($t->verifier_of('twice') ne $verifier, 'the password of the pending version is set');
	$pending->(dbname => 'nowhere');
	$emulator->release($pause);
	is($call->finish->{error}{message},
		'could not prove the login of role "twice" with AWSPENDING: the server reported an error',
		'the version that took its place does not log in');
	ok($t->verifier_of('twice') eq $verifier, 'and what comes back is what the role had before both');
	$emulator->clear_faults;
}

# An ALTER ROLE that is not committed yet when ours comes.
foreach my $end (qw(COMMIT ROLLBACK))
{
	my $role = lc "held_$end";
	registered($role);
	my $fault = $emulator->fault(action => 'pause', operation => 'PutSecretValue');
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/$role')");
	$emulator->wait_for_fault($fault);
	my $holder = $t->start_sql("BEGIN; ALTER ROLE $role CONNECTION LIMIT 7; SELECT pg_sleep(3); $end", app => 'holder');
	$t->wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'holder' AND query LIKE '%sleep%'");
	$emulator->release($fault);
	$t->wait_for("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'");
	my $result = $call->finish;
	is($result->{stdout}, 'rotated', "an ALTER ROLE under way that ends with $end is waited for")
	  or diag($result->{stderr});
	$holder->finish;
	is($t->sql("SELECT rolconnlimit FROM pg_roles WHERE rolname = '$role'"), $end eq 'COMMIT' ? '7' : '-1',
		'and has its own effect');
	ok($t->can_login($role, $t->password("prod/$role")), 'and AWSCURRENT logs in');
}

# The same, when the old verifier has to come back.
foreach my $end (qw(COMMIT ROLLBACK))
{
	my $role = lc "back_$end";
	my $old = registered($role);
	my $verifier = $t->verifier_of($role);
	my $fault = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
	$emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage', times => 0);
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/$role')");
	$emulator->wait_for_fault($fault);
	isnt($t->verifier_of($role), $verifier, 'the new password is set');
	my $holder = $t->start_sql("BEGIN; ALTER ROLE $role CONNECTION LIMIT 7; SELECT pg_sleep(3); $end", app => 'holder');
	$t->wait_for("SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'holder' AND query LIKE '%sleep%'");
	$emulator->release($fault);
	$t->wait_for("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'");
	my $result = $call->finish;
	is($result->{error}{sqlstate}, '42501', 'the move was denied');
	unlike($result->{stderr}, qr/concurrently updated|another password/, 'and nothing else is said');
	$holder->finish;
	is($t->verifier_of($role), $verifier, "beside an ALTER ROLE that ends with $end the old verifier comes back");
	is($t->sql("SELECT rolconnlimit FROM pg_roles WHERE rolname = '$role'"), $end eq 'COMMIT' ? '7' : '-1',
		'and that has its own effect');
	$emulator->clear_faults;
	still_rotates($t, $role, 'then it rotates');
}

# Altered all the time.  PostgreSQL's own ALTER ROLE may well read "tuple concurrently updated" then.
{
	registered('busy');
	$t->sql('CREATE TABLE storm_is_over ()');
	my $storm = $t->start_sql(
		'DO $$ BEGIN FOR i IN 1..100000 LOOP EXIT WHEN to_regclass(\'storm_is_over\') IS NULL; '
		  . 'BEGIN EXECUTE format(\'ALTER ROLE busy CONNECTION LIMIT %s\', 10 + i % 5); '
		  . 'EXCEPTION WHEN internal_error THEN NULL; END; COMMIT; PERFORM pg_sleep(0.003); END LOOP; END $$');
	$t->wait_for("SELECT rolconnlimit >= 10 FROM pg_roles WHERE rolname = 'busy'");
	my @outcomes;
	foreach (1 .. 5)
	{
		my ($status, $out, $err) = $t->psql("SELECT outcome FROM rotate_now('prod/busy')");
		push @outcomes, $status == 0 ? $out : $err;
	}
	ok($storm->running, 'a storm of ALTER ROLE');
	$t->sql('DROP TABLE storm_is_over');
	$storm->finish;
	is_deeply([ grep { $_ ne 'rotated' } @outcomes ], [], 'rotations beside it succeed');
	ok($t->can_login('busy', $t->password('prod/busy')), 'AWSCURRENT logs in');
}

# The role goes, or gets another name.
registered('gone');
refused_midway($t,
	{
		sqlstate => '42704',
		message => 'could not rotate secret "prod/gone": role "gone" does not exist',
	},
	'DROP ROLE before the password is set',
	role => 'gone',
	change => sub { $t->sql('DROP ROLE gone') },
	verifier => sub { '' });
registered('named');
my $kept = $t->verifier_of('named');
refused_midway($t,
	{
		sqlstate => '55000',
		message => 'could not rotate secret "prod/named": role "named" is now called "renamed"',
		hint => 'Put the new name into the secret, then call rotate_unregister() and rotate_register() again.'
	},
	'a RENAME before the password is set',
	role => 'named',
	change => sub { $t->sql('ALTER ROLE named RENAME TO renamed') },
	verifier => sub { '' });
is($t->verifier_of('renamed'), $kept, 'its verifier is as it was');
$t->sql('ALTER ROLE renamed RENAME TO named');
still_rotates($t, 'named', 'with its name back, it rotates');

# A role of that name, with that password, that is another one
sub make_anew
{
	my $role = shift;
	$t->sql("DO \$\$ DECLARE verifier text := (SELECT rolpassword FROM pg_authid WHERE rolname = '$role'); "
		  . "BEGIN DROP ROLE $role; EXECUTE format('CREATE ROLE $role LOGIN PASSWORD %L', verifier); END \$\$");
	return;
}

# Renamed, dropped, or made anew, between the password and the label: what was to be done was done.
foreach my $ddl ('DROP ROLE last', 'ALTER ROLE last RENAME TO last2', 'CREATE ROLE last')
{
	registered('last');
	my $fault = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
	$emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage', times => 0);
	my $verifier = $t->verifier_of('last');
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/last')");
	$emulator->wait_for_fault($fault);
	my $set = $t->verifier_of('last');
	$ddl =~ /CREATE/ ? make_anew('last') : $t->sql($ddl);
	$emulator->release($fault);
	my $result = $call->finish;
	isnt($result->{error}, undef, "$ddl while the label does not move: an error");
	unlike($result->{stderr}, qr/XX000|concurrently|cache lookup/, 'and no internal one') or diag($result->{stderr});
	is($t->verifier_of('last2'), $verifier, 'the renamed role has its old verifier back') if $ddl =~ /RENAME/;
	is($t->verifier_of('last'), $set, 'the new role keeps what it was made with') if $ddl =~ /CREATE/;
	$emulator->clear_faults;
	$t->sql("SELECT rotate_unregister('prod/last')");
}

# Made anew and registered anew: the new role's rotation does not wait for the old one's, nor take it for one that has died.
{
	registered('next');
	my $fault = $emulator->fault(action => 'pause', operation => 'PutSecretValue');
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/next')");
	$emulator->wait_for_fault($fault);
	my $run = $t->sql("SELECT max(run_id) FROM rotate_run WHERE secret = 'prod/next'");
	make_anew('next');
	$t->sql("BEGIN; SELECT rotate_unregister('prod/next'); SELECT rotate_register('prod/next'); COMMIT");
	is($t->sql("SELECT outcome FROM rotate_now('prod/next')"), 'rotated', 'a role that is made and registered anew is rotated');
	is($t->sql("SELECT outcome IS NULL FROM rotate_run WHERE run_id = $run"), 't', 'while a rotation of the one before is under way');
	$emulator->release($fault);
	is($call->finish->{error}{sqlstate}, '55000', 'which then finds that its role is gone');
	is($t->sql("SELECT outcome FROM rotate_run WHERE run_id = $run"), 'failed', 'and says so');
	ok($t->can_login('next', $t->password('prod/next')), 'and AWSCURRENT logs in');
}

# Changed while its login is tried: what is wrong is what has become of the role, not what that login was told.
my $gates = RotateTest::Gates->new;

# changed_at_login(ROLE, LABEL, sub {…}): the call's result, with the change made while the login with LABEL is held.
sub changed_at_login
{
	my ($role, $label, $change) = @_;
	my $port = $gates->do('listen', upstream => $t->port)->{port};

	$t->add($role, json => { port => $port });
	$t->sql("SELECT rotate_register('prod/$role', allow_plaintext_login => true)");
	$gates->do('hold', port => $port, after => $label eq 'AWSCURRENT' ? 0 : 1);
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/$role')");
	ok($gates->do('wait', port => $port, timeout => 60)->{reached}, "the login of $role with $label is tried");
	$change->();
	$gates->do('open', port => $port);
	return $call->finish;
}

# changed_is_told(ROLE, LABEL, sub {…}, {sqlstate, message, …}, sub {verifier})
sub changed_is_told
{
	my ($role, $label, $change, $expected, $verifier) = @_;
	my $current;
	my $result = changed_at_login($role, $label, sub { $current = $t->labels("prod/$role")->{AWSCURRENT}; $change->(); });
	my $error = $result->{error} || {};

	is_deeply({ map { $_ => $error->{$_} } keys %$expected }, $expected, '  what has become of it is told');
	is($t->labels("prod/$role")->{AWSCURRENT}, $current, '  AWSCURRENT is where it was');
	is($verifier->(), 1, '  and the role has the verifier that it is to have');
	return;
}

foreach my $label ('AWSCURRENT', 'AWSPENDING')
{
	my $suffix = lc $label;
	my $verifier;

	# a new role of that name, with its password, is not the one
	changed_is_told("anew_$suffix", $label, sub { $verifier = $t->verifier_of("anew_$suffix"); make_anew("anew_$suffix"); },
		{
			sqlstate => '55000',
			message => "could not rotate secret \"prod/anew_$suffix\": role \"anew_$suffix\" is not the one that was registered"
		},
		sub { $t->verifier_of("anew_$suffix") eq $verifier });

	changed_is_told("gone_$suffix", $label, sub { $t->sql("DROP ROLE gone_$suffix") },
		{ sqlstate => '42704', message => "could not rotate secret \"prod/gone_$suffix\": role \"gone_$suffix\" does not exist" },
		sub { 1 });
	changed_is_told("name_$suffix", $label,
		sub {
			$verifier = $t->verifier_of("name_$suffix");
			$t->sql("ALTER ROLE name_$suffix RENAME TO other_$suffix");
		},
		{
			sqlstate => '55000',
			message => "could not rotate secret \"prod/name_$suffix\": role \"name_$suffix\" is now called \"other_$suffix\""
		},
		# one that is on record as ours is not left behind
		sub { ($t->verifier_of("other_$suffix") eq $verifier) == ($label eq 'AWSCURRENT') });
	ok($t->can_login("other_$suffix", $t->password("prod/name_$suffix")), '  which is AWSCURRENT\'s');
	changed_is_told("hand_$suffix", $label,
		sub { $t->set_password("hand_$suffix", 'by hand'); $verifier = $t->verifier_of("hand_$suffix"); },
		{
			sqlstate => '28P01',
			message => "could not rotate secret \"prod/hand_$suffix\": the password of role \"hand_$suffix\" is not the one in the secret"
		},
		sub { $t->verifier_of("hand_$suffix") eq $verifier });

	# and what was only set once more is nothing to be told of
	my $result = changed_at_login("same_$suffix", $label, sub { $t->set_password("same_$suffix", $t->password("prod/same_$suffix")) });
	is($result->{stdout}, 'rotated', 'with AWSCURRENT\'s password set anew it is rotated');
	ok($t->can_login("same_$suffix", $t->password("prod/same_$suffix")), '  and AWSCURRENT logs in');
}

is_deeply([ $t->server_log =~ /role "((?:last|anew|gone)\w*)" was given another password/g ], [],
	'nothing is said of the password of a role that is not there');

$t->stop;
done_testing();
