//! The daemon's command line, and what issue 4 added to it.

use std::process::Command;

use anyhow::{Context, Result, bail};
use forge_tests::checkout;
use serde_json::{Value, json};

use crate::stage::Stage;

/// Runs `forge-daemon ARGUMENTS` on the stage's database and returns what it printed.
pub fn run(stage: &Stage, settings: &[(&str, &str)], arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(checkout::program("forge-daemon")?);
    for (name, _) in std::env::vars() {
        if name.starts_with("FORGE_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(arguments)
        .env("FORGE_DATABASE__URL", stage.database().daemon_url())
        .envs(settings.iter().copied())
        .output()
        .context("running forge-daemon")?;
    if !output.status.success() {
        bail!(
            "{arguments:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn stage() -> Stage<'static> {
    let stage = Stage::new();
    stage
        .run(
            "CREATE FUNCTION public.who(n int DEFAULT 1) RETURNS jsonb LANGUAGE sql STABLE
                 AS 'SELECT jsonb_build_object(''n'', n, ''subject'', forge.auth_subject(), ''role'', forge.auth_role())';
             SELECT forge.register_query('who', 'public.who', description => 'Who calls');",
        )
        .unwrap();
    stage
}

#[test]
fn functions_are_listed_and_called() {
    let stage = stage();
    let listed = run(&stage, &[], &["functions", "ls"]).unwrap();
    assert!(
        listed.contains("who") && listed.contains("Who calls"),
        "{listed}"
    );
    let call = [
        "functions",
        "call",
        "who",
        r#"{"n": 7}"#,
        "--role",
        "forge_user",
        "--subject",
        "u1",
    ];
    let answer: Value = serde_json::from_str(&run(&stage, &[], &call).unwrap()).unwrap();
    assert_eq!(
        answer,
        json!({"n": 7, "subject": "u1", "role": "forge_user"})
    );
    let wrong = run(&stage, &[], &["functions", "call", "whoo"])
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("ZF001") && wrong.contains("whoo"), "{wrong}");
    assert!(run(&stage, &[], &["functions", "call", "who", "[1]"]).is_err());
}

#[test]
fn keys_are_made_replaced_and_ended() {
    let stage = stage();
    let good = |key: &str| -> bool {
        stage
            .value_of(
                "SELECT forge_private.authenticate_key($1) IS NOT NULL",
                &[&key.trim()],
            )
            .unwrap()
    };
    let first = run(
        &stage,
        &[],
        &[
            "keys",
            "create",
            "k",
            "--scope",
            "a",
            "--claims",
            r#"{"t": 1}"#,
        ],
    )
    .unwrap();
    assert!(good(&first));
    let second = run(&stage, &[], &["keys", "rotate", "k"]).unwrap();
    assert!(good(&second) && !good(&first));
    let kept: Value = stage
        .value_of(
            "SELECT forge_private.authenticate_key($1)",
            &[&second.trim()],
        )
        .unwrap();
    assert_eq!(
        (&kept["claims"], &kept["scopes"]),
        (&json!({"t": 1}), &json!(["a"]))
    );
    run(&stage, &[], &["keys", "revoke", "k"]).unwrap();
    assert!(!good(&second));
    assert!(run(&stage, &[], &["keys", "revoke", "k"]).is_err());
    run(&stage, &[], &["keys", "create", "box", "--encryption"]).unwrap();
    run(&stage, &[], &["keys", "rotate", "box", "--encryption"]).unwrap();
}
