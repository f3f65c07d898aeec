//! `ALTER EXTENSION forge UPDATE` equals a fresh installation; a library and SQL of different
//! versions say so.

use forge_tests::{
    Cluster, ClusterOptions, Installation, checkout, extension,
    script::{self, ExtensionFile},
};

use crate::{
    session::Session,
    stage::{cluster, own_cluster},
};

/// Everything the catalogs say about the extension's objects, in an order of its own.
const PICTURE: &str = "
WITH member AS (
    SELECT classid, objid FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
      AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'forge')),
relation AS (SELECT c.* FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid),
acl(class, oid, text) AS (
    SELECT o.class, o.oid, (SELECT string_agg(a::text, ',' ORDER BY a::text COLLATE \"C\") FROM unnest(o.acl) a)
    FROM (SELECT 'p', oid, proacl FROM pg_proc UNION ALL SELECT 'c', oid, relacl FROM pg_class UNION ALL SELECT 'n', oid, nspacl FROM pg_namespace) o(class, oid, acl)),
line(text) AS (
    SELECT 'function ' || p.oid::regprocedure || ' ' || pg_get_functiondef(p.oid) || ' ' || coalesce(acl.text, '')
        || ' ' || coalesce(obj_description(p.oid, 'pg_proc'), '')
    FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid JOIN acl ON acl.class = 'p' AND acl.oid = p.oid WHERE p.prokind = 'f'
    UNION ALL
    SELECT format('relation %s %s %s %s %s', c.oid::regclass, c.relkind, c.reloptions, acl.text, obj_description(c.oid, 'pg_class'))
    FROM relation c JOIN acl ON acl.class = 'c' AND acl.oid = c.oid
    UNION ALL
    SELECT 'view ' || c.oid::regclass || ' ' || pg_get_viewdef(c.oid) FROM relation c WHERE c.relkind = 'v'
    UNION ALL
    SELECT format('column %s.%s %s %s %s %s %s %s', c.oid::regclass, a.attname, row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum),
        format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attstorage, pg_get_expr(d.adbin, d.adrelid))
    FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    UNION ALL
    SELECT 'constraint ' || c.oid::regclass || ' ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
    FROM relation c JOIN pg_constraint k ON k.conrelid = c.oid
    UNION ALL
    SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM relation c JOIN pg_index i ON i.indrelid = c.oid
    UNION ALL
    SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM relation c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT format('schema %s %s', nspname, acl.text) FROM pg_namespace n JOIN acl ON acl.class = 'n' AND acl.oid = n.oid WHERE nspname LIKE 'forge%'
    UNION ALL
    SELECT 'dumped ' || u.relation::regclass || ' ' || u.condition
    FROM pg_extension, unnest(extconfig, extcondition) u(relation, condition) WHERE extname = 'forge'
    UNION ALL
    SELECT 'type ' || t.oid::regtype || ' ' || t.typtype::text
    FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid)
SELECT string_agg(regexp_replace(text, '_[0-9]{8}', '_DAY', 'g'), E'\\n' ORDER BY text COLLATE \"C\") FROM line";

fn picture(cluster: &Cluster, install: &str) -> String {
    let database = cluster.bare_database().unwrap();
    database.sql(install).unwrap();
    Session::open(&database.url())
        .unwrap()
        .value(PICTURE)
        .unwrap()
}

/// Versions with an install script of their own besides the current one.
fn older_versions() -> Vec<String> {
    let current = script::version().unwrap();
    let files = script::extension_files().unwrap();
    let versions = files
        .iter()
        .filter_map(|file| file.name.strip_prefix("forge--")?.strip_suffix(".sql"));
    versions
        .filter(|version| !version.contains("--") && *version != current)
        .map(str::to_owned)
        .collect()
}

/// Fails with the lines that differ, not with the thousands that do not.
fn assert_same(version: &str, upgraded: &str, fresh: &str) {
    let only = |a: &str, b: &str| -> Vec<String> {
        let b: std::collections::HashSet<&str> = b.lines().collect();
        let lines = a.lines().filter(|line| !b.contains(line));
        lines.map(str::to_owned).collect()
    };
    assert!(
        upgraded == fresh,
        "from {version}\nonly after the upgrade: {:#?}\nonly when fresh: {:#?}",
        only(upgraded, fresh),
        only(fresh, upgraded)
    );
}

#[test]
fn upgrade_equals_fresh() {
    let cluster = cluster();
    assert!(
        !older_versions().is_empty(),
        "there is nothing to upgrade from"
    );
    let fresh = picture(cluster, "CREATE EXTENSION forge;");
    assert!(
        fresh.lines().count() > 300,
        "the picture shows little:\n{fresh}"
    );
    for version in older_versions() {
        let upgraded = picture(
            cluster,
            &format!("CREATE EXTENSION forge VERSION '{version}'; ALTER EXTENSION forge UPDATE;"),
        );
        assert_same(&version, &upgraded, &fresh);
    }
    // The picture does see a difference.
    for change in [
        "GRANT EXECUTE ON FUNCTION forge.version() TO PUBLIC",
        "ALTER TABLE forge_private.queue ADD COLUMN x int",
        "COMMENT ON VIEW forge.jobs IS 'other'",
        "ALTER FUNCTION forge.version() COST 7",
    ] {
        assert_ne!(
            picture(cluster, &format!("CREATE EXTENSION forge; {change};")),
            fresh,
            "{change}"
        );
    }
}

/// Jobs in every state, what holds them, and a schedule; a transaction each, as nobody claims what it has enqueued itself.
const STATE: &str = "
SELECT forge.register_job('task', 'worker', backoff => 'fixed(1h)', max_attempts => 3);
SELECT forge.register_job('paced', 'worker', queue => 'paced', rate_limit => '5/hour', max_concurrency => 10);
SELECT count(*) FROM forge.enqueue_many('task', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 100) n));
SELECT count(*) FROM forge.enqueue_many('paced', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 10) n));
SELECT forge.enqueue('task', '{\"n\": 101}', unique_key => 'held');
SELECT forge.enqueue('task', '{\"n\": 102}', delay => '1 hour', tags => '{x}');
SELECT forge.complete(lease, ARRAY[id], ARRAY['{\"done\": 1}']::jsonb[]) FROM forge.claim('w');
SELECT forge.fail(lease, id, 'once') FROM forge.claim('w');
SELECT forge.fail(lease, id, 'never', retry => false) FROM forge.claim('w');
CREATE TABLE public.held AS SELECT * FROM forge.claim('w', max_jobs => 7, lease => '1 hour');
SELECT forge.schedule('nightly', '0 3 * * *', 'task', timezone => 'Europe/Berlin');
SELECT forge.trigger('nightly');
SELECT forge.create_api_key('key', role => 'forge_service');
SELECT forge.register_webhook('hook', 'task', 'github', 'hush hush');
";

/// What must be the same before and after.
const STATE_PICTURE: &str = "SELECT jsonb_pretty(jsonb_build_object(
    'jobs', (SELECT jsonb_agg(to_jsonb(j) ORDER BY j.id) FROM (SELECT id, kind, queue, priority, state, args, attempt, max_attempts,
             run_at, enqueued_at, finished_at, result, error, tags FROM forge.jobs) j),
    'attempts', (SELECT jsonb_agg(to_jsonb(a) ORDER BY a.job_id, a.attempt) FROM forge.job_attempts a),
    'queues', (SELECT jsonb_agg(to_jsonb(q) ORDER BY q.queue) FROM (SELECT queue, paused, ready, scheduled, running, retrying, dead FROM forge.queues) q),
    'schedules', (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.name) FROM forge.schedules s),
    'keys', (SELECT jsonb_agg(to_jsonb(k) ORDER BY k.name) FROM (SELECT name, role, created_at FROM forge.api_keys) k)))";

#[test]
fn state_survives_an_upgrade() {
    let cluster = cluster();
    for version in older_versions() {
        let database = cluster.bare_database().unwrap();
        let session = Session::open(&database.url()).unwrap();
        let run = |script: &str| session.run(script).unwrap();
        run(&format!("CREATE EXTENSION forge VERSION '{version}'"));
        STATE.split(";\n").for_each(run);
        let before: String = session.value(STATE_PICTURE).unwrap();
        run("ALTER EXTENSION forge UPDATE");
        let after: String = session.value(STATE_PICTURE).unwrap();
        assert_eq!(after, before, "from {version}");

        // And it is alive: leases and keys of before hold, everything that waited runs, once.
        let finished: i64 = session
            .value("SELECT sum(forge.complete(lease, ids)) FROM (SELECT lease, array_agg(id) AS ids FROM public.held GROUP BY lease) h")
            .unwrap();
        assert_eq!(finished, 7, "from {version}");
        let kept: bool = session
            .value("SELECT forge.enqueue('task', unique_key => 'held') = (SELECT id FROM forge.jobs WHERE args ->> 'n' = '101')")
            .unwrap();
        assert!(kept, "a unique key was forgotten, from {version}");
        let claimed = "SELECT count(DISTINCT id) FROM forge.claim('w', max_jobs => 1000)";
        // Of 100 ten were taken; one more holds the key and one comes from the schedule.
        assert_eq!(session.value::<i64>(claimed).unwrap(), 92, "from {version}");
        let paced = "SELECT count(*) FROM forge.claim('w', '{paced}', max_jobs => 100)";
        assert_eq!(session.value::<i64>(paced).unwrap(), 5, "from {version}");
        assert_eq!(session.value::<i64>(paced).unwrap(), 0, "from {version}");
    }
}

#[test]
fn a_daemon_role_gets_what_is_new() {
    let cluster = cluster();
    // Makes the role.
    cluster.database().unwrap();
    let rights =
        "SELECT string_agg(p.oid::regprocedure::text, ' ' ORDER BY p.oid::regprocedure::text)
        FROM pg_proc p, aclexplode(p.proacl) a WHERE a.grantee = 'forge_daemon'::regrole";
    let with_role = |install: &str| -> String {
        let database = cluster.bare_database().unwrap();
        let session = Session::open(&database.url()).unwrap();
        session.run(install).unwrap();
        session.value(rights).unwrap()
    };
    let fresh =
        with_role("CREATE EXTENSION forge; SELECT forge.setup_daemon_role('forge_daemon');");
    for version in older_versions() {
        let upgraded = with_role(&format!(
            "CREATE EXTENSION forge VERSION '{version}'; SELECT forge.setup_daemon_role('forge_daemon'); ALTER EXTENSION forge UPDATE;"
        ));
        assert_eq!(upgraded, fresh, "from {version}");
    }
}

#[test]
fn a_library_of_another_version_says_so() {
    let base = checkout::state_dir("forge-pg-other").unwrap();
    let installation = Installation::private_in(15, &base).unwrap();
    let current = script::version().unwrap();
    let files: Vec<ExtensionFile> = script::extension_files()
        .unwrap()
        .into_iter()
        .map(|file| ExtensionFile {
            name: file
                .name
                .replace(&format!("forge--{current}.sql"), "forge--99.9.9.sql"),
            text: if file.name == "forge.control" {
                file.text.replace(&current, "99.9.9")
            } else {
                file.text
            },
        })
        .collect();
    extension::install_files(&installation, &extension::library(15), &files).unwrap();
    let cluster = own_cluster(ClusterOptions {
        installation: Some(installation),
        install_extension: false,
        ..ClusterOptions::default()
    });
    let database = cluster.bare_database().unwrap();
    database.sql("CREATE EXTENSION forge;").unwrap();
    let status = database.sql("SELECT forge.status()").unwrap();
    assert!(
        status.contains("99.9.9") && status.contains(&current),
        "{status}"
    );
    let warnings = database
        .sql("SELECT forge.status() ->> 'warnings'")
        .unwrap();
    assert!(warnings.contains("99.9.9"), "{warnings}");
}
