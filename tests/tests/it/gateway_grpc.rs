//! Functions over gRPC, called by a client in another language.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use forge_tests::checkout;
use serde_json::{Value, json};

use crate::stage::Stage;

/// The answers of a Python client to these orders.
fn ask(stage: &Stage, orders: &[Value]) -> Vec<Value> {
    let python = std::env::var("FORGE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut child = Command::new(python)
        .arg(checkout::root().join("tests/python/gateway_client.py"))
        .arg(stage.nodes[0].grpc().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = orders.iter().map(|order| format!("{order}\n")).collect();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn functions_are_called_over_grpc() {
    let stage = Stage::with_nodes(1);
    stage
        .run(
            r#"
CREATE TABLE public.item (n int UNIQUE);
GRANT INSERT, SELECT ON public.item TO forge_user;
CREATE FUNCTION public.double(n int) RETURNS int LANGUAGE sql STABLE AS 'SELECT n * 2';
CREATE FUNCTION public.put(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO public.item VALUES (n) RETURNING n';
CREATE FUNCTION public.hidden() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
REVOKE EXECUTE ON FUNCTION public.hidden() FROM PUBLIC;
CREATE FUNCTION public.teapot() RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN RAISE EXCEPTION 'short and stout' USING ERRCODE = 'PT404'; END $$;
CREATE FUNCTION public.made() RETURNS forge.http_response LANGUAGE sql STABLE AS $$ SELECT forge.http_response(201, '{}', '{"a": 1}') $$;
CREATE FUNCTION public.did(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
SELECT forge.register_query('double', 'public.double');
SELECT forge.register_mutation('put', 'public.put');
SELECT forge.register_query('hidden', 'public.hidden');
SELECT forge.register_query('teapot', 'public.teapot');
SELECT forge.register_query('made', 'public.made');
SELECT forge.register_action('did', 'sql:public.did');
"#,
        )
        .unwrap();
    let key = stage.key("forge_user");
    let cases = [
        (
            json!({"name": "double", "args": "{\"n\": 21}"}),
            json!({"status": "OK", "value": 42}),
        ),
        (
            json!({"name": "double", "args": "{\"n\": \"x\"}"}),
            json!({"status": "INVALID_ARGUMENT", "code": "ZF002"}),
        ),
        (
            json!({"name": "double", "args": "{"}),
            json!({"status": "INVALID_ARGUMENT", "code": "ZF002"}),
        ),
        (
            json!({"name": "double", "args": "[]"}),
            json!({"status": "INVALID_ARGUMENT", "code": "ZF002"}),
        ),
        (
            json!({"name": "nothing"}),
            json!({"status": "NOT_FOUND", "code": "ZF001"}),
        ),
        (
            json!({"name": "hidden"}),
            json!({"status": "PERMISSION_DENIED", "code": "ZF003"}),
        ),
        (
            json!({"name": "double", "token": "forge_x_y"}),
            json!({"status": "UNAUTHENTICATED", "code": "ZF004"}),
        ),
        (
            json!({"name": "teapot"}),
            json!({"status": "NOT_FOUND", "code": "PT404"}),
        ),
        (
            json!({"name": "made"}),
            json!({"status": "OK", "value": {"a": 1}, "http_status": 201}),
        ),
        (
            json!({"name": "put", "args": "{\"n\": 1}", "token": key, "key": "k"}),
            json!({"status": "OK", "value": 1, "replayed": false}),
        ),
        (
            json!({"name": "put", "args": "{\"n\": 1}", "token": key, "key": "k"}),
            json!({"status": "OK", "value": 1, "replayed": true}),
        ),
        (
            json!({"name": "put", "args": "{\"n\": 1}", "token": key}),
            json!({"status": "ALREADY_EXISTS", "code": "ZF005"}),
        ),
        (
            json!({"name": "did", "args": "{\"x\": 1}", "token": key}),
            json!({"status": "OK", "value": {"x": 1}, "job": ""}),
        ),
    ];
    let orders: Vec<Value> = cases.iter().map(|(order, _)| order.clone()).collect();
    for ((order, expected), answer) in cases.iter().zip(ask(&stage, &orders)) {
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&answer[name], value, "{name} of {answer} for {order}");
        }
    }
    let later = ask(
        &stage,
        &[json!({"name": "did", "later": true, "token": key})],
    );
    let job = later[0]["job"].as_str().unwrap();
    stage
        .until(&format!(
            "SELECT state = 'completed' FROM forge.jobs WHERE id = '{job}'"
        ))
        .unwrap();
}
