-- The HTTP and gRPC gateways' way to jobs: the daemon says for which role, the role's own rights decide.

CREATE FUNCTION forge_private.check_right(role text, needs text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    allowed boolean;
BEGIN
    IF to_regrole(quote_ident(role)) IS NULL THEN
        RAISE EXCEPTION 'role % does not exist', coalesce(quote_literal(role), 'null')
            USING ERRCODE = 'ZF003', HINT = 'Use a credential whose role exists in this database.';
    END IF;
    SELECT bool_or(has_function_privilege(role, p.oid, 'EXECUTE')) INTO allowed
        FROM pg_proc p WHERE p.pronamespace = 'forge'::regnamespace AND p.proname = needs;
    IF allowed IS NULL THEN
        allowed := has_table_privilege(role, 'forge.' || needs, 'SELECT');
    END IF;
    IF NOT (allowed AND has_schema_privilege(role, 'forge', 'USAGE')) THEN
        RAISE EXCEPTION 'role % may not use forge.%', quote_literal(role), needs
            USING ERRCODE = 'ZF003', HINT = 'Use a credential with more rights, such as role forge_service, or grant them to this role.';
    END IF;
END
$$;
COMMENT ON FUNCTION forge_private.check_right(text, text) IS 'ZF003 unless the role may execute this function of schema forge, or read this view';

CREATE FUNCTION forge_private.check_fields(what text, given jsonb, strings text[], numbers text[] DEFAULT '{}', lists text[] DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    field text;
    value jsonb;
    wanted text;
BEGIN
    IF jsonb_typeof(given) <> 'object' THEN
        RAISE EXCEPTION '% % is not a JSON object', what, left(given::text, 100) USING ERRCODE = 'ZF002', HINT = 'Pass an object such as {}.';
    END IF;
    FOR field, value IN SELECT e.key, e.value FROM jsonb_each(given) e LOOP
        wanted := CASE WHEN field = ANY (strings) THEN 'string' WHEN field = ANY (numbers) THEN 'number' WHEN field = ANY (lists) THEN 'array' END;
        IF wanted IS NULL THEN
            RAISE EXCEPTION '% has an unknown field %', what, quote_literal(left(field, 100))
                USING ERRCODE = 'ZF002', HINT = format('Known fields: %s.', array_to_string(strings || numbers || lists, ', '));
        ELSIF jsonb_typeof(value) NOT IN (wanted, 'null') THEN
            RAISE EXCEPTION '% of % is %, but must be of JSON type %', field, what, left(value::text, 100), wanted
                USING ERRCODE = 'ZF002', HINT = format('Pass a value of type %s for %s, or leave it out.', wanted, field);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION forge_private.check_fields(text, jsonb, text[], text[], text[]) IS
    'ZF002 naming the first field of an object that is unknown or of the wrong type';

CREATE FUNCTION forge_private.gateway_enqueue(role text, kind text, args jsonb, options jsonb) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    o CONSTANT jsonb := coalesce(options, '{}');
    run_at timestamptz;
    delay interval;
    max_attempts int;
    field text;
BEGIN
    PERFORM forge_private.check_right(role, 'enqueue');
    PERFORM forge_private.check_fields('options', o,
        ARRAY['queue', 'priority', 'run_at', 'delay', 'unique_key', 'on_conflict', 'idempotency_key', 'concurrency_key', 'traceparent'],
        ARRAY['max_attempts'], ARRAY['tags']);
    BEGIN
        field := 'run_at';
        run_at := (o ->> 'run_at')::timestamptz;
        field := 'delay';
        delay := (o ->> 'delay')::interval;
        field := 'max_attempts';
        max_attempts := (o ->> 'max_attempts')::int;
    EXCEPTION WHEN data_exception THEN
        RAISE EXCEPTION '% % is not understood', field, quote_literal(left(o ->> field, 100))
            USING ERRCODE = 'ZF002', HINT = 'run_at is an RFC 3339 time, delay a duration such as 30s, max_attempts a whole number.';
    END;
    IF jsonb_path_exists(o, '$.tags[*] ? (@.type() != "string")') THEN
        RAISE EXCEPTION 'tags % has an element that is not a string', o -> 'tags' USING ERRCODE = 'ZF002', HINT = 'Pass a list of strings.';
    END IF;
    -- What the job's trace continues, for this transaction only.
    PERFORM set_config('forge.traceparent', coalesce(o ->> 'traceparent', ''), true);
    RETURN forge.enqueue(
        kind => gateway_enqueue.kind, args => coalesce(gateway_enqueue.args, '{}'), queue => o ->> 'queue', priority => o ->> 'priority',
        run_at => run_at, delay => delay, max_attempts => max_attempts,
        unique_key => o ->> 'unique_key', on_conflict => coalesce(o ->> 'on_conflict', 'keep'),
        idempotency_key => o ->> 'idempotency_key', concurrency_key => o ->> 'concurrency_key',
        tags => CASE WHEN jsonb_typeof(o -> 'tags') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text(o -> 'tags')) END);
END
$$;
COMMENT ON FUNCTION forge_private.gateway_enqueue(text, text, jsonb, jsonb) IS 'forge.enqueue for a role; options by name, and traceparent';

CREATE FUNCTION forge_private.gateway_jobs(role text, filter jsonb) RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    f CONSTANT jsonb := jsonb_strip_nulls(coalesce(filter, '{}'));
    before uuid;
    most int;
    conditions text := '';
BEGIN
    PERFORM forge_private.check_right(role, 'jobs');
    PERFORM forge_private.check_fields('filter', f, ARRAY['state', 'kind', 'queue', 'before'], ARRAY['limit']);
    BEGIN
        before := (f ->> 'before')::uuid;
        most := coalesce((f ->> 'limit')::int, 50);
    EXCEPTION WHEN data_exception THEN
        RAISE EXCEPTION 'filter % is not understood', left(f::text, 200)
            USING ERRCODE = 'ZF002', HINT = 'before is the id of a job, limit a whole number.';
    END;
    IF most NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'limit % is out of range', most USING ERRCODE = 'ZF002', HINT = 'Use 1 to 1000.';
    ELSIF f ->> 'state' NOT IN ('scheduled', 'ready', 'running', 'retrying', 'completed', 'dead', 'cancelled') THEN
        RAISE EXCEPTION 'state % does not exist', quote_literal(left(f ->> 'state', 100))
            USING ERRCODE = 'ZF002', HINT = 'Use scheduled, ready, running, retrying, completed, dead or cancelled.';
    ELSIF NOT EXISTS (SELECT FROM forge_private.job_kind k WHERE k.kind = f ->> 'kind') AND f ? 'kind' THEN
        RAISE EXCEPTION 'job kind % is not registered', quote_literal(left(f ->> 'kind', 200))
            USING ERRCODE = 'ZF002', HINT = 'Use a registered kind, or leave the filter out.';
    ELSIF NOT EXISTS (SELECT FROM forge_private.queue q WHERE q.name = f ->> 'queue') AND f ? 'queue' THEN
        RAISE EXCEPTION 'queue % does not exist', quote_literal(left(f ->> 'queue', 200))
            USING ERRCODE = 'ZF002', HINT = 'View forge.queues lists them.';
    END IF;
    -- Only the conditions asked for, so that each combination gets a plan of its own.
    conditions := concat(
        CASE WHEN f ? 'state' THEN ' AND j.state = $1' END,
        CASE WHEN f ? 'kind' THEN ' AND j.kind = $2' END,
        CASE WHEN f ? 'queue' THEN ' AND j.queue = $3' END,
        CASE WHEN f ? 'before' THEN ' AND j.id < $4' END);
    RETURN QUERY EXECUTE 'SELECT to_jsonb(j) FROM forge.jobs j WHERE true' || conditions || ' ORDER BY j.id DESC LIMIT $5'
        USING f ->> 'state', f ->> 'kind', f ->> 'queue', before, most;
END
$$;
COMMENT ON FUNCTION forge_private.gateway_jobs(text, jsonb) IS 'Jobs for a role, newest first; filter by state, kind, queue; page with before';

CREATE FUNCTION forge_private.gateway_job(role text, id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM forge_private.check_right(role, 'jobs');
    RETURN (SELECT to_jsonb(j) || jsonb_build_object('attempts', (
                SELECT coalesce(jsonb_agg(to_jsonb(a) - 'job_id' ORDER BY a.attempt, a.started_at), '[]')
                FROM forge.job_attempts a WHERE a.job_id = gateway_job.id))
            FROM forge.jobs j WHERE j.id = gateway_job.id);
END
$$;
COMMENT ON FUNCTION forge_private.gateway_job(text, uuid) IS 'One job with its attempts for a role; null when unknown';

CREATE FUNCTION forge_private.gateway_job_action(role text, id uuid, action text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF action IS NULL OR action NOT IN ('cancel', 'retry') THEN
        RAISE EXCEPTION 'action % does not exist', coalesce(quote_literal(left(action, 100)), 'null')
            USING ERRCODE = 'ZF002', HINT = 'Use cancel or retry.';
    END IF;
    PERFORM forge_private.check_right(role, action);
    IF action = 'cancel' THEN
        RETURN forge.cancel(gateway_job_action.id);
    END IF;
    RETURN forge.retry(gateway_job_action.id);
END
$$;
COMMENT ON FUNCTION forge_private.gateway_job_action(text, uuid, text) IS 'forge.cancel or forge.retry for a role';
