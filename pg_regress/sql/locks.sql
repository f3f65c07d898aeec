-- Named locks with fencing tokens.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE TABLE test.token (owner text, token bigint);
INSERT INTO test.token SELECT 'a', forge.try_lock('report', 'a');
SELECT forge.try_lock('report', 'b') AS other;
SELECT forge.try_lock('another', 'b') IS NOT NULL AS another;
SELECT name, owner FROM forge.locks ORDER BY name;
SELECT forge.renew_lock('report', token, '1 min') FROM test.token WHERE owner = 'a';
SELECT forge.renew_lock('report', token + 1000, '1 min') AS wrong_token FROM test.token WHERE owner = 'a';
SELECT forge.unlock('report', token + 1000) AS wrong_token FROM test.token WHERE owner = 'a';
SELECT forge.unlock('report', token), forge.unlock('report', token) AS again FROM test.token WHERE owner = 'a';
-- Tokens only grow, also after an expiry.
INSERT INTO test.token SELECT 'b', forge.try_lock('report', 'b', '30 ms');
SELECT test.until($$NOT EXISTS (SELECT FROM forge.locks WHERE name = 'report')$$);
INSERT INTO test.token SELECT 'c', forge.try_lock('report', 'c');
SELECT bool_and(token > before) AS growing FROM (SELECT token, lag(token) OVER (ORDER BY owner) AS before FROM test.token) t;
SELECT forge.renew_lock('report', token, '1 min') AS late, forge.unlock('report', token) AS late FROM test.token WHERE owner = 'b';
-- The same owner again: a new token, the old one is void.
INSERT INTO test.token SELECT 'd', forge.try_lock('report', 'c');
SELECT forge.unlock('report', token) AS void FROM test.token WHERE owner = 'c';
SELECT forge.unlock('report', token) FROM test.token WHERE owner = 'd';
SELECT * FROM test.error_of($$SELECT forge.try_lock(null, 'a')$$);
SELECT * FROM test.error_of($$SELECT forge.try_lock('', 'a')$$);
SELECT * FROM test.error_of($$SELECT forge.try_lock('x', 'a', '-1 s')$$);
