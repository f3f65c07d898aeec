//! The upgrade script of the version under way: what nobody can derive is written by hand, the rest is the install script
//! without what the last released version has already.
//!
//! Invariant: the same files give the same script. That it makes a fresh installation out of an old one is for a test to
//! show, on a server.

use std::collections::HashSet;

use super::statement::{Subject, signature, split, subject};

const HEAD: &str = "-- complain if script is sourced in psql, rather than via ALTER EXTENSION\n\
                    \\echo Use \"ALTER EXTENSION forge UPDATE\" to load this file. \\quit\n";

/// Gives every daemon's role what is new.
const DAEMON_ROLES: &str = "
DO $$
DECLARE
    daemon regrole;
BEGIN
    FOR daemon IN
        SELECT DISTINCT a.grantee::regrole
        FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
        WHERE p.pronamespace = 'forge_private'::regnamespace AND p.proname = 'node_register'
          AND a.grantee NOT IN (p.proowner, 0)
    LOOP
        PERFORM forge.setup_daemon_role(daemon);
    END LOOP;
END
$$;
";

/// Composes the script. `by_hand` comes first: tables altered, what is in the way dropped. What it drops is made again, with
/// its comment, when the new version has it. `grants` is run again as a whole.
#[must_use]
pub fn compose(released: &str, new: &str, grants: &str, by_hand: &str) -> String {
    let mut script = String::from(HEAD);
    script.push_str(by_hand.trim());
    script.push('\n');

    let by_hand: HashSet<Subject> = split(by_hand)
        .into_iter()
        .filter(|statement| statement.starts_with("DROP"))
        .filter_map(subject)
        .collect();
    let mut before = split(released);
    before.retain(|s| subject(s).is_none_or(|subject| !by_hand.contains(&subject)));
    let after = split(new);

    let gone = gone(&before, &after);
    for subject in &gone {
        let sort = subject.sort.to_uppercase();
        script.push_str(&format!("\nDROP {sort} {};\n", subject.name));
    }
    before.retain(|s| subject(s).is_none_or(|subject| !gone.contains(&subject)));

    let known: HashSet<&str> = before.iter().copied().collect();
    let made: HashSet<Subject> = before.iter().filter_map(|s| subject(s)).collect();
    let grants: HashSet<&str> = split(grants).into_iter().collect();
    for statement in after {
        if grants.contains(statement) || known.contains(statement) {
            continue;
        }
        if let Some(text) = statement_again(statement, &made) {
            script.push_str(&format!("\n{text};\n"));
        }
    }
    for statement in split_in_order(new, &grants) {
        script.push_str(&format!("\n{statement};\n"));
    }
    script.push_str(DAEMON_ROLES);
    script
}

fn split_in_order<'a>(new: &'a str, grants: &'a HashSet<&str>) -> impl Iterator<Item = &'a str> {
    split(new).into_iter().filter(|s| grants.contains(s))
}

/// Functions that can only be replaced by being dropped, and functions and views that are no more.
fn gone(before: &[&str], after: &[&str]) -> Vec<Subject> {
    let creates = |statement: &str, sort: &str| {
        statement.starts_with("CREATE") && subject(statement).is_some_and(|s| s.sort == sort)
    };
    let kept: HashSet<&str> = after
        .iter()
        .filter(|s| creates(s, "function"))
        .map(|s| signature(s))
        .collect();
    let views: HashSet<Subject> = after
        .iter()
        .filter(|s| creates(s, "view"))
        .filter_map(|s| subject(s))
        .collect();
    // Views first: they use functions.
    let lost_views = before
        .iter()
        .filter(|s| creates(s, "view"))
        .filter_map(|s| subject(s))
        .filter(|s| !views.contains(s));
    let lost_functions = before
        .iter()
        .filter(|s| creates(s, "function") && !kept.contains(signature(s)))
        .filter_map(|s| subject(s));
    lost_views.chain(lost_functions).collect()
}

/// A statement that the old version did not have, as the old version can run it; `None` when it makes what is there
/// already in another form, which is for the part written by hand to change.
fn statement_again(statement: &str, made: &HashSet<Subject>) -> Option<String> {
    let Some(subject) = subject(statement).filter(|_| statement.starts_with("CREATE")) else {
        return Some(statement.to_owned());
    };
    match subject.sort.as_str() {
        "function" | "view" | "trigger" if !statement.starts_with("CREATE OR REPLACE") => {
            Some(statement.replacen("CREATE", "CREATE OR REPLACE", 1))
        }
        "table" | "sequence" | "type" | "index" | "schema" if made.contains(&subject) => None,
        _ => Some(statement.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "CREATE TABLE t (a int); CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';
        COMMENT ON FUNCTION f(int) IS 'f'; CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION gone() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW v AS SELECT 1 AS a;
        COMMENT ON VIEW v IS 'v'; CREATE VIEW same AS SELECT 1; GRANT SELECT ON v TO x;";

    fn statements(new: &str, by_hand: &str) -> Vec<String> {
        let script = compose(OLD, new, "GRANT SELECT ON v TO x;", by_hand);
        let mut all: Vec<String> = split(&script).iter().map(|s| (*s).to_owned()).collect();
        // The last one is for the daemon's roles.
        assert!(all.pop().unwrap().contains("setup_daemon_role"));
        all
    }

    #[test]
    fn only_what_differs() {
        let new = OLD
            .replace(
                "g() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "g() RETURNS int LANGUAGE sql AS 'SELECT 2'",
            )
            .replace("SELECT 1 AS a", "SELECT 2 AS a")
            .replace(
                "CREATE TABLE t (a int);",
                "CREATE TABLE t (a int, b int); CREATE TABLE u ();",
            )
            .replace(
                "CREATE FUNCTION gone() RETURNS int LANGUAGE sql AS 'SELECT 1';",
                "",
            );
        assert_eq!(
            statements(&new, "ALTER TABLE t ADD COLUMN b int;"),
            [
                "ALTER TABLE t ADD COLUMN b int",
                "DROP FUNCTION gone",
                "CREATE TABLE u ()",
                "CREATE OR REPLACE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 2'",
                "CREATE OR REPLACE VIEW v AS SELECT 2 AS a",
                "GRANT SELECT ON v TO x",
            ]
        );
    }

    #[test]
    fn another_signature_is_another_function() {
        let new = OLD.replace("f(a int) RETURNS int", "f(a int, b int = 1) RETURNS int");
        assert_eq!(
            statements(&new, ""),
            [
                "DROP FUNCTION f",
                "CREATE OR REPLACE FUNCTION f(a int, b int = 1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "COMMENT ON FUNCTION f(int) IS 'f'",
                "GRANT SELECT ON v TO x",
            ]
        );
    }

    #[test]
    fn what_is_dropped_by_hand_is_made_again() {
        assert_eq!(
            statements(OLD, "DROP VIEW v;"),
            [
                "DROP VIEW v",
                "CREATE OR REPLACE VIEW v AS SELECT 1 AS a",
                "COMMENT ON VIEW v IS 'v'",
                "GRANT SELECT ON v TO x",
            ]
        );
    }
}
