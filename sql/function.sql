-- Functions that callers reach by name: queries, mutations, actions; routes to them; their arguments and results as
-- JSON schemas.
--
-- A query or mutation is kept by its signature, 'schema.name(types)', not by oid: a dump restores it and pg_upgrade
-- accepts it. Whether it still fits is seen at the call (Rust, function/target.rs) and by forge.status().
-- Invariants: a query's function is STABLE or IMMUTABLE; a route names a registered function; no two routes of one
-- method match the same paths segment for segment.

CREATE TABLE forge_private.function (
    name text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('query', 'mutation', 'action')),
    handler text NOT NULL, -- a signature, or an action's handler
    isolation text CHECK (isolation IN ('read committed', 'repeatable read', 'serializable')),
    max_retries int NOT NULL DEFAULT 0 CHECK (max_retries BETWEEN 0 AND 20),
    options jsonb NOT NULL DEFAULT '{}',
    timeout interval,
    rate_limit text,
    cache_ttl interval,
    max_concurrency int CHECK (max_concurrency >= 1),
    description text,
    tags text[] NOT NULL DEFAULT '{}',
    owner name NOT NULL, -- who registered it last
    registered_at timestamptz NOT NULL DEFAULT now()
);
SELECT pg_catalog.pg_extension_config_dump('forge_private.function', '');

CREATE TABLE forge_private.route (
    method text NOT NULL CHECK (method IN ('GET', 'POST', 'PUT', 'PATCH', 'DELETE')),
    shape text NOT NULL, -- the path with {} for each parameter
    path text NOT NULL,
    function text NOT NULL CONSTRAINT route_function_fkey REFERENCES forge_private.function ON DELETE CASCADE,
    description text,
    tags text[] NOT NULL DEFAULT '{}',
    registered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (method, shape)
);
SELECT pg_catalog.pg_extension_config_dump('forge_private.route', '');

-- First answers of calls with an Idempotency-Key; written in the mutation's own transaction.
CREATE TABLE forge_private.first_answer (
    digest bytea PRIMARY KEY, -- of function, caller and key
    args bytea NOT NULL, -- digest of the arguments
    body text,
    meta text,
    expires_at timestamptz NOT NULL
);
CREATE INDEX first_answer_expires_at_idx ON forge_private.first_answer (expires_at);
SELECT pg_catalog.pg_extension_config_dump('forge_private.first_answer', '');

CREATE TYPE forge.http_response AS (status int, headers jsonb, body jsonb);
COMMENT ON TYPE forge.http_response IS 'Result of a function that sets the status and headers of its HTTP answer';

CREATE FUNCTION forge.http_response(status int DEFAULT 200, headers jsonb DEFAULT '{}', body jsonb DEFAULT NULL) RETURNS forge.http_response
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT ROW(status, headers, body)::forge.http_response $$;
COMMENT ON FUNCTION forge.http_response(int, jsonb, jsonb) IS 'A result with the status, headers and body of the HTTP answer';

-- What a function takes and returns, as JSON schemas -----------------------------------------------------------------

CREATE FUNCTION forge_private.nullable(schema jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN schema ? 'enum' THEN schema || jsonb_build_object('type', jsonb_build_array(schema -> 'type', 'null'), 'enum', schema -> 'enum' || 'null')
        WHEN jsonb_typeof(schema -> 'type') = 'string' THEN schema || jsonb_build_object('type', jsonb_build_array(schema -> 'type', 'null'))
        ELSE schema -- an empty schema admits null already
    END
$$;
COMMENT ON FUNCTION forge_private.nullable(jsonb) IS 'A schema that admits null as well';

CREATE FUNCTION forge_private.base_schema(type oid) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE type
        WHEN 'bool'::regtype THEN '{"type":"boolean"}'
        WHEN 'int2'::regtype THEN '{"type":"integer","minimum":-32768,"maximum":32767}'
        WHEN 'int4'::regtype THEN '{"type":"integer","format":"int32","minimum":-2147483648,"maximum":2147483647}'
        WHEN 'int8'::regtype THEN '{"type":"integer","format":"int64","minimum":-9223372036854775808,"maximum":9223372036854775807}'
        WHEN 'float4'::regtype THEN '{"type":"number","format":"float"}'
        WHEN 'float8'::regtype THEN '{"type":"number","format":"double"}'
        WHEN 'numeric'::regtype THEN '{"type":"number"}'
        WHEN 'json'::regtype THEN '{}'
        WHEN 'jsonb'::regtype THEN '{}'
        WHEN 'uuid'::regtype THEN '{"type":"string","format":"uuid"}'
        WHEN 'date'::regtype THEN '{"type":"string","format":"date"}'
        WHEN 'timestamptz'::regtype THEN '{"type":"string","format":"date-time"}'
        WHEN 'bytea'::regtype THEN '{"type":"string","pattern":"^\\\\x([0-9a-fA-F]{2})*$"}'
        WHEN 'void'::regtype THEN '{"type":"null"}'
        ELSE jsonb_build_object('type', 'string', 'x-postgres-type', format_type(type, NULL))::text
            -- Text of any kind needs no remark.
        END::jsonb - CASE WHEN (SELECT t.typcategory FROM pg_type t WHERE t.oid = type) = 'S' THEN 'x-postgres-type' ELSE '' END
$$;
COMMENT ON FUNCTION forge_private.base_schema(oid) IS 'JSON schema of a type that has no parts';

CREATE FUNCTION forge_private.type_schema(type oid, depth int DEFAULT 0) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t pg_type%ROWTYPE;
BEGIN
    SELECT * INTO STRICT t FROM pg_type p WHERE p.oid = type;
    IF depth > 8 THEN
        RETURN '{}'; -- types may contain themselves
    END IF;
    RETURN CASE
        WHEN t.typtype = 'd' THEN forge_private.type_schema(t.typbasetype, depth + 1)
        WHEN t.typtype = 'e' THEN jsonb_build_object('type', 'string', 'enum',
            (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = type))
        WHEN t.typtype = 'c' THEN (
            SELECT jsonb_build_object('type', 'object',
                'properties', coalesce(jsonb_object_agg(a.attname, CASE WHEN a.attnotnull THEN s.schema ELSE forge_private.nullable(s.schema) END), '{}'),
                'required', coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]'), 'additionalProperties', false)
            FROM pg_attribute a CROSS JOIN LATERAL (SELECT forge_private.type_schema(a.atttypid, depth + 1) AS schema) s
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
        WHEN t.typcategory = 'A' THEN jsonb_build_object('type', 'array', 'items', forge_private.nullable(forge_private.type_schema(t.typelem, depth + 1)))
        ELSE forge_private.base_schema(type)
    END;
END
$$;
COMMENT ON FUNCTION forge_private.type_schema(oid, int) IS 'JSON schema of the values of a type';

CREATE FUNCTION forge_private.function_arguments(function oid) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.name, 'type', format_type(a.type, NULL), 'required', a.ord <= p.pronargs - p.pronargdefaults,
            'schema', forge_private.nullable(forge_private.type_schema(a.type)))
        -- One jsonb parameter takes the whole object.
        || CASE WHEN p.pronargs = 1 AND a.type = 'jsonb'::regtype THEN '{"whole":true}' ELSE '{}' END::jsonb ORDER BY a.ord), '[]')
    FROM pg_proc p CROSS JOIN LATERAL (
        SELECT row_number() OVER (ORDER BY u.ord) AS ord, coalesce(u.name, '') AS name, p.proargtypes[(row_number() OVER (ORDER BY u.ord))::int - 1] AS type
        FROM unnest(CASE WHEN p.proargmodes IS NULL THEN array_fill('i'::text, ARRAY[p.pronargs::int]) ELSE p.proargmodes::text[] END, p.proargnames)
            WITH ORDINALITY u(mode, name, ord)
        WHERE u.mode IN ('i', 'b', 'v')) a
    WHERE p.oid = function
$$;
COMMENT ON FUNCTION forge_private.function_arguments(oid) IS 'Parameters of a function: name, type, whether required, JSON schema';

CREATE FUNCTION forge_private.function_returns(function oid) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN p.proretset THEN jsonb_build_object('type', 'array', 'items', r.schema) ELSE r.schema END
    FROM pg_proc p CROSS JOIN LATERAL (SELECT CASE
        WHEN p.prorettype = 'forge.http_response'::regtype THEN '{}'::jsonb
        WHEN p.prorettype = 'record'::regtype THEN (
            SELECT jsonb_build_object('type', 'object',
                'properties', jsonb_object_agg(u.name, forge_private.nullable(forge_private.type_schema(u.type))),
                'required', jsonb_agg(u.name ORDER BY u.ord), 'additionalProperties', false)
            FROM unnest(p.proargmodes::text[], p.proargnames, p.proallargtypes) WITH ORDINALITY u(mode, name, type, ord) WHERE u.mode IN ('o', 'b', 't'))
        WHEN p.prorettype = 'void'::regtype THEN forge_private.type_schema(p.prorettype)
        ELSE forge_private.nullable(forge_private.type_schema(p.prorettype)) END AS schema) r
    WHERE p.oid = function
$$;
COMMENT ON FUNCTION forge_private.function_returns(oid) IS 'JSON schema of a function''s result';

-- Which function is meant, and whether it can be called --------------------------------------------------------------

CREATE FUNCTION forge_private.find_function(given text) RETURNS regprocedure
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts text[];
    found regprocedure[];
    one regprocedure;
BEGIN
    IF strpos(given, '(') > 0 THEN
        BEGIN
            IF cardinality(parse_ident(left(given, strpos(given, '(') - 1))) <> 2 THEN
                RAISE EXCEPTION 'it names no schema';
            ELSIF given !~ '\)\s*$' THEN
                RAISE EXCEPTION 'expected a right parenthesis';
            END IF;
            one := to_regprocedure(given);
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION 'function % is malformed: %', quote_literal(left(given, 200)), SQLERRM
                USING ERRCODE = 'ZF002', HINT = 'Write schema.name, or schema.name(type, …) when the name is overloaded.';
        END;
        IF one IS NULL THEN
            RAISE EXCEPTION 'function % does not exist', left(given, 200)
                USING ERRCODE = 'ZF001', HINT = 'Create the function first; types are written as in \df.';
        END IF;
        RETURN one;
    END IF;
    BEGIN
        parts := parse_ident(given);
        IF cardinality(parts) <> 2 THEN
            RAISE EXCEPTION 'it names no schema';
        END IF;
    EXCEPTION WHEN OTHERS THEN
        RAISE EXCEPTION 'function % is malformed: %', quote_literal(left(given, 200)), SQLERRM
            USING ERRCODE = 'ZF002', HINT = 'Write schema.name, or schema.name(type, …) when the name is overloaded.';
    END;
    found := ARRAY(SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                   WHERE n.nspname = parts[1] AND p.proname = parts[2] ORDER BY p.oid::regprocedure::text);
    IF cardinality(found) = 0 THEN
        RAISE EXCEPTION 'function % does not exist', given USING ERRCODE = 'ZF001', HINT = 'Create the function first.';
    ELSIF cardinality(found) > 1 THEN
        RAISE EXCEPTION 'function % is ambiguous', given
            USING ERRCODE = 'ZF002', HINT = format('Say which one: %s.', array_to_string(found::text[], ' or '));
    END IF;
    RETURN found[1];
END
$$;
COMMENT ON FUNCTION forge_private.find_function(text) IS 'The function that schema.name or schema.name(types) means; ZF001 or ZF002 when there is not exactly one';

CREATE FUNCTION forge_private.function_misfit(function oid, kind text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    proc pg_proc%ROWTYPE;
    modes text[];
BEGIN
    SELECT * INTO STRICT proc FROM pg_proc p WHERE p.oid = function;
    modes := coalesce(proc.proargmodes::text[], array_fill('i'::text, ARRAY[proc.pronargs::int]));
    RETURN CASE
        WHEN proc.prokind = 'p' THEN 'is a procedure: write a function'
        WHEN proc.prokind <> 'f' THEN 'is an aggregate or window function'
        WHEN proc.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) THEN 'is a trigger function'
        WHEN proc.provariadic <> 0 THEN 'is variadic: take an array instead'
        WHEN proc.pronargs > 64 THEN 'has more than 64 parameters: take one jsonb instead'
        WHEN kind = 'query' AND proc.provolatile = 'v' THEN
            'is VOLATILE, but a query only reads: declare it STABLE, or register it as a mutation'
        WHEN EXISTS (SELECT FROM unnest(proc.proargtypes::oid[]) a(type) JOIN pg_type t ON t.oid = a.type WHERE t.typtype = 'p')
            THEN 'has a parameter of a pseudo-type, whose JSON form is not known'
        WHEN proc.prorettype = 'record'::regtype AND NOT modes && ARRAY['o', 'b', 't']
            THEN 'returns record without naming its columns: use RETURNS TABLE or OUT parameters'
        WHEN (SELECT t.typtype FROM pg_type t WHERE t.oid = proc.prorettype) = 'p' AND proc.prorettype NOT IN ('record'::regtype, 'void'::regtype)
            THEN format('returns the pseudo-type %s', format_type(proc.prorettype, NULL))
        WHEN NOT (proc.pronargs = 1 AND proc.proargtypes[0] = 'jsonb'::regtype) AND proc.pronargs > 0 AND (proc.proargnames IS NULL OR EXISTS (
                SELECT FROM unnest(proc.proargnames, modes) a(name, mode) WHERE a.mode IN ('i', 'b') AND coalesce(a.name, '') = ''))
            THEN 'has parameters without a name, which arguments cannot be mapped to'
    END;
END
$$;
COMMENT ON FUNCTION forge_private.function_misfit(oid, text) IS 'Why a function cannot be a query or mutation; null when it can';

CREATE FUNCTION forge_private.function_signature(function oid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_temp -- so that every name but the built-in ones is qualified
AS $$
    SELECT CASE WHEN pg_catalog.strpos(f.text, '.') = 0 OR pg_catalog.strpos(f.text, '.') > pg_catalog.strpos(f.text, '(')
        THEN 'pg_catalog.' || f.text ELSE f.text END FROM (SELECT function::pg_catalog.regprocedure::text) f(text)
$$;
COMMENT ON FUNCTION forge_private.function_signature(oid) IS 'schema.name(types) of a function';

-- Registration -------------------------------------------------------------------------------------------------------

CREATE FUNCTION forge_private.check_call_limits(name text, timeout interval, rate_limit text, cache_ttl interval, max_concurrency int, tags text[]) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM forge_private.check_present('name', name), forge_private.check_name('function', name), forge_private.check_rate_limit(rate_limit);
    IF lower(rate_limit) ~ 'per\s+(kind|queue)\s*$' THEN
        RAISE EXCEPTION 'rate limit % has a scope of jobs', quote_literal(rate_limit)
            USING ERRCODE = 'ZF002', HINT = 'Calls are limited per user, per ip, per key or global: 100/minute per user.';
    ELSIF max_concurrency NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'max_concurrency % is out of range', max_concurrency
            USING ERRCODE = 'ZF002', HINT = 'Use 1 to 10000, or null for no limit.';
    ELSIF array_position(tags, NULL) IS NOT NULL OR '' = ANY (tags) OR cardinality(tags) > 32 THEN
        RAISE EXCEPTION 'tags % are not 32 or fewer words', tags USING ERRCODE = 'ZF002', HINT = 'Pass up to 32 tags, none of them null or empty.';
    END IF;
    IF timeout IS NOT NULL THEN
        PERFORM forge_private.check_span('timeout', timeout, '1 millisecond', '24 days');
    END IF;
    IF cache_ttl IS NOT NULL THEN
        PERFORM forge_private.check_span('cache_ttl', cache_ttl, '1 millisecond', '24 days');
    END IF;
END
$$;
COMMENT ON FUNCTION forge_private.check_call_limits(text, interval, text, interval, int, text[]) IS 'ZF002 unless these are fit for a registered function';

CREATE FUNCTION forge_private.put_function(given forge_private.function) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO forge_private.installation (system_identifier) VALUES (forge_private.system_identifier())
        ON CONFLICT ON CONSTRAINT installation_pkey DO NOTHING;
    IF EXISTS (SELECT FROM forge_private.route r WHERE r.function = given.name AND r.method = 'GET') AND given.kind <> 'query' THEN
        RAISE EXCEPTION 'function % has GET routes, which only a query can serve', quote_literal(given.name)
            USING ERRCODE = 'ZF005', HINT = 'Unregister it with its routes first: forge.unregister.';
    END IF;
    INSERT INTO forge_private.function AS f VALUES (given.*)
        ON CONFLICT ON CONSTRAINT function_pkey DO UPDATE SET
            kind = excluded.kind, handler = excluded.handler, isolation = excluded.isolation, max_retries = excluded.max_retries,
            options = excluded.options, timeout = excluded.timeout, rate_limit = excluded.rate_limit, cache_ttl = excluded.cache_ttl,
            max_concurrency = excluded.max_concurrency, description = excluded.description, tags = excluded.tags,
            owner = excluded.owner, registered_at = excluded.registered_at
        WHERE (f.kind, f.handler, f.isolation, f.max_retries, f.options, f.timeout, f.rate_limit, f.cache_ttl, f.max_concurrency,
               f.description, f.tags, f.owner)
            IS DISTINCT FROM (excluded.kind, excluded.handler, excluded.isolation, excluded.max_retries, excluded.options,
               excluded.timeout, excluded.rate_limit, excluded.cache_ttl, excluded.max_concurrency, excluded.description,
               excluded.tags, excluded.owner);
    IF FOUND THEN
        PERFORM forge_private.catalog_changed(), forge_private.audit_admin('register_' || given.kind, given.name, jsonb_build_object('handler', given.handler));
    END IF;
END
$$;
COMMENT ON FUNCTION forge_private.put_function(forge_private.function) IS 'Writes a registration when it differs from the one there is';

CREATE FUNCTION forge_private.fit_function(given text, kind text, registrar oid) RETURNS regprocedure
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target CONSTANT regprocedure := forge_private.find_function(given);
    misfit CONSTANT text := forge_private.function_misfit(target, kind);
BEGIN
    IF misfit IS NOT NULL THEN
        RAISE EXCEPTION 'function % cannot be a %: it %', target, kind, misfit
            USING ERRCODE = 'ZF002', HINT = 'Change the function or write one around it, then register again.';
    ELSIF NOT has_function_privilege(registrar, target, 'EXECUTE') THEN
        RAISE EXCEPTION 'role % may not execute function %', pg_get_userbyid(registrar), target
            USING ERRCODE = 'ZF003', HINT = 'Register functions that you can call yourself.';
    END IF;
    RETURN target;
END
$$;
COMMENT ON FUNCTION forge_private.fit_function(text, text, oid) IS 'The function that is meant; ZF001, ZF002 or ZF003 when it cannot be registered';

CREATE FUNCTION forge.register_query(
    name text,
    function text,
    timeout interval DEFAULT NULL,
    rate_limit text DEFAULT NULL,
    cache_ttl interval DEFAULT NULL,
    max_concurrency int DEFAULT NULL,
    description text DEFAULT NULL,
    tags text[] DEFAULT NULL
) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me CONSTANT oid := forge_private.caller();
BEGIN
    PERFORM forge_private.check_call_limits(name, timeout, rate_limit, cache_ttl, max_concurrency, tags),
        forge_private.check_present('function', function);
    PERFORM forge_private.put_function(ROW(name, 'query', forge_private.function_signature(forge_private.fit_function(function, 'query', me)), NULL, 0, '{}',
        timeout, rate_limit, cache_ttl, max_concurrency, description, coalesce(tags, '{}'), pg_get_userbyid(me), now()));
END
$$;
COMMENT ON FUNCTION forge.register_query(text, text, interval, text, interval, int, text, text[]) IS
    'Lets callers reach a STABLE or IMMUTABLE function by name; registering again replaces what differs';

CREATE FUNCTION forge.register_mutation(
    name text,
    function text,
    isolation text DEFAULT 'serializable',
    max_retries int DEFAULT 3,
    timeout interval DEFAULT NULL,
    rate_limit text DEFAULT NULL,
    cache_ttl interval DEFAULT NULL,
    max_concurrency int DEFAULT NULL,
    description text DEFAULT NULL,
    tags text[] DEFAULT NULL
) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me CONSTANT oid := forge_private.caller();
    level CONSTANT text := lower(replace(isolation, '_', ' '));
BEGIN
    PERFORM forge_private.check_call_limits(name, timeout, rate_limit, cache_ttl, max_concurrency, tags),
        forge_private.check_present('function', function, 'isolation', isolation, 'max_retries', max_retries::text);
    IF level NOT IN ('read committed', 'repeatable read', 'serializable') THEN
        RAISE EXCEPTION 'isolation % does not exist', quote_literal(isolation)
            USING ERRCODE = 'ZF002', HINT = 'Use serializable, repeatable read or read committed.';
    ELSIF max_retries NOT BETWEEN 0 AND 20 THEN
        RAISE EXCEPTION 'max_retries % is out of range', max_retries USING ERRCODE = 'ZF002', HINT = 'Use 0 to 20.';
    ELSIF cache_ttl IS NOT NULL THEN
        RAISE EXCEPTION 'cache_ttl % is given for a mutation', cache_ttl USING ERRCODE = 'ZF002', HINT = 'Only queries are cached: leave it out.';
    END IF;
    PERFORM forge_private.put_function(ROW(name, 'mutation', forge_private.function_signature(forge_private.fit_function(function, 'mutation', me)), level, max_retries,
        '{}', timeout, rate_limit, NULL, max_concurrency, description, coalesce(tags, '{}'), pg_get_userbyid(me), now()));
END
$$;
COMMENT ON FUNCTION forge.register_mutation(text, text, text, int, interval, text, interval, int, text, text[]) IS
    'Lets callers reach a function that writes, in a transaction of this isolation, retried on serialization failures';

CREATE FUNCTION forge.register_action(
    name text,
    handler text,
    options jsonb DEFAULT '{}',
    timeout interval DEFAULT NULL,
    rate_limit text DEFAULT NULL,
    cache_ttl interval DEFAULT NULL,
    max_concurrency int DEFAULT NULL,
    description text DEFAULT NULL,
    tags text[] DEFAULT NULL
) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me CONSTANT oid := forge_private.caller();
    granted CONSTANT jsonb := options -> 'roles';
    unknown text;
BEGIN
    PERFORM forge_private.check_call_limits(name, timeout, rate_limit, cache_ttl, max_concurrency, tags),
        forge_private.check_present('handler', handler, 'options', options::text);
    IF jsonb_typeof(options) <> 'object' THEN
        RAISE EXCEPTION 'options % is not a JSON object', left(options::text, 100) USING ERRCODE = 'ZF002', HINT = 'Pass an object such as {}.';
    END IF;
    -- Other options are for the handler.
    PERFORM forge_private.check_fields('options', (SELECT coalesce(jsonb_object_agg(o.key, o.value), '{}') FROM jsonb_each(options) o
            WHERE o.key IN ('queue', 'priority', 'backoff', 'capability', 'retention', 'max_attempts', 'roles')),
        ARRAY['queue', 'priority', 'backoff', 'capability', 'retention'], ARRAY['max_attempts'], ARRAY['roles']);
    IF cache_ttl IS NOT NULL THEN
        RAISE EXCEPTION 'cache_ttl % is given for an action', cache_ttl USING ERRCODE = 'ZF002', HINT = 'Only queries are cached: leave it out.';
    ELSIF jsonb_path_exists(granted, '$[*] ? (@.type() != "string")') THEN
        RAISE EXCEPTION 'roles % has an element that is not a string', granted USING ERRCODE = 'ZF002', HINT = 'Pass a list of names of roles.';
    END IF;
    SELECT r INTO unknown FROM jsonb_array_elements_text(coalesce(granted, '[]')) r WHERE to_regrole(quote_ident(r)) IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'role % of roles does not exist', quote_literal(unknown) USING ERRCODE = 'ZF001', HINT = 'Name roles that exist, such as forge_user.';
    END IF;
    -- The job that does the work: of a kind of its own, tried once unless the options say otherwise.
    PERFORM forge.register_job('forge.action.' || name, handler, options => options - 'roles' - 'queue' - 'priority' - 'backoff' - 'capability' - 'retention' - 'max_attempts',
        queue => coalesce(options ->> 'queue', 'default'), priority => coalesce(options ->> 'priority', 'high'),
        max_attempts => coalesce((options ->> 'max_attempts')::int, 1), backoff => coalesce(options ->> 'backoff', 'exponential(1s,1h)'),
        timeout => coalesce(timeout, interval '5 min'), capability => coalesce(options ->> 'capability', 'general'),
        max_concurrency => max_concurrency, retention => coalesce((options ->> 'retention')::interval, interval '7 days'));
    PERFORM forge_private.put_function(ROW(name, 'action', handler, NULL, 0, options,
        timeout, rate_limit, NULL, max_concurrency, description, coalesce(tags, '{}'), pg_get_userbyid(me), now()));
END
$$;
COMMENT ON FUNCTION forge.register_action(text, text, jsonb, interval, text, interval, int, text, text[]) IS
    'Lets callers reach work outside the database by name: it runs as a job of kind forge.action.NAME; option roles says who may (forge_user, forge_service, forge_admin)';

CREATE FUNCTION forge.unregister(name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was text;
BEGIN
    DELETE FROM forge_private.function f WHERE f.name = unregister.name RETURNING f.kind INTO was;
    IF was IS NULL THEN
        RETURN false;
    ELSIF was = 'action' THEN
        PERFORM forge.unregister_job('forge.action.' || name);
    END IF;
    PERFORM forge_private.catalog_changed(), forge_private.audit_admin('unregister', name);
    RETURN true;
END
$$;
COMMENT ON FUNCTION forge.unregister(text) IS 'Forgets a query, mutation or action and its routes; false when it was not registered';

-- Routes -------------------------------------------------------------------------------------------------------------

CREATE FUNCTION forge_private.check_path(path text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    segments CONSTANT text[] := string_to_array(substr(path, 2), '/');
    segment text;
    parameters text[] := '{}';
    problem text;
BEGIN
    IF left(path, 1) <> '/' OR path = '/' OR length(path) > 500 THEN
        problem := 'it is not a path of 2 to 500 characters that starts with /';
    ELSIF path ~ '^/(v1|_dashboard|_api)(/|$)' OR path IN ('/healthz', '/readyz', '/metrics', '/openapi.json') THEN
        problem := 'it is one of the gateway''s own';
    END IF;
    FOREACH segment IN ARRAY segments LOOP
        EXIT WHEN problem IS NOT NULL;
        IF segment ~ '^\{[A-Za-z_][A-Za-z0-9_]*\}$' THEN
            IF btrim(segment, '{}') = ANY (parameters) THEN
                problem := format('parameter %s is there twice', segment);
            END IF;
            parameters := parameters || btrim(segment, '{}');
        ELSIF segment IN ('', '.', '..') OR segment !~ '^[A-Za-z0-9._~@:-]+$' THEN
            problem := format('segment %s is neither {parameter} nor plain text', quote_literal(segment));
        END IF;
    END LOOP;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'route path % is not usable: %', quote_literal(left(path, 200)), problem
            USING ERRCODE = 'ZF002', HINT = 'Write a path such as /api/articles/{slug}; a parameter is a whole segment.';
    END IF;
    RETURN parameters;
END
$$;
COMMENT ON FUNCTION forge_private.check_path(text) IS 'Names of the parameters of a route''s path; ZF002 when it is not well-formed';

CREATE FUNCTION forge.register_route(method text, path text, function text, description text DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    verb CONSTANT text := upper(method);
    parameters text[];
    target forge_private.function%ROWTYPE;
    arguments jsonb;
    astray text;
    other text;
BEGIN
    PERFORM forge_private.check_present('method', method, 'path', path, 'function', function),
        forge_private.check_call_limits(function, NULL, NULL, NULL, NULL, tags);
    IF verb NOT IN ('GET', 'POST', 'PUT', 'PATCH', 'DELETE') THEN
        RAISE EXCEPTION 'method % cannot have routes', quote_literal(left(method, 100)) USING ERRCODE = 'ZF002', HINT = 'Use GET, POST, PUT, PATCH or DELETE.';
    END IF;
    parameters := forge_private.check_path(path);
    SELECT * INTO target FROM forge_private.function f WHERE f.name = register_route.function;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'function % is not registered', quote_literal(left(function, 200))
            USING ERRCODE = 'ZF001', HINT = 'Call forge.register_query, forge.register_mutation or forge.register_action first; a route names what they registered.';
    ELSIF verb = 'GET' AND target.kind <> 'query' THEN
        RAISE EXCEPTION '% % is not possible: % is a %', verb, path, quote_literal(function), target.kind
            USING ERRCODE = 'ZF002', HINT = 'GET only reads: route POST, PUT, PATCH or DELETE to it, or register a query.';
    ELSIF target.kind <> 'action' THEN
        arguments := forge_private.function_arguments(forge_private.find_function(target.handler));
        IF NOT arguments @> '[{"whole":true}]' THEN
            SELECT p INTO astray FROM unnest(parameters) p WHERE NOT arguments @> jsonb_build_array(jsonb_build_object('name', p)) LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'route % has parameter {%}, but function % has none of this name', path, astray, target.handler
                    USING ERRCODE = 'ZF002', HINT = 'Name path parameters like the function''s parameters.';
            END IF;
        END IF;
    END IF;
    SELECT r.path INTO other FROM forge_private.route r
        WHERE r.method = verb AND r.shape = regexp_replace(register_route.path, '\{[^}]*\}', '{}', 'g') AND r.path <> register_route.path;
    IF FOUND THEN
        RAISE EXCEPTION 'route % % matches the same paths as %', verb, path, other
            USING ERRCODE = 'ZF005', HINT = 'Use one path for both, or forge.unregister_route the other first.';
    END IF;
    INSERT INTO forge_private.route AS r (method, shape, path, function, description, tags)
        VALUES (verb, regexp_replace(register_route.path, '\{[^}]*\}', '{}', 'g'), register_route.path, register_route.function,
            register_route.description, coalesce(register_route.tags, '{}'))
        ON CONFLICT ON CONSTRAINT route_pkey DO UPDATE SET
            path = excluded.path, function = excluded.function, description = excluded.description, tags = excluded.tags, registered_at = now()
        WHERE (r.path, r.function, r.description, r.tags) IS DISTINCT FROM (excluded.path, excluded.function, excluded.description, excluded.tags);
    IF FOUND THEN
        PERFORM forge_private.catalog_changed();
    END IF;
END
$$;
COMMENT ON FUNCTION forge.register_route(text, text, text, text, text[]) IS
    'Serves a path such as /api/articles/{slug} by a registered function; path, query string and body fields become its arguments';

CREATE FUNCTION forge.unregister_route(method text, path text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM forge_private.route r WHERE r.method = upper(unregister_route.method) AND r.path = unregister_route.path;
    IF FOUND THEN
        PERFORM forge_private.catalog_changed();
        RETURN true;
    END IF;
    RETURN false;
END
$$;
COMMENT ON FUNCTION forge.unregister_route(text, text) IS 'Serves a path no more; false when there was no such route';

-- What there is ------------------------------------------------------------------------------------------------------

CREATE FUNCTION forge_private.known_function(signature text) RETURNS oid
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN to_regprocedure(signature);
EXCEPTION WHEN OTHERS THEN
    RETURN NULL; -- a type in it is gone
END
$$;
COMMENT ON FUNCTION forge_private.known_function(text) IS 'The function of a signature; null when it does not exist any more';

CREATE FUNCTION forge_private.functions()
    RETURNS TABLE (name text, kind text, handler text, arguments jsonb, returns jsonb, timeout interval, rate_limit text, cache_ttl interval,
        description text, tags text[], isolation text, max_retries int, max_concurrency int, options jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.name, f.kind, f.handler, CASE WHEN p.oid IS NOT NULL THEN forge_private.function_arguments(p.oid) END, forge_private.function_returns(p.oid),
           f.timeout, f.rate_limit, f.cache_ttl, coalesce(f.description, obj_description(p.oid, 'pg_proc')), f.tags,
           f.isolation, f.max_retries, f.max_concurrency, f.options
    FROM forge_private.function f
    LEFT JOIN LATERAL (SELECT forge_private.known_function(
        CASE WHEN f.kind <> 'action' THEN f.handler END)) p(oid) ON true
$$;
COMMENT ON FUNCTION forge_private.functions() IS 'Registered functions with schemas of their arguments and results';

CREATE VIEW forge.functions AS SELECT * FROM forge_private.functions();
COMMENT ON VIEW forge.functions IS 'Registered queries, mutations and actions; arguments and returns are JSON schemas, null when the function is gone';

CREATE VIEW forge.routes AS SELECT method, path, function, description, tags FROM forge_private.route;
COMMENT ON VIEW forge.routes IS 'Paths served by registered functions';

CREATE FUNCTION forge_private.gateway_functions()
    RETURNS TABLE (name text, kind text, handler text, isolation text, max_retries int, timeout_ms int, cache_ttl_ms int, rate_limit text,
        max_concurrency int, description text, tags text[], arguments jsonb, returns jsonb, options jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.name, f.kind, f.handler, f.isolation, f.max_retries, (extract(epoch FROM f.timeout) * 1000)::int,
           (extract(epoch FROM f.cache_ttl) * 1000)::int, f.rate_limit, f.max_concurrency, f.description, f.tags,
           f.arguments, f.returns, f.options
    FROM forge_private.functions() f ORDER BY f.name
$$;
COMMENT ON FUNCTION forge_private.gateway_functions() IS 'Every registered function, for gateways';

CREATE FUNCTION forge_private.gateway_routes() RETURNS TABLE (method text, path text, function text, kind text, description text, tags text[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.method, r.path, r.function, f.kind, r.description, r.tags
    FROM forge_private.route r JOIN forge_private.function f ON f.name = r.function ORDER BY r.path, r.method
$$;
COMMENT ON FUNCTION forge_private.gateway_routes() IS 'Every route, for gateways';

CREATE FUNCTION forge_private.function_warnings() RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    f record;
    problem text;
BEGIN
    FOR f IN SELECT r.name, r.kind, r.handler, forge_private.known_function(r.handler) AS function
             FROM forge_private.function r WHERE r.kind <> 'action' ORDER BY r.name LOOP
        problem := CASE WHEN f.function IS NULL THEN format('function %s does not exist any more', f.handler)
            ELSE format('function %s ', f.handler) || forge_private.function_misfit(f.function, f.kind) END;
        IF problem IS NOT NULL THEN
            RETURN NEXT forge_private.warning('function_unfit', format('%s %s cannot be called: %s', f.kind, f.name, problem),
                'Create the function again, register it anew, or call forge.unregister.');
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION forge_private.function_warnings() IS 'Warnings about registered functions that no longer fit';

-- Calls --------------------------------------------------------------------------------------------------------------

CREATE FUNCTION forge.call(name text, args jsonb DEFAULT '{}') RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'forge_call';
COMMENT ON FUNCTION forge.call(text, jsonb) IS
    'Calls a registered query or mutation as the current role; the arguments object is mapped to its parameters by name';

CREATE FUNCTION forge_private.gateway_call(identity text, name text, args text, options text, OUT body text, OUT meta text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'forge_gateway_call';
COMMENT ON FUNCTION forge_private.gateway_call(text, text, text, text) IS
    'Calls a registered query or mutation for a caller, whose identity is locked while it runs';

CREATE FUNCTION forge_private.maintain_calls() RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM forge_private.first_answer a WHERE a.expires_at < clock_timestamp();
    DELETE FROM forge_private.session s WHERE greatest(s.expires_at, s.revoked_at) < clock_timestamp() - interval '7 days'
        OR s.revoked_at < clock_timestamp() - interval '7 days';
$$;
COMMENT ON FUNCTION forge_private.maintain_calls() IS 'Forgets first answers whose day has passed, and sessions that ended a week ago';

CREATE FUNCTION forge_private.check_action(identity text, name text, args text, options text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'forge_check_action';
COMMENT ON FUNCTION forge_private.check_action(text, text, text, text) IS
    'ZF001, ZF002, ZF003 or ZF006 unless the caller may run this action with these arguments; its idempotency key among jobs';

CREATE FUNCTION forge_private.gateway_action(identity text, name text, args text, options text) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key CONSTANT text := forge_private.check_action(identity, name, args, options);
BEGIN
    PERFORM set_config('forge.traceparent', coalesce(options::jsonb ->> 'traceparent', ''), true);
    RETURN forge.enqueue('forge.action.' || name, coalesce(args, '{}')::jsonb, idempotency_key => key);
END
$$;
COMMENT ON FUNCTION forge_private.gateway_action(text, text, text, text) IS 'Enqueues the job of an action for a caller';
