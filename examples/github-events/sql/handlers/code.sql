-- Pushes, refs, releases, packages and what guards a branch.

CREATE OR REPLACE FUNCTION github.on_push(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.push
    VALUES ((p->>'repository_id')::bigint, p->>'ref', p->>'before', p->>'after', p#>>'{pusher,name}',
            (p->>'forced')::boolean, jsonb_array_length(p->'commits'))
    ON CONFLICT DO NOTHING;
    -- head_commit is not among the commits when a tag is pushed.
    INSERT INTO github.commit
    SELECT DISTINCT ON (c->>'id') (p->>'repository_id')::bigint, c->>'id', c#>>'{author,name}', c->>'message',
           github.as_time(c->'timestamp'), jsonb_array_length(c->'added'), jsonb_array_length(c->'removed'),
           jsonb_array_length(c->'modified')
    FROM jsonb_array_elements((p->'commits') || coalesce(nullif(p->'head_commit', 'null'), '[]')) AS c
    ORDER BY c->>'id'
    ON CONFLICT DO NOTHING;
END $$;

-- `create` and `delete` carry no time: the last one to arrive wins.
CREATE OR REPLACE FUNCTION github.on_ref(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.ref AS r
    VALUES ((p->>'repository_id')::bigint, p->>'ref_type', p->>'ref', job->>'event' = 'create')
    ON CONFLICT (repository_id, ref_type, ref) DO UPDATE SET present = excluded.present
    WHERE r.present <> excluded.present;
END $$;

CREATE OR REPLACE FUNCTION github.on_merge_group(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.merge_group
    SELECT (jsonb_populate_record(null::github.merge_group, p->'merge_group' || p)).*
    ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION github.on_branch_rule(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    rule github.branch_rule := jsonb_populate_record(null::github.branch_rule,
        p->'rule' || jsonb_build_object('repository_id', p->'repository_id', 'deleted', p->'deleted'));
BEGIN
    INSERT INTO github.branch_rule AS r SELECT rule.*
    ON CONFLICT (id) DO UPDATE SET
        (name, required_approving_review_count, required_status_checks, updated_at, deleted)
      = (excluded.name, excluded.required_approving_review_count, excluded.required_status_checks,
         excluded.updated_at, r.deleted OR excluded.deleted)
    WHERE excluded.updated_at > r.updated_at OR excluded.deleted > r.deleted;
END $$;

CREATE OR REPLACE FUNCTION github.on_deploy_key(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.deploy_key
    SELECT (jsonb_populate_record(null::github.deploy_key,
        p->'key' || jsonb_build_object('repository_id', p->'repository_id'))).*
    ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION github.on_deployment_review(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.deployment_review
    VALUES ((p#>>'{workflow_run,id}')::bigint, p->>'environment', (p->>'repository_id')::bigint,
            github.keep_person(p->'requestor'), jsonb_array_length(p->'reviewers'), github.as_time(p->'since'))
    ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION github.on_release(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    release github.release := jsonb_populate_record(null::github.release,
        p->'release' || jsonb_build_object('repository_id', p->'repository_id', 'deleted', p->'deleted',
            'author_id', github.keep_person(p#>'{release,author}')));
BEGIN
    -- A release has no time of change either. Once published for good it does not become a prerelease again.
    INSERT INTO github.release AS r SELECT release.*
    ON CONFLICT (id) DO UPDATE SET
        (name, prerelease, deleted)
      = (coalesce(excluded.name, r.name), r.prerelease AND excluded.prerelease, r.deleted OR excluded.deleted)
    WHERE r.name IS NULL AND excluded.name IS NOT NULL
       OR r.prerelease > excluded.prerelease OR excluded.deleted > r.deleted;
END $$;

CREATE OR REPLACE FUNCTION github.on_package(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    package github.package := jsonb_populate_record(null::github.package,
        p->'package' || jsonb_build_object('repository_id', p->'repository_id',
            'owner_id', github.keep_person(p#>'{package,owner}'), 'version', p#>'{package,package_version,version}'));
BEGIN
    INSERT INTO github.package AS k SELECT package.*
    ON CONFLICT (id) DO UPDATE SET (name, version, updated_at) = (excluded.name, excluded.version, excluded.updated_at)
    WHERE excluded.updated_at > k.updated_at;
END $$;

CREATE OR REPLACE FUNCTION github.on_page_build(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.page_build
    VALUES ((p->>'id')::bigint, (p->>'repository_id')::bigint, github.keep_person(p#>'{build,pusher}'),
            p#>>'{build,status}', p#>>'{build,commit}', (p#>>'{build,duration}')::int,
            github.as_time(p#>'{build,created_at}'))
    ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION github.on_gollum(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.wiki_page AS w
    SELECT (p->>'repository_id')::bigint, page->>'page_name', page->>'title', page->>'sha', (p->>'sender_id')::bigint
    FROM jsonb_array_elements(p->'pages') AS page
    ON CONFLICT (repository_id, page_name) DO UPDATE SET (title, sha, editor_id) = (excluded.title, excluded.sha, excluded.editor_id)
    WHERE w.sha <> excluded.sha;
END $$;
