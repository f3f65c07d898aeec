-- Queries, mutations, actions and routes: what can be registered, and what is refused and why.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE TYPE test.mood AS ENUM ('glad', 'sad');
CREATE DOMAIN test.percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE test.article (id bigint PRIMARY KEY, title text NOT NULL, tags text[], mood test.mood);
CREATE FUNCTION test.article(id bigint) RETURNS test.article LANGUAGE sql STABLE AS 'SELECT a FROM test.article a WHERE a.id = $1';
CREATE FUNCTION test.articles(tag text DEFAULT NULL, most int DEFAULT 20) RETURNS SETOF test.article LANGUAGE sql STABLE
    AS 'SELECT * FROM test.article WHERE tag IS NULL OR tag = ANY (tags) LIMIT most';
CREATE FUNCTION test.add(title text, tags text[] DEFAULT '{}', mood test.mood DEFAULT 'glad') RETURNS bigint LANGUAGE sql
    AS 'INSERT INTO test.article SELECT (SELECT count(*) + 1 FROM test.article), $1, $2, $3 RETURNING id';
CREATE FUNCTION test.totals(share test.percent) RETURNS TABLE (mood test.mood, articles bigint) LANGUAGE sql STABLE AS 'SELECT mood, count(*) FROM test.article GROUP BY 1';
CREATE FUNCTION test.twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION test.twice(n numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION test.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';
CREATE FUNCTION test.nameless(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION test.anything(a anyelement) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION test.some(VARIADIC n int[]) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION test.loose() RETURNS record LANGUAGE sql IMMUTABLE AS 'SELECT 1, 2';
CREATE FUNCTION test.trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE PROCEDURE test.work() LANGUAGE sql AS '';
CREATE FUNCTION test.raw(body jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT body';
SELECT forge.register_query('article', 'test.article', cache_ttl => '10 s', description => 'One article', tags => '{articles}');
SELECT forge.register_query('articles', 'test.articles', rate_limit => '100/minute per user', timeout => '2 s');
SELECT forge.register_mutation('articles.add', 'test.add');
SELECT forge.register_query('totals', 'test.totals');
SELECT forge.register_query('twice', 'test.twice(numeric)');
SELECT forge.register_query('raw', 'test.raw');
SELECT forge.register_action('mail', 'https://example.com/mail', '{"roles":["forge_service"],"max_attempts":3}', timeout => '10 s');
-- Registering the same again changes nothing, something else does.
SELECT version AS before FROM forge_private.catalog \gset
SELECT forge.register_query('twice', 'test.twice(numeric)');
SELECT forge.register_action('mail', 'https://example.com/mail', '{"roles":["forge_service"],"max_attempts":3}', timeout => '10 s');
SELECT version = :before AS unchanged FROM forge_private.catalog;
SELECT forge.register_query('twice', 'test.twice(int)', max_concurrency => 2);
SELECT version > :before AS changed FROM forge_private.catalog;
SELECT name, kind, handler, timeout, rate_limit, cache_ttl, description, tags, isolation, max_retries, max_concurrency FROM forge.functions ORDER BY name;
SELECT name, jsonb_pretty(arguments) AS arguments FROM forge.functions WHERE name IN ('articles.add', 'totals', 'raw') ORDER BY name;
SELECT name, jsonb_pretty(returns) AS returns FROM forge.functions WHERE name IN ('articles', 'totals', 'twice') ORDER BY name;
SELECT kind, handler, max_attempts FROM forge_private.job_kind;
-- What cannot work is refused.
SELECT c.command, e.* FROM (VALUES
    ($$SELECT forge.register_query('q', 'test.now')$$),
    ($$SELECT forge.register_query('q', 'test.nowhere')$$),
    ($$SELECT forge.register_query('q', 'test.twice')$$),
    ($$SELECT forge.register_query('q', 'test.twice(text)')$$),
    ($$SELECT forge.register_query('q', 'twice')$$),
    ($$SELECT forge.register_query('q', 'test.twice(')$$),
    ($$SELECT forge.register_query('q', 'x''); DROP TABLE test.article; --')$$),
    ($$SELECT forge.register_query('q', 'test.nameless')$$),
    ($$SELECT forge.register_query('q', 'test.anything')$$),
    ($$SELECT forge.register_query('q', 'test.some')$$),
    ($$SELECT forge.register_query('q', 'test.loose')$$),
    ($$SELECT forge.register_mutation('m', 'test.trigger')$$),
    ($$SELECT forge.register_mutation('m', 'test.work')$$),
    ($$SELECT forge.register_query('a name', 'test.raw')$$),
    ($$SELECT forge.register_query('q', 'test.raw', rate_limit => 'often')$$),
    ($$SELECT forge.register_query('q', 'test.raw', rate_limit => '5/s per queue')$$),
    ($$SELECT forge.register_query('q', 'test.raw', timeout => '0')$$),
    ($$SELECT forge.register_query('q', 'test.raw', max_concurrency => 0)$$),
    ($$SELECT forge.register_query(NULL, 'test.raw')$$),
    ($$SELECT forge.register_mutation('m', 'test.add', isolation => 'strict')$$),
    ($$SELECT forge.register_mutation('m', 'test.add', max_retries => 100)$$),
    ($$SELECT forge.register_mutation('m', 'test.add', cache_ttl => '1 s')$$),
    ($$SELECT forge.register_action('a', 'ftp://example.com')$$),
    ($$SELECT forge.register_action('a', 'worker', '{"max_attempts":"x"}')$$),
    ($$SELECT forge.register_action('a', 'worker', '{"roles":["nobody"]}')$$)
) c(command), test.error_of(c.command) e;
-- Routes.
SELECT forge.register_route('GET', '/api/articles/{id}', 'article');
SELECT forge.register_route('get', '/api/articles', 'articles', description => 'All of them');
SELECT forge.register_route('POST', '/api/articles', 'articles.add');
SELECT forge.register_route('POST', '/api/raw/{anything}', 'raw');
SELECT forge.register_route('POST', '/api/mail', 'mail');
SELECT * FROM forge_private.gateway_routes();
SELECT c.command, e.* FROM (VALUES
    ($$SELECT forge.register_route('GET', '/api/articles/{slug}', 'article')$$),
    ($$SELECT forge.register_route('POST', '/api/raw/{any}', 'raw')$$),
    ($$SELECT forge.register_route('GET', '/api/x', 'articles.add')$$),
    ($$SELECT forge.register_route('GET', '/api/x', 'nowhere')$$),
    ($$SELECT forge.register_route('TRACE', '/api/x', 'article')$$),
    ($$SELECT forge.register_route('GET', 'api/x', 'article')$$),
    ($$SELECT forge.register_route('GET', '/api//x', 'article')$$),
    ($$SELECT forge.register_route('GET', '/api/../x', 'article')$$),
    ($$SELECT forge.register_route('GET', '/api/x?y', 'article')$$),
    ($$SELECT forge.register_route('GET', '/api/{a}{b}', 'article')$$),
    ($$SELECT forge.register_route('GET', '/api/{id}/{id}', 'article')$$),
    ($$SELECT forge.register_route('GET', '/v1/jobs', 'article')$$),
    ($$SELECT forge.register_route('GET', '/healthz', 'article')$$)
) c(command), test.error_of(c.command) e;
SELECT forge.unregister_route('POST', '/api/mail'), forge.unregister_route('POST', '/api/mail');
-- A function that no longer fits is named by status and found at the call.
DROP FUNCTION test.totals(test.percent);
CREATE OR REPLACE FUNCTION test.raw(body jsonb) RETURNS jsonb LANGUAGE sql VOLATILE AS 'SELECT body';
SELECT w ->> 'code' AS code, w ->> 'message' AS message, w ->> 'hint' AS hint FROM jsonb_array_elements(forge.status() -> 'warnings') w WHERE w ->> 'code' = 'function_unfit';
SELECT name, arguments, returns FROM forge.functions WHERE name = 'totals';
SELECT e.* FROM unnest('{totals,raw}'::text[]) n, test.error_of(format('SELECT forge.call(%L, ''{"share":5}'')', n)) e;
-- Unregistered with its routes.
SELECT forge.unregister('raw'), forge.unregister('raw'), forge.unregister('mail');
SELECT path FROM forge.routes ORDER BY 1;
SELECT count(*) FROM forge_private.job_kind;
