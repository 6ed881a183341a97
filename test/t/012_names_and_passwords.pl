# 012_names_and_passwords.pl
#	  Roles' names and passwords of every kind of character, in UTF-8 and in
#	  LATIN1 databases, and as long as they may be.

use strict;
use warnings;
use utf8;

use Encode qw(encode decode);
use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;

$t->sql("CREATE DATABASE latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
$t->sql('CREATE EXTENSION rotate_ext', database => 'latin1');

my @names = (
	[ 'double quotes' => 'a"b""c' ],
	[ 'single quotes' => q{o'brien''; --} ],
	[ 'backslashes' => 'a\\b\\\\' ],
	[ 'percent signs' => '%s%n%d 100%' ],
	[ 'spaces' => ' a  b ' ],
	[ 'what looks like a connection string' => 'host=/tmp user=postgres' ],
	[ 'what looks like a URI' => 'postgresql://x@y/z' ],
	[ 'control characters' => "a\tb\nc\x01\x1f\x7f" ],
	[ 'letters outside ASCII' => 'rôle_ÄÖÜß_роль_役割' ],
	[ 'a character outside the BMP' => "key\x{1f511}" ],
	[ '63 bytes' => 'n' x 63 ],
	[ '63 bytes of two-byte characters' => 'é' x 31 . 'e' ],
	[ 'capitals' => 'APP' ]);

# An ordinary rotation of each, from a UTF-8 and from a LATIN1 database.
my $n = 0;
foreach my $database ('postgres', 'latin1')
{
	foreach my $case (@names)
	{
		my ($what, $role) = @$case;
		my $secret = 'odd/' . ++$n;
		my $old = RotateTest::random_password();

		$database eq 'postgres' ? $t->create_role($role, $old) : $t->set_password($role, $old);
		$emulator->create_secret($secret, $t->secret_json($role, $old));
		if ($database eq 'postgres')
		{
			$t->sql("SELECT rotate_register('$secret', " . RotateTest::literal($role) . ')');
		}
		else
		{
			# the secret's bytes are the name; what they look like in LATIN1 does not matter
			$t->sql("SELECT rotate_register('$secret')", database => 'latin1');
		}
		my $row = $t->row("SELECT * FROM rotate_now('$secret')", database => $database);
		my $shown = $database eq 'postgres' ? $role : decode('ISO-8859-1', encode('UTF-8', $role));

		is_deeply([ @{$row}{qw(outcome role)} ], [ 'rotated', $shown ], "$database: a role's name with $what");
		ok($t->can_login($role, $t->password($secret)), '  the new password logs in');
		ok(!$t->can_login($role, $old), '  the old one does not');
	}
}

# An error that names such a role is whole.
$t->sql('ALTER ROLE "%s%n%d 100%" RENAME TO "%s is now ""%m"""');
$t->refused(
	"SELECT rotate_now('odd/4')",
	{
		sqlstate => '55000',
		message => 'could not rotate secret "odd/4": role "%s%n%d 100%" is now called "%s is now "%m""'
	},
	'percent signs in an error', secret => 'odd/4');

# Too long by a byte.
my $old = $t->add('app');
$t->refused(
	"SELECT rotate_register('prod/app', '" . 'n' x 64 . "')",
	{ sqlstate => '22023', message => 'parameter "role" is too long', detail => 'It has 64 bytes, and may have 63.' },
	'a role of 64 bytes', role => 'app', secret => 'prod/app', runs => 0);
$t->refused(
	"SELECT rotate_register('prod/app', '" . 'é' x 32 . "')",
	{ sqlstate => '22023', message => 'parameter "role" is too long', detail => 'It has 64 bytes, and may have 63.' },
	'a role of 32 characters, which are 64 bytes', role => 'app', secret => 'prod/app', runs => 0);
$emulator->create_secret('odd/long', $t->secret_json('é' x 32, $old));
$t->refused(
	"SELECT rotate_now('odd/long')",
	{ sqlstate => '22023', detail => qr/\AIn version \S+ field "username" is not 1 to 63 bytes without NUL\.\z/ },
	'a username of 64 bytes in the secret', secret => 'odd/long');

# A role that LATIN1 wrote is another one than the secret names.
$t->sql('CREATE ROLE "é" LOGIN', database => 'latin1');
$emulator->create_secret('odd/latin', $t->secret_json('é', $old));
$t->refused(
	"SELECT rotate_now('odd/latin')",
	{ sqlstate => '42704', message => 'could not register secret "odd/latin": the role that its AWSCURRENT version names does not exist' },
	'the name is the bytes, not the letters', secret => 'odd/latin', database => 'latin1');

# Passwords, as pending values.
my @passwords = (
	[ 'double quotes' => '"a"b""' ],
	[ 'single quotes' => q{'; DROP ROLE app; --''} ],
	[ 'backslashes' => '\\\\x00\\n\\\\\\' ],
	[ 'percent signs' => '%s%n%%d' ],
	[ 'spaces at both ends' => '  a b  ' ],
	[ 'only spaces' => '   ' ],
	[ 'control characters' => "a\tb\nc\r\x01\x1f\x7f" ],
	[ 'letters outside ASCII' => 'pässwörd_пароль_密码' ],
	[ 'what SASLprep changes' => "a\x{a0}b\x{2168}c\x{ad}d\x{fb01}e\x{301}" ],
	[ 'what SASLprep forbids' => "a\x{e000}b\x{200e}" ],
	[ 'a character outside the BMP' => "\x{1f511}\x{1f512}" ],
	[ 'one character' => 'x' ],
	[ 'dollar signs, as a function body' => '$$; SELECT 1; $$' ],
	[ 'almost an md5 verifier' => 'md5' . '0123456789abcdef' x 2 . '0' ],
	[ 'an md5 verifier in capitals' => 'md5' . '0123456789ABCDEF' x 2 ],
	[ '1,025 bytes' => 'p' x 1025 ],
	[ '60,000 bytes' => 'q' x 60000 ]);

foreach my $database ('postgres', 'latin1')
{
	my $secret = "prod/$database";
	my $role = "app_$database";
	my $before = $t->add($role, secret => $secret, json => { dbname => $database });

	$t->sql("SELECT rotate_register('$secret')", database => $database);
	foreach my $case (@passwords)
	{
		my ($what, $password) = @$case;
		my $id = $emulator->add_version($secret, $t->secret_json($role, $password, dbname => $database), 'AWSPENDING');
		my $row = $t->row("SELECT * FROM rotate_now('$secret')", database => $database);

		is_deeply([ @{$row}{qw(outcome version_id)} ], [ 'completed', $id ], "$database: a password with $what");
		ok($t->can_login($role, $password), '  it logs in');
		ok(!$t->can_login($role, $before), '  the one before does not');
		$before = $password;
	}
	$t->row("SELECT * FROM rotate_now('$secret')", database => $database);
	ok($t->can_login($role, $t->password($secret)), "$database: and the last is rotated away");
}

# What a LATIN1 database calls é is é to Secrets Manager, however the password is asked for.
$t->add('latin_app', secret => 'latin/app');
$t->sql("SELECT rotate_register('latin/app', exclude_characters => 'aé''\\')", database => 'latin1');
$emulator->clear_log;
$t->sql("SELECT rotate_now('latin/app')", database => 'latin1');
$emulator->control('/service-pending', secret => 'latin/app');
$t->sql("SELECT rotate_now('latin/app', force => true)", database => 'latin1');
is_deeply(
	[ map { $_->{parameters}{ExcludeCharacters} } @{ $emulator->log(operation => 'GetRandomPassword')->{entries} } ],
	[ 'aé\'\\', 'aé\'\\' ],
	'excluded characters reach Secrets Manager as they were meant');

$t->stop;
done_testing();
