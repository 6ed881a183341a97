# 079_renewal.pl
#	  Credentials that come to their end in the middle of a rotation: they are
#	  renewed ahead; where that fails, those at hand are used as long as they
#	  hold, and those of a metadata service even longer.
#
# Seven rotations, each with credentials of its own, wait at PutSecretValue (one at
# its label's move) at the same time until it is their turn to renew them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Agents;
use RotateTest::Emulator;
use Test::More;
use Time::HiRes qw(sleep);

my $emulator = RotateTest::Emulator->new(region => $RotateTest::REGION);
my $agents = RotateTest::Agents->new($emulator);
my $dir = PostgreSQL::Test::Utils::tempdir('renewal');
my $json = JSON::PP->new->canonical;
my $t = RotateTest->new(
	emulator => $emulator,
	conf => "rotate_ext.request_timeout = '60s'\nrotate_ext.max_attempts = 1",
	env => {
		AWS_ACCESS_KEY_ID => undef,
		AWS_SECRET_ACCESS_KEY => undef,
		AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials",
		AWS_CONFIG_FILE => "$dir/config",
		AWS_CONTAINER_CREDENTIALS_FULL_URI => $agents->url . '/creds'
	});

# seconds: that they say to hold; fails: the second time; next: the key of the second time; really: as AWS sees it
my @cases = (
	{ name => 'nine_minutes', seconds => 540, next => 'ASIARENEWALNEXT00001' },
	{ name => 'nine_minutes_failing', seconds => 540, fails => 1 },
	{ name => 'eight_seconds_failing', seconds => 8, fails => 1 },
	{ name => 'fourteen_minutes', seconds => 840, next => 'ASIARENEWALNEXT00004' },
	{ name => 'revoked', seconds => 6 * 3600, really => 8, next => 'ASIARENEWALNEXT00005' },
	{ name => 'container', seconds => 8, fails => 1 },
	{ name => 'locked_out', seconds => 540, slow => 1 });

sub write_file
{
	my ($path, $text) = @_;
	open my $out, '>', "$path.new" or die "$path: $!";
	print $out $text;
	close $out;
	chmod 0700, "$path.new";
	rename "$path.new", $path or die $!;
	return;
}

write_file("$dir/give", <<"END");
#!/bin/sh
test ! -e $dir/\$1.slow || sleep 8
echo >>$dir/\$1.calls
exec cat $dir/\$1.json
END
write_file("$dir/config", join '', map { "[profile $_->{name}]\ncredential_process = $dir/give $_->{name}\n" } @cases);

sub key
{
	my ($id, %options) = @_;
	return $agents->credentials($id, token_key => 'SessionToken', %options);
}

my $number = 0;
foreach my $case (@cases)
{
	my $name = $case->{name};
	my $secret = "prod/$name";

	$case->{password} = $t->add($name);
	$case->{verifier} = $t->verifier_of($name);
	$case->{key} = sprintf 'ASIARENEWAL%09d', ++$number;
	my $answer = key($case->{key}, expires_in => $case->{seconds}, really_expires_in => $case->{really} // 3600);
	write_file("$dir/$name.json", $json->encode({ %$answer, Version => 1 }));
	$agents->set(container => (answer => { %$answer, Token => $answer->{SessionToken} })) if $name eq 'container';
	$t->set('rotate_ext.profile' => $name eq 'container' ? '' : $name);
	# the move that is not answered leaves the role locked out
	$case->{fault} = $emulator->fault($case->{slow} ? (action => 'hang', operation => 'UpdateSecretVersionStage')
		: (action => 'pause', operation => 'PutSecretValue'), access_key_id => $case->{key});
	$case->{call} = $t->start_sql("SELECT outcome FROM rotate_now('$secret')");
	$emulator->wait_for_fault($case->{fault}) or die "$name: it did not come there";
}

# What they get from now on.
$agents->requests;
$agents->set(container => (fault => { kind => 'status', status => 500 }));
foreach my $case (@cases)
{
	unlink "$dir/$case->{name}.json" if $case->{fails};
	write_file("$dir/$case->{name}.slow", '') if $case->{slow};
	write_file("$dir/$case->{name}.json", $json->encode({ %{ key($case->{next}) }, Version => 1 })) if $case->{next};
}
$emulator->clear_log;
sleep 11;
$emulator->release($_->{fault}) foreach @cases;
$_->{result} = $_->{call}->finish foreach @cases;

# The keys of the requests for a secret since then, in their order, each once.
sub keys_of
{
	my $case = shift;
	my $arn = $emulator->secret("prod/$case->{name}")->{arn};
	my %seen;
	return grep { !$seen{$_}++ }
	  map { $_->{access_key_id} } grep { ($_->{parameters}{SecretId} // '') eq $arn } @{ $emulator->log->{entries} };
}

sub calls
{
	my $case = shift;
	return scalar split /\n/, PostgreSQL::Test::Utils::slurp_file("$dir/$case->{name}.calls"), -1;
}

my %expected = (
	nine_minutes => [ 'rotated', 2, 'the new ones' ],
	nine_minutes_failing => [ 'rotated', 2, 'those at hand' ],
	fourteen_minutes => [ 'rotated', 1, 'those at hand, and is not in a hurry for others' ],
	revoked => [ 'rotated', 2, 'the new ones, as soon as AWS says that the old have expired' ],
	container => [ 'rotated', undef, 'the expired ones of the metadata service' ]);
foreach my $case (@cases)
{
	my $name = $case->{name};
	my ($outcome, $calls, $what) = @{ $expected{$name} // next };
	$agents->cell(
		'renewal', $name,
		sub {
			is($case->{result}{stdout}, $outcome, "goes on with $what") or diag($case->{result}{stderr});
			my @keys = keys_of($case);
			is(pop @keys, $calls && $calls == 2 && $case->{next} ? $case->{next} : $case->{key}, 'that is the key of the end');
			is(calls($case) - 1, $calls, 'and they were asked for so often') if defined $calls;
			ok($t->can_login($name, $t->password("prod/$name")), 'AWSCURRENT logs in');
		});
}
$agents->cell(
	'renewal',
	'eight_seconds_failing',
	sub {
		my ($case) = grep { $_->{name} eq 'eight_seconds_failing' } @cases;
		my $error = $case->{result}{error} || {};
		is("$error->{sqlstate}: $error->{message}",
			'28000: could not get AWS credentials from the credential_process of profile "eight_seconds_failing"',
			'no credentials, no rotation');
		is($t->verifier_of($case->{name}), $case->{verifier}, 'the role has its password');
		ok($t->can_login($case->{name}, $case->{password}), 'with which it logs in');
	});

$agents->cell(
	'renewal',
	'locked_out',
	sub {
		my ($case) = grep { $_->{slow} } @cases;
		is($case->{result}{stdout}, 'rotated', 'the move is sent again') or diag($case->{result}{stderr});
		my $lockout = $t->sql('SELECT extract(epoch FROM lockout) FROM rotate_history WHERE secret = \'prod/locked_out\'');
		cmp_ok($lockout, '>', 10, "the role was locked out for $lockout s");
		cmp_ok($lockout, '<', 18, 'and not until there were new credentials');
		ok($t->can_login($case->{name}, $t->password('prod/locked_out')), 'AWSCURRENT logs in');
	});

my $log = $t->server_log;
like(
	$log,
	qr/LOG:  could not renew the AWS credentials of the credential_process of profile "nine_minutes_failing", and goes on with those at hand/,
	'the log says that renewing failed');
like($log, qr/LOG:  could not renew the AWS credentials of the container's credentials endpoint/, 'for the container, too');
is(scalar(grep { $_->{service} eq 'container' } $agents->requests), 1, 'which was asked once more, not before each request');
is(join(', ', $agents->told($log)), '', 'no secret is in the server\'s log');
$t->stop;
$agents->table;
done_testing();
