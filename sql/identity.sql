-- Who calls, API keys, sessions, encryption keys, and the rights of the daemon's login role.
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
    lookup CONSTANT text := encode(forge_private.random_bytes(6), 'hex');
    key CONSTANT text := 'forge_' || lookup || '_' || encode(forge_private.random_bytes(32), 'hex');
BEGIN
    PERFORM forge_private.check_present('name', name, 'role', role, 'claims', claims::text);
    PERFORM forge_private.check_name('API key', name);
    PERFORM forge_private.check_granted_role(role, me);
    IF jsonb_typeof(claims) <> 'object' THEN
        RAISE EXCEPTION 'claims % is not a JSON object', claims USING ERRCODE = 'ZF002', HINT = 'Pass an object such as {}.';
    ELSIF array_position(scopes, NULL) IS NOT NULL OR '' = ANY (scopes) THEN
        RAISE EXCEPTION 'scopes % has a null or empty element', scopes USING ERRCODE = 'ZF002', HINT = 'Name each scope, or pass null for no limit.';
    ELSIF expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'expires_at % is in the past', expires_at USING ERRCODE = 'ZF002', HINT = 'Pass a later time, or null for a key without end.';
    END IF;
    BEGIN
        INSERT INTO forge_private.api_key (prefix, name, hash, role, scopes, claims, created_by, expires_at)
            VALUES (lookup, create_api_key.name, sha256(convert_to(key, 'UTF8')), create_api_key.role, create_api_key.scopes,
                create_api_key.claims, pg_get_userbyid(me), create_api_key.expires_at);
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'API key % exists already', quote_literal(name)
            USING ERRCODE = 'ZF005', HINT = 'Choose another name, or call forge.revoke_api_key first.';
    END;
    PERFORM forge_private.audit_admin('create_api_key', name, jsonb_build_object('role', role, 'scopes', scopes, 'expires_at', expires_at));
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
        PERFORM pg_notify('forge_control', ''), forge_private.audit_admin('revoke_api_key', name);
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

-- Who calls. Backend memory answers, which no SQL can change (identity/current.rs).

CREATE FUNCTION forge.auth_subject() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'forge_auth_subject';
COMMENT ON FUNCTION forge.auth_subject() IS 'Subject of the caller on whose behalf a call runs; null outside of one and for anonymous callers';

CREATE FUNCTION forge.auth_role() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'forge_auth_role';
COMMENT ON FUNCTION forge.auth_role() IS 'Role of the caller; outside of a call the role the session acts as';

CREATE FUNCTION forge.auth_token() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'forge_auth_token';
COMMENT ON FUNCTION forge.auth_token() IS 'Token of the session that the call came with, for applications that give it back to its owner; null for every other credential';

CREATE FUNCTION forge.auth_claims() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'forge_auth_claims';
COMMENT ON FUNCTION forge.auth_claims() IS 'Claims of the caller''s credential; {} outside of a call';

-- Sessions: fs_ and 256 random bits, of which only a SHA-256 is kept.

CREATE TABLE forge_private.session (
    hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    id uuid NOT NULL,
    subject text NOT NULL,
    role name NOT NULL,
    claims jsonb NOT NULL,
    created_by name NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX session_subject_idx ON forge_private.session (subject) WHERE revoked_at IS NULL;
SELECT pg_catalog.pg_extension_config_dump('forge_private.session', '');

CREATE FUNCTION forge_private.check_granted_role(role text, grantor oid) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    granted pg_roles%ROWTYPE;
BEGIN
    SELECT * INTO granted FROM pg_roles r WHERE r.rolname = role;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'role % does not exist', quote_literal(role)
            USING ERRCODE = 'ZF001', HINT = 'Use an existing role, such as forge_user or forge_service.';
    ELSIF granted.rolsuper OR granted.rolbypassrls THEN
        RAISE EXCEPTION 'role % cannot be given to a caller: it bypasses row-level security', quote_literal(role)
            USING ERRCODE = 'ZF003', HINT = 'Use a role that is neither superuser nor BYPASSRLS.';
    ELSIF NOT pg_has_role(grantor, granted.oid, 'MEMBER')
        -- An administrator has the rights of the other groups without being a member of them.
        AND NOT (role IN ('forge_anon', 'forge_user', 'forge_service') AND pg_has_role(grantor, 'forge_admin', 'MEMBER'))
    THEN
        RAISE EXCEPTION 'role % is not a member of role %', quote_literal(pg_get_userbyid(grantor)), quote_literal(role)
            USING ERRCODE = 'ZF003', HINT = 'A credential can have only roles that its creator could use.';
    END IF;
END
$$;
COMMENT ON FUNCTION forge_private.check_granted_role(text, oid) IS 'ZF001 or ZF003 unless grantor may give this role to a credential';

CREATE FUNCTION forge_private.make_session(maker oid, subject text, role text, claims jsonb, ttl interval) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    token CONSTANT text := 'fs_' || encode(forge_private.random_bytes(32), 'hex');
BEGIN
    PERFORM forge_private.check_present('subject', subject, 'role', role, 'claims', claims::text),
        forge_private.check_granted_role(role, maker), forge_private.check_span('ttl', ttl, '1 second', '3660 days');
    IF subject = '' OR length(subject) > 500 THEN
        RAISE EXCEPTION 'subject % has % characters', quote_literal(left(subject, 50)), length(subject) USING ERRCODE = 'ZF002', HINT = 'Use 1 to 500.';
    ELSIF jsonb_typeof(claims) <> 'object' THEN
        RAISE EXCEPTION 'claims % is not a JSON object', left(claims::text, 100) USING ERRCODE = 'ZF002', HINT = 'Pass an object such as {}.';
    END IF;
    INSERT INTO forge_private.session (hash, id, subject, role, claims, created_by, expires_at)
        VALUES (sha256(convert_to(token, 'UTF8')), forge_private.uuid7(), make_session.subject, make_session.role, make_session.claims,
            pg_get_userbyid(maker), clock_timestamp() + ttl);
    RETURN token;
END
$$;
COMMENT ON FUNCTION forge_private.make_session(oid, text, text, jsonb, interval) IS 'A session made by a role; answers its token';

-- In C so that it knows the role it is called by, also inside a SECURITY DEFINER function: that role must be one that could use the session's.
CREATE FUNCTION forge.create_session(subject text, role text DEFAULT 'forge_user', claims jsonb DEFAULT '{}', ttl interval DEFAULT '30 days') RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'forge_create_session';
COMMENT ON FUNCTION forge.create_session(text, text, jsonb, interval) IS 'Starts a session for a subject and returns its token: the only time it is shown';

CREATE FUNCTION forge.revoke_session(token text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE forge_private.session s SET revoked_at = clock_timestamp()
        WHERE s.hash = sha256(convert_to(left(token, 256), 'UTF8')) AND s.revoked_at IS NULL;
    IF FOUND THEN
        PERFORM pg_notify('forge_control', '');
        RETURN true;
    END IF;
    RETURN false;
END
$$;
COMMENT ON FUNCTION forge.revoke_session(text) IS 'Ends a session; false when there is none with this token';

CREATE FUNCTION forge.revoke_sessions(subject text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ended bigint;
BEGIN
    UPDATE forge_private.session s SET revoked_at = clock_timestamp() WHERE s.subject = revoke_sessions.subject AND s.revoked_at IS NULL;
    GET DIAGNOSTICS ended = ROW_COUNT;
    IF ended > 0 THEN
        PERFORM pg_notify('forge_control', ''), forge_private.audit_admin('revoke_sessions', subject);
    END IF;
    RETURN ended;
END
$$;
COMMENT ON FUNCTION forge.revoke_sessions(text) IS 'Ends every session of a subject; how many there were';

CREATE VIEW forge.sessions AS
    SELECT id, subject, role, claims, created_by, created_at, expires_at, revoked_at FROM forge_private.session;
COMMENT ON VIEW forge.sessions IS 'Sessions without their tokens; ended ones for a week';

CREATE FUNCTION forge_private.authenticate_session(token text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('id', s.id, 'subject', s.subject, 'role', s.role, 'claims', s.claims, 'expires_at', s.expires_at)
    FROM forge_private.session s
    WHERE s.hash = sha256(convert_to(left(token, 256), 'UTF8')) AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
$$;
COMMENT ON FUNCTION forge_private.authenticate_session(text) IS 'Subject, role, claims and end of a valid session; null when it is unknown, expired or revoked';

CREATE FUNCTION forge_private.gateway_session(identity text, ttl_ms bigint) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    who CONSTANT jsonb := identity::jsonb;
    ttl CONSTANT interval := coalesce(ttl_ms, 2592000000) * interval '1 ms';
BEGIN
    IF who ->> 'kind' = 'anonymous' OR coalesce(who ->> 'subject', who ->> 'name') IS NULL THEN
        RAISE EXCEPTION 'an anonymous caller cannot have a session' USING ERRCODE = 'ZF004', HINT = 'Send a token or an API key.';
    END IF;
    -- The role that logged in is the daemon's, which may act for the caller's.
    RETURN jsonb_build_object('token', forge_private.make_session((SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user), coalesce(who ->> 'subject', who ->> 'name'), who ->> 'role',
        coalesce(who -> 'claims', '{}'), ttl), 'expires_at', clock_timestamp() + ttl);
END
$$;
COMMENT ON FUNCTION forge_private.gateway_session(text, bigint) IS 'A session for a caller whose credential the gateway has checked: token and end';

CREATE FUNCTION forge_private.gateway_end_session(token text) RETURNS boolean
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ SELECT forge.revoke_session($1) $$;
COMMENT ON FUNCTION forge_private.gateway_end_session(text) IS 'Ends a session for its holder';

-- Keys for encrypting values. They are in this database's tables, and so in its dumps.

CREATE TABLE forge_private.encryption_key (
    name text NOT NULL,
    version int NOT NULL,
    secret bytea NOT NULL CHECK (octet_length(secret) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, version)
);
SELECT pg_catalog.pg_extension_config_dump('forge_private.encryption_key', '');

CREATE FUNCTION forge.create_key(name text) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM forge_private.check_present('name', name), forge_private.check_name('encryption key', name);
    INSERT INTO forge_private.encryption_key (name, version, secret) VALUES (create_key.name, 1, forge_private.random_bytes(32))
        ON CONFLICT ON CONSTRAINT encryption_key_pkey DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'encryption key % exists already', quote_literal(name) USING ERRCODE = 'ZF005', HINT = 'forge.rotate_key makes a new version of it.';
    END IF;
    PERFORM forge_private.audit_admin('create_key', name);
    RETURN 1;
END
$$;
COMMENT ON FUNCTION forge.create_key(text) IS 'Makes a key for forge.encrypt; its version, 1';

CREATE FUNCTION forge.rotate_key(name text) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    newest int;
BEGIN
    PERFORM FROM forge_private.encryption_key k WHERE k.name = rotate_key.name AND k.version = 1 FOR UPDATE;
    SELECT max(k.version) INTO newest FROM forge_private.encryption_key k WHERE k.name = rotate_key.name;
    IF newest IS NULL THEN
        RAISE EXCEPTION 'encryption key % does not exist', coalesce(quote_literal(name), 'null') USING ERRCODE = 'ZF001', HINT = 'Call forge.create_key first.';
    END IF;
    INSERT INTO forge_private.encryption_key (name, version, secret) VALUES (rotate_key.name, newest + 1, forge_private.random_bytes(32));
    PERFORM forge_private.audit_admin('rotate_key', name);
    RETURN newest + 1;
END
$$;
COMMENT ON FUNCTION forge.rotate_key(text) IS 'A new version of a key encrypts from now on; older ones go on decrypting. Answers the new version';

CREATE FUNCTION forge.encrypt(plaintext text, key text DEFAULT 'default', context text DEFAULT '') RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'forge_encrypt';
COMMENT ON FUNCTION forge.encrypt(text, text, text) IS 'AES-256-GCM with the newest version of a key; the same context is needed to decrypt';

CREATE FUNCTION forge.decrypt(ciphertext text, context text DEFAULT '') RETURNS text
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'forge_decrypt';
COMMENT ON FUNCTION forge.decrypt(text, text) IS 'What forge.encrypt was given; ZF002 when ciphertext, key or context do not fit';

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
        'gateway_call', 'gateway_functions', 'gateway_routes', 'gateway_action', 'functions',
        'authenticate_session', 'gateway_session', 'gateway_end_session', 'audit_denied',
        'running', 'priority_word', 'queue_counts']; -- what the views below call
    views CONSTANT text[] := ARRAY[
        'queues', 'jobs', 'job_attempts', 'nodes', 'leaders', 'schedules', 'schedule_runs', 'functions', 'routes'];
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
