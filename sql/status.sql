-- forge.status(): what runs, what waits, what is missing and what to do about it.

CREATE FUNCTION forge_private.warning(code text, message text, hint text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT jsonb_build_object('code', $1, 'message', $2, 'hint', $3) $$;
COMMENT ON FUNCTION forge_private.warning(text, text, text) IS 'One warning of forge.status()';

CREATE FUNCTION forge_private.setup_warnings() RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    preload CONSTANT jsonb := forge_private.preload_state();
    library CONSTANT text := forge_private.library_version();
    installed CONSTANT text := forge.version();
BEGIN
    IF library <> installed THEN
        RETURN NEXT forge_private.warning('version_mismatch',
            format('the library is version %s, the SQL objects of this database are version %s', library, installed),
            CASE WHEN string_to_array(regexp_replace(library, '[^0-9.].*', ''), '.')::int[] > string_to_array(regexp_replace(installed, '[^0-9.].*', ''), '.')::int[]
                THEN 'Run ALTER EXTENSION forge UPDATE in this database.'
                ELSE 'Install the library of the same version and restart the server.' END);
    END IF;
    IF NOT coalesce((preload ->> 'preload')::boolean, false) THEN
        RETURN NEXT forge_private.warning('no_preload',
            'forge is not in shared_preload_libraries: cursors are kept in tables, wake-ups are sent by each transaction, claims and enqueues are slower',
            'Add forge to shared_preload_libraries in postgresql.conf and restart the server.');
    ELSIF coalesce(preload ->> 'worker', '') NOT IN ('running', 'starting') THEN
        RETURN NEXT forge_private.warning('no_worker',
            format('the background worker of this database is %s: waiting jobs are found by polling', coalesce(preload ->> 'worker', 'absent')),
            'See the server log; max_worker_processes may be too low.');
    END IF;
    IF NOT EXISTS (SELECT FROM forge_private.node n WHERE n.state <> 'dead' AND n.last_heartbeat_at > clock_timestamp() - interval '15 s') THEN
        RETURN NEXT forge_private.warning('no_node',
            'no daemon node is alive: jobs run only through forge.claim, schedules do not fire, retries and delays are not promoted',
            'Start forge-daemon serve with this database''s URL.');
    END IF;
END
$$;
COMMENT ON FUNCTION forge_private.setup_warnings() IS 'Warnings about versions, preload and nodes';

CREATE FUNCTION forge_private.registry_warnings(backlog jsonb) RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k record;
BEGIN
    FOR k IN SELECT j.kind, j.handler, j.owner, to_regrole(quote_ident(j.owner)) AS role FROM forge_private.job_kind j WHERE j.handler LIKE 'sql:%' ORDER BY j.kind LOOP
        BEGIN
            IF k.role IS NULL THEN
                RAISE EXCEPTION 'role % does not exist', quote_literal(k.owner);
            END IF;
            PERFORM forge_private.check_sql_handler(k.handler, k.role);
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT forge_private.warning('handler_unfit', format('job kind %s cannot run: %s', k.kind, SQLERRM),
                'Create the function again or grant it, or register the kind anew.');
        END;
    END LOOP;
    RETURN QUERY
        SELECT forge_private.warning('schedule_broken', format('schedule %s is set aside: %s', s.name, s.error),
            'Call forge.schedule again with a rhythm and zone that work.')
        FROM forge_private.schedule s WHERE s.error IS NOT NULL ORDER BY s.name;
    RETURN QUERY
        SELECT forge_private.warning('schedule_without_kind', format('schedule %s enqueues kind %s, which is not registered', s.name, s.kind),
            'Register the kind, or call forge.unschedule.')
        FROM forge_private.schedule s
        WHERE s.enabled AND NOT EXISTS (SELECT FROM forge_private.job_kind j WHERE j.kind = s.kind) ORDER BY s.name;
    -- A remote worker's capabilities are known to its node only, so worker kinds are left out.
    RETURN QUERY
        SELECT forge_private.warning('no_capability',
            format('queue %s has %s ready jobs, and no live node offers capability %s, which %s needs', q.queue, q.ready, j.capability, string_agg(j.kind, ', ' ORDER BY j.kind)),
            format('Start a node of role worker with capability %s, or register the kinds with another.', j.capability))
        FROM jsonb_to_recordset(backlog) q(queue text, ready bigint)
        JOIN forge_private.channel c ON c.queue = q.queue
        JOIN forge_private.job_kind j ON j.id = c.kind_id
        WHERE q.ready > 0 AND j.handler NOT LIKE 'worker%'
          AND EXISTS (SELECT FROM forge_private.node n WHERE n.state <> 'dead')
          AND NOT EXISTS (SELECT FROM forge_private.node n WHERE n.state <> 'dead' AND 'worker' = ANY (n.roles) AND j.capability = ANY (n.capabilities))
        GROUP BY q.queue, q.ready, j.capability ORDER BY q.queue, j.capability;
END
$$;
COMMENT ON FUNCTION forge_private.registry_warnings(jsonb) IS 'Warnings about kinds, schedules and capabilities; backlog: rows of forge.queues';

CREATE FUNCTION forge_private.health_warnings(backlog jsonb) RETURNS SETOF jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT forge_private.warning('old_snapshot',
        format('session %s of role %s in database %s has held a snapshot for %s: dead rows cannot be removed', a.pid, a.usename, a.datname,
            date_trunc('second', clock_timestamp() - a.xact_start)),
        format('End its transaction, or SELECT pg_terminate_backend(%s).', a.pid))
    FROM pg_stat_activity a
    WHERE a.backend_xmin IS NOT NULL AND a.backend_type = 'client backend' AND a.xact_start < clock_timestamp() - interval '5 min'
    UNION ALL
    SELECT forge_private.warning('prepared_transaction',
        format('transaction %s has been prepared since %s: it holds its locks and snapshot', quote_literal(p.gid), date_trunc('second', p.prepared)),
        format('COMMIT PREPARED %1$s or ROLLBACK PREPARED %1$s.', quote_literal(p.gid)))
    FROM pg_prepared_xacts p WHERE p.database = current_database()
    UNION ALL
    SELECT forge_private.warning('dead_letters', format('queue %s has %s dead jobs', q.queue, q.dead),
        format('See why: SELECT id, kind, error FROM forge.jobs WHERE state = ''dead''; then SELECT forge.redrive(queue => %L).', q.queue))
    FROM jsonb_to_recordset($1) q(queue text, dead bigint) WHERE q.dead > 0
    UNION ALL
    SELECT forge_private.warning('queue_paused', format('queue %s is paused with %s ready jobs', q.queue, q.ready),
        format('SELECT forge.resume_queue(%L).', q.queue))
    FROM jsonb_to_recordset($1) q(queue text, paused boolean, ready bigint) WHERE q.paused AND q.ready > 0
$$;
COMMENT ON FUNCTION forge_private.health_warnings(jsonb) IS 'Warnings about transactions and queues; backlog: rows of forge.queues';

CREATE FUNCTION forge.status() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH now AS MATERIALIZED (
        SELECT forge_private.preload_state() AS memory,
               (SELECT coalesce(jsonb_agg(to_jsonb(q) ORDER BY q.queue), '[]') FROM forge.queues q) AS backlog
    )
    SELECT jsonb_build_object(
        'version', forge.version(),
        'library_version', forge_private.library_version(),
        'postgres_version', current_setting('server_version'),
        'database', current_database(),
        'preload', coalesce(now.memory -> 'preload', 'false'),
        'worker', now.memory -> 'worker',
        'memory', now.memory - 'preload' - 'worker',
        'nodes', (SELECT coalesce(jsonb_agg(to_jsonb(n) - 'load' ORDER BY n.started_at), '[]') FROM forge.nodes n),
        'leaders', (SELECT coalesce(jsonb_agg(to_jsonb(l) ORDER BY l.duty), '[]') FROM forge.leaders l),
        'backlog', now.backlog,
        'warnings', (SELECT coalesce(jsonb_agg(w.warning ORDER BY w.ordinal), '[]') FROM (
            SELECT 1 AS ordinal, s AS warning FROM forge_private.setup_warnings() s
            UNION ALL SELECT 2, r FROM forge_private.registry_warnings(now.backlog) r
            UNION ALL SELECT 2, f FROM forge_private.function_warnings() f
            UNION ALL SELECT 3, h FROM forge_private.health_warnings(now.backlog) h) w))
    FROM now
$$;
COMMENT ON FUNCTION forge.status() IS 'Versions, preload and worker, nodes, leaders, backlog by queue, and warnings with what to do';
