/*-------------------------------------------------------------------------
 *
 * credentials_profile.c
 *	  AWS credentials of a profile in the shared files: its keys, its
 *	  credential_process, or a role that it assumes.
 *
 * Which of these counts where there are several is botocore's: the role, then
 * keys of the credentials file, credential_process, keys of the config file; in
 * a profile that is another's source_profile, keys before the role.
 *
 * src/aws/credentials_profile.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/pg_list.h"

#include "aws/shared_files.h"
#include "aws/sts.h"
#include "guc.h"

/* Longer names are cut in messages. */
#define NAME_SHOWN 128

typedef struct Resolver
{
	CredentialsChain *chain;
	SharedFiles *files;
	List *visited; /* profiles whose role is being assumed */
} Resolver;

/* credential_source, as the SDKs spell it. */
static const struct
{
	const char *name;
	bool (*provider)(CredentialsChain *, AwsCredentials *);
} sources[] = {
	{"Environment", credentials_from_environment},
	{"Ec2InstanceMetadata", credentials_from_instance},
	{"EcsContainer", credentials_from_container},
};

static bool load_source(Resolver *resolver, const char *profile, AwsCredentials *credentials);

static const char *
get(const Resolver *resolver, const char *profile, const char *key)
{
	return shared_files_get(resolver->files, profile, key);
}

/* "profile "x"", for messages, palloc'd: names from a file may hold anything. */
static char *
whose(const char *profile)
{
	char name[NAME_SHOWN + 1];

	aws_printable(name, sizeof(name), profile, strlen(profile));
	return psprintf("profile \"%s\"", name);
}

pg_noreturn static void
refuse_profile(const char *profile, int sqlerrcode, const char *detail, const char *hint)
{
	ereport(ERROR, (errcode(sqlerrcode), errmsg("could not use the AWS credentials of %s", whose(profile)),
					errdetail("%s", detail), hint != NULL ? errhint("%s", hint) : 0));
}

/* The keys that one of the files has. */
static bool
load_keys(Resolver *resolver, ProfileFileKind kind, const char *profile, AwsCredentials *credentials)
{
	const char *key_id = shared_files_get_of(resolver->files, kind, profile, "aws_access_key_id");
	const char *secret = shared_files_get_of(resolver->files, kind, profile, "aws_secret_access_key");

	if (key_id == NULL)
		return false;
	if (secret == NULL)
		refuse_profile(profile, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
					   "aws_access_key_id is set, but aws_secret_access_key is not.", NULL);
	credentials_set(
		credentials, key_id, secret, shared_files_get_of(resolver->files, kind, profile, "aws_session_token"),
		kind == PROFILE_CREDENTIALS_FILE ? "the shared credentials file" : "the shared config file");
	return true;
}

/* Who signs for the role: another profile, or one of the other providers. */
static void
load_signer(Resolver *resolver, const char *profile, AwsCredentials *credentials)
{
	const char *source_profile = get(resolver, profile, "source_profile");
	const char *credential_source = get(resolver, profile, "credential_source");

	if ((source_profile == NULL) == (credential_source == NULL))
		refuse_profile(profile, ERRCODE_CONFIG_FILE_ERROR,
					   source_profile == NULL
						   ? "role_arn is set, but neither source_profile nor credential_source."
						   : "Both source_profile and credential_source are set.",
					   NULL);
	if (source_profile != NULL)
	{
		if (!load_source(resolver, source_profile, credentials))
			refuse_profile(profile, ERRCODE_CONFIG_FILE_ERROR,
						   psprintf("Its source_profile has no credentials: %s.", whose(source_profile)),
						   NULL);
		return;
	}
	for (int i = 0; i < (int) lengthof(sources); i++)
	{
		if (strcmp(sources[i].name, credential_source) != 0)
			continue;
		if (!sources[i].provider(resolver->chain, credentials))
			refuse_profile(
				profile, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
				psprintf("Its credential_source has no credentials.\n%s", resolver->chain->said.data), NULL);
		return;
	}
	refuse_profile(profile, ERRCODE_CONFIG_FILE_ERROR,
				   "credential_source must be Environment, Ec2InstanceMetadata or EcsContainer.", NULL);
}

static void
assume_role(Resolver *resolver, const char *profile, AwsCredentials *credentials)
{
	AwsCredentials signer = {0};
	StsAssume assume = {.whose = whose(profile),
						.role_arn = get(resolver, profile, "role_arn"),
						.session_name = get(resolver, profile, "role_session_name"),
						.external_id = get(resolver, profile, "external_id"),
						.duration = get(resolver, profile, "duration_seconds"),
						.signer = &signer};

	if (get(resolver, profile, "mfa_serial") != NULL)
		refuse_profile(profile, ERRCODE_CONFIG_FILE_ERROR,
					   "It asks for a code of a multi-factor device (mfa_serial), which a server has not.",
					   "Use a role whose trust policy does not demand one.");
	resolver->visited = lappend(resolver->visited, unconstify(char *, profile));
	PG_TRY();
	{
		load_signer(resolver, profile, &signer);
		credentials_check(&signer);
		sts_assume_role(resolver->chain, &assume, credentials);
	}
	PG_FINALLY();
	{
		aws_credentials_wipe(&signer);
	}
	PG_END_TRY();
}

static bool
assumes_role(const Resolver *resolver, const char *profile)
{
	return get(resolver, profile, "role_arn") != NULL &&
		   get(resolver, profile, "web_identity_token_file") == NULL;
}

static void
load_web_identity(Resolver *resolver, const char *profile, AwsCredentials *credentials)
{
	const char *role_arn = get(resolver, profile, "role_arn");

	if (role_arn == NULL)
		refuse_profile(profile, ERRCODE_CONFIG_FILE_ERROR,
					   "web_identity_token_file is set, but role_arn is not.", NULL);
	credentials_assume_by_web_identity(
		resolver->chain, whose(profile), get(resolver, profile, "web_identity_token_file"), role_arn,
		get(resolver, profile, "role_session_name"), get(resolver, profile, "duration_seconds"), credentials);
}

/* What a profile has besides a role to assume with other credentials. */
static bool
load_own(Resolver *resolver, const char *profile, AwsCredentials *credentials)
{
	const char *command = get(resolver, profile, "credential_process");

	if (get(resolver, profile, "web_identity_token_file") != NULL)
	{
		load_web_identity(resolver, profile, credentials);
		return true;
	}
	if (load_keys(resolver, PROFILE_CREDENTIALS_FILE, profile, credentials))
		return true;
	if (command != NULL)
	{
		credentials_from_process(whose(profile), command, credentials);
		return true;
	}
	if (load_keys(resolver, PROFILE_CONFIG_FILE, profile, credentials))
		return true;
	if (get(resolver, profile, "sso_session") != NULL || get(resolver, profile, "sso_start_url") != NULL)
		refuse_profile(profile, ERRCODE_CONFIG_FILE_ERROR,
					   "It is one of IAM Identity Center (SSO), where a person has to sign in.",
					   "Use a role of the machine, a profile with keys, role_arn or credential_process.");
	return false;
}

static bool
was_visited(const Resolver *resolver, const char *profile)
{
	ListCell *cell;

	foreach (cell, resolver->visited)
	{
		if (strcmp(lfirst(cell), profile) == 0)
			return true;
	}
	return false;
}

/* Of a source_profile: keys count before a role, so that a profile may be its own source. */
static bool
load_source(Resolver *resolver, const char *profile, AwsCredentials *credentials)
{
	bool has_keys = get(resolver, profile, "aws_access_key_id") != NULL;

	if (has_keys || !assumes_role(resolver, profile))
		return load_own(resolver, profile, credentials);
	if (was_visited(resolver, profile))
		refuse_profile(profile, ERRCODE_CONFIG_FILE_ERROR, "By its source_profile it leads back to itself.",
					   NULL);
	assume_role(resolver, profile, credentials);
	return true;
}

static bool
load(Resolver *resolver, const char *profile, AwsCredentials *credentials)
{
	if (!assumes_role(resolver, profile))
		return load_own(resolver, profile, credentials);
	assume_role(resolver, profile, credentials);
	return true;
}

pg_noreturn static void
refuse_named(const Resolver *resolver, const char *profile, const char *named_by)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					shared_files_have(resolver->files, profile)
						? errmsg("could not find AWS credentials in profile \"%s\"", profile)
						: errmsg("could not find AWS profile \"%s\"", profile),
					errdetail("The profile is named by %s.", named_by),
					errhint("Write aws_access_key_id and aws_secret_access_key for the profile to "
							"~/.aws/credentials of the operating system user that runs the server.")));
}

/*
 * A profile that somebody named must be there.  rotate_ext.profile is the only
 * provider where it is set; AWS_PROFILE may name a profile that has no more than
 * a region, and the machine has a role.
 */
static bool
load_named(Resolver *resolver, AwsCredentials *credentials)
{
	const char *named_by;
	const char *profile = shared_files_profile(&named_by);

	if (load(resolver, profile, credentials))
		return true;
	if (rotate_profile[0] != '\0' || (named_by != NULL && !shared_files_have(resolver->files, profile)))
		refuse_named(resolver, profile, named_by);
	return credentials_absent(resolver->chain, "Shared files", "%s has no credentials in \"%s\" and \"%s\"",
							  whose(profile), shared_files_path(resolver->files, PROFILE_CREDENTIALS_FILE),
							  shared_files_path(resolver->files, PROFILE_CONFIG_FILE));
}

bool
credentials_from_profile(CredentialsChain *chain, AwsCredentials *credentials)
{
	Resolver resolver = {.chain = chain, .files = shared_files_open()};
	volatile bool found = false;

	PG_TRY();
	{
		found = load_named(&resolver, credentials);
	}
	PG_FINALLY();
	{
		shared_files_close(resolver.files);
	}
	PG_END_TRY();
	return found;
}
