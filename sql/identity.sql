-- API keys, and the rights of the daemon's login role.
--
-- A key is forge_PREFIX_SECRET: the prefix finds it, 256 random bits prove it. Only a SHA-256 of the whole is kept; a
-- slow hash would add nothing against guessing 256 bits.

CREATE TABLE forge_private.api_key (
    prefix text PRIMARY KEY,
    name text NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    role name NOT NULL,
    scopes text[],
    claims jsonb NOT NULL,
    created_by name NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX api_key_live_name_key ON forge_private.api_key (name) WHERE revoked_at IS NULL;
SELECT pg_catalog.pg_extension_config_dump('forge_private.api_key', '');

CREATE FUNCTION forge.create_api_key(
    name text,
    role text DEFAULT 'forge_user',
    scopes text[] DEFAULT NULL,
    claims jsonb DEFAULT '{}',
    expires_at timestamptz DEFAULT NULL
) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me CONSTANT oid := forge_private.caller();
    granted pg_roles%ROWTYPE;
    lookup CONSTANT text := encode(forge_private.random_bytes(6), 'hex');
    key CONSTANT text := 'forge_' || lookup || '_' || encode(forge_private.random_bytes(32), 'hex');
BEGIN
    PERFORM forge_private.check_present('name', name, 'role', role, 'claims', claims::text);
    PERFORM forge_private.check_name('API key', name);
    SELECT * INTO granted FROM pg_roles r WHERE r.rolname = create_api_key.role;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'role % does not exist', quote_literal(role)
            USING ERRCODE = 'ZF001', HINT = 'Use an existing role, such as forge_user or forge_service.';
    ELSIF granted.rolsuper OR granted.rolbypassrls THEN
        RAISE EXCEPTION 'role % cannot be given to an API key: it bypasses row-level security', quote_literal(role)
            USING ERRCODE = 'ZF003', HINT = 'Use a role that is neither superuser nor BYPASSRLS.';
    ELSIF NOT pg_has_role(me, granted.oid, 'MEMBER')
        -- An administrator has the rights of the other groups without being a member of them.
        AND NOT (role IN ('forge_anon', 'forge_user', 'forge_service') AND pg_has_role(me, 'forge_admin', 'MEMBER'))
    THEN
        RAISE EXCEPTION 'role % is not a member of role %', quote_literal(pg_get_userbyid(me)), quote_literal(role)
            USING ERRCODE = 'ZF003', HINT = 'A key can have only roles that its creator could use.';
    ELSIF jsonb_typeof(claims) <> 'object' THEN
        RAISE EXCEPTION 'claims % is not a JSON object', claims USING ERRCODE = 'ZF002', HINT = 'Pass an object such as {}.';
    ELSIF array_position(scopes, NULL) IS NOT NULL OR '' = ANY (scopes) THEN
        RAISE EXCEPTION 'scopes % has a null or empty element', scopes USING ERRCODE = 'ZF002', HINT = 'Name each scope, or pass null for no limit.';
    ELSIF expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'expires_at % is in the past', expires_at USING ERRCODE = 'ZF002', HINT = 'Pass a later time, or null for a key without end.';
    END IF;
    BEGIN
        INSERT INTO forge_private.api_key (prefix, name, hash, role, scopes, claims, created_by, expires_at)
            VALUES (lookup, create_api_key.name, sha256(convert_to(key, 'UTF8')), granted.rolname, create_api_key.scopes,
                create_api_key.claims, pg_get_userbyid(me), create_api_key.expires_at);
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'API key % exists already', quote_literal(name)
            USING ERRCODE = 'ZF005', HINT = 'Choose another name, or call forge.revoke_api_key first.';
    END;
    RETURN key;
END
$$;
COMMENT ON FUNCTION forge.create_api_key(text, text, text[], jsonb, timestamptz) IS
    'Makes an API key and returns it: the only time it is shown';

CREATE FUNCTION forge.revoke_api_key(name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE forge_private.api_key k SET revoked_at = clock_timestamp()
        WHERE k.name = revoke_api_key.name AND k.revoked_at IS NULL;
    IF FOUND THEN
        PERFORM pg_notify('forge_control', '');
        RETURN true;
    END IF;
    RETURN false;
END
$$;
COMMENT ON FUNCTION forge.revoke_api_key(text) IS 'Ends an API key; false when there is none of this name. The name is free again';

CREATE VIEW forge.api_keys AS
    SELECT name, role, scopes, claims, prefix, created_by, created_at, expires_at, revoked_at FROM forge_private.api_key;
COMMENT ON VIEW forge.api_keys IS 'API keys without their secrets; revoked ones too';

CREATE FUNCTION forge_private.authenticate_key(key text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    -- Hash, look-up and comparison happen whatever the key looks like, so that time tells nothing about it. Comparing
    -- hashes byte by byte tells nothing either: who sends a key does not choose its hash.
    SELECT jsonb_build_object('name', k.name, 'role', k.role, 'scopes', k.scopes, 'claims', k.claims)
    FROM (SELECT sha256(convert_to(left(key, 256), 'UTF8')) AS hash, left(split_part(key, '_', 2), 64) AS prefix) given
    JOIN forge_private.api_key k ON k.prefix = given.prefix AND k.hash = given.hash
    WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
$$;
COMMENT ON FUNCTION forge_private.authenticate_key(text) IS
    'Name, role, scopes and claims of a valid API key; null when it is unknown, expired or revoked';

CREATE FUNCTION forge.setup_daemon_role(role regrole) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $$
DECLARE
    functions CONSTANT text[] := ARRAY[
        'node_register', 'node_heartbeat', 'node_leave', 'node_request_drain', 'job_kinds',
        'worker_claim', 'worker_complete', 'worker_fail', 'worker_cancelled', 'worker_release', 'worker_snooze',
        'worker_progress', 'worker_run_sql', 'cancel_requests',
        'leader_acquire', 'leader_renew', 'leader_resign', 'leader_lease', 'leader_beat',
        'duty_schedules', 'duty_promote', 'duty_rescue', 'duty_maintain',
        'authenticate_key', 'gateway_enqueue', 'gateway_jobs', 'gateway_job', 'gateway_job_action',
        'webhook', 'gateway_webhook',
        'running', 'priority_word', 'queue_counts']; -- what the views below call
    views CONSTANT text[] := ARRAY[
        'queues', 'jobs', 'job_attempts', 'nodes', 'leaders', 'schedules', 'schedule_runs'];
    login pg_roles%ROWTYPE;
    item text;
    signature regprocedure;
BEGIN
    SELECT * INTO login FROM pg_roles r WHERE r.oid = role;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'role % does not exist', coalesce(role::text, 'null')
            USING ERRCODE = 'ZF001', HINT = 'Create it first: CREATE ROLE NAME LOGIN PASSWORD …';
    ELSIF login.rolsuper OR login.rolbypassrls THEN
        RAISE EXCEPTION 'role % cannot be the daemon''s: it bypasses permissions or row-level security', quote_literal(login.rolname)
            USING ERRCODE = 'ZF003', HINT = 'Create a role of its own that is neither superuser nor BYPASSRLS.';
    ELSIF login.rolname IN ('forge_anon', 'forge_user', 'forge_service', 'forge_admin') THEN
        RAISE EXCEPTION 'group role % cannot be the daemon''s', quote_literal(login.rolname)
            USING ERRCODE = 'ZF003', HINT = 'Create a login role of its own: CREATE ROLE NAME LOGIN PASSWORD …';
    ELSIF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION 'role % may not set up the daemon''s role', quote_literal(current_user)
            USING ERRCODE = 'ZF003', HINT = 'Call forge.setup_daemon_role as a superuser.';
    END IF;

    -- The daemon becomes a caller's role for a call, it does not have that role's rights all the time.
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE format('GRANT forge_anon, forge_user, forge_service, forge_admin TO %I WITH INHERIT FALSE, SET TRUE', login.rolname);
    ELSE
        EXECUTE format('GRANT forge_anon, forge_user, forge_service, forge_admin TO %I', login.rolname);
        EXECUTE format('ALTER ROLE %I NOINHERIT', login.rolname);
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA forge, forge_private TO %I', login.rolname);
    FOREACH item IN ARRAY functions LOOP
        SELECT p.oid INTO signature FROM pg_proc p
            WHERE p.pronamespace = 'forge_private'::regnamespace AND p.proname = item;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'function forge_private.% is missing', item
                USING ERRCODE = 'ZF011', HINT = 'The installed SQL objects are of another version: ALTER EXTENSION forge UPDATE.';
        END IF;
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', signature, login.rolname);
    END LOOP;
    FOREACH item IN ARRAY views LOOP
        EXECUTE format('GRANT SELECT ON forge.%I TO %I', item, login.rolname);
    END LOOP;
    EXECUTE format('GRANT EXECUTE ON FUNCTION forge.version(), forge.status() TO %I', login.rolname);
END
$$;
COMMENT ON FUNCTION forge.setup_daemon_role(regrole) IS
    'Gives a login role what forge-daemon needs and no more; calling it again after an update adds what is new';
