-- Issues, pull requests, reviews, discussions and comments.

CREATE OR REPLACE FUNCTION github.keep_milestone(milestone jsonb, repository_id bigint, deleted boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    row github.milestone := jsonb_populate_record(null::github.milestone,
        milestone || jsonb_build_object('repository_id', repository_id, 'deleted', deleted));
BEGIN
    IF row.id IS NULL OR EXISTS (SELECT FROM github.milestone m
        WHERE m.id = row.id AND m.updated_at >= row.updated_at AND m.deleted >= row.deleted) THEN
        RETURN row.id;
    END IF;
    INSERT INTO github.milestone AS m SELECT row.*
    ON CONFLICT (id) DO UPDATE SET
        (title, state, due_on, closed_at, updated_at, deleted)
      = (excluded.title, excluded.state, excluded.due_on, excluded.closed_at,
         greatest(m.updated_at, excluded.updated_at), m.deleted OR excluded.deleted)
    WHERE excluded.updated_at > m.updated_at OR excluded.deleted > m.deleted;
    RETURN row.id;
END $$;

-- A label has no time of change: the first name and colour stay until an `edited`.
CREATE OR REPLACE FUNCTION github.keep_label(label jsonb, repository_id bigint, action text DEFAULT 'created') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    row github.label := jsonb_populate_record(null::github.label,
        label || jsonb_build_object('repository_id', repository_id, 'deleted', action = 'deleted'));
BEGIN
    INSERT INTO github.label SELECT row.* WHERE NOT EXISTS (SELECT FROM github.label l WHERE l.id = row.id)
    ON CONFLICT (id) DO NOTHING;
    IF action = 'deleted' THEN
        UPDATE github.label l SET deleted = true WHERE l.id = row.id AND NOT l.deleted;
    ELSIF action = 'edited' THEN
        UPDATE github.label l SET (name, color, description) = (row.name, row.color, row.description)
        WHERE l.id = row.id AND (l.name, l.color, l.description) IS DISTINCT FROM (row.name, row.color, row.description);
    END IF;
    RETURN row.id;
END $$;

CREATE OR REPLACE FUNCTION github.on_label(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    PERFORM github.keep_label(p->'label', (p->>'repository_id')::bigint, p->>'action');
END $$;

CREATE OR REPLACE FUNCTION github.on_milestone(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    PERFORM github.keep_milestone(p->'milestone', (p->>'repository_id')::bigint, (p->>'deleted')::boolean);
END $$;

CREATE OR REPLACE FUNCTION github.on_issues(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    repo bigint := (p->>'repository_id')::bigint;
    issue github.issue := jsonb_populate_record(null::github.issue,
        p->'issue' || jsonb_build_object('repository_id', repo, 'deleted', p->'deleted',
            'author_id', github.keep_person(p#>'{issue,user}'),
            'milestone_id', github.keep_milestone(nullif(p#>'{issue,milestone}', 'null'), repo)));
BEGIN
    IF EXISTS (SELECT FROM github.issue i
        WHERE i.id = issue.id AND i.updated_at >= issue.updated_at AND i.deleted >= issue.deleted) THEN
        RETURN;
    END IF;
    INSERT INTO github.issue AS i SELECT issue.*
    ON CONFLICT (id) DO UPDATE SET
        (milestone_id, title, state, locked, comments, body, updated_at, closed_at, deleted)
      = (excluded.milestone_id, excluded.title, coalesce(excluded.state, i.state), coalesce(excluded.locked, i.locked),
         excluded.comments, excluded.body, greatest(i.updated_at, excluded.updated_at), excluded.closed_at,
         i.deleted OR excluded.deleted)
    WHERE excluded.updated_at > i.updated_at OR excluded.deleted > i.deleted;

    -- Some actions leave the list of labels out: then what is known stays.
    IF p#>'{issue,labels}' IS NOT NULL THEN
        DELETE FROM github.issue_label il
        WHERE il.issue_id = issue.id AND NOT p#>'{issue,labels}' @> jsonb_build_array(jsonb_build_object('id', il.label_id));
        INSERT INTO github.issue_label
        SELECT issue.id, github.keep_label(label, repo) FROM jsonb_array_elements(p#>'{issue,labels}') AS label
        ON CONFLICT DO NOTHING;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION github.keep_pull_request(pull jsonb, repository_id bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    row github.pull_request := jsonb_populate_record(null::github.pull_request,
        pull || jsonb_build_object('repository_id', repository_id, 'author_id', github.keep_person(pull->'user'),
            'head_ref', pull#>'{head,ref}', 'head_sha', pull#>'{head,sha}', 'base_ref', pull#>'{base,ref}'));
BEGIN
    IF EXISTS (SELECT FROM github.pull_request p WHERE p.id = row.id AND p.updated_at >= row.updated_at) THEN
        RETURN row.id;
    END IF;
    -- Reviews carry a shorter pull request: what it leaves out stays as it was.
    INSERT INTO github.pull_request AS p SELECT row.*
    ON CONFLICT (id) DO UPDATE SET
        (title, state, draft, merged, head_sha, additions, deletions, changed_files, updated_at, closed_at, merged_at)
      = (excluded.title, excluded.state, coalesce(excluded.draft, p.draft), coalesce(excluded.merged, p.merged),
         excluded.head_sha, coalesce(excluded.additions, p.additions), coalesce(excluded.deletions, p.deletions),
         coalesce(excluded.changed_files, p.changed_files), excluded.updated_at, excluded.closed_at, excluded.merged_at)
    WHERE excluded.updated_at > p.updated_at;
    RETURN row.id;
END $$;

CREATE OR REPLACE FUNCTION github.on_pull_request(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    PERFORM github.keep_pull_request(p->'pull_request', (p->>'repository_id')::bigint);
END $$;

CREATE OR REPLACE FUNCTION github.on_review(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    review github.review := jsonb_populate_record(null::github.review, p->'review' || jsonb_build_object(
        'pull_request_id', github.keep_pull_request(p->'pull_request', (p->>'repository_id')::bigint),
        'author_id', github.keep_person(p#>'{review,user}')));
BEGIN
    -- Dismissing is final.
    INSERT INTO github.review AS r SELECT review.*
    ON CONFLICT (id) DO UPDATE SET state = excluded.state
    WHERE r.state <> excluded.state AND r.state <> 'dismissed';
END $$;

CREATE OR REPLACE FUNCTION github.on_review_thread(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.review_thread AS t
    VALUES (p#>>'{thread,node_id}', github.keep_pull_request(p->'pull_request', (p->>'repository_id')::bigint),
            p->>'action' = 'resolved', jsonb_array_length(p#>'{thread,comments}'))
    ON CONFLICT (node_id) DO UPDATE SET (resolved, comments) = (excluded.resolved, excluded.comments)
    WHERE (t.resolved, t.comments) <> (excluded.resolved, excluded.comments);
END $$;

CREATE OR REPLACE FUNCTION github.keep_discussion(discussion jsonb, repository_id bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    row github.discussion := jsonb_populate_record(null::github.discussion,
        discussion || jsonb_build_object('repository_id', repository_id, 'author_id', github.keep_person(discussion->'user'),
            'category', discussion#>'{category,name}'));
BEGIN
    IF row.id IS NULL OR EXISTS (SELECT FROM github.discussion d WHERE d.id = row.id AND d.updated_at >= row.updated_at) THEN
        RETURN row.id;
    END IF;
    INSERT INTO github.discussion AS d SELECT row.*
    ON CONFLICT (id) DO UPDATE SET
        (category, title, state, locked, comments, updated_at)
      = (excluded.category, excluded.title, excluded.state, excluded.locked, excluded.comments, excluded.updated_at)
    WHERE excluded.updated_at > d.updated_at;
    RETURN row.id;
END $$;

CREATE OR REPLACE FUNCTION github.on_discussion(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    PERFORM github.keep_discussion(p->'discussion', (p->>'repository_id')::bigint);
END $$;

-- commit_comment, pull_request_review_comment and discussion_comment.
CREATE OR REPLACE FUNCTION github.on_comment(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    repo bigint := (p->>'repository_id')::bigint;
    row github.comment := jsonb_populate_record(null::github.comment,
        p->'comment' || jsonb_build_object('repository_id', repo, 'deleted', p->'deleted',
            'author_id', github.keep_person(p#>'{comment,user}'),
            'about', CASE job->>'event' WHEN 'commit_comment' THEN 'commit'
                                        WHEN 'pull_request_review_comment' THEN 'review'
                                        WHEN 'discussion_comment' THEN 'discussion' END));
BEGIN
    IF p ? 'pull_request' THEN
        row.pull_request_id := github.keep_pull_request(p->'pull_request', repo);
    ELSIF p ? 'discussion' THEN
        row.discussion_id := github.keep_discussion(p->'discussion', repo);
    END IF;
    INSERT INTO github.comment AS c SELECT row.*
    WHERE NOT EXISTS (SELECT FROM github.comment o WHERE (o.about, o.id) = (row.about, row.id)
                      AND o.updated_at >= row.updated_at AND o.deleted >= row.deleted)
    ON CONFLICT (about, id) DO UPDATE SET
        (body, updated_at, deleted)
      = (excluded.body, greatest(c.updated_at, excluded.updated_at), c.deleted OR excluded.deleted)
    WHERE excluded.updated_at > c.updated_at OR excluded.deleted > c.deleted;
END $$;
