//! Calls by name: `forge.call` as the current role, `gateway_call` for a caller of the gateway.
//!
//! One call is one statement: identity, limits, arguments, function and result. Invariants: while a gateway's function runs its
//! identity and role cannot change; whatever settings it changes are put back; a query writes nothing; an error reaches the
//! caller as it was raised.

use super::limit::{self, Caller};
use super::once::Once;
use super::registry::{self, Kind, Registered};
use super::target::{FromText, Outcome, Target};
use super::write;
use crate::error::{fail, invalid, not_found};
use crate::identity::current::{self, Identity};
use crate::pg::function::{Call, Value, text_datum};
use crate::pg::timer::Timer;
use crate::pg::{json, plan, role, spi, typ};
use pgrx::pg_sys::{Datum, Oid};
use pgrx::{FromDatum, IntoDatum, PgBuiltInOids};
use serde::Deserialize;
use std::rc::Rc;

/// What the gateway says about a call; unknown fields are for others.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Options {
    kind: Option<String>,
    idempotency_key: Option<String>,
    ip: Option<String>,
    key: Option<String>,
    request_id: Option<String>,
    text_args: TextArgs,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextArgs {
    All(bool),
    These(Vec<String>),
}

impl Default for TextArgs {
    fn default() -> Self {
        Self::All(false)
    }
}

impl TextArgs {
    fn as_from_text(&self) -> FromText<'_> {
        match self {
            Self::All(true) => FromText::All,
            Self::All(false) => FromText::None,
            Self::These(names) => FromText::These(names),
        }
    }
}

/// `forge.call(name text, args jsonb) returns jsonb`.
pub fn call(call: &Call) -> Value {
    let name = call.need_text(0, "name");
    let args = call.datum(1).map_or_else(|| "{}".into(), json::jsonb_text);
    let role = role::current();
    let registered = find(&name, role);
    let target = callable(&registered, role);
    let before = plan::set_read_only(read_only(&registered));
    let given = target.arguments(&name, &args, &FromText::None);
    let outcome = target.run(&given, role).unwrap_or_else(|e| e.rethrow());
    plan::set_read_only(before);
    match outcome.http {
        None => outcome.body.as_deref().map(json::jsonb),
        Some((status, headers)) => {
            let body = outcome.body.as_deref().unwrap_or("null");
            let whole = format!("{{\"status\":{status},\"headers\":{headers},\"body\":{body}}}");
            Some(json::jsonb(&whole))
        }
    }
}

/// `forge_private.gateway_call(identity, name, args, options, OUT body, OUT meta)`.
pub fn gateway_call(call: &Call) -> Value {
    current::refuse_inside();
    let identity = current::read(&call.need_text(0, "identity"));
    let name = call.need_text(1, "name");
    let args = call.text(2).unwrap_or_else(|| "{}".into());
    let options = options(call.text(3));
    let role = identity.role_oid;
    let registered = find(&name, role);
    if let Some(kind) = &options.kind
        && kind != registered.kind.word()
    {
        invalid(
            format!("\"{name}\" is a {}, not a {kind}", registered.kind.word()),
            "Only queries can be called with GET; call others with POST.",
        );
    }
    let target = callable(&registered, role);
    check_isolation(&registered);
    let caller = Caller {
        identity: &identity,
        ip: options.ip.as_deref(),
        key: options.key.as_deref(),
    };
    limit::draw(&registered, &caller);
    limit::enter(&registered);
    let timer = registered.timeout_ms.map(Timer::start);
    let (body, meta) = run(&registered, &target, &identity, &args, &options);
    drop(timer);
    let text = |t: Option<String>| t.as_deref().map(text_datum);
    typ::text_pair(call.fcinfo, [text(body), text(meta)])
}

type BodyAndMeta = (Option<String>, Option<String>);

fn run(
    registered: &Registered,
    target: &Target,
    identity: &Rc<Identity>,
    args: &str,
    options: &Options,
) -> BodyAndMeta {
    let locked = current::take_on(identity.clone(), options.request_id.as_deref());
    let role = identity.role_oid;
    let held = role::enter(role);
    let before = plan::set_read_only(read_only(registered));
    let given = target.arguments(&registered.name, args, &options.text_args.as_from_text());
    let once = options
        .idempotency_key
        .as_deref()
        .filter(|_| registered.kind == Kind::Mutation)
        .map(|key| Once::begin(key, &registered.name, identity, args));
    let answer = match once {
        Some((_, Some(earlier))) => (earlier.body, Some(replayed(earlier.meta.as_deref()))),
        once => {
            let outcome = target.run(&given, role).unwrap_or_else(|e| e.rethrow());
            if registered.kind == Kind::Mutation {
                plan::fire_deferred().unwrap_or_else(|e| e.rethrow());
            }
            let meta = meta(registered, &outcome);
            if let Some((once, _)) = once {
                once.keep(outcome.body.as_deref(), meta.as_deref());
            }
            (outcome.body, meta)
        }
    };
    plan::set_read_only(before);
    role::leave(held);
    drop(locked);
    answer
}

fn options(text: Option<String>) -> Options {
    match text.as_deref() {
        None | Some("" | "{}") => Options::default(),
        Some(text) => serde_json::from_str(text).unwrap_or_else(|e| {
            invalid(
                format!("options are not understood: {e}"),
                "Pass an object of options.",
            )
        }),
    }
}

fn read_only(registered: &Registered) -> bool {
    registered.kind == Kind::Query || plan::is_read_only()
}

/// A registered query or mutation by name.
fn find(name: &str, role: Oid) -> Rc<Registered> {
    let Some(registered) = registry::find(name) else {
        unknown(name, role)
    };
    if registered.kind == Kind::Action {
        invalid(
            format!("\"{name}\" is an action, which reaches outside the database"),
            format!(
                "Call it through the gateway, or as a job: forge.enqueue('forge.action.{name}', args)."
            ),
        );
    }
    registered
}

/// ZF001, naming a near name when the role may call that one.
fn unknown(name: &str, role: Oid) -> ! {
    let most = (name.chars().count() / 3).clamp(1, 3);
    let mut near: Vec<(usize, String)> = registry::all()
        .iter()
        .filter(|r| r.kind != Kind::Action)
        .map(|r| (strsim::osa_distance(&r.name, name), r.name.clone()))
        .filter(|(distance, _)| *distance <= most)
        .collect();
    near.sort();
    let near: Vec<String> = near.into_iter().map(|(_, name)| name).take(5).collect();
    let hint = match allowed(&near, role) {
        Some(near) => format!("Did you mean \"{near}\"?"),
        None => "View forge.functions lists what is registered; forge.register_query and forge.register_mutation register.".into(),
    };
    not_found(
        format!("function \"{}\" is not registered", short(name)),
        hint,
    )
}

fn short(name: &str) -> String {
    name.chars().take(200).collect()
}

/// The first of these functions that the role may call.
fn allowed(names: &[String], role: Oid) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let mut found = None;
    role::as_owner(|| {
        spi::query(
            "SELECT f.name FROM pg_catalog.unnest($1) WITH ORDINALITY n(name, ord) \
             JOIN forge_private.function f ON f.name = n.name \
             JOIN pg_catalog.pg_proc p ON p.oid = forge_private.known_function(f.handler) \
             WHERE pg_catalog.has_function_privilege($2, p.oid, 'EXECUTE') \
             AND pg_catalog.has_schema_privilege($2, p.pronamespace, 'USAGE') ORDER BY n.ord LIMIT 1",
            &[
                (
                    PgBuiltInOids::TEXTARRAYOID.value(),
                    names.to_vec().into_datum(),
                ),
                (PgBuiltInOids::OIDOID.value(), Some(Datum::from(role))),
            ],
            |row| found = row[0].and_then(|d| unsafe { String::from_datum(d, false) }),
        )
    });
    found
}

/// What to call, when the role may.
fn callable(registered: &Rc<Registered>, role: Oid) -> Rc<Target> {
    let target = registry::target(registered);
    if !role::may_execute(role, target.oid, target.schema) {
        fail(
            "ZF003",
            format!(
                "role \"{}\" may not execute \"{}\"",
                role::name(role),
                registered.name
            ),
            "Grant the role EXECUTE on the function that forge.functions names, and USAGE on its schema.",
        );
    }
    target
}

fn check_isolation(registered: &Registered) {
    const WORDS: [&str; 4] = [
        "read uncommitted",
        "read committed",
        "repeatable read",
        "serializable",
    ];
    let now = plan::isolation();
    if registered.kind == Kind::Mutation && now < registered.isolation {
        fail(
            "ZF011",
            format!(
                "mutation \"{}\" needs isolation {}, the transaction has {}",
                registered.name,
                WORDS[registered.isolation as usize & 3],
                WORDS[now as usize & 3]
            ),
            "Begin the transaction with the isolation that the function is registered with.",
        );
    }
}

/// What the gateway should know beside the body.
fn meta(registered: &Registered, outcome: &Outcome) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    if let Some((status, headers)) = &outcome.http {
        parts.push(format!("\"status\":{status},\"headers\":{headers}"));
    }
    if registered.cached {
        let read = current::parts_read();
        let names: Vec<&str> = [
            (current::SUBJECT, "\"subject\""),
            (current::CLAIMS, "\"claims\""),
            (current::TOKEN, "\"token\""),
        ]
        .into_iter()
        .filter(|(part, _)| read & part != 0)
        .map(|(_, name)| name)
        .collect();
        parts.push(format!("\"identity\":[{}]", names.join(",")));
    }
    if plan::used_temporary_tables() {
        parts.push("\"dirty\":true".into());
    }
    (!parts.is_empty()).then(|| format!("{{{}}}", parts.join(",")))
}

fn replayed(meta: Option<&str>) -> String {
    match meta.and_then(|m| m.strip_suffix('}')) {
        Some(open) => format!("{open},\"replayed\":true}}"),
        None => "{\"replayed\":true}".into(),
    }
}

/// `forge_private.check_action(identity, name, args, options) returns text`: ZF001, ZF002, ZF003 or ZF006 unless the caller
/// may run this action; answers what its idempotency key is among jobs.
pub fn check_action(call: &Call) -> Value {
    let identity = current::read(&call.need_text(0, "identity"));
    let name = call.need_text(1, "name");
    let args = call.text(2).unwrap_or_else(|| "{}".into());
    let options = options(call.text(3));
    let registered = registry::find(&name).filter(|r| r.kind == Kind::Action);
    let Some(registered) = registered else {
        not_found(
            format!("action \"{}\" is not registered", short(&name)),
            "View forge.functions lists what is registered; forge.register_action registers.",
        )
    };
    let allowed = registered.roles.iter().any(|group| {
        role::by_name(group).is_some_and(|group| role::has_rights_of(identity.role_oid, group))
    });
    if !allowed {
        fail(
            "ZF003",
            format!("role \"{}\" may not run action \"{name}\"", identity.role),
            "Register the action with this role, or one it is a member of, in option roles.",
        );
    }
    super::read::object("args", &args);
    let caller = Caller {
        identity: &identity,
        ip: options.ip.as_deref(),
        key: options.key.as_deref(),
    };
    limit::draw(&registered, &caller);
    let key = options.idempotency_key?;
    let mut whole = String::new();
    for part in [
        identity.role.as_str(),
        identity.subject.as_deref().unwrap_or_default(),
        &key,
    ] {
        write::string(&mut whole, part);
    }
    Some(text_datum(&whole))
}
