# 062_lambda_zip.pl
#	  The zip, unpacked where there is nothing else: no C library, no dynamic
#	  linker, no CA store.  One rotation runs in there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use File::Copy qw(copy);
use File::Path qw(make_path);
use POSIX ();
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Lambda;
use RotateTest::LambdaServer;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir('zip');
my ($arch) = map { s/^aarch64$/arm64/r } (POSIX::uname())[4];
my $built = RotateTest::Lambda::build('zip');
my $zip = "$built/rotate_lambda-$arch.zip";

sub run_ok { my ($name, @command) = @_; return is(system(@command), 0, $name); }

# A function that is to run without the machine's files runs in a root of its
# own; for that an ordinary user needs a user namespace.
my $root = "$dir/root";
my $task = "$root/var/task";
make_path($task, "$root/tmp", "$root/etc", "$root/proc");
run_ok('it unpacks', '/usr/bin/python3', '-m', 'zipfile', '-e', $zip, $task);

# that module leaves modes out, which Lambda does not
my %mode = map { split /=/ } split /\n/, `/usr/bin/python3 -c 'import sys, zipfile
for i in zipfile.ZipFile(sys.argv[1]).infolist(): print("%s=%o" % (i.filename, i.external_attr >> 16 & 0o777))' '$zip'`;
is($mode{bootstrap}, '755', 'bootstrap may be run');
chmod oct $mode{$_}, "$task/$_" foreach keys %mode;

my @listed = split /\n/, slurp_file("$task/LIBRARIES");
my %listed = map { my ($file, $package, $version) = split / /; ($file => "$package $version") } @listed;
my @there = grep { m{^lib/|^aws-ca} } keys %mode;
is_deeply([ sort keys %listed ], [ sort @there ], 'LIBRARIES lists every file that is not ours');
is(scalar(grep { !/^\S+ \S+ [0-9][^ ]*$/ } @listed), 0, 'each with package and version');
foreach my $file (sort keys %listed)
{
	my ($package, $version) = split / /, $listed{$file};
	chomp(my $installed = `dpkg-query -W -f '\${Version}\\n' $package | head -n 1`);
	is($version, $installed, "$file: the version is that of the package");
}
cmp_ok(-s $zip, '<', 12_000_000, 'it is not larger than it was');
like(slurp_file("$task/aws-ca.pem"), qr/\A(-----BEGIN CERTIFICATE-----\n[^-]+-----END CERTIFICATE-----\n){5}\z/, 'it has five root certificates');

SKIP:
{
	my $template = "$FindBin::RealBin/../../lambda/template.yaml";
	skip 'needs cfn-lint', 1 if system('sh', '-c', 'cfn-lint --version >/dev/null 2>&1') != 0;
	run_ok('cfn-lint finds nothing in the template', 'cfn-lint', $template);
}

# somewhere else, from the same files
my $again = RotateTest::Lambda::build('zip', "$dir/again");
is(`cksum < '$again/rotate_lambda-$arch.zip'`, `cksum < '$zip'`, 'built again it is the same, byte for byte');

SKIP:
{
	skip 'needs user namespaces', 1 if system('unshare -r true 2>/dev/null') != 0;
	subtest 'in an empty root' => sub {
		my $s = RotateTest::LambdaServer->new;
		my $t = $s->{t};
		my @in_root = ('unshare', '-r', 'chroot', $root);
		my $run = sub {
			my ($env, $what) = @_;
			my $function = RotateTest::Lambda->new(
				command => [ '/usr/bin/env', @in_root, '/var/task/bootstrap' ],
				env => {
					PATH => '/usr/sbin:/usr/bin',
					%{ $s->{env} },
					LAMBDA_TASK_ROOT => '/var/task',
					# as in Lambda; and what lies there is of no use
					LD_LIBRARY_PATH => '/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib',
					ROTATE_DB_CA => '/var/task/ca.pem',
					AWS_CA_BUNDLE => '/var/task/ca.pem',
					%$env
				});
			$what->($function);
			$function->stop;
		};

		copy($t->emulator->ca, "$task/ca.pem") or die "could not copy: $!";
		append_to_file("$root/etc/hosts", "127.0.0.1 localhost\n");
		ok(!-e "$root/lib64" && !-e "$root/lib" && !-e "$root/usr" && !-e "$root/etc/ssl", 'the root has nothing else');
		isnt(system(@in_root, '/usr/bin/true'), 0, 'no other program runs in there');
		$run->({}, sub {
			my $function = shift;
			foreach my $step (qw(createSecret setSecret testSecret finishSecret))
			{
				my $done = $function->invoke($s->event($step));
				is($done->{body} && $done->{value}{outcome}, "did $step", $step) or diag($function->output);
			}
			is($t->emulator->log->{operations}{GetSecretValue}, 1, 'with a login from Secrets Manager, over TLS');
		});
		$run->({ PGHOST => 'localhost' }, sub {
			my $done = shift->invoke($s->event('createSecret'));
			is($done->{kind}, 'response', 'a host name is looked up');
		});
		$run->({ PGHOST => 'nobody.invalid' }, sub {
			my $done = shift->invoke($s->event('createSecret'), deadline_ms => 20000);
			like($done->{value}{errorMessage}, qr/could not translate host name "nobody\.invalid"/, 'one that is none is an error');
		});
		# Amazon's roots, not the throwaway CA
		$run->({ AWS_CA_BUNDLE => undef }, sub {
			my $done = shift->invoke($s->event('createSecret'));
			like($done->{value}{errorMessage}, qr/^could not reach Secrets Manager .*certificate/, 'without AWS_CA_BUNDLE the zip\'s own roots count');
		});
		# What Lambda has in the directories of LD_LIBRARY_PATH must not be loaded
		make_path("$root/lib64");
		foreach my $library (qw(libc.so.6 libpq.so.5 libssl.so.3 libcurl.so.4))
		{
			append_to_file("$root/lib64/$library", 'not a library');
		}
		$run->({}, sub {
			my $done = shift->invoke($s->event('createSecret'));
			is($done->{kind}, 'response', 'other libraries of the same names are passed over');
		});
		$t->stop;
	};
}

done_testing();
