//! Functions through the gateway: by name and by route, right and wrong.

use std::{
    net::SocketAddr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use forge_tests::{
    eventually,
    http::{self, Answer},
};
use serde_json::{Value, json};

use crate::{session::SOON, stage::Stage};

const SCHEMA: &str = r#"
CREATE TABLE public.note (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL CHECK (length(body) < 1000000), mark int UNIQUE);
CREATE TABLE public.tally (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO public.tally VALUES (1, 0), (2, 0);
GRANT SELECT, INSERT ON public.note TO forge_user;
GRANT SELECT, UPDATE ON public.tally TO forge_user;
CREATE FUNCTION public.notes() RETURNS SETOF public.note LANGUAGE sql STABLE AS 'SELECT * FROM public.note ORDER BY id';
CREATE FUNCTION public.add_note(body text, mark int DEFAULT NULL) RETURNS public.note LANGUAGE sql
    AS 'INSERT INTO public.note (body, mark) VALUES (body, mark) RETURNING *';
CREATE FUNCTION public.echo(doc jsonb) RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT doc';
CREATE FUNCTION public.typed(i int, t text, ok boolean DEFAULT true, at timestamptz DEFAULT NULL, n numeric DEFAULT NULL, list int[] DEFAULT NULL)
    RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT jsonb_build_object('i', i, 't', t, 'ok', ok, 'at', at, 'n', n, 'list', list) $$;
CREATE FUNCTION public.nothing() RETURNS void LANGUAGE sql STABLE AS '';
CREATE FUNCTION public.secret() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
REVOKE EXECUTE ON FUNCTION public.secret() FROM PUBLIC;
CREATE FUNCTION public.count_up() RETURNS int LANGUAGE plpgsql AS $$
DECLARE total int;
BEGIN
    SELECT sum(n) INTO total FROM public.tally;
    UPDATE public.tally SET n = n + 1 WHERE id = 1 + total % 2;
    RETURN total + 1;
END $$;
CREATE FUNCTION public.slow(seconds float8) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM pg_sleep(seconds); RETURN clock_timestamp()::text; END $$;
CREATE FUNCTION public.moment(x int DEFAULT 0) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN clock_timestamp()::text; END $$;
CREATE FUNCTION public.article(slug text, page int DEFAULT 1, tag text[] DEFAULT NULL) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF slug = 'gone' THEN RAISE EXCEPTION 'article % is gone', slug USING ERRCODE = 'PT410', HINT = 'Look elsewhere.'; END IF;
    RETURN jsonb_build_object('slug', slug, 'page', page, 'tag', tag);
END $$;
CREATE FUNCTION public.make(slug text, body text) RETURNS forge.http_response LANGUAGE sql
    AS $$ SELECT forge.http_response(201, jsonb_build_object('Location', '/api/articles/' || slug), jsonb_build_object('body', body)) $$;
CREATE FUNCTION public.drop_it(slug text) RETURNS forge.http_response LANGUAGE sql AS $$ SELECT forge.http_response(204) $$;
CREATE FUNCTION public.work(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('did', args) $$;
CREATE FUNCTION public.fail(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'inner secret'; END $$;

SELECT forge.register_query('notes', 'public.notes');
SELECT forge.register_mutation('add_note', 'public.add_note');
SELECT forge.register_query('echo', 'public.echo');
SELECT forge.register_query('typed', 'public.typed');
SELECT forge.register_query('nothing', 'public.nothing');
SELECT forge.register_query('secret', 'public.secret');
SELECT forge.register_mutation('count_up', 'public.count_up', max_retries => 20);
SELECT forge.register_query('slow', 'public.slow', timeout => '300 ms');
SELECT forge.register_query('moment', 'public.moment', cache_ttl => '1 minute');
SELECT forge.register_query('article', 'public.article');
SELECT forge.register_mutation('make', 'public.make');
SELECT forge.register_mutation('drop_it', 'public.drop_it');
SELECT forge.register_action('work', 'sql:public.work');
SELECT forge.register_action('fail', 'sql:public.fail');
SELECT forge.register_route('GET', '/api/articles/{slug}', 'article');
SELECT forge.register_route('POST', '/api/articles/{slug}', 'make');
SELECT forge.register_route('DELETE', '/api/articles/{slug}', 'drop_it');
"#;

pub struct Client {
    pub address: SocketAddr,
    pub token: Option<String>,
}

impl Client {
    pub fn send(&self, method: &str, path: &str, extra: &[(&str, &str)], body: &[u8]) -> Answer {
        let authorization = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = Vec::new();
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        if let Some(authorization) = &authorization {
            headers.push(("authorization", authorization.as_str()));
        }
        headers.extend_from_slice(extra);
        http::request(self.address, method, path, &headers, body).unwrap()
    }

    pub fn call(&self, name: &str, args: &Value) -> Answer {
        self.send(
            "POST",
            &format!("/v1/call/{name}"),
            &[],
            args.to_string().as_bytes(),
        )
    }
}

fn stage() -> (Stage<'static>, Client) {
    let stage = Stage::with_nodes(1);
    stage.run(SCHEMA).unwrap();
    let client = Client {
        address: stage.nodes[0].http(),
        token: Some(stage.key("forge_user")),
    };
    (stage, client)
}

/// The problem document of an answer with this status.
#[track_caller]
pub fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{text}"
    );
    let problem = answer.json().unwrap();
    assert_eq!(problem["code"], code, "{text}");
    assert_eq!(problem["status"], status, "{text}");
    assert!(problem["request_id"].is_string() && problem["retryable"].is_boolean());
    problem
}

#[track_caller]
pub fn value(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()
}

#[test]
fn a_function_is_called_by_name() {
    let (_stage, client) = stage();
    let added = value(&client.call("add_note", &json!({"body": "hello"})));
    assert_eq!(added["body"], "hello");
    assert_eq!(value(&client.call("notes", &json!({}))), json!([added]));
    let get = client.send("GET", "/v1/call/notes", &[], b"");
    assert_eq!(value(&get), json!([added]));
    let tag = get.header("etag").unwrap().to_owned();
    let same = client.send(
        "GET",
        "/v1/call/notes?args=%7B%7D",
        &[("if-none-match", &tag)],
        b"",
    );
    assert_eq!((same.status, same.body.len()), (304, 0));
    value(&client.call("add_note", &json!({"body": "again"})));
    let changed = client.send("GET", "/v1/call/notes", &[("if-none-match", &tag)], b"");
    assert_eq!(changed.status, 200);
    assert_eq!(value(&client.call("nothing", &json!({}))), Value::Null);
    assert_eq!(
        value(&client.send("POST", "/v1/call/nothing", &[], b"")),
        Value::Null
    );
    let whole = json!({"any": [1, {"thing": null}], "n": 12});
    assert_eq!(value(&client.call("echo", &whole)), whole);
}

#[test]
fn numbers_keep_their_digits() {
    let (_stage, client) = stage();
    let body = br#"{"i": 7, "t": "x", "n": 12345678901234567890.123456789012345678900, "list": [1, null, 3]}"#;
    let answer = client.send("POST", "/v1/call/typed", &[], body);
    assert!(
        answer
            .text()
            .contains("12345678901234567890.123456789012345678900"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.json().unwrap()["list"], json!([1, null, 3]));
}

#[test]
fn only_queries_are_called_with_get() {
    let (_stage, client) = stage();
    let refused = client.send(
        "GET",
        "/v1/call/add_note?args=%7B%22body%22%3A%22x%22%7D",
        &[],
        b"",
    );
    problem(&refused, 405, "ZF002");
    assert_eq!(refused.header("allow"), Some("POST"));
    problem(
        &client.send("PUT", "/v1/call/notes", &[], b"{}"),
        405,
        "ZF002",
    );
    let fields = problem(
        &client.send("GET", "/v1/call/notes?arg=1", &[], b""),
        422,
        "ZF002",
    );
    assert_eq!(fields["errors"][0]["field"], "arg");
}

#[test]
fn every_wrong_argument_is_named() {
    let (_stage, client) = stage();
    let answer = client.call(
        "typed",
        &json!({"i": "seven", "ok": 3, "at": "never", "colour": "red"}),
    );
    let found = problem(&answer, 422, "ZF002");
    let mut fields: Vec<&str> = found["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    fields.sort_unstable();
    assert_eq!(fields, ["at", "colour", "i", "ok", "t"], "{found}");
}

#[test]
fn bad_input_is_never_our_error() {
    let (stage, client) = stage();
    let post = |path: &str, body: &[u8]| client.send("POST", path, &[], body).status;
    assert_eq!(post("/v1/call/echo", b"{"), 400);
    assert_eq!(post("/v1/call/echo", b"{\"a\": \"\xff\xfe\"}"), 400);
    assert_eq!(post("/v1/call/echo", b"{} {}"), 400);
    assert_eq!(post("/v1/call/echo", b"[1]"), 422);
    assert_eq!(post("/v1/call/echo", b"null"), 422);
    assert_eq!(post("/v1/call/echo", br#"{"a": "\u0000"}"#), 422);
    assert_eq!(post("/v1/call/echo", br#"{"a": "\ud800"}"#), 422);
    assert_eq!(
        post(
            "/v1/call/typed",
            br#"{"i": 99999999999999999999, "t": "x"}"#
        ),
        422
    );
    assert_eq!(post("/v1/call/typed", br#"{"i": 1e400, "t": "x"}"#), 422);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(post("/v1/call/echo", deep.as_bytes()), 422);
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(9 << 20));
    assert_eq!(post("/v1/call/echo", huge.as_bytes()), 413);
    let large = format!("{{\"body\":\"{}\"}}", "x".repeat(2_000_000));
    assert_eq!(
        post("/v1/call/add_note", large.as_bytes()),
        422,
        "a CHECK constraint"
    );
    assert_eq!(post("/v1/call/%ff", b"{}"), 400);
    assert_eq!(post("/v1/call/%00", b"{}"), 404);
    let media = client.send(
        "POST",
        "/v1/call/echo",
        &[("content-type", "text/plain")],
        b"",
    );
    problem(&media, 415, "ZF002");
    let sql = "'; DROP TABLE public.note; --\" \\ $1 %s {{x}} \u{1F980}";
    let added = value(&client.call("add_note", &json!({"body": sql})));
    assert_eq!(added["body"], sql);
    for name in [
        "';DROP TABLE note;--",
        "public.notes",
        "no'te\"s",
        "notes()",
        "../notes",
        "\u{1F980}",
    ] {
        let path = name
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect::<String>();
        let unknown = client.send("POST", &format!("/v1/call/{path}"), &[], b"{}");
        problem(&unknown, 404, "ZF001");
    }
    let conflict = json!({"body": "x", "mark": 1});
    value(&client.call("add_note", &conflict));
    problem(&client.call("add_note", &conflict), 409, "ZF005");
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM public.note")
            .unwrap(),
        2
    );
    let log = stage.nodes[0].log().unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn unknown_functions_hint_only_at_what_the_caller_may_see() {
    let (_stage, client) = stage();
    let near = problem(&client.call("notess", &json!({})), 404, "ZF001");
    assert!(near["detail"].as_str().unwrap().contains("notes"), "{near}");
    let hidden = problem(&client.call("secrett", &json!({})), 404, "ZF001");
    let detail = hidden["detail"].as_str().unwrap().replace("secrett", "");
    assert!(!detail.contains("secret"), "{hidden}");
    problem(&client.call("secret", &json!({})), 403, "ZF003");
    let anonymous = Client {
        token: None,
        ..client
    };
    problem(&anonymous.call("secret", &json!({})), 403, "ZF003");
}

#[test]
fn routes_map_to_arguments() {
    let (stage, client) = stage();
    let get = |path: &str| client.send("GET", path, &[], b"");
    assert_eq!(
        value(&get("/api/articles/a%2Fb%20c?page=3&tag=x&tag=y")),
        json!({"slug": "a/b c", "page": 3, "tag": ["x", "y"]})
    );
    let wrong = problem(&get("/api/articles/x?page=three&colour=red"), 422, "ZF002");
    assert_eq!(wrong["errors"].as_array().unwrap().len(), 2, "{wrong}");
    let gone = problem(&get("/api/articles/gone"), 410, "PT410");
    assert!(
        gone["detail"].as_str().unwrap().contains("Look elsewhere"),
        "{gone}"
    );
    let made = client.send(
        "POST",
        "/api/articles/new",
        &[],
        br#"{"slug": "not this", "body": "b"}"#,
    );
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("location"), Some("/api/articles/new"));
    assert_eq!(made.json().unwrap(), json!({"body": "b"}));
    let dropped = client.send(
        "DELETE",
        "/api/articles/new",
        &[("content-type", "application/json")],
        b"",
    );
    assert_eq!(
        (dropped.status, dropped.body.len()),
        (204, 0),
        "{}",
        dropped.text()
    );
    let wrong = client.send("PATCH", "/api/articles/new", &[], b"{}");
    problem(&wrong, 405, "ZF002");
    assert_eq!(wrong.header("allow"), Some("DELETE, GET, HEAD, POST"));
    problem(&get("/api/articles"), 404, "ZF001");
    assert_eq!(get("/api/articles/%ff").status, 400);
    let head = client.send("HEAD", "/api/articles/x", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    stage
        .run(
            "CREATE FUNCTION public.late() RETURNS int LANGUAGE sql STABLE AS 'SELECT 7';
             SELECT forge.register_query('late', 'public.late');
             SELECT forge.register_route('GET', '/late', 'late');",
        )
        .unwrap();
    assert_eq!(
        value(&get("/late")),
        json!(7),
        "known as soon as it is registered"
    );
    assert_eq!(value(&client.call("late", &json!({}))), json!(7));
}

#[test]
fn a_route_asks_for_a_credential_where_one_is_needed() {
    let (stage, client) = stage();
    stage
        .run("SELECT forge.register_route('GET', '/secret', 'secret')")
        .unwrap();
    problem(&client.send("GET", "/secret", &[], b""), 403, "ZF003");
    let anonymous = Client {
        token: None,
        ..client
    };
    let asked = anonymous.send("GET", "/secret", &[], b"");
    problem(&asked, 401, "ZF004");
    assert!(asked.header("www-authenticate").is_some());
}

#[test]
fn the_idempotency_key_gives_the_first_answer() {
    let (stage, client) = stage();
    let add = |body: &str, key: &str| {
        let body = json!({ "body": body }).to_string();
        client.send(
            "POST",
            "/v1/call/add_note",
            &[("idempotency-key", key)],
            body.as_bytes(),
        )
    };
    let first = add("a", "k1");
    let again = add("a", "k1");
    assert_eq!(value(&first), value(&again));
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    problem(&add("other", "k1"), 422, "ZF002");
    problem(&add("a", &"k".repeat(300)), 422, "ZF002");
    assert_ne!(value(&add("a", "k2")), value(&first));
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM public.note")
            .unwrap(),
        2
    );
}

#[test]
fn serializable_mutations_are_repeated() {
    let (stage, client) = stage();
    const THREADS: usize = 6;
    const EACH: usize = 10;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    value(&client.call("count_up", &json!({})));
                }
            });
        }
    });
    let total: i64 = stage.value("SELECT sum(n) FROM public.tally").unwrap();
    assert_eq!(total as usize, THREADS * EACH);
}

#[test]
fn a_call_ends_within_its_functions_timeout() {
    let (_stage, client) = stage();
    let started = Instant::now();
    let slow = client.call("slow", &json!({"seconds": 30}));
    problem(&slow, 504, "ZF008");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    value(&client.call("slow", &json!({"seconds": 0})));
}

#[test]
fn one_execution_serves_all_who_ask_the_same() {
    let (_stage, client) = stage();
    const THREADS: usize = 12;
    let barrier = Barrier::new(THREADS);
    let ask = |x: i32| value(&client.call("moment", &json!({ "x": x })));
    let mut seen: Vec<Value> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    ask(1)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(ask(1), seen[0], "kept");
    assert_ne!(ask(2), seen[0], "other arguments");
    let hit = client.send("GET", "/v1/call/moment?args=%7B%22x%22%3A1%7D", &[], b"");
    assert!(
        hit.header("cache-status")
            .unwrap()
            .starts_with("forge; hit; ttl="),
        "{:?}",
        hit.headers
    );
}

#[test]
fn actions_are_waited_for_or_answered_with_their_job() {
    let (stage, client) = stage();
    assert_eq!(
        value(&client.call("work", &json!({"x": 1}))),
        json!({"did": {"x": 1}})
    );
    let later = client.send(
        "POST",
        "/v1/call/work",
        &[("prefer", "respond-async")],
        br#"{"x":2}"#,
    );
    assert_eq!(later.status, 202, "{}", later.text());
    let job = later.json().unwrap()["job_id"].as_str().unwrap().to_owned();
    stage
        .until(&format!(
            "SELECT state = 'completed' FROM forge.jobs WHERE id = '{job}'"
        ))
        .unwrap();
    let failed = problem(&client.call("fail", &json!({})), 502, "ZF012");
    assert!(!failed.to_string().contains("inner secret"), "{failed}");
}

#[test]
fn the_description_is_complete() {
    let (stage, client) = stage();
    let document = eventually(SOON, "the description", || {
        let answer = client.send("GET", "/openapi.json", &[], b"");
        let document = answer.json()?;
        Ok(document["paths"]["/api/articles/{slug}"]
            .is_object()
            .then_some(document))
    })
    .unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = &document["paths"];
    for path in [
        "/v1/call/notes",
        "/v1/call/add_note",
        "/v1/call/work",
        "/v1/call/secret",
    ] {
        assert!(
            paths[path]["post"]["responses"]["422"].is_object(),
            "{path}"
        );
    }
    assert!(
        paths["/v1/call/notes"]["get"].is_object() && paths["/v1/call/add_note"]["get"].is_null()
    );
    let typed =
        &paths["/v1/call/typed"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(typed["required"], json!(["i", "t"]));
    assert_eq!(typed["properties"]["i"]["type"], json!(["integer", "null"]));
    let text = crate::command::run(&stage, &[], &["codegen", "openapi"]).unwrap();
    let printed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(printed, document);
}

#[test]
fn without_the_database_kept_answers_are_stale_and_the_rest_is_refused() {
    let cluster = crate::stage::own_cluster(forge_tests::ClusterOptions::default());
    let mut stage = Stage::on(&cluster);
    stage.run(SCHEMA).unwrap();
    stage
        .run("GRANT SELECT ON public.note TO forge_anon; SELECT forge.register_query('moment', 'public.moment', cache_ttl => '100 ms');")
        .unwrap();
    stage.start_nodes(1, |node| node);
    let client = Client {
        address: stage.nodes[0].http(),
        token: None,
    };
    let before = value(&client.call("moment", &json!({})));
    cluster.stop_immediately().unwrap();
    let stale = eventually(SOON, "a stale answer", || {
        let answer = client.call("moment", &json!({}));
        Ok(answer.header("warning").is_some().then_some(answer))
    })
    .unwrap();
    assert_eq!(value(&stale), before);
    assert!(stale.header("cache-status").unwrap().contains("ttl=-"));
    let started = Instant::now();
    let refused = client.call("notes", &json!({}));
    problem(&refused, 503, "ZF007");
    assert!(refused.header("retry-after").is_some());
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    cluster.start_again().unwrap();
    eventually(SOON, "a new answer", || {
        let answer = client.call("moment", &json!({}));
        Ok((answer.header("warning").is_none() && answer.status == 200).then_some(()))
    })
    .unwrap();
}
