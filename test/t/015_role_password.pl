# 015_role_password.pl
#	  Which password the role has when rotate_now comes: AWSCURRENT's, the
#	  pending one after a crash, AWSPREVIOUS's, one that we set for a version
#	  without a label, or one that nobody knows.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;

sub actions
{
	my $secret = shift;
	return join ' ', map { $_->{action} . (defined $_->{version} ? "($_->{version})" : '') }
	  @{ ($t->history($secret))[-1]{phases} };
}

# ends_with(NAME, SECRET, ROLE, outcome, the run's actions): rotate_now, and AWSCURRENT logs in.
sub ends_with
{
	my ($name, $secret, $role, $outcome, $actions) = @_;
	my $row = $t->row("SELECT * FROM rotate_now('$secret')");

	is($row->{outcome}, $outcome, "$name: rotate_now says $outcome");
	is(actions($secret), $actions, '  after these actions');
	is($t->labels($secret)->{AWSCURRENT}, $row->{version_id}, '  AWSCURRENT is on the version that it names');
	is($t->labels($secret)->{AWSPENDING}, $row->{version_id}, '  and AWSPENDING too: Secrets Manager\'s picture of the end');
	ok($t->can_login($role, $t->password($secret)), '  and its password logs in');
	return $row;
}

my $rotate = 'OBSERVE PROVE_LOGIN(AWSCURRENT) CREATE_PENDING SET_PASSWORD(AWSPENDING) PROVE_LOGIN(AWSPENDING) MOVE_CURRENT';

# The server dies between the commit and the label.
my $old = $t->add('app');
$t->sql("SELECT rotate_register('prod/app')");
my $fault = $emulator->fault(action => 'hang', operation => 'UpdateSecretVersionStage');
my $call = $t->start_sql("SELECT rotate_now('prod/app')");
ok($emulator->wait_for_fault($fault), 'a rotation has set the password, and is about to move the label');
$t->node->stop('immediate');
$emulator->clear_faults;
$call->finish;
my $pending = $t->password('prod/app', 'AWSPENDING');
ok($t->password('prod/app') eq $old, 'the server is gone; AWSCURRENT is the old version');
$t->start;
ok($t->can_login('app', $pending), 'the role has the pending password');
my $verifier = $t->verifier_of('app');
ends_with('a crash after the password was set', 'prod/app', 'app', 'completed', 'OBSERVE PROVE_LOGIN(AWSPENDING) MOVE_CURRENT');
is($t->verifier_of('app'), $verifier, '  the password was not set again');
is_deeply([ map { $_->{outcome} } $t->history('prod/app') ], [ 'interrupted', 'completed' ], '  and the run that died is said to be interrupted');

# AWSPREVIOUS's, as after AWSCURRENT was moved by hand or a restore from a backup.
my $now = $t->password('prod/app');
$t->set_password('app', $old);
ends_with('AWSPREVIOUS\'s password', 'prod/app', 'app', 'rotated',
	'OBSERVE PROVE_LOGIN(AWSPREVIOUS) SET_PASSWORD(AWSCURRENT) PROVE_LOGIN(AWSCURRENT) '
	  . 'CREATE_PENDING SET_PASSWORD(AWSPENDING) PROVE_LOGIN(AWSPENDING) MOVE_CURRENT');

$old = $t->password('prod/app', 'AWSPREVIOUS');
is($old, $now, 'AWSPREVIOUS is what was AWSCURRENT');
$t->set_password('app', $old);
$emulator->add_version('prod/app', $t->secret_json('app', RotateTest::random_password()), 'AWSPENDING');
my $row = $t->row("SELECT * FROM rotate_now('prod/app')");
is($row->{outcome}, 'completed', 'AWSPREVIOUS\'s password, and a usable pending version: that is completed');
is(actions('prod/app'), 'OBSERVE PROVE_LOGIN(AWSPREVIOUS) SET_PASSWORD(AWSPENDING) PROVE_LOGIN(AWSPENDING) MOVE_CURRENT', '  at once');
ok($t->can_login('app', $t->password('prod/app')), '  and logs in');

# Set by us, for a version that has no label any more.
$t->add('lost');
$t->sql("SELECT rotate_register('prod/lost')");
$t->sql("SELECT rotate_now('prod/lost')");
my $set = $t->labels('prod/lost')->{AWSCURRENT};
$emulator->add_version('prod/lost', $t->secret_json('lost', RotateTest::random_password()), 'AWSCURRENT');
$emulator->control('/labels', secret => 'prod/lost', labels => { AWSPENDING => undef, AWSPREVIOUS => undef });
$emulator->control('/versions/prune', secret => 'prod/lost');
ok(!exists $emulator->secret('prod/lost')->{versions}{$set}, 'the version that we set the password for is gone');
$row = $t->row("SELECT * FROM rotate_now('prod/lost')");
is($row->{outcome}, 'rotated', 'a password that we set for a version that is gone: rotates');
is(actions('prod/lost'),
	'OBSERVE SET_PASSWORD(AWSCURRENT) PROVE_LOGIN(AWSCURRENT) CREATE_PENDING SET_PASSWORD(AWSPENDING) PROVE_LOGIN(AWSPENDING) MOVE_CURRENT',
	'  by way of AWSCURRENT\'s');
ok($t->can_login('lost', $t->password('prod/lost')), '  and logs in');

# The same beside a pending version that a password checker refuses: one hint leads to the other, and the other out of it.
$t->add('stuck');
$t->sql("SELECT rotate_register('prod/stuck'); SELECT rotate_now('prod/stuck')");
$emulator->add_version('prod/stuck', $t->secret_json('stuck', RotateTest::random_password()), 'AWSCURRENT');
$emulator->control('/labels', secret => 'prod/stuck', labels => { AWSPREVIOUS => undef });
$emulator->add_version('prod/stuck', $t->secret_json('stuck', 'short1'), 'AWSPENDING');
$t->sql("ALTER DATABASE postgres SET session_preload_libraries = 'passwordcheck'");
$t->error_is("SELECT rotate_now('prod/stuck')",
	{ sqlstate => '22023', hint => "Call rotate_abandon('prod/stuck') to give this version up; rotate_now() then makes another." },
	'a password that we set, and a pending one that is refused');
$t->error_is("SELECT rotate_abandon('prod/stuck')", {
		sqlstate => '55000',
		message => 'could not abandon the pending version of secret "prod/stuck": no login can be proved',
		hint => "Call rotate_now('prod/stuck') to go on with that version, or set the role's password to AWSCURRENT's."
	}, '  can\'t be given up with no way in');
$t->set_password('stuck', $t->password('prod/stuck'));
is($t->row("SELECT outcome FROM rotate_abandon('prod/stuck')")->{outcome}, 'abandoned', '  but as that hint says');
is($t->row("SELECT outcome FROM rotate_now('prod/stuck')")->{outcome}, 'rotated', '  and then it rotates');
$t->sql('ALTER DATABASE postgres RESET ALL');

# Nobody's.
$t->set_password('app', RotateTest::random_password());
my %unknown = (
	sqlstate => '28P01',
	message => 'could not rotate secret "prod/app": the password of role "app" is not the one in the secret',
	detail => 'It is none of AWSCURRENT\'s, AWSPENDING\'s and AWSPREVIOUS\'s, and none that rotate_ext set.',
	hint => 'Someone changed it by hand: put the role\'s password into the secret, or set the role\'s password to AWSCURRENT\'s.');
my %of_app = (role => 'app', secret => 'prod/app');
$t->refused("SELECT rotate_now('prod/app')", \%unknown, 'a password that nobody knows', %of_app);
$t->refused("SELECT rotate_now('prod/app', force => true)", \%unknown, '  with force', %of_app);
$emulator->add_version('prod/app', $t->secret_json('app', RotateTest::random_password()), 'AWSPENDING');
$t->refused("SELECT rotate_now('prod/app')", \%unknown, '  with a usable pending version', %of_app);
$emulator->add_version('prod/app', '[]', 'AWSPENDING');
$t->refused("SELECT rotate_now('prod/app')", \%unknown, '  with an unusable one', %of_app);
$emulator->control('/service-pending', secret => 'prod/app');
$t->refused("SELECT rotate_now('prod/app', force => true)", \%unknown, '  with an empty one and force', %of_app);
$t->refused(
	"SELECT rotate_abandon('prod/app')",
	{
		sqlstate => '55000',
		message => 'could not abandon the pending version of secret "prod/app": no login can be proved',
		detail => 'Role "app" has neither AWSCURRENT\'s password nor AWSPREVIOUS\'s, so nothing shows that this is not a copy '
		  . 'of the server that the secret is for.',
		hint => 'Set the role\'s password to AWSCURRENT\'s.'
	},
	'  which is not given up either', %of_app);
$t->sql('ALTER ROLE app PASSWORD NULL');
$t->refused("SELECT rotate_now('prod/app')", \%unknown, 'a role without a password', %of_app);

# An older version's is nobody's either: it has no label.
my $unlabelled = RotateTest::random_password();
$emulator->add_version('prod/app', $t->secret_json('app', $unlabelled));
$t->set_password('app', $unlabelled);
$t->refused("SELECT rotate_now('prod/app')", \%unknown, 'the password of a version without a label', %of_app);

# The hint's two ways out.
$t->set_password('app', $t->password('prod/app'));
is($t->row("SELECT outcome FROM rotate_abandon('prod/app')")->{outcome}, 'abandoned', 'with AWSCURRENT\'s password, AWSPENDING can be given up');
ends_with('the role given AWSCURRENT\'s password', 'prod/app', 'app', 'rotated', $rotate);
my $by_hand = RotateTest::random_password();
$t->set_password('app', $by_hand);
$emulator->add_version('prod/app', $t->secret_json('app', $by_hand), 'AWSCURRENT', 'AWSPENDING');
ends_with('the secret given the role\'s password', 'prod/app', 'app', 'rotated', $rotate);

# At registration it is worth a warning.
$t->add('late');
$t->set_password('late', RotateTest::random_password());
my ($status, $out, $err) = $t->psql("SELECT registered_role FROM rotate_register('prod/late')");
is($out, 'late', 'a role with another password can be registered');
like($err, qr/WARNING: .*the password of role "late" is not the one in the AWSCURRENT version of secret "prod\/late"\n/, '  with a warning');
like($err, qr/HINT:  rotate_now\(\) will refuse until the secret holds the role's password, or the role has the secret's\./, '  and a hint');

$t->stop;
done_testing();
