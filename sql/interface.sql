--
-- The SQL interface: objects, privileges, and what bad arguments get.
-- Nothing here reaches an endpoint; test/t/ does that.
--
CREATE EXTENSION rotate_ext;
SELECT pg_describe_object(classid, objid, objsubid) COLLATE "C" AS object
	FROM pg_depend
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'rotate_ext')
		AND classid <> 'pg_type'::regclass -- of tables and views, which 15 to 18 list differently
	ORDER BY 1;

-- nothing is granted to PUBLIC
CREATE ROLE regress_rotate_nobody;
SET ROLE regress_rotate_nobody;
SELECT rotate_now('prod/app');
SELECT rotate_register('prod/app');
SELECT rotate_unregister('prod/app');
SELECT rotate_enable('prod/app');
SELECT rotate_abandon('prod/app');
SELECT rotate_rollback('prod/app');
SELECT rotate_credentials();
SELECT rotate_is_running(10);
SELECT * FROM rotate_status;
SELECT * FROM rotate_history;
SELECT * FROM rotate_registration;
SELECT * FROM rotate_run;
RESET ROLE;

-- pg_monitor reads the views, and not the tables behind them
CREATE ROLE regress_rotate_monitor IN ROLE pg_monitor;
SET ROLE regress_rotate_monitor;
SELECT count(*) FROM rotate_status;
SELECT count(*) FROM rotate_history;
SELECT * FROM rotate_run;
SELECT rotate_now('prod/app');
RESET ROLE;

-- who may trigger is not thereby allowed to register
GRANT EXECUTE ON FUNCTION rotate_now(text, boolean, boolean), rotate_abandon(text), rotate_rollback(text) TO regress_rotate_nobody;
SET ROLE regress_rotate_nobody;
SELECT rotate_now('prod/app');
\echo :LAST_ERROR_SQLSTATE
SELECT rotate_abandon('prod/app');
\echo :LAST_ERROR_SQLSTATE
SELECT rotate_rollback('prod/app');
\echo :LAST_ERROR_SQLSTATE
SELECT rotate_register('prod/app');
RESET ROLE;

-- arguments
SELECT rotate_now('');
SELECT rotate_now('a b');
SELECT rotate_now('a''; DROP TABLE x; --');
SELECT rotate_now(repeat('x', 2049));
SELECT rotate_now(NULL) IS NULL AS is_null;
SELECT rotate_register(NULL);
SELECT rotate_register('prod/app', strategy => 'both');
SELECT rotate_register('prod/app', strategy => NULL);
SELECT rotate_register('prod/app', password_length => 7);
SELECT rotate_register('prod/app', password_length => 1025);
SELECT rotate_register('prod/app', role => repeat('r', 64));
SELECT rotate_register('prod/app', login_host => repeat('h', 256));
SELECT rotate_unregister('prod/app');
SELECT rotate_enable('prod/app');
SELECT rotate_abandon('prod/app');
SELECT rotate_rollback('prod/app');
SELECT rotate_rollback(NULL) IS NULL AS is_null;

-- a transaction that has already written
BEGIN;
CREATE TABLE regress_rotate_written ();
SELECT rotate_now('prod/app');
ROLLBACK;
BEGIN;
CREATE TABLE regress_rotate_written ();
SELECT rotate_abandon('prod/app');
ROLLBACK;
BEGIN;
CREATE TABLE regress_rotate_written ();
SELECT rotate_rollback('prod/app');
ROLLBACK;

-- settings decide who gets a secret: neither a session nor a database owner may set them
SET rotate_ext.endpoint_url = 'https://127.0.0.1';
SET rotate_ext.no_such_setting = 1;
DO $$ BEGIN
	EXECUTE format('ALTER DATABASE %I SET rotate_ext.endpoint_url = %L', current_database(), 'https://127.0.0.1');
END $$;

SELECT * FROM rotate_status;
DROP EXTENSION rotate_ext;

-- in a schema of its own, with a name that must be quoted
CREATE SCHEMA "Regress Rotate";
CREATE EXTENSION rotate_ext SCHEMA "Regress Rotate";
SELECT "Regress Rotate".rotate_unregister('prod/app');
SELECT count(*) FROM "Regress Rotate".rotate_status;
DROP EXTENSION rotate_ext;
DROP SCHEMA "Regress Rotate";

DROP ROLE regress_rotate_monitor;
DROP ROLE regress_rotate_nobody;
