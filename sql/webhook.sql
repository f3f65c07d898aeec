-- Inbound webhooks: how a delivery is verified and which job it becomes. The daemon verifies, this remembers.
--
-- Invariant: one job per (webhook, delivery id), by idempotency key, however often and wherever it is delivered.

CREATE TABLE forge_private.webhook (
    name text PRIMARY KEY,
    kind text NOT NULL, -- may contain {event}
    scheme text NOT NULL CHECK (scheme IN ('standard', 'github', 'stripe', 'slack', 'hmac-sha256')),
    secret text NOT NULL,
    tolerance interval NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);
SELECT pg_catalog.pg_extension_config_dump('forge_private.webhook', '');

CREATE FUNCTION forge.register_webhook(
    name text,
    kind text,
    scheme text DEFAULT 'standard',
    secret text DEFAULT NULL,
    tolerance interval DEFAULT '5 min'
) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM forge_private.check_present('name', name, 'kind', kind, 'scheme', scheme, 'secret', secret);
    PERFORM forge_private.check_name('webhook', name), forge_private.check_name('job kind', replace(kind, '{event}', 'event')),
        forge_private.check_span('tolerance', tolerance, '1 millisecond', '24 days');
    IF scheme NOT IN ('standard', 'github', 'stripe', 'slack', 'hmac-sha256') THEN
        RAISE EXCEPTION 'webhook scheme % does not exist', quote_literal(scheme)
            USING ERRCODE = 'ZF002', HINT = 'Use standard, github, stripe, slack or hmac-sha256.';
    ELSIF length(secret) < 8 THEN
        RAISE EXCEPTION 'secret of webhook % has % characters', quote_literal(name), length(secret)
            USING ERRCODE = 'ZF002', HINT = 'Use 8 characters or more, better 32 random bytes.';
    ELSIF scheme = 'standard' AND secret LIKE 'whsec\_%' AND NOT forge_private.is_base64(substr(secret, 7)) THEN
        RAISE EXCEPTION 'secret of webhook % is not base64 after whsec_', quote_literal(name)
            USING ERRCODE = 'ZF002', HINT = 'Copy the secret as the sender shows it.';
    ELSIF strpos(kind, '{event}') = 0 AND NOT EXISTS (SELECT FROM forge_private.job_kind k WHERE k.kind = register_webhook.kind) THEN
        RAISE EXCEPTION 'job kind % is not registered', quote_literal(kind)
            USING ERRCODE = 'ZF001', HINT = 'Call forge.register_job first, or use {event} in the kind.';
    END IF;
    INSERT INTO forge_private.webhook AS w (name, kind, scheme, secret, tolerance)
        VALUES (register_webhook.name, register_webhook.kind, register_webhook.scheme, register_webhook.secret, register_webhook.tolerance)
        ON CONFLICT ON CONSTRAINT webhook_pkey DO UPDATE SET
            kind = excluded.kind, scheme = excluded.scheme, secret = excluded.secret, tolerance = excluded.tolerance, registered_at = now()
        WHERE (w.kind, w.scheme, w.secret, w.tolerance) IS DISTINCT FROM (excluded.kind, excluded.scheme, excluded.secret, excluded.tolerance);
    IF FOUND THEN
        PERFORM forge_private.catalog_changed();
    END IF;
END
$$;
COMMENT ON FUNCTION forge.register_webhook(text, text, text, text, interval) IS
    'Accepts deliveries at /v1/hooks/NAME, verified by scheme and secret, each as one job; {event} in the kind is the event''s name';

CREATE FUNCTION forge_private.is_base64(given text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN octet_length(decode(given, 'base64')) > 0;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION forge_private.is_base64(text) IS 'Whether text is base64 of at least one byte';

CREATE FUNCTION forge.unregister_webhook(name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM forge_private.webhook w WHERE w.name = unregister_webhook.name;
    IF FOUND THEN
        PERFORM forge_private.catalog_changed();
        RETURN true;
    END IF;
    RETURN false;
END
$$;
COMMENT ON FUNCTION forge.unregister_webhook(text) IS 'Accepts no more deliveries of this name; false when there was none';

CREATE FUNCTION forge_private.webhook(name text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('name', w.name, 'kind', w.kind, 'scheme', w.scheme, 'secret', w.secret,
        'tolerance_ms', (extract(epoch FROM w.tolerance) * 1000)::bigint)
    FROM forge_private.webhook w WHERE w.name = $1
$$;
COMMENT ON FUNCTION forge_private.webhook(text) IS 'How to verify deliveries; null when the name is not registered';

CREATE FUNCTION forge_private.gateway_webhook(name text, delivery_id text, event text, payload jsonb, traceparent text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target text;
    made record;
BEGIN
    SELECT w.kind INTO target FROM forge_private.webhook w WHERE w.name = gateway_webhook.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'webhook % is not registered', coalesce(quote_literal(name), 'null')
            USING ERRCODE = 'ZF001', HINT = 'Call forge.register_webhook first.';
    ELSIF coalesce(delivery_id, '') = '' OR octet_length(delivery_id) > 512 THEN
        RAISE EXCEPTION 'delivery id % is empty or too long', coalesce(quote_literal(left(delivery_id, 100)), 'null')
            USING ERRCODE = 'ZF002', HINT = 'A delivery has an id of 1 to 512 bytes.';
    ELSIF payload IS NULL THEN
        RAISE EXCEPTION 'delivery % has no payload', quote_literal(delivery_id) USING ERRCODE = 'ZF002', HINT = 'Send a JSON body.';
    ELSIF strpos(target, '{event}') > 0 AND coalesce(event, '') = '' THEN
        RAISE EXCEPTION 'delivery % names no event', quote_literal(delivery_id)
            USING ERRCODE = 'ZF002', HINT = format('The kind of webhook %s is made from the event''s name.', name);
    END IF;
    target := replace(target, '{event}', coalesce(event, ''));
    IF NOT EXISTS (SELECT FROM forge_private.job_kind k WHERE k.kind = target) THEN
        RAISE EXCEPTION 'job kind % is not registered', quote_literal(left(target, 200))
            USING ERRCODE = 'ZF001', HINT = 'Call forge.register_job for this event, or do not subscribe to it.';
    END IF;
    SELECT * INTO STRICT made FROM forge_private.enqueue_once(target,
        jsonb_build_object('event', event, 'delivery_id', delivery_id, 'payload', payload),
        'hook:' || name || ':' || delivery_id, traceparent);
    RETURN jsonb_build_object('job_id', made.id, 'duplicate', made.duplicate);
END
$$;
COMMENT ON FUNCTION forge_private.gateway_webhook(text, text, text, jsonb, text) IS 'A verified delivery becomes one job';
