-- Arguments from JSON and results to JSON, through forge.call.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
SET timezone = 'Europe/Berlin';
CREATE TYPE test.mood AS ENUM ('glad', 'sad');
CREATE DOMAIN test.percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE TYPE test.address AS (street text, zip int);
CREATE TABLE test.person (id int PRIMARY KEY, name text NOT NULL, address test.address, extra jsonb, gone int);
ALTER TABLE test.person DROP COLUMN gone;
INSERT INTO test.person VALUES (1, 'Ada', ROW('High "St"', 12), '{"a": 1}'), (2, E'Bo\nb', NULL, NULL);
-- Shows an error with its detail.
CREATE FUNCTION test.mistake(command text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    message := 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
-- Every type a person would use comes back as it went.
CREATE FUNCTION test.types(b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, t text, v varchar, u uuid, d date, ts timestamp, tz timestamptz,
    ti time, iv interval, by bytea, j json, jb jsonb, m test.mood, p test.percent, a int[], aa text[], md int[], ad test.address, ada test.address[], r int4range, ip inet)
    RETURNS TABLE (b2 bool, i22 int2, i42 int4, i82 int8, f42 float4, f82 float8, n2 numeric, t2 text, v2 varchar, u2 uuid, d2 date, ts2 timestamp, tz2 timestamptz,
    ti2 time, iv2 interval, by2 bytea, j2 json, jb2 jsonb, m2 test.mood, p2 test.percent, a2 int[], aa2 text[], md2 int[], ad2 test.address, ada2 test.address[], r2 int4range, ip2 inet)
    LANGUAGE sql STABLE AS 'SELECT b, i2, i4, i8, f4, f8, n, t, v, u, d, ts, tz, ti, iv, by, j, jb, m, p, a, aa, md, ad, ada, r, ip';
SELECT forge.register_query('types', 'test.types');
CREATE FUNCTION test.shown(name text, args jsonb) RETURNS TABLE (line text) LANGUAGE sql AS $$
    SELECT format('%s: %s', e.key, e.value) FROM jsonb_array_elements(forge.call(name, args)) r, jsonb_each(r) e ORDER BY e.key $$;
SELECT * FROM test.shown('types', '{"b":true,"i2":-5,"i4":2147483647,"i8":9223372036854775807,"f4":1.5,"f8":1e-300,"n":123456789012345678901234567890.123456789000,
    "t":"it''s \"quoted\" \\ é 🦀","v":"","u":"0190A3D2-7b1c-7000-8000-000000000000","d":"2026-02-28","ts":"2026-02-28T01:02:03.5","tz":"2026-02-28T01:02:03Z",
    "ti":"12:34:56","iv":"1 day 2 hours","by":"\\x00ff","j":{"z": 1, "a":[1.50]},"jb":{"z":1,"a":null},"m":"sad","p":100,"a":[1,null,3],"aa":["x","a,b","\"q\"",""],
    "md":[[1,2],[3,4]],"ad":{"street":"S","zip":7},"ada":[{"street":null,"zip":1},null],"r":"[1,5)","ip":"10.0.0.1"}');
SELECT * FROM test.shown('types', '{"b":null,"i2":null,"i4":null,"i8":null,"f4":null,"f8":"NaN","n":"Infinity","t":null,"v":null,"u":null,"d":null,"ts":null,"tz":null,
    "ti":null,"iv":null,"by":null,"j":null,"jb":null,"m":null,"p":null,"a":[],"aa":null,"md":null,"ad":null,"ada":null,"r":null,"ip":null}');
-- All mistakes at once, each by its field.
\x
SELECT code, message, jsonb_pretty(detail::jsonb) AS detail, hint FROM test.mistake($c$SELECT forge.call('types', '{"b":"yes","i2":40000,"i4":1.5,"i8":"7","f4":1e300,"f8":"x","n":"1","t":5,"v":[],"u":"zz","d":"2026-02-30","ts":"soon","tz":1,
    "ti":"25:00","iv":"long","by":"\\x0","m":"angry","p":101,"a":[1,"b"],"aa":"x","md":[[1],[2,3]],"ad":{"street":1,"zap":2},"ada":[{"zip":"x"}],"r":"[5,1)","ip":"10.0.0.256","extra":1}')$c$);
\x
SELECT * FROM test.mistake($c$SELECT forge.call('types', '[1]')$c$);
SELECT * FROM test.mistake($c$SELECT forge.call('types', '5')$c$);
SELECT * FROM test.mistake(format('SELECT forge.call(%L, %L)', 'types', '{"jb":' || repeat('[', 200) || repeat(']', 200) || '}'));
-- Defaults, whole numbers written otherwise, no arguments.
CREATE FUNCTION test.greet(name text, times int DEFAULT 2, at timestamptz DEFAULT now()) RETURNS text LANGUAGE sql STABLE AS 'SELECT repeat(name, times) || (at = now())';
SELECT forge.register_query('greet', 'test.greet');
SELECT forge.call('greet', '{"name":"ab"}'), forge.call('greet', '{"name":"ab","times":3.0}'), forge.call('greet', '{"times":1e0,"name":"x","at":"2026-01-01T00:00:00Z"}');
SELECT * FROM test.mistake($c$SELECT forge.call('greet', '{"nam":"x"}')$c$);
SELECT * FROM test.mistake($c$SELECT forge.call('greet')$c$);
-- Scalar, composite, set, table, nothing; in SQL and in PL/pgSQL.
CREATE FUNCTION test.person(id int) RETURNS test.person LANGUAGE sql STABLE AS 'SELECT * FROM test.person p WHERE p.id = $1';
CREATE FUNCTION test.person_whole(id int) RETURNS test.person LANGUAGE sql STABLE AS 'SELECT p FROM test.person p WHERE p.id = $1';
CREATE FUNCTION test.person_pl(id int) RETURNS test.person LANGUAGE plpgsql STABLE AS 'DECLARE p test.person; BEGIN SELECT * INTO p FROM test.person x WHERE x.id = $1; IF NOT FOUND THEN RETURN NULL; END IF; RETURN p; END';
CREATE FUNCTION test.people() RETURNS SETOF test.person LANGUAGE sql STABLE AS 'SELECT * FROM test.person ORDER BY id';
CREATE FUNCTION test.people_pl() RETURNS SETOF test.person LANGUAGE plpgsql STABLE AS 'BEGIN RETURN QUERY SELECT * FROM test.person ORDER BY id; END';
CREATE FUNCTION test.names() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT name FROM test.person ORDER BY id';
CREATE FUNCTION test.names_pl() RETURNS SETOF text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN QUERY SELECT name FROM test.person ORDER BY id; END';
CREATE FUNCTION test.both(OUT a int, OUT b text) LANGUAGE plpgsql STABLE AS 'BEGIN a := 1; b := ''x''; END';
CREATE FUNCTION test.widened() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT 1';
CREATE FUNCTION test.atomic(n int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT n + 1; END;
CREATE FUNCTION test.strict(n int) RETURNS int LANGUAGE sql STRICT IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION test.strict_set(n int) RETURNS SETOF int LANGUAGE sql STRICT IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION test.nothing() RETURNS void LANGUAGE sql STABLE AS '';
CREATE FUNCTION test.nothing_pl() RETURNS void LANGUAGE plpgsql STABLE AS 'BEGIN END';
CREATE FUNCTION test.none() RETURNS SETOF test.person LANGUAGE sql STABLE AS 'SELECT * FROM test.person WHERE false';
DO $$ DECLARE p record; BEGIN
    FOR p IN SELECT oid::regprocedure::text AS f, proname FROM pg_proc WHERE pronamespace = 'test'::regnamespace AND provolatile <> 'v' AND proname NOT IN ('types', 'greet') LOOP
        PERFORM forge.register_query(p.proname, p.f);
    END LOOP;
END $$;
SELECT n, a, forge.call(n, a) IS NULL AS "null", forge.call(n, a) AS result FROM (VALUES ('person', '{"id":1}'::jsonb), ('person', '{"id":9}'), ('person_whole', '{"id":2}'), ('person_pl', '{"id":1}'),
    ('person_pl', '{"id":9}'), ('people', '{}'), ('people_pl', '{}'), ('names', '{}'), ('names_pl', '{}'), ('both', '{}'), ('widened', '{}'), ('atomic', '{"n":1}'),
    ('strict', '{"n":null}'), ('strict_set', '{"n":null}'), ('strict_set', '{"n":3}'), ('nothing', '{}'), ('nothing_pl', '{}'), ('none', '{}')) c(n, a);
-- A row type that changes is seen at once; so is a function that changes.
ALTER TABLE test.person ADD COLUMN age int DEFAULT 30;
SELECT forge.call('person', '{"id":1}') -> 'age' AS age, forge.call('people_pl') -> 0 -> 'age' AS age_pl;
CREATE OR REPLACE FUNCTION test.atomic(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN n + 2; END';
SELECT forge.call('atomic', '{"n":1}');
-- One jsonb parameter takes the whole object.
CREATE FUNCTION test.whole(body jsonb) RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT body || ''{"seen":true}''';
SELECT forge.register_query('whole', 'test.whole');
SELECT forge.call('whole', '{"article":{"title":"T"},"n":1.50}');
-- A mutation writes; a query may not, however deep.
CREATE FUNCTION test.add(name text) RETURNS int LANGUAGE sql AS 'INSERT INTO test.person (id, name) SELECT max(id) + 1, $1 FROM test.person RETURNING id';
CREATE FUNCTION test.sneaky() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN test.add(''x''); END';
SELECT forge.register_mutation('add', 'test.add'), forge.register_query('sneaky', 'test.sneaky');
SELECT forge.call('add', '{"name":"Cy"}'), forge.call('add', '{"name":"Di"}');
SELECT * FROM test.mistake($c$SELECT forge.call('sneaky')$c$);
SELECT forge.call('add', '{"name":"after a refused query"}');
-- Errors arrive as they were raised.
CREATE FUNCTION test.fails(code text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such article' USING ERRCODE = code, DETAIL = 'it is gone', HINT = 'look elsewhere'; END $$;
CREATE FUNCTION test.fails_sql(name text) RETURNS void LANGUAGE sql AS 'INSERT INTO test.person (id, name) VALUES (1, name)';
SELECT forge.register_mutation('fails', 'test.fails'), forge.register_mutation('fails_sql', 'test.fails_sql');
SELECT e.* FROM unnest('{PT404,ZF005,22012,P0001}'::text[]) c, test.mistake(format($c$SELECT forge.call('fails', '{"code":"%s"}')$c$, c)) e;
SELECT * FROM test.mistake($c$SELECT forge.call('fails_sql', '{"name":"x"}')$c$);
-- The response of HTTP.
CREATE FUNCTION test.http(status int) RETURNS forge.http_response LANGUAGE sql STABLE AS $$ SELECT forge.http_response(status, '{"X-A":"1","X-N":2}', '{"ok":true}') $$;
SELECT forge.register_query('http', 'test.http');
SELECT forge.call('http', '{"status":201}');
SELECT * FROM test.mistake($c$SELECT forge.call('http', '{"status":99}')$c$);
-- Unknown names; a near one is told to those who may call it.
SELECT * FROM test.mistake($c$SELECT forge.call('peple')$c$);
SELECT * FROM test.mistake($c$SELECT forge.call('something else')$c$);
CREATE ROLE regress_calls IN ROLE forge_user;
GRANT USAGE ON SCHEMA test TO regress_calls;
REVOKE EXECUTE ON FUNCTION test.people(), test.names() FROM PUBLIC;
SET ROLE regress_calls;
SELECT * FROM test.mistake($c$SELECT forge.call('peple')$c$);
SELECT * FROM test.mistake($c$SELECT forge.call('people')$c$);
SELECT * FROM test.mistake($c$SELECT forge.call('person', '{"id":1}')$c$);
SELECT forge.call('atomic', '{"n":40}');
RESET ROLE;
DROP OWNED BY regress_calls;
DROP ROLE regress_calls;
