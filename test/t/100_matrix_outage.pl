# 100_matrix_outage.pl
#	  The fault matrix: Secrets Manager can't be reached for a minute, at every
#	  boundary of a rotation.
#
# Beside it what takes a minute, too: a request that was under way when its
# worker was killed, and arrives after the launcher has put things right.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Matrix;
use Test::More;
use Time::HiRes qw(sleep time);

# A move is under way, AWSPENDING is taken away, and the worker is killed: the
# launcher can but give AWSCURRENT's password back, and looks once more a minute
# after, for the move may arrive yet.
my $other = RotateTest::Matrix->new(name => 'late');
my ($late) = $other->cells('a late move', slug => 'late', points => ['move']);
$other->bring($late);
$other->emulator->control('/labels', secret => $late->{secret}, labels => { AWSPENDING => undef });
kill 'KILL', map { $_->{pid} } $other->workers($late);
$other->ended($late);
$other->answers;
my $repaired = "SELECT count(*) FROM rotate_history WHERE secret = '$late->{secret}' AND outcome = 'repaired'";
ok($other->t->wait_for($repaired, 1), 'AWSCURRENT gets its password back');
ok($other->t->can_login($late->{role}, $late->{password}), 'and logs in');
$other->let_go($late);
for (1 .. 500) { last if $other->t->labels($late->{secret})->{AWSCURRENT} ne $late->{old}; sleep 0.02; }
isnt($other->t->labels($late->{secret})->{AWSCURRENT}, $late->{old}, 'then the move arrives, late');

# Now for the outage.
my $m = RotateTest::Matrix->new;
my $t = $m->t;
my ($port) = $t->emulator->endpoint_url =~ /:(\d+)$/;
my $way = $m->gate('listen', upstream => $port)->{port};
$t->set('rotate_ext.endpoint_url' => "https://127.0.0.1:$way");

# The network goes, with all connections that there are: what was under way is
# lost, or its answer is.  Where nothing had been made yet, the call has failed
# and is over.
my @cells = $m->cells('endpoint down for a minute', slug => 'down', then => 'cut', ends => \%RotateTest::Matrix::ENDS);
$_->{fails} = $_->{point} =~ /^(observe|prove)$/ foreach @cells;
$m->bring(@cells);
$m->gate('cut', port => $way);
my $down = time;
$m->let_go(@cells);
$m->ended(@cells);
foreach my $cell (grep { !RotateTest::Matrix::is_after($_->{point}, 'prove_new') } @cells)
{
	is($t->verifier_of($cell->{role}), $cell->{verifier}, "$cell->{point}: the old verifier is there while Secrets Manager is not");
}
sleep $down + 60 - time;
$m->gate('open', port => $way);
$m->judge(seconds => 75, cells => \@cells);

ok($other->t->wait_for($repaired, 2), 'the move that came late has been found');
ok($other->t->can_login($late->{role}, $other->t->password($late->{secret})), 'and AWSCURRENT logs in');

$m->print_table;
$m->stop;
$other->stop;
done_testing();
