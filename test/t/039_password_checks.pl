# 039_password_checks.pl
#	  A module that judges passwords judges ours too, however it is loaded, and
#	  never stands in the way back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Login;
use Test::More;

my $t = RotateTest->new;
my $emulator = $t->emulator;
my @app = (role => 'app', secret => 'prod/app');
my $short = 'sh0rt';

$t->set('rotate_ext.login_timeout' => '5s');
$t->add('app');
$t->sql("SELECT rotate_register('prod/app', 'app')");

my %loaded = (
	'shared_preload_libraries' => [
		sub { $t->set(shared_preload_libraries => 'passwordcheck'); $t->restart },
		sub { $t->set(shared_preload_libraries => undef); $t->restart }
	],
	'session_preload_libraries in postgresql.conf' => [
		sub { $t->set(session_preload_libraries => 'passwordcheck') },
		sub { $t->set(session_preload_libraries => undef) }
	],
	'session_preload_libraries of the database' => [
		sub { $t->sql('ALTER DATABASE postgres SET session_preload_libraries = \'passwordcheck\'') },
		sub { $t->sql('ALTER DATABASE postgres RESET ALL') }
	]);

foreach my $how (sort keys %loaded)
{
	my ($load, $unload) = @{ $loaded{$how} };

	$load->();
	still_rotates($t, 'app', "passwordcheck by $how takes a good password");
	$emulator->add_version('prod/app', $t->secret_json('app', $short), 'AWSPENDING');
	$t->refused(
		"SELECT rotate_now('prod/app')",
		{
			sqlstate => '22023',
			message => 'could not rotate secret "prod/app": the password of its AWSPENDING version was refused: '
			  . 'password is too short',
			hint => 'Call rotate_abandon(\'prod/app\') to give this version up; rotate_now() then makes another.'
		},
		"and refuses a short one: $how", @app);
	my $log = $t->server_log;
	is(index($log, $short), -1, 'the short password is not in the server\'s log');
	ok($t->can_login('app', $t->password('prod/app')), 'AWSCURRENT logs in');
	$t->row("SELECT * FROM rotate_abandon('prod/app')");
	still_rotates($t, 'app', 'that version given up, it rotates');

	# What was set before there were rules comes back in spite of them.
	my $weak = "weak_role_" . ($how =~ /(\w+)$/)[0];
	$t->add($weak, password => $short);
	$t->sql("SELECT rotate_register('prod/$weak', '$weak')");
	$emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage', times => 0);
	my $before = $t->verifier_of($weak);
	$t->error_is("SELECT rotate_now('prod/$weak')", { sqlstate => '42501' }, 'a rotation that fails after the password was set');
	is($t->verifier_of($weak), $before, 'a password that would be refused today comes back');
	$emulator->clear_faults;
	$unload->();
	$emulator->add_version('prod/app', $t->secret_json('app', "$short$how"), 'AWSPENDING');
	still_rotates($t, 'app', 'without the module the pending password is taken');
}

# Who watches what happens to roles sees the way back, too; and who changes the
# password on its way is found out before that is committed.
my $dir = PostgreSQL::Test::Utils::tempdir;
PostgreSQL::Test::Utils::append_to_file("$dir/watch.c", <<'C');
#include "postgres.h"

#include "access/table.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "commands/user.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/rel.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static void
watch(ObjectAccessType access, Oid class, Oid object, int column, void *arg)
{
	if (access == OAT_POST_ALTER && class == AuthIdRelationId)
	{
		elog(LOG, "role %u was altered", object);
		pg_usleep(500000);
	}
}

static void
change(PlannedStmt *planned, const char *query, bool read_only, ProcessUtilityContext context, ParamListInfo params,
	   QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	if (IsA(planned->utilityStmt, AlterRoleStmt))
		strVal(((DefElem *) linitial(((AlterRoleStmt *) planned->utilityStmt)->options))->arg)[0] ^= 1;
	standard_ProcessUtility(planned, query, read_only, context, params, environment, dest, completion);
}

/* An ALTER ROLE that has read the role's row stands still until somebody waits for it. */
static void
hold(const char *role, const char *password, PasswordType type, Datum valid_until, bool valid_for_ever)
{
	Relation authid = table_open(AuthIdRelationId, RowExclusiveLock);

	elog(LOG, "holding %s", role);
	for (int i = 0; i < 3000 && !LockHasWaitersRelation(authid, RowExclusiveLock); i++)
		pg_usleep(1000);
	table_close(authid, NoLock);
}

void
_PG_init(void)
{
#ifdef CHANGE
	ProcessUtility_hook = change;
#elif defined(HOLD)
	check_password_hook = hold;
#else
	object_access_hook = watch;
#endif
}
C
PostgreSQL::Test::Utils::system_or_bail('cc', '-shared', '-fPIC', '-I', $t->node->config_data('--includedir-server'),
	"-D\U$_", '-o', "$dir/$_.so", "$dir/watch.c") foreach 'watch', 'change', 'hold';
$t->set(session_preload_libraries => "$dir/watch");
$emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage', times => 0);
my $seen = sub { return scalar(() = $t->server_log =~ /role \d+ was altered/g) };
my $before = $seen->();
my $call = $t->start_sql("SELECT rotate_now('prod/app')");
for (1 .. 500)
{
	last if $seen->() - $before == 2 || !$call->running;
	select undef, undef, undef, 0.02;
}
# nor is anybody in its way who alters the role while it takes its time
is(($t->psql('ALTER ROLE app CONNECTION LIMIT 7'))[2], '', 'an ALTER ROLE at the same time waits');
is($call->finish->{error}{sqlstate}, '42501', 'a rotation that fails after the password was set');
is($seen->() - $before, 3, 'a hook that watches roles has seen the new password, the old one, and that');
$emulator->clear_faults;
$t->set(session_preload_libraries => undef);

# An ALTER ROLE that is under way when the old password has to come back: it does not read "tuple concurrently updated".
{
	my $fault = $emulator->fault(action => 'pause', operation => 'UpdateSecretVersionStage');
	$emulator->fault(action => 'access_denied', operation => 'UpdateSecretVersionStage', times => 0);
	$call = $t->start_sql("SELECT rotate_now('prod/app')");
	$emulator->wait_for_fault($fault);
	my $alter = $t->start_sql("LOAD '$dir/hold'; ALTER ROLE app PASSWORD " . RotateTest::literal(RotateTest::scram_verifier('by hand')));
	for (1 .. 500)
	{
		last if $t->server_log =~ /holding app/;
		select undef, undef, undef, 0.02;
	}
	$emulator->release($fault);
	is($alter->finish->{stderr}, '', 'an ALTER ROLE that has begun before is waited for');
	is($call->finish->{error}{sqlstate}, '42501', 'by a rotation whose label does not move');
	ok($t->can_login('app', 'by hand'), 'and has its effect');
	$emulator->clear_faults;
	$t->set_password('app', $t->password('prod/app'));
}

$t->set(session_preload_libraries => "$dir/change");
$t->refused(
	"SELECT rotate_now('prod/app')",
	{
		sqlstate => '22023',
		message => 'could not rotate secret "prod/app": the password of its AWSPENDING version was refused: '
		  . 'could not set the password of role "app"',
		detail => 'PostgreSQL stored a verifier that this password does not match.',
		hint => 'Passwords that look like a ready-made verifier can\'t be used.'
	},
	'a hook that changes the password', @app);

$t->stop;
done_testing();
