-- Tells Forge what to do with each delivery. Running this file twice changes nothing.
--
-- Settings it reads (SET, or set_config, in the session that runs it):
--   github_events.secret     the webhook's secret, as typed into GitHub's settings page
--   github_events.receiver   base URL of the receiver process, without a slash at the end

-- One endpoint, POST /v1/hooks/github. A verified delivery becomes one job of the kind github.EVENT,
-- however often GitHub sends it.
SELECT forge.register_webhook('github', 'github.{event}', scheme => 'github',
                              secret => current_setting('github_events.secret'));

-- SQL functions: their writes and the job's completion commit together, so the effect happens exactly once.
SELECT forge.register_job('github.' || event, 'sql:github.' || function, queue => queue, priority => priority,
                          backoff => 'exponential(1s,10s)', timeout => interval '30 s')
FROM (VALUES
    ('branch_protection_rule',      'on_branch_rule',          'code',   'high'),
    ('commit_comment',              'on_comment',              'talk',   'normal'),
    ('create',                      'on_ref',                  'code',   'normal'),
    ('delete',                      'on_ref',                  'code',   'normal'),
    ('deploy_key',                  'on_deploy_key',           'code',   'high'),
    ('deployment_review',           'on_deployment_review',    'code',   'high'),
    ('discussion',                  'on_discussion',           'talk',   'normal'),
    ('discussion_comment',          'on_comment',              'talk',   'normal'),
    ('fork',                        'on_fork',                 'people', 'low'),
    ('github_app_authorization',    'on_activity',             'people', 'low'),
    ('gollum',                      'on_gollum',               'talk',   'low'),
    ('installation',                'on_installation',         'people', 'high'),
    ('installation_repositories',   'on_installation',         'people', 'high'),
    ('issues',                      'on_issues',               'talk',   'normal'),
    ('label',                       'on_label',                'talk',   'low'),
    ('marketplace_purchase',        'on_marketplace_purchase', 'people', 'high'),
    ('member',                      'on_member',               'people', 'normal'),
    ('membership',                  'on_team',                 'people', 'normal'),
    ('merge_group',                 'on_merge_group',          'code',   'high'),
    ('milestone',                   'on_milestone',            'talk',   'low'),
    ('org_block',                   'on_block',                'people', 'high'),
    ('organization',                'on_organization',         'people', 'normal'),
    ('package',                     'on_package',              'code',   'normal'),
    ('page_build',                  'on_page_build',           'code',   'low'),
    ('ping',                        'on_ping',                 'people', 'background'),
    ('project',                     'on_project',              'talk',   'low'),
    ('project_card',                'on_project_card',         'talk',   'low'),
    ('project_column',              'on_project_column',       'talk',   'low'),
    ('projects_v2_item',            'on_project_item',         'talk',   'low'),
    ('public',                      'on_activity',             'people', 'low'),
    ('pull_request',                'on_pull_request',         'code',   'high'),
    ('pull_request_review',         'on_review',               'code',   'high'),
    ('pull_request_review_comment', 'on_comment',              'talk',   'normal'),
    ('pull_request_review_thread',  'on_review_thread',        'code',   'normal'),
    ('push',                        'on_push',                 'code',   'critical'),
    ('release',                     'on_release',              'code',   'high'),
    ('repository',                  'on_repository',           'code',   'normal'),
    ('repository_import',           'on_activity',             'people', 'low'),
    ('sponsorship',                 'on_sponsorship',          'people', 'normal'),
    ('star',                        'on_star',                 'people', 'background'),
    ('team',                        'on_team',                 'people', 'normal'),
    ('team_add',                    'on_team',                 'people', 'normal'),
    ('watch',                       'on_watch',                'people', 'background')
) AS job(event, function, queue, priority);

-- HTTPS calls to the receiver, signed as Standard Webhooks with the nodes' outbound.signing_secret. The
-- receiver fails a share of them, so they are tried again soon, up to five times.
SELECT forge.register_job('github.' || event, current_setting('github_events.receiver') || '/hooks/' || service,
                          queue => 'callout', priority => priority, max_attempts => 5,
                          backoff => 'exponential(1s,5s)', timeout => interval '2 s')
FROM (VALUES
    ('check_run',           'checks',      'normal'),
    ('check_suite',         'checks',      'normal'),
    ('deployment',          'deployments', 'high'),
    ('deployment_status',   'deployments', 'high'),
    ('meta',                'admin',       'low'),
    ('repository_dispatch', 'admin',       'normal'),
    ('security_advisory',   'security',    'critical'),
    ('status',              'checks',      'normal')
) AS job(event, service, priority);

-- Rust functions linked with the daemon (src/native.rs).
SELECT forge.register_job('github.' || event, 'native:' || function, queue => 'native', priority => priority,
                          backoff => 'exponential(1s,10s)', timeout => interval '30 s')
FROM (VALUES
    ('code_scanning_alert',            'alert',    'critical'),
    ('dependabot_alert',               'alert',    'critical'),
    ('repository_vulnerability_alert', 'alert',    'critical'),
    ('workflow_dispatch',              'pipeline', 'normal'),
    ('workflow_job',                   'pipeline', 'normal'),
    ('workflow_run',                   'pipeline', 'normal')
) AS job(event, function, priority);

-- A worker in another language, over gRPC (examples/python-worker): it goes to the workers that have
-- the capability `python`.
SELECT forge.register_job('github.issue_comment', 'worker:python', queue => 'worker', capability => 'python',
                          backoff => 'exponential(1s,10s)', timeout => interval '30 s');

SELECT forge.register_job('digest', 'sql:github.take_digest', queue => 'digest', priority => 'high');
SELECT forge.schedule('digest', 'every 10s', 'digest');
