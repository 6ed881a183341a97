# 099_isolation.pl
#	  Runs the specs of test/isolation with PostgreSQL's own tester: sessions that
#	  take turns, step by step, and wait for each other.
#
# The tester sees only sessions that wait for sessions; what a rotation's worker
# waits for is in 038, 044, 045 and 093.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $tester = dirname($ENV{PG_REGRESS}) . '/../isolation/pg_isolation_regress';
plan skip_all => 'pg_isolation_regress is not in this installation' unless -x $tester;

my $t = RotateTest->new;
my $specs = abs_path("$FindBin::RealBin/../isolation");
my $output = PostgreSQL::Test::Utils::tempdir('isolation');
$t->add($_) foreach 'one', 'two';
my @tests = map { s/.*\/|\.spec$//gr } sort glob "$specs/specs/*.spec";

$t->emulator->create_secret('prod/same_role', $t->secret_json('one', $t->password('prod/one')));
my ($out, $ok) = ('');
{
	local %ENV = $t->node->_get_env;
	$ENV{PGHOST} = $t->node->host;
	$ENV{PGPORT} = $t->node->port;
	$ok = IPC::Run::run([ $tester, '--use-existing', '--dbname=postgres', "--inputdir=$specs", "--outputdir=$output",
		'--bindir=' . $t->node->config_data('--bindir'), @tests ], '<', \undef, '>', \$out, '2>&1');
}
ok($ok, 'specs: ' . join ' ', @tests) or diag($out, -e "$output/regression.diffs" ? PostgreSQL::Test::Utils::slurp_file("$output/regression.diffs") : ());

$t->stop;
done_testing();
