//! `sql:` handlers: run inside the database, exactly once in effect, because a job's writes and its end commit together.
//!
//! Each handler runs in a subtransaction, as the role that registered the kind, with a role that cannot be changed
//! from inside. Its failure undoes its own writes only.

use super::finish::{COMPLETED, End, end, fail_member, position};
use super::kind::{Kind, registry};
use super::member::Member;
use super::{entry, lease, now};
use crate::error::lease_lost;
use crate::pg::function::{Call, Value, text_datum};
use crate::pg::snapshot::Snapshot;
use crate::pg::spi;
use crate::pg::subtransaction::{self, Failed};
use pgrx::pg_sys::{self, Datum};
use pgrx::{FromDatum, IntoDatum, PgBuiltInOids};
use std::cell::RefCell;
use std::collections::HashMap;
use uuid::Uuid;

/// The job whose handler is running in this backend.
#[derive(Clone)]
struct Current {
    id: Uuid,
    kind: String,
    attempt: i16,
    traceparent: Option<String>,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The trace context of the job that is running, for what it enqueues.
pub fn current_traceparent() -> Option<String> {
    CURRENT.with_borrow(|c| c.as_ref().and_then(|c| c.traceparent.clone()))
}

/// `forge.current_job() returns jsonb`: id, kind and attempt of the job whose `sql:` handler is running; null outside.
pub fn current_job(_: &Call) -> Value {
    let current = CURRENT.with_borrow(Clone::clone)?;
    let json =
        serde_json::json!({ "id": current.id, "kind": current.kind, "attempt": current.attempt });
    pgrx::JsonB(json).into_datum()
}

/// How to call a handler's function.
struct Handler {
    function: String,
    takes: String,
    /// Input parameters by name, with their types.
    parameters: Vec<(String, String)>,
    /// `void`, `jsonb`, `set` or `value`.
    returns: String,
}

/// `forge_private.worker_run_sql(node, lease, positions, budget_ms)`.
pub fn worker_run_sql(call: &Call) -> Value {
    let (node, id) = (call.need_uuid(0, "node"), call.need_uuid(1, "lease"));
    let positions = call.ints(2, "positions").unwrap_or_default();
    let until = now() + i64::from(call.get::<i32>(3).unwrap_or(50).max(0)) * 1000;
    let results = call.result_set();
    let mut lease =
        lease::lock_and_read(&id).unwrap_or_else(|| lease_lost(&id, "there is no such lease"));
    lease.check(Some(&node));
    let known = registry();
    let mut handlers: HashMap<i32, Result<Handler, String>> = HashMap::new();
    let mut completed: Vec<End<'_>> = Vec::new();
    for position in positions
        .iter()
        .map(|p| position(&lease, *p))
        .collect::<Vec<_>>()
    {
        if lease.done[position] || completed.iter().any(|e| e.position == position) {
            continue;
        }
        let member = lease.members[position];
        let Some(channel) = known.channel_of(member.lane) else {
            continue;
        };
        let kind = channel.kind.clone();
        let handler = handlers.entry(kind.id).or_insert_with(|| resolve(&kind));
        let started = now();
        let ran = match handler {
            Ok(handler) => run(handler, &kind, &member),
            Err(error) => Err(error.clone()),
        };
        let (outcome, error) = match ran {
            Ok(result) => {
                completed.push(End {
                    position,
                    outcome: COMPLETED,
                    error: None,
                    result,
                });
                ("completed".to_owned(), None)
            }
            Err(error) => (
                fail_member(&mut lease, position, &error, true, None),
                Some(error),
            ),
        };
        results.push(&[
            Some(Datum::from(position as i32)),
            Some(text_datum(&outcome)),
            error.as_deref().map(text_datum),
            Some(Datum::from(
                (now() - started).clamp(0, i64::from(i32::MAX)) as i32
            )),
        ]);
        if now() >= until {
            break;
        }
    }
    end(&mut lease, &completed);
    None
}

fn resolve(kind: &Kind) -> Result<Handler, String> {
    let mut found = None;
    let looked_up = subtransaction::attempt(|| {
        spi::query(
            "SELECT h.function::text, h.takes, \
             (SELECT array_agg(a.name ORDER BY a.ord) FROM unnest(p.proargnames) WITH ORDINALITY a(name, ord) \
              WHERE coalesce(p.proargmodes[a.ord], 'i') IN ('i', 'b')), \
             ARRAY(SELECT format_type(t.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY t(type, ord) ORDER BY t.ord), \
             CASE WHEN p.proretset THEN 'set' WHEN p.prorettype = 'void'::regtype THEN 'void' \
                  WHEN p.prorettype = 'jsonb'::regtype THEN 'jsonb' ELSE 'value' END, \
             quote_ident(n.nspname) || '.' || quote_ident(p.proname) \
             FROM forge_private.sql_handler($1) h JOIN pg_catalog.pg_proc p ON p.oid = h.function \
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace",
            &[(
                PgBuiltInOids::TEXTOID.value(),
                Some(text_datum(&kind.handler)),
            )],
            |row| {
                let texts = |v: Value| {
                    v.and_then(|d| unsafe { Vec::<String>::from_datum(d, false) })
                        .unwrap_or_default()
                };
                let text = |v: Value| {
                    v.and_then(|d| unsafe { String::from_datum(d, false) })
                        .unwrap_or_default()
                };
                found = Some(Handler {
                    function: text(row[5]),
                    takes: text(row[1]),
                    parameters: texts(row[2]).into_iter().zip(texts(row[3])).collect(),
                    returns: text(row[4]),
                });
            },
        );
    });
    match (looked_up, found) {
        (Err(Failed(error)), _) => Err(error),
        (Ok(()), Some(handler)) => Ok(handler),
        (Ok(()), None) => Err(format!("handler {} does not exist", kind.handler)),
    }
}

fn run(handler: &Handler, kind: &Kind, member: &Member) -> Result<Value, String> {
    let Some(entry) = entry::of_member(member, &Snapshot::latest()) else {
        return Err(format!("the entry of job {} is gone", member.id));
    };
    let args = entry.body.args;
    let sql = statement(handler, args)?;
    let owner = role(&kind.owner)?;
    let traceparent = entry
        .body
        .traceparent
        .and_then(|d| unsafe { String::from_datum(d, false) });
    let current = Current {
        id: member.id,
        kind: kind.name.clone(),
        attempt: member.attempt,
        traceparent,
    };
    CURRENT.set(Some(current));
    let mut result = None;
    let outcome = subtransaction::attempt(|| {
        subtransaction::as_role(owner, || {
            let params: &[spi::Param] = &[(PgBuiltInOids::JSONBOID.value(), Some(args))];
            let params = if handler.takes == "none" { &[] } else { params };
            spi::query_as_user(&sql, params, |row| {
                // A void function may answer a value that is none: it must not be looked at.
                if handler.returns != "void" {
                    result = row.first().copied().flatten().map(keep);
                }
            });
        });
    });
    CURRENT.set(None);
    match outcome {
        Ok(()) => Ok(result),
        Err(Failed(error)) => Err(error),
    }
}

/// Copies a jsonb value out of an SPI call's memory.
fn keep(value: Datum) -> Datum {
    unsafe {
        let source = pg_sys::pg_detoast_datum(value.cast_mut_ptr());
        let bytes = pgrx::varlena::varsize_any(source);
        let copy = pg_sys::SPI_palloc(bytes);
        std::ptr::copy_nonoverlapping(source.cast::<u8>(), copy.cast::<u8>(), bytes);
        Datum::from(copy)
    }
}

/// The statement that calls the function with the arguments there are; parameters left out take their defaults.
fn statement(handler: &Handler, args: Datum) -> Result<String, String> {
    let function = &handler.function;
    let (call, from) = match handler.takes.as_str() {
        "none" => (format!("{function}()"), String::new()),
        "object" => (format!("{function}($1)"), String::new()),
        _ => {
            let given = keys(args)?;
            let unknown: Vec<&String> = given
                .iter()
                .filter(|k| !handler.parameters.iter().any(|p| p.0 == **k))
                .collect();
            if !unknown.is_empty() {
                return Err(format!("{function} has no parameter {unknown:?}"));
            }
            let used: Vec<&(String, String)> = handler
                .parameters
                .iter()
                .filter(|p| given.contains(&p.0))
                .collect();
            let named: Vec<String> = used
                .iter()
                .map(|(n, _)| format!("{} => x.{}", quote(n), quote(n)))
                .collect();
            let columns: Vec<String> = used
                .iter()
                .map(|(n, t)| format!("{} {t}", quote(n)))
                .collect();
            if used.is_empty() {
                (format!("{function}()"), String::new())
            } else {
                (
                    format!("{function}({})", named.join(", ")),
                    format!(
                        " FROM pg_catalog.jsonb_to_record($1) AS x({})",
                        columns.join(", ")
                    ),
                )
            }
        }
    };
    Ok(match handler.returns.as_str() {
        "void" | "jsonb" => format!("SELECT {call}{from}"),
        "set" if from.is_empty() => {
            format!("SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(r)) FROM {call} r")
        }
        "set" => {
            format!("SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(r)){from}, LATERAL {call} r")
        }
        _ => format!("SELECT pg_catalog.to_jsonb({call}){from}"),
    })
}

fn keys(args: Datum) -> Result<Vec<String>, String> {
    match unsafe { pgrx::JsonB::from_datum(args, false) } {
        Some(pgrx::JsonB(serde_json::Value::Object(object))) => {
            Ok(object.keys().cloned().collect())
        }
        _ => Err("args must be a JSON object to be mapped to named parameters".into()),
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn role(name: &str) -> Result<pg_sys::Oid, String> {
    let text = std::ffi::CString::new(name).unwrap_or_default();
    let oid = unsafe { pg_sys::get_role_oid(text.as_ptr(), true) };
    if oid == pg_sys::Oid::INVALID {
        return Err(format!(
            "role \"{name}\", which registered the kind, does not exist any more: register the kind again"
        ));
    }
    Ok(oid)
}
