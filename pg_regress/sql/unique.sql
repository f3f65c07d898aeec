-- One job per key: unique while unfinished, idempotent for a day.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SELECT forge.register_job('sync', 'worker');
CREATE TABLE test.job (name text PRIMARY KEY, id uuid);
INSERT INTO test.job SELECT 'first', forge.enqueue('sync', '{"n": 1}', unique_key => 'account-1');
-- keep: the first job stays and is the answer.
INSERT INTO test.job SELECT 'kept', forge.enqueue('sync', '{"n": 2}', unique_key => 'account-1');
SELECT count(DISTINCT id) AS ids FROM test.job WHERE name IN ('first', 'kept');
SELECT state, args FROM forge.jobs ORDER BY enqueued_at;
-- Another key, and another kind with the same key.
SELECT forge.register_job('other', 'worker');
INSERT INTO test.job SELECT 'second', forge.enqueue('sync', unique_key => 'account-2');
INSERT INTO test.job SELECT 'other', forge.enqueue('other', unique_key => 'account-1');
SELECT count(DISTINCT id) AS ids FROM test.job;
-- replace: the waiting job gives way to the new one.
INSERT INTO test.job SELECT 'replacing', forge.enqueue('sync', '{"n": 3}', unique_key => 'account-1', on_conflict => 'replace');
SELECT state, args FROM forge.jobs WHERE kind = 'sync' AND args ? 'n' AND state = 'ready';
SELECT count(*) AS claimed, min(args ->> 'n') AS n FROM forge.claim('w', max_jobs => 10) WHERE kind = 'sync' AND args ? 'n';
-- A running job keeps the key: replace cannot take it away, reject says so.
SELECT code, hint IS NOT NULL AS hint FROM test.error_of($$SELECT forge.enqueue('sync', unique_key => 'account-1', on_conflict => 'reject')$$);
-- Free again when finished.
SELECT forge.register_job('once', 'worker', queue => 'single');
SELECT forge.enqueue('once', '{"n": 1}', unique_key => 'k') IS NOT NULL AS made;
SELECT code FROM test.error_of($$SELECT forge.enqueue('once', '{"n": 2}', unique_key => 'k', on_conflict => 'reject')$$);
SELECT forge.complete(lease, ARRAY[id]) FROM forge.claim('w', '{single}');
SELECT forge.enqueue('once', '{"n": 3}', unique_key => 'k', on_conflict => 'reject') IS NOT NULL AS made;
SELECT forge.cancel(id) FROM forge.jobs WHERE kind = 'once' AND state = 'ready';
SELECT forge.enqueue('once', '{"n": 4}', unique_key => 'k', on_conflict => 'reject') IS NOT NULL AS made;
SELECT forge.fail(lease, id, 'no', retry => false) FROM forge.claim('w', '{single}');
SELECT forge.enqueue('once', '{"n": 5}', unique_key => 'k', on_conflict => 'reject') IS NOT NULL AS made;
SELECT args, state FROM forge.jobs WHERE kind = 'once' ORDER BY enqueued_at;
-- A waiting retry holds it too.
SELECT forge.fail(lease, id, 'later', retry_in => '1 hour') FROM forge.claim('w', '{single}');
SELECT code FROM test.error_of($$SELECT forge.enqueue('once', unique_key => 'k', on_conflict => 'reject')$$);
-- Rolled back, a key is free.
BEGIN;
SELECT forge.enqueue('once', unique_key => 'r') IS NOT NULL AS made;
ROLLBACK;
SELECT forge.enqueue('once', unique_key => 'r', on_conflict => 'reject') IS NOT NULL AS made;
-- Idempotency: the same answer, also when the job has finished.
SELECT forge.register_job('pay', 'worker', queue => 'money');
INSERT INTO test.job SELECT 'paid', forge.enqueue('pay', '{"n": 1}', idempotency_key => 'order-1');
SELECT forge.complete(lease, ARRAY[id]) FROM forge.claim('w', '{money}');
INSERT INTO test.job SELECT 'paid again', forge.enqueue('pay', '{"n": 1}', idempotency_key => 'order-1');
SELECT count(DISTINCT id) AS ids FROM test.job WHERE name LIKE 'paid%';
SELECT count(*) FROM forge.jobs WHERE kind = 'pay';
INSERT INTO test.job SELECT 'paid more', forge.enqueue('pay', '{"n": 2}', idempotency_key => 'order-2');
SELECT count(DISTINCT id) AS ids FROM test.job WHERE name LIKE 'paid%';
SELECT * FROM test.error_of($$SELECT forge.enqueue('pay', unique_key => '')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('pay', idempotency_key => '')$$);
