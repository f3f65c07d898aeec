-- Who may do what.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
CREATE ROLE regress_nobody;
CREATE ROLE regress_user IN ROLE forge_user;
CREATE ROLE regress_service IN ROLE forge_service;
CREATE ROLE regress_admin IN ROLE forge_admin;
GRANT USAGE ON SCHEMA test TO regress_nobody, regress_user, regress_service, regress_admin;
SELECT forge.register_job('task', 'worker');
CREATE FUNCTION test.may(role name, command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE command;
    RESET ROLE;
    RETURN 'yes';
EXCEPTION WHEN insufficient_privilege OR SQLSTATE 'ZF003' THEN
    RETURN 'no';
WHEN OTHERS THEN
    -- Any other error comes after the permission.
    RETURN CASE WHEN SQLSTATE LIKE 'ZF%' THEN 'yes' ELSE SQLSTATE || ': ' || SQLERRM END;
END $$;
SELECT c.command, test.may('regress_nobody', c.command) AS nobody, test.may('forge_anon', c.command) AS anon,
       test.may('regress_user', c.command) AS "user", test.may('regress_service', c.command) AS service,
       test.may('regress_admin', c.command) AS admin
FROM (VALUES
    ($$SELECT forge.enqueue('task')$$),
    ($$SELECT forge.enqueue_many('task', ARRAY['{}']::jsonb[])$$),
    ($$SELECT forge.claim('w')$$),
    ($$SELECT forge.complete('00000000-0000-7000-8000-000000000000', '{}')$$),
    ($$SELECT forge.fail('00000000-0000-7000-8000-000000000000', '00000000-0000-7000-8000-000000000000', 'x')$$),
    ($$SELECT forge.extend('00000000-0000-7000-8000-000000000000', '1 s')$$),
    ($$SELECT count(*) FROM forge.jobs$$),
    ($$SELECT count(*) FROM forge.queues$$),
    ($$SELECT count(*) FROM forge.job_attempts$$),
    ($$SELECT forge.cancel('00000000-0000-7000-8000-000000000000')$$),
    ($$SELECT forge.retry('00000000-0000-7000-8000-000000000000')$$),
    ($$SELECT forge.redrive()$$),
    ($$SELECT forge.pause_queue('default')$$),
    ($$SELECT forge.resume_queue('default')$$),
    ($$SELECT forge.purge_queue('default')$$),
    ($$SELECT forge.register_job('mine', 'worker')$$),
    ($$SELECT forge.schedule('s', '@daily', 'task')$$),
    ($$SELECT forge.trigger('none')$$),
    ($$SELECT count(*) FROM forge.schedules$$),
    ($$SELECT count(*) FROM forge.nodes$$),
    ($$SELECT count(*) FROM forge.leaders$$),
    ($$SELECT forge.try_lock('l', 'o')$$),
    ($$SELECT forge.create_api_key('k')$$),
    ($$SELECT count(*) FROM forge.api_keys$$),
    ($$SELECT forge.register_webhook('h', 'task', 'github', 'a secret')$$),
    ($$SELECT forge.status()$$),
    ($$SELECT forge.version()$$),
    ($$SELECT count(*) FROM forge_private.job_kind$$),
    ($$SELECT forge_private.node_leave('00000000-0000-7000-8000-000000000000')$$)
) c(command);
DROP OWNED BY regress_nobody, regress_user, regress_service, regress_admin;
DROP ROLE regress_nobody, regress_user, regress_service, regress_admin;
