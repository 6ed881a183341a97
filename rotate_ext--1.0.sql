/* rotate_ext--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION rotate_ext" to load this file. \quit

/*
 * What is to be rotated.  Configuration: pg_dump takes it along.  It is
 * bound to the cluster whose system identifier it holds; restored elsewhere
 * it is off until rotate_enable() is called there.
 */
CREATE TABLE @extschema@.rotate_registration (
	secret text PRIMARY KEY,
	arn text NOT NULL UNIQUE,
	role_oid oid NOT NULL,
	role_name text NOT NULL UNIQUE,
	strategy text NOT NULL CHECK (strategy = 'single'),
	host text NOT NULL,
	port integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
	password_length integer NOT NULL CHECK (password_length BETWEEN 8 AND 1024),
	exclude_characters text NOT NULL,
	login_host text,
	instance_hash text,
	allow_plaintext_login boolean NOT NULL,
	allow_privileged boolean NOT NULL,
	repair boolean NOT NULL,
	own_pending_only boolean NOT NULL,
	system_identifier text NOT NULL,
	registered_at timestamptz NOT NULL,
	registered_by text NOT NULL,
	-- a restored dump holds the oids of another cluster
	UNIQUE (system_identifier, role_oid),
	CHECK (login_host IS NULL OR instance_hash IS NOT NULL)
);

/*
 * A row a run: intent and history, never the truth.  One thing in it is used
 * to decide: verifier_hash, the SHA-256 of the rolpassword that this run
 * wrote for set_version_id, committed together with it.
 */
CREATE TABLE @extschema@.rotate_run (
	run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	secret text NOT NULL,
	arn text,
	role_oid oid,
	role_name text,
	source text NOT NULL,
	requested_by text NOT NULL,
	attempt integer NOT NULL DEFAULT 1,
	started_at timestamptz NOT NULL,
	finished_at timestamptz,
	retry_at timestamptz,
	created_version_id text,
	version_id text,
	set_version_id text,
	verifier_hash bytea,
	phases jsonb,
	lockout interval,
	outcome text,
	sqlstate text,
	error text,
	hint text
);

CREATE INDEX rotate_run_secret ON @extschema@.rotate_run (secret, run_id);
CREATE INDEX rotate_run_arn ON @extschema@.rotate_run (arn, run_id);
CREATE INDEX rotate_run_verifier ON @extschema@.rotate_run (role_oid, verifier_hash)
	WHERE verifier_hash IS NOT NULL;

SELECT pg_catalog.pg_extension_config_dump('@extschema@.rotate_registration', '');

-- PUBLIC gets nothing, whatever default privileges say
REVOKE ALL ON @extschema@.rotate_registration, @extschema@.rotate_run FROM PUBLIC;
REVOKE ALL ON SEQUENCE @extschema@.rotate_run_run_id_seq FROM PUBLIC;

CREATE FUNCTION @extschema@.rotate_register(
	secret text,
	role text DEFAULT NULL,
	strategy text DEFAULT 'single',
	password_length integer DEFAULT 32,
	exclude_characters text DEFAULT E':/@"''\\', -- also with standard_conforming_strings = off
	login_host text DEFAULT NULL,
	allow_plaintext_login boolean DEFAULT false,
	allow_privileged boolean DEFAULT false,
	repair boolean DEFAULT true,
	own_pending_only boolean DEFAULT false,
	OUT registered_secret text,
	OUT arn text,
	OUT registered_role text,
	OUT host text,
	OUT port integer)
RETURNS record
AS 'MODULE_PATHNAME', 'rotate_register'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.rotate_unregister(secret text)
RETURNS void
AS 'MODULE_PATHNAME', 'rotate_unregister'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.rotate_enable(secret text)
RETURNS void
AS 'MODULE_PATHNAME', 'rotate_enable'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.rotate_now(
	INOUT secret text,
	dry_run boolean DEFAULT false,
	force boolean DEFAULT false,
	OUT role text,
	OUT version_id text,
	OUT outcome text,
	OUT lockout interval,
	OUT total interval,
	OUT detail jsonb)
RETURNS record
AS 'MODULE_PATHNAME', 'rotate_now'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

/* The Lambda function's only call: one step of a rotation that Secrets Manager has started. */
CREATE FUNCTION @extschema@.rotate_event(event jsonb)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'rotate_event'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

CREATE FUNCTION @extschema@.rotate_abandon(
	INOUT secret text,
	OUT version_id text,
	OUT outcome text)
RETURNS record
AS 'MODULE_PATHNAME', 'rotate_abandon'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

/* Back to AWSPREVIOUS, in the database and in the labels. */
CREATE FUNCTION @extschema@.rotate_rollback(
	INOUT secret text,
	OUT role text,
	OUT version_id text,
	OUT outcome text,
	OUT lockout interval,
	OUT total interval)
RETURNS record
AS 'MODULE_PATHNAME', 'rotate_rollback'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

/* With whose AWS credentials, and where, rotations of this server are done. */
CREATE FUNCTION @extschema@.rotate_credentials(
	OUT provider text,
	OUT access_key_last4 text,
	OUT expires timestamptz,
	OUT region text,
	OUT endpoint text)
RETURNS record
AS 'MODULE_PATHNAME', 'rotate_credentials'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

/*
 * Is a rotation of the role under way, in any database of the cluster?  Or has
 * this run ended, which the caller's statement, begun before, sees without an end?
 */
CREATE FUNCTION @extschema@.rotate_is_running(role_oid oid, run_id bigint DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'rotate_is_running'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

/* Has the launcher interrupted rotations of this database finished?  'on', or 'off: ' and why not. */
CREATE FUNCTION @extschema@.rotate_recovery()
RETURNS text
AS 'MODULE_PATHNAME', 'rotate_recovery'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

CREATE VIEW @extschema@.rotate_history AS
	SELECT run_id, secret, role_name AS role, source, requested_by, attempt, version_id,
		started_at, finished_at, retry_at, phases, lockout, outcome, sqlstate, error, hint
	FROM @extschema@.rotate_run;

/*
 * How the rotations of each secret go.  A call that did not come to register the
 * secret (no arn) is none of it.  To give a version up is no rotation,
 * whatever came of it, nor is going back that failed with everything left or put
 * back as it was (no created_version_id), nor a look of the launcher's that found
 * nothing to do.  Where its looks failed and a later one did not, the secret is
 * well again.  What is due next is the latest
 * run's to say, whatever it was.
 */
CREATE VIEW @extschema@.rotate_status AS
	WITH counted AS NOT MATERIALIZED (
		SELECT h.*
		FROM @extschema@.rotate_run h
		WHERE h.arn IS NOT NULL
			AND h.source <> 'rotate_abandon'
			AND NOT (h.source = 'rotate_rollback' AND h.outcome IS NOT DISTINCT FROM 'failed'
				AND h.created_version_id IS NULL)
			AND NOT (h.source = 'launcher' AND h.outcome IS NOT DISTINCT FROM 'unchanged')
			AND NOT (h.source = 'launcher' AND (h.outcome IS NULL OR h.outcome IN ('failed', 'interrupted'))
				AND EXISTS (SELECT FROM @extschema@.rotate_run g WHERE g.secret = h.secret
					AND g.source = 'launcher' AND g.run_id > h.run_id
					AND g.outcome NOT IN ('failed', 'interrupted'))))
	SELECT r.secret,
		r.arn,
		r.role_name AS role,
		r.strategy,
		CASE
			WHEN r.system_identifier <> (SELECT s.system_identifier::text FROM pg_catalog.pg_control_system() s)
				THEN 'off: registered in another cluster'
			WHEN @extschema@.rotate_is_running(r.role_oid, CASE WHEN last.outcome IS NULL THEN last.run_id END) THEN 'running'
			WHEN last.run_id IS NULL THEN 'never rotated'
			WHEN last.outcome IS NULL AND pg_catalog.pg_is_in_recovery() THEN 'unfinished on the primary'
			WHEN last.outcome IS NULL OR last.outcome = 'interrupted' THEN 'interrupted'
			WHEN last.sqlstate IS NOT NULL THEN 'failing'
			ELSE 'ok'
		END AS state,
		success.finished_at AS last_success,
		latest.retry_at AS next_due,
		failed.failures AS consecutive_failures,
		last.error AS last_error,
		last.sqlstate AS last_sqlstate,
		last.hint AS last_hint,
		@extschema@.rotate_recovery() AS recovery
	FROM @extschema@.rotate_registration r
		LEFT JOIN LATERAL (
			SELECT h.run_id, h.outcome, h.error, h.sqlstate, h.hint
			FROM counted h
			WHERE h.secret = r.secret AND (h.finished_at IS NULL OR h.finished_at >= r.registered_at)
			ORDER BY h.run_id DESC LIMIT 1) last ON true
		LEFT JOIN LATERAL (
			SELECT h.retry_at
			FROM @extschema@.rotate_run h
			WHERE h.secret = r.secret AND h.arn IS NOT NULL
			ORDER BY h.run_id DESC LIMIT 1) latest ON true
		LEFT JOIN LATERAL (
			SELECT h.run_id, h.finished_at
			FROM @extschema@.rotate_run h
			WHERE h.secret = r.secret AND h.arn = r.arn AND h.role_name = r.role_name
				AND h.outcome IN ('rotated', 'completed')
			ORDER BY h.run_id DESC LIMIT 1) success ON true
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) AS failures
			FROM counted h
			WHERE h.secret = r.secret AND h.finished_at >= r.registered_at
				AND h.outcome IN ('failed', 'interrupted')
				AND h.run_id > COALESCE(
					(SELECT pg_catalog.max(g.run_id) FROM counted g
					 WHERE g.secret = r.secret AND g.outcome NOT IN ('failed', 'interrupted')), 0)) failed;

REVOKE ALL ON @extschema@.rotate_history, @extschema@.rotate_status FROM PUBLIC;
GRANT SELECT ON @extschema@.rotate_history, @extschema@.rotate_status TO pg_monitor;

/* Who may configure is not who may trigger: each is granted by itself, and to nobody at first. */
REVOKE ALL ON FUNCTION
	@extschema@.rotate_register(text, text, text, integer, text, text, boolean, boolean, boolean, boolean),
	@extschema@.rotate_unregister(text),
	@extschema@.rotate_enable(text),
	@extschema@.rotate_now(text, boolean, boolean),
	@extschema@.rotate_event(jsonb),
	@extschema@.rotate_abandon(text),
	@extschema@.rotate_rollback(text),
	@extschema@.rotate_credentials(),
	@extschema@.rotate_is_running(oid, bigint),
	@extschema@.rotate_recovery()
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.rotate_is_running(oid, bigint), @extschema@.rotate_recovery() TO pg_monitor;
