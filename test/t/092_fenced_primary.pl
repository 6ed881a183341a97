# 092_fenced_primary.pl
#	  After a failover the old primary still runs, with its launcher, and with
#	  Secrets Manager in reach; but the address that applications use leads to
#	  the new one.  The old one can't rotate anything.
#
# The address is a relay's, and the certificate behind it is the same, as with
# an address that moves.

use strict;
use warnings;

use File::Basename qw(dirname);
use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use RotateTest::Copy;
use RotateTest::Login;
use Test::More;

my $emulator = RotateTest::Emulator->new(region => $RotateTest::REGION);
my $tls = dirname($emulator->ca);
my $old = RotateTest->new(
	name => 'old',
	emulator => $emulator,
	init => { allows_streaming => 1 },
	hba => ['local replication all trust'],
	conf => join("\n", "shared_preload_libraries = 'rotate_ext'", 'max_connections = 100', 'restart_after_crash = on',
		'ssl = on', "ssl_cert_file = '$tls/server.pem'", "ssl_key_file = '$tls/server.key'",
		"rotate_ext.login_ca_file = '" . $emulator->ca . "'"));
my $node = $old->node;
my $address = start_stranger('relay', target => $old->port);
my @pendings = ('none', 'value', 'empty');
my (%role_of, @secrets);

$old->{key} = $emulator->access_key_id;
$emulator->control('/settings', writes_per_second => 0);

sub value
{
	my ($role, $password) = @_;
	return $old->secret_json($role, $password, port => $address->port, ssl => JSON::PP::true);
}

# What the new primary does with the role, and what AWSPENDING is on.
foreach my $role ((map { my $age = $_; map { "${age}_$_" } @pendings } 'same', 'once', 'twice'), 'described', 'created', 'killed', 'lost')
{
	$old->add($role, json => value());
	$emulator->control('/secrets/update', secret => "prod/$role", attributes => { rotation_enabled => JSON::PP::true });
	$old->sql("SELECT rotate_register('prod/$role'); SELECT rotate_now('prod/$role')");
	$role_of{"prod/$role"} = $role;
	push @secrets, "prod/$role";
}
$old->add('given_up', json => value());
$old->sql("SELECT rotate_register('prod/given_up'); SELECT rotate_now('prod/given_up')");
prepare_attack($old);

$node->backup('backup');
my $new_node = PostgreSQL::Test::Cluster->new('new');
$new_node->init_from_backup($node, 'backup', has_streaming => 1);
my $new = make_copy($old, $new_node);
$new->start;
$node->wait_for_catchup('new', 'replay', $node->lsn('write'));

# Runs that are under way at the old primary when it happens
my (%calls, %rules);
foreach my $case ([ described => 'DescribeSecret', 'after' ], [ created => 'PutSecretValue', 'after' ], [ killed => 'DescribeSecret', 'before' ])
{
	my ($role, $operation, $when) = @$case;
	$rules{$role} = $emulator->fault(
		action => 'pause', operation => $operation, when => $when, secret => $emulator->secret("prod/$role")->{arn});
	$calls{$role} = $old->start_sql("SELECT outcome FROM rotate_now('prod/$role')");
	$emulator->wait_for_fault($rules{$role}) or die 'no call came';
}
$node->wait_for_catchup('new', 'replay', $node->lsn('write'));

# and one that the new primary never gets to know of
$new->set(primary_conninfo => '');
$old->wait_for('SELECT count(*) = 0 FROM pg_stat_replication') or die 'the standby stays connected';
is($old->sql("SELECT outcome FROM rotate_now('prod/$_')"), 'rotated', "the last that the old primary does is lost: $_") foreach 'lost', 'given_up';

# Failover
$emulator->clear_log;
$new->node->promote;
# the address moves after the promotion: the first looks reach the old one
ok($new->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE source = 'launcher' AND secret = 'prod/created' AND sqlstate = '55000'"),
	'before the address leads to the new primary, its looks reach the old one');
ok($new->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE source = 'launcher' AND secret = 'prod/lost' AND sqlstate = '28P01'"),
	'  which knows another password where the change was lost');
# it could be a copy's, and is not to refuse its logins for ever
$new->sql("UPDATE rotate_run SET attempt = 9 WHERE run_id = (SELECT max(run_id) FROM rotate_run WHERE secret = 'prod/given_up')");
ok($new->wait_for("SELECT retry_at IS NULL FROM rotate_run WHERE secret = 'prod/given_up' AND attempt = 10 AND outcome = 'failed'"),
	'  and after the tenth look that it refuses there is no other');
$address->stop;
$address = start_stranger('relay', port => $address->port, target => $new->port);
ok($new->wait_for('SELECT rotate_recovery()', 'on'), 'the new primary has a launcher');
ok(launcher_looked($new, @secrets), '  which has looked at every secret');
# its first look may have come before the way to it was there
ok($new->wait_for("SELECT outcome FROM rotate_history WHERE secret = 'prod/created' ORDER BY run_id DESC LIMIT 1", 'completed'),
	'  and finishes what the old primary had begun');
ok($new->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE secret = 'prod/lost' AND outcome = 'repaired'"),
	'  and repairs what was lost');
ok($new->can_login('lost', $new->password('prod/lost')), '  so that AWSCURRENT logs in');

# The runs of the old one go on.
foreach my $case (
	[ described => qr/^could not prove the login of role "described" with AWSCURRENT: it reached another server$/ ],
	[ created => qr/^could not prove the login of role "created" with AWSPREVIOUS: the password was rejected$/ ])
{
	my ($role, $message) = @$case;
	$emulator->release($rules{$role});
	like(($calls{$role}->finish->{error} || { message => '' })->{message}, $message, "the run held up when it had $role is refused");
}
is_deeply([ writes($old) ], [], 'these runs write nothing');

# The new one rotates.
foreach my $pending (@pendings)
{
	is($new->sql("SELECT outcome FROM rotate_now('prod/$_')"), 'rotated', "the new primary rotates $_")
	  foreach "once_$pending", ("twice_$pending") x 2;
}
foreach my $age ('same', 'once', 'twice')
{
	$emulator->add_version("prod/${age}_value", value("${age}_value", RotateTest::random_password()), 'AWSPENDING');
	$emulator->control('/service-pending', secret => "prod/${age}_empty");
}
my %before = map { $_ => $new->unchanged($role_of{$_}, $_) } @secrets;

sub unharmed
{
	my $name = shift;
	my @changed = grep { $new->unchanged($role_of{$_}, $_) ne $before{$_} } @secrets;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is_deeply([ writes($old) ], [], "$name writes nothing");
	is_deeply(\@changed, [], '  and changes no role of the new primary, no version and no label');
	return;
}

# The launcher of the old one, after a crash that has cut a run short
$emulator->fault(action => 'error', status => 500, operation => 'DescribeSecret', access_key_id => $old->{key}, times => 3,
	secret => $emulator->secret("prod/$_")->{arn}) foreach 'same_value', 'twice_empty';
$emulator->clear_log;
kill 'KILL', $old->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'");
$calls{killed}->finish;
$emulator->release($rules{killed});
ok(launcher_looked($old, @secrets), 'the launcher of the old primary looks at every secret after a crash');
is($old->sql("SELECT count(DISTINCT secret) FROM rotate_history WHERE source = 'launcher' AND attempt > 1 "
		. "AND secret IN ('prod/same_value', 'prod/twice_empty', 'prod/killed')"), '3', '  at some of them again');
unharmed('the launcher of the old primary');

only_refused('the old primary', answers(attack($old, @secrets)));
unharmed('the old primary');
cmp_ok(scalar(requests($old)), '>', 100, '  but has looked');

# The new primary goes on where it was.
is($new->sql("SELECT outcome FROM rotate_now('prod/once_value')"), 'completed', 'the new primary ends its rotation');
ok($new->can_login('once_value', $new->password('prod/once_value')), '  to a password that logs in');

$address->stop;
$_->stop foreach $old, $new;
done_testing();
