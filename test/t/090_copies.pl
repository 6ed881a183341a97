# 090_copies.pl
#	  A copy of the server can't rotate what the original has: a copy of its
#	  data directory, a backup restored to an earlier time, and a dump restored in
#	  another cluster.
#
# They have the original's settings, its registrations, the right to write
# every secret, and a launcher that looks at all of them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use RotateTest::Copy;
use RotateTest::Login;
use Test::More;

my $t = RotateTest->new(
	name => 'original',
	init => { allows_streaming => 1, has_archiving => 1 },
	hba => ['local replication all trust'],
	conf => join("\n", "shared_preload_libraries = 'rotate_ext'", 'max_connections = 100',
		'rotate_ext.request_timeout = 300000', 'rotate_ext.worker_timeout = 600000', 'rotate_ext.login_timeout = 5s'));
my $emulator = $t->emulator;
my $node = $t->node;
my (%role_of, @secrets);

$emulator->control('/settings', writes_per_second => 0);

# A secret is named by what happens to its role after the copies were made, and
# by what AWSPENDING is on in the end.  All but the last few are registered
# with allow_plaintext_login, or a libpq without require_auth would not even try.
sub add
{
	my ($role, %options) = @_;
	my $open = exists $options{open} ? $options{open} : 'true';

	$t->add($role, attributes => 'LOGIN');
	$emulator->control('/secrets/update', secret => "prod/$role", attributes => { rotation_enabled => JSON::PP::true });
	$t->sql("SELECT rotate_register('prod/$role', allow_plaintext_login => $open)");
	$role_of{"prod/$role"} = $role;
	push @secrets, "prod/$role";
	return;
}

sub rotate
{
	my @roles = @_;
	my $sql = join ';', map { "SELECT outcome FROM rotate_now('prod/$_')" } @roles;
	my @wrong = grep { $_ ne 'rotated' } split /\n/, $t->sql($sql);
	die "could not rotate: @wrong" if @wrong;
	return;
}

my @ages = ('same', 'once', 'twice', 'never');
my @pendings = ('none', 'value', 'empty');
foreach my $age (@ages)
{
	add("${age}_$_") foreach @pendings;
}
add("${_}_strict", open => 'false') foreach 'same', 'twice';
add($_) foreach 'crashed', 'under_way', 'completed';

# hold(ROLE): a rotation that has set the password, and can't move the label.
sub hold
{
	my $role = shift;
	my $rule = $emulator->fault(
		action => 'hang', operation => 'UpdateSecretVersionStage', secret => $emulator->secret("prod/$role")->{arn});
	my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/$role')", timeout => 600);
	$emulator->wait_for_fault($rule) or die 'no call came';
	return ($call, $rule);
}

# Passwords that we have set, so that they are known when no version has them.
rotate(grep { !/^never/ } values %role_of);

# The copy of the data directory, with a run in it that a crash has cut short.
ok($t->wait_for('SELECT NOT EXISTS (SELECT FROM rotate_run WHERE finished_at IS NULL) AND NOT EXISTS (SELECT FROM rotate_registration r '
		  . 'WHERE NOT EXISTS (SELECT FROM rotate_run u WHERE u.secret = r.secret))'), 'the original has looked at everything');
$node->backup('base');
hold('crashed');
my $denied = $emulator->fault(
	action => 'access_denied', operation => 'UpdateSecretVersionStage', access_key_id => $emulator->access_key_id,
	secret => $emulator->secret('prod/crashed')->{arn}, times => 0);
prepare_attack($t);
$t->stop('immediate');
my $copied_node = PostgreSQL::Test::Cluster->new('copied');
system('cp', '-a', $node->data_dir, $copied_node->data_dir) == 0 or die 'could not copy the data directory';
$t->start;
# The original puts its role right; the copy still has the pending password.
ok($t->wait_for("SELECT state = 'failing' FROM rotate_status WHERE secret = 'prod/crashed'"), 'the original looks after its crash');
ok($t->can_login('crashed', $t->password('prod/crashed')), 'and AWSCURRENT logs in');
ok($t->wait_for('SELECT NOT EXISTS (SELECT FROM rotate_registration r WHERE NOT EXISTS (SELECT FROM rotate_run u WHERE '
		  . "u.secret = r.secret AND source = 'launcher' AND started_at > pg_postmaster_start_time() AND finished_at IS NOT NULL))"),
	'  and it has looked at everything again');

# The time to which the backup is restored: two runs are in the middle.
my ($completed, $rule) = hold('completed');
my ($under_way) = hold('under_way');
prepare_attack($t);
$t->sql("SELECT pg_create_restore_point('earlier')");
my $dir = PostgreSQL::Test::Utils::tempdir('dump');
$node->command_ok([ 'pg_dump', '-f', "$dir/dump.sql", '-d', $node->connstr('postgres') ], 'pg_dump');
$node->command_ok([ 'pg_dumpall', '--roles-only', '-f', "$dir/roles.sql", '-d', $node->connstr('postgres') ], 'pg_dumpall of the roles');
$t->sql('SELECT pg_switch_wal()');

# What the original has done since.
$emulator->release($rule);
is($completed->finish->{stdout}, 'rotated', 'a rotation ends after the copies were made');
foreach my $pending (@pendings)
{
	rotate("once_$pending", ("never_$pending", "twice_$pending") x 2);
}
rotate('twice_strict', 'twice_strict');
foreach my $age (@ages)
{
	$emulator->add_version("prod/${age}_value", $t->secret_json("${age}_value", RotateTest::random_password()), 'AWSPENDING');
	$emulator->control('/service-pending', secret => "prod/${age}_empty");
}
$emulator->control('/service-pending', secret => "prod/$_") foreach 'same_strict', 'twice_strict';

# The copies
my $copied = make_copy($t, $copied_node);
$copied_node->append_conf('postgresql.conf', join("\n",
	'port = ' . $copied_node->port, "unix_socket_directories = '" . $copied_node->host . "'", 'archive_mode = off', ''));

my $restored_node = PostgreSQL::Test::Cluster->new('restored');
$restored_node->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
$restored_node->append_conf('postgresql.conf', join("\n",
	"recovery_target_name = 'earlier'", "recovery_target_action = 'promote'", "listen_addresses = '127.0.0.1'",
	'archive_mode = off', ''));
my $restored = make_copy($t, $restored_node);

my $other = RotateTest->new(name => 'dumped', emulator => $emulator, start => 0,
	conf => "shared_preload_libraries = 'rotate_ext'\nrotate_ext.login_timeout = 5s\n");
my $dumped = make_copy($other, $other->node);

my %before = map { $_ => $t->unchanged($role_of{$_}, $_) } @secrets;

# unharmed(COPY, NAME): nothing was written, nothing of the original's has changed.
sub unharmed
{
	my ($copy, $name) = @_;
	my @changed = grep { $t->unchanged($role_of{$_}, $_) ne $before{$_} } @secrets;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is_deeply([ writes($copy) ], [], "$name writes nothing");
	is_deeply(\@changed, [], '  and changes no role of the original, no version and no label');
	return;
}

# Left alone: each launcher looks at every secret, after three errors of
# Secrets Manager once more.
my %name = (copied => 'a copy of the data directory', restored => 'a restored backup', dumped => 'a restored dump');
my %copies = (copied => $copied, restored => $restored, dumped => $dumped);

foreach my $copy ($copied, $restored)
{
	$emulator->fault(action => 'error', status => 500, operation => 'DescribeSecret', access_key_id => $copy->{key}, times => 3,
		secret => $emulator->secret("prod/$_")->{arn}) foreach 'same_value', 'twice_empty';
}
$_->start foreach $copied, $restored, $dumped;
$restored->wait_for('SELECT NOT pg_is_in_recovery()');
$dumped->node->psql('postgres', PostgreSQL::Test::Utils::slurp_file("$dir/roles.sql"), on_error_stop => 0);
$dumped->sql(Encode::decode('UTF-8', PostgreSQL::Test::Utils::slurp_file("$dir/dump.sql")));
foreach my $copy ('copied', 'restored')
{
	ok(launcher_looked($copies{$copy}, @secrets), "the launcher of $name{$copy} has looked at every secret");
	is($copies{$copy}->sql("SELECT count(DISTINCT secret) FROM rotate_history WHERE source = 'launcher' AND attempt > 1 "
			. "AND secret IN ('prod/same_value', 'prod/twice_empty')"), '2', '  at some of them again');
	unharmed($copies{$copy}, "the launcher of $name{$copy}");
}
is($restored->sql("SELECT string_agg(role_name, ' ' ORDER BY role_name) FROM rotate_run WHERE outcome = 'interrupted'"),
	'completed crashed under_way', 'there were runs without end in what was restored');
is($copied->sql("SELECT string_agg(role_name, ' ') FROM rotate_run WHERE outcome = 'interrupted'"), 'crashed',
	'there was one in what was copied');
ok($dumped->wait_for('SELECT rotate_recovery()', 'on'), 'a restored dump has a launcher, too');
is(scalar(requests($dumped)), 0, '  which asks for nothing');

# Asked for everything
my %attacks = map { $_ => attack($copies{$_}, @secrets) } keys %copies;
foreach my $copy ('copied', 'restored', 'dumped')
{
	only_refused($name{$copy}, answers($attacks{$copy}));
	unharmed($copies{$copy}, $name{$copy});
}
is(scalar(requests($dumped)), 0, 'a restored dump asks for nothing');

# Somebody takes the restored dump for a cluster that has taken over.
$dumped->sql("SELECT rotate_enable(secret) FROM rotate_registration");
only_refused("$name{dumped} that was enabled", answers(attack($dumped, @secrets)));
ok(launcher_looked($dumped, @secrets), 'its launcher has looked at every secret');
unharmed($dumped, "$name{dumped} that was enabled");

# The original goes on where it was.
$emulator->clear_faults;		# the move that hung is cut off, and sent again
is($under_way->finish->{stdout}, 'rotated', 'the original ends what was under way');
foreach my $role ('same_none', 'once_value', 'twice_strict', 'crashed')
{
	my $call = $role =~ /strict/ ? "rotate_now('prod/$role', force => true)" : "rotate_now('prod/$role')";
	like($t->sql("SELECT outcome FROM $call"), qr/^(rotated|completed)$/, "and rotates $role");
	ok($t->can_login($role, $t->password("prod/$role")), '  to a password that logs in');
}

$_->stop foreach $copied, $restored, $dumped, $t;
done_testing();
