-- What CREATE EXTENSION brings, and to whom.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SELECT forge.version() = extversion AS same_version FROM pg_extension WHERE extname = 'forge';
SELECT rolname, rolcanlogin, rolsuper, rolbypassrls
FROM pg_roles WHERE rolname IN ('forge_anon', 'forge_user', 'forge_service', 'forge_admin') ORDER BY 1;
-- PUBLIC may use nothing of ours.
SELECT n.nspname, p.oid::regprocedure
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
     aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE n.nspname IN ('forge', 'forge_private') AND a.grantee = 0 ORDER BY 1, 2::text;
SELECT n.nspname, c.relname, a.privilege_type
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
     aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
WHERE n.nspname IN ('forge', 'forge_private') AND a.grantee = 0 AND c.relkind IN ('r', 'p', 'v', 'S') ORDER BY 1, 2;
SELECT nspname, a.privilege_type
FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
WHERE nspname IN ('forge', 'forge_private') AND a.grantee = 0;
-- SECURITY DEFINER functions fix their search_path, pg_temp last.
SELECT p.oid::regprocedure, p.proconfig
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname IN ('forge', 'forge_private') AND p.prosecdef
  AND NOT coalesce(p.proconfig::text ~ 'search_path=[^}]*pg_temp"?\}?$', false) ORDER BY 1;
-- Everything public is described.
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'forge' AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'forge' AND c.relkind IN ('v', 'r', 'p') AND obj_description(c.oid, 'pg_class') IS NULL;
-- The views have the columns of the contract, in its order; more may follow.
SELECT c.relname AS view, string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE n.nspname = 'forge' AND c.relkind = 'v' GROUP BY 1 ORDER BY 1;
-- Status says what is there and what is missing.
SELECT key FROM jsonb_object_keys(forge.status()) key ORDER BY 1;
-- Without preload it says why that matters; with it there is no such warning.
SELECT (forge.status() ->> 'preload')::boolean = (current_setting('shared_preload_libraries') ~ 'forge') AS says_preload,
       (forge.status()::text ~ 'shared_preload_libraries') <> (current_setting('shared_preload_libraries') ~ 'forge') AS warns;
-- Dropped and made again.
DROP EXTENSION forge;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'forge%';
CREATE EXTENSION forge;
SELECT forge.version() = extversion AS same_version FROM pg_extension WHERE extname = 'forge';
