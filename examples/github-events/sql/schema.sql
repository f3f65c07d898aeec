-- The example's own tables, in schema `github`. Running this file twice changes nothing.
--
-- Column names are GitHub's own wherever a value is copied as it comes, so that a handler can lift
-- an object out of a payload with jsonb_populate_record.
--
-- Deliveries come late, twice and in any order. Rows with `updated_at` keep the newest state seen;
-- a thing once deleted keeps its row, marked, and no late delivery brings it back.

CREATE SCHEMA IF NOT EXISTS github;

-- Users, bots and organizations: GitHub numbers all of them from one sequence, and any may own things.
CREATE TABLE IF NOT EXISTS github.person (
    id         bigint PRIMARY KEY,
    login      text NOT NULL,
    type       text NOT NULL,
    html_url   text
);

CREATE TABLE IF NOT EXISTS github.repository (
    id                bigint PRIMARY KEY,
    owner_id          bigint REFERENCES github.person,
    parent_id         bigint REFERENCES github.repository,
    name              text NOT NULL,
    full_name         text NOT NULL,
    private           boolean,
    archived          boolean,
    language          text,
    default_branch    text,
    stargazers_count  bigint,
    open_issues_count bigint,
    created_at        timestamptz,
    updated_at        timestamptz
);

CREATE TABLE IF NOT EXISTS github.label (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    name          text NOT NULL,
    color         text,
    description   text,
    deleted       boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS github.milestone (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    number        int NOT NULL,
    title         text NOT NULL,
    state         text NOT NULL,
    due_on        timestamptz,
    closed_at     timestamptz,
    updated_at    timestamptz NOT NULL,
    deleted       boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS github.issue (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    author_id     bigint REFERENCES github.person,
    milestone_id  bigint REFERENCES github.milestone,
    number        int NOT NULL,
    title         text NOT NULL,
    state         text,
    locked        boolean,
    comments      int,
    body          text,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    closed_at     timestamptz,
    deleted       boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS github.issue_label (
    issue_id bigint REFERENCES github.issue,
    label_id bigint REFERENCES github.label,
    PRIMARY KEY (issue_id, label_id)
);

CREATE TABLE IF NOT EXISTS github.pull_request (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    author_id     bigint REFERENCES github.person,
    number        int NOT NULL,
    title         text NOT NULL,
    state         text NOT NULL,
    draft         boolean,
    merged        boolean,
    head_ref      text NOT NULL,
    head_sha      text NOT NULL,
    base_ref      text NOT NULL,
    additions     int,
    deletions     int,
    changed_files int,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    closed_at     timestamptz,
    merged_at     timestamptz
);

CREATE TABLE IF NOT EXISTS github.review (
    id              bigint PRIMARY KEY,
    pull_request_id bigint NOT NULL REFERENCES github.pull_request,
    author_id       bigint REFERENCES github.person,
    state           text NOT NULL,
    commit_id       text NOT NULL,
    submitted_at    timestamptz
);

CREATE TABLE IF NOT EXISTS github.review_thread (
    node_id         text PRIMARY KEY,
    pull_request_id bigint NOT NULL REFERENCES github.pull_request,
    resolved        boolean NOT NULL,
    comments        int NOT NULL
);

CREATE TABLE IF NOT EXISTS github.discussion (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    author_id     bigint REFERENCES github.person,
    number        int NOT NULL,
    category      text NOT NULL,
    title         text NOT NULL,
    state         text NOT NULL,
    locked        boolean NOT NULL,
    comments      int NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

-- Comments on commits, reviews and discussions are numbered apart, so `about` is part of the key.
CREATE TABLE IF NOT EXISTS github.comment (
    about           text NOT NULL CHECK (about IN ('commit', 'review', 'discussion')),
    id              bigint NOT NULL,
    repository_id   bigint NOT NULL REFERENCES github.repository,
    author_id       bigint REFERENCES github.person,
    pull_request_id bigint REFERENCES github.pull_request,
    discussion_id   bigint REFERENCES github.discussion,
    commit_id       text,
    path            text,
    body            text NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    deleted         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (about, id)
);

CREATE TABLE IF NOT EXISTS github.push (
    repository_id bigint REFERENCES github.repository,
    ref           text,
    before        text,
    after         text,
    pusher        text NOT NULL,
    forced        boolean NOT NULL,
    commits       int NOT NULL,
    PRIMARY KEY (repository_id, ref, before, after)
);

CREATE TABLE IF NOT EXISTS github.commit (
    repository_id bigint REFERENCES github.repository,
    id            text,
    author        text NOT NULL,
    message       text NOT NULL,
    committed_at  timestamptz NOT NULL,
    added         int NOT NULL,
    removed       int NOT NULL,
    modified      int NOT NULL,
    PRIMARY KEY (repository_id, id)
);

CREATE TABLE IF NOT EXISTS github.ref (
    repository_id bigint REFERENCES github.repository,
    ref_type      text,
    ref           text,
    present       boolean NOT NULL,
    PRIMARY KEY (repository_id, ref_type, ref)
);

CREATE TABLE IF NOT EXISTS github.merge_group (
    repository_id bigint REFERENCES github.repository,
    head_sha      text,
    base_sha      text NOT NULL,
    head_ref      text NOT NULL,
    base_ref      text NOT NULL,
    PRIMARY KEY (repository_id, head_sha)
);

CREATE TABLE IF NOT EXISTS github.branch_rule (
    id                              bigint PRIMARY KEY,
    repository_id                   bigint NOT NULL REFERENCES github.repository,
    name                            text NOT NULL,
    required_approving_review_count int,
    required_status_checks          text[] NOT NULL,
    updated_at                      timestamptz NOT NULL,
    deleted                         boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS github.deploy_key (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    title         text NOT NULL,
    read_only     boolean NOT NULL,
    created_at    timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS github.deployment_review (
    workflow_run_id bigint,
    environment     text,
    repository_id   bigint NOT NULL REFERENCES github.repository,
    requestor_id    bigint REFERENCES github.person,
    reviewers       int NOT NULL,
    since           timestamptz NOT NULL,
    PRIMARY KEY (workflow_run_id, environment)
);

CREATE TABLE IF NOT EXISTS github.release (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    author_id     bigint REFERENCES github.person,
    tag_name      text NOT NULL,
    name          text,
    prerelease    boolean NOT NULL,
    published_at  timestamptz,
    deleted       boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS github.package (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    owner_id      bigint REFERENCES github.person,
    name          text NOT NULL,
    package_type  text NOT NULL,
    version       text,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS github.page_build (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    pusher_id     bigint REFERENCES github.person,
    status        text NOT NULL,
    commit        text,
    duration_ms   int,
    created_at    timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS github.wiki_page (
    repository_id bigint REFERENCES github.repository,
    page_name     text,
    title         text NOT NULL,
    sha           text NOT NULL,
    editor_id     bigint REFERENCES github.person,
    PRIMARY KEY (repository_id, page_name)
);

-- `starred_at` is null once the star was taken back.
CREATE TABLE IF NOT EXISTS github.star (
    repository_id bigint REFERENCES github.repository,
    person_id     bigint REFERENCES github.person,
    starred_at    timestamptz,
    PRIMARY KEY (repository_id, person_id)
);

CREATE TABLE IF NOT EXISTS github.watcher (
    repository_id bigint REFERENCES github.repository,
    person_id     bigint REFERENCES github.person,
    PRIMARY KEY (repository_id, person_id)
);

CREATE TABLE IF NOT EXISTS github.collaborator (
    repository_id bigint REFERENCES github.repository,
    person_id     bigint REFERENCES github.person,
    PRIMARY KEY (repository_id, person_id)
);

CREATE TABLE IF NOT EXISTS github.team (
    id              bigint PRIMARY KEY,
    organization_id bigint REFERENCES github.person,
    name            text NOT NULL,
    privacy         text,
    permission      text,
    deleted         boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS github.team_member (
    team_id   bigint REFERENCES github.team,
    person_id bigint REFERENCES github.person,
    present   boolean NOT NULL,
    PRIMARY KEY (team_id, person_id)
);

CREATE TABLE IF NOT EXISTS github.team_repository (
    team_id       bigint REFERENCES github.team,
    repository_id bigint REFERENCES github.repository,
    present       boolean NOT NULL,
    PRIMARY KEY (team_id, repository_id)
);

CREATE TABLE IF NOT EXISTS github.organization_member (
    organization_id bigint REFERENCES github.person,
    person_id       bigint REFERENCES github.person,
    role            text NOT NULL,
    state           text NOT NULL,
    PRIMARY KEY (organization_id, person_id)
);

CREATE TABLE IF NOT EXISTS github.block (
    organization_id bigint REFERENCES github.person,
    person_id       bigint REFERENCES github.person,
    blocked         boolean NOT NULL,
    PRIMARY KEY (organization_id, person_id)
);

CREATE TABLE IF NOT EXISTS github.installation (
    id                   bigint PRIMARY KEY,
    account_id           bigint REFERENCES github.person,
    app_id               bigint NOT NULL,
    repository_selection text NOT NULL,
    updated_at           timestamptz NOT NULL,
    suspended_at         timestamptz,
    deleted              boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS github.installation_repository (
    installation_id bigint REFERENCES github.installation,
    repository_id   bigint REFERENCES github.repository,
    present         boolean NOT NULL,
    PRIMARY KEY (installation_id, repository_id)
);

CREATE TABLE IF NOT EXISTS github.project (
    id            bigint PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES github.repository,
    creator_id    bigint REFERENCES github.person,
    number        int NOT NULL,
    name          text NOT NULL,
    state         text NOT NULL,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS github.project_column (
    id         bigint PRIMARY KEY,
    project_id bigint NOT NULL,
    name       text NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS github.project_card (
    id         bigint PRIMARY KEY,
    column_id  bigint NOT NULL,
    creator_id bigint REFERENCES github.person,
    note       text,
    archived   boolean NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted    boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS github.project_item (
    id              bigint PRIMARY KEY,
    organization_id bigint REFERENCES github.person,
    creator_id      bigint REFERENCES github.person,
    project_node_id text NOT NULL,
    content_type    text NOT NULL,
    updated_at      timestamptz NOT NULL,
    archived_at     timestamptz
);

CREATE TABLE IF NOT EXISTS github.purchase (
    account_id     bigint PRIMARY KEY REFERENCES github.person,
    plan           text NOT NULL,
    billing_cycle  text NOT NULL,
    unit_count     int NOT NULL,
    effective_date timestamptz NOT NULL,
    cancelled      boolean NOT NULL
);

CREATE TABLE IF NOT EXISTS github.sponsorship (
    node_id        text PRIMARY KEY,
    sponsor_id     bigint REFERENCES github.person,
    sponsorable_id bigint REFERENCES github.person,
    tier           text NOT NULL,
    created_at     timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS github.hook (
    id         bigint PRIMARY KEY,
    type       text NOT NULL,
    active     boolean NOT NULL,
    events     text[] NOT NULL,
    updated_at timestamptz NOT NULL
);

-- What has no table of its own: one line per delivery.
CREATE TABLE IF NOT EXISTS github.activity (
    delivery_id   uuid PRIMARY KEY,
    event         text NOT NULL,
    note          text NOT NULL,
    repository_id bigint REFERENCES github.repository,
    person_id     bigint REFERENCES github.person
);

-- Filled by the native handlers (Rust, linked with the daemon).
CREATE TABLE IF NOT EXISTS github.pipeline (
    kind         text,
    id           bigint,
    repository   text NOT NULL,
    name         text,
    status       text NOT NULL,
    conclusion   text,
    seconds      float8,
    slowest_step text,
    seen_at      timestamptz NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE TABLE IF NOT EXISTS github.alert (
    repository text,
    source     text,
    number     bigint,
    severity   text NOT NULL,
    urgency    int NOT NULL,
    state      text NOT NULL,
    PRIMARY KEY (repository, source, number)
);

-- A native handler runs at least once. What makes its effect happen once is this key, written in the
-- transaction of the effect itself.
CREATE TABLE IF NOT EXISTS github.native_run (
    job_id uuid PRIMARY KEY,
    runs   int NOT NULL DEFAULT 1
);

-- The ledger: every handler inside the database adds one line per delivery in the transaction of its
-- other writes. There is no unique constraint on purpose: an effect applied twice shows as two lines.
CREATE TABLE IF NOT EXISTS github.effect (
    delivery_id uuid NOT NULL,
    kind        text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One line per run of the schedule `digest`.
CREATE TABLE IF NOT EXISTS github.digest (
    taken_at           timestamptz PRIMARY KEY,
    effects            bigint NOT NULL,
    people             bigint NOT NULL,
    repositories       bigint NOT NULL,
    issues             bigint NOT NULL,
    pull_requests      bigint NOT NULL,
    busiest_event      text,
    busiest_effects    bigint,
    effects_per_second float8 NOT NULL
);
