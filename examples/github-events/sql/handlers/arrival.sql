-- What every delivery has in common: who sent it, where it happened, and its line in the ledger.
--
-- Thousands of deliveries name the same few people and repositories, and a row that is written stays
-- locked until the whole batch of jobs commits. So each `keep_…` reads first and writes only news.

-- Epoch seconds in some payloads (push), RFC 3339 in the others.
CREATE OR REPLACE FUNCTION github.as_time(value jsonb) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(value)
        WHEN 'number' THEN to_timestamp(value::float8)
        WHEN 'string' THEN (value #>> '{}')::timestamptz
    END
$$;

-- An account carries no time of change, so a late delivery could undo a rename: the first name seen
-- stays until the event `organization.renamed`.
CREATE OR REPLACE FUNCTION github.keep_person(account jsonb, type text DEFAULT 'User') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    person_id bigint := (account->>'id')::bigint;
BEGIN
    IF person_id IS NULL OR EXISTS (SELECT FROM github.person p WHERE p.id = person_id) THEN
        RETURN person_id;
    END IF;
    INSERT INTO github.person (id, login, type, html_url)
    VALUES (person_id, account->>'login', coalesce(account->>'type', keep_person.type), account->>'html_url')
    ON CONFLICT (id) DO NOTHING;
    RETURN person_id;
END $$;

-- Lists of an installation give only id, name and full_name: those never overwrite a full row.
CREATE OR REPLACE FUNCTION github.keep_repository(repository jsonb) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    repo github.repository;
BEGIN
    IF repository->'id' IS NULL THEN
        RETURN NULL;
    END IF;
    repo.id := (repository->>'id')::bigint;
    repo.updated_at := coalesce(github.as_time(repository->'updated_at'), '-infinity');
    IF EXISTS (SELECT FROM github.repository r WHERE r.id = repo.id AND r.updated_at >= repo.updated_at) THEN
        RETURN repo.id;
    END IF;
    repo := jsonb_populate_record(repo, repository - '{created_at,updated_at}'::text[]);
    repo.created_at := github.as_time(repository->'created_at');
    repo.owner_id := github.keep_person(repository->'owner');
    INSERT INTO github.repository AS r SELECT repo.*
    ON CONFLICT (id) DO UPDATE SET
        (owner_id, name, full_name, private, archived, language, default_branch, stargazers_count,
         open_issues_count, created_at, updated_at)
      = (excluded.owner_id, excluded.name, excluded.full_name, excluded.private, excluded.archived,
         excluded.language, excluded.default_branch, excluded.stargazers_count, excluded.open_issues_count,
         excluded.created_at, excluded.updated_at)
    WHERE excluded.updated_at > r.updated_at;
    RETURN repo.id;
END $$;

-- The first statement of every handler. Returns the payload, with the ids a row needs beside it:
-- `repository_id`, `organization_id`, `sender_id`, `deleted`.
CREATE OR REPLACE FUNCTION github.arrive(job jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    payload jsonb := job->'payload';
BEGIN
    INSERT INTO github.effect (delivery_id, kind)
    VALUES ((job->>'delivery_id')::uuid, 'github.' || (job->>'event'));
    RETURN payload || jsonb_build_object(
        'organization_id', github.keep_person(payload->'organization', 'Organization'),
        'sender_id', github.keep_person(payload->'sender'),
        'repository_id', github.keep_repository(payload->'repository'),
        'deleted', coalesce(payload->>'action' = 'deleted', false));
END $$;
