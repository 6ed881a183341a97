# 095_rollback.pl
#	  rotate_rollback(): back to AWSPREVIOUS, in the role and in the labels, and
#	  never to a secret that does not log in.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use Test::More;
use Time::HiRes qw(sleep);

my $t = RotateTest->new(conf => 'restart_after_crash = on');
my $emulator = $t->emulator;
my $move = 'UpdateSecretVersionStage';
my $ROLLBACK = "SELECT * FROM rotate_rollback('prod/app')";
my @app = (role => 'app', secret => 'prod/app');
my $WORKER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'";

$t->set('rotate_ext.request_timeout' => 2000, 'rotate_ext.login_timeout' => '5s', 'rotate_ext.max_attempts' => 2);

# rotated(ROLE, options of add): a role and a secret that was rotated once; the
# password before that.
sub rotated
{
	my ($role, %options) = @_;
	my $register = delete $options{register} || '';
	my $old = $t->add($role, %options);

	$t->sql("SELECT rotate_register('prod/$role', '$role'$register)");
	$t->sql("SELECT rotate_now('prod/$role')");
	return $old;
}

# is_finished(ROLE, PASSWORD, NAME): the role and AWSCURRENT have it, and both
# labels are on one version.
sub is_finished
{
	my ($role, $password, $name) = @_;
	my $labels = $t->labels("prod/$role");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return subtest $name => sub {
		ok($t->password("prod/$role") eq $password, 'AWSCURRENT has the password');
		ok($t->can_login($role, $password), 'which logs in');
		is($labels->{AWSPENDING}, $labels->{AWSCURRENT}, 'nothing is left pending');
	};
}

# set_labels(ROLE, AWSPENDING => id or undef, ...)
sub set_labels
{
	my ($role, %labels) = @_;
	$emulator->control('/labels', secret => "prod/$role", labels => \%labels);
	return;
}

# An ordinary one
my $old = rotated('app');
my $new = $t->password('prod/app');
my $before = $t->labels('prod/app');
$emulator->clear_log;
my $row = $t->row($ROLLBACK);
my $log = $emulator->log;
is($row->{outcome}, 'rolled back', 'rolls back');
is_deeply([ @{$row}{qw(secret role version_id)} ], [ 'prod/app', 'app', $before->{AWSPREVIOUS} ],
	'to the version that carried AWSPREVIOUS');
like($row->{lockout}, qr/^00:00:0/, 'and says how long AWSCURRENT did not log in');
is_finished('app', $old, 'the role and AWSCURRENT have the old password');
is($t->labels('prod/app')->{AWSPREVIOUS}, $before->{AWSCURRENT}, 'and AWSPREVIOUS is on the version that was left');
ok(!$t->can_login('app', $new), 'whose password is refused');
is_deeply($log->{operations}, { DescribeSecret => 1, GetSecretValue => 2, UpdateSecretVersionStage => 2 },
	'two values are read and two labels moved');
my ($run) = ($t->history('prod/app'))[-1];
is_deeply([ @{$run}{qw(source outcome version_id requested_by sqlstate)} ],
	[ 'rotate_rollback', 'rolled back', $before->{AWSPREVIOUS}, 'postgres', undef ], 'rotate_history has it');
is(join(' ', map { $_->{action} } @{ $run->{phases} }),
	'OBSERVE PROVE_LOGIN MOVE_PENDING SET_PASSWORD PROVE_LOGIN MOVE_CURRENT', 'with its phases');
is($t->sql("SELECT state FROM rotate_status"), 'ok', 'and rotate_status is content');

# Twice in a row: there and back
is($t->row($ROLLBACK)->{outcome}, 'rolled back', 'a second one');
is_finished('app', $new, 'is back where the first one began');
is($t->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'and the next rotation is an ordinary one');

# Whoever may execute it
$t->sql('CREATE ROLE operator LOGIN');
$t->error_is($ROLLBACK, { sqlstate => '42501', message => 'permission denied for function rotate_rollback' },
	'nobody else may call it', user => 'operator');
$t->sql('GRANT EXECUTE ON FUNCTION rotate_rollback(text) TO operator');
is($t->row($ROLLBACK, user => 'operator')->{outcome}, 'rolled back', 'granted EXECUTE, an operator may');
is(($t->history('prod/app'))[-1]{requested_by}, 'operator', 'and is named in rotate_history');
$t->refused("SELECT rotate_rollback('prod/none')",
	{
		sqlstate => '42704',
		message => 'secret "prod/none" is not registered',
		hint => 'Register it with rotate_register(\'prod/none\').'
	},
	'a secret that is not registered', runs => 0);

# Refused, with nothing changed
my $new_password = "Call rotate_now('prod/app') for a new password.";
my $labels = $t->labels('prod/app');
set_labels('app', AWSPREVIOUS => undef);
$t->refused($ROLLBACK,
	{
		sqlstate => '55000',
		message => 'could not roll back secret "prod/app": there is nothing to go back to',
		detail => 'No version carries AWSPREVIOUS.',
		hint => $new_password
	},
	'no AWSPREVIOUS', @app);
is_deeply($t->row('SELECT state, consecutive_failures, last_error FROM rotate_status'),
	{ state => 'ok', consecutive_failures => 0, last_error => undef }, 'and rotate_status does not count it: nothing was begun');
set_labels('app', AWSPREVIOUS => $labels->{AWSCURRENT});
$t->refused($ROLLBACK, { sqlstate => '55000', detail => "AWSPREVIOUS is on AWSCURRENT's version." },
	'AWSPREVIOUS on AWSCURRENT\'s version', @app);
$emulator->control('/versions', secret => 'prod/app', empty => JSON::PP::true, stages => ['AWSPREVIOUS']);
$t->refused($ROLLBACK,
	{ sqlstate => '55000', message => 'could not roll back secret "prod/app": its AWSPREVIOUS version has no value', hint => $new_password },
	'AWSPREVIOUS without a value', @app);
my $id = $emulator->add_version('prod/app', $t->secret_json('app', 'x' x 12, host => 'db.elsewhere'), 'AWSPREVIOUS');
$t->refused($ROLLBACK,
	{
		sqlstate => '55000',
		message => 'could not roll back secret "prod/app": the value of its AWSPREVIOUS version cannot be used',
		detail => "In version $id field \"host\" does not name the registered host \"127.0.0.1\".",
		hint => 'If the change is meant, call rotate_unregister() and rotate_register() again.'
	},
	'AWSPREVIOUS names another host', @app);
$emulator->add_version('prod/app', $t->secret_json('postgres', 'x' x 12), 'AWSPREVIOUS');
$t->refused($ROLLBACK, { sqlstate => '55000', detail => qr/field "username" does not name the registered role "app"/ },
	'AWSPREVIOUS names another role', @app);
$emulator->add_version('prod/app', $t->secret_json('app', $t->password('prod/app')), 'AWSPREVIOUS');
$t->refused($ROLLBACK,
	{
		sqlstate => '28P01',
		message => 'could not roll back secret "prod/app": the AWSPREVIOUS version has the same password as AWSCURRENT',
		hint => $new_password
	},
	'AWSPREVIOUS has AWSCURRENT\'s password', @app);
set_labels('app', AWSPREVIOUS => $labels->{AWSPREVIOUS});

# The service's own rotation is under way.
my $empty = $emulator->control('/service-pending', secret => 'prod/app')->{id};
$t->refused($ROLLBACK,
	{
		sqlstate => '55006',
		message => 'could not roll back secret "prod/app": a rotation that Secrets Manager started is under way',
		detail => "The AWSPENDING version $empty has no value yet.",
		hint => "Wait for it to end. If it is stuck, call rotate_abandon('prod/app') first."
	},
	'the service\'s rotation has begun', @app);
set_labels('app', %$labels);

# A pending version that someone else has set
my $pending = 'pending-Password-1';
my $current = $t->password('prod/app');
$emulator->add_version('prod/app', $t->secret_json('app', $pending), 'AWSPENDING');
$t->set_password('app', $pending);
$t->refused($ROLLBACK,
	{
		sqlstate => '55000',
		message => 'could not roll back secret "prod/app": role "app" has the password of its AWSPENDING version',
		detail => 'Someone else has set it. Without AWSPENDING it would be known to nobody.',
		hint => "Call rotate_now('prod/app') to finish that rotation."
	},
	'someone else has set AWSPENDING\'s password', @app);
set_labels('app', %$labels);
$t->refused($ROLLBACK,
	{
		sqlstate => '28P01',
		message => 'could not roll back secret "prod/app": the password of role "app" is not the one in the secret'
	},
	'a password that nobody knows', @app);
$t->set_password('app', $current);

# The way in can't be proved.
$t->set_hba('host all app 127.0.0.1/32 reject', 'host all all 127.0.0.1/32 scram-sha-256');
$t->reload;
$t->refused($ROLLBACK, login_error('hba', 'app'), 'AWSCURRENT does not log in', @app);
$t->set_hba('host all all 127.0.0.1/32 scram-sha-256');
$t->reload;

# AWSCURRENT is not a login.
$emulator->add_version('prod/app', 'no JSON', 'AWSCURRENT', 'AWSPENDING');
$t->refused($ROLLBACK,
	{ sqlstate => '22032', detail => qr/ it is not valid JSON \(line 1, column 2\)\.$/, message => 'could not roll back secret "prod/app": the value of its AWSCURRENT version cannot be used' },
	'AWSCURRENT cannot be used', @app);
# The value was put by hand, as PutSecretValue does it: the role has what is AWSPREVIOUS's now.
set_labels('app', AWSPREVIOUS => $labels->{AWSCURRENT});
$t->refused($ROLLBACK,
	{
		sqlstate => '55000',
		message => 'could not roll back secret "prod/app": the value of its AWSCURRENT version cannot be used',
		detail => 'Role "app" has the password of the AWSPREVIOUS version.',
		hint => "Move AWSCURRENT to version $labels->{AWSCURRENT} by hand, with UpdateSecretVersionStage."
	},
	'nor can it be left', @app);
set_labels('app', %$labels);
is($t->row($ROLLBACK)->{outcome}, 'rolled back', 'with all that gone, it rolls back');

# The old password is not taken any more: AWSPENDING is put back where it was.
$t->sql('ALTER DATABASE postgres SET session_preload_libraries = \'passwordcheck\'');
rotated('weak', password => 'sh0rt');
$before = $t->unchanged('weak', 'prod/weak');
my %weak = (
	sqlstate => '22023',
	message => 'could not roll back secret "prod/weak": the password of its AWSPREVIOUS version was refused: '
	  . 'password is too short',
	hint => 'It was taken once, by other rules. Call rotate_now(\'prod/weak\') for a new password.');
$t->refused("SELECT rotate_rollback('prod/weak')", \%weak, 'a password checker refuses the old password',
	role => 'weak', secret => 'prod/weak');
ok($t->can_login('weak', $t->password('prod/weak')), 'and AWSCURRENT logs in');
foreach my $where ('on none', 'on another version')
{
	my $id = $where eq 'on none' ? undef : $emulator->add_version('prod/weak', $t->secret_json('weak', $pending), 'AWSPENDING');

	set_labels('weak', AWSPENDING => $id);
	$t->refused("SELECT rotate_rollback('prod/weak')", \%weak, "AWSPENDING was $where", role => 'weak', secret => 'prod/weak');
}
is($t->sql("SELECT count(*) FROM rotate_run WHERE source = 'rotate_rollback' AND secret = 'prod/weak' AND created_version_id IS NOT NULL"),
	'0', 'and no run has anything left to do');
is($t->sql("SELECT state FROM rotate_status WHERE secret = 'prod/weak'"), 'ok', 'so rotate_status does not count them');
$t->sql('ALTER DATABASE postgres RESET ALL');

# So it is where the new login fails.
rotated('late');
$before = $t->unchanged('late', 'prod/late');
my $rule = $emulator->fault(action => 'pause', when => 'after', operation => $move);
my $call = $t->start_sql("SELECT rotate_rollback('prod/late')");
$emulator->wait_for_fault($rule);
$t->set_hba('host all late 127.0.0.1/32 reject', 'host all all 127.0.0.1/32 scram-sha-256');
$t->reload;
$emulator->release($rule);
my $error = $call->finish->{error};
is_deeply([ @{$error}{qw(sqlstate message)} ], [ @{ login_error('hba', 'late', label => 'AWSPREVIOUS') }{qw(sqlstate message)} ],
	'the old login fails now');
is($t->unchanged('late', 'prod/late'), $before, 'role and labels are as before');
$t->set_hba('host all all 127.0.0.1/32 scram-sha-256');
$t->reload;

# own_pending_only: the version was not written by us, but it was AWSCURRENT.
$old = rotated('own', register => ', own_pending_only => true');
set_labels('own', AWSPENDING => undef);
is($t->row("SELECT * FROM rotate_rollback('prod/own')")->{outcome}, 'rolled back', 'with own_pending_only');
is_finished('own', $old, 'a version that was AWSCURRENT before we came is gone back to');

# An unfinished rotation: its pending version is given up, whether the role has its password or not.
foreach my $set (0, 1)
{
	my $role = "half$set";
	$old = rotated($role);
	my $rule = $emulator->fault(action => 'hang', operation => $set ? $move : 'PutSecretValue', when => $set ? 'before' : 'after');
	my $call = $t->start_sql("SELECT rotate_now('prod/$role')");
	$emulator->wait_for_fault($rule);
	kill 'KILL', $t->sql($WORKER);
	$call->finish;
	$emulator->clear_faults;
	$t->{node}->poll_query_until('postgres', 'SELECT true');
	my $labels = $t->labels("prod/$role");
	isnt($labels->{AWSPENDING}, $labels->{AWSCURRENT}, 'a rotation was interrupted');
	is($t->can_login($role, $t->password("prod/$role", 'AWSPENDING')), $set, $set ? 'after its password was set' : 'before its password was set');
	is($t->row("SELECT * FROM rotate_rollback('prod/$role')")->{outcome}, 'rolled back', 'it is rolled back');
	is_finished($role, $old, 'to AWSPREVIOUS');
}

# A password of ours whose version has no label any more: AWSCURRENT's comes first, to prove the way in.
$old = rotated('lost');
$labels = $t->labels('prod/lost');
set_labels('lost', AWSCURRENT => $emulator->add_version('prod/lost', $t->secret_json('lost', $pending)), AWSPENDING => undef,
	AWSPREVIOUS => $labels->{AWSPREVIOUS});
is($t->row("SELECT * FROM rotate_rollback('prod/lost')")->{outcome}, 'rolled back', 'the role has a password of ours without a label');
is_finished('lost', $old, 'and is rolled back');
is(join(' ', map { $_->{action} . (defined $_->{version} ? "($_->{version})" : '') } @{ ($t->history('prod/lost'))[-1]{phases} }),
	'OBSERVE SET_PASSWORD(AWSCURRENT) PROVE_LOGIN(AWSCURRENT) MOVE_PENDING SET_PASSWORD(AWSPENDING) PROVE_LOGIN(AWSPENDING) MOVE_CURRENT',
	'after a login was proved');

# Someone has put another password into AWSCURRENT, and the role still has AWSPREVIOUS's.
$old = rotated('edited');
$new = $t->password('prod/edited');
$labels = $t->labels('prod/edited');
set_labels('edited', AWSPREVIOUS => $labels->{AWSCURRENT},
	AWSCURRENT => $emulator->add_version('prod/edited', $t->secret_json('edited', $pending)));
is($t->row("SELECT * FROM rotate_rollback('prod/edited')")->{outcome}, 'rolled back', 'AWSCURRENT was edited by hand');
is_finished('edited', $new, 'and is put back, with the role as it was');
ok(!defined $t->row("SELECT * FROM rotate_history WHERE secret = 'prod/edited' ORDER BY run_id DESC LIMIT 1")->{lockout},
	'for which nobody was locked out');

$t->stop;
done_testing();
