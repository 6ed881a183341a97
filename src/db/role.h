/*-------------------------------------------------------------------------
 *
 * role.h
 *	  A role's password in pg_authid: matched, set, and put back.
 *
 * The only module that touches verifiers; nothing outside it sees one.
 *
 * plain_crypt_verify() (src/backend/libpq/crypt.c) applies SASLprep for SCRAM,
 * not for md5, and ignores VALID UNTIL.
 *
 * src/db/role.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_ROLE_H
#define ROTATE_EXT_ROLE_H

#include "datatype/timestamp.h"

#define VERIFIER_HASH_LEN 32

/* What pg_authid says of a role; no verifier in it. */
typedef struct RoleState
{
	Oid			oid;
	NameData	name;
	bool		superuser;
	bool		createrole;
	bool		replication;
	bool		bypassrls;
	bool		canlogin;
	int			connection_limit;	/* -1: none */
	bool		has_valid_until;
	TimestampTz valid_until;
	bool		has_password;
	bool		is_md5;			/* the verifier is md5's, not SCRAM's */
	uint8		verifier_hash[VERIFIER_HASH_LEN];	/* SHA-256 of rolpassword */
} RoleState;

/* A verifier kept in memory to be written back; opaque. */
typedef struct RoleVerifier RoleVerifier;

/*
 * Look a role up, by oid or by name (bytes, as in pg_authid).  Needs a
 * transaction; reads the latest committed state.  False: no such role.
 */
extern bool role_lookup_oid(Oid roleid, RoleState *state);
extern bool role_lookup_name(const char *name, RoleState *state);

/* Is this the role's password?  False too where the role or its password is gone.  Needs a transaction. */
extern bool role_password_matches(Oid roleid, const char *password);

/*
 * Set the role's password in the caller's transaction, as ALTER ROLE …
 * PASSWORD would: an AlterRoleStmt given to ProcessUtility with the query
 * string 'ALTER ROLE "app" PASSWORD <redacted>', so hooks (pgaudit,
 * passwordcheck) see it and no text holds the password.
 *
 * The role must still be what *expected says (name and verifier hash), or
 * ERRCODE_T_R_SERIALIZATION_FAILURE is raised: observe again.  A concurrent
 * change ("tuple concurrently updated") is raised as the same error.
 *
 * Checks afterwards that the new verifier is the password's and of a kind
 * that can log in; *new_hash gets its SHA-256.  Returns the old verifier,
 * allocated in the caller's memory context.
 */
extern RoleVerifier *role_set_password(const RoleState *expected, const char *password,
									   uint8 *new_hash);

/*
 * Write an old verifier back (CatalogTupleUpdate and the post-alter hook), if
 * the role's verifier is still the one with hash *present_hash.  False: it
 * is not, and nothing was changed.
 */
extern bool role_restore_verifier(Oid roleid, const RoleVerifier *old, const uint8 *present_hash);

extern void role_verifier_hash(const RoleVerifier *verifier, uint8 *hash);
extern void role_verifier_free(RoleVerifier *verifier);

#endif							/* ROTATE_EXT_ROLE_H */
