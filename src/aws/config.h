/*-------------------------------------------------------------------------
 *
 * config.h
 *	  What the settings, the server's environment and the profile say about
 *	  AWS, besides credentials: the region, endpoints, CA certificates.
 *
 * In this order: rotate_ext's setting, the environment variable that the SDKs
 * have for it, the profile's setting in the shared files.  All of it is looked
 * up anew each time.
 *
 * Errors are ERRCODE_CONFIG_FILE_ERROR and say which of these can't be used;
 * they show no URL, since one may hold a password.
 *
 * src/aws/config.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_AWS_CONFIG_H
#define ROTATE_EXT_AWS_CONFIG_H

#include "aws/http.h"
#include "core/endpoint.h"

/*
 * The valid name of a region, palloc'd: the one given, unless NULL.  Where
 * nothing names one, the EC2 instance's.
 */
extern char *aws_config_region(const char *region, HttpClient *http);

/* The machine's own region, palloc'd; NULL: nothing but the EC2 instance could tell. */
extern char *aws_config_own_region(void);

/*
 * Where a service ("secretsmanager" or "sts") is in a region: an address that
 * is configured, else the region's public endpoint, FIPS or dual stack where
 * that is asked for.  Both together are an error, as they are to the SDKs: what
 * is at that address, nobody has said.
 */
extern void aws_config_endpoint(const char *service, const char *region, AwsEndpoint *endpoint);

/* The file of CA certificates to verify AWS's endpoints with, palloc'd; NULL: the operating system's. */
extern char *aws_config_ca_bundle(void);

/*
 * The proxy to reach AWS through, its login included: wipe it.  False: none.
 * *no_proxy is NULL, or lists hosts that it is not asked for.
 */
extern bool aws_config_proxy(AwsProxy *proxy, const char **no_proxy);

/*
 * credentials_profile.c: a setting of the profile in use, in lower case
 * ("region"), palloc'd: what the credentials file says, else the config file.
 * NULL: neither has it.
 */
extern char *aws_profile_setting(const char *key);

/* The same for a service ("secrets_manager", "sts") in the config file's section "[services <services>]". */
extern char *aws_profile_service_setting(const char *services, const char *service, const char *key);

#endif /* ROTATE_EXT_AWS_CONFIG_H */
