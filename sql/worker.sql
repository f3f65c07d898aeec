-- What nodes call to work: claims whose life is the node's heartbeat, and how their members end. See ARCHITECTURE.md.

CREATE FUNCTION forge_private.worker_claim(node uuid, kinds text[], max_jobs int, queues text[] = NULL, lease uuid = NULL)
    RETURNS TABLE(lease uuid, pos int, id uuid, kind text, queue text, args jsonb, attempt int, max_attempts int,
        traceparent text, enqueued_at timestamptz)
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forge_worker_claim';
CREATE FUNCTION forge_private.worker_complete(node uuid, lease uuid, positions int[], results jsonb[] = NULL) RETURNS int
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forge_worker_complete';
CREATE FUNCTION forge_private.worker_fail(node uuid, lease uuid, pos int, error text, retry boolean, retry_in_ms int = NULL)
    RETURNS text LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forge_worker_fail';
CREATE FUNCTION forge_private.worker_cancelled(node uuid, lease uuid, pos int) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forge_worker_cancelled';
CREATE FUNCTION forge_private.worker_release(node uuid, lease uuid, positions int[]) RETURNS int
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forge_worker_release';
CREATE FUNCTION forge_private.worker_snooze(node uuid, lease uuid, pos int, delay_ms int) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forge_worker_snooze';
CREATE FUNCTION forge_private.worker_progress(node uuid, lease uuid, pos int, percent real, message text) RETURNS boolean
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forge_worker_progress';
-- Handlers themselves run with the search_path that sessions of this role and database start with.
CREATE FUNCTION forge_private.worker_run_sql(node uuid, lease uuid, positions int[], budget_ms int)
    RETURNS TABLE(pos int, outcome text, error text, elapsed_us int)
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forge_worker_run_sql';

CREATE FUNCTION forge_private.cancel_requests(node uuid) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT r.id FROM forge_private.cancel_request r WHERE r.node = cancel_requests.node OR r.node IS NULL';

CREATE FUNCTION forge_private.release_node_leases(node uuid, lost boolean) RETURNS bigint
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'forge_release_node_leases';
CREATE FUNCTION forge_private.release_expired_leases() RETURNS bigint
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'forge_release_expired_leases';
CREATE FUNCTION forge_private.next_lease_deadline() RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT min(greatest(c.deadline, (SELECT max(x.deadline) FROM forge_private.lease_event x WHERE x.lease = c.lease AND x.kind = 4)))
    FROM forge_private.claim c
    WHERE c.deadline IS NOT NULL AND c.at >= coalesce((SELECT f.at FROM forge_private.claim_floor f), '-infinity')
      AND NOT EXISTS (SELECT FROM forge_private.lease_event e WHERE e.lease = c.lease AND e.kind IN (2, 3))
$$;
COMMENT ON FUNCTION forge_private.next_lease_deadline() IS 'When the next puller''s lease can expire; null when there is none';

DO $$
DECLARE
    comment record;
BEGIN
    FOR comment IN SELECT * FROM (VALUES
        ('worker_claim', 'Hands out ready jobs of these kinds to a node under one lease'),
        ('worker_complete', 'Ends members of a node''s lease as completed; answers how many were not finished before'),
        ('worker_fail', 'Ends a member''s attempt as failed; answers the job''s new state'),
        ('worker_cancelled', 'Ends a member as cancelled: its handler obeyed'),
        ('worker_release', 'Puts members back without using an attempt; null positions are all of the lease'),
        ('worker_snooze', 'Puts a member off without using an attempt'),
        ('worker_progress', 'Says how far a member is; false when it should stop'),
        ('worker_run_sql', 'Runs sql: handlers of members and ends them in the same transaction, until the budget is used'),
        ('cancel_requests', 'Jobs of a node that were asked to stop'),
        ('release_node_leases', 'Hands everything a node has to others; lost says whether the attempts count'),
        ('release_expired_leases', 'Hands out again what pullers let expire'),
        ('resume_now', 'Makes waiting and dead jobs ready now'),
        ('redrive_lanes', 'Makes up to 10,000 dead jobs of these lanes ready'),
        ('purge_lane', 'Cancels everything that waits in a lane'),
        ('enqueue_once', 'Adds a job unless its idempotency key is known; answers the job and whether it was there'),
        ('kind_has_live_jobs', 'Whether a job of the kind has not ended'),
        ('registry_changed', 'Makes every backend and node read the registry again'),
        ('preload_state', 'Whether the library is preloaded and its worker runs'),
        ('library_version', 'Version of the loaded library')) c(name, text)
    LOOP
        EXECUTE (SELECT format('COMMENT ON FUNCTION %s IS %L', p.oid::regprocedure, comment.text) FROM pg_proc p
                 WHERE p.pronamespace = 'forge_private'::regnamespace AND p.proname = comment.name);
    END LOOP;
END
$$;
