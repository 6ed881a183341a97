# 037_md5.pl
#	  Verifiers of md5: where pg_hba.conf takes them they rotate, and where it
#	  does not, the role keeps the verifier that logs in.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use Test::More;

my $t = RotateTest->new;
my $port = $t->port;
my @app = (role => 'app', secret => 'prod/app');
my $rejected = "At host \"127.0.0.1\", port $port: password authentication failed for user \"app\"";

sub hba { $t->set_hba(@_); $t->reload; return; }

$t->set('rotate_ext.login_timeout' => '5s');
$t->add('app');
$t->sql("SELECT rotate_register('prod/app', 'app')");

# The server would make an md5 verifier that pg_hba.conf does not take.
$t->set(password_encryption => 'md5');
my $before = $t->verifier_of('app');
my $current = $t->labels('prod/app')->{AWSCURRENT};
$t->error_is("SELECT rotate_now('prod/app')",
	login_error('rejected', 'app', label => 'AWSPENDING', detail => $rejected),
	'password_encryption = md5 where pg_hba.conf demands scram-sha-256');
is($t->verifier_of('app'), $before, 'the old verifier is back, to the byte');
is($t->labels('prod/app')->{AWSCURRENT}, $current, 'AWSCURRENT is where it was');
ok($t->can_login('app', $t->password('prod/app')), 'and logs in');
my ($run) = reverse $t->history('prod/app');
is_deeply(
	[ @{$run}{qw(outcome sqlstate error)} ],
	[ 'failed', '28P01', "could not prove the login of role \"app\" with AWSPENDING: the password was rejected\nDETAIL:  $rejected" ],
	'rotate_history has it');
ok(defined $run->{lockout}, 'and how long AWSCURRENT did not log in');
$t->error_is("SELECT rotate_now('prod/app')",
	login_error('rejected', 'app', label => 'AWSPENDING', detail => $rejected), 'once more');
is($t->verifier_of('app'), $before, 'and the old verifier is back again');
$t->set(password_encryption => undef);
still_rotates($t, 'app', 'with password_encryption as it was, it rotates');

# Where md5 is taken, both kinds rotate, each to what the server is set to.
hba('host all all 127.0.0.1/32 md5');
$t->set(password_encryption => 'md5');
still_rotates($t, 'app', 'a pg_hba.conf line of md5: from SCRAM to md5');
like($t->verifier_of('app'), qr/^md5 /, 'the verifier is md5\'s');
still_rotates($t, 'app', 'from md5 to md5');
like($t->verifier_of('app'), qr/^md5 /, 'the verifier is md5\'s');
refused_midway($t,
	login_error('hba', 'app', label => 'AWSPENDING', detail => qr/pg_hba\.conf rejects connection/),
	'an md5 verifier that has to come back',
	change => sub { hba('host all all 127.0.0.1/32 reject') });
hba('host all all 127.0.0.1/32 md5');
$t->set(password_encryption => undef);
still_rotates($t, 'app', 'from md5 to SCRAM');
like($t->verifier_of('app'), qr/^SCRAM-SHA-256\$/, 'the verifier is SCRAM\'s');

# An md5 role at a line that demands SCRAM can't prove AWSCURRENT.
$t->set(password_encryption => 'md5');
still_rotates($t, 'app', 'to md5 again');
$t->set(password_encryption => undef);
hba('host all all 127.0.0.1/32 scram-sha-256');
$t->refused("SELECT rotate_now('prod/app')", login_error('rejected', 'app', detail => $rejected),
	'an md5 role at a line that demands scram-sha-256', @app);
hba('host all all 127.0.0.1/32 password');
still_rotates($t, 'app', 'the method password takes it');

# A rename takes an md5 role's password away, for the name is its salt.
hba('host all all 127.0.0.1/32 md5');
$t->set(password_encryption => 'md5');
still_rotates($t, 'app', 'to md5 once more');
$t->sql('ALTER ROLE app RENAME TO app2');
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '55000',
		message => 'could not rotate secret "prod/app": role "app" is now called "app2"',
		hint => 'Put the new name into the secret, then call rotate_unregister() and rotate_register() again.'
	},
	'a role with another name', role => 'app2', secret => 'prod/app');
$t->sql('ALTER ROLE app2 RENAME TO app');
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '28P01',
		message => 'could not rotate secret "prod/app": the password of role "app" is not the one in the secret'
	},
	'its old name again, but the password is gone', @app);
$t->sql("ALTER ROLE app PASSWORD '" . $t->password('prod/app') . "'");
still_rotates($t, 'app', 'with the password it rotates');

$t->stop;
done_testing();
