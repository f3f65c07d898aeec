-- Audit: who changed what, who was refused, what administrators did; each row sealed with the hash of the one before.
--
-- Invariants: seq has no gaps; hash = sha256(prev_hash || the row); rows are appended one transaction at a time, under a lock
-- held to its end, so the chain is in commit order; audit_head names the last row, so that cutting the end off shows.

CREATE TABLE forge_private.audit_entry (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    role text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    before jsonb,
    after jsonb,
    request_id text,
    prev_hash bytea NOT NULL,
    hash bytea NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('forge_private.audit_entry', '');

CREATE TABLE forge_private.audit_head (
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
SELECT pg_catalog.pg_extension_config_dump('forge_private.audit_head', '');

CREATE FUNCTION forge_private.audit_hash(prev_hash bytea, seq bigint, at timestamptz, actor text, role text, action text, object text,
    before jsonb, after jsonb, request_id text) RETURNS bytea
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sha256(prev_hash || convert_to(jsonb_build_array(seq, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
        actor, role, action, object, before, after, request_id)::text, 'UTF8'))
$$;
COMMENT ON FUNCTION forge_private.audit_hash(bytea, bigint, timestamptz, text, text, text, text, jsonb, jsonb, text) IS 'What seals an audit row';

CREATE FUNCTION forge_private.audit_append(actor text, role text, action text, object text, before jsonb, after jsonb, request_id text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'forge_audit_append';
COMMENT ON FUNCTION forge_private.audit_append(text, text, text, text, jsonb, jsonb, text) IS 'Appends to the chain, behind whatever has been committed';

CREATE FUNCTION forge_private.request_id() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'forge_request_id';
COMMENT ON FUNCTION forge_private.request_id() IS 'Id of the gateway''s request that this transaction serves';

CREATE FUNCTION forge_private.actor() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'forge_actor';
COMMENT ON FUNCTION forge_private.actor() IS 'Who acts: the caller''s subject, its API key, or the role that logged in';

CREATE FUNCTION forge_private.audit_row() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD IS NOT DISTINCT FROM NEW THEN
        RETURN NULL;
    END IF;
    PERFORM forge_private.audit_append(forge_private.actor(), forge.auth_role(), lower(TG_OP), format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME),
        CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN to_jsonb(OLD) END, CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN to_jsonb(NEW) END,
        forge_private.request_id());
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION forge_private.audit_row() IS 'Trigger of audited relations: one row of the log for each row changed, one for a TRUNCATE';

CREATE FUNCTION forge_private.audit_admin(action text, object text, after jsonb DEFAULT NULL) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT forge_private.audit_append(forge_private.actor(), forge.auth_role(), action, object, NULL, after, forge_private.request_id())
$$;
COMMENT ON FUNCTION forge_private.audit_admin(text, text, jsonb) IS 'Records what an administrator did';

CREATE FUNCTION forge_private.audit_denied(identity text, action text, object text, request_id text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    who CONSTANT jsonb := coalesce(identity, '{}')::jsonb;
BEGIN
    PERFORM forge_private.check_present('action', action, 'object', object);
    PERFORM forge_private.audit_append(left(coalesce(who ->> 'subject', who ->> 'name', 'anonymous'), 500), left(coalesce(who ->> 'role', 'forge_anon'), 63),
        left(action, 200), left(object, 500), NULL, NULL, left(request_id, 200));
END
$$;
COMMENT ON FUNCTION forge_private.audit_denied(text, text, text, text) IS
    'Records a call that a gateway refused, or one by an administrator: action is such as denied or call';

CREATE FUNCTION forge.audit(relation regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target pg_class%ROWTYPE;
BEGIN
    SELECT * INTO target FROM pg_class c WHERE c.oid = relation;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'relation % does not exist', coalesce(relation::text, 'null') USING ERRCODE = 'ZF001', HINT = 'Pass the name of a table.';
    ELSIF target.relkind NOT IN ('r', 'p') OR target.relpersistence = 't'
        OR target.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'forge'::regnamespace, 'forge_private'::regnamespace)
    THEN
        RAISE EXCEPTION 'relation % cannot be audited: it is not a table of yours', relation
            USING ERRCODE = 'ZF002', HINT = 'Audit permanent tables outside the system''s schemas and Forge''s.';
    ELSIF NOT pg_has_role(forge_private.caller(), target.relowner, 'MEMBER') AND NOT pg_has_role(forge_private.caller(), 'forge_admin', 'MEMBER') THEN
        RAISE EXCEPTION 'role % may not audit %', quote_literal(pg_get_userbyid(forge_private.caller())), relation
            USING ERRCODE = 'ZF003', HINT = 'Call it as the table''s owner or as a member of forge_admin.';
    ELSIF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = relation AND t.tgname = 'forge_audit_row') THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TRIGGER forge_audit_row AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION forge_private.audit_row()', relation);
    EXECUTE format('CREATE TRIGGER forge_audit_truncate AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION forge_private.audit_row()', relation);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER forge_audit_row, ENABLE ALWAYS TRIGGER forge_audit_truncate', relation);
    PERFORM forge_private.audit_admin('audit', relation::text);
END
$$;
COMMENT ON FUNCTION forge.audit(regclass) IS 'Records every change of a table''s rows in forge.audit_log from now on';

CREATE FUNCTION forge.unaudit(relation regclass) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = relation AND t.tgname = 'forge_audit_row') THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TRIGGER forge_audit_row ON %s', relation);
    EXECUTE format('DROP TRIGGER IF EXISTS forge_audit_truncate ON %s', relation);
    PERFORM forge_private.audit_admin('unaudit', relation::text);
    RETURN true;
END
$$;
COMMENT ON FUNCTION forge.unaudit(regclass) IS 'Records changes of a table no more; false when it was not audited';

CREATE VIEW forge.audit_log AS
    SELECT seq, at, actor, role, action, object, before, after, request_id, prev_hash, hash FROM forge_private.audit_entry;
COMMENT ON VIEW forge.audit_log IS 'Changes of audited tables, refused calls and what administrators did; sealed by a chain of hashes';

CREATE FUNCTION forge.verify_audit() RETURNS TABLE (first_bad bigint, checked bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH chain AS (
        SELECT e.seq, e.prev_hash = lag(e.hash, 1, ''::bytea) OVER w AND e.seq = lag(e.seq, 1, 0::bigint) OVER w + 1
               AND e.hash = forge_private.audit_hash(e.prev_hash, e.seq, e.at, e.actor, e.role, e.action, e.object, e.before, e.after, e.request_id) AS good
        FROM forge_private.audit_entry e WINDOW w AS (ORDER BY e.seq)
    ), sound AS (
        SELECT min(c.seq) FILTER (WHERE NOT c.good) AS first_bad, count(*) AS checked, coalesce(max(c.seq), 0) AS last FROM chain c
    )
    SELECT coalesce(s.first_bad, (
        -- The end is where the head says, with the hash it says.
        SELECT least(h.seq, s.last + 1) FROM forge_private.audit_head h
        WHERE h.seq <> s.last OR h.hash IS DISTINCT FROM (SELECT e.hash FROM forge_private.audit_entry e WHERE e.seq = s.last)),
        CASE WHEN s.last > 0 AND NOT EXISTS (SELECT FROM forge_private.audit_head) THEN s.last END),
        s.checked
    FROM sound s
$$;
COMMENT ON FUNCTION forge.verify_audit() IS 'The first row of forge.audit_log that was changed, added or taken away, null when there is none; and how many were checked';
