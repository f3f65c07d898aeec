//! Who calls: tokens, keys, sessions, cookies, and that no call leaves its identity to the next.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use forge_tests::{Node, eventually, until};
use serde_json::{Value, json};

use crate::{
    command,
    functions::{Client, problem, value},
    key_server::{KeyServer, in_seconds, token},
    session::SOON,
    stage::Stage,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://id.example";
const SCHEMA: &str = r#"
CREATE FUNCTION public.who() RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('subject', forge.auth_subject(), 'role', forge.auth_role(), 'tenant', forge.auth_claims()->>'tenant') $$;
CREATE FUNCTION public.cached_who(wait float8 DEFAULT 0) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('subject', forge.auth_subject(), 'at', clock_timestamp()) $$;
SELECT forge.register_query('who', 'public.who');
SELECT forge.register_query('cached_who', 'public.cached_who', cache_ttl => '1 minute');
"#;

fn issuers() -> String {
    format!(
        "[{{issuer = \"{ISSUER}\", audiences = [\"app\"], algorithm = \"HS256\", secret = \"{SECRET}\"}}]"
    )
}

fn stage(nodes: usize) -> Stage<'static> {
    let mut stage = Stage::new();
    stage.run(SCHEMA).unwrap();
    stage.start_nodes(nodes, |node| node.set("FORGE_AUTH__ISSUERS", issuers()));
    stage
}

fn client(stage: &Stage, node: usize, token: impl Into<Option<String>>) -> Client {
    Client {
        address: stage.nodes[node].http(),
        token: token.into(),
    }
}

fn issue(stage: &Stage, arguments: &[&str]) -> String {
    let mut all = vec!["token", "issue"];
    all.extend_from_slice(arguments);
    let settings = issuers();
    command::run(stage, &[("FORGE_AUTH__ISSUERS", &settings)], &all)
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn a_token_is_an_identity() {
    let stage = stage(1);
    let token = issue(
        &stage,
        &["--subject", "u1", "--claims", r#"{"tenant": "t1"}"#],
    );
    assert_eq!(
        value(&client(&stage, 0, token.clone()).call("who", &json!({}))),
        json!({"subject": "u1", "role": "forge_user", "tenant": "t1"})
    );
    let anonymous = client(&stage, 0, None);
    assert_eq!(
        value(&anonymous.call("who", &json!({}))),
        json!({"subject": null, "role": "forge_anon", "tenant": null})
    );
    let lower = anonymous.send(
        "POST",
        "/v1/call/who",
        &[("authorization", &format!("Token {token}"))],
        b"{}",
    );
    assert_eq!(value(&lower)["subject"], "u1");
    let unknown = issue(&stage, &["--subject", "u1", "--role", "no_such_role"]);
    problem(
        &client(&stage, 0, unknown).call("who", &json!({})),
        403,
        "ZF003",
    );
    let superuser = issue(&stage, &["--subject", "u1", "--role", "postgres"]);
    problem(
        &client(&stage, 0, superuser).call("who", &json!({})),
        403,
        "ZF003",
    );
}

#[test]
fn bad_tokens_are_refused_without_the_database() {
    let cluster = crate::stage::own_cluster(forge_tests::ClusterOptions::default());
    let mut stage = Stage::on(&cluster);
    stage.start_nodes(1, |node| node.set("FORGE_AUTH__ISSUERS", issuers()));
    let good = issue(&stage, &["--subject", "u1"]);
    let expired = issue(&stage, &["--subject", "u1", "--ttl", "0"]);
    let (head, signature) = good.rsplit_once('.').unwrap();
    // Whoever asked the database now would be told that it is away.
    cluster.stop_immediately().unwrap();
    let bad = [
        format!("{head}."),
        format!("{head}.{}", signature.chars().rev().collect::<String>()),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSJ9.".into(),
        "a.b.c".into(),
        format!("{good}{}", "x".repeat(20_000)),
        "x".repeat(300),
    ];
    for token in bad {
        let refused = client(&stage, 0, token.clone()).call("who", &json!({}));
        problem(&refused, 401, "ZF004");
        assert!(refused.header("www-authenticate").is_some());
    }
    // Within the leeway it is still good, so the database is asked.
    assert_eq!(
        client(&stage, 0, expired).call("who", &json!({})).status,
        503
    );
}

#[test]
fn keys_of_an_issuer_are_fetched_and_rotated() {
    let server = KeyServer::start();
    server.publish(&["k1"]);
    let mut stage = Stage::new();
    stage.run(SCHEMA).unwrap();
    let issuers = format!(
        "[{{issuer = \"{ISSUER}\", algorithm = \"ES256\", jwks_url = \"{}\"}}]",
        server.url()
    );
    stage.start_nodes(1, |node| {
        node.set("FORGE_AUTH__ISSUERS", &issuers)
            .set("FORGE_AUTH__JWKS_MIN_INTERVAL", "300ms")
    });
    let call = |kid: &str, subject: &str| {
        let claims = json!({"iss": ISSUER, "sub": subject, "exp": in_seconds(60)});
        client(&stage, 0, token(kid, claims)).call("who", &json!({}))
    };
    for subject in ["a", "b", "c"] {
        assert_eq!(value(&call("k1", subject))["subject"], subject);
    }
    assert_eq!(server.fetches(), 1, "kept");
    problem(&call("k2", "a"), 401, "ZF004");
    problem(&call("rsa", "a"), 401, "ZF004");
    server.publish(&["k2"]);
    until(SOON, "the new key to be taken", || {
        Ok(call("k2", "d").status == 200)
    })
    .unwrap();
    problem(&call("k1", "e"), 401, "ZF004");
    let before = server.fetches();
    let started = Instant::now();
    for n in 0..200 {
        problem(&call(&format!("guess{n}"), "a"), 401, "ZF004");
    }
    let most = started.elapsed().as_millis() / 300 + 2;
    let fetched = (server.fetches() - before) as u128;
    assert!(
        fetched <= most,
        "{fetched} fetches in {:?}",
        started.elapsed()
    );
}

#[test]
fn a_revoked_session_ends_on_every_node() {
    let stage = stage(2);
    let token: String = stage
        .value("SELECT forge.create_session('u1', claims => '{\"tenant\": \"t1\"}')")
        .unwrap();
    for node in [0, 1] {
        let answer = client(&stage, node, token.clone()).call("who", &json!({}));
        assert_eq!(
            value(&answer),
            json!({"subject": "u1", "role": "forge_user", "tenant": "t1"})
        );
    }
    stage.run("SELECT forge.revoke_sessions('u1')").unwrap();
    let revoked = Instant::now();
    for node in [0, 1] {
        let client = client(&stage, node, token.clone());
        until(Duration::from_secs(5), "the session to end", || {
            Ok(client.call("who", &json!({})).status == 401)
        })
        .unwrap();
    }
    assert!(revoked.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_credential_becomes_a_cookie() {
    let stage = stage(2);
    let bearer = issue(
        &stage,
        &["--subject", "u1", "--claims", r#"{"tenant": "t1"}"#],
    );
    problem(
        &client(&stage, 0, None).send("POST", "/v1/auth/session", &[], b""),
        401,
        "ZF004",
    );
    let made = client(&stage, 0, bearer).send("POST", "/v1/auth/session", &[], b"");
    assert_eq!(made.status, 201, "{}", made.text());
    let set = made.header("set-cookie").unwrap().to_owned();
    for part in [
        "; HttpOnly",
        "; Secure",
        "; SameSite=Lax",
        "; Path=/",
        "; Max-Age=",
    ] {
        assert!(set.contains(part), "{part} is missing from {set}");
    }
    let cookie = set.split(';').next().unwrap().to_owned();
    assert!(
        !made.text().contains(cookie.split('=').nth(1).unwrap()),
        "scripts could read it"
    );
    let browser = client(&stage, 1, None);
    let host = browser.address.to_string();
    let send = |method: &str, path: &str, extra: &[(&str, &str)]| {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend_from_slice(extra);
        browser.send(method, path, &headers, b"")
    };
    assert_eq!(value(&send("GET", "/v1/call/who", &[]))["subject"], "u1");
    assert_eq!(value(&send("GET", "/v1/call/who", &[]))["tenant"], "t1");
    problem(&send("POST", "/v1/call/who", &[]), 403, "ZF003");
    problem(
        &send(
            "POST",
            "/v1/call/who",
            &[("origin", "https://evil.example")],
        ),
        403,
        "ZF003",
    );
    problem(
        &send("POST", "/v1/call/who", &[("sec-fetch-site", "cross-site")]),
        403,
        "ZF003",
    );
    problem(
        &send(
            "DELETE",
            "/v1/auth/session",
            &[("origin", "https://evil.example")],
        ),
        403,
        "ZF003",
    );
    value(&send(
        "POST",
        "/v1/call/who",
        &[("origin", &format!("http://{host}"))],
    ));
    value(&send(
        "POST",
        "/v1/call/who",
        &[("sec-fetch-site", "same-origin")],
    ));
    let out = send(
        "DELETE",
        "/v1/auth/session",
        &[("sec-fetch-site", "same-origin")],
    );
    assert_eq!(out.status, 204, "{}", out.text());
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    eventually(Duration::from_secs(5), "the cookie to be refused", || {
        Ok((send("GET", "/v1/call/who", &[]).status == 401).then_some(()))
    })
    .unwrap();
}

#[test]
fn kept_answers_are_not_for_others() {
    let stage = stage(1);
    let call = |subject: &str| {
        let token = issue(&stage, &["--subject", subject]);
        value(&client(&stage, 0, token).call("cached_who", &json!({})))
    };
    let (ann, bob) = (call("ann"), call("bob"));
    assert_eq!(
        (&ann["subject"], &bob["subject"]),
        (&json!("ann"), &json!("bob"))
    );
    assert_eq!(
        call("ann"),
        ann,
        "kept for another token of the same subject"
    );
    assert_eq!(
        value(&client(&stage, 0, None).call("cached_who", &json!({})))["subject"],
        Value::Null
    );
}

#[test]
fn a_pool_of_one_leaks_no_identity() {
    let mut stage = Stage::new();
    stage.run(SCHEMA).unwrap();
    stage
        .run(
            r#"
CREATE TABLE public.doc (tenant text NOT NULL, body text NOT NULL);
ALTER TABLE public.doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.doc USING (tenant = forge.auth_claims()->>'tenant') WITH CHECK (tenant = forge.auth_claims()->>'tenant');
GRANT SELECT, INSERT ON public.doc TO forge_user;
INSERT INTO public.doc VALUES ('red', 'red'), ('blue', 'blue');
CREATE FUNCTION public.docs() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT DISTINCT tenant FROM public.doc';
CREATE FUNCTION public.write(tenant text) RETURNS text LANGUAGE sql AS 'INSERT INTO public.doc VALUES (tenant, ''x'') RETURNING tenant';
CREATE FUNCTION public.break(how text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF how = 'raise' THEN RAISE EXCEPTION 'broken' USING ERRCODE = 'PT409'; END IF;
    IF how = 'divide' THEN RETURN 1 / 0; END IF;
    IF how = 'role' THEN EXECUTE 'SET ROLE forge_admin'; END IF;
    IF how = 'claims' THEN PERFORM set_config('request.jwt.claims', '{"tenant":"blue"}', false); END IF;
    IF how = 'sleep' THEN PERFORM pg_sleep(20); END IF;
    RETURN 0;
END $$;
SELECT forge.register_query('docs', 'public.docs');
SELECT forge.register_mutation('write', 'public.write');
SELECT forge.register_mutation('break', 'public.break', timeout => '200 ms');
"#,
        )
        .unwrap();
    stage.start_nodes(1, |node| {
        node.set("FORGE_AUTH__ISSUERS", issuers())
            .set("FORGE_DATABASE__POOL_SIZE", 1)
            .set("FORGE_DATABASE__ACQUIRE_TIMEOUT", "30s")
            .set("FORGE_NODE__ROLES", "gateway,executor")
    });
    let tenant = |name: &str| {
        let claims = json!({ "tenant": name }).to_string();
        let token = issue(&stage, &["--subject", name, "--claims", &claims]);
        client(&stage, 0, token)
    };
    let rounds: usize =
        std::env::var("FORGE_IDENTITY_ROUNDS").map_or(200, |rounds| rounds.parse().unwrap());
    let work = |name: &'static str, other: &'static str| {
        let client = tenant(name);
        let anonymous = self::client(&stage, 0, None);
        move || {
            for round in 0..rounds {
                let who = value(&client.call("who", &json!({})));
                assert_eq!(
                    who,
                    json!({"subject": name, "role": "forge_user", "tenant": name})
                );
                assert_eq!(value(&client.call("docs", &json!({}))), json!([name]));
                assert_eq!(
                    value(&client.call("write", &json!({ "tenant": name }))),
                    name
                );
                problem(
                    &client.call("write", &json!({ "tenant": other })),
                    403,
                    "ZF003",
                );
                let how = ["raise", "divide", "role", "claims"][round % 4];
                let broken = client.call("break", &json!({ "how": how }));
                assert_ne!(broken.status, 500, "{how}: {}", broken.text());
                let nobody = value(&anonymous.call("who", &json!({})));
                assert_eq!(
                    nobody,
                    json!({"subject": null, "role": "forge_anon", "tenant": null})
                );
                if round % 20 == 0 {
                    assert_eq!(client.call("break", &json!({"how": "sleep"})).status, 504);
                    leave(&client);
                }
            }
        }
    };
    let (red, blue) = (work("red", "blue"), work("blue", "red"));
    thread::scope(|scope| {
        scope.spawn(red);
        scope.spawn(blue);
    });
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM public.doc WHERE tenant = 'red'")
            .unwrap() as usize,
        rounds + 1
    );
}

/// Sends a call and goes away before its answer.
fn leave(client: &Client) {
    let mut stream = TcpStream::connect(client.address).unwrap();
    let body = r#"{"how":"sleep"}"#;
    write!(
        stream,
        "POST /v1/call/break HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        client.token.as_ref().unwrap(),
        body.len()
    )
    .unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
}

#[test]
fn a_login_role_that_could_bypass_policies_is_refused() {
    let stage = Stage::new();
    let name = stage.database().name();
    stage
        .run(&format!(
            "CREATE ROLE bypass_{name} BYPASSRLS;
             CREATE ROLE login_{name} LOGIN NOINHERIT PASSWORD 'x';
             SELECT forge.setup_daemon_role('login_{name}');
             GRANT bypass_{name} TO login_{name};"
        ))
        .unwrap();
    let url = stage.database().daemon_url();
    let (_, rest) = url.split_once('@').unwrap();
    let options = forge_tests::NodeOptions {
        database_url: format!("postgres://login_{name}:x@{rest}"),
        ..stage.node_options("refused")
    };
    let mut node = Node::spawn(options).unwrap();
    let status = node.wait_end(SOON).unwrap();
    assert_eq!(status, 77, "{}", node.log().unwrap());
    assert!(node.log().unwrap().contains(&format!("bypass_{name}")));
    stage
        .run(&format!(
            "REVOKE bypass_{name} FROM login_{name}; DROP OWNED BY login_{name}; DROP ROLE login_{name}, bypass_{name};"
        ))
        .unwrap();
}
