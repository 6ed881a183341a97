# 060_lambda_function.pl
#	  The Lambda function's program against a real server with TLS, with a
#	  rotate_event() that does as the event says: steps, errors, time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Socket::INET;
use RotateTest;
use RotateTest::Emulator;
use RotateTest::Lambda;
use RotateTest::LambdaServer;
use Test::More;
use Time::HiRes qw(sleep time);

my $s = RotateTest::LambdaServer->new;
my $t = $s->{t};
my %env = %{ $s->{env} };
my $token = $s->{token};
my $said = '';

# One function for one subtest; what it printed is kept for the end.
sub with_function
{
	my ($more, $what) = @_;
	my $function = RotateTest::Lambda->new(env => { %env, %$more });

	$what->($function);
	$function->stop;
	$said .= $function->output;
	return;
}

sub event { return $s->event(@_); }

subtest 'the four steps of a rotation' => sub {
	with_function({}, sub {
		my $function = shift;
		my @connection;

		foreach my $step (qw(createSecret setSecret testSecret finishSecret))
		{
			my $done = $function->invoke(event($step), trace_id => "Root=1-$step");
			is($done->{kind}, 'response', "$step succeeds");
			is_deeply($done->{value}, { outcome => "did $step", as => 'rotate_lambda' },
				'and returns what rotate_event returned');
			my $line = $function->last_line;
			is($line->{step}, $step, 'the log names the step');
			is($line->{secret}, 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/app-AbCdEf', 'the secret');
			is($line->{outcome}, 'ok', 'the outcome');
			is($line->{result}, "did $step", 'what rotate_event did');
			is($line->{request_id}, $done->{request_id}, 'the request');
			is($line->{trace_id}, "Root=1-$step", '_X_AMZN_TRACE_ID is the trace of this invocation');
			cmp_ok($line->{duration_ms}, '>=', 0, 'and how long it took');
			push @connection, $line->{connection};
			ok($s->sessions_are($step eq 'finishSecret' ? 0 : 1),
				$step eq 'finishSecret' ? 'the connection is closed' : 'the connection is kept');
		}
		is_deeply(\@connection, [ 'new', 'kept', 'kept', 'kept' ], 'one connection for all of them');
		$function->invoke(event('create_secret'));
		is($function->last_line->{step}, 'createSecret', 'the other spelling of a step is the same step');
		ok(!exists $function->last_line->{trace_id}, 'no trace without its header');
	});
};

subtest 'a testSecret alone leaves no connection' => sub {
	with_function({}, sub {
		my $function = shift;
		is($function->invoke(event('testSecret'))->{kind}, 'response', 'it succeeds');
		$function->wait_idle;
		ok($s->sessions_are(0), 'and the connection is closed');
	});
};

subtest 'an SQL error' => sub {
	with_function({}, sub {
		my $function = shift;
		is($function->invoke(event('createSecret'))->{kind}, 'response', 'a connection is there');
		my $done = $function->invoke(event('setSecret', do => 'raise', hint => 'do that'));
		is($done->{kind}, 'error', 'is an error of the invocation');
		is_deeply($done->{value}, { errorType => '55006', errorMessage => 'refused for a test (HINT: do that)', stackTrace => [] },
			'with SQLSTATE, message and hint');
		is($done->{headers}{'lambda-runtime-function-error-type'}, '55006', 'the header has the SQLSTATE');
		my $line = $function->last_line;
		is("$line->{outcome} $line->{error_type} $line->{error}", 'error 55006 refused for a test (HINT: do that)', 'so has the log');
		ok($s->sessions_are(0), 'the connection is closed');
		is($function->invoke(event('setSecret'))->{kind}, 'response', 'and the next invocation connects again');
		$done = $function->invoke(event('setSecret', do => 'raise'));
		is($done->{value}{errorMessage}, 'refused for a test', 'an error without a hint');
		$done = $function->invoke(event('setSecret', do => 'leak'));
		unlike($done->{body}, qr/do not tell|PL\/pgSQL/, 'detail and context, which may quote the event, are left out');
		$function->invoke(event('setSecret', do => 'warn'));
		is($function->last_line->{warning}, 'be warned (HINT: take care)', 'a warning is in the log');
	});
};

subtest 'events that are none' => sub {
	with_function({}, sub {
		my $function = shift;
		my %bad = (
			'not JSON' => [ "{\"RotationToken\":\"$token\"", qr/^the event is not valid JSON, at line 1, column \d+$/ ],
			'empty' => [ '', qr/^the event is empty$/ ],
			'an array' => [ "[\"$token\"]", qr/^the event is not a JSON object$/ ],
			'a NUL' => [ "{\"Step\":\"\\u0000\",\"RotationToken\":\"$token\"}", qr/not valid JSON/ ],
			'half a surrogate pair' => [ "{\"Step\":\"\\ud800\",\"RotationToken\":\"$token\"}", qr/not valid JSON/ ],
			'very large' => [ '{"a":"' . 'x' x 2_000_000 . '"}', qr/^the event is too large$/ ],
			'deep' => [ '[' x 100_000 . ']' x 100_000, qr/not valid JSON/ ]);
		my $before = $s->calls;
		foreach my $name (sort keys %bad)
		{
			my $done = $function->invoke($bad{$name}[0]);
			is($done->{value}{errorType}, 'Event.Invalid', "$name: refused");
			like($done->{value}{errorMessage}, $bad{$name}[1], 'and says why');
			is($function->last_line->{outcome}, 'error', 'the log says so');
		}
		is($s->calls, $before, 'none of them reached the server');
		my $done = $function->invoke('{"SecretId":7,"Extra":[1e400,12345678901234567890123]}');
		is($done->{kind}, 'error', 'a number beyond what a double holds is refused, too');
		is($function->invoke('{"SecretId":7,"n":12345678901234567890123}')->{kind}, 'response',
			'fields of another type and long integers are rotate_event\'s to judge');
	});
};

subtest 'time' => sub {
	with_function({}, sub {
		my $function = shift;
		my $done = $function->invoke(event('createSecret', do => 'sleep 30'), deadline_ms => 4000);
		is($done->{value}{errorType}, '57014', 'the server ends the statement by its own timeout');
		cmp_ok($done->{seconds}, '<', 4, 'before the deadline');
		cmp_ok($done->{seconds}, '>', 1.5, 'and not much before it');

		my $finish = $function->start_invoke(event('createSecret', do => 'sleep 30'), deadline_ms => 5000);
		my $pid = $s->backend;
		kill 'STOP', $pid;
		$done = $finish->();
		kill 'CONT', $pid;
		is($done->{value}{errorType}, 'Database.NoAnswer', 'a server that does not obey');
		like($done->{value}{errorMessage}, qr/^the database at 127\.0\.0\.1 has not answered/, 'is named');
		cmp_ok($done->{seconds}, '<', 5, 'before the deadline as well');

		$done = $function->invoke(event('createSecret'), deadline_ms => 1200);
		is($done->{value}{errorType}, 'Function.NoTime', 'too little time: it is not begun');
		is($function->invoke(event('createSecret'))->{kind}, 'response', 'and the next invocation is as ever');
	});
};

subtest 'a connection that died while the process was frozen' => sub {
	with_function({}, sub {
		my $function = shift;
		my $begun = $s->calls;
		$function->invoke(event('createSecret'));
		$t->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rotate_lambda'");
		sleep 0.2;
		is($function->invoke(event('setSecret'))->{kind}, 'response', 'ended by the server: renewed');
		is($function->last_line->{connection}, 'renewed', 'the log says so');

		my $pid = $s->backend;
		kill 'STOP', $pid;
		my $done = $function->invoke(event('testSecret'));
		kill 'CONT', $pid;
		is($done->{kind}, 'response', 'nobody answers on it: renewed');
		cmp_ok($done->{seconds}, '<', 6, 'within seconds');
		is($function->last_line->{connection}, 'renewed', 'the log says so');

		kill 'STOP', $function->pid;
		$t->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rotate_lambda'");
		sleep 0.2;
		kill 'CONT', $function->pid;
		is($function->invoke(event('finishSecret'))->{kind}, 'response', 'after a real freeze');
		is($s->calls - $begun, 4, 'each event was sent once');

		my $finish = $function->start_invoke(event('createSecret', do => 'sleep 20'));
		$t->sql('SELECT pg_terminate_backend(' . $s->backend . ')');
		$done = $finish->();
		is($done->{value}{errorType}, '57P01', 'lost in the middle of the call: an error');
		is($s->calls - $begun, 4, 'the call is not sent again');
	});
};

subtest 'database hosts' => sub {
	my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "could not listen: $!";
	my $closed = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "could not listen: $!";
	my $closed_port = $closed->sockport;
	close $closed;

	with_function({ PGHOST => '127.0.0.1', PGPORT => $closed_port }, sub {
		my $done = shift->invoke(event('createSecret'));
		is($done->{value}{errorType}, 'Database.ConnectionFailed', 'nothing listens');
		like($done->{value}{errorMessage}, qr/"127\.0\.0\.1", port $closed_port failed: Connection refused/, 'where and why');
	});
	with_function({ PGHOST => 'no-such-host.invalid' }, sub {
		my $done = shift->invoke(event('createSecret'));
		like($done->{value}{errorMessage}, qr/could not translate host name "no-such-host\.invalid"/, 'a name that is none');
	});
	with_function({ PGHOST => '127.0.0.1,127.0.0.1,localhost', PGPORT => join(',', $closed_port, $silent->sockport, $t->port) },
		sub {
			my $function = shift;
			my $done = $function->invoke(event('createSecret'), deadline_ms => 7000);
			is($done->{kind}, 'response', 'the third of three hosts, after one that refuses and one that is silent');
			is($function->last_line->{host}, 'localhost', 'the log says which');
		});
	my $standby = $s->read_only_server;
	with_function({ PGHOST => '127.0.0.1,127.0.0.1', PGPORT => join(',', $standby->port, $t->port) }, sub {
		is(shift->invoke(event('createSecret'))->{kind}, 'response', 'a standby is passed over');
	});
	with_function({ PGHOST => '127.0.0.1,127.0.0.1', PGPORT => join(',', $standby->port, $closed_port) }, sub {
		my $done = shift->invoke(event('createSecret'));
		like($done->{value}{errorMessage}, qr/session is read-only.*; .*Connection refused/, 'without a primary: what each of them said');
	});
	with_function({ PGHOST => undef, PGPORT => undef }, sub {
		is(shift->invoke(event('createSecret'))->{kind}, 'response', 'without PGHOST: the host in the login secret');
	});
	$standby->stop;
};

subtest 'logins and certificates' => sub {
	my $emulator = $t->emulator;

	with_function({ %{ $s->{certificate_env} } }, sub {
		my $done = shift->invoke(event('createSecret'));
		is_deeply($done->{value}, { outcome => 'did createSecret', as => 'cert_lambda' }, 'a client certificate is a login');
	});
	with_function({ ROTATE_DB_CA => $s->{ca_text} }, sub {
		is(shift->invoke(event('createSecret'))->{kind}, 'response', 'the CA as text');
	});
	with_function({ ROTATE_DB_CA => $s->{other_ca} }, sub {
		my $done = shift->invoke(event('createSecret'));
		like($done->{value}{errorMessage}, qr/certificate verify failed/, 'a certificate of another CA is refused');
	});
	with_function({ PGHOST => '127.0.0.2' }, sub {
		my $done = shift->invoke(event('createSecret'));
		like($done->{value}{errorMessage}, qr/server certificate for .* does not match host name "127\.0\.0\.2"/,
			'a certificate for another name is refused');
	});
	with_function({ PGHOST => '127.0.0.2', ROTATE_DB_SSLMODE => 'verify-ca' }, sub {
		is(shift->invoke(event('createSecret'))->{kind}, 'response', 'unless verify-ca was asked for');
	});
	$t->set(ssl => 'off');
	with_function({}, sub {
		my $done = shift->invoke(event('createSecret'));
		like($done->{value}{errorMessage}, qr/server does not support SSL, but SSL was required/, 'a server without TLS is refused');
	});
	$t->set(ssl => 'on');

	$emulator->create_secret('wrong', $t->secret_json('rotate_lambda', 'notThePasswordOfThisRole'));
	with_function({ ROTATE_LOGIN_SECRET => $emulator->secret('wrong')->{arn} }, sub {
		my $function = shift;
		my $done = $function->invoke(event('createSecret'));
		like($done->{value}{errorMessage}, qr/password authentication failed for user "rotate_lambda"/, 'a wrong password');
		unlike($done->{body} . $function->output, qr/notThePassword/, 'is not told');
	});
};

subtest 'privileges and names' => sub {
	with_function({ ROTATE_SCHEMA => 'public' }, sub {
		my $done = shift->invoke(event('createSecret'));
		is($done->{value}{errorType}, '42883', 'the function is looked for in one schema only');
	});
	$t->sql('REVOKE USAGE ON SCHEMA ' . RotateTest::identifier($env{ROTATE_SCHEMA}) . ' FROM rotate_lambda');
	with_function({}, sub {
		my $done = shift->invoke(event('createSecret'));
		is($done->{value}{errorType}, '42501', 'a right that is missing has its SQLSTATE');
	});
	$t->sql('GRANT USAGE ON SCHEMA ' . RotateTest::identifier($env{ROTATE_SCHEMA}) . ' TO rotate_lambda');
};

ok(index($said, $token) < 0, 'the function never printed the RotationToken');
is(scalar(grep { index($said, $_) >= 0 } $s->{password}, $t->emulator->secret_access_key), 0, 'nor a password, nor a key');
is(scalar(grep { !/^\{"outcome":"(ok|error|unanswered)".*\}$/ } split /\n/, $said), 0, 'and nothing but its lines of JSON');
ok(index($s->server_log, $token) < 0, 'the RotationToken is not in the server\'s log either');

$t->stop;
done_testing();
