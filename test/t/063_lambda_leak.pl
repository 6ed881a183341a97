# 063_lambda_leak.pl
#	  The Lambda function's memory over 10,000 invocations, and valgrind's word
#	  on a few.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Lambda;
use RotateTest::LambdaServer;
use Test::More;

my $s = RotateTest::LambdaServer->new;
my $t = $s->{t};
my $json = JSON::PP->new->utf8;

# every kind of invocation: steps, an error, one that never reaches the server
my @rotation = map { $json->encode($s->event($_)) } qw(createSecret setSecret testSecret finishSecret);
my @mixed = (@rotation, $json->encode($s->event('setSecret', do => 'raise')), '{not an event');
# connecting and logging in takes most of the time; most invocations do without
my @mostly_kept = (($rotation[0], $rotation[1]) x 50, @mixed);

sub memory
{
	my $function = shift;
	$function->wait_idle;
	my %field = slurp_file('/proc/' . $function->pid . '/status') =~ /^(\w+):\s+(\d+) kB$/mg;
	my $fds = () = glob('/proc/' . $function->pid . '/fd/*');
	return ($field{RssAnon}, $fds);
}

subtest '10,000 invocations' => sub {
	my $function = RotateTest::Lambda->new(env => $s->{env});

	$function->control('many', events => \@mostly_kept, count => 2000);
	my ($before, $fds_before) = memory($function);
	my $done = $function->control('many', events => \@mostly_kept, count => 10000);
	my ($after, $fds_after) = memory($function);
	is($done->{responses} + $done->{errors}, 10000, 'each has an answer');
	cmp_ok($done->{errors}, '>', 100, 'some of them an error');
	note(sprintf '%.1f s, %d kB before, %d kB after', $done->{seconds}, $before, $after);
	cmp_ok($after - $before, '<', 200, 'the process has not grown by 20 bytes an invocation');
	is($fds_after, $fds_before, 'and has as many files open as before');
	$function->stop;
};

SKIP:
{
	chomp(my $valgrind = `sh -c 'command -v valgrind'`);
	skip 'needs valgrind', 1 if $valgrind eq '';
	subtest 'valgrind' => sub {
		my $log = PostgreSQL::Test::Utils::tempdir('valgrind') . '/log';
		my $function = RotateTest::Lambda->new(
			env => $s->{env},
			command => [ $valgrind, '--quiet', '--leak-check=full', '--show-leak-kinds=definite,indirect', '--errors-for-leak-kinds=definite',
				'--error-exitcode=99', "--log-file=$log", RotateTest::Lambda::program() ]);
		my $done = $function->control('many', events => \@mixed, count => 18);
		is($done->{responses} + $done->{errors}, 18, 'each has an answer');
		# the process ends by itself where the runtime API is gone
		$function->fault(path => 'next', status => 500);
		$function->invoke($rotation[0]);
		is($function->wait_end, 1, 'no invalid access, nothing lost') or diag(slurp_file($log));
	};
}

$t->stop;
done_testing();
