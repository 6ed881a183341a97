# 102_matrix_failover.pl
#	  The fault matrix: the primary is lost at every boundary of a rotation, and
#	  a standby takes its place and address; one that has everything, one that has
#	  lost what was committed last, one that knows nothing of the rotation.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use RotateTest;
use RotateTest::Matrix;
use Test::More;
use Time::HiRes qw(time);

my $m = RotateTest::Matrix->new(name => 'first', init => { allows_streaming => 1 }, hba => ['local replication all trust']);

# make_standby(NAME): of the present primary, as the same kind of object.
sub make_standby
{
	my $name = shift;
	my $primary = $m->t;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $standby = bless { %$primary, node => $node }, ref $primary;

	$primary->node->backup($name);
	$node->init_from_backup($primary->node, $name, has_streaming => 1);
	$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'\n");
	$standby->start;
	return $standby;
}

sub catch_up
{
	my $standby = shift;
	my $primary = $m->t->node;

	# the end of a run is committed as everything is: what has been flushed counts
	return $primary->wait_for_catchup($standby->node->name, 'replay', $primary->lsn('flush'));
}

# From now on the standby gets nothing.
sub cut_off
{
	my $standby = shift;

	catch_up($standby);
	$standby->set(primary_conninfo => '');
	$m->t->wait_for('SELECT count(*) = 0 FROM pg_stat_replication') or die 'the standby does not let go';
	return;
}

sub fail_over
{
	my ($standby, @cells) = @_;
	my $lost = $m->t->node;

	$lost->kill9;
	$m->take_over($standby, @cells);
	$m->let_go(@cells);
	my $since = time;
	$standby->node->promote;
	$m->judge(seconds => 5, since => $since, cells => \@cells);
	return;
}

my %ends = %RotateTest::Matrix::ENDS;
my $standby = make_standby('second');
my @cells = $m->cells('failover, nothing lost', slug => 'whole', then => 'cut', ends => \%ends);
$m->bring(@cells);
catch_up($standby);
fail_over($standby, @cells);

# It has the row that says which version was made, and not the role's new password.
$standby = make_standby('third');
@cells = $m->cells('failover, the change lost', slug => 'change', then => 'cut', ends => \%ends, lost => 1,
	midway => sub { cut_off($standby) });
$m->bring(@cells);
fail_over($standby, @cells);

# It has never heard of this rotation: AWSPENDING stays where it is, as it was somebody else's.
%ends = (%ends, map { $_ => 'old' } qw(created set setting prove_new move));
$standby = make_standby('fourth');
@cells = $m->cells('failover, the rotation lost', slug => 'all', then => 'cut', ends => \%ends, lost => 1);
cut_off($standby);
$m->bring(@cells);
fail_over($standby, @cells);

$m->print_table;
$m->stop;
done_testing();
