-- Nodes: states, drain, death, leaving.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE TABLE test.node AS SELECT n AS name, gen_random_uuid() AS id FROM unnest('{a,b,c}'::text[]) n;
CREATE FUNCTION test.id(name text) RETURNS uuid LANGUAGE sql AS 'SELECT n.id FROM test.node n WHERE n.name = $1';
SELECT forge_private.node_register(id, name, '{worker,scheduler}', '{general}', 'h:1', 'g:1', '0.1.0') FROM test.node ORDER BY name;
SELECT forge_private.node_heartbeat(id, 'active', '{"jobs": 1}') - 'catalog' AS answer FROM test.node ORDER BY name;
SELECT name, roles, capabilities, http_address, grpc_address, version, state, load FROM forge.nodes ORDER BY name;
SELECT * FROM test.error_of($$SELECT forge_private.node_register(gen_random_uuid(), 'x', '{juggler}', '{general}', null, null, '0.1.0')$$);
SELECT * FROM test.error_of($$SELECT forge_private.node_register(gen_random_uuid(), 'a b', '{worker}', '{general}', null, null, '0.1.0')$$);
SELECT * FROM test.error_of($$SELECT forge_private.node_register(null, 'x', '{worker}', '{general}', null, null, '0.1.0')$$);
SELECT * FROM test.error_of($$SELECT forge_private.node_heartbeat(test.id('a'), 'dead', '{}')$$);
-- The number in the answer changes with the registry.
CREATE TABLE test.before AS SELECT forge_private.node_heartbeat(test.id('a'), 'active', '{}') -> 'catalog' AS catalog;
SELECT forge.register_job('task', 'worker');
SELECT forge_private.node_heartbeat(test.id('a'), 'active', '{}') -> 'catalog' <> catalog AS changed FROM test.before;
-- Asked to drain: the next heartbeat says so, and it stays so.
SELECT forge_private.node_request_drain('b') = test.id('b') AS asked;
SELECT forge_private.node_heartbeat(test.id('b'), 'active', '{}') ->> 'state' AS state;
SELECT forge_private.node_heartbeat(test.id('b'), 'active', '{}') ->> 'state' AS state;
SELECT forge_private.node_request_drain(test.id('b')::text) = test.id('b') AS by_id;
SELECT * FROM test.error_of($$SELECT forge_private.node_request_drain('nobody')$$);
-- Leadership: one term at a time, renewed in one call with what is free.
SELECT forge_private.leader_beat(test.id('a'), '{rescue,schedules}', 60000);
SELECT forge_private.leader_beat(test.id('c'), '{rescue,promote}', 60000) -> 'held' AS held;
SELECT duty, term FROM forge.leaders ORDER BY duty;
SELECT * FROM test.error_of($$SELECT forge_private.leader_beat(test.id('a'), '{rescue}', 0)$$);
-- Silent for 15 s: dead, its duties free, its heartbeat answered with dead.
UPDATE forge_private.node SET last_heartbeat_at = last_heartbeat_at - interval '16 s' WHERE name = 'c';
SELECT forge_private.duty_rescue(test.id('a'), 1) - 'next_in_ms' AS rescued;
SELECT name, state FROM forge.nodes ORDER BY name;
SELECT duty, term FROM forge.leaders ORDER BY duty;
SELECT forge_private.node_heartbeat(test.id('c'), 'active', '{}');
SELECT forge_private.leader_beat(test.id('c'), '{promote}', 60000) -> 'held' AS held;
SELECT code FROM test.error_of($$SELECT forge_private.node_register(test.id('c'), 'c', '{worker}', '{general}', null, null, '0.1.0')$$);
SELECT forge_private.leader_beat(test.id('a'), '{promote}', 60000) -> 'held' AS held;
-- Who was cut off itself judges nobody for another 15 s.
UPDATE forge_private.node SET last_heartbeat_at = last_heartbeat_at - interval '16 s' WHERE name = 'b';
UPDATE forge_private.node SET last_heartbeat_at = last_heartbeat_at - interval '10 s' WHERE name = 'a';
SELECT forge_private.node_heartbeat(test.id('a'), 'active', '{}') ->> 'state' AS state;
SELECT forge_private.duty_rescue(test.id('a'), 1) - 'next_in_ms' AS rescued;
-- Leaving frees name and duties.
SELECT forge_private.node_leave(test.id('a')), forge_private.node_leave(test.id('a'));
SELECT name, state FROM forge.nodes ORDER BY name;
SELECT count(*) AS led FROM forge.leaders;
SELECT code FROM test.error_of(format('SELECT forge_private.duty_rescue(%L, 1)', test.id('a')));
