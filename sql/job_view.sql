-- Jobs, attempts and queues as people see them.

CREATE FUNCTION forge_private.priority_word(lane int) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$SELECT (ARRAY['critical', 'high', 'normal', 'low', 'background'])[((CASE WHEN lane < 0 THEN ~lane ELSE lane END) & 7) + 1]$$;

COMMENT ON FUNCTION forge_private.priority_word(int) IS 'Priority of a lane';

CREATE VIEW forge.jobs AS
SELECT j.id, k.kind, c.queue, forge_private.priority_word(j.lane) AS priority, j.state, j.args, j.attempt::int,
    j.max_attempts::int, coalesce(j.run_at, j.enqueued_at) AS run_at, j.enqueued_at, j.started_at, j.finished_at, j.node_id, p.percent AS progress,
    p.message AS progress_message, j.result, j.error, j.tags, substr(j.traceparent, 4, 32) AS trace_id
FROM (
    SELECT e.id, e.lane, e.args, e.max_attempts, e.run_at, e.enqueued_at, e.tags, e.traceparent, a.result, a.error,
        CASE a.outcome WHEN 1 THEN 'completed' WHEN 2 THEN 'cancelled'
            ELSE CASE WHEN r.id IS NULL THEN 'ready' ELSE 'running' END END AS state,
        CASE WHEN a.started_at IS NULL AND r.id IS NULL THEN e.attempt - 1 ELSE e.attempt END AS attempt,
        coalesce(a.started_at, r.started_at) AS started_at, a.finished_at, coalesce(a.node, r.node) AS node_id
    FROM forge_private.entry e
    LEFT JOIN forge_private.attempt a ON a.id = e.id AND a.seq = e.seq
    LEFT JOIN forge_private.running() r ON r.id = e.id AND r.seq = e.seq
    WHERE a.outcome IS NULL OR a.outcome < 10
    UNION ALL
    SELECT d.id, d.lane, d.args, d.max_attempts, coalesce(d.due, d.run_at), d.enqueued_at, d.tags, d.traceparent, NULL, d.error,
        CASE d.reason WHEN 2 THEN 'retrying' WHEN 4 THEN 'ready' WHEN 5 THEN 'dead' ELSE 'scheduled' END,
        CASE WHEN d.reason = 5 THEN d.attempt ELSE d.attempt - 1 END,
        NULL, CASE WHEN d.reason = 5 THEN d.since END, NULL
    FROM forge_private.deferred d
) j
JOIN forge_private.channel c ON c.id = (CASE WHEN j.lane < 0 THEN ~j.lane ELSE j.lane END) >> 3
JOIN forge_private.job_kind k ON k.id = c.kind_id
LEFT JOIN forge_private.progress p ON p.id = j.id
WHERE j.state NOT IN ('completed', 'cancelled') OR j.finished_at > now() - k.retention;
COMMENT ON VIEW forge.jobs IS
    'Every job with its state; completed and cancelled ones until their kind''s retention after they finished';

CREATE VIEW forge.job_attempts AS
SELECT a.id AS job_id, a.attempt::int, a.node AS node_id, a.started_at, a.finished_at,
    CASE a.outcome WHEN 1 THEN 'completed' WHEN 2 THEN 'cancelled' WHEN 10 THEN 'failed' WHEN 11 THEN 'released'
        WHEN 12 THEN 'snoozed' ELSE 'lost' END AS outcome, a.error, a.worker
FROM forge_private.attempt a
JOIN forge_private.channel c ON c.id = (CASE WHEN a.lane < 0 THEN ~a.lane ELSE a.lane END) >> 3
JOIN forge_private.job_kind k ON k.id = c.kind_id
WHERE a.started_at IS NOT NULL AND a.outcome IN (1, 2, 10, 11, 12, 13)
  AND NOT EXISTS (SELECT FROM forge_private.attempt f
      WHERE f.id = a.id AND f.outcome < 10 AND f.finished_at <= now() - k.retention);
COMMENT ON VIEW forge.job_attempts IS 'What became of every attempt at the jobs that forge.jobs shows';

CREATE FUNCTION forge_private.lane_counts()
    RETURNS TABLE(lane int, ready bigint, running bigint, scheduled bigint, retrying bigint, dead bigint, enqueued bigint,
        completed bigint, failed bigint, waiting_since timestamptz, completed_per_s float8)
    LANGUAGE c VOLATILE ROWS 20 AS 'MODULE_PATHNAME', 'forge_lane_counts';
COMMENT ON FUNCTION forge_private.lane_counts() IS 'Counts kept in shared memory; totals are since the server started';

CREATE FUNCTION forge_private.reset_memory() RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'forge_reset_memory';
COMMENT ON FUNCTION forge_private.reset_memory() IS 'Forgets what shared memory knows of this database';
-- Of an installation that was dropped.
SELECT forge_private.reset_memory();

CREATE FUNCTION forge_private.counted() RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'forge_counted';
COMMENT ON FUNCTION forge_private.counted() IS 'Whether lane_counts() knows the numbers';

-- Without shared memory, or before it has been filled, the tables are counted.
CREATE FUNCTION forge_private.queue_counts()
    RETURNS TABLE(queue text, ready bigint, scheduled bigint, running bigint, retrying bigint, dead bigint,
        waiting_since timestamptz, completed_per_s float8)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF forge_private.counted() THEN
        RETURN QUERY SELECT c.queue, sum(n.ready)::bigint, sum(n.scheduled)::bigint, sum(n.running)::bigint,
            sum(n.retrying)::bigint, sum(n.dead)::bigint, min(n.waiting_since), sum(n.completed_per_s)
        FROM forge_private.lane_counts() n JOIN forge_private.channel c ON c.id = n.lane >> 3 GROUP BY c.queue;
    ELSE
        RETURN QUERY SELECT j.queue, count(*) FILTER (WHERE j.state = 'ready'), count(*) FILTER (WHERE j.state = 'scheduled'),
            count(*) FILTER (WHERE j.state = 'running'), count(*) FILTER (WHERE j.state = 'retrying'),
            count(*) FILTER (WHERE j.state = 'dead'), min(j.enqueued_at) FILTER (WHERE j.state = 'ready'),
            (count(*) FILTER (WHERE j.state = 'completed' AND j.finished_at > clock_timestamp() - interval '10 s') / 10.0)::float8
        FROM forge.jobs j GROUP BY j.queue;
    END IF;
END
$$;
COMMENT ON FUNCTION forge_private.queue_counts() IS 'What waits and runs, by queue';

CREATE VIEW forge.queues AS
SELECT q.name AS queue, q.paused, coalesce(n.ready, 0) AS ready, coalesce(n.scheduled, 0) AS scheduled,
    coalesce(n.running, 0) AS running, coalesce(n.retrying, 0) AS retrying, coalesce(n.dead, 0) AS dead,
    clock_timestamp() - n.waiting_since AS oldest_ready_age, coalesce(n.completed_per_s, 0) AS completed_per_s
FROM forge_private.queue q LEFT JOIN forge_private.queue_counts() n ON n.queue = q.name;
COMMENT ON VIEW forge.queues IS 'Queues with what waits and runs in them';
