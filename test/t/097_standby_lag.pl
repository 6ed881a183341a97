# 097_standby_lag.pl
#	  A rotation does not begin while a standby is too far behind; and a standby
#	  says where it replicates from.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = RotateTest->new(
	name => 'primary',
	init => { allows_streaming => 'logical' },
	conf => "wal_sender_timeout = 0\nautovacuum = off\nrotate_ext.max_standby_lag = '64kB'");
my $primary = $t->node;
my $emulator = $t->emulator;
my @app = (role => 'app', secret => 'prod/app');
my $NOW = "SELECT outcome FROM rotate_now('prod/app')";
my $DRY = "SELECT detail->>'standbys' FROM rotate_now('prod/app', dry_run => true)";

$t->set_hba('local replication all trust', 'host all all 127.0.0.1/32 scram-sha-256');
$t->reload;
$t->add('app');
$t->sql("SELECT rotate_register('prod/app')");
$primary->backup('base');

# A standby, as the same kind of object.
sub standby
{
	my ($name, $from, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init_from_backup($from, 'base', has_streaming => 1);
	$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'");
	$node->append_conf('postgresql.conf', $options{conf}) if defined $options{conf};
	$node->start;
	return bless { %$t, node => $node }, ref $t;
}

# write_wal(): more than the limit.
sub write_wal
{
	$t->sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 200000))");
	return;
}

sub replayed
{
	my $name = shift;
	return $primary->wait_for_catchup($name, 'replay', $primary->lsn('write'));
}

is($t->sql($DRY), 'none is more than 64 kB behind', 'without a standby nothing is behind');
my $standby = standby('Standby_1', $primary);
replayed('Standby_1');
is($t->sql($NOW), 'rotated', 'a standby that has replayed all is no reason to wait');
replayed('Standby_1');

# Too far behind
my %behind = (
	sqlstate => '55006',
	message => 'could not rotate secret "prod/app": standby "Standby_1" is too far behind',
	detail => qr/^It has \d+ kB of WAL still to replay; rotate_ext\.max_standby_lag is 64 kB\.$/,
	hint => 'Try again when it has caught up. One that is delayed on purpose can be named in rotate_ext.ignore_standbys.');
$standby->sql('SELECT pg_wal_replay_pause()');
$t->wait_for("SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication");
write_wal();
$t->refused($NOW, \%behind, 'a standby that is too far behind', @app);
$t->refused("SELECT rotate_rollback('prod/app')",
	{ %behind, message => 'could not roll back secret "prod/app": standby "Standby_1" is too far behind' },
	'nor does a rollback begin', @app);
like($t->sql($DRY), qr/^\["\\"Standby_1\\" is \d+ kB behind"\]$/, 'dry_run shows it');
is($t->sql("SELECT outcome FROM rotate_now('prod/app', dry_run => true)"), 'would refuse: standbys behind', 'and what comes of it');

# The service's rotation: the value is made, nothing is set.
{
	my $token = '12345678-1234-1234-1234-123456789012';
	my $event = sub { "SELECT rotate_event('{\"Step\": \"$_[0]\", \"SecretId\": \"prod/app\", \"ClientRequestToken\": \"$token\"}')->>'outcome'" };
	my $labels = $t->labels('prod/app');

	$emulator->control('/service-pending', secret => 'prod/app', id => $token);
	$emulator->control('/secrets/update', secret => 'prod/app', attributes => { rotation_enabled => JSON::PP::true });
	is($t->sql($event->('createSecret')), 'created', 'createSecret creates');
	$t->refused($event->('setSecret'), \%behind, 'setSecret waits', @app);
	$emulator->control('/labels', secret => 'prod/app', labels => $labels);
}

# What is set is finished all the same.
{
	my $pending = RotateTest::random_password();
	my $labels = $t->labels('prod/app');

	$emulator->add_version('prod/app', $t->secret_json('app', $pending), 'AWSPENDING');
	$t->set_password('app', $pending);
	is($t->sql($NOW), 'completed', 'a password that is set is finished with, however far behind a standby is');
}

# Settings
$t->set('rotate_ext.max_standby_lag' => '100MB');
is($t->sql($NOW), 'rotated', 'a higher limit');
$t->set('rotate_ext.max_standby_lag' => -1);
is($t->sql($DRY), 'not looked at', 'with -1 standbys are not looked at');
is($t->sql($NOW), 'rotated', 'and never in the way');
$t->set('rotate_ext.max_standby_lag' => '64kB', 'rotate_ext.ignore_standbys' => 'other, "standby_1"');
is($t->sql($NOW), 'rotated', 'one that is to be ignored is');
$t->set('rotate_ext.ignore_standbys' => 'other, standby');
$t->refused($NOW, \%behind, 'one of another name is not', @app);
$t->set('rotate_ext.ignore_standbys' => undef);
my ($status, $out, $err) = $t->psql("LOAD 'rotate_ext'; ALTER SYSTEM SET rotate_ext.ignore_standbys = 'a b'");
like($err, qr/invalid value for parameter "rotate_ext\.ignore_standbys": "a b"\nDETAIL:  List syntax is invalid\./, 'a list that is none is refused');

# It catches up.
$standby->sql('SELECT pg_wal_replay_resume()');
replayed('Standby_1');
is($t->sql($NOW), 'rotated', 'when it has caught up, it rotates');
replayed('Standby_1');
ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
ok($standby->can_login('app', $t->password('prod/app')), 'on the standby, too');

# A cascaded one names the server that it replicates from, which is no primary.
$standby->node->backup('base');
my $cascaded = standby('cascaded', $standby->node);
$cascaded->error_is($NOW,
	{
		sqlstate => '25006',
		hint => sprintf 'Call it on the primary; the standbys follow. This one replicates from host "%s", port %d.',
		$standby->node->host, $standby->node->port
	},
	'a cascaded standby names where it replicates from');
$cascaded->sql('SELECT pg_wal_replay_pause()');
write_wal();
replayed('Standby_1');
is($t->sql($NOW), 'rotated', 'one that is cascaded is not seen from here');
$cascaded->sql('SELECT pg_wal_replay_resume()');

# Not streaming: as configured, of which nothing but host and port is shown.
my %configured = (
	'host=db1,db2 port=5433,5434 user=repl password=TheSecret' => 'host "db1,db2", port 5433,5434',
	'hostaddr=127.0.0.9 user=TheSecret passfile=/TheSecret' => 'host "127.0.0.9"',
	'postgresql://TheSecret:TheSecret@db.example:5439/?sslmode=require' => 'host "db.example", port 5439',
	'password=TheSecret port=5432' => undef,
	'password=TheSecret host=/var/run' => 'host "/var/run"',
	'' => undef,
	'nonsense=TheSecret host=db1' => undef);
foreach my $conninfo (sort keys %configured)
{
	$cascaded->{node}->adjust_conf('postgresql.conf', 'primary_conninfo', "'$conninfo'");
	$cascaded->{node}->reload;
	$cascaded->wait_for("SELECT current_setting('primary_conninfo') = '$conninfo' AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')")
	  or die 'the walreceiver did not stop';
	my $where = $configured{$conninfo};
	my $error = $cascaded->sql_error($NOW);
	is($error->{hint}, 'Call it on the primary; the standbys follow.' . (defined $where ? " This one replicates from $where." : ''),
		defined $where ? "configured: $where" : 'not known');
	unlike(join(' ', values %$error), qr/TheSecret/, 'nothing else of it is shown');
}
$cascaded->stop('immediate');

# Walsenders that are no standbys: pg_receivewal never says what it has replayed; a subscription has a logical slot.
my $archive = PostgreSQL::Test::Utils::tempdir();
local $ENV{PGAPPNAME} = 'pg_receivewal';
my $receivewal = IPC::Run::start(
	[ 'pg_receivewal', '-D', $archive, '-h', $primary->host, '-p', $primary->port, '--no-loop' ],
	'>', \my $archive_out, '2>', \my $archive_err);
$t->wait_for("SELECT count(*) = 1 FROM pg_stat_replication WHERE application_name = 'pg_receivewal' AND state = 'streaming'")
  or die 'pg_receivewal did not start';
$t->sql('CREATE DATABASE subscriber');
$t->sql('CREATE TABLE t (i int); CREATE PUBLICATION p FOR TABLE t');
$t->sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
$t->sql('CREATE TABLE t (i int)', database => 'subscriber');
$t->sql("CREATE SUBSCRIPTION s CONNECTION 'host=" . $primary->host . ' port=' . $primary->port
	  . " dbname=postgres' PUBLICATION p WITH (create_slot = false, copy_data = false)", database => 'subscriber');
my $blocked = $primary->background_psql('subscriber');
$t->wait_for("SELECT replay_lsn IS NOT NULL FROM pg_stat_replication WHERE application_name = 's'");
$blocked->query_safe('BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE');
$t->sql('INSERT INTO t SELECT generate_series(1, 5000)');
$t->wait_for("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) > 65536 FROM pg_stat_replication WHERE application_name = 's'");
replayed('Standby_1');
is($t->sql($DRY), 'none is more than 64 kB behind', 'neither pg_receivewal nor a subscription is a standby');
is($t->sql($NOW), 'rotated', 'and it rotates');
$blocked->query_safe('ROLLBACK');
$blocked->quit;
$receivewal->signal('INT');
$receivewal->finish;

# Slots that nobody uses
$t->sql("SELECT pg_create_physical_replication_slot('never_used')");
replayed('Standby_1');
($status, $out, $err) = $t->psql($NOW);
is("$out$err", 'rotated', 'a slot that was never used is no standby');
$t->sql("SELECT pg_create_physical_replication_slot('gone', true)");
replayed('Standby_1');
($status, $out, $err) = $t->psql($NOW);
is($out, 'rotated', 'beside an inactive slot it rotates');
like($err,
	qr/WARNING:  01000: replication slot "gone" is inactive\nDETAIL:  A standby that comes back with it refuses new passwords until it has caught up\.\nHINT:  Drop the slot if it is not needed any more, or name it in rotate_ext\.ignore_standbys\.$/m,
	'and warns');
is(() = $err =~ /WARNING/g, 1, 'once');
replayed('Standby_1');
$t->set('rotate_ext.inactive_slots' => 'ignore');
($status, $out, $err) = $t->psql($NOW);
is("$out$err", 'rotated', 'or does not');
replayed('Standby_1');
$t->set('rotate_ext.inactive_slots' => 'block');
$t->refused($NOW,
	{
		sqlstate => '55006',
		message => 'could not rotate secret "prod/app": replication slot "gone" is inactive',
		detail => 'A standby that comes back with it refuses new passwords until it has caught up.',
		hint => 'Try again when the standby is connected. Drop the slot if it is not needed any more, or name it in '
		  . 'rotate_ext.ignore_standbys.'
	},
	'or refuses', @app);
is($t->sql($DRY), '["slot \"gone\" is inactive"]', 'dry_run shows it');
$t->set('rotate_ext.ignore_standbys' => 'gone');
is($t->sql($NOW), 'rotated', 'unless the slot is to be ignored');

$standby->stop('immediate');
$t->stop;
done_testing();
