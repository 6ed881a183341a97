# 002_readme.pl
#	  README.md, taken at its word: the five-minute start, every setting and every
#	  function that it names, and the GRANT that it gives.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use Test::More;

my $readme = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../../README.md");
my $t = RotateTest->new(create_extension => 0);

sub lists { return join "\n", sort @_; }

# No restart and no shared_preload_libraries: what it says to type, as it stands there
my $old = $t->add('app');
my ($start) = $readme =~ /^4\. In the database, as a superuser:\n\n((?: +\S.*\n)+)/m;
my ($status, $out, $err) = $t->psql($start);
is($status, 0, 'the five-minute start') or diag($err);
is_deeply([ map { (split /\|/)[3] } (split /\n/, $out)[1, 2] ], [ 'would PROVE_LOGIN(AWSCURRENT)', 'rotated' ], 'shows what it would do, and rotates');
ok($t->can_login('app', $t->password('prod/app')) && !$t->can_login('app', $old), 'AWSCURRENT logs in, the old password does not');

# Settings
my ($settings) = $readme =~ /^(Settings, all for .*?)`SELECT name/ms;
is(lists($settings =~ /`(rotate_ext\.\w+)`/g), $t->sql("LOAD 'rotate_ext'; SELECT name FROM pg_settings WHERE name LIKE 'rotate_ext.%' ORDER BY 1"),
	'every setting is named');
my ($query) = $readme =~ /`(SELECT name, setting, unit, short_desc FROM pg_settings[^`]*)`/;
is(scalar(grep { !/\|[A-Z][^|]*\.$/ } split /\n/, $t->sql("LOAD 'rotate_ext'; $query")), 0, 'and described where it says');
is($t->sql("LOAD 'rotate_ext'; SELECT string_agg(DISTINCT context, ' ') FROM pg_settings WHERE name LIKE 'rotate_ext.%'"), 'sighup',
	'for postgresql.conf only, and a reload suffices');

is($t->sql("LOAD 'rotate_ext';\nALTER SYSTEM SET rotate_ext.profile = 'x';\n"
	  . "SELECT setting FROM pg_file_settings WHERE name = 'rotate_ext.profile';\nALTER SYSTEM RESET rotate_ext.profile"), 'x', 'by ALTER SYSTEM, too');

# Objects
my ($objects) = $readme =~ /^(\| object \|.*?)\n\n/ms;
my @named = map { /(rotate_\w+)/g } $objects =~ /^\| ([^|]*) \|/mg;
is(lists(@named), $t->sql("SELECT c FROM (SELECT proname::text FROM pg_proc WHERE proname LIKE 'rotate\\_%' AND proname <> 'rotate_is_running' "
	  . "UNION SELECT relname::text FROM pg_class WHERE relname LIKE 'rotate\\_%' AND relkind = 'v') o (c) ORDER BY c COLLATE \"C\""),
	'every function and view has its row');
my ($options) = $objects =~ /Options: ([^|]*)/;
is(lists($options =~ /`(\w+)`/g), $t->sql("SELECT a FROM pg_proc, unnest(proargnames[4:10]) a WHERE proname = 'rotate_register' ORDER BY 1"),
	'so has every option of rotate_register()');

# Privileges
my ($grant) = $readme =~ /`(GRANT EXECUTE [^`]*)`/;
$t->sql('CREATE ROLE dba LOGIN');
$t->sql($grant);
is($t->sql("SELECT outcome FROM rotate_now('prod/app')", user => 'dba'), 'rotated', 'granted as README says, a role may rotate');
$t->add('shop');
is($t->sql_error("SELECT rotate_now('prod/shop')", user => 'dba')->{sqlstate}, '42704', 'registered secrets only');

$t->sql('CREATE ROLE viewer LOGIN; GRANT SELECT ON rotate_status TO viewer');
$t->error_is('SELECT * FROM rotate_status', { sqlstate => '42501', message => 'permission denied for function rotate_is_running' },
	'rotate_status alone is not enough', user => 'viewer');
$t->sql('GRANT EXECUTE ON FUNCTION rotate_recovery(), rotate_is_running(oid, bigint) TO viewer');
is($t->sql('SELECT state FROM rotate_status', user => 'viewer'), 'ok', 'with what README names it is');

$t->stop;
done_testing();
