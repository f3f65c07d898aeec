//! The registry as this backend knows it: kinds, queues, channels, lanes.
//!
//! Read once and kept until a registration changes it: changes invalidate the relation cache entry of
//! `forge_private.job_kind`, which reaches every backend when the change commits.

use crate::error::{invalid, not_found};
use crate::pg::function::{Call, Value, text_datum};
use crate::pg::{extra, spi, table};
use forge_core::{Backoff, Priority, Rate};
use pgrx::pg_sys::{self, Oid};
use pgrx::{FromDatum, PgBuiltInOids};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// A registered kind of job.
#[derive(Debug)]
pub struct Kind {
    pub id: i32,
    pub name: String,
    pub handler: String,
    pub queue: String,
    pub priority: i32,
    pub max_attempts: i16,
    pub backoff: Backoff,
    pub capability: String,
    pub max_concurrency: Option<u32>,
    pub concurrency_by: Option<String>,
    pub rate: Option<Rate>,
    pub retention_us: i64,
    pub owner: String,
}

/// Where jobs of a kind wait in a queue.
#[derive(Debug, Clone)]
pub struct Channel {
    pub id: i32,
    pub kind: Rc<Kind>,
    pub queue: Rc<Queue>,
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    pub name: String,
    pub paused: bool,
    pub rate: Option<Rate>,
}

impl Channel {
    /// The lane of a priority (0 critical to 4 background).
    pub fn lane(&self, priority: i32) -> i32 {
        self.id * 8 + priority
    }
}

/// The registry at one moment.
#[derive(Default)]
pub struct Registry {
    pub kinds: HashMap<String, Rc<Kind>>,
    pub queues: HashMap<String, Rc<Queue>>,
    pub channels: HashMap<i32, Channel>,
    by_place: HashMap<(i32, String), i32>,
}

thread_local! {
    static REGISTRY: RefCell<Option<Rc<Registry>>> = const { RefCell::new(None) };
    static HOOKED: Cell<bool> = const { Cell::new(false) };
    static WATCHED: Cell<Oid> = const { Cell::new(Oid::INVALID) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_invalidation(_argument: pg_sys::Datum, relation: Oid) {
    if relation == Oid::INVALID || relation == WATCHED.get() {
        // Whoever uses it further up the stack has an Rc of its own.
        REGISTRY.set(None);
    }
}

/// The registry, read anew when it has changed.
pub fn registry() -> Rc<Registry> {
    unsafe { pg_sys::AcceptInvalidationMessages() };
    if let Some(known) = REGISTRY.with_borrow(Clone::clone) {
        return known;
    }
    if !HOOKED.replace(true) {
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(
                Some(on_invalidation),
                pg_sys::Datum::from(0usize),
            )
        };
    }
    WATCHED.set(table::oid("job_kind").unwrap_or(Oid::INVALID));
    let fresh = Rc::new(read());
    REGISTRY.set(Some(fresh.clone()));
    fresh
}

fn read() -> Registry {
    let mut registry = Registry::default();
    spi::query(
        "SELECT name, paused, rate_limit FROM forge_private.queue",
        &[],
        |row| {
            let name: String = need(row[0]);
            let rate = opt::<String>(row[2]).and_then(|r| Rate::parse(&r).ok());
            registry.queues.insert(
                name.clone(),
                Rc::new(Queue {
                    name,
                    paused: need(row[1]),
                    rate,
                }),
            );
        },
    );
    let mut by_id = HashMap::new();
    spi::query(
        "SELECT id, kind, handler, queue, priority, max_attempts, backoff, capability, max_concurrency, \
         concurrency_by, rate_limit, (extract(epoch FROM retention) * 1000000)::bigint, owner::text \
         FROM forge_private.job_kind",
        &[],
        |row| {
            let kind = Rc::new(Kind {
                id: need(row[0]),
                name: need(row[1]),
                handler: need(row[2]),
                queue: need(row[3]),
                priority: i32::from(need::<i16>(row[4])),
                max_attempts: need(row[5]),
                backoff: Backoff::parse(&need::<String>(row[6])).unwrap_or_default(),
                capability: need(row[7]),
                max_concurrency: opt::<i32>(row[8]).map(|n| n.max(1) as u32),
                concurrency_by: opt(row[9]),
                rate: opt::<String>(row[10]).and_then(|r| Rate::parse(&r).ok()),
                retention_us: need(row[11]),
                owner: need(row[12]),
            });
            by_id.insert(kind.id, kind.clone());
            registry.kinds.insert(kind.name.clone(), kind);
        },
    );
    spi::query(
        "SELECT id, kind_id, queue FROM forge_private.channel",
        &[],
        |row| {
            let (id, kind_id, queue): (i32, i32, String) =
                (need(row[0]), need(row[1]), need(row[2]));
            if let (Some(kind), Some(queue)) = (by_id.get(&kind_id), registry.queues.get(&queue)) {
                registry.by_place.insert((kind_id, queue.name.clone()), id);
                registry.channels.insert(
                    id,
                    Channel {
                        id,
                        kind: kind.clone(),
                        queue: queue.clone(),
                    },
                );
            }
        },
    );
    registry
}

fn opt<T: FromDatum>(value: Value) -> Option<T> {
    value.and_then(|d| unsafe { T::from_datum(d, false) })
}

fn need<T: FromDatum + Default>(value: Value) -> T {
    opt(value).unwrap_or_default()
}

impl Registry {
    /// A kind by name, or ZF001.
    pub fn kind(&self, name: &str) -> Rc<Kind> {
        self.kinds.get(name).cloned().unwrap_or_else(|| {
            not_found(
                format!("job kind \"{name}\" is not registered"),
                "Register it first: SELECT forge.register_job(kind, handler).",
            )
        })
    }

    /// The channel of a lane.
    pub fn channel_of(&self, lane: i32) -> Option<&Channel> {
        self.channels.get(&lane.div_euclid(8))
    }
}

/// The channel of a kind in a queue; made when the queue exists and jobs of the kind go there for the first time.
pub fn channel(kind: &Rc<Kind>, queue: &str) -> Channel {
    let known = registry();
    if let Some(id) = known.by_place.get(&(kind.id, queue.to_owned())) {
        return known.channels[id].clone();
    }
    if !known.queues.contains_key(queue) {
        not_found(
            format!("queue \"{queue}\" does not exist"),
            "Register a kind in it: SELECT forge.register_job(kind, handler, queue => queue).",
        );
    }
    spi::execute(
        "INSERT INTO forge_private.channel(kind_id, queue) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[
            (
                PgBuiltInOids::INT4OID.value(),
                Some(pg_sys::Datum::from(kind.id)),
            ),
            (PgBuiltInOids::TEXTOID.value(), Some(text_datum(queue))),
        ],
    );
    invalidate();
    let fresh = registry();
    match fresh.by_place.get(&(kind.id, queue.to_owned())) {
        Some(id) => fresh.channels[id].clone(),
        None => pgrx::error!("no channel for kind {} in queue {queue}", kind.name),
    }
}

/// The rank of a priority word, or ZF002.
pub fn priority(word: &str) -> i32 {
    Priority::parse(word).map_or_else(|e| invalid(&e, e.hint()), |p| i32::from(p.rank()))
}

fn invalidate() {
    if let Some(relation) = table::oid("job_kind") {
        unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
    }
    REGISTRY.set(None);
}

/// `forge_private.registry_changed()`: every backend reads the registry anew once this transaction has committed.
pub fn registry_changed(_: &Call) -> Value {
    invalidate();
    extra::notify(c"forge_control");
    crate::pg::xact::wake();
    None
}
