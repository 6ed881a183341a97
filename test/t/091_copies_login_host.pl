# 091_copies_login_host.pl
#	  With login_host a copy of the server can log in to itself.  It can't rotate
#	  what the original has, for want of the original's instance file.
#
# Beside the original, on its machine, a copy reads that file, and its login
# reaches the original.  The other copies run where the original's port and
# loopback address lead to them, as on a machine of their own; that takes one
# server at a time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use RotateTest::Copy;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir('instance');
my %file = map { $_ => "$dir/$_" } 'original', 'copied', 'restored';
my $t = RotateTest->new(
	name => 'original',
	init => { allows_streaming => 1 },
	hba => ['local replication all trust'],
	conf => join("\n", "shared_preload_libraries = 'rotate_ext'", 'max_connections = 100', "rotate_ext.instance_file = '$file{original}'"));
my $emulator = $t->emulator;
my $node = $t->node;
my $port = $t->port;
my @pendings = ('none', 'value', 'empty');
my (%role_of, @secrets);

sub write_file
{
	my ($path, $content) = @_;
	open my $handle, '>', $path or die "could not write $path: $!";
	print $handle $content;
	close $handle;
	return;
}

write_file($file{$_}, "the machine of the $_") foreach keys %file;
$emulator->control('/settings', writes_per_second => 0);

# What happens to the role after the backup, and what AWSPENDING is on.
foreach my $age ('same', 'once', 'twice')
{
	foreach my $pending (@pendings)
	{
		my $role = "${age}_$pending";
		$t->add($role, json => { host => 'database.invalid' });
		$emulator->control('/secrets/update', secret => "prod/$role", attributes => { rotation_enabled => JSON::PP::true });
		$t->sql("SELECT rotate_register('prod/$role', login_host => 'localhost', allow_plaintext_login => true); SELECT rotate_now('prod/$role')");
		$role_of{"prod/$role"} = $role;
		push @secrets, "prod/$role";
	}
}
$t->add('halfway', json => { host => 'database.invalid' });
$emulator->control('/secrets/update', secret => 'prod/halfway', attributes => { rotation_enabled => JSON::PP::true });
$t->sql("SELECT rotate_register('prod/halfway', login_host => 'localhost')");
$role_of{'prod/halfway'} = 'halfway';
push @secrets, 'prod/halfway';

# The backup is of a moment in which a run has set the password.
my $rule = $emulator->fault(
	action => 'pause', operation => 'UpdateSecretVersionStage', secret => $emulator->secret('prod/halfway')->{arn});
my $call = $t->start_sql("SELECT outcome FROM rotate_now('prod/halfway')");
$emulator->wait_for_fault($rule) or die 'no call came';
prepare_attack($t);
$node->backup('backup');
$emulator->release($rule);
is($call->finish->{stdout}, 'rotated', 'a rotation that was under way at the time of the backup ends');

# The original goes on; then its data directory is copied.
foreach my $pending (@pendings)
{
	$t->sql("SELECT rotate_now('prod/$_')") foreach "once_$pending", ("twice_$pending") x 2;
}
foreach my $age ('same', 'once', 'twice')
{
	$emulator->add_version("prod/${age}_value", $t->secret_json("${age}_value", RotateTest::random_password(), host => 'database.invalid'),
		'AWSPENDING');
	$emulator->control('/service-pending', secret => "prod/${age}_empty");
}
my %before = map { $_ => $t->unchanged($role_of{$_}, $_) } @secrets;

sub restore
{
	my $restored_node = PostgreSQL::Test::Cluster->new($_[0]);
	$restored_node->init_from_backup($node, 'backup');
	return make_copy($t, $restored_node);
}

my $beside = restore('beside');
$beside->start;
ok(launcher_looked($beside, @secrets), 'the launcher of a copy beside the original has looked at every secret');
is_deeply([ writes($beside) ], [], '  and writes nothing');
only_refused('a copy beside the original', answers(attack($beside, @secrets)));
is_deeply([ writes($beside) ], [], 'it writes nothing');
is_deeply([ grep { $t->unchanged($role_of{$_}, $_) ne $before{$_} } @secrets ], [], '  and the original and its secrets are unchanged');
$beside->stop;

my $restored = restore('restored');
prepare_attack($t);
$t->stop;
my $copied_node = PostgreSQL::Test::Cluster->new('copied');
system('cp', '-a', $node->data_dir, $copied_node->data_dir) == 0 or die 'could not copy the data directory';
my $copied = make_copy($t, $copied_node);

foreach my $case ([ $copied, 'copied', 'a copy of the data directory' ], [ $restored, 'restored', 'a restored backup' ])
{
	my ($copy, $which, $name) = @$case;
	my $of_copies = join '|',
	  '55000 secret ".*" was registered on another machine and is off on this one',
	  'F0000 could not use login_host: rotate_ext.instance_file is not set',
	  'F0000 could not read rotate_ext.instance_file ".*": No such file or directory';

	foreach my $instance (
		[ "'$file{$which}'", 'with an instance file of its own' ],
		[ "'$dir/none'", 'without the instance file' ],
		[ "''", 'without the setting' ])
	{
		my ($setting, $how) = @$instance;

		$copy->node->append_conf('postgresql.conf',
			join("\n", "port = $port", "listen_addresses = '127.0.0.1'", "unix_socket_directories = '" . $copy->node->host . "'",
				"rotate_ext.instance_file = $setting", ''));
		$copy->node->{_port} = $port;
		$copy->start;
		ok($copy->can_login('same_none', $copy->password('prod/same_none')), "$name logs in to itself")
		  if $how eq 'with an instance file of its own';
		ok($copy->wait_for('SELECT rotate_recovery()', 'on'), '  its launcher works');
		ok($copy->wait_for('SELECT count(DISTINCT secret) FROM rotate_run WHERE started_at > pg_postmaster_start_time() '
				. "AND source = 'launcher' AND outcome = 'failed'", scalar(@secrets)), '  and has looked at every secret');
		my @answers = answers(attack($copy, @secrets));
		my @other = grep { $_->{answer} !~ /^($of_copies)/ } @answers;
		is_deeply(\@other, [], "$name $how refuses all of " . scalar(@answers) . ' calls');
		is_deeply([ writes($copy) ], [], '  and writes nothing');
		is(scalar(requests($copy)), 0, '  nor asks for anything');
		$copy->stop;
	}
}

# With the original's file it takes its place: nothing but the file was in the way.
$copied->node->append_conf('postgresql.conf', "rotate_ext.instance_file = '$file{original}'\n");
$copied->start;
is($copied->sql("SELECT outcome FROM rotate_now('prod/same_none')"), 'rotated', 'with the original\'s file the copy rotates');
is(scalar(writes($copied)), 2, 'and its writing would have been seen');
$copied->stop;

# Nothing else of the original's has changed.
$t->start;
delete $before{'prod/same_none'};
is_deeply([ grep { $t->unchanged($role_of{$_}, $_) ne $before{$_} } sort keys %before ], [], 'the original and its secrets are unchanged');

$t->stop;
done_testing();
