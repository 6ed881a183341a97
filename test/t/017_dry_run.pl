# 017_dry_run.pl
#	  rotate_now(dry_run => true) shows the facts and what would be done next,
#	  and changes nothing: it only reads, in Secrets Manager and here.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my %of_app = (role => 'app', secret => 'prod/app');
my $old = $t->add('app');
my $tables = q{SELECT md5(coalesce((SELECT json_agg(x ORDER BY secret)::text FROM rotate_registration x), '')
	|| coalesce((SELECT json_agg(y ORDER BY run_id)::text FROM rotate_run y), ''))};

# shows(NAME, outcome, facts, more arguments): what a dry run shows; and that all is as it was.
sub shows
{
	my ($name, $outcome, $facts, $arguments) = @_;
	my $before = join "\n", $t->unchanged('app', 'prod/app'), $t->sql($tables);
	my $log = $emulator->log;
	my $since = @{ $log->{entries} } ? $log->{entries}[-1]{seq} : 0;
	my $row = $t->row("SELECT * FROM rotate_now('prod/app', dry_run => true" . ($arguments || '') . ')');

	subtest $name => sub {
		is($row->{outcome}, $outcome, 'the next action');
		is_deeply($row->{detail}, $facts, 'the facts');
		is_deeply([ @{$row}{qw(secret role version_id lockout)} ], [ 'prod/app', 'app', undef, undef ], 'the rest of the row');
		is(join("\n", $t->unchanged('app', 'prod/app'), $t->sql($tables)), $before, 'role, secret and the extension\'s tables are as before');
		my @others = grep { $_ !~ /^(DescribeSecret|GetSecretValue)$/ } keys %{ $emulator->log(since => $since)->{operations} };
		is_deeply(\@others, [], 'requests only read');
	};
	return;
}

my $fact = sub { my ($current, $pending, $role, %more) = @_;
	return { AWSCURRENT => $current, AWSPENDING => $pending, 'password of the role' => $role,
		standbys => 'none is more than 16 MB behind', %more }; };

shows('not registered: shows what would come after', 'would PROVE_LOGIN(AWSCURRENT)', $fact->('usable', 'no version', 'AWSCURRENT'));
is($t->sql('SELECT count(*) FROM rotate_registration'), '0', 'and it is still not registered');

$t->sql("SELECT rotate_register('prod/app')");
shows('nothing pending', 'would PROVE_LOGIN(AWSCURRENT)', $fact->('usable', 'no version', 'AWSCURRENT'));

$t->sql("SELECT rotate_now('prod/app')");
shows('a finished rotation', 'would PROVE_LOGIN(AWSCURRENT)', $fact->('usable', 'on AWSCURRENT\'s version', 'AWSCURRENT'));

my $previous = $t->password('prod/app', 'AWSPREVIOUS');
my $current = $t->password('prod/app');
my $next = RotateTest::random_password();
my $pending = $emulator->add_version('prod/app', $t->secret_json('app', $next), 'AWSPENDING');
shows('a usable pending version', 'would PROVE_LOGIN(AWSCURRENT)', $fact->('usable', 'usable', 'AWSCURRENT'));

$t->set_password('app', $next);
shows('the role has its password', 'would PROVE_LOGIN(AWSPENDING)', $fact->('usable', 'usable', 'AWSPENDING'));

$t->set_password('app', $previous);
shows('the role has AWSPREVIOUS\'s password', 'would PROVE_LOGIN(AWSPREVIOUS)', $fact->('usable', 'usable', 'AWSPREVIOUS'));

$t->set_password('app', RotateTest::random_password());
shows('nobody knows the role\'s password', 'would refuse: password unknown', $fact->('usable', 'usable', 'unknown'));

$t->set_password('app', $current);
$emulator->add_version('prod/app', $t->secret_json('app', $next, username => 'postgres'), 'AWSPENDING');
shows('a pending version that names another role', 'would refuse: AWSPENDING unusable',
	$fact->('usable', 'unusable', 'AWSCURRENT', 'problem of AWSPENDING' => 'field "username" does not name the registered role "app"'));

$emulator->add_version('prod/app', $t->secret_json('app', $current), 'AWSPENDING');
shows('a pending version with AWSCURRENT\'s password', 'would refuse: AWSPENDING has AWSCURRENT\'s password',
	$fact->('usable', 'usable', 'AWSCURRENT'));

$emulator->control('/service-pending', secret => 'prod/app');
shows('an empty pending version', 'would refuse: AWSPENDING empty', $fact->('usable', 'without value', 'AWSCURRENT'));
shows('an empty pending version, with force', 'would PROVE_LOGIN(AWSCURRENT)',
	$fact->('usable', 'without value', 'AWSCURRENT'), ', force => true');

my $good = $t->labels('prod/app')->{AWSCURRENT};
$emulator->add_version('prod/app', "not $next", 'AWSCURRENT');
shows('AWSCURRENT is not JSON', 'would refuse: AWSCURRENT unusable',
	$fact->('unusable', 'without value', 'unknown', 'problem of AWSCURRENT' => 'it is not valid JSON (line 1, column 3)')) ;
$emulator->control('/labels', secret => 'prod/app', labels => { AWSCURRENT => $good, AWSPENDING => undef });

# What can't even be observed is an error, as of a rotation, and nothing is recorded.
$t->sql('ALTER ROLE app CREATEROLE');
$t->refused(
	"SELECT rotate_now('prod/app', dry_run => true)",
	{ sqlstate => '42501', message => 'could not rotate secret "prod/app": role "app" has the attribute CREATEROLE' },
	'a privileged role: an error, not recorded', %of_app, runs => 0);
$t->sql('ALTER ROLE app NOCREATEROLE');
$emulator->fault(action => 'access_denied', operation => 'DescribeSecret');
$t->refused(
	"SELECT rotate_now('prod/app', dry_run => true)",
	{ sqlstate => '42501', message => qr/\Acould not describe secret "prod\/app": AccessDeniedException: / },
	'a denied request: an error, not recorded', %of_app, runs => 0);
$t->sql("SELECT rotate_unregister('prod/app')");
$t->sql('ALTER ROLE app SUPERUSER');
$t->refused(
	"SELECT rotate_now('prod/app', dry_run => true)",
	{ sqlstate => '42501', message => 'could not register secret "prod/app": role "app" has the attribute SUPERUSER' },
	'not registered, a privileged role: an error, not recorded', %of_app, runs => 0);
$t->sql('ALTER ROLE app NOSUPERUSER');

# An interrupted run stays interrupted; the next real one says so of it.
$t->sql("SELECT rotate_register('prod/app')");
my $fault = $emulator->fault(action => 'hang', operation => 'PutSecretValue');
my $call = $t->start_sql("SELECT rotate_now('prod/app')");
ok($emulator->wait_for_fault($fault), 'a rotation is under way');
$t->node->stop('immediate');
$call->finish;
$emulator->clear_faults;
$t->start;
shows('after an interrupted run', 'would PROVE_LOGIN(AWSCURRENT)', $fact->('usable', 'no version', 'AWSCURRENT'));
is(($t->history('prod/app'))[-1]{outcome}, undef, 'the interrupted run is not touched');

$t->stop;
done_testing();
