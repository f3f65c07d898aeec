-- API keys and webhooks.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE TABLE test.key AS SELECT forge.create_api_key('ci', role => 'forge_service', scopes => '{jobs}', claims => '{"team": "a"}') AS key;
SELECT name, role, scopes, claims FROM forge.api_keys;
-- Shown once, stored hashed.
SELECT length(key) >= 32 AS long, (SELECT count(*) FROM forge.api_keys a WHERE a::text LIKE '%' || key || '%') AS shown FROM test.key;
SELECT forge_private.authenticate_key(key) ->> 'name' AS name, forge_private.authenticate_key(key) ->> 'role' AS role,
       forge_private.authenticate_key(key || 'x') AS wrong, forge_private.authenticate_key('') AS empty, forge_private.authenticate_key(null) AS nothing FROM test.key;
SELECT * FROM test.error_of($$SELECT forge.create_api_key('ci')$$);
SELECT * FROM test.error_of($$SELECT forge.create_api_key('')$$);
SELECT * FROM test.error_of($$SELECT forge.create_api_key('x', role => 'nobody_of_that_name')$$);
SELECT * FROM test.error_of($$SELECT forge.create_api_key('x', role => 'postgres')$$);
CREATE TABLE test.short AS SELECT forge.create_api_key('short', expires_at => clock_timestamp() + interval '200 ms') AS key;
SELECT test.until($$(SELECT forge_private.authenticate_key(key) IS NULL FROM test.short)$$);
SELECT forge.revoke_api_key('ci'), forge.revoke_api_key('ci') AS again;
SELECT forge_private.authenticate_key(key) AS revoked FROM test.key;
-- Webhooks.
SELECT forge.register_job('github.push', 'worker');
SELECT forge.register_webhook('github', 'github.{event}', 'github', 'hush hush', '10 min');
SELECT forge.register_webhook('github', 'github.{event}', 'github', 'hush hush', '10 min');
SELECT forge_private.webhook('github') ->> 'scheme' AS scheme, forge_private.webhook('github') ->> 'tolerance_ms' AS tolerance, forge_private.webhook('none') AS none;
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'github.push', 'carrier-pigeon', 'hush hush')$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'github.push', 'github', null)$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'github.push', 'github', '')$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'github.push', 'github', 'hush')$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'github.push', 'github', 'hush hush', '-1 s')$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('', 'github.push', 'github', 'hush hush')$$);
-- A delivery is one job, however often it comes.
SELECT (forge_private.gateway_webhook('github', 'd-1', 'push', '{"ref": "x"}', null) ->> 'duplicate')::boolean AS duplicate;
SELECT (forge_private.gateway_webhook('github', 'd-1', 'push', '{"ref": "x"}', null) ->> 'duplicate')::boolean AS duplicate;
SELECT kind, args FROM forge.jobs;
SELECT code FROM test.error_of($$SELECT forge_private.gateway_webhook('github', 'd-2', 'unknown', '{}', null)$$);
SELECT code FROM test.error_of($$SELECT forge_private.gateway_webhook('none', 'd-3', 'push', '{}', null)$$);
