-- Cancel, retry, discard, redrive, pause, resume, purge.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SELECT forge.register_job('task', 'worker', max_attempts => 1);
SELECT count(*) FROM forge.enqueue_many('task', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 6) n));
CREATE VIEW test.states AS SELECT args ->> 'n' AS n, state, attempt, error FROM forge.jobs ORDER BY 1;
CREATE FUNCTION test.id_of(n int) RETURNS uuid LANGUAGE sql AS $$SELECT id FROM forge.jobs WHERE args ->> 'n' = $1::text$$;
-- A waiting job is cancelled at once, and only once.
SELECT forge.cancel(test.id_of(1)), forge.cancel(test.id_of(1));
SELECT * FROM test.error_of($$SELECT forge.cancel('00000000-0000-7000-8000-000000000000')$$);
SELECT * FROM test.error_of($$SELECT forge.cancel(null)$$);
-- A running one is asked to stop; its worker learns it from progress.
CREATE TEMP TABLE taken AS SELECT * FROM forge.claim('w', max_jobs => 3);
SELECT args FROM taken ORDER BY id;
SELECT forge.cancel(test.id_of(2));
SELECT state FROM test.states WHERE n = '2';
SELECT forge.fail(lease, id, 'stopped', retry => false) FROM taken WHERE args ->> 'n' = '2';
SELECT state FROM test.states WHERE n = '2';
-- Dead jobs come back.
SELECT forge.fail(lease, id, 'broken') FROM taken WHERE args ->> 'n' IN ('3', '4') ORDER BY id;
SELECT * FROM test.states;
SELECT forge.retry(test.id_of(3)), forge.retry(test.id_of(5));
SELECT * FROM test.states WHERE n IN ('3', '5');
SELECT forge.redrive('task'), forge.redrive('task');
SELECT * FROM test.states;
SELECT ready, running, dead FROM forge.queues WHERE queue = 'default';
-- Discard removes a dead job for good.
SELECT forge.fail(c.lease, c.id, 'broken') FROM forge.claim('w', max_jobs => 1) c;
SELECT forge.discard(id) FROM forge.jobs WHERE state = 'dead';
SELECT dead FROM forge.queues WHERE queue = 'default';
SELECT count(*) FROM forge.jobs WHERE state = 'dead';
SELECT code FROM test.error_of($$SELECT forge.redrive('unknown')$$);
-- A paused queue hands out nothing, takes jobs, and goes on where it was.
SELECT forge.pause_queue('default'), forge.pause_queue('default');
SELECT paused FROM forge.queues WHERE queue = 'default';
SELECT count(*) FROM forge.claim('w', max_jobs => 10);
SELECT forge.enqueue('task', '{"n": 7}') IS NOT NULL AS made;
SELECT forge.resume_queue('default');
SELECT count(*) FROM forge.claim('w', max_jobs => 2);
SELECT * FROM test.error_of($$SELECT forge.pause_queue('nowhere')$$);
SELECT * FROM test.error_of($$SELECT forge.resume_queue('nowhere')$$);
-- Purge takes away what waits, not what runs.
SELECT forge.enqueue('task', '{"n": 8}', delay => '1 hour') IS NOT NULL AS made;
SELECT ready, scheduled, running FROM forge.queues WHERE queue = 'default';
SELECT forge.purge_queue('default') AS purged;
SELECT ready, scheduled, running FROM forge.queues WHERE queue = 'default';
SELECT count(*) FROM forge.claim('w', max_jobs => 10);
SELECT * FROM test.error_of($$SELECT forge.purge_queue('nowhere')$$);
-- A scheduled job is cancelled, or made ready by retry.
SELECT forge.enqueue('task', '{"n": 9}', delay => '1 hour') IS NOT NULL AS made;
SELECT forge.cancel(test.id_of(9));
SELECT state FROM test.states WHERE n = '9';
-- Priorities, oldest first within one.
SELECT forge.register_job('ranked', 'worker', queue => 'ranked');
SELECT forge.enqueue('ranked', jsonb_build_object('p', p), priority => p) IS NOT NULL AS made
FROM unnest('{background,normal,critical,low,high}'::text[]) WITH ORDINALITY u(p, o) ORDER BY o;
SELECT args ->> 'p' AS p FROM forge.claim('w', '{ranked}', max_jobs => 2) ORDER BY args ->> 'p';
SELECT args ->> 'p' AS p FROM forge.claim('w', '{ranked}', max_jobs => 2) ORDER BY args ->> 'p';
SELECT args ->> 'p' AS p FROM forge.claim('w', '{ranked}', max_jobs => 2);
-- Capabilities: a job goes where its kind's capability is.
SELECT forge.register_job('film', 'worker:media', queue => 'film');
SELECT forge.enqueue('film') IS NOT NULL AS made;
SELECT count(*) FROM forge.claim('w', '{film}');
SELECT count(*) FROM forge.claim('w', '{film}', capabilities => '{general,media}');
