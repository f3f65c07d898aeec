-- Nodes, leader duties, named locks.
--
-- A node lives as long as its heartbeat; who is silent for 15 s is declared dead and its jobs return to the queue. A
-- duty's term only grows, and a leader's work locks (duty, term) while it runs, so that a superseded leader changes
-- nothing. Fencing tokens of locks come from one sequence, drawn while the name is locked: they only grow.

-- Dumped and restored: a restored lease of a node that is not there any more is rescued like any other.
CREATE TABLE forge_private.node (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    roles text[] NOT NULL,
    capabilities text[] NOT NULL,
    http_address text,
    grpc_address text,
    version text NOT NULL,
    state text NOT NULL CHECK (state IN ('starting', 'active', 'draining', 'dead')),
    drain_requested boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    steady_since timestamptz NOT NULL DEFAULT '-infinity', -- end of the last time it was cut off itself
    load jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 10000);
SELECT pg_catalog.pg_extension_config_dump('forge_private.node', '');

-- Terms are not dumped: no node of the old cluster knows the new one.
CREATE TABLE forge_private.leader (
    duty text PRIMARY KEY,
    node_id uuid, -- null: free
    term bigint NOT NULL,
    since timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- Makes term part of the key: a renewal does not conflict with the FOR KEY SHARE of check_term, a takeover does.
    CONSTRAINT leader_duty_term_key UNIQUE (duty, term)
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 10000);

CREATE SEQUENCE forge_private.lock_token_seq;
SELECT pg_catalog.pg_extension_config_dump('forge_private.lock_token_seq', '');
CREATE TABLE forge_private.lock (
    name text PRIMARY KEY,
    owner text NOT NULL,
    token bigint NOT NULL,
    acquired_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 70);
SELECT pg_catalog.pg_extension_config_dump('forge_private.lock', '');

CREATE FUNCTION forge_private.node_register(
    id uuid, name text, roles text[], capabilities text[], http_address text, grpc_address text, version text
) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unknown text;
BEGIN
    PERFORM forge_private.check_present('id', id::text, 'name', name, 'roles', roles::text, 'capabilities', capabilities::text,
        'version', version);
    PERFORM forge_private.check_name('node', name);
    SELECT r INTO unknown FROM unnest(roles) r WHERE r IS NULL OR r NOT IN ('gateway', 'executor', 'worker', 'scheduler', 'collector') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'role % of node % does not exist', coalesce(quote_literal(unknown), 'null'), name
            USING ERRCODE = 'ZF002', HINT = 'Roles are gateway, executor, worker, scheduler, collector.';
    END IF;
    PERFORM forge_private.check_name('capability', c) FROM unnest(capabilities) c;
    INSERT INTO forge_private.node AS n (id, name, roles, capabilities, http_address, grpc_address, version, state)
        VALUES (node_register.id, node_register.name, node_register.roles, node_register.capabilities,
            node_register.http_address, node_register.grpc_address, node_register.version, 'starting')
        ON CONFLICT ON CONSTRAINT node_pkey DO UPDATE SET
            name = excluded.name, roles = excluded.roles, capabilities = excluded.capabilities, http_address = excluded.http_address,
            grpc_address = excluded.grpc_address, version = excluded.version, last_heartbeat_at = clock_timestamp()
        WHERE n.state <> 'dead';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node % was declared dead', id
            USING ERRCODE = 'ZF005', HINT = 'Stop its jobs and register again under a new id.';
    END IF;
    PERFORM pg_notify('forge_control', '');
END
$$;
COMMENT ON FUNCTION forge_private.node_register(uuid, text, text[], text[], text, text, text) IS 'A node starts';

CREATE FUNCTION forge_private.node_heartbeat(id uuid, state text, load jsonb) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- The longest pause between heartbeats of a node that reaches the database (5 s) and some slack.
    steady CONSTANT interval := interval '7 s';
    before text;
    after text;
BEGIN
    IF state IS NULL OR state NOT IN ('starting', 'active', 'draining') THEN
        RAISE EXCEPTION 'node state % cannot be reported', coalesce(quote_literal(state), 'null')
            USING ERRCODE = 'ZF002', HINT = 'A node reports starting, active or draining.';
    END IF;
    -- Losing a heartbeat in a crash costs nothing, waiting for the disk does.
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT n.state INTO before FROM forge_private.node n WHERE n.id = node_heartbeat.id;
    UPDATE forge_private.node n SET
            state = CASE WHEN n.drain_requested OR n.state = 'draining' THEN 'draining' ELSE node_heartbeat.state END,
            load = coalesce(node_heartbeat.load, n.load),
            steady_since = CASE WHEN clock_timestamp() - n.last_heartbeat_at > steady THEN clock_timestamp() ELSE n.steady_since END,
            last_heartbeat_at = clock_timestamp()
        WHERE n.id = node_heartbeat.id AND n.state <> 'dead'
        RETURNING n.state INTO after;
    IF after IS NULL THEN
        RETURN jsonb_build_object('state', 'dead', 'cancel', '[]'::jsonb);
    END IF;
    IF after <> before THEN
        PERFORM pg_notify('forge_control', '');
    END IF;
    RETURN jsonb_build_object(
        'state', after,
        'cancel', (SELECT coalesce(jsonb_agg(c), '[]') FROM forge_private.cancel_requests(node_heartbeat.id) c),
        'catalog', (SELECT k.version FROM forge_private.catalog k));
END
$$;
COMMENT ON FUNCTION forge_private.node_heartbeat(uuid, text, jsonb) IS
    'A node lives; answers its state (dead: stop everything), jobs to cancel, and a number that changes with the registry';

CREATE FUNCTION forge_private.node_leave(id uuid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    returned bigint;
BEGIN
    -- Deleting first: a claim of this node that is under way has locked the row and is waited for, later ones find none.
    DELETE FROM forge_private.node n WHERE n.id = node_leave.id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    returned := forge_private.release_node_leases(id, false);
    PERFORM forge_private.vacate(id);
    PERFORM pg_notify('forge_control', '');
    IF returned > 0 THEN
        PERFORM pg_notify('forge_jobs', '');
    END IF;
END
$$;
COMMENT ON FUNCTION forge_private.node_leave(uuid) IS 'A node stops: its unfinished jobs return without using an attempt';

CREATE FUNCTION forge_private.node_request_drain(name_or_id text) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found uuid[] := ARRAY(SELECT n.id FROM forge_private.node n
                          WHERE n.state <> 'dead' AND (n.id::text = lower(name_or_id) OR n.name = name_or_id) ORDER BY n.started_at);
BEGIN
    IF cardinality(found) = 0 THEN
        RAISE EXCEPTION 'node % does not exist', coalesce(quote_literal(name_or_id), 'null')
            USING ERRCODE = 'ZF001', HINT = 'View forge.nodes lists nodes with their names and ids.';
    ELSIF cardinality(found) > 1 THEN
        RAISE EXCEPTION 'name % means % nodes', quote_literal(name_or_id), cardinality(found)
            USING ERRCODE = 'ZF002', HINT = format('Say which one by id: %s.', array_to_string(found, ', '));
    END IF;
    UPDATE forge_private.node n SET drain_requested = true WHERE n.id = found[1];
    PERFORM pg_notify('forge_control', '');
    RETURN found[1];
END
$$;
COMMENT ON FUNCTION forge_private.node_request_drain(text) IS
    'Asks a node to drain and stop: its next heartbeat is answered with draining';

CREATE FUNCTION forge_private.vacate(node uuid) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ UPDATE forge_private.leader SET node_id = NULL, expires_at = clock_timestamp() WHERE node_id = $1 $$;
COMMENT ON FUNCTION forge_private.vacate(uuid) IS 'Frees every duty a node holds';

-- Renews what the node holds and takes what is free or expired, under a new term. A duty that is being worked on under
-- the old term cannot be taken before that transaction has ended: it is skipped and looked at again soon.
CREATE FUNCTION forge_private.leader_lease(node uuid, duties text[], ttl_ms int)
    RETURNS TABLE (duty text, term bigint, held boolean, retry_in_ms int)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ttl CONSTANT interval := ttl_ms * interval '1 millisecond';
    alive CONSTANT boolean := EXISTS (SELECT FROM forge_private.node n WHERE n.id = leader_lease.node AND n.state <> 'dead');
    wanted text;
BEGIN
    IF ttl_ms IS NULL OR ttl_ms NOT BETWEEN 100 AND 3600000 THEN
        RAISE EXCEPTION 'leader lease of % ms is out of range', coalesce(ttl_ms::text, 'null')
            USING ERRCODE = 'ZF002', HINT = 'Use 100 to 3600000 ms.';
    END IF;
    IF alive THEN
        UPDATE forge_private.leader l SET expires_at = clock_timestamp() + ttl
            WHERE l.node_id = leader_lease.node AND l.duty = ANY (duties) AND l.expires_at > clock_timestamp();
        FOR wanted IN
            SELECT DISTINCT d FROM unnest(duties) d
            WHERE d IS NOT NULL AND NOT EXISTS (SELECT FROM forge_private.leader l WHERE l.duty = d AND l.node_id IS NOT NULL AND l.expires_at > clock_timestamp())
        LOOP
            PERFORM FROM forge_private.leader l
                WHERE l.duty = wanted AND (l.node_id IS NULL OR l.expires_at <= clock_timestamp()) FOR UPDATE SKIP LOCKED;
            IF FOUND THEN
                UPDATE forge_private.leader l SET node_id = leader_lease.node, term = l.term + 1, since = clock_timestamp(),
                    expires_at = clock_timestamp() + ttl WHERE l.duty = wanted;
            ELSE
                INSERT INTO forge_private.leader (duty, node_id, term, since, expires_at)
                    VALUES (wanted, leader_lease.node, 1, clock_timestamp(), clock_timestamp() + ttl)
                    ON CONFLICT DO NOTHING;
            END IF;
        END LOOP;
    END IF;
    RETURN QUERY
        SELECT d, CASE WHEN h.held THEN l.term END, h.held,
            CASE WHEN NOT h.held THEN greatest(100, ceil(extract(epoch FROM l.expires_at - clock_timestamp()) * 1000))::int END
        FROM (SELECT DISTINCT u AS d FROM unnest(duties) u WHERE u IS NOT NULL) w
        LEFT JOIN forge_private.leader l ON l.duty = d
        CROSS JOIN LATERAL (SELECT coalesce(alive AND l.node_id = leader_lease.node AND l.expires_at > clock_timestamp(), false)) h(held)
        ORDER BY d;
END
$$;
COMMENT ON FUNCTION forge_private.leader_lease(uuid, text[], int) IS
    'Renews held duties and takes free ones; for those others hold, when to ask again';

CREATE FUNCTION forge_private.leader_beat(node uuid, duties text[], ttl_ms int) RETURNS jsonb
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'held', coalesce(jsonb_object_agg(duty, term) FILTER (WHERE held), '{}'),
        'next_in_ms', min(retry_in_ms))
    FROM forge_private.leader_lease($1, $2, $3)
$$;
COMMENT ON FUNCTION forge_private.leader_beat(uuid, text[], int) IS
    'leader_lease in one value: {"held":{duty: term},"next_in_ms": earliest expiry of what others hold}';

CREATE FUNCTION forge_private.leader_acquire(duty text, node uuid, ttl_ms int) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ SELECT term FROM forge_private.leader_lease($2, ARRAY[$1], $3) $$;
COMMENT ON FUNCTION forge_private.leader_acquire(text, uuid, int) IS 'The term under which the node leads, null while another does';

CREATE FUNCTION forge_private.leader_renew(duty text, node uuid, term bigint, ttl_ms int) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE forge_private.leader l SET expires_at = clock_timestamp() + ttl_ms * interval '1 millisecond'
        WHERE l.duty = leader_renew.duty AND l.node_id = leader_renew.node AND l.term = leader_renew.term AND l.expires_at > clock_timestamp();
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION forge_private.leader_renew(text, uuid, bigint, int) IS 'Prolongs a lease of leadership; false when it is lost';

CREATE FUNCTION forge_private.leader_resign(duty text, node uuid, term bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE forge_private.leader l SET node_id = NULL, expires_at = clock_timestamp()
        WHERE l.duty = leader_resign.duty AND l.node_id = leader_resign.node AND l.term = leader_resign.term;
    IF FOUND THEN
        PERFORM pg_notify('forge_control', '');
        RETURN true;
    END IF;
    RETURN false;
END
$$;
COMMENT ON FUNCTION forge_private.leader_resign(text, uuid, bigint) IS 'Gives a duty up; false when it was not held';

CREATE FUNCTION forge_private.check_term(duty text, node uuid, term bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM forge_private.leader l
        WHERE l.duty = check_term.duty AND l.node_id = check_term.node AND l.term = check_term.term AND l.expires_at > clock_timestamp()
        FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'term % of duty % is over for node %', coalesce(term::text, 'null'), duty, coalesce(node::text, 'null')
            USING ERRCODE = 'ZF010', HINT = 'Another node leads, or the lease expired: stop this duty until leader_beat grants it again.';
    END IF;
END
$$;
COMMENT ON FUNCTION forge_private.check_term(text, uuid, bigint) IS
    'ZF010 unless the node leads under this term; nobody takes over before the transaction ends';

CREATE FUNCTION forge_private.duty_rescue(node uuid, term bigint) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    silence CONSTANT interval := interval '15 s';
    silent uuid;
    steady timestamptz;
    nodes int := 0;
    jobs bigint := 0;
    wait int;
BEGIN
    PERFORM forge_private.check_term('rescue', node, term);
    -- When this node was cut off from the database, so may the others have been: they get as long to come back.
    SELECT coalesce(max(n.steady_since), '-infinity') INTO steady FROM forge_private.node n WHERE n.id = node;
    FOR silent IN
        SELECT n.id FROM forge_private.node n
        WHERE n.state <> 'dead' AND greatest(n.last_heartbeat_at, steady) <= clock_timestamp() - silence
        ORDER BY n.last_heartbeat_at FOR UPDATE SKIP LOCKED
    LOOP
        UPDATE forge_private.node n SET state = 'dead' WHERE n.id = silent;
        jobs := jobs + forge_private.release_node_leases(silent, true);
        PERFORM forge_private.vacate(silent);
        nodes := nodes + 1;
    END LOOP;
    IF nodes > 0 THEN
        PERFORM pg_notify('forge_control', '');
    END IF;
    jobs := jobs + forge_private.release_expired_leases();
    IF jobs > 0 THEN
        PERFORM pg_notify('forge_jobs', '');
    END IF;
    DELETE FROM forge_private.node n WHERE n.state = 'dead' AND n.last_heartbeat_at < clock_timestamp() - interval '1 day';
    DELETE FROM forge_private.lock l WHERE l.expires_at < clock_timestamp() - interval '1 day';
    SELECT greatest(50, ceil(extract(epoch FROM min(next) - clock_timestamp()) * 1000))::int INTO wait FROM (
        SELECT greatest(n.last_heartbeat_at, steady) + silence AS next FROM forge_private.node n WHERE n.state <> 'dead'
        UNION ALL
        SELECT forge_private.next_lease_deadline()) due WHERE next IS NOT NULL;
    RETURN jsonb_build_object('nodes', nodes, 'jobs', jobs, 'next_in_ms', wait);
END
$$;
COMMENT ON FUNCTION forge_private.duty_rescue(uuid, bigint) IS
    'Leader: returns the jobs of silent nodes and of expired leases to the queue; when to come back (ms)';

CREATE FUNCTION forge.try_lock(name text, owner text, ttl interval DEFAULT '30s') RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fence bigint;
    now_at timestamptz;
BEGIN
    PERFORM forge_private.check_present('name', name, 'owner', owner);
    PERFORM forge_private.check_span('ttl', ttl, '1 millisecond', '365 days');
    IF name = '' OR owner = '' OR octet_length(name) > 1024 OR octet_length(owner) > 1024 THEN
        RAISE EXCEPTION 'lock % of owner % has an empty or too long name', quote_literal(left(name, 100)), quote_literal(left(owner, 100))
            USING ERRCODE = 'ZF002', HINT = 'Use 1 to 1024 bytes for name and owner.';
    END IF;
    -- The token is drawn by who holds the name alone, so that a later holder's is greater.
    PERFORM pg_advisory_xact_lock(1717859937, hashtext(name));
    now_at := clock_timestamp();
    IF EXISTS (SELECT FROM forge_private.lock l WHERE l.name = try_lock.name AND l.owner <> try_lock.owner AND l.expires_at > now_at) THEN
        RETURN NULL;
    END IF;
    fence := nextval('forge_private.lock_token_seq');
    INSERT INTO forge_private.lock AS l (name, owner, token, acquired_at, expires_at)
        VALUES (try_lock.name, try_lock.owner, fence, now_at, now_at + ttl)
        ON CONFLICT ON CONSTRAINT lock_pkey DO UPDATE SET
            owner = excluded.owner, token = excluded.token, acquired_at = excluded.acquired_at, expires_at = excluded.expires_at;
    RETURN fence;
END
$$;
COMMENT ON FUNCTION forge.try_lock(text, text, interval) IS
    'Takes a named lock for a while: a fencing token greater than all before it, null while another owner holds it. The same owner gets a new token, its old one is void';

CREATE FUNCTION forge.renew_lock(name text, token bigint, ttl interval DEFAULT '30s') RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM forge_private.check_span('ttl', ttl, '1 millisecond', '365 days');
    UPDATE forge_private.lock l SET expires_at = clock_timestamp() + ttl
        WHERE l.name = renew_lock.name AND l.token = renew_lock.token AND l.expires_at > clock_timestamp();
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION forge.renew_lock(text, bigint, interval) IS 'Prolongs a lock from now; false when it expired or another has it';

CREATE FUNCTION forge.unlock(name text, token bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was_held boolean;
BEGIN
    DELETE FROM forge_private.lock l WHERE l.name = unlock.name AND l.token = unlock.token
        RETURNING l.expires_at > clock_timestamp() INTO was_held;
    RETURN coalesce(was_held, false);
END
$$;
COMMENT ON FUNCTION forge.unlock(text, bigint) IS 'Gives a lock back; false when it expired or another has it';

CREATE VIEW forge.nodes AS
    SELECT id, name, roles, capabilities, http_address, grpc_address, version, state, started_at, last_heartbeat_at, load
    FROM forge_private.node;
COMMENT ON VIEW forge.nodes IS 'Daemon nodes; dead ones are shown for a day';

CREATE VIEW forge.leaders AS
    SELECT duty, node_id, term, since, expires_at FROM forge_private.leader
    WHERE node_id IS NOT NULL AND expires_at > clock_timestamp();
COMMENT ON VIEW forge.leaders IS 'Which node leads each duty, and under which term';

CREATE VIEW forge.locks AS
    SELECT name, owner, token, acquired_at, expires_at FROM forge_private.lock WHERE expires_at > clock_timestamp();
COMMENT ON VIEW forge.locks IS 'Named locks that are held now';
