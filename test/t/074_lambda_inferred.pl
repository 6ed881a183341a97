# 074_lambda_inferred.pl
#	  What AWS does not say, played both ways: a rotation, one that is killed
#	  and retried, and RotateImmediately=false end right in every way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use RotateTest::Service;
use Test::More;

my $s = RotateTest::Service->new;
my $t = $s->{t};
my $emulator = $s->emulator;
my @apps = map { $s->add("app$_") } 1 .. 2;
my $app = $apps[0];
my $false = JSON::PP::false;
my @settings = qw(step_spelling event_rotation_token rotation_token_on_retry current_before_finish pending_gone_at_end
  pending_after_test rotation_token rotation_token_principal stale_reads_after_put stale_reads_after_label error_style);
my $defaults = $s->control('/settings');

# ends_right(NAME, combine_steps, setting => value, ...)
sub ends_right
{
	my ($name, $combine, %changed) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$t->set('rotate_ext.combine_steps' => $combine ? undef : 'off');
	$s->control('/settings', (map { $_ => $defaults->{$_} } @settings), %changed);
	$s->cells(2, \@apps,
		{ group => $name, name => 'a rotation' },
		{ group => $name, name => 'createSecret killed once its value is put',
			invocation_faults => [ { action => 'kill', step => 'createSecret', at_call => 'PutSecretValue', when => 'after', secret => 'arn' } ] },
		{ group => $name, name => 'createSecret killed before its value is put',
			invocation_faults => [ { action => 'kill', step => 'createSecret', at_call => 'GetSecretValue', secret => 'arn' } ] },
		(map { { group => $name, name => "the answer of $_ lost", invocation_faults => [ { action => 'lose', step => $_ } ] } }
			qw(setSecret testSecret finishSecret)));

	my $before = [ $t->verifier_of($app->{role}), $emulator->secret($app->{secret})->{versions}, $t->labels($app->{secret}) ];
	my $rotation = $s->rotate($app, RotateImmediately => $false);
	my $after = [ $t->verifier_of($app->{role}), $emulator->secret($app->{secret})->{versions}, $t->labels($app->{secret}) ];
	is($rotation->{status}, 'succeeded', "$name: RotateImmediately=false") or diag($rotation->{reason});
	if (($changed{pending_after_test} // '') eq 'removed')
	{
		delete $before->[2]{AWSPENDING};
		$_->{stages} = [ grep { $_ ne 'AWSPENDING' } @{ $_->{stages} } ] foreach values %{ $before->[1] };
	}
	is_deeply($after, $before, 'changes nothing of ours');
	return;
}

# Each by itself: that of the emulator's default is among them.
ends_right('as the emulator has it', 1);
ends_right('snake_case steps', 1, step_spelling => 'snake');
ends_right('RotationToken in createSecret only', 1, event_rotation_token => 'create_only', rotation_token => 'required');
ends_right('no RotationToken', 1, event_rotation_token => 'never');
ends_right('RotationToken is demanded', 1, rotation_token => 'required');
ends_right('RotationToken is demanded of roles', 1, rotation_token => 'required_for_roles');
ends_right('RotationToken is not looked at', 1, rotation_token => 'ignored');
ends_right('a new RotationToken for each attempt', 1, rotation_token_on_retry => 'new', rotation_token => 'required');
ends_right('RotationToken is the function\'s alone', 1, rotation_token_principal => 'function');
ends_right('AWSPENDING may not be gone at the end', 1, pending_gone_at_end => 'strict');
ends_right('a test takes AWSPENDING away', 1, pending_after_test => 'removed');
ends_right('reads that are out of date', 1, stale_reads_after_put => 2, stale_reads_after_label => 2);
ends_right('errors in every style', 1, error_style => 'rotate');

# The whole of the other side at once, both ways of the steps.
my %other = (
	step_spelling => 'snake', event_rotation_token => 'create_only', rotation_token_on_retry => 'new',
	pending_gone_at_end => 'strict', pending_after_test => 'removed', rotation_token => 'required');
ends_right('all the other way', 1, %other);
ends_right('all the other way, combine_steps off', 0, %other);

# A service that minds AWSCURRENT moving before finishSecret: that is what
# combine_steps does, and what turning it off is for.
ends_right('AWSCURRENT may not move before finishSecret, combine_steps off', 0, current_before_finish => 'strict');
ends_right('and all the other way, combine_steps off', 0, %other, current_before_finish => 'strict');

$t->set('rotate_ext.combine_steps' => undef);
$s->control('/settings', (map { $_ => $defaults->{$_} } @settings), current_before_finish => 'strict');
my $rotation = $s->rotate($app);
is($rotation->{status}, 'failed', 'with combine_steps such a service takes the rotation for failed');
is($rotation->{reason}, 'AWSCURRENT moved before finishSecret', 'for that reason');
ok($t->can_login($app->{role}, $t->password($app->{secret})), 'but AWSCURRENT logs in all the same');
is($t->labels($app->{secret})->{AWSCURRENT}, $rotation->{token}, 'with the new version');
$t->set('rotate_ext.combine_steps' => 'off');
$rotation = $s->rotate($app);
is($rotation->{status}, 'succeeded', 'and once combine_steps is off the next rotation succeeds') or diag($rotation->{reason});
ok($t->can_login($app->{role}, $t->password($app->{secret})), 'with AWSCURRENT logging in');
$t->set('rotate_ext.combine_steps' => undef);

# Where the token is demanded, and taken from the function alone, nobody else
# can put the value.  That is said, and nothing is changed.
$s->control('/settings', (map { $_ => $defaults->{$_} } @settings), rotation_token => 'required', rotation_token_principal => 'function',
	rotation_attempts => 1);
my $verifier = $t->verifier_of($app->{role});
my $current = $t->labels($app->{secret})->{AWSCURRENT};
$rotation = $s->rotate($app);
is($rotation->{status}, 'failed', 'a RotationToken that is demanded, and the function\'s alone: the rotation fails');
like($rotation->{reason}, qr/^createSecret: 42501: could not put a new value into secret "prod\/app1": .*AccessDeniedException/, 'and says why');
is($t->verifier_of($app->{role}), $verifier, 'the role is as before');
is($t->labels($app->{secret})->{AWSCURRENT}, $current, 'AWSCURRENT too');

$s->print_table;
$s->stop;
done_testing();
