# 035_login_host.pl
#	  login_host: where to log in when the secret's host does not lead to the
#	  server itself, and the instance file that it demands.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use Test::More;

my $t = RotateTest->new;
my $dir = PostgreSQL::Test::Utils::tempdir('instance');
my $file = "$dir/instance";
my $register = "SELECT rotate_register('prod/app', 'app', login_host => '127.0.0.1')";
my $data = $t->node->data_dir;

# A name that nobody resolves.
$t->set('rotate_ext.login_timeout' => '5s');
$t->add('app', json => { host => 'database.invalid' });

sub write_file
{
	my ($path, $content) = @_;
	open my $handle, '>', $path or die "could not write $path: $!";
	print $handle $content;
	close $handle;
	return;
}

sub not_registered
{
	my ($expected, $name) = @_;
	$t->refused($register, $expected, "registering with $name", role => 'app', secret => 'prod/app', runs => 0);
	is($t->sql('SELECT count(*) FROM rotate_status'), '0', 'nothing is registered');
	return;
}

my $outside = 'It must be an absolute path outside the data directory, or a copy would have it too.';

not_registered(
	{
		sqlstate => 'F0000',
		message => 'could not use login_host: rotate_ext.instance_file is not set',
		detail => 'With login_host a copy of this server could log in to itself; the instance file tells them apart.',
		hint => 'Create a file with random content outside the data directory, and set rotate_ext.instance_file to '
		  . 'its path.'
	},
	'no instance file');
$t->set('rotate_ext.instance_file' => $file);
not_registered(
	{
		sqlstate => 'F0000',
		message => "could not read rotate_ext.instance_file \"$file\": No such file or directory"
	},
	'a missing instance file');
write_file($file, '');
not_registered(
	{ sqlstate => 'F0000', message => "could not use rotate_ext.instance_file \"$file\": it is empty" },
	'an empty instance file');
write_file("$data/instance", 'inside');
$t->set('rotate_ext.instance_file' => "$data/instance");
not_registered(
	{
		sqlstate => 'F0000',
		message => "could not use rotate_ext.instance_file \"$data/instance\"",
		detail => $outside
	},
	'an instance file inside the data directory');
symlink "$data/instance", "$dir/link" or die;
$t->set('rotate_ext.instance_file' => "$dir/link");
not_registered(
	{ sqlstate => 'F0000', message => "could not use rotate_ext.instance_file \"$dir/link\"", detail => $outside },
	'a symbolic link into the data directory');
symlink $data, "$dir/data" or die;
$t->set('rotate_ext.instance_file' => "$dir/data/instance");
not_registered(
	{
		sqlstate => 'F0000',
		message => "could not use rotate_ext.instance_file \"$dir/data/instance\"",
		detail => $outside
	},
	'a link on the way into the data directory');
$t->set('rotate_ext.instance_file' => 'instance');
not_registered(
	{ sqlstate => 'F0000', message => 'could not use rotate_ext.instance_file "instance"', detail => $outside },
	'a relative path');
$t->set('rotate_ext.instance_file' => $dir);
not_registered({ sqlstate => '42809', message => "could not read rotate_ext.instance_file \"$dir\": Is a directory" },
	'a directory');

# Without login_host the name leads nowhere.
write_file($file, 'this machine');
$t->set('rotate_ext.instance_file' => $file);
$t->sql("SELECT rotate_register('prod/app', 'app')");
$t->refused(
	"SELECT rotate_now('prod/app')",
	login_error('no_connection', 'app', detail => qr/^At host "database\.invalid", port \d+: ./),
	'a name that does not resolve', role => 'app', secret => 'prod/app');
$t->sql("SELECT rotate_unregister('prod/app')");

$t->sql($register);
still_rotates($t, 'app', 'with login_host it rotates');

my $changed = {
	sqlstate => '55000',
	message => 'secret "prod/app" was registered on another machine and is off on this one',
	detail => 'The content of rotate_ext.instance_file is not the one recorded by rotate_register().',
	hint => 'If this server has taken over from that one, call rotate_enable(\'prod/app\').'
};
my @app = (role => 'app', secret => 'prod/app');

write_file($file, 'another machine');
$t->refused("SELECT rotate_now('prod/app')", $changed, 'another instance file', @app);
$t->sql("SELECT rotate_enable('prod/app')");
still_rotates($t, 'app', 'enabled here, it rotates');
unlink $file;
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => 'F0000',
		message => "could not read rotate_ext.instance_file \"$file\": No such file or directory"
	},
	'an instance file that has gone', @app);
$t->set('rotate_ext.instance_file' => undef);
$t->refused(
	"SELECT rotate_now('prod/app')",
	{ sqlstate => 'F0000', message => 'could not use login_host: rotate_ext.instance_file is not set' },
	'no instance file any more', @app);
write_file($file, 'another machine');
$t->set('rotate_ext.instance_file' => $file);
still_rotates($t, 'app', 'with the file back it rotates');

# login_host is judged as a host is.
my $stranger = start_stranger('clear', address => '127.0.0.2', port => $t->port);
my $password = $t->add('led', json => { host => 'database.invalid' });
$t->sql("SELECT rotate_register('prod/led', 'led', login_host => '127.0.0.2')");
$t->refused(
	"SELECT rotate_now('prod/led')",
	knows_require_auth($t)
	? login_error('method', 'led', detail => qr/server requested a cleartext password/)
	: login_error('expose', 'led', detail => qr/127\.0\.0\.2 port \d+ is not this server's own listener/),
	'a login_host that leads to a stranger', role => 'led', secret => 'prod/led');
is(index($stranger->received, $password), -1, 'which was not told the password');
is($stranger->received, '', 'and was sent nothing') unless knows_require_auth($t);
$t->sql("SELECT rotate_unregister('prod/led')");
$t->sql("SELECT rotate_register('prod/led', 'led', login_host => 'localhost,127.0.0.1')");
$t->refused(
	"SELECT rotate_now('prod/led')",
	login_error('no_connection', 'led', detail => qr/a host name can't hold a comma/),
	'a login_host that names two', role => 'led', secret => 'prod/led');

$t->stop;
done_testing();
