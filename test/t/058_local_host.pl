# 058_local_host.pl
#	  A secret whose host means "this machine" on every machine: a copy of the
#	  server on another one would reach itself, so the registration is tied to this
#	  machine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $t = RotateTest->new;
my $file = PostgreSQL::Test::Utils::tempdir('instance') . '/instance';

sub write_instance
{
	my $content = shift;
	open my $handle, '>', $file or die "could not write $file: $!";
	print $handle $content;
	close $handle;
	return;
}

sub recorded { return $t->sql("SELECT instance_hash FROM rotate_registration WHERE secret = 'prod/$_[0]'"); }

# By the operating system's machine-id, where there is one
my $id = -s '/etc/machine-id' ? Digest::SHA::sha256_hex(PostgreSQL::Test::Utils::slurp_file('/etc/machine-id')) : undef;
my $warning = qr/WARNING: .*a copy of this server on another machine could rotate secret "prod\/app", too/;
$t->add('app');
my ($status, $out, $err) = $t->psql("SELECT registered_secret FROM rotate_register('prod/app')");
is($out, 'prod/app', 'a secret of this machine is registered');
if (defined $id)
{
	is(recorded('app'), "machine-id:$id", 'with the machine-id, hashed');
	unlike($err, $warning, 'and no warning');
}
else
{
	is(recorded('app'), '', 'with nothing, where the machine has no machine-id');
	like($err, $warning, 'which is worth a warning');
}
is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'it rotates');

# As the copy on another machine would find it
$t->sql("UPDATE rotate_registration SET instance_hash = 'machine-id:' || repeat('0', 64)");
$t->refused("SELECT rotate_now('prod/app')", {
		sqlstate => '55000',
		message => 'secret "prod/app" was registered on another machine and is off on this one',
		detail => 'The content of /etc/machine-id is not the one recorded by rotate_register().',
		hint => "If this server has taken over from that one, call rotate_enable('prod/app')."
	}, 'on another machine it is off', role => 'app', secret => 'prod/app');
$t->sql("SELECT rotate_enable('prod/app')");
is(recorded('app'), defined $id ? "machine-id:$id" : '', 'rotate_enable() ties it to this machine');
is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'and it rotates');

# By the instance file, where one is set
write_instance('one machine');
$t->set('rotate_ext.instance_file' => $file);
$t->add('filed');
$t->sql("SELECT rotate_register('prod/filed')");
is(recorded('filed'), Digest::SHA::sha256_hex('one machine'), 'an instance file goes first');
is($t->row("SELECT * FROM rotate_now('prod/filed')")->{outcome}, 'rotated', 'it rotates');
write_instance('another machine');
$t->refused("SELECT rotate_now('prod/filed')", {
		sqlstate => '55000',
		message => 'secret "prod/filed" was registered on another machine and is off on this one',
		detail => 'The content of rotate_ext.instance_file is not the one recorded by rotate_register().'
	}, 'with another file it is off', role => 'filed', secret => 'prod/filed');
is($t->row("SELECT * FROM rotate_now('prod/app')")->{outcome}, 'rotated', 'the other secret does not mind');

# A host with a name of its own needs none of it: the login tells.
foreach my $host ('db.example.com', '192.0.2.1', '127.0.0.1', 'localhost', '::1')
{
	my $name = "at_$host" =~ s/\W/_/gr;

	$t->add($name, json => { host => $host });
	$t->sql("SELECT rotate_register('prod/$name')");
	is(recorded($name) ne '' ? 'tied' : 'not tied', $host =~ /^(?:127|localhost|::1)/ ? 'tied' : 'not tied', "host $host");
}

$t->stop;
done_testing();
