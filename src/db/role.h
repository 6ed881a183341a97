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
 * All functions need a transaction, and work on the latest committed state
 * (and the transaction's own changes), whatever its snapshot.
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
	Oid oid;
	NameData name;
	bool superuser;
	bool createrole;
	bool replication;
	bool bypassrls;
	bool canlogin;
	int connection_limit; /* -1: none */
	bool has_valid_until;
	TimestampTz valid_until;
	bool has_password;
	bool is_md5;                            /* the verifier is md5's, not SCRAM's */
	uint8 verifier_hash[VERIFIER_HASH_LEN]; /* SHA-256 of rolpassword; zeros where there is none */
} RoleState;

/* A verifier kept in memory to be written back, or that there was none; opaque. */
typedef struct RoleVerifier RoleVerifier;

/*
 * Look a role up, by oid or by name (bytes, as in pg_authid; a name longer
 * than 63 bytes is nobody's).  False: no such role, *state is zeroed.
 */
extern bool role_lookup_oid(Oid roleid, RoleState *state);
extern bool role_lookup_name(const char *name, RoleState *state);

/*
 * The attribute that makes the role one which a registration must allow
 * expressly, as ALTER ROLE spells it: "SUPERUSER", "REPLICATION", "BYPASSRLS",
 * "CREATEROLE"; NULL: an ordinary role.  Static.
 */
extern const char *role_privilege(const RoleState *state);

/* Is this the role's password?  False too where the role or its password is gone. */
extern bool role_password_matches(Oid roleid, const char *password);

/*
 * Set the role's password in the caller's transaction, as ALTER ROLE …
 * PASSWORD would: an AlterRoleStmt given to ProcessUtility with the query
 * string 'ALTER ROLE "app" PASSWORD <redacted>', so hooks (pgaudit,
 * passwordcheck) see it and no text holds the password.
 *
 * The role must still be what *expected says (oid, name and verifier hash),
 * or ERRCODE_T_R_SERIALIZATION_FAILURE is raised: observe again.  From that
 * check on its row is locked, so nobody can change it before this transaction
 * ends; this waits for whoever is changing it now.  Before that check all role
 * DDL is held back until then, unless such a transaction stays open.
 *
 * Checks afterwards that the new verifier is the password's and of a kind
 * that can log in (ERRCODE_INVALID_PARAMETER_VALUE if not); *new_hash gets its
 * SHA-256.  Returns the old verifier, allocated in the caller's memory context.
 *
 * What a hook raises (a password checker's refusal) is passed on, with the
 * query string as its context.
 */
extern RoleVerifier *role_set_password(const RoleState *expected, const char *password, uint8 *new_hash);

/*
 * Write an old verifier back, if the role's verifier is still the one with
 * hash *present_hash.  False: it is not (or the role is gone), and nothing was
 * changed.
 *
 * By CatalogTupleUpdate and the post-alter hook, not by an ALTER ROLE node:
 * a checker that wants plain text (credcheck, passwordcheck) would refuse a
 * ready-made verifier, or judge the old password by today's rules, and there
 * must be nothing that can refuse the way back.
 */
extern bool role_restore_verifier(Oid roleid, const RoleVerifier *old, const uint8 *present_hash);

extern void role_verifier_hash(const RoleVerifier *verifier, uint8 *hash);

/* Wipes it.  NULL is allowed. */
extern void role_verifier_free(RoleVerifier *verifier);

#endif /* ROTATE_EXT_ROLE_H */
