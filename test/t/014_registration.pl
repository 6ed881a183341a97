# 014_registration.pl
#	  What may be registered, and what has become of it since: the secret in
#	  Secrets Manager, the role, another registration, who asks.

use strict;
use warnings;

use utf8;

use FindBin;
use JSON::PP ();
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $old = $t->add('app');
my $arn = $emulator->secret('prod/app')->{arn};
my %of_app = (role => 'app', secret => 'prod/app');

# By rotate_register, and by a rotate_now that would register first.
sub refused_both
{
	my ($name, $secret, $error, %options) = @_;

	$t->refused("SELECT rotate_register('$secret')", $error, "$name: rotate_register", %options, runs => 0);
	$t->refused("SELECT rotate_now('$secret')", $error, "$name: rotate_now, not registered", %options);
	return;
}

# No such secret.
my %not_found = (
	sqlstate => '42704',
	message => 'could not describe secret "prod/none": ResourceNotFoundException: '
	  . 'Secrets Manager can\'t find the specified secret.',
	hint => 'Check the secret\'s name or ARN, and the region, which is "eu-central-1".');
refused_both('no such secret', 'prod/none', \%not_found);
foreach my $name ('', 'a b', "x'y", 'prod/é', 'a' x 2049, 'a%s\\')
{
	foreach my $function ('rotate_register', 'rotate_now', 'rotate_abandon', 'rotate_unregister')
	{
		$t->error_is(
			"SELECT $function(" . RotateTest::literal($name) . ')',
			{
				sqlstate => '22023',
				message => 'invalid name of a secret',
				hint => 'Use the secret\'s name or its full ARN.'
			},
			"$function('" . substr($name, 0, 10) =~ s/[^ -~]/?/gr . "'): no name of a secret");
	}
}

# What the service says of the secret.
my @states = (
	[
		'scheduled for deletion',
		{ deleted => time + 7 * 86400 },
		'it is scheduled for deletion',
		'Cancel the deletion with RestoreSecret, or call rotate_unregister().'
	],
	[
		'owned by a service',
		{ owning_service => 'rds' },
		'it is managed by the AWS service "rds"',
		'Only that service may rotate it; keep this login in a secret of your own.'
	],
	[
		'a replica',
		{ primary_region => 'us-east-1' },
		'it is a replica of the secret in region "us-east-1"',
		'Register the secret of the primary region; its replicas follow.'
	]);
foreach my $state (@states)
{
	my ($name, $attributes, $problem, $hint) = @$state;
	$emulator->control('/secrets/update', secret => 'prod/app', attributes => $attributes);
	refused_both("a secret $name", 'prod/app',
		{ sqlstate => '55000', message => "could not register secret \"prod/app\": $problem", hint => $hint }, %of_app);
	$emulator->control('/secrets/update', secret => 'prod/app', attributes => { map { $_ => undef } keys %$attributes });
}

# The role.
$t->add('other');
$t->refused(
	"SELECT rotate_register('prod/app', 'other')",
	{
		sqlstate => '55000',
		message => 'could not register secret "prod/app": field "username" of its AWSCURRENT version does not name role "other"'
	},
	'a role that the secret does not name', %of_app, runs => 0);
$emulator->create_secret('prod/nobody', $t->secret_json('nobody', $old));
refused_both('a secret for a role that does not exist', 'prod/nobody',
	{ sqlstate => '42704', message => 'could not register secret "prod/nobody": the role that its AWSCURRENT version names does not exist' },
	secret => 'prod/nobody');
$t->refused(
	"SELECT rotate_register('prod/nobody', 'nobody')",
	{ sqlstate => '42704', message => 'could not register secret "prod/nobody": role "nobody" does not exist' },
	'the same, named', secret => 'prod/nobody', runs => 0);

my $privileged_hint = 'Take the attribute away, or register with allow_privileged => true.';
my @attributes = qw(SUPERUSER CREATEROLE REPLICATION BYPASSRLS);
foreach my $attribute (@attributes)
{
	$t->sql("ALTER ROLE app $attribute");
	refused_both("a role with $attribute", 'prod/app',
		{
			sqlstate => '42501',
			message => "could not register secret \"prod/app\": role \"app\" has the attribute $attribute",
			detail => 'Whoever can write the secret would gain that privilege.',
			hint => $privileged_hint
		},
		%of_app);
	$t->sql("ALTER ROLE app NO$attribute");
}

# A rotation by somebody who may rotate, but not configure.
$t->sql('CREATE ROLE operator LOGIN; GRANT EXECUTE ON FUNCTION rotate_now, rotate_abandon TO operator');
my %not_registered = (
	sqlstate => '42704',
	message => 'secret "prod/app" is not registered',
	hint => 'Register it with rotate_register(\'prod/app\').');
foreach my $call ('rotate_now(\'prod/app\')', 'rotate_now(\'prod/app\', dry_run => true)', 'rotate_abandon(\'prod/app\')')
{
	$t->refused("SELECT $call", \%not_registered, "$call by an operator", %of_app, user => 'operator', runs => 0);
}
$t->refused("SELECT rotate_abandon('prod/app')", \%not_registered, 'rotate_abandon by a superuser', %of_app, runs => 0);
foreach my $call ('rotate_register(\'prod/app\')', 'rotate_unregister(\'prod/app\')', 'rotate_enable(\'prod/app\')')
{
	my ($function) = $call =~ /^(\w+)/;
	$t->error_is("SELECT $call", { sqlstate => '42501', message => "permission denied for function $function" },
		"$function by an operator", user => 'operator');
}

# By a superuser: registers first, and says so.
my ($status, $out, $err) = $t->psql("SELECT (rotate_now('prod/app')).outcome");
is($out, 'rotated', 'rotate_now by a superuser registers and rotates');
like($err, qr/^\S*: ?NOTICE: .*secret "prod\/app" was registered for role "app"$/m, 'and says so');
my $registration = $t->row('SELECT * FROM rotate_registration');
is_deeply(
	{ map { $_ => $registration->{$_} } qw(secret arn role_name host port password_length allow_privileged own_pending_only) },
	{
		secret => 'prod/app', arn => $arn, role_name => 'app', host => '127.0.0.1', port => $t->port,
		password_length => 32, allow_privileged => JSON::PP::false(), own_pending_only => JSON::PP::false()
	},
	'with the defaults');
is(($t->history('prod/app'))[-1]{role}, 'app', 'the run knows the role that was found on the way');
is($t->sql("SELECT outcome FROM rotate_now('prod/app')", user => 'operator'), 'rotated', 'now an operator may rotate it');
is(($t->history('prod/app'))[-1]{requested_by}, 'operator', 'and is named in rotate_history');

# Twice.
my %twice = (
	sqlstate => '42710',
	message => 'secret "prod/app" is already registered for role "app"',
	hint => 'Use rotate_unregister() first to register it anew.');
$t->refused("SELECT rotate_register('prod/app')", \%twice, 'a secret registered twice', %of_app, runs => 0);
$t->refused(
	"SELECT rotate_register('$arn')",
	{
		sqlstate => '42710',
		message => "secret \"$arn\" is already registered for role \"app\", as \"prod/app\"",
		hint => 'Name it as it is registered, or use rotate_unregister(\'prod/app\') first.'
	},
	'the same by its ARN', %of_app, runs => 0);
is($t->row("SELECT secret FROM rotate_now('$arn')")->{secret}, 'prod/app', 'but rotate_now takes the ARN for it');

$emulator->create_secret('prod/app2', $t->secret_json('app', $t->password('prod/app')));
refused_both('another secret for the same role', 'prod/app2',
	{
		sqlstate => '42710',
		message => 'role "app" is already registered for secret "prod/app"',
		detail => 'Two secrets that rotate one role would undo each other\'s password.',
		hint => 'Use rotate_unregister() on the other secret first.'
	},
	role => 'app', secret => 'prod/app2');

# Registered by its ARN, it is known by its name no more than that.
$t->sql("SELECT rotate_register('" . $emulator->secret('prod/other')->{arn} . "')");
$t->refused(
	"SELECT rotate_now('prod/other')",
	{ sqlstate => '42710', message => qr/\Asecret "prod\/other" is already registered for role "other", as "arn:/ },
	'a secret registered by its ARN, called by its name', role => 'other', secret => 'prod/other');

# ROLLBACK takes a registration back, and rotate_now goes with no transaction that has written.
$t->add('undone');
$t->sql("BEGIN; SELECT rotate_register('prod/undone'); ROLLBACK");
is($t->sql("SELECT count(*) FROM rotate_status WHERE role = 'undone'"), '0', 'ROLLBACK takes rotate_register back');
is($t->sql("SELECT rotate_register('prod/undone') IS NOT NULL; SELECT rotate_unregister('prod/undone')"), "t\n", 'and it may be repeated');
$t->refused("SELECT rotate_unregister('prod/undone')", { %not_registered, message => 'secret "prod/undone" is not registered',
	hint => 'Register it with rotate_register(\'prod/undone\').' }, 'unregistered twice', role => 'undone', secret => 'prod/undone', runs => 0);

# What has come of a registered secret.
foreach my $state (@states)
{
	my ($name, $attributes, $problem, $hint) = @$state;
	$emulator->control('/secrets/update', secret => 'prod/app', attributes => $attributes);
	foreach my $verb ('rotate', 'abandon')
	{
		my $function = $verb eq 'rotate' ? 'rotate_now' : 'rotate_abandon';
		$t->refused("SELECT $function('prod/app')",
			{ sqlstate => '55000', message => "could not $verb secret \"prod/app\": $problem", hint => $hint },
			"a registered secret $name: $function", %of_app);
	}
	$emulator->control('/secrets/update', secret => 'prod/app', attributes => { map { $_ => undef } keys %$attributes });
}

# Of its role.
foreach my $attribute (@attributes)
{
	$t->sql("ALTER ROLE app $attribute");
	$t->refused(
		"SELECT rotate_now('prod/app')",
		{
			sqlstate => '42501',
			message => "could not rotate secret \"prod/app\": role \"app\" has the attribute $attribute",
			detail => 'Whoever can write the secret would gain that privilege.',
			hint => $privileged_hint
		},
		"$attribute gained after the registration", %of_app);
	$t->sql("SELECT rotate_unregister('prod/app')");
	$t->sql("SELECT rotate_register('prod/app', allow_privileged => true)");
	is($t->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'rotated', "a role with $attribute, allowed");
	$t->sql("ALTER ROLE app NO$attribute");
	$t->sql("SELECT rotate_unregister('prod/app')");
	$t->sql("SELECT rotate_register('prod/app')");
}

my $again = 'then call rotate_unregister() and rotate_register() again.';
$t->sql('ALTER ROLE app RENAME TO application');
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '55000',
		message => 'could not rotate secret "prod/app": role "app" is now called "application"',
		hint => "Put the new name into the secret, $again"
	},
	'a role renamed after the registration', role => 'application', secret => 'prod/app');
$t->create_role('app', $t->password('prod/app'));
$t->refused(
	"SELECT rotate_now('prod/app')",
	{ sqlstate => '55000', message => 'could not rotate secret "prod/app": role "app" is now called "application"' },
	'and another role given its name', role => 'app', secret => 'prod/app');
$t->sql('DROP ROLE application');
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '55000',
		message => 'could not rotate secret "prod/app": role "app" is not the one that was registered',
		detail => 'That one was dropped, and another role has its name.',
		hint => 'If the secret is for this role too, call rotate_unregister() and rotate_register() again.'
	},
	'a role made anew under the name', %of_app);
$t->sql('DROP ROLE app');
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '42704',
		message => 'could not rotate secret "prod/app": role "app" does not exist',
		hint => 'Create the role and call rotate_unregister() and rotate_register() again.'
	},
	'a role dropped after the registration', secret => 'prod/app');
$t->create_role('app', $t->password('prod/app'));
$t->sql("SELECT rotate_unregister('prod/app')");
$t->sql("SELECT rotate_register('prod/app')");
is($t->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'registered again, as the hints say, it rotates');

# The secret deleted, and made anew under its name: another ARN, another secret.
my $value = $emulator->text('prod/app', 'AWSCURRENT');
$emulator->control('/secrets/delete', secret => 'prod/app');
my %gone = (
	sqlstate => '42704',
	message => 'could not describe secret "prod/app": ResourceNotFoundException: Secrets Manager can\'t find the specified secret.');
$t->refused("SELECT rotate_now('prod/app')", \%gone, 'a registered secret that is gone', role => 'app');
$emulator->create_secret('prod/app', $value, arn_suffix => 'ZZZZZZ');
$t->refused("SELECT rotate_now('prod/app')", \%gone, 'and made anew under its name', %of_app);

# After rotate_unregister, once more from the start.
$t->sql("SELECT rotate_unregister('prod/app')");
$t->refused("SELECT rotate_now('prod/app')", \%not_registered, 'unregistered: an operator is refused', %of_app, user => 'operator', runs => 0);
($status, $out, $err) = $t->psql("SELECT (rotate_now('prod/app')).outcome");
is($out, 'rotated', 'a superuser registers it anew');
like($err, qr/NOTICE: .*secret "prod\/app" was registered for role "app"/, 'and is told so');
unlike(($t->psql("SELECT (rotate_now('prod/app')).outcome"))[2], qr/NOTICE/, 'once');

$t->stop;
done_testing();
