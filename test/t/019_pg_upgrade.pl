# 019_pg_upgrade.pl
#	  pg_upgrade, with the library preloaded in both clusters: registrations and
#	  runs are there, and off until rotate_enable().

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $t = RotateTest->new(name => 'old', conf => "shared_preload_libraries = 'rotate_ext'");
my $node = $t->node;
$t->add('app');
$t->sql("SELECT rotate_register('prod/app')");
$t->sql("SELECT rotate_now('prod/app')") foreach 1 .. 2;
my $history = "SELECT json_agg(h ORDER BY run_id) FROM rotate_history h WHERE source = 'rotate_now'";
my $runs = $t->sql($history);
my $before = $t->unchanged('app', 'prod/app');
$t->stop;

# The new cluster takes the place of the old one, at its address.
my $new = RotateTest->new(name => 'new', emulator => $t->emulator, start => 0, conf => "shared_preload_libraries = 'rotate_ext'");
my $bindir = $node->config_data('--bindir');
chdir PostgreSQL::Test::Utils::tempdir;
$t->_with_env(sub {
	$node->command_ok([
			'pg_upgrade', '--no-sync', '-b', $bindir, '-B', $bindir, '-d', $node->data_dir, '-D', $new->node->data_dir,
			'-p', $node->port, '-P', $new->port, '-s', $new->node->host
		], 'pg_upgrade');
});
$new->node->append_conf('postgresql.conf', 'port = ' . $node->port);
$new->node->{_port} = $node->port;
$new->start;
ok($new->wait_for('SELECT rotate_recovery()', 'on'), 'the launcher is there');
is($new->sql('SELECT state FROM rotate_status'), 'off: registered in another cluster', 'the registration is off');
$new->error_is("SELECT rotate_now('prod/app', dry_run => true)",
	{ sqlstate => '55000', hint => 'If this cluster has taken over from that one (dump and restore, pg_upgrade), call rotate_enable(\'prod/app\').' },
	'which an error says, too');
is($new->sql($history), $runs, 'its runs have come along');
is($new->unchanged('app', 'prod/app'), $before, 'and nothing has changed');

$new->sql("SELECT rotate_enable('prod/app')");
ok($new->wait_for("SELECT count(*) > 0 FROM rotate_history WHERE source = 'launcher' AND started_at > pg_postmaster_start_time() "
		. "AND outcome = 'unchanged'"), 'as the hint says: the launcher looks after it now');
is($new->sql('SELECT state FROM rotate_status'), 'ok', 'rotate_status agrees');
is($new->sql("SELECT outcome FROM rotate_now('prod/app')"), 'rotated', 'and it rotates');
ok($new->can_login('app', $new->password('prod/app')), 'to a password that logs in');

$new->stop;
done_testing();
