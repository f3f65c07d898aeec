-- Retention: what is shown, which day tables go, and stragglers.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SELECT forge.register_job('brief', 'worker', queue => 'brief', retention => '1 hour');
SELECT forge.register_job('long', 'worker', queue => 'long', retention => '30 days');
SELECT forge.enqueue(k) IS NOT NULL AS made FROM unnest('{brief,brief,brief,long}'::text[]) k;
SELECT count(forge.fail(lease, id, 'once', retry_in => '0')) FROM forge.claim('w', '{brief}');
SELECT (forge_private.promote('{}', 10) ->> 'promoted')::int AS promoted;
SELECT sum(forge.complete(lease, ids)) AS completed FROM (
    SELECT lease, array_agg(id) AS ids FROM forge.claim('w', '{brief,long}', max_jobs => 10) GROUP BY lease) c;
SELECT kind, state, count(*) FROM forge.jobs GROUP BY 1, 2 ORDER BY 1;
SELECT outcome, count(*) FROM forge.job_attempts GROUP BY 1 ORDER BY 1;
-- Two hours later.
UPDATE forge_private.attempt SET finished_at = finished_at - interval '2 hours';
SELECT kind, state, count(*) FROM forge.jobs GROUP BY 1, 2 ORDER BY 1;
SELECT outcome, count(*) FROM forge.job_attempts GROUP BY 1 ORDER BY 1;
-- Unfinished jobs and their attempts are shown however old they are.
SELECT forge.enqueue('brief', '{"n": 1}') IS NOT NULL AS made;
SELECT forge.fail(lease, id, 'twice', retry => false) FROM forge.claim('w', '{brief}');
UPDATE forge_private.attempt SET finished_at = finished_at - interval '2 hours' WHERE error = 'twice';
SELECT kind, state, error FROM forge.jobs WHERE kind = 'brief';
SELECT outcome, error FROM forge.job_attempts WHERE error IS NOT NULL;

-- A day table of long ago, with jobs that still wait and one that has ended.
SELECT forge_private.make_day('2020-01-02');
SELECT forge.register_job('late', 'worker', queue => 'late');
SELECT count(*) FROM forge.enqueue_many('late', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 3) n));
SELECT forge.enqueue('late', '{"n": 4}', unique_key => 'held') IS NOT NULL AS made;
WITH old AS (DELETE FROM forge_private.entry RETURNING *)
INSERT INTO forge_private.entry_20200102 (lane, xid, seq, id, attempt, max_attempts, enqueued_at, queued_at, args, gate_key, digest, tags, traceparent, run_at)
SELECT lane, xid, seq, id, attempt, max_attempts, enqueued_at, '2020-01-02 12:00Z', args, gate_key, digest, tags, traceparent, run_at FROM old;
SELECT forge_private.maintain() - 'claim_floor' AS first_round;
SELECT count(*) FROM forge_private.entry_20200102 e WHERE NOT EXISTS (
    SELECT FROM forge_private.attempt a WHERE a.id = e.id AND a.seq = e.seq);
SELECT forge_private.maintain() - 'claim_floor' AS second_round;
SELECT to_regclass('forge_private.entry_20200102') IS NULL AS dropped;
-- They wait as before, each once, and the unique key still holds.
SELECT ready FROM forge.queues WHERE queue = 'late';
SELECT forge.enqueue('late', unique_key => 'held') = (SELECT id FROM forge.jobs WHERE kind = 'late' AND args ->> 'n' = '4') AS kept;
SELECT args ->> 'n' AS n, attempt FROM forge.claim('w', '{late}', max_jobs => 10) ORDER BY 1;
SELECT count(*) FROM forge.claim('w', '{late}', max_jobs => 10);
-- What is handed out stays in its day.
SELECT forge_private.make_day('2020-01-03');
SELECT forge.enqueue('late', '{"n": 5}') IS NOT NULL AS made;
WITH old AS (DELETE FROM forge_private.entry WHERE args ->> 'n' = '5' RETURNING *)
INSERT INTO forge_private.entry_20200103 (lane, xid, seq, id, attempt, max_attempts, enqueued_at, queued_at, args, gate_key, digest, tags, traceparent, run_at)
SELECT lane, xid, seq, id, attempt, max_attempts, enqueued_at, '2020-01-03 12:00Z', args, gate_key, digest, tags, traceparent, run_at FROM old;
CREATE TEMP TABLE held AS SELECT * FROM forge.claim('w', '{late}');
SELECT forge_private.maintain() - 'claim_floor' AS third_round;
SELECT forge.complete(lease, ARRAY[id]) FROM held;
SELECT forge_private.maintain() - 'claim_floor' AS fourth_round;
SELECT to_regclass('forge_private.entry_20200103') IS NULL AS dropped;
