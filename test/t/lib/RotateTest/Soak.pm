# Soak.pm
#	  Rotations under random faults, for as long as wanted, and what must be true
#	  in the end.
#
#	my $soak = RotateTest::Soak->new(seed => 4711);
#	$soak->storm($seconds);                       # everything happens, crashes too
#	$soak->settle('the storm');                   # faults end; every secret is well
#	$soak->drizzle($seconds);                     # all but crashes, and the launcher's memory
#	$soak->settle('the drizzle');
#
# A seed gives the same actions with the same pauses in between; how they meet
# the rotations is not the same twice.
#
# Whatever is done by hand (a password, a name, NOLOGIN, pg_hba.conf) is undone a
# moment later.  What a failover has lost of that, settle() puts right, as a
# DBA would.

package RotateTest::Soak;

use strict;
use warnings;

use File::Path qw(remove_tree);
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotateTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $json = JSON::PP->new->canonical;
my @operations = qw(DescribeSecret GetSecretValue GetRandomPassword PutSecretValue UpdateSecretVersionStage);
my $MAX_CALLS = 8;

# The launcher's memory may grow by so much after it has warmed up.
my $MAX_GROWTH = 16 * 1024;

# new(seed, secrets)
sub new
{
	my ($class, %options) = @_;
	my $t = RotateTest->new(
		name => 'soak0',
		init => { allows_streaming => 1 },
		hba => ['local replication all trust'],
		conf => join("\n", "shared_preload_libraries = 'rotate_ext'", 'restart_after_crash = on', 'max_connections = 60',
			'max_worker_processes = 12', 'rotate_ext.connect_timeout = 1000', 'rotate_ext.request_timeout = 1500',
			'rotate_ext.login_timeout = 2000', 'rotate_ext.start_timeout = 4000', 'rotate_ext.worker_timeout = 12000',
			'rotate_ext.max_attempts = 2', 'wal_receiver_status_interval = 1s'));
	my $self = bless {
		t => $t,
		port => $t->port,
		roles => [ map { "soak_$_" } 1 .. ($options{secrets} || 5) ],
		calls => [],		# under way
		later => [],		# [time, what to undo]
		by_hand => {},		# role => [verifier by hand, verifier before]
		told => {},			# answer => how often
		done => {},			# action => how often
		servers => 0
	}, $class;

	srand($options{seed});
	$self->control('/settings', writes_per_second => 0);
	foreach my $role (@{ $self->{roles} })
	{
		$t->add($role);
		$self->control('/secrets/update', secret => "prod/$role", attributes => { rotation_enabled => JSON::PP::true });
		$t->sql("SELECT rotate_register('prod/$role')");
		# so that a failover that loses a rotation leaves a password that we know
		$t->sql("SELECT rotate_now('prod/$role')") for 1 .. 2;
	}
	$self->_make_standby;
	return $self;
}

sub t { return $_[0]{t}; }
sub control { my ($self, @rest) = @_; return $self->{t}->emulator->control(@rest); }

sub _one_of { return $_[ int rand @_ ]; }
sub _role { return _one_of(@{ $_[0]{roles} }); }

# The servers

sub _make_standby
{
	my $self = shift;
	my $node = $self->{t}->node;
	my $standby = PostgreSQL::Test::Cluster->new('soak' . ++$self->{servers});

	$node->backup($standby->name);
	$standby->init_from_backup($node, $standby->name, has_streaming => 1);
	remove_tree($node->backup_dir . '/' . $standby->name);
	$self->{standby} = bless { %{ $self->{t} }, node => $standby }, ref $self->{t};
	$self->{standby}->start;
	return;
}

# Until the server answers; it may be starting anew after a crash.
sub _wait_until_up
{
	my $self = shift;

	for (1 .. 600)
	{
		my ($status) = $self->{t}->psql('SELECT 1');
		return if $status == 0;
		sleep 0.05;
	}
	die 'the server does not come back';
}

# Start it, when the processes of a killed postmaster have seen that it is gone,
# and init that it is dead.
sub _start
{
	my ($self, $killed) = @_;
	my $t = $self->{t};
	my $directory = $t->node->data_dir;
	my $until = time() + 30;

	while ($killed && kill(0, $killed) || grep { (readlink($_) // '') eq $directory } glob '/proc/[0-9]*/cwd')
	{
		die 'processes of a killed server do not end' if time() > $until;
		sleep 0.05;
	}
	$t->start;
	return $self->_wait_until_up;
}

# The standby takes over, at the primary's address; a new one is made of it.
sub _fail_over
{
	my $self = shift;
	my ($old, $new) = ($self->{t}, $self->{standby});

	# what was committed last may not have got there
	$old->node->stop('immediate');
	$new->node->stop('fast');
	$new->node->append_conf('postgresql.conf', "port = $self->{port}\n");
	$new->node->{_port} = $self->{port};
	$self->{t} = $new;
	$new->start;
	$new->node->promote;
	$old->node->clean_node;
	$self->_make_standby;
	return;
}

sub _pid
{
	my ($self, $type) = @_;
	my ($status, $out) = $self->{t}->psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotate_ext $type'");
	my @pids = $status == 0 ? split /\n/, $out : ();

	return @pids ? _one_of(@pids) : undef;
}

# The calls

sub _call
{
	my ($self, $sql) = @_;
	push @{ $self->{calls} }, $self->{t}->start_sql($sql, timeout => 60) if @{ $self->{calls} } < $MAX_CALLS;
	return;
}

# Those that have ended, or all: what they were told.
sub _reap
{
	my ($self, $all) = @_;
	my @running;

	foreach my $call (@{ $self->{calls} })
	{
		if (!$all && $call->running) { push @running, $call; next; }
		my $result = eval { $call->finish };
		next if !defined $result;	# killed
		$self->{told}{$_}++ foreach grep { /./ } split /\n/, $result->{stdout};
		next if $result->{status} == 0;
		my $error = "$result->{error}{sqlstate} $result->{error}{message}";
		$error =~ s/"[^"]*"|\d+ ms|version \S+/…/g;
		$error =~ s/\n.*//s;
		$error = 'no connection' if $result->{error}{sqlstate} !~ /^[0-9A-Z]{5}$/;
		$self->{told}{$error}++;
	}
	$self->{calls} = \@running;
	return;
}

# The four steps of a rotation that the service has started
sub _service
{
	my $self = shift;
	my $made = $self->control('/service-pending', secret => 'prod/' . $self->_role);
	my $sql = '';

	foreach my $step (qw(createSecret setSecret testSecret finishSecret))
	{
		my $event = $json->encode({ Step => $step, SecretId => $made->{secret}{arn}, ClientRequestToken => $made->{id} });
		$sql .= "SELECT rotate_event('$event')->>'outcome';\n";
	}
	return $self->_call($sql);
}

# Do it now, undo it a moment later.
sub _later
{
	my ($self, $seconds, $what) = @_;
	push @{ $self->{later} }, [ time() + $seconds, $what ];
	return;
}

sub _undo
{
	my ($self, $all) = @_;
	my @due = grep { $all || $_->[0] <= time() } @{ $self->{later} };

	$self->{later} = $all ? [] : [ grep { my $later = $_; !grep { $_ == $later } @due } @{ $self->{later} } ];
	$_->[1]->() foreach @due;
	return;
}

sub _set_by_hand
{
	my $self = shift;
	my $role = $self->_role;
	my $verifier = RotateTest::scram_verifier(RotateTest::random_password());

	return if $self->{by_hand}{$role};
	my ($status, $before) = $self->{t}->psql("SELECT rolpassword FROM pg_authid WHERE rolname = '$role'");
	return if $status != 0 || $before eq '';
	$self->{by_hand}{$role} = [ $verifier, $before ];
	$self->{t}->psql("ALTER ROLE $role PASSWORD '$verifier'");
	$self->_later(rand 1, sub { $self->_put_back($role) });
	return;
}

# Whatever a crash or a failover has made of it in between; again and again,
# since the server may be down, or the role have another name for a moment.
sub _put_back
{
	my ($self, $role) = @_;
	my ($by_hand, $before) = @{ $self->{by_hand}{$role} || return };
	my ($status, $now) = $self->{t}->psql("SELECT rolpassword FROM pg_authid WHERE rolname = '$role'");

	($status) = $self->{t}->psql("ALTER ROLE $role PASSWORD '$before'") if $status == 0 && $now eq $by_hand;
	if ($status != 0 || $now eq '')
	{
		$self->_later(0.3, sub { $self->_put_back($role) });
		return;
	}
	# a failover in the next seconds could bring it back: settle() looks again
	push @{ $self->{put_back} }, [ $role, $by_hand, $before ];
	delete $self->{by_hand}{$role};
	return;
}

sub _psql { my ($self, $sql) = @_; $self->{t}->psql($sql); return; }

sub _alter_and_back
{
	my ($self, $there, $back) = @_;
	my ($status) = $self->{t}->psql($there);
	$self->_later(rand 0.8, sub { $self->_again($back) }) if $status == 0;
	return;
}

# Until it succeeds, or the server takes it for wrong.
sub _again
{
	my ($self, $sql) = @_;
	my ($status, $out, $err) = $self->{t}->psql($sql);

	$self->_later(0.3, sub { $self->_again($sql) }) if $status != 0 && $err !~ /ERROR:/;
	return;
}

sub _refuse_logins
{
	my $self = shift;
	my @lines = ('local replication all trust', 'host all all 127.0.0.1/32 scram-sha-256');

	$self->{t}->set_hba($lines[0], 'host all all 127.0.0.1/32 reject');
	eval { $self->{t}->node->reload };
	$self->_later(rand 1, sub { $self->{t}->set_hba(@lines); eval { $self->{t}->node->reload } });
	return;
}

# One of the emulator's faults, on some operation, perhaps of one secret only
sub _fault
{
	my $self = shift;
	my @faults = (
		{ action => 'throttle' }, { action => 'access_denied' }, { action => 'kms_denied' }, { action => 'cut' }, { action => 'cut', reset => JSON::PP::true },
		{ action => 'cut', when => 'after' }, { action => 'error', status => 500 }, { action => 'error', status => 503, when => 'after' },
		{ action => 'error', type => 'InternalServiceError', status => 500, when => 'after' },
		{ action => 'error', type => 'LimitExceededException' }, { action => 'error', type => 'ResourceNotFoundException' },
		{ action => 'hang', seconds => 0.5 + rand 2 }, { action => 'hang', when => 'after', seconds => 0.5 + rand 2 },
		{ action => 'pause', seconds => 0.5 + rand 3 }, { action => 'latency', seconds => rand 1 }, { action => 'latency', when => 'after', seconds => rand 1 },
		{ action => 'truncate' }, { action => 'wrong_length' }, { action => 'huge' }, { action => 'redirect' },
		{ action => 'replace', body => '<html>' }, { action => 'replace', body => '{}' });
	my %rule = %{ _one_of(@faults) };

	$rule{operation} = _one_of(@operations) if rand() < 0.9;
	$rule{times} = 1 + int rand 4;
	$self->{t}->emulator->fault(%rule);
	return;
}

# What can happen: how often, and whether it restarts the server.
my %actions = (
	'rotate_now' => [ 30, 0, sub { my $s = shift; $s->_call("SELECT outcome FROM rotate_now('prod/" . $s->_role . "')") } ],
	'rotate_now with force' =>
	  [ 5, 0, sub { my $s = shift; $s->_call("SELECT outcome FROM rotate_now('prod/" . $s->_role . "', force => true)") } ],
	'rotate_abandon' => [ 6, 0, sub { my $s = shift; $s->_call("SELECT outcome FROM rotate_abandon('prod/" . $s->_role . "')") } ],
	'rotate_rollback' => [ 5, 0, sub { my $s = shift; $s->_call("SELECT outcome FROM rotate_rollback('prod/" . $s->_role . "')") } ],
	'the service\'s four steps' => [ 8, 0, \&_service ],
	'a caller goes' => [ 3, 0, sub { my $s = shift; my $call = shift @{ $s->{calls} }; $call->kill if $call; } ],
	'a caller is cancelled' => [ 3, 0, sub { $_[0]->_psql(
		"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT.*rotate_' AND pid <> pg_backend_pid() LIMIT 1") } ],
	'a fault of Secrets Manager' => [ 14, 0, \&_fault ],
	'no faults' => [ 8, 0, sub { $_[0]->{t}->emulator->clear_faults } ],
	'stale reads' => [ 3, 0, sub { my $s = shift; $s->control('/settings', map { $_ => int rand 3 } 'stale_reads_after_put', 'stale_reads_after_label') } ],
	'connections to Secrets Manager are lost' => [ 3, 0, sub { $_[0]->control('/connections/drop') } ],
	'AWSPENDING is taken away' => [ 3, 0, sub { my $s = shift; $s->control('/labels', secret => 'prod/' . $s->_role, labels => { AWSPENDING => undef }) } ],
	'AWSCURRENT is moved back by hand' => [ 1, 0, \&_move_back ],
	'a password by hand' => [ 3, 0, \&_set_by_hand ],
	'RENAME' => [ 2, 0, sub { my $s = shift; my $r = $s->_role;
		$s->_alter_and_back("ALTER ROLE $r RENAME TO ${r}_x", "ALTER ROLE ${r}_x RENAME TO $r") } ],
	'NOLOGIN' => [ 2, 0, sub { my $s = shift; my $r = $s->_role; $s->_alter_and_back("ALTER ROLE $r NOLOGIN", "ALTER ROLE $r LOGIN") } ],
	'CONNECTION LIMIT' => [ 2, 0, sub { my $s = shift; my $r = $s->_role;
		$s->_alter_and_back("ALTER ROLE $r CONNECTION LIMIT 0", "ALTER ROLE $r CONNECTION LIMIT -1") } ],
	'ALTER ROLE' => [ 4, 0, sub { my $s = shift; my $r = $s->_role; $s->_psql("ALTER ROLE $r SET work_mem = '" . (1 + int rand 9) . "MB'; ALTER ROLE $r VALID UNTIL 'infinity'") } ],
	'an open transaction' => [ 2, 0, sub { my $s = shift; my $r = $s->_role;
		# of two that alter a role PostgreSQL may tell one that its tuple was concurrently updated
		$s->_call("\\set ON_ERROR_STOP 0\nBEGIN; ALTER ROLE $r CONNECTION LIMIT -1; SELECT pg_sleep(" . rand(1.5) . '); ROLLBACK') } ],
	'pg_hba.conf refuses' => [ 2, 0, \&_refuse_logins ],
	'registered anew' => [ 2, 0, sub { my $s = shift; my $r = $s->_role; $s->_call("BEGIN; SELECT rotate_unregister('prod/$r'); SELECT rotate_register('prod/$r'); COMMIT") } ],
	'a reload' => [ 1, 0, sub { eval { $_[0]->{t}->node->reload } } ],
	'a worker is terminated' => [ 4, 0, sub { my $s = shift; my $pid = $s->_pid('rotation worker'); $s->_psql("SELECT pg_terminate_backend($pid)") if $pid; } ],
	'the launcher is terminated' => [ 1, 1, sub { my $s = shift; my $pid = $s->_pid('launcher'); $s->_psql("SELECT pg_terminate_backend($pid)") if $pid; } ],
	'a worker is killed' => [ 5, 1, sub { my $s = shift; my $pid = $s->_pid('rotation worker'); kill 'KILL', $pid if $pid; } ],
	'the launcher is killed' => [ 1, 1, sub { my $s = shift; my $pid = $s->_pid('launcher'); kill 'KILL', $pid if $pid; } ],
	'the postmaster is killed' => [ 1, 1, sub { my $s = shift; my $pid = $s->{t}->node->{_pid}; $s->{t}->node->kill9; $s->_start($pid) } ],
	'an immediate shutdown' => [ 1, 1, sub { my $s = shift; $s->{t}->node->stop('immediate'); $s->_start } ],
	'a fast shutdown' => [ 1, 1, sub { my $s = shift; $s->_wait_until_up; $s->{t}->node->stop('fast'); $s->_start } ],
	'a failover' => [ 1, 1, sub { my $s = shift; $s->_wait_until_up; $s->_fail_over } ]);

sub _move_back
{
	my $self = shift;
	my $secret = 'prod/' . $self->_role;
	my $labels = $self->control('/state', secret => $secret)->{labels};

	$self->control('/labels', secret => $secret,
		labels => { AWSCURRENT => $labels->{AWSPREVIOUS}, AWSPREVIOUS => $labels->{AWSCURRENT} }) if defined $labels->{AWSPREVIOUS};
	return;
}

sub _go
{
	my ($self, $seconds, $with_restarts, $each) = @_;
	my $until = time() + $seconds;
	my @choices = map { my $name = $_; ($name) x ($actions{$name}[1] && !$with_restarts ? 0 : $actions{$name}[0]) } sort keys %actions;

	while (time() < $until)
	{
		my $action = _one_of(@choices);
		my $pause = rand 0.25;

		$self->_undo;
		print "# soak: $action\n";
		$actions{$action}[2]->($self);
		$self->{done}{$action}++;
		$self->_reap;
		if (rand() < 0.05)
		{
			# what the emulator keeps of the past
			$self->control('/log/clear');
			$self->control('/versions/prune', secret => 'prod/' . $self->_role);
		}
		$each->() if $each;
		sleep $pause;
	}
	return;
}

sub storm { my ($self, $seconds) = @_; return $self->_go($seconds, 1); }

# drizzle(SECONDS): and the launcher's memory, from when it has warmed up.
sub drizzle
{
	my ($self, $seconds) = @_;
	my $pid = $self->_pid('launcher');
	my (@samples, $next);

	$self->_go($seconds / 4, 0);
	$next = time();
	$self->_go($seconds * 3 / 4, 0, sub {
		return if time() < $next;
		push @samples, $self->_memory;
		$next = time() + $seconds / 12;
	});
	push @samples, $self->_memory;
	is($self->_pid('launcher'), $pid, 'it was one launcher all the time');
	note("launcher: $_->{used} bytes used in memory contexts, RssAnon $_->{anon} kB, $_->{files} files, $_->{maps} mappings") foreach @samples;

	# what it holds for the workers of the moment comes and goes: the least of the first third, and of the last
	my $third = int(@samples / 3) || 1;
	foreach my $case ([ used => 'memory contexts', $MAX_GROWTH ], [ anon => 'resident memory (kB)', 256 ], [ files => 'open files', 3 ], [ maps => 'mappings', 6 ])
	{
		my ($key, $what, $growth) = @$case;
		my ($early) = sort { $a <=> $b } map { $_->{$key} } @samples[ 0 .. $third - 1 ];
		my ($late) = sort { $a <=> $b } map { $_->{$key} } @samples[ -$third .. -1 ];
		cmp_ok($late - $early, '<=', $growth, "the launcher does not grow: $what, $early and then $late");
	}
	return;
}

# The server logs what its memory contexts hold.
sub _memory
{
	my $self = shift;
	my $t = $self->{t};
	my $pid = $self->_pid('launcher') or die 'there is no launcher';
	my $status = slurp_file("/proc/$pid/status");
	my %sample = (
		anon => ($status =~ /^RssAnon:\s+(\d+)/m)[0] || 0,
		files => scalar(my @files = glob "/proc/$pid/fd/*"),
		maps => scalar(my @maps = split /\n/, slurp_file("/proc/$pid/maps")));
	my $from = -s $t->node->logfile;

	$t->sql("SELECT pg_log_backend_memory_contexts($pid)");
	for (1 .. 200)
	{
		($sample{used}) = slurp_file($t->node->logfile, $from) =~ /\[$pid\].*Grand total: .*?(\d+) used/;
		return \%sample if defined $sample{used};
		sleep 0.05;
	}
	die 'the launcher does not say what memory it has';
}

# settle(AFTER WHAT): the faults end, and what was done by hand is undone; after
# one more crash the launcher has put everything right.
sub settle
{
	my ($self, $what) = @_;
	my $t = $self->{t};
	my $roles = join ', ', map { "'$_'" } @{ $self->{roles} };

	$t->emulator->clear_faults;
	$self->control('/settings', stale_reads_after_put => 0, stale_reads_after_label => 0);
	$self->_wait_until_up;
	$self->_undo(1);
	$self->_reap(1);
	$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'", '0');
	$self->_put_right;

	# the stale reads that are still to come, however late
	$t->psql(join '', "\\set ON_ERROR_STOP 0\n", map { "SELECT rotate_now('prod/$_', dry_run => true);\n" x 3 } @{ $self->{roles} });

	my @harmed = $self->_harm;
	my $started = time();
	$t->node->stop('immediate');
	$t->emulator->clear_faults;
	$self->_start;
	$self->_reap(1);
	my @out;
	my $wait = time() + 15;
	do
	{
		@out = grep { !eval { $t->can_login($_, $t->password("prod/$_")) } } @{ $self->{roles} };
	} while (@out && time() < $wait && sleep 0.1);
	is_deeply(\@out, [], "after $what AWSCURRENT of every secret logs in") or $self->_explain(@out);
	note(sprintf 'after %s: %.1f s from the crash until all logged in, of which %d did not', $what, time() - $started, scalar @harmed);

	# the launcher may have begun another one when this is asked
	my $last = $t->sql('SELECT max(run_id) FROM rotate_run');
	ok($t->wait_for("SELECT count(*) = 0 FROM rotate_run WHERE finished_at IS NULL AND run_id <= $last"), '  no run is without an outcome');
	is($t->sql("SELECT count(*) FROM rotate_run WHERE outcome IS NULL AND run_id <= $last"), '0', '  in rotate_history neither');
	is($t->sql("SELECT count(*) FROM rotate_status WHERE recovery = 'on'"), scalar(@{ $self->{roles} }), '  every secret is still registered');

	# A rotation that the service has not ended, or a version that nobody can use, is given up.
	my @stuck;
	foreach my $role (@{ $self->{roles} })
	{
		$t->psql("SELECT rotate_abandon('prod/$role')");
		my ($status, $out, $err) = $t->psql("SELECT outcome FROM rotate_now('prod/$role')");
		push @stuck, "$role: $err" if $status != 0 || $out !~ /^(rotated|completed)$/ || !$t->can_login($role, $t->password("prod/$role"));
	}
	is_deeply(\@stuck, [], '  every secret can be rotated');
	# a look that was due before waits for its turn behind those rotations
	$t->wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotate_ext rotation worker'", '0');
	is($t->sql("SELECT string_agg(secret || ': ' || state, ', ') FROM rotate_status WHERE state <> 'ok'"), '', '  and is well');
	return;
}

# Two secrets whose AWSCURRENT does not log in: a change that was lost, and a run
# that stands before its label's move.
sub _harm
{
	my $self = shift;
	my $t = $self->{t};
	my ($lost, $cut_short) = @{ $self->{roles} };

	my $previous = $t->labels("prod/$lost")->{AWSPREVIOUS};
	$t->set_password($lost, $t->password("prod/$lost", 'AWSPREVIOUS')) if defined $previous;
	my $rule = $t->emulator->fault(action => 'hang', operation => 'UpdateSecretVersionStage');
	$self->_call("SELECT outcome FROM rotate_now('prod/$cut_short', force => true)");
	$self->control('/faults/wait', id => $rule, timeout => 5);
	return grep { !$t->can_login($_, $t->password("prod/$_")) } $lost, $cut_short;
}

# What crashes and failovers have left of what was done by hand
sub _put_right
{
	my $self = shift;
	my $t = $self->{t};

	foreach my $role (@{ $self->{roles} })
	{
		$t->psql("ALTER ROLE ${role}_x RENAME TO $role");
		$t->sql("ALTER ROLE $role LOGIN CONNECTION LIMIT -1");
		$self->_put_back($role);
	}
	foreach my $case (@{ $self->{put_back} || [] })
	{
		my ($role, $by_hand, $before) = @$case;
		my ($status, $now) = $t->psql("SELECT rolpassword FROM pg_authid WHERE rolname = '$role'");
		$t->sql("ALTER ROLE $role PASSWORD '$before'") if $status == 0 && $now eq $by_hand;
	}
	$self->{put_back} = [];
	return;
}

sub _explain
{
	my ($self, @roles) = @_;
	my $t = $self->{t};

	foreach my $role (@roles)
	{
		diag("$role: " . $json->encode($t->labels("prod/$role")));
		diag($json->encode($_)) foreach $t->rows('SELECT run_id, source, attempt, outcome, version_id, created_version_id, set_version_id, started_at, '
			  . "finished_at, retry_at, sqlstate, error FROM rotate_run WHERE secret = 'prod/$role' ORDER BY run_id DESC LIMIT 12");
		diag('the role has the password of ' . ($t->sql("SELECT coalesce(string_agg(set_version_id, ' '), 'no run') FROM rotate_run r JOIN pg_authid a "
			  . "ON verifier_hash = sha256(convert_to(rolpassword, 'UTF8')) WHERE rolname = '$role'")));
	}
	return;
}

# finish(): what was done and what came of it; nothing but clear errors.
sub finish
{
	my $self = shift;
	my $t = $self->{t};
	my @internal = grep { /^XX/ } keys %{ $self->{told} };

	note("$self->{done}{$_} x $_") foreach sort keys %{ $self->{done} };
	note("$self->{told}{$_} x $_") foreach sort keys %{ $self->{told} };
	is_deeply(\@internal, [], 'no caller was told an internal error');
	cmp_ok(($self->{told}{rotated} || 0) + ($self->{told}{completed} || 0), '>', 0, 'rotations have succeeded in between');
	$self->{standby}->stop('immediate');
	$t->stop;

	# SIGKILL was ours
	my @signals;
	foreach my $log (glob $t->node->logfile =~ s/soak\d+\.log$/soak*.log/r)
	{
		push @signals, grep { /terminated by signal (?!9)|PANIC|TRAP|deadlock detected/ } split /\n/, slurp_file($log);
	}
	is_deeply(\@signals, [], 'no process of any server has crashed by itself');
	return;
}

1;
