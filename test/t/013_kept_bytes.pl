# 013_kept_bytes.pl
#	  A new value is the old text with another password: every other byte is
#	  kept, up to Secrets Manager's limit of 64 KB.  And the password is as
#	  long, and free of the characters, as the registration says.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP ();
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my $port = $t->port;
my $string = JSON::PP->new->ascii->allow_nonref;

# A text with a password in the place of PASSWORD.
sub with_password { my ($text, $password) = @_; return $text =~ s/PASSWORD/$string->encode($password)/er; }

my %texts = (
	'numbers that a JSON writer would change' =>
	  qq({"engine":"postgres","host":"127.0.0.1","port":$port,"username":"app","password":PASSWORD,)
	  . '"a":1.10,"b":1E+2,"c":-0,"d":123456789012345678901234567890,"e":0.1000000000000000055511151231257827,"f":1e-400}',
	'keys in an order of their own, and other spelling' =>
	  qq( \n{ "zz" : null ,\t"password"\r\n:  PASSWORD , "username":"app" , "port" : "$port","host":"127.0.0.1","engine":"postgres", "aa" : [ ] }\n ),
	'escapes' => qq({"engine":"postgres","host":"127.0.0.1","port":$port,"username":"\\u0061pp","p\\u0061ssword":PASSWORD,)
	  . '"x\u00e9y":"\u00e9 \ud83d\udd11 \/ \" \\\\","raw":"é","nul":"a\u0000b","del":"' . "\x7f" . '"}',
	'the password everywhere else too' =>
	  qq({"Password":"password","password ":"\\"password\\":\\"x\\"","engine":"postgres","host":"127.0.0.1","port":$port,)
	  . '"nested":{"password":"inner","list":[{"password":"deep"}]},"list":["password",{"password":1}],"username":"app","password":PASSWORD,'
	  . '"passwordx":"y","k":"}{][","after":{"password":"z"}}',
	'masterarn and the other keys of AWS' =>
	  qq({"engine":"postgres","host":"127.0.0.1","port":$port,"username":"app","password":PASSWORD,"ssl":"false","dbname":"postgres",)
	  . '"masterarn":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:m","dbInstanceIdentifier":"db1"}');

my $old = $t->add('app');
$t->sql("SELECT rotate_register('prod/app', 'app')");
foreach my $name (sort keys %texts)
{
	$emulator->add_version('prod/app', with_password($texts{$name}, $old), 'AWSCURRENT', 'AWSPENDING');
	my $row = $t->row("SELECT outcome FROM rotate_now('prod/app')");
	my $new = $t->password('prod/app');

	is($row->{outcome}, 'rotated', "$name: rotates");
	is($emulator->text('prod/app', 'AWSCURRENT'), with_password($texts{$name}, $new), '  and nothing but the password is another');
	isnt($new, $old, '  which is');
	ok($t->can_login('app', $new), '  and logs in');
	$old = $new;
}

# What a service's rotation, or ours, left in AWSPENDING is not written again.
my $pending = with_password($texts{'numbers that a JSON writer would change'}, RotateTest::random_password());
$emulator->add_version('prod/app', $pending, 'AWSPENDING');
$t->sql("SELECT rotate_now('prod/app')");
is($emulator->text('prod/app', 'AWSCURRENT'), $pending, 'a pending value that was there is used as it is');
$old = $t->password('prod/app');

# Lengths: AWSCURRENT's password has 32 characters, as the new one will.
sub padded
{
	my ($bytes, $password) = @_;
	my $text = with_password(
		qq({"engine":"postgres","host":"127.0.0.1","port":$port,"username":"app","password":PASSWORD,"pad":"PAD"}), $password);
	my $pad = 'x' x ($bytes - length($text) + 3);
	return $text =~ s/PAD/$pad/r;
}

foreach my $bytes (65535, 65536)
{
	$emulator->add_version('prod/app', padded($bytes, $old), 'AWSCURRENT', 'AWSPENDING') if length $old == 32;
	is($t->row("SELECT outcome FROM rotate_now('prod/app')")->{outcome}, 'rotated', "a secret of $bytes bytes rotates");
	is(length $emulator->text('prod/app', 'AWSCURRENT'), $bytes, '  and is as long as before');
	$old = $t->password('prod/app');
	ok($t->can_login('app', $old), '  its password logs in');
}
$t->sql("SELECT rotate_unregister('prod/app')");
$t->sql("SELECT rotate_register('prod/app', 'app', password_length => 33)");
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '54000',
		message => 'could not make a new value for secret "prod/app": it would be longer than 65536 bytes',
		hint => 'Register the secret with a shorter password_length, or take something out of its value.'
	},
	'one byte more', role => 'app', secret => 'prod/app');
is($emulator->labels('prod/app')->{AWSPENDING}, $emulator->labels('prod/app')->{AWSCURRENT}, '  and nothing is pending');

# password_length and exclude_characters, of every password.
my @wanted = (
	[ 8, ':/@"\'\\' ],
	[ 32, ':/@"\'\\' ],
	[ 1024, '' ],
	[ 40, '0123456789"\\' =~ s/[2-9]//gr . 'abcdefghijklm' ],
	[ 33, '!"#$%&\'()*+,-./:;<=>?@[\\]^`{|}~' ]);
foreach my $case (@wanted)
{
	my ($length, $exclude) = @$case;
	my $role = "app_$length" . '_' . length $exclude;
	my $secret = "prod/$role";

	$t->add($role, secret => $secret);
	$t->sql("SELECT rotate_register('$secret', '$role', password_length => $length, exclude_characters => "
		  . RotateTest::literal($exclude) . ')');
	$emulator->clear_log;
	foreach my $round (1 .. 3)
	{
		$t->sql("SELECT rotate_now('$secret')");
		my $password = $t->password($secret);
		is(length $password, $length, "password_length $length, round $round: the password is as long");
		ok($exclude eq '' || $password !~ /[\Q$exclude\E]/, '  has none of the excluded characters')
		  or diag("excluded: $exclude");
		ok($t->can_login($role, $password), '  and logs in');
	}
	my %asked = (PasswordLength => $length, $exclude eq '' ? () : (ExcludeCharacters => $exclude));
	is_deeply(
		[ map { $_->{parameters} } @{ $emulator->log(operation => 'GetRandomPassword')->{entries} } ],
		[ (\%asked) x 3 ],
		'  that is what GetRandomPassword was asked for');
}

# What the service can't make of it.
$t->add('no_digits');
$t->sql("SELECT rotate_register('prod/no_digits', 'no_digits', exclude_characters => '0123456789')");
$t->refused(
	"SELECT rotate_now('prod/no_digits')",
	{ sqlstate => '22023', message => qr/\Acould not get a random password: InvalidParameterException: / },
	'exclude_characters that leave no digit', role => 'no_digits', secret => 'prod/no_digits');

# What rotate_register does not take.
$t->add('limits');
foreach my $length (-1, 0, 7, 1025)
{
	$t->refused(
		"SELECT rotate_register('prod/limits', password_length => $length)",
		{
			sqlstate => '22023',
			message => "password_length $length is out of range",
			detail => 'It may be 8 to 1024 characters.'
		},
		"password_length $length", role => 'limits', secret => 'prod/limits', runs => 0);
}
$t->refused(
	"SELECT rotate_register('prod/limits', exclude_characters => repeat('x', 4097))",
	{ sqlstate => '22023', message => 'parameter "exclude_characters" is too long', detail => 'It has 4097 bytes, and may have 4096.' },
	'exclude_characters too long', role => 'limits', secret => 'prod/limits', runs => 0);

$t->stop;
done_testing();
