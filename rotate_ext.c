/*-------------------------------------------------------------------------
 *
 * rotate_ext.c
 *	  Module magic, settings, and what happens at load; nothing else.
 *
 * The library works without shared_preload_libraries: a rotation is done by a
 * dynamic background worker that the calling backend starts.  With it there
 * is the launcher, too, which has interrupted rotations finished.
 *
 * rotate_ext.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "guc.h"
#include "launcher.h"

#if PG_VERSION_NUM < 150000
#error "rotate_ext needs PostgreSQL 15 or later"
#endif

PG_MODULE_MAGIC;

char *rotate_region = NULL;
char *rotate_endpoint_url = NULL;
char *rotate_ca_bundle = NULL;
char *rotate_https_proxy = NULL;
char *rotate_profile = NULL;
int rotate_use_fips_endpoint = ROTATE_SWITCH_AUTO;
int rotate_use_dualstack_endpoint = ROTATE_SWITCH_AUTO;
int rotate_connect_timeout = 0;
int rotate_request_timeout = 0;
int rotate_credential_process_timeout = 0;
int rotate_max_attempts = 0;
int rotate_writes_per_second = 0;

char *rotate_login_ca_file = NULL;
char *rotate_instance_file = NULL;
int rotate_login_timeout = 0;

int rotate_start_timeout = 0;
int rotate_worker_timeout = 0;
bool rotate_combine_steps = true;
int rotate_history_retention = 0;

char *rotate_database = NULL;
int rotate_max_workers = 0;

int rotate_max_standby_lag = 0;
int rotate_inactive_slots = INACTIVE_SLOTS_WARN;
char *rotate_ignore_standbys = NULL;

static const struct config_enum_entry inactive_slots_options[] = {
	{"ignore", INACTIVE_SLOTS_IGNORE, false},
	{"warn", INACTIVE_SLOTS_WARN, false},
	{"block", INACTIVE_SLOTS_BLOCK, false},
	{NULL, 0, false},
};

static const struct config_enum_entry switch_options[] = {
	{"auto", ROTATE_SWITCH_AUTO, false}, {"on", ROTATE_SWITCH_ON, false},
	{"off", ROTATE_SWITCH_OFF, false},   {"true", ROTATE_SWITCH_ON, true},
	{"false", ROTATE_SWITCH_OFF, true},  {"yes", ROTATE_SWITCH_ON, true},
	{"no", ROTATE_SWITCH_OFF, true},     {"1", ROTATE_SWITCH_ON, true},
	{"0", ROTATE_SWITCH_OFF, true},      {NULL, 0, false},
};

void _PG_init(void);

static void
define_string(const char *name, const char *description, const char *detail, char **variable)
{
	DefineCustomStringVariable(name, description, detail, variable, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_switch(const char *name, const char *description, const char *detail, int *variable)
{
	DefineCustomEnumVariable(name, description, detail, variable, ROTATE_SWITCH_AUTO, switch_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_milliseconds(const char *name, const char *description, int *variable, int boot, int min, int max)
{
	DefineCustomIntVariable(name, description, NULL, variable, boot, min, max, PGC_SIGHUP, GUC_UNIT_MS, NULL,
							NULL, NULL);
}

static bool
check_names(char **newval, void **extra, GucSource source)
{
	char *copy = pstrdup(*newval);
	List *names = NIL;
	bool valid = SplitGUCList(copy, ',', &names);

	if (!valid)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(names);
	pfree(copy);
	return valid;
}

static void
define_standby_gucs(void)
{
	DefineCustomIntVariable("rotate_ext.max_standby_lag",
							"How much WAL a standby may have still to replay when a rotation begins.",
							"-1: standbys and replication slots are not looked at.", &rotate_max_standby_lag,
							16384, -1, INT_MAX, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomEnumVariable("rotate_ext.inactive_slots",
							 "What physical replication slots that nobody uses are to a rotation.",
							 "Each may be a standby that comes back.", &rotate_inactive_slots,
							 INACTIVE_SLOTS_WARN, inactive_slots_options, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"rotate_ext.ignore_standbys",
		"Standbys, by application_name, and physical slots that rotations do not wait for.",
		"For standbys that are delayed on purpose.", &rotate_ignore_standbys, "", PGC_SIGHUP, GUC_LIST_INPUT,
		check_names, NULL, NULL);
}

void
rotate_define_gucs(void)
{
	define_string("rotate_ext.region", "AWS region of secrets that are registered by name.",
				  "Empty: AWS_REGION, AWS_DEFAULT_REGION, the profile's, the EC2 instance's. A registered "
				  "secret's region "
				  "comes from its ARN.",
				  &rotate_region);
	define_string(
		"rotate_ext.endpoint_url", "URL of the Secrets Manager endpoint.",
		"Empty: AWS_ENDPOINT_URL_SECRETS_MANAGER, AWS_ENDPOINT_URL, the profile's, then the region's public "
		"endpoint.",
		&rotate_endpoint_url);
	define_switch("rotate_ext.use_fips_endpoint", "Use the FIPS endpoints of AWS.",
				  "auto: as AWS_USE_FIPS_ENDPOINT says, then the profile.", &rotate_use_fips_endpoint);
	define_switch(
		"rotate_ext.use_dualstack_endpoint", "Use the endpoints of AWS that have IPv6 addresses, too.",
		"auto: as AWS_USE_DUALSTACK_ENDPOINT says, then the profile.", &rotate_use_dualstack_endpoint);
	define_string("rotate_ext.ca_bundle", "File of CA certificates that AWS endpoints are verified with.",
				  "Empty: AWS_CA_BUNDLE, the profile's, then the system's.", &rotate_ca_bundle);
	define_string("rotate_ext.https_proxy", "URL of the proxy to reach AWS through.",
				  "Empty: HTTPS_PROXY. Hosts in NO_PROXY are reached without it.", &rotate_https_proxy);
	define_string("rotate_ext.profile", "Profile in the shared AWS credentials and config files.",
				  "Empty: credentials are looked for as the AWS SDKs do; see docs/aws.md.", &rotate_profile);
	define_string("rotate_ext.login_ca_file",
				  "File of CA certificates that database servers are verified with.", NULL,
				  &rotate_login_ca_file);
	define_string("rotate_ext.instance_file",
				  "File outside the data directory that tells this server from a copy of it.",
				  "Its content is recorded by rotate_register() with login_host, and must be the same at "
				  "each rotation.",
				  &rotate_instance_file);
	define_milliseconds("rotate_ext.connect_timeout", "Time limit of one connection to AWS.",
						&rotate_connect_timeout, 5000, 100, 300000);
	define_milliseconds("rotate_ext.request_timeout",
						"Time limit of one request to AWS, connecting included.", &rotate_request_timeout,
						15000, 100, 300000);
	define_milliseconds("rotate_ext.credential_process_timeout",
						"Time limit of the credential_process of an AWS profile.",
						&rotate_credential_process_timeout, 30000, 100, 300000);
	DefineCustomIntVariable("rotate_ext.max_attempts",
							"How often a call to AWS is tried, the first time included.", NULL,
							&rotate_max_attempts, 3, 1, 10, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("rotate_ext.writes_per_second",
							"How many writes a second this server sends to Secrets Manager.",
							"In each region, where AWS takes 50 a second of all its clients together.",
							&rotate_writes_per_second, 45, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_milliseconds("rotate_ext.login_timeout", "Time limit of proving one login.", &rotate_login_timeout,
						10000, 100, 300000);
	define_milliseconds("rotate_ext.start_timeout",
						"Time limit of waiting for the role's turn and for a free worker slot.",
						&rotate_start_timeout, 30000, 0, INT_MAX);
	define_milliseconds("rotate_ext.worker_timeout", "Time limit of a whole run.", &rotate_worker_timeout,
						300000, 1000, INT_MAX);
	DefineCustomBoolVariable(
		"rotate_ext.combine_steps",
		"Set, prove and move a single-strategy rotation in the service's setSecret step.", NULL,
		&rotate_combine_steps, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("rotate_ext.history_retention", "Days that finished runs stay in rotate_history.",
							NULL, &rotate_history_retention, 400, 1, 36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("rotate_ext.database",
							   "Database whose registered secrets the launcher looks after.",
							   "The launcher is there when rotate_ext is in shared_preload_libraries.",
							   &rotate_database, "postgres", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("rotate_ext.max_workers",
							"How many rotation workers the launcher runs at the same time.", NULL,
							&rotate_max_workers, 3, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_standby_gucs();
}

void
_PG_init(void)
{
	rotate_define_gucs();
	MarkGUCPrefixReserved("rotate_ext");

	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
		launcher_register();
}
