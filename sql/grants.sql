-- Who may do what (CONTRACT: nothing for PUBLIC; forge_anon, forge_user, forge_service, forge_admin).
--
-- New functions of an upgrade script get the same treatment there: revoke from PUBLIC, grant to the groups.

REVOKE ALL ON SCHEMA forge, forge_private FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA forge, forge_private FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA forge, forge_private FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA forge, forge_private FROM PUBLIC;

GRANT USAGE ON SCHEMA forge TO forge_anon, forge_user, forge_service, forge_admin;
GRANT SELECT ON ALL TABLES IN SCHEMA forge TO forge_admin;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA forge TO forge_admin;
GRANT SELECT ON forge.jobs, forge.job_attempts, forge.queues TO forge_service;
-- Views call these with the reader's rights.
GRANT EXECUTE ON FUNCTION forge_private.running(), forge_private.priority_word(int), forge_private.queue_counts() TO forge_service, forge_admin;
GRANT EXECUTE ON FUNCTION forge_private.functions() TO forge_admin;

-- By name, so that a signature is written once, where the function is made.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT wanted.name, p.oid::pg_catalog.regprocedure AS signature, w.grantees
        FROM (VALUES
            -- What functions that run as their callers use.
            ('forge_anon, forge_user, forge_service', ARRAY['auth_subject', 'auth_role', 'auth_claims', 'auth_token', 'http_response']),
            ('forge_user, forge_service', ARRAY['enqueue', 'enqueue_many', 'call']),
            ('forge_service', ARRAY['claim', 'complete', 'fail', 'snooze', 'progress', 'extend',
                'cancel', 'retry', 'discard', 'redrive'])
        ) w(grantees, names)
        CROSS JOIN LATERAL pg_catalog.unnest(w.names) wanted(name)
        LEFT JOIN pg_catalog.pg_proc p ON p.pronamespace = 'forge'::pg_catalog.regnamespace AND p.proname = wanted.name
    LOOP
        IF granted.signature IS NULL THEN
            RAISE EXCEPTION 'function forge.% is granted but does not exist', granted.name;
        END IF;
        EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %s', granted.signature, granted.grantees);
    END LOOP;
END
$$;
