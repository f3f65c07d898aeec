-- Organizations, teams, stars, installations, purchases.

-- Stars and forks: who takes an interest.
CREATE OR REPLACE FUNCTION github.on_star(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.star AS s
    VALUES ((p->>'repository_id')::bigint, (p->>'sender_id')::bigint, github.as_time(p->'starred_at'))
    ON CONFLICT (repository_id, person_id) DO UPDATE SET starred_at = excluded.starred_at
    WHERE s.starred_at IS DISTINCT FROM excluded.starred_at;
END $$;

CREATE OR REPLACE FUNCTION github.on_watch(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.watcher VALUES ((p->>'repository_id')::bigint, (p->>'sender_id')::bigint)
    ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION github.on_fork(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    fork bigint := github.keep_repository(p->'forkee');
BEGIN
    UPDATE github.repository r SET parent_id = (p->>'repository_id')::bigint
    WHERE r.id = fork AND r.parent_id IS DISTINCT FROM (p->>'repository_id')::bigint;
END $$;

-- The repository itself is kept by `arrive`, whatever the action.
CREATE OR REPLACE FUNCTION github.on_repository(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM github.arrive(job);
END $$;

CREATE OR REPLACE FUNCTION github.on_member(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.collaborator VALUES ((p->>'repository_id')::bigint, github.keep_person(p->'member'))
    ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION github.on_organization(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    organization bigint := (p->>'organization_id')::bigint;
    person bigint := github.keep_person(coalesce(p#>'{membership,user}', p->'user'));
BEGIN
    IF p->>'action' = 'renamed' THEN
        UPDATE github.person SET login = p#>>'{organization,login}'
        WHERE id = organization AND login <> p#>>'{organization,login}';
    ELSIF person IS NOT NULL THEN
        INSERT INTO github.organization_member AS m
        VALUES (organization, person, coalesce(p#>>'{membership,role}', p#>>'{invitation,role}'),
                coalesce(p#>>'{membership,state}', 'invited'))
        ON CONFLICT (organization_id, person_id) DO UPDATE SET (role, state) = (excluded.role, excluded.state)
        -- Who has joined is not invited again by a late delivery.
        WHERE excluded.state <> 'invited' AND (m.role, m.state) <> (excluded.role, excluded.state);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION github.on_block(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
BEGIN
    INSERT INTO github.block AS b
    VALUES ((p->>'organization_id')::bigint, github.keep_person(p->'blocked_user'), p->>'action' = 'blocked')
    ON CONFLICT (organization_id, person_id) DO UPDATE SET blocked = excluded.blocked
    WHERE b.blocked <> excluded.blocked;
END $$;

CREATE OR REPLACE FUNCTION github.keep_team(team jsonb, organization_id bigint, deleted boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    row github.team := jsonb_populate_record(null::github.team, team || jsonb_build_object(
        'organization_id', organization_id, 'deleted', deleted OR coalesce((team->>'deleted')::boolean, false)));
BEGIN
    INSERT INTO github.team AS t SELECT row.*
    WHERE NOT EXISTS (SELECT FROM github.team o WHERE o.id = row.id AND o.deleted >= row.deleted
                      AND (o.privacy IS NOT NULL OR row.privacy IS NULL))
    ON CONFLICT (id) DO UPDATE SET
        (privacy, permission, deleted)
      = (coalesce(excluded.privacy, t.privacy), coalesce(excluded.permission, t.permission), t.deleted OR excluded.deleted);
    RETURN row.id;
END $$;

-- team, team_add and membership.
CREATE OR REPLACE FUNCTION github.on_team(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    team bigint := github.keep_team(p->'team', (p->>'organization_id')::bigint, (p->>'deleted')::boolean);
    present boolean := NOT coalesce(p->>'action', '') LIKE 'removed%';
BEGIN
    IF job->>'event' = 'membership' THEN
        INSERT INTO github.team_member AS m VALUES (team, github.keep_person(p->'member'), present)
        ON CONFLICT (team_id, person_id) DO UPDATE SET present = excluded.present
        WHERE m.present <> excluded.present;
    ELSIF p->>'repository_id' IS NOT NULL THEN
        INSERT INTO github.team_repository AS m VALUES (team, (p->>'repository_id')::bigint, present)
        ON CONFLICT (team_id, repository_id) DO UPDATE SET present = excluded.present
        WHERE m.present <> excluded.present;
    END IF;
END $$;

-- installation and installation_repositories.
CREATE OR REPLACE FUNCTION github.on_installation(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    app jsonb := p->'installation';
    row github.installation;
BEGIN
    row := jsonb_populate_record(row, app - 'updated_at');
    row.account_id := github.keep_person(app->'account');
    row.updated_at := github.as_time(app->'updated_at');
    row.deleted := (p->>'deleted')::boolean;
    INSERT INTO github.installation AS i SELECT row.*
    ON CONFLICT (id) DO UPDATE SET
        (repository_selection, updated_at, suspended_at, deleted)
      = (excluded.repository_selection, greatest(i.updated_at, excluded.updated_at), excluded.suspended_at, i.deleted OR excluded.deleted)
    WHERE excluded.updated_at > i.updated_at OR excluded.deleted > i.deleted;

    INSERT INTO github.installation_repository AS ir
    SELECT row.id, github.keep_repository(repo), present
    FROM (SELECT DISTINCT ON (repo->'id') repo, present
          FROM (SELECT r AS repo, true AS present
                FROM jsonb_array_elements(coalesce(nullif(p->'repositories', 'null'), '[]')
                                       || coalesce(p->'repositories_added', '[]')) r
                UNION ALL
                SELECT r, false FROM jsonb_array_elements(coalesce(p->'repositories_removed', '[]')) r) listed
          ORDER BY repo->'id', present) named
    ON CONFLICT (installation_id, repository_id) DO UPDATE SET present = excluded.present
    WHERE ir.present <> excluded.present;
END $$;

CREATE OR REPLACE FUNCTION github.on_marketplace_purchase(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    sale jsonb := p->'marketplace_purchase';
BEGIN
    INSERT INTO github.purchase AS s
    VALUES (github.keep_person(sale->'account'), sale#>>'{plan,name}', sale->>'billing_cycle',
            (sale->>'unit_count')::int, github.as_time(p->'effective_date'), p->>'action' = 'cancelled')
    ON CONFLICT (account_id) DO UPDATE SET
        (plan, billing_cycle, unit_count, effective_date, cancelled)
      = (excluded.plan, excluded.billing_cycle, excluded.unit_count, excluded.effective_date, excluded.cancelled)
    WHERE excluded.effective_date > s.effective_date;
END $$;

CREATE OR REPLACE FUNCTION github.on_sponsorship(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p jsonb := github.arrive(job);
    deal jsonb := p->'sponsorship';
BEGIN
    INSERT INTO github.sponsorship
    VALUES (deal->>'node_id', github.keep_person(deal->'sponsor'), github.keep_person(deal->'sponsorable'),
            deal#>>'{tier,name}', github.as_time(deal->'created_at'))
    ON CONFLICT DO NOTHING;
END $$;
