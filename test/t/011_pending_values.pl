# 011_pending_values.pl
#	  What is on AWSPENDING when rotate_now comes: unusable, empty, somebody
#	  else's, AWSCURRENT's own password.  And what rotate_abandon does with it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $old = $t->add('app');
my $emulator = $t->emulator;
my $json = JSON::PP->new->canonical->ascii;
my $port = $t->port;
my $new = RotateTest::random_password();
my %of_app = (role => 'app', secret => 'prod/app');

sub value { return $json->encode($t->secret_json('app', $new, @_)); }
sub set_null { my ($key, $to) = @_; return value($key => 'X') =~ s/"$key":"X"/"$key":$to/r; }

# The text as AWSPENDING; the version's id.
sub pending { return $emulator->add_version('prod/app', shift, 'AWSPENDING'); }

# [name, value, what is wrong, SQLSTATE (22023)]
my $verifier_form = 'field "password" has the form of a password verifier';
my @bad = (
	[ 'not JSON', $new, qr/it is not valid JSON \(line 1, column \d+\)/, '22032' ],
	[ 'a JSON array', '[]', 'it is not a JSON object' ],
	(map { [ "no $_", value($_ => undef), "field \"$_\" is missing" ] } qw(engine host username password)),
	(map { [ "$_ null", set_null($_, 'null'), "field \"$_\" is not a string" ] } qw(engine host username password dbname)),
	[ 'password a number', set_null(password => 12345678), 'field "password" is not a string' ],
	[ 'password false', set_null(password => 'false'), 'field "password" is not a string' ],
	[ 'port a list', set_null(port => '[]'), 'field "port" is not a number, or a string of digits' ],
	[ 'ssl null', set_null(ssl => 'null'), 'field "ssl" is not true or false' ],
	[ 'another engine', value(engine => 'mariadb'), 'field "engine" is neither "postgres" nor "aurora-postgresql"' ],
	[ 'another username', value(username => 'postgres'), 'field "username" does not name the registered role "app"', '55000' ],
	[ 'the username in capitals', value(username => 'APP'), 'field "username" does not name the registered role "app"', '55000' ],
	[ 'another host', value(host => 'localhost'), 'field "host" does not name the registered host "127.0.0.1"', '55000' ],
	[ 'another port', value(port => $port + 1), "field \"port\" is not the registered port $port", '55000' ],
	[ 'no port, hence 5432', value(port => undef), "field \"port\" is not the registered port $port", '55000' ],
	[ 'an empty password', value(password => ''), 'field "password" is empty', '28P01' ],
	[ 'a password with NUL', value(password => "$new\0x"), 'field "password" holds a NUL character', '28P01' ],
	[ 'md5 and 32 hex digits', value(password => 'md5' . '0123456789abcdef' x 2), $verifier_form, '28P01' ],
	[ 'a SCRAM verifier', value(password => RotateTest::scram_verifier($new)), $verifier_form, '28P01' ],
	[ 'the beginning of one', value(password => 'SCRAM-SHA-256$'), $verifier_form, '28P01' ],
	[ 'one after a $, which PostgreSQL takes for one', value(password => '$SCRAM-SHA-256$4096:c2FsdA==$a:b'), $verifier_form, '28P01' ],
	[ 'a password of 65531 bytes', value(password => 'p' x 65531), 'field "password" is too long', '28P01' ],
	[ 'binary', undef, 'it is binary, not a JSON string' ]);

$t->sql("SELECT rotate_register('prod/app', 'app')");
foreach my $case (@bad)
{
	my ($name, $value, $problem, $sqlstate) = @$case;
	my $id;

	# a control port takes what PutSecretValue would not: more than 65536 bytes
	$id = defined $value ? pending($value)
	  : $emulator->control('/versions', secret => 'prod/app', binary => encode_base64(value(), ''), stages => ['AWSPENDING'])->{id};
	$t->refused(
		"SELECT rotate_now('prod/app')",
		{
			sqlstate => $sqlstate || '22023',
			message => 'could not rotate secret "prod/app": the value of its AWSPENDING version cannot be used',
			detail => ref $problem ? qr/\AIn version $id $problem\.\z/ : "In version $id $problem.",
			hint => 'Correct the value, or call rotate_abandon(\'prod/app\') to give this version up.'
		},
		"AWSPENDING: $name", %of_app);
}
$t->refused(
	"SELECT rotate_now('prod/app', force => true)",
	{ sqlstate => '22023', message => qr/the value of its AWSPENDING version cannot be used/ },
	'force does not overwrite a value', %of_app);

# AWSCURRENT that has come to name another login is no better.
my $current = $t->labels('prod/app')->{AWSCURRENT};
my $names_hint = 'If the change is meant, call rotate_unregister() and rotate_register() again.';
foreach my $case ([ username => 'postgres', 'does not name the registered role "app"' ],
	[ host => 'other.example.com', 'does not name the registered host "127.0.0.1"' ],
	[ port => $port + 1, "is not the registered port $port" ])
{
	my ($field, $value, $problem) = @$case;
	my $id = $emulator->add_version('prod/app', $t->secret_json('app', $old, $field => $value), 'AWSCURRENT');
	$t->refused(
		"SELECT rotate_now('prod/app')",
		{
			sqlstate => '55000',
			message => 'could not rotate secret "prod/app": the value of its AWSCURRENT version cannot be used',
			detail => "In version $id field \"$field\" $problem.",
			hint => $names_hint
		},
		"AWSCURRENT has come to name another $field", %of_app);
}
$emulator->control('/labels', secret => 'prod/app', labels => { AWSCURRENT => $current, AWSPREVIOUS => undef });

# Give the last one up: AWSPENDING is taken off and nothing else happens.
my $unusable = $t->labels('prod/app')->{AWSPENDING};
my $verifier = $t->verifier_of('app');
is_deeply(
	$t->row("SELECT * FROM rotate_abandon('prod/app')"),
	{ secret => 'prod/app', version_id => $unusable, outcome => 'abandoned' },
	'rotate_abandon gives an unusable version up');
is_deeply($t->labels('prod/app'), { AWSCURRENT => $current }, 'AWSPENDING is on no version');
is($t->verifier_of('app'), $verifier, 'the role is as before');
is_deeply(
	{ map { $_ => ($t->history('prod/app'))[-1]{$_} } qw(source outcome version_id sqlstate error) },
	{ source => 'rotate_abandon', outcome => 'abandoned', version_id => $unusable, sqlstate => undef, error => undef },
	'rotate_history has it');
$t->refused(
	"SELECT rotate_abandon('prod/app')",
	{
		sqlstate => '55000',
		message => 'could not abandon the pending version of secret "prod/app": there is none',
		detail => 'No version carries AWSPENDING.',
		hint => ''
	},
	'once given up, there is nothing to abandon', %of_app);
is($t->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'rotate_now then makes a new version');
$old = $t->password('prod/app');
ok($t->can_login('app', $old), 'whose password logs in');
$t->refused(
	"SELECT rotate_abandon('prod/app')",
	{
		sqlstate => '55000',
		message => 'could not abandon the pending version of secret "prod/app": there is none',
		detail => 'AWSPENDING is on AWSCURRENT\'s version: the latest rotation is finished.',
		hint => ''
	},
	'a finished rotation is not abandoned', %of_app);

# AWSCURRENT's password once more.
my $same = pending($t->secret_json('app', $old, note => 'the same'));
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '28P01',
		message => 'could not rotate secret "prod/app": the AWSPENDING version has the same password as AWSCURRENT',
		hint => 'Call rotate_abandon(\'prod/app\') to give this version up.'
	},
	'a pending password equal to the current one', %of_app);
is($t->row("SELECT * FROM rotate_abandon('prod/app')")->{version_id}, $same, 'rotate_abandon gives it up, as the hint says');
ok($t->can_login('app', $old), 'and AWSCURRENT still logs in');

# Somebody else's, and good.
my $theirs = pending(value(password => $new));
is_deeply(
	{ map { $_ => $t->{row}{$_} } grep { $t->{row} ||= $t->row("SELECT * FROM rotate_now('prod/app')") } qw(outcome version_id) },
	{ outcome => 'completed', version_id => $theirs },
	'a pending value that somebody else wrote is used');
ok($t->can_login('app', $new), 'its password logs in');
ok(!$t->can_login('app', $old), 'the one before does not');
is($t->labels('prod/app')->{AWSCURRENT}, $theirs, 'AWSCURRENT is on that version');
is($emulator->log(operation => 'PutSecretValue')->{count}, 1, 'and only the rotation before it put a value');
$old = $new;

# The role has it already: somebody's rotation ended there, or ours did.
$new = RotateTest::random_password();
my $set = pending(value());
$t->set_password('app', $new);
$verifier = $t->verifier_of('app');
$t->refused(
	"SELECT rotate_abandon('prod/app')",
	{
		sqlstate => '55000',
		message => 'could not abandon the pending version of secret "prod/app": role "app" has its password',
		hint => 'Call rotate_now(\'prod/app\') to finish the rotation.'
	},
	'a pending version whose password the role has is not abandoned', %of_app);
my $row = $t->row("SELECT * FROM rotate_now('prod/app')");
is($row->{outcome}, 'completed', 'rotate_now finishes it, as the hint says');
is($row->{version_id}, $set, 'with that version');
is($t->verifier_of('app'), $verifier, 'without setting the password again');
is($t->labels('prod/app')->{AWSCURRENT}, $set, 'and AWSCURRENT is on it');
$old = $new;

# own_pending_only
$t->sql("SELECT rotate_unregister('prod/app')");
$t->sql("SELECT rotate_register('prod/app', 'app', own_pending_only => true)");
my %not_ours = (
	sqlstate => '55000',
	message => 'could not rotate secret "prod/app": the AWSPENDING version was written by someone else',
	detail => 'The secret is registered with own_pending_only.',
	hint => 'Call rotate_abandon(\'prod/app\') to give this version up.');
$theirs = pending(value(password => RotateTest::random_password()));
$t->refused("SELECT rotate_now('prod/app')", \%not_ours, 'own_pending_only: somebody else\'s value is refused', %of_app);
$t->refused("SELECT rotate_now('prod/app', force => true)", \%not_ours, 'with force too', %of_app);
is($t->row("SELECT * FROM rotate_abandon('prod/app')")->{version_id}, $theirs, 'it can be given up');
is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'and a value of our own is used');
$old = $t->password('prod/app');

$new = RotateTest::random_password();
$theirs = pending(value());
$t->set_password('app', $new);
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '28P01',
		message => 'could not rotate secret "prod/app": the password of role "app" is not the one in the secret',
		detail => 'It is AWSPENDING\'s, which was written by someone else, and the secret is registered with own_pending_only.',
		hint => 'If that rotation is to be kept, move AWSCURRENT to the AWSPENDING version; else set the role\'s password to AWSCURRENT\'s.'
	},
	'own_pending_only: and where the role has it, it is not finished', %of_app);
$t->set_password('app', $old);
$t->sql("SELECT rotate_abandon('prod/app')");

# A value that a run of ours put there and did not get to use, whoever wrote it to the service.
my $fault = $emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage');
$t->error_is("SELECT rotate_now('prod/app')", { sqlstate => '42501' }, 'a run that could not move the label');
my $ours = $t->labels('prod/app')->{AWSPENDING};
ok($t->can_login('app', $old), 'has given the role its password back');
$row = $t->row("SELECT * FROM rotate_now('prod/app')");
is_deeply([ @{$row}{qw(outcome version_id)} ], [ 'completed', $ours ], 'own_pending_only: the value of an earlier run of ours is used');
$old = $t->password('prod/app');

# The empty version that the service makes.
$emulator->clear_log;
my $empty = $emulator->control('/service-pending', secret => 'prod/app')->{id};
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '55006',
		message => 'could not rotate secret "prod/app": a rotation that Secrets Manager started is under way',
		detail => "The AWSPENDING version $empty has no value yet.",
		hint => 'Wait for it to end. If it is stuck, call rotate_abandon(\'prod/app\'), '
		  . 'or rotate_now(\'prod/app\', force => true) to fill that version.'
	},
	'an empty AWSPENDING is left to the service', %of_app);
is_deeply(
	$t->row("SELECT * FROM rotate_abandon('prod/app')"),
	{ secret => 'prod/app', version_id => $empty, outcome => 'abandoned' },
	'unless it is given up');
$empty = $emulator->control('/service-pending', secret => 'prod/app')->{id};
$row = $t->row("SELECT * FROM rotate_now('prod/app', force => true)");
is_deeply([ @{$row}{qw(outcome version_id)} ], [ 'rotated', $empty ], 'or filled by force');
is($t->labels('prod/app')->{AWSCURRENT}, $empty, 'AWSCURRENT is on the version that the service made');
ok($t->can_login('app', $t->password('prod/app')), 'and logs in');
ok(!$t->can_login('app', $old), 'the password before does not');
is($emulator->log(operation => 'PutSecretValue')->{entries}[0]{parameters}{ClientRequestToken}, $empty, 'it was filled under its own id');

$t->stop;
done_testing();
