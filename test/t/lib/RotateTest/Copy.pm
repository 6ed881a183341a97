# Copy.pm
#	  Servers that are copies of another one, and everything that can be asked
#	  of them to make them rotate the other one's secrets.
#
#	prepare_attack($t);                           # before the copy is made
#	my $copy = make_copy($t, $node);              # the same settings, other AWS keys
#	$copy->start;
#	launcher_looked($copy, @secrets);
#	only_refused('a copy', answers(attack($copy, @secrets)));
#	is_deeply([ writes($copy) ], [], 'nothing was written');
#
# A copy has AWS keys of its own, so that the emulator's log tells its requests
# from the original's.

package RotateTest::Copy;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP ();
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(make_copy requests writes prepare_attack attack answers only_refused launcher_looked);

my %reads = map { $_ => 1 } qw(DescribeSecret GetSecretValue GetRandomPassword);
my $json = JSON::PP->new->canonical;
my $keys = 0;

# make_copy(T, NODE): the node as an object like T, for the same emulator.
sub make_copy
{
	my ($t, $node) = @_;
	my %key = (
		access_key_id => sprintf('AKIACOPYOFSERVER%04d', ++$keys),
		secret_access_key => RotateTest::random_password());

	$t->emulator->control('/keys', %key);
	return bless {
		%$t,
		node => $node,
		key => $key{access_key_id},
		env => {
			%{ $t->{env} },
			AWS_ACCESS_KEY_ID => $key{access_key_id},
			AWS_SECRET_ACCESS_KEY => $key{secret_access_key}
		}
	}, ref $t;
}

# requests(COPY): the log's entries of the copy's requests.
sub requests
{
	my $copy = shift;
	return grep { $_->{access_key_id} eq $copy->{key} } @{ $copy->emulator->log->{entries} };
}

# writes(COPY): those that are not plain reading, as text.
sub writes
{
	my $copy = shift;
	return map { "$_->{operation} " . $json->encode($_->{parameters}) } grep { !$reads{ $_->{operation} } } requests($copy);
}

# prepare_attack(T): what attack() calls, and the passwords that roles have now.
sub prepare_attack
{
	my $t = shift;

	$t->sql(<<'END');
CREATE OR REPLACE FUNCTION attack(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	hint text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' ', SQLSTATE, SQLERRM, '(' || NULLIF(hint, '') || ')');
END $$;
CREATE TABLE IF NOT EXISTS verifiers (role text, verifier text);
TRUNCATE verifiers;
INSERT INTO verifiers SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL
END
	return;
}

# What there is to ask for, of a secret with these labels.
sub _calls
{
	my ($secret, $state) = @_;
	my $name = RotateTest::literal($secret);
	my %labels = %{ $state->{labels} };
	my @tokens = grep { defined } @labels{qw(AWSCURRENT AWSPENDING)};
	my %calls = (
		rotate_now => "SELECT outcome FROM rotate_now($name)",
		'rotate_now with force' => "SELECT outcome FROM rotate_now($name, force => true)",
		rotate_abandon => "SELECT outcome FROM rotate_abandon($name)",
		rotate_rollback => "SELECT outcome FROM rotate_rollback($name)");

	foreach my $step (qw(createSecret setSecret testSecret finishSecret))
	{
		my %event = (Step => $step, SecretId => $state->{arn});
		foreach my $label (grep { defined $labels{$_} } qw(AWSCURRENT AWSPENDING))
		{
			$event{ClientRequestToken} = $labels{$label};
			$calls{"$step of $label"} =
			  "SELECT rotate_event('" . $json->encode(\%event) . "')->>'outcome'";
		}
	}
	return %calls;
}

=pod

attack(COPY, SECRET, ...): everything that can be asked for, of every secret;
before each call the roles have the passwords that they had at prepare_attack(),
since a call may well change the copy's own role.  It runs while the test goes
on; answers() gives {secret, call, answer}, ...: an outcome, or SQLSTATE,
message and hint.

=cut

sub attack
{
	my ($copy, @secrets) = @_;
	my $sql = '';
	my %calls;

	foreach my $secret (@secrets)
	{
		my %of_secret = _calls($secret, $copy->emulator->secret($secret));
		$calls{$_}{$secret} = $of_secret{$_} foreach keys %of_secret;
	}
	foreach my $call (sort keys %calls)
	{
		my $values = join ', ', map { '(' . join(', ', map { RotateTest::literal($_) } $_, $calls{$call}{$_}) . ')' }
		  sort keys %{ $calls{$call} };
		$sql .= 'DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM verifiers LOOP '
		  . "EXECUTE format('ALTER ROLE %I PASSWORD %L', r.role, r.verifier); END LOOP; END \$\$;\n"
		  . 'SELECT json_build_object(\'secret\', secret, \'call\', ' . RotateTest::literal($call)
		  . ", 'answer', attack(statement)) FROM (VALUES $values) AS v (secret, statement);\n";
	}
	return $copy->start_sql($sql);
}

sub answers
{
	my $result = $_[0]->finish;

	die "could not attack: $result->{stderr}" if $result->{status} != 0;
	return map { $json->decode($_) } split /\n/, $result->{stdout};
}

# launcher_looked(COPY, SECRET, ...): until the launcher has looked at each of
# these secrets, nothing is under way, and nothing is due any more.
sub launcher_looked
{
	my ($copy, @secrets) = @_;
	my $emulator = $copy->emulator;
	my %wanted = map { $emulator->secret($_)->{arn} => 1 } @secrets;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (%wanted)
	{
		delete $wanted{ $_->{parameters}{SecretId} // '' } foreach requests($copy);
		die 'the launcher does not look at ' . join ', ', keys %wanted if time() > $until;
		sleep 0.1;
	}
	return $copy->wait_for("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker') "
		  . 'AND NOT EXISTS (SELECT FROM rotate_run WHERE finished_at IS NULL) '
		  . 'AND NOT EXISTS (SELECT FROM rotate_status WHERE next_due < now() + interval \'10 s\')');
}

# only_refused(NAME, ANSWER...): each was an error that says why, or there was
# nothing to do.
sub only_refused
{
	my ($name, @answers) = @_;
	my $known = join '|',
	  '55000 could not prove the login of role ".*" with AWS(CURRENT|PENDING|PREVIOUS): .* \(.+\)',
	  '28P01 could not prove the login of role ".*" with AWS(CURRENT|PENDING|PREVIOUS): the password was rejected \(.+\)',
	  '28P01 could not (rotate|roll back) secret ".*": the password of role ".*" is not the one in the secret \(.+\)',
	  '55000 could not roll back secret ".*": role ".*" has the password of its AWSPENDING version \(.+\)',
	  '55006 could not rotate secret ".*": a rotation that Secrets Manager started is under way \(.+\)',
	  '55000 could not abandon the pending version of secret ".*": .*',
	  '55000 could not roll back secret ".*": there is nothing to go back to \(.+\)',
	  '55006 could not roll back secret ".*": a rotation that Secrets Manager started is under way \(.+\)',
	  '55000 could not test secret ".*": .*',
	  '55000 secret ".*" was registered (in another cluster|on another machine) and is off (in|on) this one \(.+\)',
	  'F0000 .*instance_file.*',
	  'unchanged';
	my (%seen, @wrong);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	foreach my $answer (@answers)
	{
		$seen{ $answer->{answer} =~ s/ ?".*?"| \(.*//gr }++;
		push @wrong, "$answer->{call} of $answer->{secret}: $answer->{answer}" if $answer->{answer} !~ /^($known)$/s;
	}
	note("$name:");
	note(sprintf '%4d %s', $seen{$_}, $_) foreach sort keys %seen;
	return is_deeply(\@wrong, [], "$name: all of " . scalar(@answers) . ' calls are refused, or find nothing to do');
}

1;
