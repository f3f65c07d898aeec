-- Kinds of jobs: upserts that say what is wrong.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE FUNCTION test.handle(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
CREATE FUNCTION test.two(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION test.two(a text) RETURNS text LANGUAGE sql AS 'SELECT a';
SELECT forge.register_job('mail', 'sql:test.handle');
SELECT forge.register_job('mail', 'sql:test.handle');
SELECT forge.register_job('fetch', 'https://example.com/hook', queue => 'web', priority => 'high', max_attempts => 3,
    backoff => 'exponential(2s,1m)', timeout => '10 s', max_concurrency => 4, rate_limit => '100/minute');
SELECT forge.register_job('encode', 'worker:media');
SELECT forge.register_job('think', 'worker', capability => 'ml');
SELECT forge.register_job('build', 'native:build');
SELECT kind, queue, handler, capability, timeout_ms, paused FROM forge_private.job_kinds() ORDER BY kind;
SELECT queue, paused, ready, scheduled, running, retrying, dead FROM forge.queues ORDER BY queue;
-- Mistakes, each naming the value.
SELECT * FROM test.error_of($$SELECT forge.register_job(null, 'native:x')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('', 'native:x')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', null)$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'ftp://example.com')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'https://')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'sql:test.missing')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'sql:nowhere')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'sql:test.two')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'sql:test.two(integer)')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', queue => '')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', priority => 'urgent')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', priority => null)$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', max_attempts => 0)$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', backoff => 'soon')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', backoff => 'exponential(1h,1s)')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', timeout => '-1 s')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', timeout => '0 s')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', max_concurrency => 0)$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', rate_limit => 'a lot')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', rate_limit => '0/minute')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', retention => '-1 day')$$);
SELECT * FROM test.error_of($$SELECT forge.register_job('k', 'native:x', options => '[]')$$);
-- Nothing half-done.
SELECT kind FROM forge_private.job_kinds() WHERE kind = 'k';
