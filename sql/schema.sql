-- Schemas, group roles, which cluster this is, randomness and identity of the caller.
--
-- Everything public is in schema forge, everything else in forge_private; PUBLIC has rights on neither (grants.sql).
-- Functions that touch private tables are SECURITY DEFINER with their own search_path, which ends in pg_temp, and
-- name every object with its schema.

CREATE SCHEMA forge;
COMMENT ON SCHEMA forge IS 'Forge: public functions and views';
CREATE SCHEMA forge_private;
COMMENT ON SCHEMA forge_private IS 'Forge: internals; nothing here is a stable interface';

-- Roles belong to the cluster, not to the database: another database or a restore may have made them already.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['forge_anon', 'forge_user', 'forge_service', 'forge_admin'] LOOP
        IF pg_catalog.to_regrole(wanted) IS NULL THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database made it at the same moment
            END;
        END IF;
    END LOOP;
END
$$;

-- One row, inserted with the first registration rather than here, so that a restored row never meets another.
-- A system identifier that differs from the server's own means: restored into another cluster.
CREATE TABLE forge_private.installation (
    system_identifier bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
SELECT pg_catalog.pg_extension_config_dump('forge_private.installation', '');

CREATE FUNCTION forge_private.uuid7() RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'forge_uuid7';
COMMENT ON FUNCTION forge_private.uuid7() IS 'A new UUIDv7, monotonic within this backend';

CREATE FUNCTION forge_private.random_bytes(n int) RETURNS bytea
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'forge_random_bytes';
COMMENT ON FUNCTION forge_private.random_bytes(int) IS 'n (1 to 1024) bytes of the operating system''s randomness';

CREATE FUNCTION forge_private.caller() RETURNS oid
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'forge_caller';
COMMENT ON FUNCTION forge_private.caller() IS
    'The role the session acts as, also inside SECURITY DEFINER functions';

CREATE FUNCTION forge_private.system_identifier() RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'forge_system_identifier';
COMMENT ON FUNCTION forge_private.system_identifier() IS 'Which database cluster this is';

CREATE FUNCTION forge.version() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'forge' $$;
COMMENT ON FUNCTION forge.version() IS 'Version of the installed SQL objects; forge.status() also tells the library''s';
