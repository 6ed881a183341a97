# Faults.pm
#	  Every fault at every call to Secrets Manager: what a rotation makes of it,
#	  what it leaves behind, and that the next one goes on from there.
#
#	run_faults($t, [\%fault, ...]);
#
# A fault is the emulator's rule (rule) and what is to come of it:
#
#	effect    the call is carried out before the fault: 'before' or 'after' it
#	outcome   'rotated': tried again, and it worked out
#	sqlstate, message, detail, hint
#	          of the error; texts, patterns, or subs that are given the call.
#	          message is what follows "could not do this: "
#	definite  the answer says that the call was not carried out
#	requests  how often the call is tried

package RotateTest::Faults;

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP ();
use RotateTest;
use Test::More;

our @EXPORT = qw(@CALLS run_faults fault_cell);
our @CALLS = qw(DescribeSecret GetSecretValue GetRandomPassword PutSecretValue UpdateSecretVersionStage);

my %what = (
	DescribeSecret => 'describe secret "prod/app"',
	GetSecretValue => 'get a value of secret "prod/app"',
	GetRandomPassword => 'get a random password',
	PutSecretValue => 'put a new value into secret "prod/app"',
	UpdateSecretVersionStage => 'move a staging label of secret "prod/app"');

my $again = 'Call rotate_now(\'prod/app\') again: it looks where the label is, and goes on from there.';

# run_faults(T, FAULTS, CALLS): each fault at each call.
sub run_faults
{
	my ($t, $faults, @calls) = @_;
	my ($tried, $passed) = (0, 0);

	@calls = @CALLS unless @calls;
	foreach my $fault (@$faults)
	{
		foreach my $call (@calls)
		{
			$tried++;
			$passed++ if fault_cell($t, $fault, $call);
		}
	}
	note "fault x call: $tried cells tried, $passed passed";
	return;
}

sub text_matches
{
	my ($got, $expected, $call, $name) = @_;

	$expected = $expected->($call) if ref $expected eq 'CODE';
	return ref $expected ? like($got, $expected, $name) : is($got, $expected, $name);
}

# Does the fault leave open whether AWSCURRENT was moved?
sub is_open
{
	my ($fault, $call) = @_;
	return $call eq 'UpdateSecretVersionStage' && !$fault->{definite};
}

sub check_error
{
	my ($t, $fault, $call, $error) = @_;
	my $message = $fault->{message};

	$message = $message->($call) if ref $message eq 'CODE';
	$message = ref $message ? qr/could not \Q$what{$call}\E: $message/ : "could not $what{$call}: $message";
	if (is_open($fault, $call))
	{
		my $pending = $t->labels('prod/app')->{AWSPENDING};
		my $detail = "Role \"app\" was left with the password of version $pending, to which the label may still move. "
		  . 'The run ended with: ';

		is($error->{sqlstate}, '08007', 'SQLSTATE says that the end is open');
		is($error->{message}, 'could not learn whether AWSCURRENT of secret "prod/app" was moved', 'message');
		text_matches($error->{detail}, ref $message ? qr/^\Q$detail\E$message$/ : $detail . $message, $call, 'detail');
		is($error->{hint}, $again, 'hint');
		return;
	}
	is($error->{sqlstate}, $fault->{sqlstate}, 'SQLSTATE');
	text_matches($error->{message}, ref $message ? qr/^$message$/ : $message, $call, 'message');
	text_matches($error->{detail}, exists $fault->{detail} ? $fault->{detail} : '', $call, 'detail');
	text_matches($error->{hint}, $fault->{hint}, $call, 'hint');
	return;
}

sub check_history
{
	my ($t, $error, $runs_before) = @_;
	my @history = $t->history('prod/app');
	my $row = $history[-1];

	is(scalar(@history), $runs_before + 1, 'the run has a row in rotate_history');
	is_deeply(
		[ @{$row}{qw(outcome sqlstate error hint)} ],
		[ 'failed', $error->{sqlstate}, $error->{message} . ($error->{detail} ne '' ? "\nDETAIL:  $error->{detail}" : ''),
			$error->{hint} ],
		'with the same error');
	return;
}

# The secret's labels and old values, and the role: only what took effect has changed.
sub check_state
{
	my ($t, $fault, $call, $before, $error) = @_;
	my $secret = $t->emulator->secret('prod/app');
	my $created = $call eq 'UpdateSecretVersionStage' || ($call eq 'PutSecretValue' && $fault->{effect} eq 'after');
	my %texts = $t->emulator->texts('prod/app');
	my @passwords = map { JSON::PP->new->decode($_)->{password} } values %texts;
	my %labels = %{ $secret->{labels} };

	if ($created)
	{
		isnt($labels{AWSPENDING}, $before->{labels}{AWSPENDING}, 'the new version carries AWSPENDING');
		$labels{AWSPENDING} = $before->{labels}{AWSPENDING};
	}
	is_deeply(\%labels, $before->{labels}, 'the labels are as they were, but for what took effect');
	is_deeply([ map { $secret->{versions}{$_}{string} } sort keys %{ $before->{versions} } ],
		[ map { $before->{versions}{$_}{string} } sort keys %{ $before->{versions} } ], 'the values are, too');
	if (is_open($fault, $call))
	{
		ok($t->can_login('app', $t->password('prod/app', 'AWSPENDING')), 'the role has the password that the label may get');
	}
	else
	{
		is($t->verifier_of('app'), $before->{verifier}, 'the role has its old verifier');
		ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
	}
	is(scalar(grep { index(join("\n", @{$error}{qw(message detail hint)}), $_) >= 0 } @passwords), 0,
		'no password is told');
	return $created;
}

# fault_cell(T, FAULT, CALL): one rotation with the fault, one without.
sub fault_cell
{
	my ($t, $fault, $call) = @_;
	my $emulator = $t->emulator;

	return subtest "$call: $fault->{name}" => sub {
		my $before = $emulator->secret('prod/app');
		my $runs = () = $t->history('prod/app');
		my $outcome = $fault->{outcome};

		$before->{verifier} = $t->verifier_of('app');
		$emulator->clear_log;
		$fault->{begin} ? $fault->{begin}->($call) : $emulator->fault(%{ $fault->{rule} }, operation => $call);
		my ($status, $out, $err) = $t->psql('SELECT outcome FROM rotate_now(\'prod/app\')');
		my $requests = $emulator->log->{operations}{$call} || 0;
		$emulator->clear_faults;
		$fault->{end}->($call) if $fault->{end};

		# what AWS has done, and the rotation sees, is done
		$outcome = 'rotated' if $call eq 'UpdateSecretVersionStage' && $fault->{effect} eq 'after';
		is($requests, $fault->{requests}, "tried $fault->{requests} times")
		  if $call ne 'UpdateSecretVersionStage' || $fault->{definite} || $fault->{outcome};
		if (defined $outcome)
		{
			is($out, $outcome, 'the rotation succeeds') or diag($err);
			my @history = $t->history('prod/app');
			is($history[-1]{outcome}, $outcome, 'and rotate_history says so');
			ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
		}
		elsif (ok($status, 'the rotation fails'))
		{
			my $error = RotateTest::parse_error($err);

			check_error($t, $fault, $call, $error);
			check_history($t, $error, $runs);
			$outcome = check_state($t, $fault, $call, $before, $error) ? 'completed' : 'rotated';
			my $old = $t->password('prod/app');
			is($t->sql('SELECT outcome FROM rotate_now(\'prod/app\')'), $outcome, 'with the fault gone, it succeeds');
			isnt($t->password('prod/app'), $old, 'with another password');
			ok($t->can_login('app', $t->password('prod/app')), 'which logs in');
			ok(!$t->can_login('app', $old), 'and the old one does not');
		}
		# or the secret would have more versions than AWS allows
		$emulator->control('/versions/prune', secret => 'prod/app');
	};
}

1;
