# 104_matrix_others.pl
#	  The fault matrix: somebody else, at every boundary of a rotation: moves
#	  labels, cancels, begins another rotation, changes the password, makes the
#	  secret anew.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Matrix;
use Test::More;

my $m = RotateTest::Matrix->new;
my $t = $m->t;
my $emulator = $t->emulator;
my %ends = %RotateTest::Matrix::ENDS;

sub is_after { return RotateTest::Matrix::is_after(@_); }

# How often runs say that they moved AWSCURRENT.
sub moves
{
	my $cell = shift;
	return scalar grep { ($_->{outcome} // '') =~ /^(rotated|completed)$/ } @{ $cell->{now}{runs} };
}

sub is_on
{
	my ($cell, $label, $id) = @_;
	return ($cell->{now}{labels}{$label} // '') eq $id ? () : "$label is not on version $id";
}

sub last_error { my $cell = shift; return $cell->{now}{runs}[-1]{sqlstate} // ''; }

# A person moves AWSCURRENT back to the version before.  The rotation moves it
# on from there; where the label had been moved already, that looks like a crash
# before the move, and the next to be asked moves it forward again.
my @back = $m->cells('AWSCURRENT moved back by hand', slug => 'back', unusual => 1,
	check => sub {
		my $cell = shift;
		my $labels = $cell->{now}{labels};
		my $late = is_after($cell->{point}, 'move');
		return (
			$labels->{AWSCURRENT} eq $cell->{old} || $labels->{AWSCURRENT} eq $cell->{older} ? 'AWSCURRENT is on an old version' : (),
			is_on($cell, AWSPREVIOUS => $late ? $cell->{old} : $cell->{older}),
			moves($cell) == ($late ? 2 : 1) ? () : 'AWSCURRENT was moved ' . moves($cell) . ' times');
	});
$m->bring(@back);
foreach my $cell (@back)
{
	my $labels = $t->labels($cell->{secret});
	$m->aws('update_secret_version_stage',
		SecretId => $cell->{secret},
		VersionStage => 'AWSCURRENT',
		MoveToVersionId => $labels->{AWSPREVIOUS},
		RemoveFromVersionId => $labels->{AWSCURRENT});
}
$m->let_go(@back);
$m->ended(@back);
foreach my $cell (grep { is_after($_->{point}, 'move') } @back)
{
	$cell->{call} = $t->start_sql("SELECT outcome FROM rotate_now('$cell->{secret}')");
}
$m->judge(seconds => 20, cells => \@back);

# A person moves AWSCURRENT to the pending version, as the rotation would; before
# there is one, writes another password into the secret.
my @on = $m->cells('AWSCURRENT moved on by hand', slug => 'onward', unusual => 1,
	check => sub {
		my $cell = shift;
		my $labels = $cell->{now}{labels};
		my $before = is_after($cell->{point}, 'create') ? $cell->{old} : $cell->{by_hand};
		return (
			$labels->{AWSCURRENT} eq $before ? 'AWSCURRENT is on the version before' : (),
			is_on($cell, AWSPREVIOUS => $before),
			moves($cell) == 1 ? () : 'AWSCURRENT was moved ' . moves($cell) . ' times');
	});
$m->bring(@on);
foreach my $cell (@on)
{
	my $labels = $t->labels($cell->{secret});
	my $by_hand = RotateTest::random_password();

	if (!is_after($cell->{point}, 'create'))
	{
		$cell->{by_hand} = $m->aws('put_secret_value',
			SecretId => $cell->{secret},
			SecretString => JSON::PP->new->encode($t->secret_json($cell->{role}, $by_hand, port => $cell->{gate})))->{VersionId};
	}
	elsif (!is_after($cell->{point}, 'move'))
	{
		$m->aws('update_secret_version_stage',
			SecretId => $cell->{secret},
			VersionStage => 'AWSCURRENT',
			MoveToVersionId => $labels->{AWSPENDING},
			RemoveFromVersionId => $labels->{AWSCURRENT});
	}
	else
	{
		# it is there: what is left to a person is to take AWSPENDING away
		$m->aws('update_secret_version_stage',
			SecretId => $cell->{secret},
			VersionStage => 'AWSPENDING',
			RemoveFromVersionId => $labels->{AWSPENDING});
	}
}
$m->let_go(@on);
$m->judge(seconds => 20, cells => \@on);

# The service takes AWSPENDING away; before there is one, it makes a version of
# its own and gives that up.
my @taken = $m->cells('AWSPENDING taken away by the service', slug => 'taken', ends => 'new',
	check => sub { return exists $_[0]{now}{labels}{AWSPENDING} && !$_[0]{early} ? 'AWSPENDING is back' : (); });
$m->bring(@taken);
foreach my $cell (@taken)
{
	$cell->{early} = !is_after($cell->{point}, 'create');
	if ($cell->{early})
	{
		my $id = $emulator->control('/service-pending', secret => $cell->{secret})->{id};
		$emulator->control('/versions/delete', secret => $cell->{secret}, id => $id);
	}
	else { $emulator->control('/labels', secret => $cell->{secret}, labels => { AWSPENDING => undef }); }
}
$m->let_go(@taken);
$m->judge(seconds => 20, cells => \@taken);

# The caller is cancelled: the rotation goes on.
my @caller = $m->cells('caller cancelled', slug => 'caller', ends => 'new');
$m->bring(@caller);
$t->sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'caller\\_%' AND backend_type = 'client backend'");
$m->ended(@caller);
is(scalar(grep { $_->{result}{error} && $_->{result}{error}{sqlstate} eq '57014' } @caller), scalar(@caller), 'the callers are told so');
$m->let_go(@caller);
$m->judge(seconds => 20, cells => \@caller);

# The worker is cancelled: what it has set is taken back.  A move that is under
# way may arrive, and does.
my @worker = $m->cells('worker cancelled', slug => 'worker',
	ends => { map { $_ => is_after($_, 'prove_new') ? 'new' : 'old' } @RotateTest::Matrix::NAMES },
	check => sub {
		my $cell = shift;
		return $cell->{fails} && last_error($cell) ne '57014' ? 'it has not failed with 57014 but ' . last_error($cell) : ();
	});
$_->{fails} = !is_after($_->{point}, 'prove_new') foreach @worker;
$m->bring(@worker);
my $pids = join ', ', map { $_->{pid} } $m->workers(@worker);
$t->sql("SELECT pg_cancel_backend(pid) FROM unnest(ARRAY[$pids]) pid");
# those two can't write their end before the lock is gone
$m->ended(grep { $_->{point} !~ /^(set|record)$/ } @worker);
$m->let_go(@worker);
$m->judge(seconds => 30, cells => \@worker);

# CancelRotateSecret: the step that runs goes on, and no other is sent.
my @service = $m->cells('CancelRotateSecret', slug => 'service', event => 1,
	ends => { map { $_ => is_after($_, 'created') ? 'new' : 'old' } @RotateTest::Matrix::NAMES });
$_->{fails} = $_->{point} eq 'observe' foreach @service;
$m->bring(@service);
$m->aws('cancel_rotate_secret', SecretId => $_->{secret}) foreach @service;
$m->let_go(@service);
$m->judge(seconds => 20, cells => \@service);

# The service begins a rotation with a new token, and sends its steps.  They
# come after ours, which may have taken AWSPENDING back by then.
my @token = $m->cells('a new rotation with a new token', slug => 'token', unusual => 1,
	check => sub {
		my $cell = shift;
		my $labels = $cell->{now}{labels};
		my $is_ours = $cell->{point} =~ /^(prove|create)$/;
		my $moves = is_after($cell->{point}, 'create') ? 2 : 1;
		return (
			($labels->{AWSCURRENT} eq $cell->{token}) == !$is_ours ? () : 'AWSCURRENT is on the version of the wrong rotation',
			$labels->{AWSCURRENT} eq $cell->{old} ? 'AWSCURRENT is on the old version' : (),
			moves($cell) == $moves ? () : 'AWSCURRENT was moved ' . moves($cell) . ' times',
			$cell->{steps}->running ? 'the service\'s steps have not ended' : ());
	});
$m->bring(@token);
foreach my $cell (@token)
{
	$m->begin_event($cell);
	$cell->{steps} = $t->start_sql(RotateTest::Matrix::event_sql($cell, qw(createSecret setSecret testSecret finishSecret)));
}
$m->let_go(@token);
$m->judge(seconds => 30, cells => \@token);
foreach my $cell (@token)
{
	my $is_ours = $cell->{point} =~ /^(prove|create)$/;
	my $error = $cell->{steps}->finish->{error};
	is($error ? $error->{sqlstate} : 'none', $is_ours ? '55000' : 'none', "$cell->{point}: the service's steps " . ($is_ours ? 'fail' : 'succeed'))
	  or diag($error->{message});
}

# The password is changed by hand, to one that is in no version: it is left as
# it is, and reported, until a person puts things right.
my @by_hand = $m->cells('password changed by hand', slug => 'by_hand', unusual => 1, no_login => 1,
	check => sub {
		my $cell = shift;
		return (
			$cell->{now}{verifier} eq $cell->{hands} ? () : 'the verifier is not the one set by hand',
			is_on($cell, AWSCURRENT => is_after($cell->{point}, 'prove_new') ? $cell->{now}{labels}{AWSPENDING} // '' : $cell->{old}),
			moves($cell) == (is_after($cell->{point}, 'prove_new') ? 1 : 0) ? () : 'AWSCURRENT was moved ' . moves($cell) . ' times',
			last_error($cell) eq '28P01' ? () : 'it is not reported: ' . last_error($cell));
	});
$m->bring(@by_hand);
foreach my $cell (@by_hand)
{
	my $verifier = RotateTest::scram_verifier(RotateTest::random_password());
	my $sql = "ALTER ROLE $cell->{role} PASSWORD " . RotateTest::literal($verifier);
	$cell->{hands} = RotateTest::hashed_verifier($verifier);
	$cell->{point} eq 'setting' ? $m->in_session($cell, "$sql; COMMIT;") : $t->sql($sql);
}
$m->let_go(@by_hand);
$m->ended(@by_hand);
foreach my $cell (grep { is_after($_->{point}, 'prove_new') } @by_hand)
{
	# between the proof and the move nobody can know: the next look says so
	$cell->{call} = $t->start_sql("SELECT rotate_now('$cell->{secret}')");
}
$m->judge(seconds => 20, cells => \@by_hand);
foreach my $cell (@by_hand)
{
	$t->set_password($cell->{role}, $t->password($cell->{secret}));
	like($t->sql("SELECT outcome FROM rotate_now('$cell->{secret}')"), qr/^(rotated|completed)$/, "$cell->{point}: put right, it rotates");
	ok($t->can_login($cell->{role}, $t->password($cell->{secret})), 'and AWSCURRENT logs in');
}

# The secret is deleted, and made anew under its name, with the login of the
# moment: it is another one, and nothing is written to it.
my @anew = $m->cells('secret made anew under its name', slug => 'anew', unusual => 1,
	check => sub {
		my $cell = shift;
		my $late = is_after($cell->{point}, 'move');
		my @versions = keys %{ $cell->{now}{state_of_secret}{versions} };
		return (
			@versions == 1 ? () : 'the new secret was written to',
			$late || $cell->{now}{verifier} eq $cell->{verifier} ? () : 'the verifier is not the one of before, byte by byte',
			moves($cell) == ($late ? 1 : 0) ? () : 'AWSCURRENT was moved ' . moves($cell) . ' times',
			$late || last_error($cell) eq '42704' ? () : 'it is not reported: ' . last_error($cell));
	});
$m->bring(@anew);
foreach my $cell (@anew)
{
	my $text = $emulator->text($cell->{secret}, 'AWSCURRENT');
	$m->aws('delete_secret', SecretId => $cell->{secret}, ForceDeleteWithoutRecovery => JSON::PP::true);
	my $new = $m->aws('create_secret', Name => $cell->{secret}, SecretString => $text)->{ARN};
	die 'the new secret is the old one' if $new eq $cell->{arn};
}
$m->let_go(@anew);
$m->judge(seconds => 20, cells => \@anew);

$m->print_table;
$m->stop;
done_testing();
