# 101_matrix_server.pl
#	  The fault matrix: the server dies at every boundary of a rotation, in
#	  every way, and a few seconds after it is back all is as it must be.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::FullDisk;
use RotateTest::Matrix;
use Test::More;
use Time::HiRes qw(sleep time);

my $m = RotateTest::Matrix->new;
my $t = $m->t;
my $node = $t->node;

# What the postmaster has started, and has not ended yet.
sub children
{
	my $postmaster = shift;
	my @children;

	foreach my $stat (glob '/proc/[0-9]*/stat')
	{
		my $line = eval { PostgreSQL::Test::Utils::slurp_file($stat) } or next;
		push @children, $1 if $line =~ /^(\d+) .*\) \S+ (\d+) / && $2 == $postmaster;
	}
	return @children;
}

# The rotation's worker
my @cells = $m->cells('worker killed -9', then => 'cut', ends => \%RotateTest::Matrix::ENDS);
$m->bring(@cells);
my $since = time;
my @workers = map { $_->{pid} } $m->workers(@cells);
is(scalar(@workers), scalar(@cells), 'every rotation has its worker');
kill 'KILL', @workers;
$m->let_go(@cells);
$m->judge(seconds => 5, since => $since, cells => \@cells);

# And once more, while the launcher finishes what the first one left: before it
# has looked, before the label moves, and after that.  What takes the server down
# twice is not tried at once.
$t->set('rotate_ext.max_workers' => 12);
@cells = $m->cells('worker killed -9, and the next one', slug => 'twice', then => 'cut', ends => \%RotateTest::Matrix::ENDS);
$m->bring(@cells);
foreach my $cell (@cells)
{
	my ($operation, $when) = $cell->{point} =~ /^set/ ? ('UpdateSecretVersionStage', 'before')
	  : $cell->{point} =~ /^(created|prove_new|move)$/ ? ('UpdateSecretVersionStage', 'after')
	  : ('DescribeSecret', 'before');
	push @{ $cell->{rules} }, $t->emulator->fault(
		action => 'pause', then => 'cut', secret => $cell->{arn}, operation => $operation, when => $when);
}
kill 'KILL', map { $_->{pid} } $m->workers(@cells);
$m->let_go(@cells);
$m->ended(@cells);
$t->emulator->wait_for_fault($_->{rules}[0]) or die "the launcher does not come to $_->{role}" foreach @cells;
@workers = map { $_->{pid} } $m->workers(@cells);
is(scalar(@workers), scalar(@cells), 'the launcher is at work on all of them');
$since = time;
kill 'KILL', @workers;
$t->emulator->release($_->{rules}[0]) foreach @cells;
$m->judge(seconds => 10, since => $since, cells => \@cells);
$t->set('rotate_ext.max_workers' => undef);

# The postmaster.  What it leaves behind must be gone before another one starts.
@cells = $m->cells('postmaster killed -9', then => 'cut', ends => \%RotateTest::Matrix::ENDS);
$m->bring(@cells);
my @left = children($node->{_pid});
cmp_ok(scalar(@left), '>=', 2 * @cells, 'backends and workers are there');
$node->kill9;
$m->let_go(@cells);
my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
while (@left = grep { kill 0, $_ } @left)
{
	die "processes outlive the postmaster: @left" if time() > $until;
	sleep 0.02;
}
$since = time;
$t->start;
$m->judge(seconds => 5, since => $since, cells => \@cells);

@cells = $m->cells('immediate shutdown', then => 'cut', ends => \%RotateTest::Matrix::ENDS);
$m->bring(@cells);
$node->stop('immediate');
$m->let_go(@cells);
$since = time;
$t->start;
$m->judge(seconds => 5, since => $since, cells => \@cells);

$m->stop;

# No space is left for WAL.  All go on from where they are, and the first to
# write takes the server down with it, until somebody makes room.
$m = RotateTest::Matrix->new(
	name => 'small',
	init => { extra => ['--wal-segsize=1'] },
	conf => "min_wal_size = 2MB\nmax_wal_size = 1GB\nautovacuum = off",
	start => 0);
$t = $m->t;
$node = $t->node;
my $disk = RotateTest::FullDisk->new($node);
$t->setenv($disk->environment);
$t->start;
$t->sql('CREATE EXTENSION rotate_ext');
@cells = $m->cells('disk full for the WAL', slug => 'full',
	ends => { map { $_ => RotateTest::Matrix::is_after($_, 'create') ? 'new' : undef } @RotateTest::Matrix::NAMES });
$m->bring(@cells);
my $offset = -s $node->logfile;
$disk->fill($t);
$m->let_go(@cells);
$node->wait_for_log(qr/PANIC: .*No space left on device/, $offset);
pass('the server goes down for want of space');
$disk->free;
$since = time;
while (($t->psql('SELECT'))[0] != 0)
{
	die 'the server does not come back' if time - $since > $PostgreSQL::Test::Utils::timeout_default;
	next if kill 0, $node->{_pid};
	$node->{_pid} = undef;
	$t->start;
}
$m->judge(seconds => 5, since => $since, cells => \@cells);

$m->print_table;
$m->stop;
done_testing();
