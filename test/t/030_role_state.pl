# 030_role_state.pl
#	  A role that may not log in now: NOLOGIN, expired, at a limit of
#	  connections, or with a password that is not the secret's.  And names of
#	  roles that need quoting.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use Test::More;

my $t = RotateTest->new(conf => "max_connections = 8\nsuperuser_reserved_connections = 5\n");
my $rotate = "SELECT rotate_now('prod/app')";
my @app = (role => 'app', secret => 'prod/app');

$t->add('app');
$t->sql("SELECT rotate_register('prod/app', 'app')");
$t->set('rotate_ext.login_timeout' => '1s');

my $port = $t->port;

sub refused_role
{
	my ($why, $hint, $name) = @_;
	return $t->refused($rotate, { sqlstate => '55000', message => "could not rotate secret \"prod/app\": $why",
			detail => '', hint => $hint }, $name, @app);
}

# May it log in at all?
$t->sql('ALTER ROLE app NOLOGIN');
refused_role('role "app" is not permitted to log in', 'Use ALTER ROLE ... LOGIN.', 'a role without LOGIN');
$t->sql('ALTER ROLE app LOGIN');
still_rotates($t, 'app', 'with LOGIN it rotates');

foreach my $past ("'2020-01-01'", "'-infinity'")
{
	$t->sql("ALTER ROLE app VALID UNTIL $past");
	refused_role('the password of role "app" has expired', 'Use ALTER ROLE ... VALID UNTIL.', "VALID UNTIL $past");
}
foreach my $future ("'infinity'", "'" . (2 + (gmtime)[5] + 1900) . "-01-01'")
{
	$t->sql("ALTER ROLE app VALID UNTIL $future");
	still_rotates($t, 'app', "VALID UNTIL $future rotates");
}
$t->sql("ALTER ROLE app VALID UNTIL 'infinity'");

refused_midway($t,
	{
		sqlstate => '55000',
		message => 'could not rotate secret "prod/app": the password of role "app" has expired',
		hint => 'Use ALTER ROLE ... VALID UNTIL.'
	},
	'a password that expires half way',
	change => sub { $t->sql("ALTER ROLE app VALID UNTIL '2020-01-01'") });
$t->sql("ALTER ROLE app VALID UNTIL 'infinity'");
still_rotates($t, 'app', 'valid again, it rotates');

refused_midway($t,
	{
		sqlstate => '55000',
		message => 'could not rotate secret "prod/app": role "app" is not permitted to log in',
		hint => 'Use ALTER ROLE ... LOGIN.'
	},
	'LOGIN that is taken away half way',
	change => sub { $t->sql('ALTER ROLE app NOLOGIN') });
$t->sql('ALTER ROLE app LOGIN');
still_rotates($t, 'app', 'given back, it rotates');

# Limits of connections.
my $too_many = login_error('too_many', 'app',
	detail => "At host \"127.0.0.1\", port $port: too many connections for role \"app\"");

$t->sql('ALTER ROLE app CONNECTION LIMIT 0');
$t->refused($rotate, $too_many, 'CONNECTION LIMIT 0', @app);
$t->sql('ALTER ROLE app CONNECTION LIMIT -1');

refused_midway($t, { %$too_many, %{ login_error('too_many', 'app', label => 'AWSPENDING') } },
	'a connection limit that is set half way',
	change => sub { $t->sql('ALTER ROLE app CONNECTION LIMIT 0') });

# Each by itself: a session of the test's own could have the last slot just then.
sub sessions
{
	my ($count, $user) = @_;
	my @sessions;

	while (@sessions < $count)
	{
		my $session = $t->start_sql('SELECT pg_sleep(600)', user => $user);
		my $wanted = @sessions + 1;

		while ($session->running)
		{
			my $now = $t->sql("SELECT count(*) FROM pg_stat_activity WHERE usename = '$user' AND query LIKE '%sleep%'");
			next if $now < $wanted;
			push @sessions, $session;
			last;
		}
	}
	return @sessions;
}

sub end_sessions
{
	my ($user, @sessions) = @_;
	$t->sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '$user'");
	$_->finish foreach @sessions;
	return;
}

$t->sql('ALTER ROLE app CONNECTION LIMIT 1');
my @held = sessions(1, 'app');
$t->refused($rotate, $too_many, 'its connections used up by sessions', @app);

$t->set('rotate_ext.login_timeout' => '60s');
my $log = -s $t->node->logfile;
my $call = $t->start_sql('SELECT outcome FROM rotate_now(\'prod/app\')');
$t->node->wait_for_log(qr/too many connections for role "app"/, $log);
end_sessions('app', @held);
is($call->finish->{stdout}, 'completed', 'a session that ends in time lets it go on');
ok($t->can_login('app', $t->password('prod/app')), 'and the password logs in');
$t->set('rotate_ext.login_timeout' => '1s');

$t->create_role('others', undef);
@held = sessions(3, 'others');
$t->refused($rotate, login_error('too_many', 'app', detail => qr/^At host "127\.0\.0\.1", port $port: .*connection/),
	'max_connections used up', @app);
end_sessions('others', @held);

$t->sql('ALTER DATABASE postgres CONNECTION LIMIT 0');
$t->refused($rotate,
	login_error('too_many', 'app',
		detail => "At host \"127.0.0.1\", port $port: too many connections for database \"postgres\""),
	'the database\'s connection limit', @app);
$t->sql('ALTER DATABASE postgres CONNECTION LIMIT -1');
$t->sql('ALTER ROLE app CONNECTION LIMIT -1');
still_rotates($t, 'app', 'with connections to have, it rotates');

# Whose password?
my $unknown = {
	sqlstate => '28P01',
	message => 'could not rotate secret "prod/app": the password of role "app" is not the one in the secret',
	detail => 'It is none of AWSCURRENT\'s, AWSPENDING\'s and AWSPREVIOUS\'s, and none that rotate_ext set.',
	hint => 'Someone changed it by hand: put the role\'s password into the secret, or set the role\'s password '
	  . 'to AWSCURRENT\'s.'
};
$t->set_password('app', 'by hand and secret');
$t->refused($rotate, $unknown, 'a password that someone set by hand', @app);
ok($t->can_login('app', 'by hand and secret'), 'which stays the role\'s');
$t->sql('ALTER ROLE app PASSWORD NULL');
$t->refused($rotate, $unknown, 'a role without a password', @app);
$t->set_password('app', $t->password('prod/app'));
still_rotates($t, 'app', 'with AWSCURRENT\'s password it rotates');

# Names.
my $number = 0;
foreach my $name ('we"ird', 'it\'s', 'two words', ' blank at its ends ', 'back\\slash\\', 'per%cent %s %n', 'rôle été 漢字',
	'UPPER', 'a.b,c=d#e', "line\nbreak\ttab", 'x' x 63, 'é' x 31)
{
	my $secret = 'prod/name' . $number++;
	(my $shown = $name) =~ s/[^ -~]/?/g;

	$t->add($name, secret => $secret);
	still_rotates($t, $name, "role \"$shown\" rotates", secret => $secret);
	$t->sql('ALTER ROLE ' . RotateTest::identifier($name) . ' NOLOGIN');
	$t->refused(
		"SELECT rotate_now('$secret')",
		{
			sqlstate => '55000',
			message => "could not rotate secret \"$secret\": role \"$name\" is not permitted to log in"
		},
		'and is named in an error',
		role => $name, secret => $secret);
}

$t->stop;
done_testing();
