/*-------------------------------------------------------------------------
 *
 * config.c
 *	  What the settings, the server's environment and the profile say about
 *	  AWS, besides credentials: the region, endpoints, CA certificates.
 *
 * src/aws/config.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "aws/config.h"
#include "aws/credentials.h"
#include "compat.h"
#include "guc.h"

/* What the SDKs call a service in its variables and in the shared files. */
typedef struct ServiceName
{
	const char *service;
	const char *variable;
	const char *key;
} ServiceName;

static const ServiceName service_names[] = {
	{"secretsmanager", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "secrets_manager"},
	{"sts", "AWS_ENDPOINT_URL_STS", "sts"},
};

/* Named by the settings, the environment or the profile, palloc'd; or NULL. */
static char *
find_region(void)
{
	const char *region = rotate_region[0] != '\0' ? rotate_region : aws_getenv("AWS_REGION");

	if (region == NULL)
		region = aws_getenv("AWS_DEFAULT_REGION");
	return region != NULL ? pstrdup(region) : aws_profile_setting("region");
}

static char *
check_region(char *found)
{
	if (!aws_region_is_valid(found))
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not use AWS region \"%s\"", found),
						errdetail("A region is named by lower-case letters, digits and hyphens.")));
	return found;
}

char *
aws_config_own_region(void)
{
	char *found = find_region();

	return found != NULL ? check_region(found) : NULL;
}

char *
aws_config_region(const char *region, HttpClient *http)
{
	char *found = region != NULL ? pstrdup(region) : find_region();
	char *why_not = NULL;

	if (found == NULL)
		found = aws_instance_region(http, &why_not);
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not find out the AWS region"),
				 errdetail("Neither rotate_ext.region nor AWS_REGION nor the profile in use names one. "
						   "EC2 instance metadata service: %s.",
						   why_not),
				 errhint("Set rotate_ext.region, or name the secret by its full ARN.")));
	return check_region(found);
}

/* Asked for, by the variable or by the profile's setting? */
static bool
find_switch(const char *variable, const char *key)
{
	const char *value = aws_getenv(variable);
	const char *where = variable;

	if (value == NULL)
	{
		value = aws_profile_setting(key);
		where = key;
	}
	if (value == NULL || pg_strcasecmp(value, "false") == 0)
		return false;
	if (pg_strcasecmp(value, "true") == 0)
		return true;
	ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not use the value of %s", where),
					errdetail("It must be \"true\" or \"false\".")));
}

/* The same for what has a setting of ours. */
static bool
is_asked_for(int setting, const char *variable, const char *key)
{
	if (setting != ROTATE_SWITCH_AUTO)
		return setting == ROTATE_SWITCH_ON;
	return find_switch(variable, key);
}

/* The configured URL, or NULL; *source says where it is from. */
static char *
find_url(const ServiceName *name, const char **source)
{
	const char *url;
	char *services;
	char *found = NULL;

	if (find_switch("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls"))
		return NULL;
	url = aws_getenv(*source = name->variable);
	if (url == NULL)
		url = aws_getenv(*source = "AWS_ENDPOINT_URL");
	if (url != NULL)
		return pstrdup(url);

	services = aws_profile_setting("services");
	if (services != NULL)
		found = aws_profile_service_setting(services, name->key, "endpoint_url");
	if (found == NULL)
		found = aws_profile_setting("endpoint_url");
	*source = "the AWS profile's endpoint_url";
	return found;
}

static const ServiceName *
name_of(const char *service)
{
	for (int i = 0; i < (int) lengthof(service_names); i++)
	{
		if (strcmp(service_names[i].service, service) == 0)
			return &service_names[i];
	}
	elog(ERROR, "could not find service \"%s\"", service);
}

pg_noreturn static void
refuse_variant(const char *source, const char *what, const char *setting)
{
	ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR),
					errmsg("could not use the URL in %s: %s endpoints are asked for, too", source, what),
					errhint("Set %s to \"off\" where the URL is right, or take the URL away.", setting)));
}

void
aws_config_endpoint(const char *service, const char *region, AwsEndpoint *endpoint)
{
	const ServiceName *name = name_of(service);
	bool fips = is_asked_for(rotate_use_fips_endpoint, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint");
	bool dual_stack =
		is_asked_for(rotate_use_dualstack_endpoint, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint");
	const char *source = "rotate_ext.endpoint_url";
	const char *url = NULL;
	AwsEndpointStatus status;

	if (name == &service_names[0] && rotate_endpoint_url[0] != '\0')
		url = rotate_endpoint_url;
	if (url == NULL)
		url = find_url(name, &source);
	if (url == NULL)
	{
		/* the region was found valid */
		(void) aws_endpoint_for_region(service, region, fips, dual_stack, endpoint);
		return;
	}
	if (fips)
		refuse_variant(source, "FIPS", "rotate_ext.use_fips_endpoint");
	if (dual_stack)
		refuse_variant(source, "dual-stack", "rotate_ext.use_dualstack_endpoint");
	status = aws_endpoint_parse(url, endpoint);
	if (status != AWS_ENDPOINT_OK)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not use the URL in %s", source),
						errdetail("The URL %s.", aws_endpoint_problem(status)),
						errhint("It has the form \"https://host[:port]\".")));
}

char *
aws_config_ca_bundle(void)
{
	const char *file = rotate_ca_bundle[0] != '\0' ? rotate_ca_bundle : aws_getenv("AWS_CA_BUNDLE");

	return file != NULL ? pstrdup(file) : aws_profile_setting("ca_bundle");
}

bool
aws_config_proxy(AwsProxy *proxy, const char **no_proxy)
{
	/* as curl asks for them */
	static const char *const variables[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
	const char *source = "rotate_ext.https_proxy";
	const char *url = rotate_https_proxy[0] != '\0' ? rotate_https_proxy : NULL;
	AwsEndpointStatus status;

	*no_proxy = aws_getenv("no_proxy");
	if (*no_proxy == NULL)
		*no_proxy = aws_getenv("NO_PROXY");
	for (int i = 0; i < (int) lengthof(variables) && url == NULL; i++)
		url = aws_getenv(source = variables[i]);
	if (url == NULL)
		return false;

	status = aws_proxy_parse(url, proxy);
	/* anyone can read a setting */
	if (url == rotate_https_proxy && (proxy->user[0] != '\0' || proxy->password[0] != '\0'))
		status = AWS_ENDPOINT_USER_INFO;
	if (status == AWS_ENDPOINT_OK)
		return true;
	explicit_bzero(proxy, sizeof(*proxy));
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("could not use the proxy in %s", source),
			 status == AWS_ENDPOINT_NOT_A_URL
				 ? errdetail("The URL must begin with \"http://\" or \"https://\".")
				 : errdetail("The URL %s.", aws_endpoint_problem(status)),
			 status == AWS_ENDPOINT_USER_INFO
				 ? errhint("Set HTTPS_PROXY in the server's environment where the proxy asks for a login.")
				 : errhint("It has the form \"http://[user:password@]host:port\".")));
}
