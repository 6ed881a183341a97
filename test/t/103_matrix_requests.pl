# 103_matrix_requests.pl
#	  The fault matrix: requests and answers get lost, hang and fail, and the
#	  network to the login is cut, at every boundary of a rotation.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Matrix;
use Test::More;

# Each call of Secrets Manager is made twice; both are lost.
my $m = RotateTest::Matrix->new(conf => "rotate_ext.request_timeout = 8s\nrotate_ext.max_attempts = 2");
my $t = $m->t;

# The request that the fault is for: the next one, or one that is not answered
# yet.  Where there is none any more, it is the next rotation's.
my %next = (
	observe => 'DescribeSecret',
	(map { $_ => 'PutSecretValue' } qw(prove create)),
	(map { $_ => 'UpdateSecretVersionStage' } qw(created set setting prove_new move)),
	(map { $_ => 'DescribeSecret' } qw(moved record)));
my %unanswered = (%next, created => 'PutSecretValue', moved => 'UpdateSecretVersionStage');

# A call that fails before anything was made is over, and so is the rotation
# that was next.
my %ends = (%RotateTest::Matrix::ENDS);

my @kinds = (
	[ 'request lost', { action => 'cut' }, \%next ],
	[ 'response lost', { action => 'cut', when => 'after' }, \%unanswered ],
	[ 'request hung', { action => 'hang' }, \%next ],
	[ 'HTTP 500 after the effect', { action => 'error', status => 500, when => 'after' }, \%unanswered ]);
my @cells;
foreach my $kind (@kinds)
{
	my ($name, $rule, $operation) = @$kind;
	# the version was made, and nobody knows until it is looked at
	my %made = ($rule->{when} || '') eq 'after' ? (prove => 'new', create => 'new') : ();
	my @row = map {
		my $point = $_;
		my $again = $operation->{$point} eq 'DescribeSecret' && $point ne 'observe';

		$m->cells($name,
			slug => $name =~ s/ after.*//r,
			points => [$point],
			ends => { %ends, %made },
			fails => $again || $point eq 'observe',
			again => $again,
			with => [ { %$rule, operation => $operation->{$point}, times => 2, after => $again ? 1 : 0 } ])
	} @RotateTest::Matrix::NAMES;

	$m->bring(@row);
	$m->let_go(@row);
	push @cells, @row;
}

# The network to the login is cut until the caller has heard of it.  A password
# that was set by then comes back as it was.
my @cut = $m->cells('network to the login cut', slug => 'cut',
	ends => { %ends, create => 'new' });
$_->{fails} = !RotateTest::Matrix::is_after($_->{point}, 'prove') foreach @cut;
$m->bring(@cut);
$m->gate('cut', port => $_->{gate}) foreach @cut;
$m->let_go(@cut);
$m->ended(@cut);
foreach my $cell (@cut)
{
	my $moved = RotateTest::Matrix::is_after($cell->{point}, 'prove_new');
	my $verifier = RotateTest::literal($cell->{verifier});

	is($cell->{result}{status} == 0, $moved, "$cell->{point}: " . ($moved ? 'no login is left to be proved' : 'the proof fails'));
	ok($t->wait_for("SELECT $RotateTest::VERIFIER = $verifier FROM pg_authid WHERE oid = $cell->{oid}"), 'the old verifier is back, to the byte')
	  unless $moved;
}
$m->gate('open', port => $_->{gate}) foreach @cut;

# Where the rotation was over, the next one meets the fault.
foreach my $cell (grep { $_->{again} } @cells)
{
	$m->ended($cell);
	$cell->{call} = $t->start_sql("SELECT rotate_now('$cell->{secret}')");
}
foreach my $name (map { $_->[0] } @kinds)
{
	$m->judge(seconds => 40, cells => [ grep { $_->{kind} eq $name } @cells ]);
}
$m->judge(seconds => 20, cells => \@cut);

$m->print_table;
$m->stop;
done_testing();
