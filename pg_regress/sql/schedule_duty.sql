-- What the leader does with schedules: once per instant, policies, superseded leaders.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SELECT forge.register_job('tick', 'worker');
CREATE TABLE test.node AS SELECT gen_random_uuid() AS id, 'a' AS name UNION ALL SELECT gen_random_uuid(), 'b';
SELECT forge_private.node_register(id, name, '{scheduler}', '{general}', null, null, '0.1.0') FROM test.node ORDER BY name;
SELECT forge_private.node_heartbeat(id, 'active', '{}') ->> 'state' AS state FROM test.node ORDER BY name;
SELECT forge_private.leader_acquire('schedules', id, 60000) AS term FROM test.node WHERE name = 'a';
SELECT forge_private.leader_acquire('schedules', id, 60000) AS term FROM test.node WHERE name = 'b';
SELECT duty, term FROM forge.leaders;
SELECT forge.schedule('second', '* * * * * *', 'tick');
-- Three seconds of instants, decided late and one by one: each once.
SELECT test.until($$(SELECT next_run_at <= clock_timestamp() FROM forge.schedules)$$);
SELECT (forge_private.duty_schedules(id, 1) ->> 'fired')::int >= 1 AS fired FROM test.node WHERE name = 'a';
SELECT forge_private.duty_schedules(id, 1) ->> 'fired' AS fired_again FROM test.node WHERE name = 'a';
SELECT count(*) = count(DISTINCT scheduled_for) AS once, count(*) = (SELECT count(*) FROM forge.jobs) AS a_job_each FROM forge.schedule_runs;
-- A superseded leader fires nothing.
SELECT e.code FROM test.node, test.error_of(format('SELECT forge_private.duty_schedules(%L, 0)', id)) e WHERE name = 'a';
SELECT e.code FROM test.node, test.error_of(format('SELECT forge_private.duty_schedules(%L, 1)', id)) e WHERE name = 'b';
SELECT forge_private.leader_resign('schedules', id, 1) FROM test.node WHERE name = 'a';
SELECT forge_private.leader_acquire('schedules', id, 60000) AS term FROM test.node WHERE name = 'b';
SELECT e.code FROM test.node, test.error_of(format('SELECT forge_private.duty_schedules(%L, 1)', id)) e WHERE name = 'a';
SELECT forge.unschedule('second');
-- Misfires: an hour of every ten minutes missed.
CREATE FUNCTION test.miss(which text) RETURNS void LANGUAGE sql AS
$$UPDATE forge_private.schedule SET next_run_at = date_trunc('hour', now() - interval '1 day') WHERE name = which$$;
SELECT forge.schedule('skip', 'every 10m', 'tick', misfire => 'skip');
SELECT forge.schedule('latest', 'every 10m', 'tick', misfire => 'latest');
SELECT forge.schedule('all', 'every 10m', 'tick', misfire => 'all', misfire_limit => 5);
SELECT test.miss(name) FROM forge.schedules;
SELECT (forge_private.duty_schedules(id, 2) ->> 'fired')::int BETWEEN 6 AND 8 AS fired FROM test.node WHERE name = 'b';
SELECT schedule, count(*) FILTER (WHERE outcome = 'fired') BETWEEN x.n AND x.n + 1 AS as_said
FROM forge.schedule_runs JOIN (VALUES ('skip', 0), ('latest', 1), ('all', 5)) x(name, n) ON x.name = schedule GROUP BY schedule, x.n ORDER BY 1;
SELECT forge.unschedule(name) FROM forge.schedules;
-- Overlap: no second job while the first is unfinished.
SELECT forge.schedule('busy', 'every 10m', 'tick', overlap => 'skip', misfire => 'all', misfire_limit => 3);
SELECT test.miss('busy');
SELECT (forge_private.duty_schedules(id, 2) ->> 'fired')::int AS fired FROM test.node WHERE name = 'b';
SELECT outcome, min(count(*)) OVER (PARTITION BY outcome) >= 1 AS some FROM forge.schedule_runs WHERE schedule = 'busy' GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM forge.schedule_runs WHERE schedule = 'busy' AND outcome = 'fired';
