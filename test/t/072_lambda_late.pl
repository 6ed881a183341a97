# 072_lambda_late.pl
#	  Every invocation of a rotation by the service late, cut off by its
#	  deadline, twice, refused, or its answer lost: it ends with AWSCURRENT
#	  logging in, and one new version.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use RotateTest::Service;
use Test::More;

my ($true, $false) = (JSON::PP::true, JSON::PP::false);

my $s = RotateTest::Service->new;
my $t = $s->{t};
my @steps = @RotateTest::Service::STEPS;

# The function keeps a second for its answer, and its statement half a second
# less: a call that takes longer is cut off a second after it has begun.
my $TIMEOUT = 2.5;
my @apps = map { $s->add("app$_", timeout => $TIMEOUT) } 1 .. 4;

sub cell
{
	my ($group, $name, $step, $outcome, %rule) = @_;
	return {
		group => $group,
		name => "$name, in $step",
		invocation_faults => [ { step => $step, times => 1, %rule } ],
		again => $rule{times} ? 0 : 1,
		outcome => $outcome
	};
}

sub every_step { my @cell = @_; return map { cell(@cell[ 0, 1 ], $_, @cell[ 2 .. $#cell ]) } @steps; }

# The invocations that the service has given up, and what came of them.
sub late { return grep { defined $_->{late} } @{ $s->control('/invocations')->{invocations} }; }

foreach my $combined ('on', 'off')
{
	$t->set('rotate_ext.combine_steps' => $combined eq 'on' ? undef : 'off');
	my $note = $combined eq 'on' ? '' : ', combine_steps off';

	# The event comes late.
	$s->control('/invocations/clear');
	$s->cells(4, \@apps, every_step("delayed past the deadline$note", 'the event is late', 'timeout', action => 'delay'));
	is_deeply([ map { $_->{late}{outcome} } late() ], [ ('error') x 4 ], 'the function refuses an event whose time is up');
	is((grep { $_->{late}{answer}{errorType} eq 'Function.NoTime' } late()), 4, 'and says so');

	# What the database waits for comes late: the function ends in time, the
	# database goes on, and the retry joins it.
	my %seen;
	my @calls = grep { ($_->{secret} // '') eq 'arn' && !$seen{"$_->{step} $_->{operation}"}++ } $s->calls($apps[0]);
	cmp_ok(scalar(@calls), '>=', 8, 'calls to be slow');
	$s->cells(4, \@apps, map { slow_cell("cut off by the deadline$note", $_) } @calls);

	# Twice.
	$s->cells(2, \@apps, every_step("twice, one after the other$note", 'the same event again', undef, action => 'duplicate'));
	$s->cells(2, \@apps, every_step("twice, at the same time$note", 'the same event', undef, action => 'duplicate', concurrent => $true));
	$s->cells(2, \@apps, every_step("twice, a moment later$note", 'the same event', undef,
		action => 'duplicate', concurrent => $true, seconds => 0.03));
	$s->cells(2, \@apps, every_step("twice, while the service goes on$note", 'the same event', undef,
		action => 'duplicate', wait => $false, seconds => $_)) foreach (0, 0.12);
	$s->cells(2, \@apps, every_step("twice, when all is over$note", 'the same event', undef,
		action => 'duplicate', wait => $false, seconds => 1.5));
}
$t->set('rotate_ext.combine_steps' => undef);

# A call of Secrets Manager by the database's worker that is answered after the
# function's time.
sub slow_cell
{
	my ($group, $call) = @_;
	return {
		group => $group,
		name => "a slow $call->{operation}, in $call->{step}",
		faults => [ { action => 'latency', operation => $call->{operation}, after => $call->{nth}, seconds => $TIMEOUT - 0.5 } ],
		outcome => 'error'
	};
}

# Answers that the service does not get, and events that the function does not.
$s->cells(2, \@apps, every_step('the answer is lost', 'once', 'lost', action => 'lose'));
$s->cells(2, \@apps, every_step('the answer is lost', 'every time', 'lost', action => 'lose', times => 0));
$s->cells(2, \@apps, every_step('the call fails', 'once', 'not_delivered', action => 'error'));
$s->cells(2, \@apps, every_step('the call fails', 'every time', 'not_delivered', action => 'error', times => 0));
foreach my $status (403, 500)
{
	$s->cells(2, \@apps, every_step('the runtime API refuses the answer', "HTTP $status", undef,
		action => 'refuse', call => 'response', statuses => [$status]));
}
$s->cells(4, \@apps, every_step('a short delay', 'the event comes later', 'succeeded', action => 'delay', seconds => 0.4));

# Two things at once.
$s->cells(2, \@apps, map {
	my ($first, $second) = @$_;
	{
		group => 'two things at once',
		name => "the answer of $first is lost, and $second is killed",
		invocation_faults => [ { action => 'lose', step => $first }, { action => 'kill', step => $second, seconds => 0.02 } ]
	};
} map { my $first = $_; map { [ $first, $_ ] } @steps } @steps);

$s->print_table;
$s->stop;
done_testing();
