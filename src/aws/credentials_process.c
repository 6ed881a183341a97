/*-------------------------------------------------------------------------
 *
 * credentials_process.c
 *	  AWS credentials that a program prints (credential_process of a profile).
 *
 * The command is split into words as botocore does, and is run without a shell.
 *
 * src/aws/credentials_process.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/credentials_private.h"
#include "aws/subprocess.h"
#include "core/words.h"
#include "guc.h"

#define MAX_WORDS 256

pg_noreturn static void
refuse(const char *whose, int sqlerrcode, const char *detail)
{
	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("could not get AWS credentials from the credential_process of %s", whose),
			 errdetail("%s", detail),
			 errhint("Run the command as the operating system user that runs the server, with the server's "
					 "environment.")));
}

static void
check_outcome(const char *whose, SubprocessOutcome outcome, int status)
{
	int refused = ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;

	switch (outcome)
	{
		case SUBPROCESS_EXITED:
			if (status != 0)
				refuse(whose, refused, psprintf("It ended with exit status %d.", status));
			break;
		case SUBPROCESS_SIGNALLED:
			refuse(whose, refused, psprintf("It was ended by signal %d.", status));
		case SUBPROCESS_NOT_FOUND:
			refuse(whose, ERRCODE_CONFIG_FILE_ERROR, psprintf("It could not be run: %s.", strerror(status)));
		case SUBPROCESS_TIMED_OUT:
			refuse(whose, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
				   psprintf("It had not ended after %d ms (rotate_ext.credential_process_timeout).",
							rotate_credential_process_timeout));
		case SUBPROCESS_TOO_LARGE:
			refuse(whose, refused, psprintf("It printed more than %d bytes.", CREDENTIALS_MAX_ANSWER));
	}
}

/* The command's words, which lie in buffer. */
static void
split(const char *whose, const char *command, char *buffer, char **words)
{
	int n = words_split(command, buffer, words, MAX_WORDS);

	if (n == -1)
		refuse(whose, ERRCODE_CONFIG_FILE_ERROR, "A quote in it is not closed, or it ends with a backslash.");
	if (n == -2)
		refuse(whose, ERRCODE_CONFIG_FILE_ERROR, psprintf("It has more than %d words.", MAX_WORDS));
	if (n == 0)
		refuse(whose, ERRCODE_CONFIG_FILE_ERROR, "It is empty.");
	words[n] = NULL;
}

static void
read_output(const char *whose, const char *output, size_t length, AwsCredentials *credentials)
{
	char *provider = psprintf("the credential_process of %s", whose);
	const char *problem = credentials_read_json(output, length, "SessionToken", true, provider, credentials);

	if (problem != NULL)
		refuse(whose, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
			   psprintf("What it printed can't be used: %s.", problem));
	pfree(provider);
}

void
credentials_from_process(const char *whose, const char *command, AwsCredentials *credentials)
{
	char *words[MAX_WORDS + 1];
	size_t size = strlen(command) + 1;
	char *buffer = palloc(size);
	char *output = palloc(CREDENTIALS_MAX_ANSWER);
	SubprocessOutcome outcome;
	size_t length;
	int status;

	split(whose, command, buffer, words);
	outcome = subprocess_run(words, rotate_credential_process_timeout, output, CREDENTIALS_MAX_ANSWER,
							 &length, &status);
	PG_TRY();
	{
		check_outcome(whose, outcome, status);
		read_output(whose, output, length, credentials);
	}
	PG_FINALLY();
	{
		explicit_bzero(output, CREDENTIALS_MAX_ANSWER);
	}
	PG_END_TRY();
	explicit_bzero(buffer, size);
	pfree(output);
	pfree(buffer);
}
