/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  What the environment says, read and judged once, at the start.
 *
 * libpq's own variables are taken for what libpq has a name for, but by us
 * and one by one: the others are taken out of the environment, so that none
 * has a say without being named here.
 *
 * lambda/settings.c
 *
 *-------------------------------------------------------------------------
 */
#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "private_file.h"

#define TYPE "Settings.Invalid"
#define PEM_BEGIN "-----BEGIN"

/* Amazon's root certificates, which the zip carries; beside the program. */
#define BUNDLED_AWS_CA "aws-ca.pem"

extern char **environ;

static const char *
get(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

/* What libpq would obey, and we do not: saying so is better than to leave it out. */
static const struct
{
	const char *name;
	const char *instead;
} refused[] = {
	{"PGPASSWORD", "a password in the environment can be read by whoever may look at the function; name the "
				   "secret that holds it in ROTATE_LOGIN_SECRET"},
	{"PGPASSFILE", "name the secret that holds the password in ROTATE_LOGIN_SECRET"},
	{"PGSERVICE", "set PGHOST, PGPORT, PGDATABASE and PGUSER"},
	{"PGHOSTADDR", "the certificate is checked against the name in PGHOST"},
	{"PGSSLMODE", "TLS is verify-full; ROTATE_DB_SSLMODE may say verify-ca"},
	{"PGSSLROOTCERT", "set ROTATE_DB_CA"},
	{"PGTARGETSESSIONATTRS", "the function looks for the primary by itself"},
	{"PGOPTIONS", "set what is needed by ALTER ROLE ... SET"},
};

static bool
refuse_variables(Failure *failure)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
	{
		if (get(refused[i].name) != NULL)
		{
			failure_set(failure, TYPE, "%s is set, and not obeyed: %s", refused[i].name, refused[i].instead);
			return false;
		}
	}
	return true;
}

/* After all of them have been read and copied. */
static void
drop_variables(void)
{
	for (char **variable = environ; *variable != NULL;)
	{
		char name[64];
		size_t length = strcspn(*variable, "=");

		if (strncmp(*variable, "PG", 2) == 0 && length < sizeof(name))
		{
			memcpy(name, *variable, length);
			name[length] = '\0';
			unsetenv(name); /* moves the next one here */
		}
		else
			variable++;
	}
}

static const char *
copied(const char *name, Failure *failure)
{
	const char *value = get(name);
	char *copy = value != NULL ? strdup(value) : NULL;

	if (value != NULL && copy == NULL)
		failure_set(failure, TYPE, "out of memory");
	return copy;
}

/* Split at commas; -1: too many, or an empty one. */
static int
split(const char *list, const char *items[MAX_HOSTS])
{
	char *copy = strdup(list);
	int n = 0;

	for (char *item = copy; item != NULL;)
	{
		char *comma = strchr(item, ',');

		if (comma != NULL)
			*comma++ = '\0';
		if (n == MAX_HOSTS || item[0] == '\0')
			return -1;
		items[n++] = item;
		item = comma;
	}
	return n;
}

static bool
read_hosts(Settings *settings, Failure *failure)
{
	const char *hosts = get("PGHOST");
	const char *ports = get("PGPORT");
	int nports = ports != NULL ? split(ports, settings->ports) : 0;

	settings->nhosts = hosts != NULL ? split(hosts, settings->hosts) : 0;
	if (settings->nhosts < 0 || nports < 0)
		failure_set(failure, TYPE, "PGHOST and PGPORT take up to %d values, separated by commas, none empty",
					MAX_HOSTS);
	else if (nports > 1 && nports != settings->nhosts)
		failure_set(failure, TYPE, "PGPORT has %d values and PGHOST %d; give one port, or one for each host",
					nports, settings->nhosts);
	else
	{
		for (int i = 1; i < MAX_HOSTS && nports == 1; i++)
			settings->ports[i] = settings->ports[0];
		for (int i = 0; i < settings->nhosts; i++)
		{
			/* libpq would take it for a socket, and no certificate would be looked at */
			if (settings->hosts[i][0] == '/' || settings->hosts[i][0] == '@')
			{
				failure_set(failure, TYPE, "PGHOST holds the path \"%s\"; a host's name is needed",
							settings->hosts[i]);
				return false;
			}
		}
		return true;
	}
	return false;
}

static bool
is_readable(const char *name, const char *path, Failure *failure)
{
	if (access(path, R_OK) == 0)
		return true;
	failure_set(failure, TYPE, "could not read \"%s\", which %s names: %s", path, name, strerror(errno));
	return false;
}

static bool
read_tls(Settings *settings, Failure *failure)
{
	const char *ca = get("ROTATE_DB_CA");
	const char *key = get("PGSSLKEY");

	settings->sslmode = get("ROTATE_DB_SSLMODE");
	if (settings->sslmode == NULL)
		settings->sslmode = "verify-full";
	if (strcmp(settings->sslmode, "verify-full") != 0 && strcmp(settings->sslmode, "verify-ca") != 0)
	{
		failure_set(failure, TYPE, "ROTATE_DB_SSLMODE is \"%s\"; it may be verify-full or verify-ca",
					settings->sslmode);
		return false;
	}
	if (ca == NULL)
	{
		failure_set(failure, TYPE,
					"ROTATE_DB_CA is not set: the CA certificate of the database server, as PEM text or as a "
					"file's path");
		return false;
	}
	settings->ca_file = ca;
	if (strncmp(ca, PEM_BEGIN, strlen(PEM_BEGIN)) == 0 &&
		(settings->ca_file = private_file("ca.pem", ca)) == NULL)
	{
		failure_set(failure, TYPE, "could not write a file for ROTATE_DB_CA: %s", strerror(errno));
		return false;
	}
	settings->cert_file = copied("PGSSLCERT", failure);
	settings->crl_file = copied("PGSSLCRL", failure);
	if ((settings->cert_file != NULL) != (key != NULL))
	{
		failure_set(failure, TYPE, "PGSSLCERT and PGSSLKEY belong together, and one of them is not set");
		return false;
	}
	if (key != NULL && (settings->key_file = private_copy("client.key", key)) == NULL)
	{
		failure_set(failure, TYPE, "could not copy \"%s\", which PGSSLKEY names: %s", key, strerror(errno));
		return false;
	}
	return is_readable("ROTATE_DB_CA", settings->ca_file, failure) &&
		   (settings->cert_file == NULL || is_readable("PGSSLCERT", settings->cert_file, failure)) &&
		   (settings->crl_file == NULL || is_readable("PGSSLCRL", settings->crl_file, failure));
}

/* arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME */
static bool
region_of_arn(const char *arn, char *region, size_t size)
{
	const char *field[6];
	const char *p = arn;
	size_t length;

	for (int i = 0; i < 6; i++)
	{
		field[i] = p;
		p = strchr(p, ':');
		if (p == NULL)
			return false;
		p++;
	}
	length = strcspn(field[3], ":");
	if (strncmp(arn, "arn:", 4) != 0 || strncmp(field[2], "secretsmanager:", 15) != 0 ||
		strncmp(field[5], "secret:", 7) != 0 || length >= size)
		return false;
	memcpy(region, field[3], length);
	region[length] = '\0';
	return aws_region_is_valid(region);
}

static bool
read_endpoint(Settings *settings, Failure *failure)
{
	const char *name = "AWS_ENDPOINT_URL_SECRETS_MANAGER";
	const char *fips = get("AWS_USE_FIPS_ENDPOINT");
	const char *dual_stack = get("AWS_USE_DUALSTACK_ENDPOINT");
	AwsEndpointStatus status;

	if (get(name) == NULL)
		name = "AWS_ENDPOINT_URL";
	if (get(name) == NULL)
	{
		aws_endpoint_for_region(
			"secretsmanager", settings->region, fips != NULL && strcasecmp(fips, "true") == 0,
			dual_stack != NULL && strcasecmp(dual_stack, "true") == 0, &settings->secrets_manager);
		return true;
	}
	status = aws_endpoint_parse(get(name), &settings->secrets_manager);
	if (status != AWS_ENDPOINT_OK)
		failure_set(failure, TYPE, "the URL in %s %s", name, aws_endpoint_problem(status));
	return status == AWS_ENDPOINT_OK;
}

static bool
read_login(Settings *settings, Failure *failure)
{
	const char *root = get("LAMBDA_TASK_ROOT");
	char bundled[512];

	settings->user = copied("PGUSER", failure);
	settings->dbname = copied("PGDATABASE", failure);
	settings->login_secret = get("ROTATE_LOGIN_SECRET");
	if (settings->login_secret == NULL)
	{
		if (settings->nhosts > 0 && settings->user != NULL && settings->cert_file != NULL)
			return true;
		failure_set(failure, TYPE,
					"set ROTATE_LOGIN_SECRET, or PGHOST, PGUSER, PGSSLCERT and PGSSLKEY: a login is needed");
		return false;
	}
	if (settings->user != NULL)
		failure_set(failure, TYPE, "PGUSER is set, but ROTATE_LOGIN_SECRET's secret names the user");
	else if (!region_of_arn(settings->login_secret, settings->region, sizeof(settings->region)))
		failure_set(failure, TYPE, "ROTATE_LOGIN_SECRET is not the ARN of a secret");
	else if ((settings->access_key_id = get("AWS_ACCESS_KEY_ID")) == NULL ||
			 (settings->secret_access_key = get("AWS_SECRET_ACCESS_KEY")) == NULL)
		failure_set(failure, TYPE,
					"there are no AWS credentials in the environment, where Lambda puts those of the "
					"function's role");
	else if (read_endpoint(settings, failure))
	{
		settings->session_token = get("AWS_SESSION_TOKEN");
		settings->aws_ca_file = get("AWS_CA_BUNDLE");
		if (settings->aws_ca_file != NULL)
			return is_readable("AWS_CA_BUNDLE", settings->aws_ca_file, failure);
		snprintf(bundled, sizeof(bundled), "%s/" BUNDLED_AWS_CA, root != NULL ? root : ".");
		settings->aws_ca_file = strdup(bundled);
		return is_readable("no AWS_CA_BUNDLE, so the zip", bundled, failure);
	}
	return false;
}

/* The schema's name as an identifier, whatever is in it. */
static char *
statement(const char *schema)
{
	size_t size = 2 * strlen(schema) + 64;
	char *text = malloc(size);
	char *p = text;

	if (text == NULL)
		return NULL;
	p += snprintf(p, size, "SELECT \"");
	for (; *schema != '\0'; schema++)
	{
		if (*schema == '"')
			*p++ = '"';
		*p++ = *schema;
	}
	snprintf(p, size - (size_t) (p - text), "\".rotate_event($1::pg_catalog.jsonb)");
	return text;
}

bool
settings_read(Settings *settings, Failure *failure)
{
	const char *schema = get("ROTATE_SCHEMA");

	memset(settings, 0, sizeof(*settings));
	settings->call = statement(schema != NULL ? schema : "public");
	if (settings->call == NULL)
	{
		failure_set(failure, TYPE, "out of memory");
		return false;
	}
	if (!refuse_variables(failure) || !read_hosts(settings, failure) || !read_tls(settings, failure) ||
		!read_login(settings, failure))
		return false;
	drop_variables();
	return true;
}
