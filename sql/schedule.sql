-- Schedules: which job is due at which instants, and what became of each instant.
--
-- Invariants: exactly one row of schedule_run, and at most one job, per (schedule, instant), written in one transaction;
-- only the leader of duty "schedules" under its current term fires; next_run_at is the first instant not yet decided.
-- The arithmetic of cron expressions and zones, with the rules for daylight saving, is forge-core's.

CREATE TABLE forge_private.schedule (
    name text PRIMARY KEY,
    cron text NOT NULL,
    timezone text NOT NULL,
    kind text NOT NULL, -- not a foreign key: a kind may be unregistered, its runs then fail one by one
    args jsonb NOT NULL,
    misfire text NOT NULL CHECK (misfire IN ('skip', 'latest', 'all')),
    misfire_limit int NOT NULL CHECK (misfire_limit >= 1),
    overlap text NOT NULL CHECK (overlap IN ('allow', 'skip')),
    jitter interval NOT NULL,
    enabled boolean NOT NULL,
    next_run_at timestamptz, -- null: disabled, no instant left, or broken
    last_run_at timestamptz,
    last_job_id uuid,
    error text, -- why it is broken
    registered_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
SELECT pg_catalog.pg_extension_config_dump('forge_private.schedule', '');

-- No foreign key either: what ran stays known after unscheduling, and an instant stays unique.
CREATE TABLE forge_private.schedule_run (
    schedule text NOT NULL,
    scheduled_for timestamptz NOT NULL,
    fired_at timestamptz NOT NULL,
    job_id uuid,
    outcome text NOT NULL CHECK (outcome IN ('fired', 'skipped', 'overlap', 'failed', 'triggered')),
    error text,
    CONSTRAINT schedule_run_pkey PRIMARY KEY (schedule, scheduled_for)
);
CREATE INDEX schedule_run_fired_at_idx ON forge_private.schedule_run (fired_at);
SELECT pg_catalog.pg_extension_config_dump('forge_private.schedule_run', '');

CREATE FUNCTION forge.next_runs(
    cron text, timezone text DEFAULT 'UTC', after timestamptz DEFAULT now(), n int DEFAULT 5
) RETURNS SETOF timestamptz
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'forge_next_runs';
COMMENT ON FUNCTION forge.next_runs(text, text, timestamptz, int) IS
    'The next n instants of a cron expression in a time zone, strictly after an instant';

CREATE FUNCTION forge_private.due_instants(
    cron text, timezone text, since timestamptz, until timestamptz, n int
) RETURNS SETOF timestamptz
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'forge_due_instants';
COMMENT ON FUNCTION forge_private.due_instants(text, text, timestamptz, timestamptz, int) IS
    'The last n instants of a cron expression from since to until, both included, oldest first';

CREATE FUNCTION forge_private.next_run(cron text, timezone text, after timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT r FROM forge.next_runs($1, $2, $3, 1) r $$;
COMMENT ON FUNCTION forge_private.next_run(text, text, timestamptz) IS 'The first instant after an instant, null when there is none';

CREATE FUNCTION forge.schedule(
    name text,
    cron text,
    kind text,
    args jsonb DEFAULT '{}',
    timezone text DEFAULT 'UTC',
    misfire text DEFAULT 'latest',
    misfire_limit int DEFAULT 100,
    overlap text DEFAULT 'allow',
    jitter interval DEFAULT '0',
    enabled boolean DEFAULT true
) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old forge_private.schedule%ROWTYPE;
    upcoming timestamptz;
BEGIN
    PERFORM forge_private.check_present('name', name, 'cron', cron, 'kind', kind, 'args', args::text, 'timezone', timezone,
        'enabled', enabled::text);
    PERFORM forge_private.check_name('schedule', name);
    PERFORM forge_private.check_span('jitter', jitter, '0', '1 day');
    upcoming := forge_private.next_run(cron, timezone, clock_timestamp()); -- refuses a bad cron or zone
    IF misfire IS NULL OR misfire NOT IN ('skip', 'latest', 'all') THEN
        RAISE EXCEPTION 'misfire policy % does not exist', coalesce(quote_literal(misfire), 'null')
            USING ERRCODE = 'ZF002', HINT = 'Use skip, latest or all.';
    ELSIF overlap IS NULL OR overlap NOT IN ('allow', 'skip') THEN
        RAISE EXCEPTION 'overlap policy % does not exist', coalesce(quote_literal(overlap), 'null')
            USING ERRCODE = 'ZF002', HINT = 'Use allow or skip.';
    ELSIF misfire_limit IS NULL OR misfire_limit NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'misfire_limit % is out of range', coalesce(misfire_limit::text, 'null')
            USING ERRCODE = 'ZF002', HINT = 'Use 1 to 10000.';
    ELSIF NOT EXISTS (SELECT FROM forge_private.job_kind k WHERE k.kind = schedule.kind) THEN
        RAISE EXCEPTION 'job kind % is not registered', quote_literal(kind)
            USING ERRCODE = 'ZF001', HINT = 'Call forge.register_job first.';
    END IF;

    SELECT * INTO old FROM forge_private.schedule s WHERE s.name = schedule.name FOR UPDATE;
    IF FOUND AND old.error IS NULL AND (old.cron, old.timezone, old.kind, old.args, old.misfire, old.misfire_limit, old.overlap, old.jitter, old.enabled)
        IS NOT DISTINCT FROM (cron, timezone, kind, args, misfire, misfire_limit, overlap, jitter, enabled)
    THEN
        RETURN;
    END IF;
    -- Instants already due are kept only when it is still the same rhythm.
    upcoming := CASE
        WHEN NOT enabled THEN NULL
        WHEN (old.cron, old.timezone, old.enabled) IS NOT DISTINCT FROM (cron, timezone, true) AND old.error IS NULL THEN old.next_run_at
        ELSE upcoming
    END;
    INSERT INTO forge_private.schedule AS s (name, cron, timezone, kind, args, misfire, misfire_limit, overlap, jitter, enabled, next_run_at)
        VALUES (schedule.name, schedule.cron, schedule.timezone, schedule.kind, schedule.args, schedule.misfire,
            schedule.misfire_limit, schedule.overlap, schedule.jitter, schedule.enabled, upcoming)
        ON CONFLICT ON CONSTRAINT schedule_pkey DO UPDATE SET
            cron = excluded.cron, timezone = excluded.timezone, kind = excluded.kind, args = excluded.args,
            misfire = excluded.misfire, misfire_limit = excluded.misfire_limit, overlap = excluded.overlap,
            jitter = excluded.jitter, enabled = excluded.enabled, next_run_at = excluded.next_run_at,
            error = NULL, registered_at = now();
    PERFORM pg_notify('forge_control', '');
END
$$;
COMMENT ON FUNCTION forge.schedule(text, text, text, jsonb, text, text, int, text, interval, boolean) IS
    'Enqueues a job of this kind at every instant of a cron expression; calling it again replaces what differs';

CREATE FUNCTION forge.unschedule(name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM forge_private.check_present('name', name);
    DELETE FROM forge_private.schedule s WHERE s.name = unschedule.name;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION forge.unschedule(text) IS 'Forgets a schedule; its history stays. False when there was none';

CREATE FUNCTION forge.trigger(name text) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s forge_private.schedule%ROWTYPE;
    instant timestamptz;
    job uuid;
BEGIN
    SELECT * INTO s FROM forge_private.schedule t WHERE t.name = trigger.name FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'schedule % does not exist', coalesce(quote_literal(name), 'null')
            USING ERRCODE = 'ZF001', HINT = 'View forge.schedules lists them; forge.schedule makes one.';
    END IF;
    job := forge.enqueue(kind => s.kind, args => s.args, tags => ARRAY['schedule:' || s.name]);
    instant := clock_timestamp();
    IF instant = date_trunc('milliseconds', instant) THEN
        instant := instant + interval '1 microsecond'; -- never an instant of the schedule's own
    END IF;
    INSERT INTO forge_private.schedule_run (schedule, scheduled_for, fired_at, job_id, outcome)
        VALUES (s.name, instant, instant, job, 'triggered');
    UPDATE forge_private.schedule t SET last_run_at = instant, last_job_id = job WHERE t.name = s.name;
    RETURN job;
END
$$;
COMMENT ON FUNCTION forge.trigger(text) IS 'Enqueues the job of a schedule now, also when it is disabled; its own instants are not affected';

CREATE FUNCTION forge_private.job_is_unfinished(id uuid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM forge.jobs j WHERE j.id = $1 AND j.state IN ('scheduled', 'ready', 'running', 'retrying'))
$$;
COMMENT ON FUNCTION forge_private.job_is_unfinished(uuid) IS 'Whether this job is still to run or running';

-- One instant: its job and its row, or only the row that says why there is no job.
CREATE FUNCTION forge_private.fire_instant(s forge_private.schedule, instant timestamptz) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job uuid;
    -- The same delay whoever computes it: uniform in [0, jitter) from schedule and instant.
    start timestamptz := instant + s.jitter
        * ((hashtextextended(s.name || extract(epoch FROM instant), 0) & 4294967295) / 4294967296.0)::float8;
    unfit text;
BEGIN
    IF EXISTS (SELECT FROM forge_private.schedule_run r WHERE r.schedule = s.name AND r.scheduled_for = instant) THEN
        RETURN NULL;
    END IF;
    IF s.overlap = 'skip' AND forge_private.job_is_unfinished(s.last_job_id) THEN
        INSERT INTO forge_private.schedule_run (schedule, scheduled_for, fired_at, outcome, error)
            VALUES (s.name, instant, clock_timestamp(), 'overlap', format('job %s is unfinished', s.last_job_id));
        RETURN NULL;
    END IF;
    BEGIN
        job := forge.enqueue(kind => s.kind, args => s.args, tags => ARRAY['schedule:' || s.name],
            run_at => CASE WHEN start > clock_timestamp() THEN start END);
        INSERT INTO forge_private.schedule_run (schedule, scheduled_for, fired_at, job_id, outcome)
            VALUES (s.name, instant, clock_timestamp(), job, 'fired');
    EXCEPTION WHEN OTHERS THEN
        IF forge_private.is_transient(SQLSTATE) THEN
            RAISE;
        END IF;
        unfit := format('%s: %s', SQLSTATE, SQLERRM);
        INSERT INTO forge_private.schedule_run (schedule, scheduled_for, fired_at, outcome, error)
            VALUES (s.name, instant, clock_timestamp(), 'failed', unfit);
        RETURN NULL;
    END;
    RETURN job;
END
$$;
COMMENT ON FUNCTION forge_private.fire_instant(forge_private.schedule, timestamptz) IS
    'Decides one instant; the job''s id when there is one';

CREATE FUNCTION forge_private.is_transient(sqlstate text) RETURNS boolean
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT left($1, 2) IN ('40', '53', '55', '57', '58') $$;
COMMENT ON FUNCTION forge_private.is_transient(text) IS
    'Whether the same statement may succeed a moment later: conflicts, locks, resources, shutdown';

-- All instants of one schedule up to now. An instant is missed when it is decided more than 5 s after it was due; what
-- is not missed always fires. Missed ones, of which only the last misfire_limit count:
--   skip    none fires
--   latest  one fires, when nothing later is due
--   all     each fires, oldest first
CREATE FUNCTION forge_private.fire_schedule(name text) RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    grace CONSTANT interval := interval '5 s';
    instant_now CONSTANT timestamptz := clock_timestamp();
    s forge_private.schedule%ROWTYPE;
    missed timestamptz[];
    timely timestamptz[];
    instant timestamptz;
    job uuid;
    fired int := 0;
BEGIN
    SELECT * INTO s FROM forge_private.schedule t
        WHERE t.name = fire_schedule.name AND t.enabled AND t.next_run_at <= instant_now FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    missed := ARRAY(SELECT d FROM forge_private.due_instants(
        s.cron, s.timezone, s.next_run_at, instant_now - grace - interval '1 microsecond', s.misfire_limit) d);
    timely := ARRAY(SELECT d FROM forge_private.due_instants(
        s.cron, s.timezone, greatest(s.next_run_at, instant_now - grace), instant_now, 10000) d);
    IF missed[1] > s.next_run_at THEN
        INSERT INTO forge_private.schedule_run (schedule, scheduled_for, fired_at, outcome, error)
            VALUES (s.name, s.next_run_at, instant_now, 'skipped',
                format('this and every later instant before %s: more than misfire_limit = %s were missed', missed[1], s.misfire_limit))
            ON CONFLICT ON CONSTRAINT schedule_run_pkey DO NOTHING;
    END IF;
    IF s.misfire <> 'all' AND cardinality(missed) > 0 THEN
        IF s.misfire = 'latest' AND cardinality(timely) = 0 THEN
            timely := missed[cardinality(missed):];
            missed := trim_array(missed, 1);
        END IF;
        INSERT INTO forge_private.schedule_run (schedule, scheduled_for, fired_at, outcome, error)
            SELECT s.name, m, instant_now, 'skipped', format('missed by %s; misfire policy is %s', instant_now - m, s.misfire)
            FROM unnest(missed) m
            ON CONFLICT ON CONSTRAINT schedule_run_pkey DO NOTHING;
        missed := '{}';
    END IF;
    FOREACH instant IN ARRAY missed || timely LOOP
        job := forge_private.fire_instant(s, instant);
        IF job IS NOT NULL THEN
            s.last_job_id := job;
            s.last_run_at := instant;
            fired := fired + 1;
        END IF;
    END LOOP;
    UPDATE forge_private.schedule t SET
            next_run_at = forge_private.next_run(s.cron, s.timezone, instant_now),
            last_run_at = s.last_run_at, last_job_id = s.last_job_id
        WHERE t.name = s.name;
    RETURN fired;
END
$$;
COMMENT ON FUNCTION forge_private.fire_schedule(text) IS 'Decides every due instant of a schedule; how many jobs it made';

CREATE FUNCTION forge_private.duty_schedules(node uuid, term bigint) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    due text;
    seen int := 0;
    fired int := 0;
    pause int := 50; -- ms to wait at least when something is still due: its row is locked, or it failed for the moment
    wait int;
BEGIN
    PERFORM forge_private.check_term('schedules', node, term);
    FOR due IN
        SELECT s.name FROM forge_private.schedule s WHERE s.enabled AND s.next_run_at <= clock_timestamp()
        ORDER BY s.next_run_at, s.name LIMIT 1000
    LOOP
        seen := seen + 1;
        BEGIN
            fired := fired + forge_private.fire_schedule(due);
        EXCEPTION WHEN OTHERS THEN
            -- One schedule must not stop the others: it is tried again, or set aside with the reason.
            IF forge_private.is_transient(SQLSTATE) THEN
                pause := 1000;
            ELSE
                UPDATE forge_private.schedule s SET next_run_at = NULL, error = format('%s: %s', SQLSTATE, SQLERRM) WHERE s.name = due;
            END IF;
            RAISE WARNING 'schedule % did not fire: %', due, SQLERRM;
        END;
    END LOOP;
    SELECT least(ceil(extract(epoch FROM min(s.next_run_at) - clock_timestamp()) * 1000), 3600000)::int INTO wait
        FROM forge_private.schedule s WHERE s.enabled HAVING min(s.next_run_at) IS NOT NULL;
    IF wait <= 0 THEN
        wait := CASE WHEN seen < 1000 THEN pause ELSE 0 END;
    END IF;
    RETURN jsonb_build_object('fired', fired, 'next_in_ms', wait);
END
$$;
COMMENT ON FUNCTION forge_private.duty_schedules(uuid, bigint) IS
    'Leader: fires what is due; how many jobs, and when to come back at the latest (ms, null when nothing is scheduled)';

CREATE FUNCTION forge_private.maintain_schedules() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed bigint;
BEGIN
    DELETE FROM forge_private.schedule_run r WHERE r.ctid = ANY (ARRAY(
        SELECT o.ctid FROM forge_private.schedule_run o WHERE o.fired_at < clock_timestamp() - interval '30 days' LIMIT 5000));
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;
COMMENT ON FUNCTION forge_private.maintain_schedules() IS 'Removes up to 5000 runs older than 30 days; how many it did';

CREATE VIEW forge.schedules AS
    SELECT name, cron, timezone, kind, args, misfire, overlap, enabled, next_run_at, last_run_at, misfire_limit, jitter, error
    FROM forge_private.schedule;
COMMENT ON VIEW forge.schedules IS 'Every schedule; error says why one is set aside';

CREATE VIEW forge.schedule_runs AS
    SELECT schedule, scheduled_for, fired_at, job_id, outcome, error FROM forge_private.schedule_run;
COMMENT ON VIEW forge.schedule_runs IS
    'What became of each instant: fired, triggered (by hand), skipped (missed), overlap (previous job unfinished), failed; kept 30 days';
