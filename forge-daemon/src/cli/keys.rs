//! `keys ls | create | rotate | revoke`: API keys, and with `--encryption` those of `forge.encrypt`.

use postgres_types::Type;
use serde_json::{Value, json};

use super::{
    arguments::{CreateKey, Keys, Target},
    console::Console,
    failure::Failure,
    functions::object,
    table,
};

const COLUMNS: [&str; 7] = [
    "name",
    "role",
    "scopes",
    "prefix",
    "created_at",
    "expires_at",
    "revoked_at",
];
const LS: &str = "SELECT to_jsonb(k)::text FROM forge.api_keys k ORDER BY name, created_at";
const CREATE: &str = "SELECT to_jsonb(forge.create_api_key(name => $1, role => $2, scopes => $3, claims => $4::text::jsonb, \
    expires_at => clock_timestamp() + $5::text::interval))::text";
/// One statement, so that there is no moment with both keys or with none.
const ROTATE: &str = "SELECT to_jsonb(forge.create_api_key(name => k.name, role => k.role::text, scopes => k.scopes, claims => k.claims, \
    expires_at => k.expires_at))::text FROM (SELECT *, forge.revoke_api_key(name) AS revoked FROM forge.api_keys \
    WHERE name = $1 AND revoked_at IS NULL OFFSET 0) k WHERE k.revoked";
const REVOKE: &str = "SELECT to_jsonb(forge.revoke_api_key($1))::text";
const CREATE_ENCRYPTION: &str = "SELECT to_jsonb(forge.create_key($1)::text)::text";
const ROTATE_ENCRYPTION: &str = "SELECT to_jsonb(forge.rotate_key($1)::text)::text";

pub(super) async fn run(target: &Target, what: Keys) -> Result<(), Failure> {
    let mut console = Console::open(target).await?;
    match what {
        Keys::Ls => {
            let keys = console.rows("api_keys", LS, &[]).await?;
            table::print(console.json, &keys, &COLUMNS);
            Ok(())
        }
        Keys::Create(create) if create.encryption => {
            encryption(&mut console, CREATE_ENCRYPTION, &create.name, "created").await
        }
        Keys::Create(create) => make(&mut console, &create).await,
        Keys::Rotate {
            name,
            encryption: true,
        } => encryption(&mut console, ROTATE_ENCRYPTION, &name, "rotated").await,
        Keys::Rotate {
            name,
            encryption: false,
        } => {
            let key = console
                .row("rotate_api_key", ROTATE, &[(&name, Type::TEXT)])
                .await?;
            if key.is_null() {
                return Err(unknown(&name));
            }
            show(&console, &name, &key);
            Ok(())
        }
        Keys::Revoke { name } => {
            let done = console
                .row("revoke_api_key", REVOKE, &[(&name, Type::TEXT)])
                .await?;
            if done != true {
                return Err(unknown(&name));
            }
            if console.json {
                table::print_json(&json!({ "name": name, "revoked": true }));
            } else {
                say!("revoked");
            }
            Ok(())
        }
    }
}

async fn make(console: &mut Console, create: &CreateKey) -> Result<(), Failure> {
    let claims = Value::Object(object("claims", &create.claims)?).to_string();
    let scopes = (!create.scopes.is_empty()).then_some(&create.scopes);
    let expires = create
        .expires_in
        .map(|span| format!("{} seconds", span.get().as_secs()));
    let key = console
        .row(
            "create_api_key",
            CREATE,
            &[
                (&create.name, Type::TEXT),
                (&create.role, Type::TEXT),
                (&scopes, Type::TEXT_ARRAY),
                (&claims, Type::TEXT),
                (&expires, Type::TEXT),
            ],
        )
        .await?;
    show(console, &create.name, &key);
    Ok(())
}

async fn encryption(
    console: &mut Console,
    sql: &str,
    name: &str,
    participle: &str,
) -> Result<(), Failure> {
    console
        .row("encryption_key", sql, &[(&name, Type::TEXT)])
        .await?;
    if console.json {
        table::print_json(&json!({ "name": name, participle: true }));
    } else {
        say!("{participle}");
    }
    Ok(())
}

/// The only time the key is shown.
fn show(console: &Console, name: &str, key: &Value) {
    if console.json {
        table::print_json(&json!({ "name": name, "key": key }));
    } else {
        say!("{}", table::cell(key));
    }
}

fn unknown(name: &str) -> Failure {
    Failure::Refused(format!(
        "there is no API key `{name}` that is not revoked; see forge-daemon keys ls"
    ))
}
