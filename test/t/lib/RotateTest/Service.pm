# Service.pm
#	  The whole of a rotation by Secrets Manager: a server with TLS, the
#	  emulator, and the packed Lambda function that it invokes; set up as
#	  docs/lambda.md says.
#
#	my $s = RotateTest::Service->new;
#	my $app = $s->add('app');                     # role, secret, function
#	my $rotation = $s->rotate($app);              # boto3's rotate_secret, and its end
#	is($rotation->{status}, 'succeeded');
#
# Every secret has a function, and a secret with the function's login, of its
# own, so that rotations side by side can be told what goes wrong one by one.

package RotateTest::Service;

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use IPC::Open2 qw(open2);
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Utils;
use RotateTest;
use RotateTest::Lambda;
use Test::More;

our @STEPS = qw(createSecret setSecret testSecret finishSecret);

my $json = JSON::PP->new->utf8->canonical;
my $aws = dirname(__FILE__) . '/aws.py';

# new(conf, hba, preload, start, timeout of the functions, ...): further
# options are RotateTest's.
sub new
{
	my ($class, %options) = @_;
	my $emulator = delete $options{emulator} || RotateTest::Emulator->new(region => $RotateTest::REGION);
	my $tls = dirname($emulator->ca);
	my $t = RotateTest->new(
		%options,
		emulator => $emulator,
		conf => join("\n",
			'ssl = on',
			"ssl_cert_file = '$tls/server.pem'",
			"ssl_key_file = '$tls/server.key'",
			'log_connections = on',
			$options{conf} || ''),
		hba => [
			'hostnossl all rotate_lambda 127.0.0.0/8 reject',
			'hostssl postgres rotate_lambda 127.0.0.0/8 scram-sha-256',
			@{ $options{hba} || [] }
		]);
	my $self = bless { t => $t, tried => [], password => RotateTest::random_password() }, $class;

	$self->_unpack;
	return $self;
}

# As docs/lambda.md has it, but for the password.
sub create_function_role
{
	my $self = shift;
	my $t = $self->{t};
	# settings of libraries that are loaded, and have them in this version
	my @known = $t->sql(q{SELECT name FROM pg_settings WHERE name LIKE '%.log_parameter%'}) =~ /(\S+)/g;
	my %known = map { $_ => 1 } @known;

	$t->create_role('rotate_lambda', $self->{password}, 'LOGIN CONNECTION LIMIT 4');
	$t->sql(join '; ',
		'GRANT EXECUTE ON FUNCTION public.rotate_event(jsonb) TO rotate_lambda',
		map { "ALTER ROLE rotate_lambda SET $_" } "idle_session_timeout = '10min'",
		'log_parameter_max_length = 0',
		'log_parameter_max_length_on_error = 0',
		'plan_cache_mode = force_generic_plan',
		$known{'pgaudit.log_parameter'} ? 'pgaudit.log_parameter = off' : (),
		$known{'auto_explain.log_parameter_max_length'} ? 'auto_explain.log_parameter_max_length = 0' : ());
	return;
}

# The zip, as Lambda unpacks it, in a root where there is nothing else; where
# that takes privileges that there are not, by the zip's own dynamic linker.
sub _unpack
{
	my $self = shift;
	my $root = PostgreSQL::Test::Utils::tempdir('function') . '/root';
	my $task = "$root/var/task";
	my ($arch) = map { s/^aarch64$/arm64/r } (POSIX::uname())[4];
	my $zip = RotateTest::Lambda::build('zip') . "/rotate_lambda-$arch.zip";

	make_path($task, "$root/tmp", "$root/etc", "$root/proc");
	system('/usr/bin/python3', '-m', 'zipfile', '-e', $zip, $task) == 0 or die 'could not unpack the function';
	chmod 0755, "$task/bootstrap", glob("$task/lib/ld-linux*");
	copy($self->{t}->emulator->ca, "$task/ca.pem") or die "could not copy: $!";
	PostgreSQL::Test::Utils::append_to_file("$root/etc/hosts", "127.0.0.1 localhost\n");
	if (system('unshare -r true 2>/dev/null') == 0)
	{
		$self->{command} = [ '/usr/bin/unshare', '-r', '/usr/sbin/chroot', $root, '/var/task/bootstrap' ];
		$self->{task} = '/var/task';
		$self->{tmp} = '/tmp';
	}
	else
	{
		my ($linker) = glob("$task/lib/ld-linux*");
		$self->{command} = [ $linker, '--library-path', "$task/lib", "$task/bootstrap" ];
		$self->{task} = $task;
		$self->{tmp} = "$root/tmp";
	}
	return;
}

sub emulator { return $_[0]->{t}->emulator; }
sub control { my ($self, @rest) = @_; return $self->emulator->control(@rest); }

# add(ROLE, timeout => 10, env => {...}, options of RotateTest's add): a role,
# its registered secret, and the function that rotates it.  Returns names and
# ARNs.
sub add
{
	my ($self, $role, %options) = @_;
	my $t = $self->{t};
	my $app = { role => $role, secret => "prod/$role", function => "rotate-$role", login => "rotate/login-of-$role" };
	my ($timeout, $env) = (delete $options{timeout} || 10, delete $options{env} || {});

	if (!$self->{has_function_role}++)
	{
		$self->create_function_role;
	}
	$self->emulator->create_secret($app->{login}, $t->secret_json('rotate_lambda', $self->{password}));
	$app->{login_arn} = $self->emulator->secret($app->{login})->{arn};
	$t->add($role, %options);
	$app->{arn} = $self->emulator->secret($app->{secret})->{arn};
	$t->sql('SELECT rotate_register(' . RotateTest::literal($app->{secret}) . ')');
	$app->{function_arn} = $self->control('/functions',
		name => $app->{function},
		command => $self->{command},
		timeout => $timeout,
		env => {
			LAMBDA_TASK_ROOT => $self->{task},
			# what a killed function leaves behind goes with the test's directory
			TMPDIR => $self->{tmp},
			PGHOST => '127.0.0.1',
			PGPORT => '' . $t->port,
			ROTATE_DB_CA => PostgreSQL::Test::Utils::slurp_file($self->emulator->ca),
			ROTATE_LOGIN_SECRET => $app->{login_arn},
			AWS_ENDPOINT_URL_SECRETS_MANAGER => $self->emulator->endpoint_url,
			AWS_CA_BUNDLE => "$self->{task}/ca.pem",
			%$env
		})->{arn};
	return $app;
}

# aws(OPERATION, member => value, ...): a call of boto3's; its answer, or
# {error, message}.
sub aws
{
	my ($self, $operation, %parameters) = @_;

	if (!$self->{aws})
	{
		my $emulator = $self->emulator;
		local %ENV = (
			%ENV,
			AWS_ENDPOINT_URL_SECRETS_MANAGER => $emulator->endpoint_url,
			AWS_CA_BUNDLE => $emulator->ca,
			AWS_DEFAULT_REGION => $RotateTest::REGION,
			AWS_ACCESS_KEY_ID => $emulator->access_key_id,
			AWS_SECRET_ACCESS_KEY => $emulator->secret_access_key);
		$self->{aws}{pid} = open2($self->{aws}{out}, $self->{aws}{in}, '/usr/bin/python3', '-B', $aws);
	}
	print { $self->{aws}{in} } $json->encode({ operation => $operation, parameters => \%parameters }), "\n";
	my $line = readline $self->{aws}{out};
	die 'boto3 has ended' unless defined $line;
	my $result = $json->decode($line);
	return exists $result->{error} ? $result : $result->{answer};
}

# begin(APP, member => value, ...): rotate_secret; its answer.
sub begin
{
	my ($self, $app, %parameters) = @_;
	return $self->aws('rotate_secret', SecretId => $app->{secret}, RotationLambdaARN => $app->{function_arn}, %parameters);
}

# ended(APP): the last rotation, when it has ended, with all that is late.
sub ended
{
	my ($self, $app) = @_;
	my $done = $self->control('/rotations/wait', secret => $app->{secret}, timeout => 120);

	die 'the rotation does not end' unless $done->{ended};
	return $done->{rotation};
}

# idle(): no invocation is under way, none that the service has given up and
# no duplicate; and no run, of those whose caller has gone.
sub idle
{
	my $self = shift;

	$self->control('/invocations/wait', count => 0, idle => JSON::PP::true, timeout => 60)->{reached}
	  or die 'invocations do not end';
	$self->{t}->wait_for(q{SELECT count(*) = 0 FROM rotate_run WHERE finished_at IS NULL})
	  or die 'runs do not end';
	return;
}

sub rotate
{
	my ($self, $app, %parameters) = @_;
	my $answer = $self->begin($app, %parameters);

	die "rotate_secret failed: $answer->{error}: $answer->{message}" if exists $answer->{error};
	my $rotation = $self->ended($app);
	$self->idle;
	return $rotation;
}

# invocations(ROTATION): in the order in which they began.
sub invocations
{
	my ($self, $rotation) = @_;
	return @{ $self->control('/invocations', rotation => $rotation->{id})->{invocations} };
}

# log_lines(APP): what the function has printed, parsed.
sub log_lines
{
	my ($self, $app) = @_;
	return map { $json->decode($_->{line}) } @{ $self->control('/functions/output', function => $app->{function})->{lines} };
}

sub invocation_fault { my ($self, %rule) = @_; return $self->control('/invocation-faults', %rule)->{id}; }

# calls(APP): the calls of Secrets Manager in a rotation without a fault, each
# {step, operation, secret, nth}.  secret: "arn" or "login_arn", undef where the
# operation has none; nth: how many calls of this operation and this secret
# came before it.
sub calls
{
	my ($self, $app) = @_;
	my (@calls, %n);

	$self->control('/functions/kill', function => $app->{function});
	$self->emulator->clear_log;
	my $rotation = $self->rotate($app);
	die "a rotation without a fault $rotation->{status}: $rotation->{reason}" if $rotation->{status} ne 'succeeded';
	my @log = @{ $self->emulator->log->{entries} };
	foreach my $invocation ($self->invocations($rotation))
	{
		foreach my $entry (grep { $_->{started} > $invocation->{delivered} && $_->{started} < $invocation->{ended} } @log)
		{
			my $id = $entry->{parameters}{SecretId} // '';
			my ($secret) = grep { $app->{$_} eq $id } qw(arn login_arn);
			push @calls, {
				step => $invocation->{step},
				operation => $entry->{operation},
				secret => $secret,
				nth => $n{"$entry->{operation} $id"}++ // 0
			};
		}
	}
	return @calls;
}

=pod

cells(LANES, APPS, CELL...): for each cell a rotation in which something goes
wrong, and what must have come of it.  So many at the same time, each with a
secret of its own out of APPS.

A cell: name; group, for the table; invocation_faults, a list of rules without
"function"; faults, a list of the emulator's without "secret"; outcome of the
invocation that the fault acts on, where it must be seen; again: the service may
give up, and one further rotate_secret ends it.

=cut

sub cells
{
	my ($self, $lanes, $apps, @cells) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	while (my @batch = splice @cells, 0, $lanes)
	{
		foreach my $n (0 .. $#batch)
		{
			$self->_begin_cell($batch[$n], $apps->[$n]);
		}
		my @rotations = map { $self->ended($_->{app}) } @batch;
		$self->idle;
		foreach my $n (0 .. $#batch)
		{
			$self->_end_cell($batch[$n], $rotations[$n]);
		}
	}
	return;
}

sub _begin_cell
{
	my ($self, $cell, $app) = @_;
	my $emulator = $self->emulator;
	my $state = $emulator->secret($app->{secret});

	$cell->{app} = $app;
	$cell->{current} = $state->{labels}{AWSCURRENT};
	$cell->{versions} = { map { $_ => 1 } keys %{ $state->{versions} } };
	$cell->{password} = $self->{t}->password($app->{secret});
	$cell->{since} = $self->{t}->sql('SELECT coalesce(max(run_id), 0) FROM rotate_run') + 0;
	# so that the first invocation is a cold start, which fetches the login
	$self->control('/functions/kill', function => $app->{function});
	$cell->{rules} = [
		map {
			my %rule = %$_;
			$rule{secret} = $app->{ $rule{secret} } if exists $rule{secret};
			$self->invocation_fault(%rule, function => $app->{function})
		} @{ $cell->{invocation_faults} || [] }
	];
	$cell->{fault_ids} = [ map { $emulator->fault(%$_, secret => $app->{arn}) } @{ $cell->{faults} || [] } ];
	my $answer = $self->begin($app);
	die "$cell->{name}: rotate_secret failed: $answer->{error}: $answer->{message}" if exists $answer->{error};
	return;
}

sub _end_cell
{
	my ($self, $cell, $rotation) = @_;
	my ($t, $app) = ($self->{t}, $cell->{app});
	my %acted = map { $_->{id} => $_->{acted} } @{ $self->control('/invocation-faults/list')->{faults} };
	my %acted_on_calls = map { $_->{id} => $_->{acted} } @{ $self->control('/faults/list')->{faults} };
	my @wrong;

	foreach my $id (@{ $cell->{rules} })
	{
		push @wrong, 'the fault did not happen' unless $acted{$id};
		$self->control('/invocation-faults/clear', id => $id);
	}
	foreach my $id (@{ $cell->{fault_ids} })
	{
		push @wrong, 'the call did not come' unless $acted_on_calls{$id};
		$self->control('/faults/clear', id => $id);
	}
	my @invocations = $self->invocations($rotation);
	push @wrong, "no invocation has the outcome $cell->{outcome}"
	  if defined $cell->{outcome} && !grep { ($_->{outcome} // '') eq $cell->{outcome} } @invocations;
	push @wrong, "the rotation $rotation->{status}: " . ($rotation->{reason} // '')
	  if $rotation->{status} ne 'succeeded' && !$cell->{again};

	my @tokens = ($rotation->{token});
	if ($rotation->{status} ne 'succeeded' && $cell->{again})
	{
		$self->begin($app);		# that it refuses, and goes on with the one before, is as good
		my $next = $self->ended($app);
		$self->idle;
		push @wrong, "the further rotation $next->{status}: " . ($next->{reason} // '') if $next->{status} ne 'succeeded';
		push @tokens, $next->{token} if $next->{token} ne $rotation->{token};
	}
	push @wrong, $self->_wrong_at_end($cell, @tokens);

	my %tried = (group => $cell->{group}, name => $cell->{name}, attempts => $rotation->{attempts}, wrong => \@wrong);
	push @{ $self->{tried} }, \%tried;
	my $ok = ok(!@wrong, "$cell->{group}: $cell->{name}");
	diag(join "\n", @wrong, map { $self->_told($_) } @invocations) if !$ok;
	return;
}

sub _told
{
	my ($self, $invocation) = @_;
	return join ' ', map { "$_->[0]=" . ($_->[1] // '') } (map { [ $_ => $invocation->{$_} ] } qw(attempt step outcome error_type error_message)),
	  [ faults => scalar @{ $invocation->{faults} } ], [ answer => $json->encode($invocation->{response} || {}) ];
}

# What is not as it must be at the end, whatever has happened.
sub _wrong_at_end
{
	my ($self, $cell, @tokens) = @_;
	my ($t, $app) = ($self->{t}, $cell->{app});
	my $state = $self->emulator->secret($app->{secret});
	my %label = %{ $state->{labels} };
	my @new = grep { !$cell->{versions}{$_} } keys %{ $state->{versions} };
	my @wrong;

	push @wrong, 'AWSCURRENT is not on the version of the rotation' if $label{AWSCURRENT} ne $tokens[-1];
	push @wrong, 'AWSPENDING is on another version' if ($label{AWSPENDING} // $label{AWSCURRENT}) ne $label{AWSCURRENT};
	push @wrong, 'AWSPREVIOUS is not on the version that was current' if ($label{AWSPREVIOUS} // '') ne (@tokens > 1 ? $tokens[0] : $cell->{current});
	push @wrong, scalar(@new) . ' new versions, not ' . scalar(@tokens) if @new != @tokens;
	push @wrong, 'AWSCURRENT does not log in' unless $t->can_login($app->{role}, $t->password($app->{secret}));
	push @wrong, 'the old password still does' if $t->can_login($app->{role}, $cell->{password});
	push @wrong, 'a PutSecretValue moved AWSCURRENT' if $self->control('/state')->{counters}{current_moved_by_put};
	return @wrong;
}

# print_table(): cells tried and passed, group by group.
sub print_table
{
	my $self = shift;
	my (@groups, %of);

	foreach my $cell (@{ $self->{tried} })
	{
		push @groups, $cell->{group} unless $of{ $cell->{group} };
		push @{ $of{ $cell->{group} } }, $cell;
	}
	my $line = sub {
		my ($name, @cells) = @_;
		note(sprintf '%-40s %4d tried  %4d passed  %4d with further attempts', $name,
			scalar @cells, scalar(grep { !@{ $_->{wrong} } } @cells), scalar(grep { $_->{attempts} > 1 } @cells));
	};
	$line->($_, @{ $of{$_} }) foreach @groups;
	$line->('all', @{ $self->{tried} });
	return;
}

sub stop
{
	my $self = shift;

	if ($self->{aws})
	{
		close $self->{aws}{in};
		waitpid $self->{aws}{pid}, 0;
		delete $self->{aws};
	}
	$self->{t}->stop;
	return;
}

1;
