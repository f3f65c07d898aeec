-- On whose behalf a call of the gateway runs: set for its transaction, locked while a function runs.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE ROLE regress_gateway LOGIN;
CREATE ROLE regress_app;
CREATE ROLE regress_boss SUPERUSER;
GRANT regress_boss TO regress_gateway;
SELECT forge.setup_daemon_role('regress_gateway');
GRANT USAGE ON SCHEMA test TO forge_anon, forge_user, regress_gateway;
CREATE TABLE test.note (id int GENERATED ALWAYS AS IDENTITY, owner text NOT NULL DEFAULT forge.auth_subject(), text text);
ALTER TABLE test.note ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON test.note USING (owner = forge.auth_subject());
GRANT SELECT, INSERT ON test.note TO forge_user;
CREATE FUNCTION test.who() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN
    RETURN jsonb_build_object('subject', forge.auth_subject(), 'role', forge.auth_role(), 'claims', forge.auth_claims(), 'user', current_user,
        'jwt', current_setting('request.jwt.claims', true)::jsonb); END $$;
CREATE FUNCTION test.write(text text) RETURNS int LANGUAGE sql AS 'INSERT INTO test.note (text) VALUES ($1) RETURNING id';
CREATE FUNCTION test.notes() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT owner || '': '' || text FROM test.note ORDER BY id';
CREATE FUNCTION test.try(command text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    BEGIN EXECUTE command; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM || ' | ' || coalesce(forge.auth_subject(), 'null') || ' ' || current_user; END;
    RETURN coalesce(forge.auth_subject(), 'null') || ' ' || forge.auth_role() || ' ' || current_user || ' ' || current_setting('request.jwt.claims'); END $$;
CREATE FUNCTION test.definer() RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT test.who()';
CREATE FUNCTION test.nested() RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT forge.call(''who'')';
CREATE FUNCTION test.fail() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('work_mem', '1MB', false); RAISE 'no' USING ERRCODE = 'PT418'; END $$;
CREATE FUNCTION test.settings() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('work_mem', '1MB', false); PERFORM set_config('search_path', 'evil', false); RETURN current_setting('work_mem'); END $$;
CREATE FUNCTION test.slow() RETURNS void LANGUAGE sql STABLE AS 'SELECT pg_sleep(10)';
SELECT forge.register_query('who', 'test.who', cache_ttl => '1 s'), forge.register_mutation('write', 'test.write', isolation => 'read committed'), forge.register_query('notes', 'test.notes'),
    forge.register_mutation('try', 'test.try', isolation => 'read committed'), forge.register_query('definer', 'test.definer'), forge.register_query('nested', 'test.nested'),
    forge.register_mutation('fail', 'test.fail', isolation => 'read committed'), forge.register_mutation('settings', 'test.settings', isolation => 'read committed'),
    forge.register_query('slow', 'test.slow', timeout => '50 ms'), forge.register_mutation('strict', 'test.write');
CREATE FUNCTION test.mistake(command text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    message := 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA test TO PUBLIC;
SET SESSION AUTHORIZATION regress_gateway;
\set ada '{"role":"forge_user","subject":"ada","claims":{"plan":"pro"},"kind":"jwt"}'
\set bob '{"role":"forge_user","subject":"bob","kind":"session"}'
\set anon '{"role":"forge_anon","kind":"anonymous"}'
-- Each sees itself; what was read of the identity is told for functions that are cached.
SELECT * FROM forge_private.gateway_call(:'ada', 'who', '{}', '{}');
SELECT * FROM forge_private.gateway_call(:'bob', 'who', '{}', '{}');
SELECT * FROM forge_private.gateway_call(:'anon', 'who', NULL, NULL);
SELECT * FROM forge_private.gateway_call(:'ada', 'definer', '{}', '{}');
SELECT * FROM forge_private.gateway_call(:'ada', 'nested', '{}', '{}');
-- Row-level security decides what each sees.
SELECT body FROM forge_private.gateway_call(:'ada', 'write', '{"text":"hello"}', '{}');
SELECT body FROM forge_private.gateway_call(:'bob', 'write', '{"text":"hi"}', '{}');
SELECT body FROM forge_private.gateway_call(:'ada', 'notes', '{}', '{}');
SELECT body FROM forge_private.gateway_call(:'bob', 'notes', '{}', '{}');
SELECT * FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'anon', 'notes', '{}', '{}'));
-- No SQL inside changes the identity.
SELECT c AS command, body FROM unnest(ARRAY['RESET ROLE', 'SET ROLE forge_admin', 'SET SESSION AUTHORIZATION regress_gateway', 'RESET SESSION AUTHORIZATION', 'SET LOCAL ROLE regress_gateway',
    $$SELECT set_config('role', 'forge_admin', true)$$, $$SET request.jwt.claims = '{"sub":"bob"}'$$, $$SELECT set_config('request.jwt.claims', '{"sub":"bob"}', false)$$, 'RESET ALL', 'DISCARD ALL',
    $$SELECT forge_private.gateway_call('{"role":"forge_user","subject":"bob"}', 'who', '{}', '{}')$$, 'COMMIT', 'ROLLBACK', 'SET TRANSACTION READ WRITE']) c,
    forge_private.gateway_call(:'ada', 'try', jsonb_build_object('command', c)::text, '{}');
RESET SESSION AUTHORIZATION;
-- Not even for a function with the rights of a superuser.
CREATE FUNCTION test.escalate() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$ SELECT to_jsonb(g) FROM forge_private.gateway_call('{"role":"forge_user","subject":"bob"}', 'who', '{}', '{}') g $$;
SELECT forge.register_mutation('escalate', 'test.escalate', isolation => 'read committed');
SET SESSION AUTHORIZATION regress_gateway;
SELECT * FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'ada', 'escalate', '{}', '{}'));
-- Two callers on one connection never meet, whatever fails between.
BEGIN;
SELECT body FROM forge_private.gateway_call(:'ada', 'write', '{"text":"lost"}', '{}');
\set VERBOSITY sqlstate
SELECT forge_private.gateway_call(:'ada', 'fail', '{}', '{}');
ROLLBACK;
SELECT body FROM forge_private.gateway_call(:'bob', 'who', '{}', '{}');
SELECT body FROM forge_private.gateway_call(:'bob', 'notes', '{}', '{}');
BEGIN;
SAVEPOINT s;
\set VERBOSITY sqlstate
SELECT forge_private.gateway_call(:'ada', 'fail', '{}', '{}');
ROLLBACK TO s;
SELECT body FROM forge_private.gateway_call(:'bob', 'who', '{}', '{}');
SELECT current_user, current_setting('transaction_read_only');
COMMIT;
-- Deferred triggers fire for the caller, not for the daemon at the end.
RESET SESSION AUTHORIZATION;
CREATE TABLE test.seen (who text, as_role text);
GRANT INSERT ON test.seen TO forge_user;
CREATE FUNCTION test.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO test.seen VALUES (forge.auth_subject(), current_user); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON test.note DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION test.see();
SET SESSION AUTHORIZATION regress_gateway;
SELECT body IS NOT NULL AS written FROM forge_private.gateway_call(:'bob', 'write', '{"text":"late"}', '{}');
RESET SESSION AUTHORIZATION;
SELECT * FROM test.seen;
DROP TRIGGER late ON test.note;
SET SESSION AUTHORIZATION regress_gateway;
-- Settings a function leaves behind are put back, also after an error.
SHOW work_mem;
SELECT body FROM forge_private.gateway_call(:'ada', 'settings', '{}', '{}');
\set VERBOSITY sqlstate
SELECT forge_private.gateway_call(:'ada', 'fail', '{}', '{}');
SHOW work_mem;
SHOW search_path;
SELECT current_user, session_user;
-- Outside of a call there is no caller.
RESET SESSION AUTHORIZATION;
SELECT forge.auth_subject(), forge.auth_role() = current_user AS own_role, forge.auth_claims(), current_setting('request.jwt.claims', true) AS jwt;
SET SESSION AUTHORIZATION regress_gateway;
-- Identities that are refused.
SELECT i, e.code, e.message, e.hint FROM unnest(ARRAY['{"role":"regress_boss"}', '{"role":"regress_app"}', '{"role":"nobody"}', '{"subject":"x"}', 'x', '{"role":"forge_user","claims":[1]}']) i,
    test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', i, 'who', '{}', '{}')) e;
-- Text from paths and query strings is read as the type it is for; only when it is said to be text.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION test.page(n int, sure bool, tags text[] DEFAULT '{}', ids int[] DEFAULT '{}') RETURNS text LANGUAGE sql STABLE AS $$ SELECT format('%s %s %s %s', n, sure, tags, ids) $$;
SELECT forge.register_query('page', 'test.page');
SET SESSION AUTHORIZATION regress_gateway;
SELECT body FROM forge_private.gateway_call(:'ada', 'page', '{"n":"5","sure":"true","tags":"a","ids":["1","2"]}', '{"text_args":true}');
SELECT body FROM forge_private.gateway_call(:'ada', 'page', '{"n":"5","sure":true}', '{"text_args":["n"]}');
SELECT * FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'ada', 'page', '{"n":"5","sure":"x"}', '{}'));
SELECT * FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'ada', 'page', '{"n":"5x","sure":"x"}', '{"text_args":true}'));
SELECT * FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'ada', 'page', '{"n":', '{}'));
-- Kinds, isolation, time.
SELECT * FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'ada', 'write', '{"text":"x"}', '{"kind":"query"}'));
SELECT * FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'ada', 'strict', '{"text":"x"}', '{}'));
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT body IS NOT NULL AS written FROM forge_private.gateway_call(:'ada', 'strict', '{"text":"strictly"}', '{}');
COMMIT;
\set VERBOSITY sqlstate
SELECT forge_private.gateway_call(:'ada', 'slow', '{}', '{}');
\set VERBOSITY default
-- An idempotency key gives the first answer again, to the same caller.
SELECT body AS first FROM forge_private.gateway_call(:'ada', 'write', '{"text":"once"}', '{"idempotency_key":"k1"}') \gset
SELECT body = :'first' AS same, meta FROM forge_private.gateway_call(:'ada', 'write', '{"text":"once"}', '{"idempotency_key":"k1"}');
SELECT body = :'first' AS same, meta FROM forge_private.gateway_call(:'bob', 'write', '{"text":"once"}', '{"idempotency_key":"k1"}');
SELECT * FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'ada', 'write', '{"text":"twice"}', '{"idempotency_key":"k1"}'));
SELECT body FROM forge_private.gateway_call(:'ada', 'notes', '{}', '{}');
-- Rates per user.
RESET SESSION AUTHORIZATION;
SELECT forge.register_query('notes', 'test.notes', rate_limit => '2/hour per user');
SET SESSION AUTHORIZATION regress_gateway;
SELECT body IS NOT NULL AS first FROM forge_private.gateway_call(:'ada', 'notes', '{}', '{}');
SELECT body IS NOT NULL AS second FROM forge_private.gateway_call(:'ada', 'notes', '{}', '{}');
SELECT code, message, detail ~ '"retry_after_ms":\d+' AS says_when FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'ada', 'notes', '{}', '{}'));
SELECT body FROM forge_private.gateway_call(:'bob', 'notes', '{}', '{}');
-- Actions: who may, and the job they become.
RESET SESSION AUTHORIZATION;
SELECT forge.register_action('mail', 'native:mail', '{"roles":["forge_user"]}');
SET SESSION AUTHORIZATION regress_gateway;
SELECT forge_private.gateway_action(:'ada', 'mail', '{"to":"x"}', '{"idempotency_key":"m1"}') = forge_private.gateway_action(:'ada', 'mail', '{"to":"x"}', '{"idempotency_key":"m1"}') AS once;
SELECT kind, args, state, max_attempts FROM forge.jobs;
SELECT e.code, e.message, e.hint FROM (VALUES (:'anon', 'mail', '{}'), (:'ada', 'male', '{}'), (:'ada', 'mail', '[]'), (:'ada', 'mail', '{')) c(i, n, a),
    test.mistake(format('SELECT forge_private.gateway_action(%L, %L, %L, %L)', i, n, a, '{}')) e;
SELECT * FROM test.mistake(format('SELECT forge_private.gateway_call(%L, %L, %L, %L)', :'ada', 'mail', '{}', '{}'));
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_gateway;
DROP ROLE regress_gateway, regress_app, regress_boss;
