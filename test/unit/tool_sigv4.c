/*-------------------------------------------------------------------------
 *
 * tool_sigv4.c
 *	  Signs requests that test_sigv4.py makes up.
 *
 * A request a line; fields are hex, separated by blanks: access key id, secret
 * access key, session token ("-": none), region, service, host, time (decimal),
 * body, then names and values of headers.  Prints the date and the
 * Authorization header with a tab in between, or "refused".
 *
 * test/unit/tool_sigv4.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sigv4.h"

#define MAX_FIELDS (8 + 2 * (SIGV4_MAX_HEADERS + 2))

/* In place; NULL for "-". */
static char *
unhex(char *text, size_t *length)
{
	size_t n = strlen(text) / 2;

	if (strcmp(text, "-") == 0)
		return NULL;
	for (size_t i = 0; i < n; i++)
	{
		unsigned int byte;

		sscanf(text + 2 * i, "%2x", &byte);
		text[i] = (char) byte;
	}
	text[n] = '\0';
	*length = n;
	return text;
}

static void
sign_line(char *line)
{
	char *field[MAX_FIELDS];
	size_t length[MAX_FIELDS] = {0};
	size_t nfields = 0;
	Sigv4Header headers[SIGV4_MAX_HEADERS + 2];
	Sigv4Request request = {0};
	char date[SIGV4_DATE_SIZE];
	char authorization[SIGV4_AUTHORIZATION_SIZE];

	/* an empty field is between two blanks, so strtok() will not do */
	for (char *p = line; p != NULL && nfields < MAX_FIELDS; nfields++)
		field[nfields] = strsep(&p, " ");
	for (size_t i = 0; i < nfields; i++)
	{
		if (i != 6)
			field[i] = unhex(field[i], &length[i]);
	}
	request.access_key_id = field[0];
	request.secret_access_key = field[1];
	request.session_token = field[2];
	request.region = field[3];
	request.service = field[4];
	request.host = field[5];
	request.now = (time_t) strtoll(field[6], NULL, 10);
	request.body = field[7];
	request.body_length = length[7];
	for (size_t i = 8; i + 1 < nfields; i += 2)
	{
		headers[request.nheaders].name = field[i];
		headers[request.nheaders++].value = field[i + 1];
	}
	request.headers = headers;
	if (sigv4_sign(&request, date, authorization))
		printf("%s\t%s\n", date, authorization);
	else
		printf("refused%s%s\n", date, authorization);
}

int
main(void)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t length;

	while ((length = getline(&line, &size, stdin)) > 0)
	{
		if (line[length - 1] == '\n')
			line[length - 1] = '\0';
		sign_line(line);
	}
	free(line);
	return 0;
}
