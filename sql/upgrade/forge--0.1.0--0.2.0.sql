-- From 0.1.0 to 0.2.0, what cannot be derived: tables that change, and what has to be dropped first.

-- Rate limits became sliding windows.
TRUNCATE forge_private.rate_bucket;
ALTER TABLE forge_private.rate_bucket DROP COLUMN tat;
ALTER TABLE forge_private.rate_bucket ADD COLUMN slices bytea NOT NULL;
ALTER TABLE forge_private.rate_bucket ADD COLUMN expires_at timestamptz NOT NULL;
