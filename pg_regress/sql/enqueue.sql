-- Jobs from the call to the view.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SELECT forge.register_job('mail', 'native:mail');
SELECT forge.register_job('report', 'native:report', queue => 'slow', priority => 'low', max_attempts => 2);
SELECT forge.enqueue('mail', '{"to": "a@example.com"}') IS NOT NULL AS made;
SELECT forge.enqueue('report', tags => '{monthly,eu}') IS NOT NULL AS made;
SELECT forge.enqueue('mail', priority => 'critical', queue => 'slow', max_attempts => 9) IS NOT NULL AS made;
SELECT forge.enqueue('mail', delay => '1 hour') IS NOT NULL AS made;
SELECT forge.enqueue('mail', run_at => now() + interval '2 hours') IS NOT NULL AS made;
SELECT forge.enqueue('mail', run_at => now() - interval '2 hours') IS NOT NULL AS made;
SELECT kind, queue, priority, state, args, attempt, max_attempts, tags,
       run_at > now() AS later, started_at, finished_at, node_id, progress, result, error
FROM forge.jobs ORDER BY kind, queue, priority, run_at;
SELECT queue, ready, scheduled, running FROM forge.queues ORDER BY queue;
-- Ids are UUIDv7, in order.
SELECT bool_and(substr(id::text, 15, 1) = '7') AS v7, bool_and(id > before) AS ascending
FROM (SELECT id, lag(id) OVER (ORDER BY enqueued_at, id) AS before FROM forge.jobs) j;
-- With the caller's transaction.
BEGIN;
SELECT forge.enqueue('mail', '{"lost": true}') IS NOT NULL AS made;
SAVEPOINT a;
SELECT forge.enqueue('mail', '{"lost": true}') IS NOT NULL AS made;
ROLLBACK TO a;
ROLLBACK;
BEGIN;
SELECT forge.enqueue('mail', '{"kept": 1}') IS NOT NULL AS made;
SAVEPOINT a;
SELECT forge.enqueue('mail', '{"lost": true}') IS NOT NULL AS made;
ROLLBACK TO a;
COMMIT;
SELECT args FROM forge.jobs WHERE args ?| '{lost,kept}';
SELECT queue, ready, scheduled, running FROM forge.queues ORDER BY queue;
-- Batches.
SELECT count(*), count(DISTINCT id) FROM forge.enqueue_many('mail', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 10000) n)) id;
SELECT count(*) FROM forge.enqueue_many('mail', '{}');
SELECT count(*), min((args ->> 'n')::int), max((args ->> 'n')::int) FROM forge.jobs WHERE args ? 'n';
SELECT ready FROM forge.queues WHERE queue = 'default';
SELECT * FROM test.error_of($$SELECT forge.enqueue_many('mail', null)$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue_many('mail', ARRAY['{}', null]::jsonb[])$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue_many('unknown', ARRAY['{}']::jsonb[])$$);
-- Mistakes, each naming the value.
SELECT * FROM test.error_of($$SELECT forge.enqueue('unknown')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue(null)$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', null)$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', '{"a":')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', queue => 'nowhere')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', priority => 'urgent')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', delay => '-1 s')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', delay => '1 s', run_at => now())$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', max_attempts => 0)$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', on_conflict => 'explode')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', unique_key => 'a', on_conflict => 'explode')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', run_at => 'infinity')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('mail', jsonb_build_object('big', repeat('x', 1100000)))$$);
SELECT count(*) FROM forge.jobs WHERE NOT args ? 'n';
