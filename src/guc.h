/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  The settings of rotate_ext; defined in rotate_ext.c.
 *
 * All are PGC_SIGHUP: they decide who gets a secret, so neither a database
 * owner nor a session may set them.  None holds a key.
 *
 * src/guc.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_GUC_H
#define ROTATE_EXT_GUC_H

/* auto: as the environment and the profile say */
typedef enum RotateSwitch
{
	ROTATE_SWITCH_AUTO,
	ROTATE_SWITCH_ON,
	ROTATE_SWITCH_OFF
} RotateSwitch;

/* AWS; "" where not set */
extern char *rotate_region;
extern char *rotate_endpoint_url;
extern char *rotate_ca_bundle;
extern char *rotate_https_proxy;
extern char *rotate_profile;
extern int rotate_use_fips_endpoint;          /* a RotateSwitch */
extern int rotate_use_dualstack_endpoint;     /* likewise */
extern int rotate_connect_timeout;            /* ms, of one connection to AWS */
extern int rotate_request_timeout;            /* ms, of one request, connecting included */
extern int rotate_credential_process_timeout; /* ms */
extern int rotate_max_attempts;               /* of one call, the first included */
extern int rotate_writes_per_second;          /* to Secrets Manager in a region */

/* logins */
extern char *rotate_login_ca_file;
extern char *rotate_instance_file;
extern int rotate_login_timeout; /* ms, of one proof */

/* rotations */
extern int rotate_start_timeout;  /* ms, to wait for the role's turn and for a worker slot */
extern int rotate_worker_timeout; /* ms, of a whole run */
extern bool rotate_combine_steps;
extern int rotate_history_retention; /* days */

/* the launcher */
extern char *rotate_database; /* whose secrets it looks after */
extern int rotate_max_workers;

/* standbys */
typedef enum InactiveSlots
{
	INACTIVE_SLOTS_IGNORE,
	INACTIVE_SLOTS_WARN,
	INACTIVE_SLOTS_BLOCK
} InactiveSlots;

extern int rotate_max_standby_lag;   /* kB; -1: standbys are not looked at */
extern int rotate_inactive_slots;    /* InactiveSlots */
extern char *rotate_ignore_standbys; /* names, with commas between them */

extern void rotate_define_gucs(void);

#endif /* ROTATE_EXT_GUC_H */
