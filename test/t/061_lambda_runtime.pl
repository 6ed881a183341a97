# 061_lambda_runtime.pl
#	  The Lambda function when the runtime API, Secrets Manager or its own
#	  settings are not as they should be.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use RotateTest;
use RotateTest::Lambda;
use RotateTest::LambdaServer;
use Test::More;

my $s = RotateTest::LambdaServer->new;
my $t = $s->{t};
my $emulator = $t->emulator;
my %env = %{ $s->{env} };
my $said = '';

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

subtest 'the runtime API refuses' => sub {
	foreach my $status (403, 500)
	{
		with_function({}, sub {
			my $function = shift;
			$function->invoke(event('createSecret'));
			$function->fault(path => 'next', status => $status);
			$function->invoke(event('setSecret'));
			is($function->wait_end, 1, "next, $status: the process ends");
			like($function->last_line->{error}, qr/^could not get the next invocation: HTTP $status$/, 'and says why');
			ok($s->sessions_are(0), 'its connection is closed');
		});
	}
	foreach my $fault ({ headers => { 'Lambda-Runtime-Deadline-Ms' => undef } }, { headers => { 'Lambda-Runtime-Aws-Request-Id' => undef } },
		{ headers => { 'Lambda-Runtime-Aws-Request-Id' => '../x' } }, { drop => 1 })
	{
		with_function({}, sub {
			my $function = shift;
			$function->wait_idle;
			$function->fault(path => 'next', times => 5, %$fault);
			$function->invoke(event('createSecret'));
			$function->invoke(event('createSecret'), wait => 2) unless $fault->{drop};
			is($function->wait_end, 1, 'next without what it must have: the process ends');
		});
	}
	with_function({}, sub {
		my $function = shift;
		$function->fault(path => 'response', status => 413);
		my $done = $function->invoke(event('createSecret', do => 'fill 10000'));
		is("$done->{kind} $done->{value}{errorType}", 'error Function.AnswerTooLarge', 'response, 413: an error instead');
		is($function->last_line->{outcome}, 'error', 'the log says so');

		$function->fault(path => 'response', status => 400);
		is($function->invoke(event('createSecret'), wait => 1)->{kind}, 'none', 'response, 400: there is no answer');
		is($function->last_line->{outcome}, 'unanswered', 'the log says so');
		is($function->invoke(event('createSecret'))->{kind}, 'response', 'and the process goes on');

		$function->fault(path => 'error', status => 403);
		is($function->invoke(event('createSecret', do => 'raise'), wait => 1)->{kind}, 'none', 'error, 403: there is no answer');
		is($function->last_line->{error_type}, '55006', 'the log still has the error');
		is($function->invoke(event('createSecret'))->{kind}, 'response', 'and the process goes on');
	});
	foreach my $path (qw(response error))
	{
		foreach my $fault ({ status => 500 }, { drop => 1, times => 2 })
		{
			with_function({}, sub {
				my $function = shift;
				$function->fault(path => $path, %$fault);
				$function->invoke(event('createSecret', $path eq 'error' ? (do => 'raise') : ()), wait => 1);
				is($function->wait_end, 1, "$path, " . ($fault->{status} || 'cut off') . ': the process ends');
				is($function->last_line->{outcome}, 'unanswered', 'the log says so');
			});
		}
	}
};

subtest 'settings that can not be met' => sub {
	my @bad = (
		[ { ROTATE_DB_CA => undef }, qr/^ROTATE_DB_CA is not set/ ],
		[ { ROTATE_DB_CA => '/nonexistent' }, qr/^could not read "\/nonexistent", which ROTATE_DB_CA names: No such file/ ],
		[ { ROTATE_DB_SSLMODE => 'require' }, qr/^ROTATE_DB_SSLMODE is "require"/ ],
		[ { PGPASSWORD => 'doNotShowThis' }, qr/^PGPASSWORD is set, and not obeyed: .*ROTATE_LOGIN_SECRET/ ],
		[ { PGSSLMODE => 'prefer' }, qr/^PGSSLMODE is set, and not obeyed/ ],
		[ { PGUSER => 'x' }, qr/^PGUSER is set, but/ ],
		[ { PGHOST => '/tmp' }, qr/^PGHOST holds the path "\/tmp"/ ],
		[ { PGHOST => 'a,b,c', PGPORT => '1,2' }, qr/^PGPORT has 2 values and PGHOST 3/ ],
		[ { PGHOST => 'a,,b' }, qr/^PGHOST and PGPORT take up to 8 values/ ],
		[ { PGSSLCERT => '/etc/passwd' }, qr/^PGSSLCERT and PGSSLKEY belong together/ ],
		[ { PGSSLCERT => '/etc/passwd', PGSSLKEY => '/nonexistent' }, qr/^could not copy "\/nonexistent", which PGSSLKEY names: No such file/ ],
		[ { ROTATE_LOGIN_SECRET => 'rotate/login' }, qr/^ROTATE_LOGIN_SECRET is not the ARN of a secret$/ ],
		[ { ROTATE_LOGIN_SECRET => undef }, qr/^set ROTATE_LOGIN_SECRET, or PGHOST, PGUSER/ ],
		[ { AWS_ACCESS_KEY_ID => undef }, qr/^there are no AWS credentials in the environment/ ],
		[ { AWS_ENDPOINT_URL_SECRETS_MANAGER => 'http://example.com' }, qr/^the URL in AWS_ENDPOINT_URL_SECRETS_MANAGER must begin with "https/ ],
		[ { AWS_CA_BUNDLE => undef, LAMBDA_TASK_ROOT => '/nonexistent' }, qr/^could not read "\/nonexistent\/aws-ca\.pem"/ ]);

	foreach my $case (@bad)
	{
		with_function($case->[0], sub {
			my $function = shift;
			isnt($function->wait_end, 0, 'the process ends: ' . join ' ', sort keys %{ $case->[0] });
			my $errors = $function->state->{init_errors};
			my $told = @$errors ? JSON::PP->new->decode($errors->[0]{body}) : {};
			is($told->{errorType}, 'Settings.Invalid', 'the runtime API is told of it');
			like($told->{errorMessage}, $case->[1], 'and why');
			is($errors->[0]{headers}{'lambda-runtime-function-error-type'}, 'Settings.Invalid', 'the header says so, too');
			is($function->state->{next}, 0, 'no invocation was asked for');
		});
	}
	with_function({ AWS_LAMBDA_RUNTIME_API => undef }, sub {
		my $function = shift;
		is($function->wait_end, 1, 'without a runtime API: the process ends');
		like($function->output, qr/AWS_LAMBDA_RUNTIME_API is not set/, 'and says why');
	});
};

subtest 'Secrets Manager' => sub {
	with_function({}, sub {
		my $function = shift;
		my $login_fails = sub {
			my ($message, $name) = @_;
			my $done = $function->invoke(event('createSecret'), deadline_ms => 20000);
			is($done->{value}{errorType}, 'Login.SecretsManager', "$name: an error");
			like($done->{value}{errorMessage}, $message, 'that says why');
			$emulator->clear_faults;
		};

		$emulator->fault(action => 'access_denied', operation => 'GetSecretValue', times => 0);
		$login_fails->(qr/^could not get the function's login from Secrets Manager: AccessDeniedException: .*HINT: the function's role needs/, 'access denied');
		$emulator->fault(action => 'kms_denied', operation => 'GetSecretValue', times => 0);
		$login_fails->(qr/AccessDeniedException: .*HINT: .*kms:Decrypt/, 'denied by the key');
		$emulator->fault(action => 'error', status => 503, times => 0);
		$login_fails->(qr/HTTP 503/, 'out of order');
		$emulator->fault(action => 'cut', times => 0);
		$login_fails->(qr/^could not reach Secrets Manager at 127\.0\.0\.1:\d+ to get the function's login: /, 'cut off');
		$emulator->fault(action => 'replace', body => '<html>', times => 0);
		$login_fails->(qr/holds no SecretString/, 'an answer that is none');
		$emulator->fault(action => 'huge', times => 0);
		$login_fails->(qr/holds no SecretString/, 'an endless answer');

		$emulator->clear_log;
		$emulator->fault(action => 'error', status => 503, times => 2);
		is($function->invoke(event('createSecret'))->{kind}, 'response', 'the third attempt succeeds');
		is($emulator->log->{operations}{GetSecretValue}, 3, 'three were made');
		$emulator->clear_faults;
	});
	with_function({}, sub {
		my $function = shift;
		$emulator->clear_log;
		$function->invoke(event($_)) foreach qw(createSecret setSecret testSecret finishSecret);
		is_deeply($emulator->log->{operations}, { GetSecretValue => 1 }, 'one request a rotation');
	});
	with_function({ AWS_CA_BUNDLE => $s->{other_ca} }, sub {
		my $done = shift->invoke(event('createSecret'));
		like($done->{value}{errorMessage}, qr/^could not reach Secrets Manager .*certificate/, 'an untrusted endpoint is refused');
	});
	with_function({ AWS_ENDPOINT_URL_SECRETS_MANAGER => 'https://127.0.0.1:1' }, sub {
		my $done = shift->invoke(event('createSecret'));
		like($done->{value}{errorMessage}, qr/^could not reach .*: Failed to connect .*HINT: in a VPC the function needs/, 'unreachable: with a hint');
	});
	$emulator->control('/keys', access_key_id => 'ASIAEMULATORSESSION1', secret_access_key => 'sessionSecretKey', session_token => 'T' x 1500);
	with_function({ AWS_ACCESS_KEY_ID => 'ASIAEMULATORSESSION1', AWS_SECRET_ACCESS_KEY => 'sessionSecretKey', AWS_SESSION_TOKEN => 'T' x 1500 }, sub {
		is(shift->invoke(event('createSecret'))->{kind}, 'response', 'credentials with a session token, as Lambda\'s are');
	});
	foreach my $case ([ 'hunter2-not-json', qr/must be a JSON object/ ], [ { engine => 'postgres', host => 'h', password => 'x' }, qr/"username" is missing/ ])
	{
		$emulator->create_secret('bad', $case->[0]);
		with_function({ ROTATE_LOGIN_SECRET => $emulator->secret('bad')->{arn} }, sub {
			my $done = shift->invoke(event('createSecret'));
			like($done->{value}{errorMessage}, $case->[1], 'a secret that holds no login');
			unlike($done->{body}, qr/hunter2/, 'is not quoted');
		});
	}
};

is(scalar(grep { index($said, $_) >= 0 } $s->{password}, $s->{token}, $emulator->secret_access_key, 'sessionSecretKey', 'T' x 100, 'doNotShowThis', 'hunter2'), 0,
	'the function printed no secret');

$t->stop;
done_testing();
