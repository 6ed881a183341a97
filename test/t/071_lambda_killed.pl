# 071_lambda_killed.pl
#	  Every invocation of a rotation by the service, killed at every moment
#	  that can be told from another: it ends with AWSCURRENT logging in.
#
# The moments: before the process has the event; some time after it has it;
# and, for each call of Secrets Manager that a clean rotation makes in this
# step, when it arrives and when it has taken effect.  Killed once, the
# service's own retries end the rotation; killed every time, one further
# rotate_secret does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Service;
use Test::More;

# each cell is killed at a call, which is held meanwhile
my $LANES = 2;

my $s = RotateTest::Service->new;
my $t = $s->{t};
my @apps = map { $s->add("app$_") } 1 .. $LANES;
my @steps = @RotateTest::Service::STEPS;

sub kill_cell
{
	my ($group, $name, $step, %rule) = @_;
	return {
		group => $group,
		name => "$name, in $step",
		invocation_faults => [ { action => 'kill', step => $step, %rule } ],
		again => $rule{times} ? 0 : 1,
		outcome => 'exited'
	};
}

sub at_calls
{
	my ($group, @calls) = @_;
	return map {
		my ($step, $operation, $which) = @{$_}{qw(step operation secret)};
		my $login = ($which // '') eq 'login_arn' ? ' of its login' : '';
		map {
			kill_cell($group, "$_ $operation$login", $step, at_call => $operation, when => $_, times => 1,
				defined $which ? (secret => $which) : ())
		} qw(before after);
	} @calls;
}

# A timed kill may come when the invocation is over.
sub at_times
{
	my ($group, @seconds) = @_;
	return map {
		my $seconds = $_;
		map {
			my $cell = kill_cell($group, "after $seconds s", $_, seconds => $seconds, times => 1);
			delete $cell->{outcome} if $seconds > 0.01;
			$cell;
		} @steps;
	} @seconds;
}

foreach my $combined ('on', 'off')
{
	$t->set('rotate_ext.combine_steps' => $combined eq 'on' ? undef : 'off');
	my %seen;
	my @calls = grep { !$seen{ join ' ', map { $_ // '' } @{$_}{qw(step operation secret)} }++ } $s->calls($apps[0]);
	my %steps = map { $_->{step} => 1 } @calls;
	is_deeply([ sort keys %steps ], [ sort @steps ], 'calls are made in every step');
	my $note = $combined eq 'on' ? '' : ', combine_steps off';

	$s->cells($LANES, \@apps, map { kill_cell("before the event$note", 'before it has the event', $_, seconds => 0, times => 1) } @steps);
	$s->cells($LANES, \@apps, at_times("after some time$note", $combined eq 'on' ? (0.002, 0.02, 0.04, 0.08) : 0.04));
	$s->cells(1, \@apps, at_calls("at a call$note", grep { !defined $_->{secret} } @calls));
	$s->cells($LANES, \@apps, at_calls("at a call$note", grep { defined $_->{secret} } @calls));
	$s->cells($LANES, \@apps, map { kill_cell("every time$note", 'every time, at DescribeSecret', $_, at_call => 'DescribeSecret', secret => 'arn', times => 0) } @steps);
}

$s->print_table;
$s->stop;
done_testing();
