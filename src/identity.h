/*-------------------------------------------------------------------------
 *
 * identity.h
 *	  What ties a registration to this cluster and to this machine.
 *
 * The system identifier tells this cluster from one that a dump was restored
 * into.  A physical copy has the same one: there the login's nonce tells
 * (db/login.h), and where login_host leads the login elsewhere, a file outside
 * the data directory, which a copy does not have.
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

/*
 * Hex SHA-256 of the content of rotate_ext.instance_file (up to 8 kB); palloc'd.
 * Raises ERRCODE_CONFIG_FILE_ERROR where it is not set, missing, inside the
 * data directory or empty.  Needs a transaction: hashing and opening a file ask
 * for a resource owner.
 */
extern char *identity_instance(void);

/*
 * Raise ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE where the registration is
 * another cluster's or another machine's, with the call that binds it anew.
 * Needs a transaction.
 */
extern void identity_check(const Registration *registration);

#endif /* ROTATE_EXT_IDENTITY_H */
