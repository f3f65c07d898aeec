-- The daemons login role: exactly what it needs.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE ROLE regress_daemon LOGIN;
CREATE ROLE regress_boss LOGIN SUPERUSER;
CREATE ROLE regress_bypass LOGIN BYPASSRLS;
CREATE ROLE regress_admin LOGIN;
GRANT forge_admin TO regress_admin;
SELECT forge.setup_daemon_role('regress_daemon');
SELECT forge.setup_daemon_role('regress_daemon');
SELECT r, e.* FROM unnest('{regress_boss,regress_bypass,forge_admin}'::text[]) r, test.error_of(format('SELECT forge.setup_daemon_role(%L)', r)) e;
SET ROLE regress_admin;
SELECT forge.setup_daemon_role('regress_daemon');
RESET ROLE;
-- Nothing private but the daemon's functions, nothing public but reading; the groups' rights only by becoming one.
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'forge_private'::regnamespace AND has_function_privilege('regress_daemon', p.oid, 'EXECUTE') ORDER BY 1;
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'forge'::regnamespace AND has_function_privilege('regress_daemon', p.oid, 'EXECUTE') ORDER BY 1;
SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace IN ('forge'::regnamespace, 'forge_private'::regnamespace) AND c.relkind IN ('r', 'v', 'S')
    AND (CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('regress_daemon', c.oid, 'USAGE') ELSE has_table_privilege('regress_daemon', c.oid, 'SELECT, INSERT, UPDATE, DELETE') END) ORDER BY c.oid::regclass::text;
SELECT g, pg_has_role('regress_daemon', g, 'MEMBER') AS member, pg_has_role('regress_daemon', g, 'USAGE') AS inherits
    FROM unnest('{forge_anon,forge_user,forge_service,forge_admin}'::text[]) g;
-- Inside a job the session is the daemon's: what registers there must not run with its rights.
CREATE FUNCTION test.handle(args jsonb) RETURNS void LANGUAGE sql AS '';
SET SESSION AUTHORIZATION regress_daemon;
SELECT forge.register_job('x', 'native:x');
SET ROLE forge_admin;
SELECT forge.register_job('x', 'native:x');
RESET ROLE;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_daemon;
DROP ROLE regress_daemon, regress_boss, regress_bypass, regress_admin;
