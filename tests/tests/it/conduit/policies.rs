//! Row-level security decides, whatever statement the caller's role runs.

use crate::stage::Stage;

/// A mutation that runs any statement as its caller and answers how many rows it touched.
const RUN: &str = "
    CREATE FUNCTION public.run(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE
        touched bigint;
    BEGIN
        EXECUTE statement;
        GET DIAGNOSTICS touched = ROW_COUNT;
        RETURN touched;
    END $$;
    SELECT forge.register_mutation('run', 'public.run', isolation => 'read committed');";

/// Calls as the gateway does; the answer's body, or the error's code.
fn call(
    stage: &Stage<'_>,
    subject: Option<&str>,
    name: &str,
    args: &serde_json::Value,
) -> Result<serde_json::Value, String> {
    let identity = match subject {
        Some(subject) => {
            serde_json::json!({"role": "forge_user", "subject": subject, "claims": {}, "kind": "session"})
        }
        None => {
            serde_json::json!({"role": "forge_anon", "subject": null, "claims": {}, "kind": "anonymous"})
        }
    };
    let body = stage.value_of::<Option<String>>(
        "SELECT body FROM forge_private.gateway_call($1, $2, $3, '{}')",
        &[&identity.to_string(), &name, &args.to_string()],
    );
    match body {
        Ok(body) => Ok(serde_json::from_str(body.as_deref().unwrap_or("null")).unwrap()),
        Err(error) => {
            let code = error
                .downcast_ref::<postgres::Error>()
                .and_then(postgres::Error::code);
            Err(code.map_or_else(|| format!("{error:#}"), |code| code.code().to_owned()))
        }
    }
}

/// Alice (conduit:1) has written an article, commented on it, likes it, follows Bob (conduit:2).
fn cast() -> Stage<'static> {
    let stage = Stage::new();
    stage.load(super::INSTALL);
    stage.run(RUN).unwrap();
    stage
        .run("SET default_transaction_isolation = 'serializable'")
        .unwrap();
    for name in ["alice", "bob"] {
        let user = serde_json::json!({"user":
            {"username": name, "email": format!("{name}@mail.com"), "password": "password"}});
        call(&stage, None, "conduit.register_user", &user).unwrap();
    }
    let alice = Some("conduit:1");
    let article = serde_json::json!({"article":
        {"title": "Hers", "description": "d", "body": "as written", "tagList": ["one"]}});
    call(&stage, alice, "conduit.create_article", &article).unwrap();
    let comment = serde_json::json!({"slug": "hers", "comment": {"body": "c"}});
    call(&stage, alice, "conduit.create_comment", &comment).unwrap();
    let slug = serde_json::json!({"slug": "hers"});
    call(&stage, alice, "conduit.favorite_article", &slug).unwrap();
    let bob = serde_json::json!({"username": "bob"});
    call(&stage, alice, "conduit.follow_profile", &bob).unwrap();
    stage
}

/// Rows touched, or the code of the refusal.
const FORBIDDEN: Result<i64, &str> = Err("42501");

fn check(stage: &Stage<'_>, subject: Option<&str>, cases: &[(&str, Result<i64, &str>)]) {
    for (statement, expected) in cases {
        let answer = call(
            stage,
            subject,
            "run",
            &serde_json::json!({"statement": statement}),
        );
        let touched = answer.map(|rows| rows.as_i64().unwrap());
        assert_eq!(
            touched.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|code| *code),
            "{statement} by {subject:?}"
        );
    }
}

/// What must not have changed.
fn assert_hers_is_as_written(stage: &Stage<'_>) {
    let rows: String = stage
        .value(
            "SELECT concat_ws(' ', a.body, a.author_id,
                (SELECT string_agg(tag, ',') FROM conduit.article_tag),
                (SELECT count(*) FROM conduit.comment), (SELECT count(*) FROM conduit.favorite), (SELECT count(*) FROM conduit.follow),
                (SELECT string_agg(username || ':' || coalesce(bio, '-'), ',' ORDER BY id) FROM conduit.profile))
             FROM conduit.article a WHERE a.slug = 'hers'",
        )
        .unwrap();
    assert_eq!(rows, "as written 1 one 1 1 1 alice:-,bob:mine");
}

#[test]
fn another_users_rows_are_out_of_reach_of_any_statement() {
    let stage = cast();
    check(
        &stage,
        Some("conduit:2"),
        &[
            ("SELECT FROM conduit.article", Ok(1)),
            ("UPDATE conduit.article SET body = 'forged'", Ok(0)),
            ("UPDATE conduit.article SET author_id = 2", FORBIDDEN),
            ("DELETE FROM conduit.article", Ok(0)),
            (
                "INSERT INTO conduit.article (slug, author_id, title, description, body) VALUES ('s', 1, 't', 'd', 'b')",
                FORBIDDEN,
            ),
            (
                "INSERT INTO conduit.article_tag VALUES (1, 'forged')",
                FORBIDDEN,
            ),
            ("DELETE FROM conduit.article_tag", Ok(0)),
            (
                "INSERT INTO conduit.comment (article_id, author_id, body) VALUES (1, 1, 'forged')",
                FORBIDDEN,
            ),
            ("UPDATE conduit.comment SET body = 'forged'", FORBIDDEN),
            ("DELETE FROM conduit.comment", Ok(0)),
            (
                "INSERT INTO conduit.favorite (profile_id, article_id) VALUES (1, 1)",
                FORBIDDEN,
            ),
            ("DELETE FROM conduit.favorite", Ok(0)),
            ("SELECT FROM conduit.follow", Ok(0)),
            (
                "INSERT INTO conduit.follow (follower_id, followed_id) VALUES (1, 2)",
                FORBIDDEN,
            ),
            ("DELETE FROM conduit.follow", Ok(0)),
            ("UPDATE conduit.profile SET bio = 'mine'", Ok(1)),
            (
                "INSERT INTO conduit.profile (username) VALUES ('eve')",
                FORBIDDEN,
            ),
            ("DELETE FROM conduit.profile", FORBIDDEN),
            ("SELECT email FROM conduit.account", Ok(1)),
            ("SELECT password FROM conduit.account", FORBIDDEN),
            ("UPDATE conduit.account SET email = 'b2@mail.com'", Ok(1)),
            ("TRUNCATE conduit.article CASCADE", FORBIDDEN),
            (
                "ALTER TABLE conduit.article DISABLE ROW LEVEL SECURITY",
                FORBIDDEN,
            ),
        ],
    );
    assert_hers_is_as_written(&stage);
    let hers = "SELECT email FROM conduit.account WHERE profile_id = 1";
    assert_eq!(stage.value::<String>(hers).unwrap(), "alice@mail.com");

    // The same statements reach what is one's own.
    check(
        &stage,
        Some("conduit:1"),
        &[
            ("UPDATE conduit.article SET body = 'rewritten'", Ok(1)),
            ("DELETE FROM conduit.article_tag", Ok(1)),
            ("DELETE FROM conduit.comment", Ok(1)),
            ("DELETE FROM conduit.favorite", Ok(1)),
            ("DELETE FROM conduit.follow", Ok(1)),
            ("DELETE FROM conduit.article", Ok(1)),
        ],
    );
}

#[test]
fn nobody_takes_on_another_identity() {
    let stage = cast();
    let forge = "UPDATE conduit.article SET body = 'forged'";
    let claims = r#"SELECT set_config('request.jwt.claims', '{"sub": "conduit:1"}', true)"#;
    check(
        &stage,
        Some("conduit:2"),
        &[
            (&format!("{claims}; {forge}"), Ok(0)),
            (&format!("SET LOCAL ROLE conduit; {forge}"), FORBIDDEN),
            (
                &format!("SET SESSION AUTHORIZATION postgres; {forge}"),
                FORBIDDEN,
            ),
            ("SELECT forge.create_session('conduit:1')", FORBIDDEN),
            ("SELECT forge.revoke_sessions('conduit:1')", FORBIDDEN),
            (
                r#"SELECT forge_private.gateway_call('{"role": "forge_user", "subject": "conduit:1"}', 'run', '{}', '{}')"#,
                FORBIDDEN,
            ),
            ("UPDATE conduit.profile SET bio = 'mine'", Ok(1)),
        ],
    );
    check(
        &stage,
        None,
        &[
            ("SELECT FROM conduit.article", Ok(1)),
            (forge, FORBIDDEN),
            ("SELECT email FROM conduit.account", FORBIDDEN),
            ("SELECT FROM conduit.follow", Ok(0)),
            ("SELECT conduit.renew_session()", FORBIDDEN),
            (
                "INSERT INTO conduit.comment (article_id, body) VALUES (1, 'anonymous')",
                FORBIDDEN,
            ),
        ],
    );
    // Subjects of other applications are nobody here.
    for subject in [
        "1",
        "conduit:",
        "conduit:1x",
        "conduit:99999999999999999999",
        "xconduit:1",
    ] {
        check(
            &stage,
            Some(subject),
            &[
                (forge, Ok(0)),
                ("SELECT email FROM conduit.account", Ok(0)),
                (
                    "INSERT INTO conduit.comment (article_id, body) VALUES (1, 'nobody')",
                    FORBIDDEN,
                ),
            ],
        );
    }
    assert_hers_is_as_written(&stage);
}
