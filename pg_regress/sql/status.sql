-- forge.status(): what is missing, and the remedy.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE VIEW test.warning AS SELECT w ->> 'code' AS code, w ->> 'message' AS message, w ->> 'hint' AS hint
    FROM jsonb_array_elements(forge.status() -> 'warnings') w WHERE w ->> 'code' NOT IN ('no_preload', 'no_worker');
SELECT key FROM jsonb_object_keys(forge.status()) key ORDER BY 1;
SELECT forge.status() ->> 'version' = forge.version() AS version, forge.status() ->> 'library_version' = forge.version() AS library;
-- Without preload it says so and why it matters, with preload it does not.
SELECT (forge.status() -> 'preload')::boolean <> EXISTS (SELECT FROM jsonb_array_elements(forge.status() -> 'warnings') w WHERE w ->> 'code' = 'no_preload') AS said;
SELECT * FROM test.warning;
SELECT forge_private.node_register('00000000-0000-7000-8000-000000000001', 'n', '{worker}', '{general}', null, null, '0.1.0');
SELECT * FROM test.warning;
CREATE FUNCTION test.handle(args jsonb) RETURNS void LANGUAGE sql AS '';
SELECT forge.register_job('handled', 'sql:test.handle'), forge.register_job('painted', 'native:paint', queue => 'art', capability => 'gpu');
DROP FUNCTION test.handle;
SELECT forge.enqueue('painted') IS NOT NULL AS made;
SELECT forge.schedule('orphan', '@yearly', 'handled');
SELECT forge.unregister_job('handled');
SELECT forge.pause_queue('art');
SELECT * FROM test.warning;
SELECT forge.resume_queue('art');
UPDATE forge_private.schedule SET error = 'ZF002: no such zone', next_run_at = NULL;
SELECT * FROM test.warning;
