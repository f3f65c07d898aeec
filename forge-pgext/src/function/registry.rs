//! Registered functions as this backend knows them, with what was compiled for calling them.
//!
//! Read once and kept until a registration changes: that invalidates the relation cache entry of `forge_private.job_kind`
//! ([`crate::job::kind`]), as for kinds. A function that is altered, or a row type that changes, makes compiled targets
//! stale. Callbacks only set flags: plans are freed at the next look-up.

use super::shape;
use super::target::Target;
use crate::pg::function::Value;
use crate::pg::{role, spi, table};
use forge_core::Rate;
use pgrx::FromDatum;
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// What a function may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Query,
    Mutation,
    Action,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Action => "action",
        }
    }
}

/// A registration.
#[derive(Debug)]
pub struct Registered {
    pub name: String,
    pub kind: Kind,
    /// `schema.name(types)`, or an action's handler.
    pub handler: String,
    /// 1 read committed, 2 repeatable read, 3 serializable.
    pub isolation: i32,
    pub timeout_ms: Option<i32>,
    pub rate: Option<Rate>,
    pub cached: bool,
    pub max_concurrency: Option<u32>,
    /// Roles that may run an action.
    pub roles: Vec<String>,
}

struct Known {
    all: HashMap<String, Rc<Registered>>,
    targets: HashMap<String, Rc<Target>>,
}

thread_local! {
    /// Not dropped when the process ends: plans must not be freed after Postgres has shut down.
    static KNOWN: ManuallyDrop<RefCell<Option<Known>>> = const { ManuallyDrop::new(RefCell::new(None)) };
    static HOOKED: Cell<bool> = const { Cell::new(false) };
    static WATCHED: Cell<Oid> = const { Cell::new(Oid::INVALID) };
    /// Registrations changed.
    static STALE: Cell<bool> = const { Cell::new(false) };
    /// Row types changed.
    static STALE_TARGETS: Cell<bool> = const { Cell::new(false) };
    /// Hashes of functions that changed; 0 is all.
    static CHANGED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_relation(_argument: pg_sys::Datum, relation: Oid) {
    if relation == Oid::INVALID || relation == WATCHED.get() {
        STALE.set(true);
    }
    if shape::relation_changed(relation) {
        STALE_TARGETS.set(true);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_function(_argument: pg_sys::Datum, _cache: i32, hash: u32) {
    CHANGED.with_borrow_mut(|c| {
        // Many at once are like all.
        if c.len() < 64 {
            c.push(hash);
        } else {
            c.push(0);
        }
    });
}

fn hook() {
    if HOOKED.replace(true) {
        return;
    }
    let none = pg_sys::Datum::from(0usize);
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(on_relation), none);
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            Some(on_function),
            none,
        );
    }
}

/// Looks at or changes what is known; `work` must not call into Postgres.
fn known<R>(work: impl FnOnce(&mut Option<Known>) -> R) -> R {
    KNOWN.with(|known| work(&mut known.borrow_mut()))
}

/// Brings what is known up to date.
fn refresh() {
    unsafe { pg_sys::AcceptInvalidationMessages() };
    shape::refresh();
    let (stale, stale_targets) = (STALE.replace(false), STALE_TARGETS.replace(false));
    let changed = CHANGED.with_borrow_mut(std::mem::take);
    if stale {
        // Dropping plans calls into Postgres: outside of the borrow.
        drop(known(Option::take));
    } else if stale_targets || changed.contains(&0) {
        drop(known(|k| {
            k.as_mut().map(|k| std::mem::take(&mut k.targets))
        }));
    } else if !changed.is_empty() {
        drop(known(|k| {
            k.as_mut().map(|k| {
                k.targets
                    .extract_if(|_, t| changed.contains(&t.hash))
                    .collect::<Vec<_>>()
            })
        }));
    }
    if known(|k| k.is_none()) {
        hook();
        WATCHED.set(table::oid("job_kind").unwrap_or(Oid::INVALID));
        STALE.set(false);
        let all = role::as_owner(read);
        let fresh = Known {
            all,
            targets: HashMap::new(),
        };
        known(|k| *k = Some(fresh));
    }
}

/// A registration by name; `None` when there is none.
pub fn find(name: &str) -> Option<Rc<Registered>> {
    refresh();
    known(|k| k.as_ref().and_then(|k| k.all.get(name).cloned()))
}

/// Every registration.
pub fn all() -> Vec<Rc<Registered>> {
    refresh();
    known(|k| {
        k.as_ref()
            .map(|k| k.all.values().cloned().collect())
            .unwrap_or_default()
    })
}

/// What to call for a registered query or mutation.
pub fn target(registered: &Rc<Registered>) -> Rc<Target> {
    let name = &registered.name;
    let compiled = known(|k| k.as_ref().and_then(|k| k.targets.get(name).cloned()));
    if let Some(compiled) = compiled {
        return compiled;
    }
    let fresh = Rc::new(role::as_owner(|| Target::compile(registered)));
    known(|k| {
        if let Some(k) = k {
            k.targets.insert(name.clone(), fresh.clone());
        }
    });
    fresh
}

fn read() -> HashMap<String, Rc<Registered>> {
    let mut all = HashMap::new();
    spi::query(
        "SELECT f.name, f.kind, f.handler, f.isolation, (extract(epoch FROM f.timeout) * 1000)::int, f.rate_limit, \
         f.cache_ttl IS NOT NULL, f.max_concurrency, \
         ARRAY(SELECT jsonb_array_elements_text(coalesce(f.options -> 'roles', '[\"forge_user\",\"forge_service\",\"forge_admin\"]'))) \
         FROM forge_private.function f",
        &[],
        |row| {
            let name: String = need(row[0]);
            let registered = Registered {
                name: name.clone(),
                kind: match need::<String>(row[1]).as_str() {
                    "query" => Kind::Query,
                    "mutation" => Kind::Mutation,
                    _ => Kind::Action,
                },
                handler: need(row[2]),
                isolation: match need::<String>(row[3]).as_str() {
                    "serializable" => 3,
                    "repeatable read" => 2,
                    _ => 1,
                },
                timeout_ms: opt(row[4]),
                rate: opt::<String>(row[5]).and_then(|r| Rate::parse(&r).ok()),
                cached: need(row[6]),
                max_concurrency: opt::<i32>(row[7]).map(|n| n.max(1) as u32),
                roles: need(row[8]),
            };
            all.insert(name, Rc::new(registered));
        },
    );
    all
}

pub(super) fn opt<T: FromDatum>(value: Value) -> Option<T> {
    value.and_then(|d| unsafe { T::from_datum(d, false) })
}

pub(super) fn need<T: FromDatum + Default>(value: Value) -> T {
    opt(value).unwrap_or_default()
}
