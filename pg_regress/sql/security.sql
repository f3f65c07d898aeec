-- Sessions, encryption keys, the audit log.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE ROLE regress_login LOGIN;
CREATE ROLE regress_owner IN ROLE forge_user;
SELECT forge.setup_daemon_role('regress_login');
GRANT USAGE ON SCHEMA test TO forge_anon, forge_user;
GRANT USAGE, CREATE ON SCHEMA test TO regress_owner;
GRANT EXECUTE ON FUNCTION forge.create_session(text, text, jsonb, interval) TO regress_owner;
-- A session's token is shown once and works until it is revoked.
SELECT forge.create_session('ada', claims => '{"a":1}') AS token \gset
SELECT left(:'token', 3) AS prefix, length(:'token') AS length;
SELECT a ->> 'subject' AS subject, a ->> 'role' AS role, a -> 'claims' AS claims, a ? 'expires_at' AS ends FROM forge_private.authenticate_session(:'token') a;
SELECT forge_private.authenticate_session(:'token' || 'x') IS NULL AS unknown, forge_private.authenticate_session('') IS NULL AS empty, forge_private.authenticate_session(NULL) IS NULL AS "null";
SELECT forge.revoke_session(:'token'), forge.revoke_session(:'token') AS again;
SELECT forge_private.authenticate_session(:'token') IS NULL AS gone;
SELECT count(forge.create_session('bob')) FROM generate_series(1, 3);
SELECT forge.revoke_sessions('bob'), forge.revoke_sessions('bob');
SELECT subject, role, revoked_at IS NOT NULL AS revoked, expires_at - created_at BETWEEN '29 days' AND '30 days 1 min' AS month FROM forge.sessions ORDER BY created_at;
SELECT c, e.* FROM unnest(ARRAY[$$'x', 'postgres_none'$$, $$'x', current_user::text$$, $$'', 'forge_user'$$, $$NULL$$, $$'x', ttl => '0'$$, $$'x', claims => '[]'$$]) c,
    test.error_of(format('SELECT forge.create_session(%s)', c)) e;
-- Through a function with rights of its own: its owner's rights count, not the caller's and not the daemon's.
SET ROLE regress_owner;
CREATE FUNCTION test.log_in(name text, role text) RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT forge.create_session(name, role) LIKE 'fs\_%' $$;
RESET ROLE;
SELECT forge.register_mutation('log_in', 'test.log_in', isolation => 'read committed');
SET SESSION AUTHORIZATION regress_login;
SELECT body FROM forge_private.gateway_call('{"role":"forge_anon"}', 'log_in', '{"name":"cy","role":"forge_user"}', '{}');
SELECT forge_private.gateway_call('{"role":"forge_anon"}', 'log_in', '{"name":"cy","role":"forge_admin"}', '{}');
SELECT s ? 'token' AS token, s ? 'expires_at' AS ends FROM forge_private.gateway_session('{"role":"forge_user","subject":"ada","kind":"jwt"}', 60000) s;
SELECT forge_private.gateway_session('{"role":"forge_anon","kind":"anonymous"}', 60000);
RESET SESSION AUTHORIZATION;
-- Encryption.
SELECT e.* FROM test.error_of($$SELECT forge.encrypt('secret')$$) e;
SELECT forge.create_key('default'), forge.rotate_key('default'), forge.create_key('cards');
SELECT e.* FROM unnest(ARRAY[$$SELECT forge.create_key('default')$$, $$SELECT forge.rotate_key('none')$$, $$SELECT forge.create_key('a b')$$]) c, test.error_of(c) e;
SELECT forge.encrypt('secrét', context => 'row 1') AS sealed \gset
SELECT left(:'sealed', 19) AS form, forge.encrypt('secrét', context => 'row 1') <> :'sealed' AS never_twice_the_same, forge.decrypt(:'sealed', 'row 1') AS opened;
SELECT forge.rotate_key('default'), forge.decrypt(:'sealed', 'row 1') AS still_opened, forge.decrypt(forge.encrypt('', 'cards')) = '' AS empty, forge.encrypt(NULL) IS NULL AS "null";
SELECT e.* FROM unnest(ARRAY[format('SELECT forge.decrypt(%L, %L)', :'sealed', 'row 2'), format('SELECT forge.decrypt(%L, %L)', replace(:'sealed', '$2$', '$1$'), 'row 1'),
    format('SELECT forge.decrypt(%L, %L)', replace(:'sealed', 'default', 'other'), 'row 1'), $$SELECT forge.decrypt('plain')$$, $$SELECT forge.decrypt('$forge$1$default$2$AAAA')$$]) c, test.error_of(c) e;
-- The audit log: rows, administrators, refused calls; sealed one after the other.
CREATE TABLE test.account (id int PRIMARY KEY, balance numeric);
SELECT forge.audit('test.account'), forge.audit('test.account');
INSERT INTO test.account VALUES (1, 10), (2, 20);
UPDATE test.account SET balance = balance - 5 WHERE id = 1;
UPDATE test.account SET balance = balance;
BEGIN;
DELETE FROM test.account;
ROLLBACK;
DELETE FROM test.account WHERE id = 2;
TRUNCATE test.account;
SELECT forge_private.audit_denied('{"subject":"mallory","role":"forge_user"}', 'denied', 'forge.purge_queue', 'req-1');
SELECT seq, replace(replace(actor, session_user, 'me'), 'regress_owner', 'owner') AS actor, action, object, before, after, request_id FROM forge.audit_log WHERE action !~ '_session' ORDER BY seq;
SELECT * FROM forge.verify_audit() v WHERE v.checked = (SELECT count(*) FROM forge.audit_log);
SELECT first_bad FROM forge.verify_audit();
-- The caller is the actor; its request is named.
GRANT SELECT, INSERT, UPDATE ON test.account TO forge_user;
CREATE FUNCTION test.deposit(id int, amount numeric) RETURNS numeric LANGUAGE sql AS 'INSERT INTO test.account AS a VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET balance = a.balance + $2 RETURNING balance';
SELECT forge.register_mutation('deposit', 'test.deposit', isolation => 'read committed');
SET SESSION AUTHORIZATION regress_login;
SELECT body FROM forge_private.gateway_call('{"role":"forge_user","subject":"ada"}', 'deposit', '{"id":7,"amount":1.50}', '{"request_id":"req-2"}');
RESET SESSION AUTHORIZATION;
SELECT actor, role, action, object, after, request_id FROM forge.audit_log ORDER BY seq DESC LIMIT 1;
-- Whatever is changed, added or taken away shows.
SELECT max(seq) AS last FROM forge.audit_log \gset
BEGIN;
UPDATE forge_private.audit_entry SET actor = 'nobody' WHERE seq = 5;
SELECT first_bad FROM forge.verify_audit();
ROLLBACK;
BEGIN;
DELETE FROM forge_private.audit_entry WHERE seq = 5;
SELECT first_bad FROM forge.verify_audit();
ROLLBACK;
BEGIN;
DELETE FROM forge_private.audit_entry WHERE seq = :last;
SELECT first_bad = :last AS the_last FROM forge.verify_audit();
ROLLBACK;
BEGIN;
INSERT INTO forge_private.audit_entry SELECT seq + 1, at, actor, role, action, object, before, after, request_id, hash, hash FROM forge_private.audit_entry WHERE seq = :last;
SELECT first_bad = :last + 1 AS the_new FROM forge.verify_audit();
ROLLBACK;
SELECT first_bad FROM forge.verify_audit();
SELECT forge.unaudit('test.account'), forge.unaudit('test.account');
SELECT e.* FROM unnest(ARRAY[$$SELECT forge.audit('pg_class')$$, $$SELECT forge.audit('forge.jobs')$$, $$SELECT forge.audit('forge_private.api_key')$$, $$SELECT forge.audit(NULL)$$]) c, test.error_of(c) e;
DROP OWNED BY regress_owner, regress_login;
DROP ROLE regress_owner, regress_login;
