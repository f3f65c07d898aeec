-- What the gateways may do for a role.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SELECT forge.register_job('task', 'worker');
-- The role's own rights decide.
SELECT r, code, message FROM unnest('{forge_anon,forge_user,forge_service,forge_admin,nobody_of_that_name}'::text[]) r,
    test.error_of(format($$SELECT forge_private.gateway_enqueue(%L, 'task', '{}', '{}')$$, r));
SELECT r, code, message FROM unnest('{forge_anon,forge_user,forge_service,forge_admin}'::text[]) r,
    test.error_of(format($$SELECT forge_private.gateway_jobs(%L, '{}')$$, r));
SELECT r, code, message FROM unnest('{forge_user,forge_service}'::text[]) r,
    test.error_of(format($$SELECT forge_private.gateway_job_action(%L, gen_random_uuid(), 'cancel')$$, r));
-- Options by name.
CREATE TABLE test.job AS SELECT forge_private.gateway_enqueue('forge_service', 'task', '{"n": 1}',
    '{"priority": "high", "delay": "1h30m", "max_attempts": 2, "tags": ["a", "b"], "queue": null, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}') AS id;
SELECT kind, queue, priority, state, args, max_attempts, tags, trace_id, run_at - enqueued_at > interval '89 min' AS later FROM forge.jobs JOIN test.job USING (id);
SELECT forge_private.gateway_enqueue('forge_service', 'task', null, null) IS NOT NULL AS plain;
SELECT e.* FROM (VALUES ('[]'), ('{"colour": "red"}'), ('{"delay": 30}'), ('{"delay": "soon"}'), ('{"delay": "-1 s"}'), ('{"run_at": "tomorrow at tea"}'),
    ('{"max_attempts": "many"}'), ('{"max_attempts": 1.5}'), ('{"tags": "a"}'), ('{"tags": [1]}'), ('{"priority": "urgent"}'), ('{"queue": "nowhere"}')) o(options),
    test.error_of(format($$SELECT forge_private.gateway_enqueue('forge_service', 'task', '{}', %L)$$, options)) e;
SELECT code FROM test.error_of($$SELECT forge_private.gateway_enqueue('forge_service', 'unknown', '{}', '{}')$$);
-- Pages, newest first.
SELECT forge_private.gateway_enqueue('forge_service', 'task', jsonb_build_object('n', n), '{}') IS NOT NULL AS made FROM generate_series(2, 4) n;
SELECT j -> 'args' AS args FROM forge_private.gateway_jobs('forge_service', '{"limit": 2}') j;
SELECT n -> 'args' AS args FROM forge_private.gateway_jobs('forge_service', '{"limit": 2}') WITH ORDINALITY p(j, i),
    forge_private.gateway_jobs('forge_service', jsonb_build_object('before', j -> 'id', 'limit', 2)) n WHERE i = 2;
SELECT j -> 'args' AS args FROM forge_private.gateway_jobs('forge_service', '{"state": "scheduled", "kind": "task", "queue": "default"}') j;
SELECT e.* FROM (VALUES ('{"state": "happy"}'), ('{"kind": "unknown"}'), ('{"queue": "nowhere"}'), ('{"limit": 0}'), ('{"limit": 1001}'), ('{"limit": "x"}'), ('{"before": "x"}'), ('{"colour": "red"}')) f(filter),
    test.error_of(format($$SELECT forge_private.gateway_jobs('forge_service', %L)$$, filter)) e;
-- One job.
SELECT forge_private.gateway_job('forge_service', id) -> 'args' AS args, forge_private.gateway_job('forge_service', id) -> 'attempts' AS attempts FROM test.job;
SELECT forge_private.gateway_job('forge_service', gen_random_uuid()) IS NULL AS unknown;
SELECT forge_private.gateway_job_action('forge_service', id, 'cancel') FROM test.job;
SELECT forge_private.gateway_job('forge_service', id) ->> 'state' AS state FROM test.job;
SELECT * FROM test.error_of($$SELECT forge_private.gateway_job_action('forge_service', gen_random_uuid(), 'explode')$$);
