# Matrix.pm
#	  The fault matrix: rotations brought to every boundary between two actions,
#	  a fault there, and what must have come of it without anyone's help.
#
#	my $m = RotateTest::Matrix->new;
#	my @cells = $m->cells('kill worker', ends => {...});
#	$m->bring(@cells);                      # all rotations are held, each at its point
#	...                                     # the fault
#	$m->let_go(@cells);
#	$m->judge(seconds => 5, cells => \@cells);
#	$m->print_table;
#
# A cell is a secret, a role and a port of its own, so any number of them can
# be under way at the same time.

package RotateTest::Matrix;

use strict;
use warnings;

use IPC::Open2 qw(open2);
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Gates;
use RotateTest::Service;
use Test::More;
use Time::HiRes qw(sleep time);

my $json = JSON::PP->new->utf8->canonical;

# {kind, point, ok} of every cell that was judged.
my @tried;

# The boundaries, in the order of a rotation; three of them are within an
# action, where it has taken effect and nobody knows yet, or not quite.
our @POINTS = (
	[ observe => 'before OBSERVE' ],
	[ prove => 'OBSERVE | PROVE(AWSCURRENT)' ],
	[ create => 'PROVE(AWSCURRENT) | CREATE_PENDING' ],
	[ created => 'within CREATE_PENDING: done, not answered' ],
	[ set => 'CREATE_PENDING | SET_PASSWORD' ],
	[ setting => 'within SET_PASSWORD: not committed' ],
	[ prove_new => 'SET_PASSWORD | PROVE(AWSPENDING)' ],
	[ move => 'PROVE(AWSPENDING) | MOVE_CURRENT' ],
	[ moved => 'within MOVE_CURRENT: done, not answered' ],
	[ record => 'MOVE_CURRENT | record' ]);
our @NAMES = map { $_->[0] } @POINTS;
my %order = map { $NAMES[$_] => $_ } 0 .. $#NAMES;

# Which calls Secrets Manager holds: [operation, when].  The others are held
# by the gate before the login, or by a lock.
my %call = (
	observe => [ 'DescribeSecret', 'before' ],
	create => [ 'PutSecretValue', 'before' ],
	created => [ 'PutSecretValue', 'after' ],
	move => [ 'UpdateSecretVersionStage', 'before' ],
	moved => [ 'UpdateSecretVersionStage', 'after' ]);

# Where AWSCURRENT ends if the rotation dies at the point: what has a pending
# version has begun, and is finished.
our %ENDS = map { $_ => $order{$_} < $order{created} ? 'old' : 'new' } @NAMES;

# is_after(POINT, OTHER)
sub is_after { my ($point, $other) = @_; return $order{$point} > $order{$other}; }

# new(options of RotateTest): a server with the launcher.
sub new
{
	my ($class, %options) = @_;
	my $conf = join "\n",
	  "shared_preload_libraries = 'rotate_ext'",
	  "rotate_ext.database = 'postgres'",
	  'restart_after_crash = on',
	  'max_worker_processes = 48',
	  'max_connections = 100',
	  'rotate_ext.request_timeout = 60s',
	  'rotate_ext.login_timeout = 60s',
	  delete $options{conf} || '';

	return bless { t => RotateTest->new(conf => $conf, %options), gates => RotateTest::Gates->new }, $class;
}

sub t { return $_[0]->{t}; }
sub emulator { return $_[0]->{t}->emulator; }

# aws(OPERATION, member => value, ...): a person's call, with boto3.
sub aws
{
	my ($self, @call) = @_;
	my $answer = RotateTest::Service::aws($self, @call);

	die "$call[0] failed: $answer->{error}: $answer->{message}" if exists $answer->{error};
	return $answer;
}

# gate(DO, member => value, ...): a command of gate.py.
sub gate { return shift->{gates}->do(@_); }

=pod

cells(KIND, ends => {point => 'new' or 'old', ...}, points => [...], slug, event)

For each point (all of them unless given) a role, a registered secret whose
AWSPREVIOUS is an older password, and a gate before the role's login.  ends:
where AWSCURRENT is to be in the end, on the version of this rotation or on the
one before; a text for all points.  event: the rotation is one that the service
has begun.  Further options stay in the cell, for its kind to use.

=cut

sub cells
{
	my ($self, $kind, %options) = @_;
	my ($t, $emulator) = ($self->{t}, $self->emulator);
	my $slug = lc(delete $options{slug} || $kind) =~ s/[^a-z0-9]+/_/gr;
	my @points = @{ delete $options{points} || \@NAMES };
	my $ends = delete $options{ends};
	my (@cells, @create, @register);

	foreach my $point (@points)
	{
		my $role = "${slug}_$point";
		my $cell = {
			kind => $kind,
			point => $point,
			role => $role,
			secret => "prod/$role",
			gate => $self->gate('listen', upstream => $t->port)->{port},
			ends => ref $ends ? $ends->{$point} : $ends,
			password => RotateTest::random_password(),
			rules => [],
			%options
		};
		my $value = sub { return { json => $t->secret_json($role, $_[0], port => $cell->{gate}), stages => [ $_[1] ] }; };
		my $state = $emulator->control('/secrets',
			name => $cell->{secret},
			versions => [
				$value->(RotateTest::random_password(), 'AWSPREVIOUS'),
				$value->($cell->{password}, 'AWSCURRENT')
			]);
		$cell->{arn} = $state->{arn};
		$cell->{old} = $state->{labels}{AWSCURRENT};
		$cell->{older} = $state->{labels}{AWSPREVIOUS};
		push @create, "CREATE ROLE $role LOGIN PASSWORD " . RotateTest::literal(RotateTest::scram_verifier($cell->{password}));
		push @register, "SELECT rotate_register('$cell->{secret}', allow_plaintext_login => true)";
		push @cells, $cell;
	}
	$t->sql(join ";\n", @create, @register);
	# a new registration is looked at by the launcher; that is not the run to be held
	my $secrets = join ', ', map { RotateTest::literal($_->{secret}) } @cells;
	$t->wait_for("SELECT count(DISTINCT secret) FROM rotate_run WHERE source = 'launcher' AND outcome IS NOT NULL AND secret IN ($secrets)",
		scalar @cells) or die 'the launcher does not look at new registrations';
	my %role = map { $_->{rolname} => $_ } $t->rows("SELECT rolname, oid::bigint, $RotateTest::VERIFIER AS verifier FROM pg_authid");
	foreach my $cell (@cells)
	{
		$cell->{oid} = $role{ $cell->{role} }{oid};
		$cell->{verifier} = $role{ $cell->{role} }{verifier};
		$self->begin_event($cell) if $cell->{event};
	}
	return @cells;
}

# The service begins a rotation.
sub begin_event
{
	my ($self, $cell) = @_;

	$self->emulator->control('/secrets/update',
		secret => $cell->{secret},
		attributes => { rotation_enabled => JSON::PP::true, rotation_lambda_arn => 'arn:aws:lambda:x:1:function:rotate' });
	$cell->{token} = $self->emulator->control('/service-pending', secret => $cell->{secret})->{id};
	return;
}

# event_sql(CELL, STEP...): the calls that the function would make.
sub event_sql
{
	my ($cell, @steps) = @_;

	return join ";\n", map {
		'SELECT rotate_event('
		  . RotateTest::literal($json->encode({ Step => $_, SecretId => $cell->{arn}, ClientRequestToken => $cell->{token} })) . ')'
	} @steps;
}

=pod

bring(CELL...)

Begins all the rotations, and returns when each is held at its point; one that
does not come there has failed.

A cell may say: then => 'cut', a request that is held gets lost when it is let
go (who made it is dead); with => [rule...], rules that act on the same
requests as those that hold, and after them; midway => sub, what is to happen
when every rotation that is to come so far has just proved AWSCURRENT, and is
about to create the pending version.

=cut

sub bring
{
	my ($self, @cells) = @_;
	my ($t, $emulator) = ($self->{t}, $self->emulator);
	my ($midway) = map { $_->{midway} || () } @cells;

	foreach my $cell (@cells)
	{
		$self->_set_traps($cell, $midway);
		$cell->{call} = $t->start_sql(
			$cell->{event}
			? event_sql($cell, 'createSecret', is_after($cell->{point}, 'created') ? 'setSecret' : ())
			: "SELECT outcome FROM rotate_now('$cell->{secret}')",
			app => $cell->{role});
	}
	$self->{until} = time() + 30;
	foreach my $cell (@cells)
	{
		$self->_wait_for_call($cell, $cell->{first}) if $cell->{first};
	}
	$self->_wait_at($_) foreach grep { !$_->{first} } @cells;
	$midway->() if $midway;
	foreach my $cell (grep { $_->{first} } @cells)
	{
		$self->_lock($cell);
		$emulator->release(delete $cell->{first});
		$self->_wait_at($cell);
	}
	$self->_wait_for_locks(@cells);
	return;
}

# Rotations that have begun together come to their points together: a cell
# that has not when the time is up has failed.
sub _time_left { my $self = shift; my $left = $self->{until} - time(); return $left > 0.1 ? $left : 0.1; }

sub _wait_for_call
{
	my ($self, $cell, $rule) = @_;
	my $reached = $self->emulator->control('/faults/wait', id => $rule, timeout => $self->_time_left)->{reached};

	$cell->{missed} = 1 unless $reached;
	return;
}

# What will hold the rotation at its point, and before that where a lock has
# to be taken while it stands still.
sub _set_traps
{
	my ($self, $cell, $midway) = @_;
	my $emulator = $self->emulator;
	my $point = $cell->{point};
	my %rule = (secret => $cell->{arn});

	if ($point eq 'record')
	{
		$cell->{first} = $emulator->fault(%rule, action => 'pause', operation => 'UpdateSecretVersionStage');
	}
	elsif (is_after($point, 'created') && ($midway || $point =~ /^set/))
	{
		$cell->{first} = $emulator->fault(%rule, action => 'pause',
			$cell->{event} ? (operation => 'DescribeSecret', after => 1) : (operation => 'PutSecretValue'));
	}
	if ($call{$point})
	{
		my ($operation, $when) = @{ $call{$point} };

		$cell->{hold} = $emulator->fault(%rule, action => 'pause', operation => $operation, when => $when,
			$cell->{then} ? (then => $cell->{then}) : ());
	}
	if ($point =~ /^prove/)
	{
		my $logins = $point eq 'prove' ? 0 : $cell->{event} ? 2 : 1;

		$self->gate('hold', port => $cell->{gate}, after => $logins);
	}
	push @{ $cell->{rules} }, map { $emulator->fault(%rule, %$_) } @{ $cell->{with} || [] };
	return;
}

# While the rotation stands still before: what it will have to wait for.
sub _lock
{
	my ($self, $cell) = @_;
	my %lock = (
		set => "SELECT 1 FROM rotate_run WHERE run_id = (SELECT max(run_id) FROM rotate_run WHERE secret = '$cell->{secret}') FOR UPDATE",
		setting => "ALTER ROLE $cell->{role} VALID UNTIL 'infinity'");
	my $sql = $lock{ $cell->{point} eq 'record' ? 'set' : $cell->{point} };

	return unless defined $sql;
	$cell->{session} = $self->_open_session;
	_do_in($cell->{session}, "BEGIN; $sql;") or die "$cell->{role}: could not lock what its rotation is to wait for";
	return;
}

# A psql that holds a lock while the test goes on; it ends with its input.
sub _open_session
{
	my $self = shift;
	my $node = $self->{t}->node;
	my $session = {};
	local %ENV = ($node->_get_env, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres');

	$session->{pid} = open2($session->{out}, $session->{in}, $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1');
	return $session;
}

# _do_in(SESSION, SQL): false where the session has ended.
sub _do_in
{
	my ($session, $sql) = @_;
	local $SIG{PIPE} = 'IGNORE';

	print { $session->{in} } "$sql\n\\echo done\n";
	while (defined(my $line = readline $session->{out}))
	{
		return 1 if $line eq "done\n";
	}
	return 0;
}

# in_session(CELL, SQL): in the session that holds the lock.
sub in_session
{
	my ($self, $cell, $sql) = @_;
	return _do_in($cell->{session}, $sql);
}

sub _close_session
{
	my $session = shift;

	_do_in($session, 'ROLLBACK;');
	local $SIG{PIPE} = 'IGNORE';
	close $session->{in};
	waitpid $session->{pid}, 0;
	return;
}

sub _wait_at
{
	my ($self, $cell) = @_;

	if ($cell->{hold})
	{
		$self->_wait_for_call($cell, $cell->{hold});
	}
	elsif ($cell->{point} =~ /^prove/)
	{
		$cell->{missed} = 1 unless $self->gate('wait', port => $cell->{gate}, timeout => $self->_time_left)->{reached};
	}
	return;
}

# The workers that hold the turns of these roles, and whether they wait for a lock.
sub workers
{
	my ($self, @cells) = @_;
	my $oids = join ', ', map { $_->{oid} } @cells;

	return $self->{t}->rows(qq{
		SELECT l.objid::bigint AS oid, l.pid,
			EXISTS (SELECT 1 FROM pg_locks w WHERE w.pid = l.pid AND NOT w.granted) AS waits
		FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.database = 0 AND l.objid IN ($oids) AND l.granted
			AND l.mode = 'ExclusiveLock' AND a.backend_type LIKE 'rotate_ext%'});
}

sub _wait_for_locks
{
	my ($self, @cells) = @_;
	my @locked = grep { $_->{session} } @cells;

	while (@locked && time() < $self->{until})
	{
		my %waits = map { $_->{oid} => $_->{waits} } $self->workers(@locked);
		@locked = grep { !$waits{ $_->{oid} } } @locked;
		sleep 0.02 if @locked;
	}
	$_->{missed} = 1 foreach @locked;
	return;
}

# let_go(CELL...): on they go, those that live.
sub let_go
{
	my ($self, @cells) = @_;

	foreach my $cell (@cells)
	{
		if (my $hold = delete $cell->{hold})
		{
			$self->emulator->release($hold);
			$self->emulator->control('/faults/clear', id => $hold);
		}
		$self->gate('open', port => $cell->{gate}) if $cell->{point} =~ /^prove/;
		_close_session(delete $cell->{session}) if $cell->{session};
	}
	return;
}

# ended(CELL...): the callers' results.
sub ended
{
	my ($self, @cells) = @_;

	$_->{result} = (delete $_->{call})->finish foreach grep { $_->{call} } @cells;
	return;
}

# What there is of each cell, by secret.
sub _look
{
	my ($self, @cells) = @_;
	my $secrets = join ', ', map { RotateTest::literal($_->{secret}) } @cells;
	my %found = map { $_->{secret} => $_ } $self->{t}->rows(qq{
		SELECT r.secret, $RotateTest::VERIFIER AS verifier, rotate_is_running(r.role_oid) AS running,
			s.state, s.next_due,
			(SELECT json_agg(h ORDER BY h.run_id) FROM (SELECT run_id, source, outcome, version_id, sqlstate, error,
				started_at, finished_at, finished_at IS NULL AS open,
				extract(epoch FROM started_at)::float8 AS begun,
				extract(epoch FROM finished_at)::float8 AS done FROM rotate_run WHERE secret = r.secret) h) AS runs
		FROM rotate_registration r JOIN rotate_status s USING (secret) JOIN pg_authid a ON a.oid = r.role_oid
		WHERE r.secret IN ($secrets)});

	foreach my $cell (@cells)
	{
		my $now = $cell->{now} = $found{ $cell->{secret} };
		$now->{runs} ||= [];
		$now->{state_of_secret} = $self->emulator->secret($cell->{secret});
		$now->{labels} = $now->{state_of_secret}{labels};
	}
	return;
}

# What is not as it must be in the end; logins are left to _wrong_logins.
sub _wrong
{
	my ($self, $cell) = @_;
	my $now = $cell->{now};
	my %label = %{ $now->{labels} };
	my @runs = @{ $now->{runs} };
	my @made = grep { $_ ne $cell->{old} && $_ ne $cell->{older} } keys %{ $now->{state_of_secret}{versions} };
	my @moves = grep { ($_->{outcome} // '') =~ /^(rotated|completed)$/ } @runs;
	my @wrong;

	push @wrong, 'a run without outcome' if grep { $_->{open} } @runs;
	push @wrong, 'a worker still runs' if $now->{running};
	push @wrong, 'the launcher has not looked at it'
	  if $cell->{looked_since} && !grep { $_->{source} eq 'launcher' && $_->{begun} >= $cell->{looked_since} } @runs;
	push @wrong, $cell->{check}->($cell) if $cell->{check};
	return @wrong if $cell->{unusual};

	my $is_new = $label{AWSCURRENT} ne $cell->{old};
	push @wrong, 'AWSCURRENT is on the ' . ($is_new ? 'new' : 'old') . ' version'
	  if defined $cell->{ends} && ($is_new ? 'new' : 'old') ne $cell->{ends};
	push @wrong, scalar(@made) . ' versions were made' if @made > 1;
	push @wrong, 'AWSCURRENT is on a version of nobody' if $is_new && !grep { $_ eq $label{AWSCURRENT} } @made;
	push @wrong, 'AWSPREVIOUS is not on the version before' if $label{AWSPREVIOUS} ne ($is_new ? $cell->{old} : $cell->{older});
	# where a failover has lost the change, the one who gives AWSCURRENT's password back is the one to say so
	@moves = grep { ($_->{outcome} // '') eq 'repaired' } @runs if $cell->{lost} && $is_new && !@moves;
	push @wrong, scalar(@moves) . ' runs say that AWSCURRENT was moved' if @moves != ($is_new ? 1 : 0);
	push @wrong, 'the run that moved AWSCURRENT names another version'
	  if @moves && ($moves[0]{version_id} // '') ne $label{AWSCURRENT};
	push @wrong, 'the verifier is not the one of before, byte by byte'
	  if !$is_new && $now->{verifier} ne $cell->{verifier} && !grep { ($_->{outcome} // '') eq 'repaired' } @runs;
	push @wrong, "the status is \"$now->{state}\"" if $now->{state} !~ /^(ok|never rotated)$/ && !$cell->{fails};
	return @wrong;
}

sub _wrong_logins
{
	my ($self, $cell) = @_;
	my $t = $self->{t};
	my @wrong;

	return if $cell->{no_login};
	push @wrong, 'AWSCURRENT does not log in' unless $t->can_login($cell->{role}, $t->password($cell->{secret}));
	push @wrong, 'the old password still does'
	  if $cell->{now}{labels}{AWSCURRENT} ne $cell->{old} && !$cell->{unusual} && $t->can_login($cell->{role}, $cell->{password});
	return @wrong;
}

# answers(): when the server does, at last.
sub answers
{
	my $self = shift;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (($self->{t}->psql('SELECT'))[0] != 0)
	{
		die 'the server does not come back' if time() > $until;
		sleep 0.02;
	}
	return;
}

# Until nothing is wrong, or it is the time UNTIL; each cell knows when that was.
sub _settle
{
	my ($self, $until, @cells) = @_;
	my $begun = time;

	$self->answers;
	for (;;)
	{
		my @wrong;

		$self->_look(@cells);
		foreach my $cell (@cells)
		{
			if ($self->_wrong($cell))
			{
				push @wrong, $cell;
				delete $cell->{settled};
			}
			elsif (!$cell->{settled}) { $cell->{settled} = time; }
		}
		last if !@wrong || time() > $until;
		sleep(0.05 + (time() - $begun) / 50);
	}
	return;
}

=pod

judge(cells => [...], seconds, since)

Waits until everything is as it must be, which must be so many seconds later at
most; one test a cell.  since: the time when the server was started.  From
then on the seconds count, until the launcher has recorded what it did.

=cut

sub judge
{
	my ($self, %options) = @_;
	my @cells = @{ $options{cells} };
	my $begun = $options{since} || time;
	my $longest = 0;
	my %acted;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$_->{looked_since} = $options{since} foreach @cells;
	$self->ended(@cells);
	$self->_settle($begun + $options{seconds} + ($options{since} ? 20 : 0), @cells);
	$acted{ $_->{id} } = $_->{acted} foreach @{ $self->emulator->control('/faults/list')->{faults} };
	foreach my $cell (@cells)
	{
		my $taken = ($cell->{settled} || time) - $begun;
		my @done = sort { $a <=> $b } grep { defined } map { $_->{done} } @{ $cell->{now}{runs} };

		# that this test had to wait for its own look says nothing of the server
		$taken = $done[-1] - $begun if $options{since} && $cell->{settled};
		my @wrong = ($self->_wrong($cell), $self->_wrong_logins($cell));

		$longest = $taken if $taken > $longest;
		push @wrong, sprintf('it took %.1f s', $taken) if $taken > $options{seconds};
		push @wrong, 'the rotation did not come to its point' if $cell->{missed};
		push @wrong, 'the fault did not happen' if grep { !$acted{$_} } @{ $cell->{rules} };
		push @tried, { kind => $cell->{kind}, point => $cell->{point}, ok => !@wrong };
		ok(!@wrong, "$cell->{kind}: $cell->{point}") or diag(join "\n  ", @wrong, $self->_told($cell));
		$self->_clear($cell);
	}
	note(sprintf '%s: as it must be after %.1f s', $cells[0]{kind}, $longest);
	return;
}

sub _told
{
	my ($self, $cell) = @_;
	my $now = $cell->{now};
	my $result = $cell->{result} || {};

	return (
		'labels: ' . $json->encode($now->{labels}) . " old: $cell->{old} older: $cell->{older}",
		"status: $now->{state}, due " . ($now->{next_due} // 'never'),
		'caller: ' . ($result->{stdout} // '') . ' ' . ($result->{stderr} // ''),
		map { join ' ', 'run', map { $_ // '-' } @{$_}{qw(run_id source outcome version_id sqlstate started_at finished_at error)} } @{ $now->{runs} });
}

sub _clear
{
	my ($self, $cell) = @_;

	$self->emulator->control('/faults/clear', id => $_) foreach @{ delete $cell->{rules} || [] };
	return;
}

# print_table(): kinds by boundaries, and that no cell was left out.
sub print_table
{
	my (@kinds, %cell);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	foreach my $tried (@tried)
	{
		push @kinds, $tried->{kind} unless $cell{ $tried->{kind} };
		push @{ $cell{ $tried->{kind} }{ $tried->{point} } }, $tried->{ok};
	}
	my $line = sub { note(sprintf('%-44s' . '%10s' x @NAMES, @_)); };
	$line->('', @NAMES);
	foreach my $kind (@kinds)
	{
		$line->($kind, map {
			my @of = @{ $cell{$kind}{$_} || [] };
			@of ? sprintf('%d/%d', scalar(grep { $_ } @of), scalar @of) : '';
		} @NAMES);
	}
	note(scalar(@tried) . ' cells tried, ' . scalar(grep { $_->{ok} } @tried) . ' passed');
	my @empty = grep { my $kind = $_; grep { !$cell{$kind}{$_} } @NAMES } @kinds;
	is_deeply(\@empty, [], 'no cell is empty');
	return;
}

# Another server has taken this one's place.
sub take_over
{
	my ($self, $t, @cells) = @_;

	$self->{t} = $t;
	$self->gate('lead', port => $_->{gate}, upstream => $t->port) foreach @cells;
	return;
}

sub stop
{
	my $self = shift;

	delete $self->{gates};
	if (my $aws = $self->{aws})
	{
		close $aws->{in};
		waitpid $aws->{pid}, 0;
	}
	$self->{t}->stop;
	return;
}

1;
