/*-------------------------------------------------------------------------
 *
 * identity.h
 *	  What ties a registration to this cluster and to this machine.
 *
 * The system identifier tells this cluster from one that a dump was restored
 * into.  A physical copy has the same one: there the login's nonce tells
 * (db/login.h), which a copy's login to the secret's host does not bring back
 * to it.  Where it could, since login_host leads elsewhere or the secret's host
 * is "localhost", something outside the data directory tells, which a copy on
 * another machine does not have.
 *
 * src/identity.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_IDENTITY_H
#define ROTATE_EXT_IDENTITY_H

#include "db/store.h"

/* This cluster's, in decimal; palloc'd. */
extern char *identity_system(void);

/* Does the secret's host mean this machine on every machine: localhost, 127.0.0.0/8, ::1, a socket's directory? */
extern bool identity_is_local_host(const char *host);

/*
 * What ties a registration for that host and login_host (or NULL) to this
 * machine; palloc'd.  With login_host, and where the host is local, the hex
 * SHA-256 of the content of rotate_ext.instance_file (up to 8 kB); where the
 * host is local and no such file is set, that of /etc/machine-id, or NULL on a
 * machine without one.  For any other host NULL: its login tells.
 *
 * Raises ERRCODE_CONFIG_FILE_ERROR where the instance file is needed and not
 * set, and where it is set and missing, inside the data directory or empty.
 * Needs a transaction: hashing and opening a file ask for a resource owner.
 */
extern char *identity_instance(const char *host, const char *login_host);

/*
 * Raise ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE where the registration is
 * another cluster's or another machine's, with the call that binds it anew.
 * Needs a transaction.
 */
extern void identity_check(const Registration *registration);

#endif /* ROTATE_EXT_IDENTITY_H */
