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
line(text) AS (
    SELECT 'function ' || p.oid::regprocedure || ' ' || pg_get_functiondef(p.oid) || ' ' || coalesce(p.proacl::text, '')
        || ' ' || coalesce(obj_description(p.oid, 'pg_proc'), '')
    FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid WHERE p.prokind = 'f'
    UNION ALL
    SELECT format('relation %s %s %s %s %s', c.oid::regclass, c.relkind, c.reloptions, c.relacl, obj_description(c.oid, 'pg_class'))
    FROM relation c
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
    SELECT format('schema %s %s', nspname, nspacl) FROM pg_namespace WHERE nspname LIKE 'forge%'
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

#[test]
fn upgrade_equals_fresh() {
    let cluster = cluster();
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
        assert_eq!(upgraded, fresh, "from {version}");
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

#[test]
fn state_survives_an_upgrade() {
    let cluster = cluster();
    for version in older_versions() {
        let database = cluster.bare_database().unwrap();
        database
            .sql(&format!(
                "CREATE EXTENSION forge VERSION '{version}';
                 SELECT forge.register_job('task', 'worker');
                 SELECT count(*) FROM forge.enqueue_many('task', ARRAY(SELECT '{{}}'::jsonb FROM generate_series(1, 100)));
                 ALTER EXTENSION forge UPDATE;"
            ))
            .unwrap();
        let claimed = database
            .sql("SELECT count(*) FROM forge.claim('w', max_jobs => 1000)")
            .unwrap();
        assert_eq!(claimed, "100", "from {version}");
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
