-- Concurrency keys and limits, rate limits.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
-- Two at a time of one kind, whoever claims.
SELECT forge.register_job('heavy', 'worker', queue => 'heavy', max_concurrency => 2);
SELECT count(*) FROM forge.enqueue_many('heavy', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 5) n));
CREATE TEMP TABLE taken AS SELECT * FROM forge.claim('w1', '{heavy}', max_jobs => 10);
SELECT count(*) FROM taken;
SELECT count(*) FROM forge.claim('w2', '{heavy}', max_jobs => 10);
SELECT running FROM forge.queues WHERE queue = 'heavy';
SELECT forge.complete(lease, array_agg(id)) FROM (SELECT * FROM taken ORDER BY id LIMIT 1) t GROUP BY lease;
CREATE TEMP TABLE next AS SELECT * FROM forge.claim('w2', '{heavy}', max_jobs => 10);
SELECT count(*) FROM next;
-- A failure frees its place too.
SELECT forge.fail(lease, id, 'x', retry => false) FROM next;
SELECT count(*) FROM forge.claim('w2', '{heavy}', max_jobs => 10);
-- One per key at a time; other keys go on.
SELECT forge.register_job('keyed', 'worker', queue => 'keyed', max_concurrency => 1, concurrency_by => 'account');
SELECT count(*) FROM forge.enqueue_many('keyed', ARRAY(SELECT jsonb_build_object('account', a, 'n', n) FROM unnest('{a,b}'::text[]) a, generate_series(1, 3) n));
CREATE TEMP TABLE keyed AS SELECT * FROM forge.claim('w1', '{keyed}', max_jobs => 10);
SELECT args ->> 'account' AS account, count(*) FROM keyed GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM forge.claim('w2', '{keyed}', max_jobs => 10);
SELECT forge.complete(lease, ARRAY[id]) FROM keyed WHERE args ->> 'account' = 'a';
SELECT args ->> 'account' AS account, count(*) FROM forge.claim('w2', '{keyed}', max_jobs => 10) GROUP BY 1;
-- A key of the job's own.
SELECT forge.register_job('own', 'worker', queue => 'own', max_concurrency => 1);
SELECT forge.enqueue('own', concurrency_key => k) IS NOT NULL AS made FROM unnest('{x,x,y}'::text[]) k;
SELECT count(*) FROM forge.claim('w1', '{own}', max_jobs => 10);
-- Rate: no more than the burst at once.
SELECT forge.register_job('api', 'worker', queue => 'api', rate_limit => '3/hour');
SELECT count(*) FROM forge.enqueue_many('api', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 9) n));
SELECT count(*) FROM forge.claim('w1', '{api}', max_jobs => 2);
SELECT count(*) FROM forge.claim('w2', '{api}', max_jobs => 10);
SELECT count(*) FROM forge.claim('w3', '{api}', max_jobs => 10);
SELECT running FROM forge.queues WHERE queue = 'api';
-- A queue's own rate counts all its kinds.
SELECT forge.register_job('a', 'worker', queue => 'both');
SELECT forge.register_job('b', 'worker', queue => 'both');
SELECT forge.configure_queue('both', rate_limit => '2/hour');
SELECT forge.enqueue(k) IS NOT NULL AS made FROM unnest('{a,b,a,b}'::text[]) k;
SELECT count(*) FROM forge.claim('w1', '{both}', max_jobs => 10);
SELECT count(*) FROM forge.claim('w1', '{both}', max_jobs => 10);
