-- Project boards, hooks, and what has no table of its own.

CREATE OR REPLACE FUNCTION github.on_project(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    row github.project := jsonb_populate_record(null::github.project, p->'project' || jsonb_build_object(
        'repository_id', p->'repository_id', 'creator_id', github.keep_person(p#>'{project,creator}')));
BEGIN
    INSERT INTO github.project AS o SELECT row.*
    ON CONFLICT (id) DO UPDATE SET (name, state, updated_at) = (excluded.name, excluded.state, excluded.updated_at)
    WHERE excluded.updated_at > o.updated_at;
END $$;

CREATE OR REPLACE FUNCTION github.on_project_column(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    board text := p#>>'{project_column,project_url}';
BEGIN
    INSERT INTO github.project_column AS c
    VALUES ((p#>>'{project_column,id}')::bigint, substring(board FROM '[0-9]+$')::bigint,
            p#>>'{project_column,name}', github.as_time(p#>'{project_column,updated_at}'))
    ON CONFLICT (id) DO UPDATE SET (name, updated_at) = (excluded.name, excluded.updated_at)
    WHERE excluded.updated_at > c.updated_at;
END $$;

CREATE OR REPLACE FUNCTION github.on_project_card(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    row github.project_card := jsonb_populate_record(null::github.project_card,
        p->'project_card' || jsonb_build_object('deleted', p->'deleted',
            'creator_id', github.keep_person(p#>'{project_card,creator}')));
BEGIN
    INSERT INTO github.project_card AS c SELECT row.*
    WHERE NOT EXISTS (SELECT FROM github.project_card o WHERE o.id = row.id
                      AND o.updated_at >= row.updated_at AND o.deleted >= row.deleted)
    ON CONFLICT (id) DO UPDATE SET
        (column_id, note, archived, updated_at, deleted)
      = (excluded.column_id, excluded.note, excluded.archived, greatest(c.updated_at, excluded.updated_at),
         c.deleted OR excluded.deleted)
    WHERE excluded.updated_at > c.updated_at OR excluded.deleted > c.deleted;
END $$;

CREATE OR REPLACE FUNCTION github.on_project_item(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    row github.project_item := jsonb_populate_record(null::github.project_item,
        p->'projects_v2_item' || jsonb_build_object('organization_id', p->'organization_id',
            'creator_id', github.keep_person(p#>'{projects_v2_item,creator}')));
BEGIN
    INSERT INTO github.project_item AS i SELECT row.*
    ON CONFLICT (id) DO UPDATE SET
        (content_type, updated_at, archived_at) = (excluded.content_type, excluded.updated_at, excluded.archived_at)
    WHERE excluded.updated_at > i.updated_at;
END $$;

CREATE OR REPLACE FUNCTION github.on_ping(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    row github.hook := jsonb_populate_record(null::github.hook, p->'hook');
BEGIN
    INSERT INTO github.hook AS h SELECT row.*
    ON CONFLICT (id) DO UPDATE SET
        (active, events, updated_at) = (excluded.active, excluded.events, excluded.updated_at)
    WHERE excluded.updated_at > h.updated_at;
END $$;

CREATE OR REPLACE FUNCTION github.on_activity(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.activity
    VALUES ((job->>'delivery_id')::uuid, job->>'event', coalesce(p->>'action', p->>'status', job->>'event'),
            (p->>'repository_id')::bigint, (p->>'sender_id')::bigint)
    ON CONFLICT DO NOTHING;
END $$;
