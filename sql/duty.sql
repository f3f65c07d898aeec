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

-- Everything before the oldest open claim is closed. A claim that is not committed yet may be as old as its transaction.
CREATE FUNCTION forge_private.raise_claim_floor() RETURNS timestamptz
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO forge_private.claim_floor (at)
    SELECT least(
        clock_timestamp() - interval '1 second',
        (SELECT min(s.xact_start) FROM pg_stat_activity s WHERE s.datname = current_database() AND s.pid <> pg_backend_pid()),
        (SELECT min(c.at) FROM forge_private.claim c
         WHERE c.at >= coalesce((SELECT f.at FROM forge_private.claim_floor f), '-infinity')
           AND NOT EXISTS (SELECT FROM forge_private.lease_event e WHERE e.lease = c.lease AND e.kind IN (2, 3))))
    ON CONFLICT (singleton) DO UPDATE SET at = greatest(claim_floor.at, EXCLUDED.at)
    RETURNING at
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

CREATE FUNCTION forge_private.maintain() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    keep interval := greatest(coalesce((SELECT max(k.retention) FROM forge_private.job_kind k), interval '7 days'), interval '1 day');
    horizon date := ((clock_timestamp() - keep) AT TIME ZONE 'UTC')::date;
    floor_at timestamptz;
    dropped int := 0;
    d record;
BEGIN
    PERFORM forge_private.make_day(today), forge_private.make_day(today + 1);
    floor_at := forge_private.raise_claim_floor();
    FOR d IN SELECT * FROM forge_private.days('entry') WHERE day < horizon LOOP
        IF forge_private.day_has_ended(d.relation) AND forge_private.drop_day(d.relation) THEN
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
    DELETE FROM forge_private.progress p WHERE p.at < clock_timestamp() - keep;
    DELETE FROM forge_private.cancel_request r WHERE r.at < clock_timestamp() - interval '1 day';
    PERFORM forge_private.maintain_schedules();
    PERFORM forge_private.maintain_calls();
    RETURN jsonb_build_object('dropped', dropped, 'claim_floor', floor_at);
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
