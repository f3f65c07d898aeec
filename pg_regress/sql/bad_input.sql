-- What nobody should send, beyond what each capability's own file shows: an error that names the value, and nothing half-done.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SELECT forge.register_job('task', 'worker', max_attempts => 3, backoff => 'fixed(1h)');
-- Batches: 10,000 and no more; arrays that are empty, null inside, or of several dimensions.
SELECT * FROM test.error_of($$SELECT forge.enqueue_many('task', array_fill('{}'::jsonb, ARRAY[10001]))$$);
SELECT count(*) FROM forge.enqueue_many('task', array_fill('{}'::jsonb, ARRAY[10000]));
SELECT * FROM test.error_of($$SELECT count(*) FROM forge.claim('w', max_jobs => 10001)$$);
CREATE TEMP TABLE big AS SELECT * FROM forge.claim('w', max_jobs => 10000);
SELECT count(*), count(DISTINCT id) FROM big;
SELECT code, message, hint FROM big, test.error_of(format('SELECT forge.complete(%L, array_fill(%L::uuid, ARRAY[10001]))', lease, id)) LIMIT 1;
SELECT forge.complete(lease, array_agg(id)) FROM big GROUP BY lease;
SELECT * FROM test.error_of($$SELECT forge.enqueue_many(null, ARRAY['{}']::jsonb[])$$);
SELECT count(*) FROM forge.enqueue_many('task', ARRAY[['{}', '{}'], ['{}', '{}']]::jsonb[]);
SELECT * FROM test.error_of($$SELECT forge.enqueue_many('task', ARRAY['{}', jsonb_build_object('big', repeat('x', 1100000))]::jsonb[])$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue_many('task', ARRAY['{}']::jsonb[], delay => '-1 s')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue_many('task', ARRAY['{}']::jsonb[], priority => 'urgent')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue_many('task', ARRAY['{}']::jsonb[], queue => 'nowhere')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('task', tags => '{a,null}')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('task', tags => '{""}')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('task', tags => array_fill('t'::text, ARRAY[33]))$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('task', tags => ARRAY[repeat('t', 200)])$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('task', concurrency_key => '')$$);
SELECT code, left(message, 60) AS message FROM test.error_of($$SELECT forge.enqueue('task', unique_key => repeat('k', 2000))$$);
SELECT code, left(message, 60) AS message FROM test.error_of($$SELECT forge.enqueue(repeat('k', 100000))$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('task', delay => '1000000 years')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('task', run_at => '-infinity')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('task', delay => 'soon')$$);
SELECT * FROM test.error_of($$SELECT forge.enqueue('task', max_attempts => 40000)$$);
-- Arguments of any JSON type are a job's own business.
SELECT forge.enqueue('task', args) IS NOT NULL AS made FROM unnest(ARRAY['null', '[1]', '"text"', '7']::jsonb[]) args;
SELECT state, args FROM forge.jobs WHERE state = 'ready' ORDER BY id;
SELECT count(*) FROM forge.claim('w', max_jobs => 10);
-- Claims.
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', '{default,null}')$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', capabilities => '{}')$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', lease => '0 s')$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('w', lease => '1000 years')$$);
SELECT * FROM test.error_of($$SELECT * FROM forge.claim('')$$);
SELECT code, left(message, 60) AS message FROM test.error_of($$SELECT * FROM forge.claim(repeat('w', 100000))$$);
-- What a holder may send: each mistake leaves the job running.
SELECT forge.enqueue('task', '{"n": 1}') IS NOT NULL AS made;
CREATE TEMP TABLE held AS SELECT * FROM forge.claim('w', lease => '1 hour');
SELECT call, e.* FROM held, (VALUES
    ('complete(%1$L, null)'), ('complete(%1$L, ''{}'')'), ('complete(%1$L, ARRAY[null]::uuid[])'),
    ('complete(%1$L, ARRAY[%2$L]::uuid[], ''{}''::jsonb[])'), ('complete(%1$L, ARRAY[%2$L]::uuid[], ARRAY[''1'', ''2'']::jsonb[])'),
    ('fail(%1$L, null, ''x'')'), ('fail(%1$L, %2$L, ''x'', retry_in => ''-1 s'')'),
    ('fail(%1$L, %2$L, ''x'', retry_in => ''1000000 years'')'),
    ('snooze(%1$L, %2$L, ''-1 s'')'), ('snooze(null, %2$L, ''1 s'')'),
    ('progress(%1$L, %2$L, 101, ''x'')'), ('progress(%1$L, %2$L, -1, ''x'')'), ('progress(%1$L, %2$L, ''NaN'', ''x'')'),
    ('extend(%1$L, ''-1 s'')'), ('extend(%1$L, ''0'')'), ('extend(%1$L, ''1000000 years'')')) c(call),
    test.error_of(format('SELECT forge.' || call, lease, id)) e;
SELECT state, attempt, error FROM forge.jobs WHERE args = '{"n": 1}';
-- A very long error is kept in part; a job twice in one call ends once.
SELECT forge.fail(lease, id, repeat('long ', 100000), retry => false) FROM held;
SELECT state, length(error) < 100000 AS shortened FROM forge.jobs WHERE args = '{"n": 1}';
SELECT forge.enqueue('task', '{"n": 2}') IS NOT NULL AS made;
SELECT forge.complete(lease, ARRAY[id, id]) FROM forge.claim('w');
-- Ids that are none.
SELECT f, e.* FROM unnest('{cancel,retry,discard}'::text[]) f, test.error_of(format('SELECT forge.%s(null)', f)) e;
SELECT f, e.* FROM unnest('{cancel,retry,discard}'::text[]) f, test.error_of(format('SELECT forge.%s(''nonsense'')', f)) e;
SELECT * FROM test.error_of($$SELECT forge.redrive(queue => 'nowhere')$$);
SELECT f, e.* FROM unnest('{pause_queue,resume_queue,purge_queue}'::text[]) f, test.error_of(format('SELECT forge.%s(null)', f)) e;
-- Rhythms, zones and numbers of schedules.
SELECT c, code, message FROM unnest(ARRAY['* * * * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * * 13 *', '* * * * 8', '*/0 * * * *', '5-1 * * * *',
    'a b c d e', 'every', 'every -5s', 'every 1000000y']) WITH ORDINALITY u(c, o),
    test.error_of(format('SELECT forge.next_runs(%L)', c)) ORDER BY o;
SELECT code, left(message, 40) AS message FROM test.error_of(format('SELECT forge.next_runs(%L)', repeat('*,', 5000) || '* * * * *'));
SELECT * FROM test.error_of($$SELECT forge.next_runs('@daily', '')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('@daily', null)$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('@daily', 'UTC', 'infinity')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('@daily', n => 1000000000)$$);
SELECT * FROM test.error_of($$SELECT forge.schedule('s', '@daily', 'task', jitter => '1 year')$$);
SELECT * FROM test.error_of($$SELECT forge.schedule('s', '@daily', 'task', misfire => null)$$);
SELECT * FROM test.error_of($$SELECT forge.unschedule(null)$$);
SELECT count(*) FROM forge.schedules;
-- Webhooks.
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'task', 'carrier-pigeon', 'long enough')$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'unknown', 'github', 'long enough')$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'task', 'github', '')$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'task', 'github', null)$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('h', 'task', 'stripe', 'long enough', tolerance => '-1 min')$$);
SELECT * FROM test.error_of($$SELECT forge.register_webhook('', 'task', 'github', 'long enough')$$);
-- The session is as good as new.
SELECT ready, running FROM forge.queues WHERE queue = 'default';
