# 010_secret_values.pl
#	  What AWSCURRENT's value may not be: refused by rotate_register, by a
#	  rotate_now that registers first, and by rotate_now of a registered secret.

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
my $good = $emulator->text('prod/app', 'AWSCURRENT');
my $shape = 'A PostgreSQL secret is a JSON object with the strings engine ("postgres"), host, username and '
  . 'password, and, where they differ from the defaults, port and dbname.';
my $json = JSON::PP->new->canonical->ascii->allow_nonref;

# The good value with keys changed; undef takes one away.
sub value
{
	my %keys = @_;
	return $json->encode($t->secret_json('app', $old, %keys));
}

# Of a field, in the words of JSON: what is wrong with it when it is that.
my %invalid = map { $_->[0] => $_->[1] } (
	[ host => 'field "host" is not 1 to 255 bytes without control characters' ],
	[ username => 'field "username" is not 1 to 63 bytes without NUL' ],
	[ dbname => 'field "dbname" is not 1 to 63 bytes without NUL' ],
	[ port => 'field "port" is not 1 to 65535' ]);
my $wrong_engine = 'field "engine" is neither "postgres" nor "aurora-postgresql"';

# [name, value, what is wrong, SQLSTATE (22023), hint ($shape)]
my @bad = (
	[ 'text that is not JSON', "user=app password=$old", 'it is not valid JSON (line 1, column 4)', '22032' ],
	[ 'JSON that is cut off', substr($good, 0, -1), qr/\Ait is not valid JSON \(line 1, column \d+\)\z/, '22032' ],
	[ 'JSON with something after it', "$good x", qr/\Ait is not valid JSON \(line 1, column \d+\)\z/, '22032' ],
	[ 'JSON in Python\'s spelling', "{'password': '$old'}", 'it is not valid JSON (line 1, column 2)', '22032' ],
	[
		'a number too large', value() =~ s/\{/{"n":1e999,/r,
		 'a number in it is too large (line 1, column 10)', '22032', '' ],
	[
		'two passwords', value() =~ s/\{/{"password":"other-password",/r,
		qr/\Ait has two keys of one name \(line 1, column \d+\)\z/,
		'22032', 'Readers of JSON disagree on which of the two counts.'
	],
	[ 'a JSON array', "[$good]", 'it is not a JSON object' ],
	[ 'a JSON string', $json->encode($good), 'it is not a JSON object' ],
	[ 'null', 'null', 'it is not a JSON object' ],
	(map { [ "no $_", value($_ => undef), "field \"$_\" is missing" ] } qw(engine host username password)),
	(map { [ "$_ as a number", value($_ => 7), "field \"$_\" is not a string" ] } qw(engine host username password dbname)),
	(map { [ "$_ as null", value($_ => 'X') =~ s/"\Q$_\E":"X"/"$_":null/r, "field \"$_\" is not a string" ] }
		  qw(engine host username password dbname)),
	[ 'password as an object', value(password => { new => $old }), 'field "password" is not a string' ],
	[ 'port as a list', value(port => [5432]), 'field "port" is not a number, or a string of digits' ],
	[ 'port as null', value(port => 'X') =~ s/"port":"X"/"port":null/r, 'field "port" is not a number, or a string of digits' ],
	[ 'ssl as a number', value(ssl => 1), 'field "ssl" is not true or false' ],
	[ 'ssl as another word', value(ssl => 'require'), 'field "ssl" is not true or false' ],
	(map { [ "port $_", value(port => 'X') =~ s/"port":"X"/"port":$_/r, $invalid{port} ] }
		  0, -1, 65536, 5432.5, '"5432 "', '""', '"0x1538"', '1e6'),
	(map { [ "$_ empty", value($_ => ''), $invalid{$_} ] } qw(host username dbname)),
	(map { [ "$_ with NUL", value($_ => "app\0x"), $invalid{$_} ] } qw(host username dbname)),
	[ 'host with a line break', value(host => "127.0.0.1\n"), $invalid{host} ],
	[ 'host of 256 bytes', value(host => 'h' x 256), $invalid{host} ],
	[ 'username of 64 bytes', value(username => 'a' x 64), $invalid{username} ],
	[ 'another engine', value(engine => 'mysql'), $wrong_engine ],
	[ 'the engine in capitals', value(engine => 'Postgres'), $wrong_engine ],
	[
		'an empty password', value(password => ''), 'field "password" is empty', '28P01',
		'PostgreSQL lets nobody log in with an empty password.'
	],
	[
		'a password with NUL', value(password => "$old\0"), 'field "password" holds a NUL character', '28P01',
		'PostgreSQL\'s protocol cannot carry it.'
	],
	(map { [
			"a password like $_", value(password => $_), 'field "password" has the form of a password verifier', '28P01',
			'PostgreSQL would store it as it is, and nobody could log in with it.'
		] } 'md5' . 'a1' x 16, 'SCRAM-SHA-256$4096:c2FsdA==$a2V5:a2V5'));

# Every one of them for a secret that is to be registered, by either way.
foreach my $case (@bad)
{
	my ($name, $value, $problem, $sqlstate, $hint) = @$case;
	my $error = {
		sqlstate => $sqlstate || '22023',
		message => 'could not register secret "prod/app": the value of its AWSCURRENT version cannot be used',
		detail => ref $problem ? qr/\AIn version \S+ ${\ ("$problem" =~ s{\\A|\\z}{}gr)}\.\z/ : qr/\AIn version \S+ \Q$problem\E\.\z/,
		hint => defined $hint ? $hint : $shape
	};

	$emulator->create_secret('prod/app', $value);
	$t->refused("SELECT rotate_register('prod/app', 'app')",
		$error, "$name: rotate_register", role => 'app', secret => 'prod/app', runs => 0);
	$t->refused("SELECT rotate_now('prod/app')",
		$error, "$name: rotate_now, not registered", role => 'app', secret => 'prod/app');
}
is($t->sql('SELECT count(*) FROM rotate_status'), '0', 'none of them was registered');

# And for one that is: it was good when it was registered.
$emulator->create_secret('prod/app', $good);
$t->sql("SELECT rotate_register('prod/app', 'app')");
foreach my $case (@bad)
{
	my ($name, $value, $problem, $sqlstate, $hint) = @$case;
	my $id = $emulator->add_version('prod/app', $value, 'AWSCURRENT');

	$t->refused(
		"SELECT rotate_now('prod/app')",
		{
			sqlstate => $sqlstate || '22023',
			message => 'could not rotate secret "prod/app": the value of its AWSCURRENT version cannot be used',
			detail => ref $problem ? qr/\AIn version $id ${\ ("$problem" =~ s{\\A|\\z}{}gr)}\.\z/ : "In version $id $problem.",
			hint => defined $hint ? $hint : $shape
		},
		"$name: rotate_now", role => 'app', secret => 'prod/app');
}

# Binary, and no value at all.
sub binary
{
	return $emulator->control('/versions', secret => 'prod/app', binary => encode_base64($good, ''), stages => ['AWSCURRENT'])->{id};
}

my $id = binary();
my %binary = (sqlstate => '22023', hint => 'Store the login with SecretString.');
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		%binary,
		message => 'could not rotate secret "prod/app": the value of its AWSCURRENT version cannot be used',
		detail => "In version $id it is binary, not a JSON string."
	},
	'binary: rotate_now', role => 'app', secret => 'prod/app');

my %no_current = (
	sqlstate => '42704',
	hint => 'Store the role\'s present login in the secret.');
foreach my $how ('on no version', 'on a version without a value')
{
	$emulator->control('/labels', secret => 'prod/app', labels => { AWSCURRENT => undef });
	$emulator->add_version('prod/app', undef, 'AWSCURRENT') if $how =~ /without/;
	$t->refused("SELECT rotate_now('prod/app')",
		{ %no_current, message => 'could not rotate secret "prod/app": it has no AWSCURRENT version with a value' },
		"AWSCURRENT $how: rotate_now", role => 'app', secret => 'prod/app');
}

$t->sql("SELECT rotate_unregister('prod/app')");
foreach my $how ('without a value', 'binary')
{
	my $id = $how eq 'binary' ? binary() : undef;
	my $error = defined $id
	  ? {
		%binary,
		message => 'could not register secret "prod/app": the value of its AWSCURRENT version cannot be used',
		detail => "In version $id it is binary, not a JSON string."
	  }
	  : { %no_current, message => 'could not register secret "prod/app": it has no AWSCURRENT version with a value' };

	$t->refused("SELECT rotate_register('prod/app', 'app')",
		$error, "AWSCURRENT $how: rotate_register", role => 'app', secret => 'prod/app', runs => 0);
	$t->refused("SELECT rotate_now('prod/app')",
		$error, "AWSCURRENT $how: rotate_now, not registered", role => 'app', secret => 'prod/app');
}

# The smallest value that will do, and every spelling that is allowed.
$emulator->add_version('prod/app', $good, 'AWSCURRENT');
$t->sql("SELECT rotate_register('prod/app', 'app')");
foreach my $spelling ([ engine => 'aurora-postgresql' ], [ port => '' . $t->port ], [ ssl => 'False' ], [ dbname => undef ])
{
	$emulator->add_version('prod/app', value(@$spelling, password => $old), 'AWSCURRENT', 'AWSPENDING');
	is($t->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'rotated', "rotates with the field $spelling->[0] allowed");
	$old = $t->password('prod/app');
}
ok($t->can_login('app', $old), 'and the last password logs in');

$t->stop;
done_testing();
