# 094_soak.pl
#	  A short soak: rotations under random faults, the same ones each time.
#	  script/soak runs this for as long as wanted, with ROTATE_SOAK_SECONDS and
#	  ROTATE_SOAK_SEED.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest::Soak;
use Test::More;

my $seconds = $ENV{ROTATE_SOAK_SECONDS} || 40;
my $seed = defined $ENV{ROTATE_SOAK_SEED} ? $ENV{ROTATE_SOAK_SEED} : 4711;

note("seed: $seed");
my $soak = RotateTest::Soak->new(seed => $seed);

$soak->storm($seconds / 2);
$soak->settle('the storm');
$soak->drizzle($seconds / 2);
$soak->settle('the drizzle');
$soak->finish;
diag("the seed was $seed") unless Test::More->builder->is_passing;

done_testing();
