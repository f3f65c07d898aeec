-- Duties of the leader that belong to the queue: promotion of due work, upkeep of the logs.

CREATE FUNCTION forge_private.promote(cursor jsonb, max_jobs int) RETURNS jsonb
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'forge_promote';
COMMENT ON FUNCTION forge_private.promote(jsonb, int) IS 'Makes due jobs ready; the cursor is handed back on the next call';

CREATE FUNCTION forge_private.duty_promote(node uuid, term bigint, cursor jsonb, max_jobs int) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM forge_private.check_term('promote', node, term);
    RETURN forge_private.promote(duty_promote.cursor, duty_promote.max_jobs);
END
$$;
COMMENT ON FUNCTION forge_private.duty_promote(uuid, bigint, jsonb, int) IS 'Makes due jobs ready';

-- Everything before the oldest open claim is closed. A claim that cannot be seen yet belongs to a transaction that is
-- open, and is no older than it: so first the open transactions are looked at, then, with a later snapshot, the claims.
CREATE FUNCTION forge_private.raise_claim_floor() RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bound timestamptz := clock_timestamp() - interval '1 second';
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        -- There is no later snapshot here.
        RETURN (SELECT f.at FROM forge_private.claim_floor f);
    END IF;
    PERFORM pg_stat_clear_snapshot();
    bound := least(bound, (SELECT min(s.xact_start) FROM pg_stat_activity s
        WHERE s.datname = current_database() AND s.pid <> pg_backend_pid()));
    INSERT INTO forge_private.claim_floor (at)
    SELECT least(bound, (SELECT min(c.at) FROM forge_private.claim c
        WHERE c.at >= coalesce((SELECT f.at FROM forge_private.claim_floor f), '-infinity')
          AND NOT EXISTS (SELECT FROM forge_private.lease_event e WHERE e.lease = c.lease AND e.kind IN (2, 3))))
    ON CONFLICT (singleton) DO UPDATE SET at = greatest(claim_floor.at, EXCLUDED.at)
    RETURNING at INTO bound;
    RETURN bound;
END
$$;

COMMENT ON FUNCTION forge_private.raise_claim_floor() IS 'Moves up the instant before which every claim is closed';

-- Day tables of a parent with their day, oldest first.
CREATE FUNCTION forge_private.days(parent text, OUT relation regclass, OUT day date) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.oid::regclass, to_date(right(c.relname, 8), 'YYYYMMDD')
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = ('forge_private.' || days.parent)::regclass AND c.relname ~ '_\d{8}$'
    ORDER BY 2
$$;

COMMENT ON FUNCTION forge_private.days(text) IS 'Day tables of a parent, oldest first';

-- Drops a day table unless somebody holds it: then the next round tries again.
CREATE FUNCTION forge_private.drop_day(relation regclass) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
BEGIN
    EXECUTE format('DROP TABLE %s', relation);
    RETURN true;
EXCEPTION WHEN lock_not_available OR undefined_table THEN
    RETURN false;
END
$$;

COMMENT ON FUNCTION forge_private.drop_day(regclass) IS 'Drops a day table; false when somebody holds it';

-- Whether every entry of a day table has ended.
CREATE FUNCTION forge_private.day_has_ended(relation regclass) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %s e WHERE NOT EXISTS (
        SELECT FROM forge_private.attempt a WHERE a.id = e.id AND a.seq = e.seq))', relation) INTO live;
    RETURN NOT live;
END
$$;

COMMENT ON FUNCTION forge_private.day_has_ended(regclass) IS 'Whether every entry of a day table has ended';

CREATE FUNCTION forge_private.requeue(id uuid) RETURNS boolean
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'forge_requeue';
COMMENT ON FUNCTION forge_private.requeue(uuid) IS 'A job that waits in a lane waits there as a new entry; false when it does not';

-- A few jobs that still wait would keep a whole day: they move to today, behind what waits there. What somebody has
-- claimed stays, and many stay together.
CREATE FUNCTION forge_private.move_stragglers(relation regclass) RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    few CONSTANT int := 1000;
    ids uuid[];
BEGIN
    EXECUTE format('SELECT array_agg(u.id) FROM (SELECT e.id FROM %s e WHERE NOT EXISTS (
        SELECT FROM forge_private.attempt a WHERE a.id = e.id AND a.seq = e.seq) LIMIT %s) u', relation, few + 1) INTO ids;
    IF cardinality(ids) > few THEN
        RETURN 0;
    END IF;
    RETURN (SELECT count(*) FROM unnest(ids) i WHERE forge_private.requeue(i));
EXCEPTION WHEN SQLSTATE 'ZF007' OR lock_not_available THEN
    RETURN 0;
END
$$;
COMMENT ON FUNCTION forge_private.move_stragglers(regclass) IS 'Moves the last waiting entries of a day table to today; how many';

-- Day tables live as long as the longest retention of all kinds; the views hide what is past its own kind's.
CREATE FUNCTION forge_private.maintain() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    keep interval := greatest(coalesce((SELECT max(k.retention) FROM forge_private.job_kind k), interval '7 days'), interval '1 day');
    horizon date := ((clock_timestamp() - keep) AT TIME ZONE 'UTC')::date;
    floor_at timestamptz;
    dropped int := 0;
    moved int := 0;
    d record;
BEGIN
    PERFORM forge_private.make_day(today), forge_private.make_day(today + 1);
    floor_at := forge_private.raise_claim_floor();
    FOR d IN SELECT * FROM forge_private.days('entry') WHERE day < horizon LOOP
        IF NOT forge_private.day_has_ended(d.relation) THEN
            -- Dropped in the next round, when the move has committed.
            moved := moved + forge_private.move_stragglers(d.relation);
        ELSIF forge_private.drop_day(d.relation) THEN
            dropped := dropped + 1;
        END IF;
    END LOOP;
    -- An attempt says that its entry has ended: it must outlive the entry.
    FOR d IN SELECT a.* FROM forge_private.days('attempt') a
        WHERE a.day < horizon AND NOT EXISTS (SELECT FROM forge_private.days('entry') e WHERE e.day <= a.day) LOOP
        dropped := dropped + forge_private.drop_day(d.relation)::int;
    END LOOP;
    FOR d IN SELECT * FROM forge_private.days('claim') UNION ALL SELECT * FROM forge_private.days('lease_event') LOOP
        IF d.day < today - 2 AND d.day + 1 < (floor_at AT TIME ZONE 'UTC')::date THEN
            dropped := dropped + forge_private.drop_day(d.relation)::int;
        END IF;
    END LOOP;
    DELETE FROM forge_private.frontier f USING (
        SELECT lane, max(no) AS newest FROM forge_private.frontier GROUP BY lane) n
    WHERE f.lane = n.lane AND f.no < n.newest;
    DELETE FROM forge_private.idempotency_key i WHERE i.expires_at < now();
    DELETE FROM forge_private.rate_bucket b WHERE b.expires_at < now();
    DELETE FROM forge_private.progress p WHERE p.at < clock_timestamp() - keep;
    DELETE FROM forge_private.cancel_request r WHERE r.at < clock_timestamp() - interval '1 day';
    PERFORM forge_private.maintain_schedules();
    PERFORM forge_private.maintain_calls();
    RETURN jsonb_build_object('dropped', dropped, 'moved', moved, 'claim_floor', floor_at);
END
$$;

COMMENT ON FUNCTION forge_private.maintain() IS 'Day tables made and dropped, floors raised, what has expired deleted';

CREATE FUNCTION forge_private.duty_maintain(node uuid, term bigint) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM forge_private.check_term('maintain', node, term);
    RETURN forge_private.maintain();
END
$$;
COMMENT ON FUNCTION forge_private.duty_maintain(uuid, bigint) IS 'Day tables, retention and floors';
