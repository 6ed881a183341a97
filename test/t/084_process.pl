# 084_process.pl
#	  Credentials that a program prints (credential_process): a rotation with
#	  them, that no shell has a say, what becomes of the program, and every way
#	  in which it can be wrong.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Agents;
use RotateTest::Emulator;
use Test::More;
use Time::HiRes qw(sleep time);

my $emulator = RotateTest::Emulator->new(region => $RotateTest::REGION);
my $agents = RotateTest::Agents->new($emulator);
my $dir = PostgreSQL::Test::Utils::tempdir('process');
my $bin = "$dir/bin";
my $seen = "$dir/seen";
my $json = JSON::PP->new->canonical;
mkdir $bin;
my $t = RotateTest->new(
	emulator => $emulator,
	conf => "rotate_ext.profile = 'p'\nrotate_ext.credential_process_timeout = 1000\nlog_min_messages = debug2",
	env => {
		AWS_ACCESS_KEY_ID => undef,
		AWS_SECRET_ACCESS_KEY => undef,
		AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials",
		AWS_CONFIG_FILE => "$dir/config",
		# its empty part would be the working directory: the server's data
		PATH => "${bin}::$ENV{PATH}"
	});
my $message = 'could not get AWS credentials from the credential_process of profile "p"';
my $hint = 'Run the command as the operating system user that runs the server, with the server\'s environment.';

sub write_file
{
	my ($path, $text) = @_;
	open my $out, '>:raw', $path or die "$path: $!";
	print $out $text;
	close $out;
	return;
}

# program(NAME, TEXT): one that can be run.
sub program
{
	my ($name, $text) = @_;
	write_file("$bin/$name", $text);
	chmod 0700, "$bin/$name";
	return;
}

sub command { my $line = shift; write_file("$dir/config", "[profile p]\ncredential_process = $line\n"); return; }

sub refused
{
	my ($expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$t->error_is('SELECT * FROM rotate_credentials()', { message => $message, hint => $hint, %$expected }, 'the error');
	is(join(', ', $agents->told(join "\n", values %{ $t->{last_error} })), '', 'which tells no secret');
	return;
}

sub bad
{
	my ($name, $line, $sqlstate, $detail) = @_;
	$agents->cell('process', $name, sub { command($line); refused({ sqlstate => $sqlstate, detail => $detail }); });
	return;
}

# Processes that run one of the programs here.
sub running
{
	my @pids;
	foreach my $path (glob '/proc/[0-9]*/cmdline')
	{
		open my $file, '<', $path or next;
		my $line = <$file> // '';
		push @pids, $path if index($line, $bin) >= 0;
	}
	return scalar @pids;
}

sub none_runs
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $until = time() + 5;
	sleep 0.05 while running() && time() < $until;
	is(running(), 0, 'no process is left');
	return;
}

my $good = $agents->credentials('ASIAPROCESS000000001', token_key => 'SessionToken');
$good->{Version} = 1;
write_file("$dir/good", $json->encode($good) . "\n");
program('give', "#!/bin/sh\nexec cat $dir/good\n");

# What a program finds: its words, its descriptors, its groups, signals, input, directory and limits.
program('look', <<"END");
#!/usr/bin/python3
import json, os, resource, signal, sys
fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found = {
    "words": sys.argv[1:], "fds": [fd for fd in fds if fd <= 2 or os.path.exists(f"/proc/self/fd/{fd}") and fd != fds[-1]],
    "stdin": os.readlink("/proc/self/fd/0"), "stderr": os.readlink("/proc/self/fd/2"),
    "own_group": os.getpgrp() == os.getpid(), "ignored": int(status["SigIgn"], 16) & ~(1 << 24) & ~(1 << 12),
    "blocked": int(status["SigBlk"], 16), "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    "pgdata": "ROTATE_TEST_MARK" in os.environ,
}
json.dump(found, open("$seen.new", "w"))
os.rename("$seen.new", "$seen")
sys.stderr.write(open("$dir/good").read())
sys.stdout.write(open("$dir/good").read())
END

$t->add('app');
command("$bin/give");
$agents->cell(
	'process', 'a rotation',
	sub {
		$t->sql('SELECT rotate_register(\'prod/app\', \'app\')');
		$emulator->clear_log;
		is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'is done');
		is_deeply([ grep { $_->{access_key_id} ne 'ASIAPROCESS000000001' } @{ $emulator->log->{entries} } ], [],
			'with the key that it printed');
		is_deeply(
			$t->row('SELECT provider, access_key_last4, '
				  . 'expires BETWEEN now() + interval \'5 hours 58 minutes\' AND now() + interval \'6 hours 1 minute\' AS soon '
				  . 'FROM rotate_credentials()'),
			{ provider => 'the credential_process of profile "p"', access_key_last4 => '0001', soon => JSON::PP::true },
			'it is shown');
	});
$agents->cell(
	'process', 'no shell',
	sub {
		command("look 'two words' \"a\\\"b\" c\\ d \$HOME `id` * ; echo > x | y && z '' #e");
		is($t->sql('SELECT access_key_last4 FROM rotate_credentials()'), '0001', 'it is found in PATH');
		my $found = $json->decode(PostgreSQL::Test::Utils::slurp_file($seen));
		is_deeply(
			$found->{words},
			[ 'two words', 'a"b', 'c d', '$HOME', '`id`', '*', ';', 'echo', '>', 'x', '|', 'y', '&&', 'z', '', '#e' ],
			'its words are those of the profile');
		is(join(' ', @{ $found->{fds} }), '0 1 2', 'it has no descriptor of the server\'s');
		is("$found->{stdin} $found->{stderr}", '/dev/null /dev/null', 'nothing to read, and nobody hears its errors');
		is($found->{own_group}, JSON::PP::true, 'it has a process group of its own');
		is("$found->{ignored} $found->{blocked}", '0 0', 'no signal is ignored or blocked');
		is($found->{core}, 0, 'it writes no core file');
	});
$agents->cell(
	'process', 'keys without an end',
	sub {
		write_file("$dir/lasting", $json->encode({ Version => 1, AccessKeyId => $emulator->access_key_id,
			SecretAccessKey => $emulator->secret_access_key }));
		command("cat $dir/lasting");
		is($t->sql('SELECT expires IS NULL FROM rotate_credentials()'), 't', 'are good');
	});

# What it prints.
my $unusable = sub { return "What it printed can't be used: $_[0]."; };
my %prints = (
	'nothing' => [ '', 'it is not a JSON object' ],
	'garbage' => [ "Error: $good->{SessionToken}", 'it is not a JSON object' ],
	'truncated' => [ substr($json->encode($good), 0, 300), 'it is not a JSON object' ],
	'no version' => [ $json->encode({ %$good, Version => undef }), 'its Version is not 1' ],
	'version 2' => [ $json->encode({ %$good, Version => 2 }), 'its Version is not 1' ],
	'no key' => [ $json->encode({ %$good, AccessKeyId => undef }), 'AccessKeyId is missing' ],
	'no secret' => [ $json->encode({ %$good, SecretAccessKey => '' }), 'SecretAccessKey is missing' ],
	'a token that is none' => [ $json->encode({ %$good, SessionToken => 5 }), 'the session token is missing' ],
	'an odd expiry' => [ $json->encode({ %$good, Expiration => 'soon' }), 'Expiration is missing, or not in ISO 8601' ]);
foreach my $name (sort keys %prints)
{
	write_file("$dir/bad", $prints{$name}[0]);
	bad("it prints $name", "cat $dir/bad", '28000', $unusable->($prints{$name}[1]));
}
$agents->cell(
	'process',
	'a token with CR/LF',
	sub {
		write_file("$dir/bad", $json->encode({ %$good, SessionToken => "$good->{SessionToken}\r\nX-Evil: 1" }));
		refused({
			sqlstate => '28000',
			message => 'could not use the AWS credentials of the credential_process of profile "p"',
			detail => qr/holds a blank, a line end/,
			hint => ''
		});
	});
$agents->cell(
	'process', 'expired',
	sub {
		write_file("$dir/bad", $json->encode({ %$good, Expiration => RotateTest::Agents::time_in(-60) }));
		refused({
			sqlstate => '28000',
			message => 'could not use the AWS credentials of the credential_process of profile "p"',
			detail => 'They have expired already.',
			hint => 'Look at the clock of this machine, and at what hands them out.'
		});
	});
program('flood', "#!/bin/sh\nexec yes $good->{SessionToken}\n");
bad('huge', "$bin/flood", '28000', 'It printed more than 65536 bytes.');

# How it ends.
program('fail', "#!/bin/sh\ncat $dir/good\ncat $dir/good >&2\nexit 3\n");
bad('exit status', "$bin/fail", '28000', 'It ended with exit status 3.');
program('die', "#!/bin/sh\ncat $dir/good\nkill -9 \$\$\n");
bad('a signal', "$bin/die", '28000', 'It was ended by signal 9.');
my $slow = 'It had not ended after 1000 ms (rotate_ext.credential_process_timeout).';
program('hang', "#!/bin/sh\nsleep 600\n");
bad('slow', "$bin/hang", '08001', $slow);
program('hang_closed', "#!/bin/sh\ncat $dir/good\nexec >&-\nsleep 600\n");
bad('slow after its answer', "$bin/hang_closed", '08001', $slow);
program('deaf', "#!/bin/sh\ntrap '' TERM INT HUP QUIT\n$bin/hang & $bin/hang & wait\n");
bad('with children that are deaf', "$bin/deaf", '08001', $slow);
$agents->cell('process', 'none is left', sub { none_runs(); });

# How it is not even run.
bad('absent', "$bin/nothing", 'F0000', 'It could not be run: No such file or directory.');
bad('not in PATH', 'rotate-nothing-of-that-name', 'F0000', 'It could not be run: No such file or directory.');
write_file("$bin/not_executable", "#!/bin/sh\n");
chmod 0600, "$bin/not_executable";
bad('not executable', "$bin/not_executable", 'F0000', 'It could not be run: Permission denied.');
write_file($t->node->data_dir . '/in_the_data', "#!/bin/sh\ncat $dir/good\n");
chmod 0700, $t->node->data_dir . '/in_the_data';
bad('in the data directory', 'in_the_data', 'F0000', 'It could not be run: No such file or directory.');
bad('not executable, in PATH', 'not_executable', 'F0000', 'It could not be run: No such file or directory.');
program('no_interpreter', "cat $dir/good\n");
bad('a script without its first line', "$bin/no_interpreter", 'F0000', 'It could not be run: Exec format error.');
bad('a directory', $bin, 'F0000', 'It could not be run: Permission denied.');
bad('a quote that is not closed', "$bin/give 'x", 'F0000', 'A quote in it is not closed, or it ends with a backslash.');
bad('a backslash at the end', "$bin/give x\\", 'F0000', 'A quote in it is not closed, or it ends with a backslash.');
bad('an empty word', "''", 'F0000', 'It could not be run: No such file or directory.');
bad('many words', join(' ', 'give', ('x') x 300), 'F0000', 'It has more than 256 words.');

# Who waits for it can go, and takes it along.
$t->set('rotate_ext.credential_process_timeout' => '60s');
command("$bin/deaf");
my $worker = 'FROM pg_stat_activity WHERE backend_type = \'rotate_ext rotation worker\'';

sub interrupted
{
	my ($name, $how) = @_;
	$agents->cell(
		'process', $name,
		sub {
			my $call = $t->start_sql('SELECT * FROM rotate_credentials()');
			my $until = time() + 30;
			sleep 0.05 while running() < 3 && time() < $until;
			cmp_ok(running(), '>=', 3, 'it runs');
			my $began = time();
			$how->();
			my $result = $call->finish;
			isnt($result->{status}, 0, 'the call fails');
			cmp_ok(time() - $began, '<', 20, 'soon');
			none_runs();
		});
	return;
}

interrupted('the worker is cancelled', sub { $t->sql("SELECT pg_cancel_backend(pid) $worker"); });
interrupted('the worker is terminated', sub { $t->sql("SELECT pg_terminate_backend(pid) $worker"); });
interrupted('the server is stopped', sub { $t->stop; });
$t->start;
interrupted('the server is stopped at once', sub { $t->stop('immediate'); });
$t->start;

# Once more, after all that.
command("$bin/give");
$agents->cell('process', 'a rotation at last',
	sub { is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), 'rotated', 'is done'); });

is(join(', ', $agents->told($t->server_log)), '', 'no secret is in the server\'s log');
$t->stop;
$agents->table;
done_testing();
