# 001_rotate.pl
#	  One secret, end to end: the way it goes when nothing is wrong.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $old = $t->add('app');
my $labels = $t->labels('prod/app');
my $current = $labels->{AWSCURRENT};

is_deeply($labels, { AWSCURRENT => $current }, 'at first the secret has one version');
ok($t->can_login('app', $old), 'and its password is accepted');

$t->sql("SELECT rotate_register('prod/app', 'app')");
is($t->labels('prod/app')->{AWSCURRENT}, $current, 'registering rotates nothing');
ok($t->can_login('app', $old), 'nor does it change the password');

my $row = $t->row("SELECT * FROM rotate_now('prod/app')");
my $new = $t->password('prod/app');

is($row->{secret}, 'prod/app', 'the result names the secret');
is($row->{role}, 'app', 'the role');
is($row->{outcome}, 'rotated', 'and what came of it');
isnt($row->{version_id}, $current, 'a new version was made');
$labels = $t->labels('prod/app');
is($labels->{AWSCURRENT}, $row->{version_id}, 'the new version has become AWSCURRENT');
is($labels->{AWSPREVIOUS}, $current, 'the old one AWSPREVIOUS');
isnt($new, $old, 'it has another password');
ok($t->can_login('app', $new), 'the new password is accepted');
ok(!$t->can_login('app', $old), 'the old one is refused');

my @history = $t->history('prod/app');
is(scalar(@history), 1, 'the run has a row in rotate_history');
is($history[0]{outcome}, 'rotated', 'which says how it ended');
ok(defined $history[0]{lockout}, 'and how long nobody could log in by AWSCURRENT');

$t->row("SELECT * FROM rotate_now('prod/app')");
ok($t->can_login('app', $t->password('prod/app')), 'and once more');
ok(!$t->can_login('app', $new), 'and the password before that is refused');

$t->stop;
done_testing();
