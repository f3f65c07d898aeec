#!/bin/sh
# Run once, in a fresh data directory: the extension and the daemons' login role.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$FORGE_DAEMON_PASSWORD" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE EXTENSION IF NOT EXISTS forge;
CREATE ROLE forge_daemon LOGIN NOINHERIT PASSWORD :'password';
SELECT forge.setup_daemon_role('forge_daemon');
SQL
