-- Pull workers: claim, complete, fail, snooze, progress, extend.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SELECT forge.register_job('mail', 'worker', max_attempts => 2, backoff => 'fixed(1h)');
SELECT count(*) FROM forge.enqueue_many('mail', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 6) n));
-- Never more than asked for, oldest first.
CREATE TEMP TABLE taken AS SELECT * FROM forge.claim('w1', max_jobs => 4);
SELECT kind, args, attempt, lease IS NOT NULL AS leased, deadline > now() AS in_time FROM taken ORDER BY id;
SELECT count(DISTINCT lease) AS leases FROM taken;
SELECT state, count(*) FROM forge.jobs GROUP BY 1 ORDER BY 1;
SELECT ready, running FROM forge.queues WHERE queue = 'default';
-- Done once.
SELECT forge.complete(lease, ARRAY[id], ARRAY['{"sent": true}']::jsonb[]) FROM taken WHERE args ->> 'n' = '1';
SELECT forge.complete(lease, ARRAY[id], ARRAY['{"sent": "again"}']::jsonb[]) FROM taken WHERE args ->> 'n' = '1';
SELECT state, attempt, result, started_at <= finished_at AS in_order FROM forge.jobs WHERE args ->> 'n' = '1';
-- A failure waits for its retry; the last one is dead.
SELECT forge.fail(lease, id, 'no route') FROM taken WHERE args ->> 'n' = '2';
SELECT state, attempt, error, run_at BETWEEN now() + interval '50 min' AND now() + interval '70 min' AS in_an_hour FROM forge.jobs WHERE args ->> 'n' = '2';
SELECT forge.fail(lease, id, 'broken', retry => false) FROM taken WHERE args ->> 'n' = '3';
SELECT state, attempt, error FROM forge.jobs WHERE args ->> 'n' = '3';
SELECT forge.snooze(lease, id, '10 min') FROM taken WHERE args ->> 'n' = '4';
SELECT state, attempt, error FROM forge.jobs WHERE args ->> 'n' = '4';
SELECT queue, ready, scheduled, running, retrying, dead FROM forge.queues;
-- The lease is used up: nothing is left to claim but the rest.
CREATE TEMP TABLE rest AS SELECT * FROM forge.claim('w2', max_jobs => 100);
SELECT args FROM rest ORDER BY id;
SELECT forge.progress(lease, id, 40, 'half way') FROM rest WHERE args ->> 'n' = '5';
SELECT progress, progress_message FROM forge.jobs WHERE args ->> 'n' = '5';
SELECT forge.extend(lease, '1 hour') > now() + interval '50 min' AS extended FROM rest LIMIT 1;
SELECT forge.complete(lease, array_agg(id)) FROM rest GROUP BY lease;
SELECT attempt, outcome, error, node_id FROM forge.job_attempts ORDER BY job_id, attempt;
SELECT queue, ready, scheduled, running, retrying, dead FROM forge.queues;
-- A failure with a given delay; the second attempt is the last.
SELECT forge.enqueue('mail', '{"n": 7}') IS NOT NULL AS made;
SELECT forge.fail(lease, id, 'first', retry_in => '0 s') FROM forge.claim('w1');
SELECT state, error FROM forge.jobs WHERE args ->> 'n' = '7';
SELECT test.until($$(SELECT count(*) FROM forge.claim('w3') c, LATERAL forge.fail(c.lease, c.id, 'second') f WHERE f = 'dead') = 1$$);
SELECT state, attempt, error FROM forge.jobs WHERE args ->> 'n' = '7';
SELECT a.attempt, outcome, a.error FROM forge.job_attempts a JOIN forge.jobs j ON j.id = a.job_id WHERE j.args ->> 'n' = '7' ORDER BY 1;
-- Mistakes.
SELECT * FROM test.error_of($$SELECT * FROM forge.claim(null)$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', '{nowhere}')$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', max_jobs => 0)$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', max_jobs => -1)$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', lease => '-1 s')$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', '{}')$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', null)$$);
SELECT * FROM test.error_of($$SELECT forge.complete('00000000-0000-7000-8000-000000000000', '{}')$$);
SELECT * FROM test.error_of($$SELECT forge.complete(null, '{}')$$);
SELECT * FROM test.error_of($$SELECT forge.extend('00000000-0000-7000-8000-000000000000', '1 min')$$);
SELECT * FROM test.error_of($$SELECT forge.progress('00000000-0000-7000-8000-000000000000', '00000000-0000-7000-8000-000000000000', 1, 'x')$$);
-- A job that is not in the lease.
SELECT forge.enqueue('mail', '{"n": 8}') IS NOT NULL AS made;
CREATE TEMP TABLE last AS SELECT * FROM forge.claim('w1');
SELECT code, hint IS NOT NULL AS hint FROM last, test.error_of(format('SELECT forge.complete(%L, ARRAY[%L]::uuid[])', lease, gen_random_uuid()));
SELECT code, message = format('no error') AS none FROM last, test.error_of(format('SELECT forge.complete(%L, ARRAY[%L]::uuid[], ARRAY[''1'', ''2'']::jsonb[])', lease, id));
SELECT state FROM forge.jobs WHERE args ->> 'n' = '8';
-- An expired lease changes nothing.
SELECT forge.enqueue('mail', '{"n": 9}') IS NOT NULL AS made;
CREATE TEMP TABLE late AS SELECT * FROM forge.claim('w1', lease => '50 ms');
SELECT test.until($$(SELECT deadline < clock_timestamp() FROM late)$$);
SELECT e.code FROM late, test.error_of(format('SELECT forge.complete(%L, ARRAY[%L]::uuid[])', lease, id)) e;
SELECT e.code FROM late, test.error_of(format('SELECT forge.fail(%L, %L, ''x'')', lease, id)) e;
SELECT e.code FROM late, test.error_of(format('SELECT forge.extend(%L, ''1 min'')', lease)) e;
SELECT e.code FROM late, test.error_of(format('SELECT forge.progress(%L, %L, 1, ''x'')', lease, id)) e;
SELECT e.code FROM late, test.error_of(format('SELECT forge.snooze(%L, %L, ''1 min'')', lease, id)) e;
