//! Enqueueing: one append per call, in the caller's transaction.

use super::cancel::{self, Withdrawn};
use super::deferred::{self, DELAY, Deferred};
use super::entry::{self, Body, digest, digest_bytes};
use super::kind::{self, Kind, registry};
use super::now;
use crate::error::{fail, invalid};
use crate::guc;
use crate::pg::function::{Call, Value, text_datum, uuid_datum, uuid_of};
use crate::pg::lock::{self, Class};
use crate::pg::shmem::Count;
use crate::pg::{spi, xact};
use forge_core::limits::{MAX_BATCH, check_key, check_tags};
use pgrx::pg_sys::{self, Datum};
use pgrx::{FromDatum, IntoDatum, PgBuiltInOids};
use std::rc::Rc;
use uuid::Uuid;

/// What all jobs of one call share.
struct Order {
    kind: Rc<Kind>,
    lane: i32,
    max_attempts: i16,
    /// When it becomes ready, if that is later.
    due: Option<i64>,
    run_at: Value,
    gate_key: Option<String>,
    tags: Value,
    traceparent: Value,
}

/// Where the arguments of a SQL function stand.
struct Places {
    queue: usize,
    priority: usize,
    run_at: usize,
    delay: usize,
    max_attempts: usize,
    concurrency_key: usize,
    tags: usize,
}

impl Order {
    fn read(call: &Call, at: &Places) -> Self {
        let kind = registry().kind(&call.need_text(0, "kind"));
        let queue = call.text(at.queue).unwrap_or_else(|| kind.queue.clone());
        let priority = call
            .text(at.priority)
            .map_or(kind.priority, |p| kind::priority(&p));
        let channel = kind::channel(&kind, &queue);
        let (run_at, delay) = (call.datum(at.run_at), call.datum(at.delay));
        if run_at.is_some() && delay.is_some() {
            invalid("run_at and delay are both given", "Pass one of them.");
        }
        let due = run_at
            .map(|d| finite(d.value() as i64))
            .or_else(|| delay.map(|d| super::deadline(Some(d), "delay", 0)))
            .filter(|d| *d > now());
        let max_attempts = call
            .get::<i32>(at.max_attempts)
            .map_or(kind.max_attempts, |n| {
                i16::try_from(n)
                    .ok()
                    .filter(|n| *n >= 1)
                    .unwrap_or_else(|| {
                        invalid(
                            format!("max_attempts {n} is out of range"),
                            "Pass 1 to 32767.",
                        )
                    })
            });
        let gate_key = call.text(at.concurrency_key);
        if let Some(key) = &gate_key {
            check_key("concurrency key", key).unwrap_or_else(|e| invalid(&e, e.hint()));
        }
        if let Some(tags) = call.texts(at.tags, "tags") {
            check_tags(&tags).unwrap_or_else(|e| invalid(&e, e.hint()));
        }
        Self {
            lane: channel.lane(priority),
            kind,
            max_attempts,
            due,
            run_at: due.map(Datum::from),
            gate_key,
            tags: call.datum(at.tags),
            traceparent: traceparent(),
        }
    }

    fn body(&self, args: Datum) -> Body {
        check_args(args);
        let gate_key = self.gate_key.clone().or_else(|| {
            self.kind
                .concurrency_by
                .as_deref()
                .and_then(|by| part_of(args, by))
        });
        Body {
            id: crate::job::new_id(),
            attempt: 1,
            max_attempts: self.max_attempts,
            enqueued_at: now(),
            args,
            gate_key: gate_key.map(|k| text_datum(&k)),
            digest: None,
            tags: self.tags,
            traceparent: self.traceparent,
            run_at: self.run_at,
        }
    }

    fn add(&self, bodies: &[Body]) {
        xact::count(self.lane, Count::Enqueued, bodies.len() as i64);
        match self.due {
            None => entry::append(self.lane, bodies),
            due => {
                let rows: Vec<Deferred<'_>> = bodies
                    .iter()
                    .map(|body| Deferred {
                        reason: DELAY,
                        due,
                        lane: self.lane,
                        body,
                        gate: None,
                        error: None,
                    })
                    .collect();
                deferred::insert(&rows);
            }
        }
    }
}

fn finite(run_at: i64) -> i64 {
    if run_at == i64::MAX || run_at == i64::MIN {
        invalid(
            "run_at is infinite",
            "Pass a time at which the job is to run.",
        );
    }
    run_at
}

fn traceparent() -> Value {
    let set = guc::TRACEPARENT
        .get()
        .and_then(|t| t.to_str().ok().filter(|t| !t.is_empty()).map(str::to_owned));
    set.or_else(super::run_sql::current_traceparent)
        .map(|t| text_datum(&t))
}

fn check_args(args: Datum) {
    let bytes = unsafe { pg_sys::toast_raw_datum_size(args) };
    let limit = guc::MAX_ARGS_KB.get() as usize * 1024;
    if bytes > limit {
        fail(
            "ZF009",
            format!("args of {bytes} bytes are over the limit of {limit}"),
            "Store the payload in a table and pass its key, or raise forge.max_args.",
        );
    }
}

/// The text at a dotted path in args.
fn part_of(args: Datum, path: &str) -> Option<String> {
    let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
    let mut found = None;
    spi::query(
        "SELECT $1 #>> $2",
        &[
            (PgBuiltInOids::JSONBOID.value(), Some(args)),
            (PgBuiltInOids::TEXTARRAYOID.value(), parts.into_datum()),
        ],
        |row| found = row[0].and_then(|d| unsafe { String::from_datum(d, false) }),
    );
    found
}

fn null_args() -> Datum {
    invalid(
        "args must not be null",
        "Use '{}' for a job without arguments.",
    )
}

/// What to do when a key is held already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnConflict {
    Keep,
    Replace,
    Reject,
}

impl OnConflict {
    fn parse(word: &str) -> Self {
        match word {
            "keep" => Self::Keep,
            "replace" => Self::Replace,
            "reject" => Self::Reject,
            other => invalid(
                format!("on_conflict \"{other}\" is unknown"),
                "Use keep, replace or reject.",
            ),
        }
    }
}

/// `forge.enqueue(kind, args, queue, priority, run_at, delay, max_attempts, unique_key, on_conflict, idempotency_key,
/// concurrency_key, tags)`.
pub fn enqueue(call: &Call) -> Value {
    let places = Places {
        queue: 2,
        priority: 3,
        run_at: 4,
        delay: 5,
        max_attempts: 6,
        concurrency_key: 10,
        tags: 11,
    };
    let order = Order::read(call, &places);
    let on_conflict = OnConflict::parse(&call.text(8).unwrap_or_else(|| "keep".into()));
    let args = call.datum(1).unwrap_or_else(null_args);
    let (id, _) = place(&order, args, call.text(7), call.text(9), on_conflict);
    Some(uuid_datum(&id))
}

/// `forge_private.enqueue_once(kind, args, idempotency_key, traceparent)`.
pub fn enqueue_once(call: &Call) -> Value {
    let none = usize::MAX;
    let places = Places {
        queue: none,
        priority: none,
        run_at: none,
        delay: none,
        max_attempts: none,
        concurrency_key: none,
        tags: none,
    };
    let results = call.result_set();
    let mut order = Order::read(call, &places);
    order.traceparent = call.datum(3).or(order.traceparent);
    let args = call.datum(1).unwrap_or_else(null_args);
    let (id, duplicate) = place(&order, args, None, call.text(2), OnConflict::Keep);
    results.push(&[Some(uuid_datum(&id)), Some(Datum::from(duplicate))]);
    None
}

/// Adds one job, minding its keys; answers its id, or the id of the job that holds a key, and whether it was that one.
fn place(
    order: &Order,
    args: Datum,
    unique: Option<String>,
    idempotency: Option<String>,
    on_conflict: OnConflict,
) -> (Uuid, bool) {
    let mut body = order.body(args);
    for (what, key) in [("unique key", &unique), ("idempotency key", &idempotency)] {
        if let Some(key) = key {
            check_key(what, key).unwrap_or_else(|e| invalid(&e, e.hint()));
        }
    }
    if let Some(key) = &idempotency
        && let Some(earlier) = hold(order, key, &body, Ledger::Idempotency, on_conflict)
    {
        return (earlier, true);
    }
    if let Some(key) = &unique {
        if let Some(holder) = hold(order, key, &body, Ledger::Unique, on_conflict) {
            if on_conflict == OnConflict::Replace {
                replace(order, &holder, &mut body, key);
            }
            return (holder, true);
        }
        body.digest = Some(digest(order.kind.id, key));
    }
    order.add(std::slice::from_ref(&body));
    (body.id, false)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ledger {
    Unique,
    Idempotency,
}

/// Enters a key for a job; answers the job that has it already. The key's lock is held to the end of the transaction,
/// so that of two who come at once one waits and then sees the other.
fn hold(
    order: &Order,
    key: &str,
    body: &Body,
    ledger: Ledger,
    on_conflict: OnConflict,
) -> Option<Uuid> {
    let bytes = digest_bytes(order.kind.id, key);
    let lock_key = bytes[..8]
        .iter()
        .fold(ledger as u64, |n, b| n << 8 ^ u64::from(*b));
    lock::acquire(Class::Key, lock_key);
    let digest = (
        PgBuiltInOids::BYTEAOID.value(),
        Some(digest(order.kind.id, key)),
    );
    let mut holder = None;
    let find = match ledger {
        Ledger::Unique => "SELECT id FROM forge_private.unique_key WHERE digest = $1",
        Ledger::Idempotency => {
            "SELECT id FROM forge_private.idempotency_key WHERE digest = $1 AND expires_at > now()"
        }
    };
    spi::query(find, &[digest], |row| {
        holder = row[0].map(|d| unsafe { uuid_of(d) })
    });
    if let Some(holder) = holder {
        if on_conflict == OnConflict::Reject {
            let what = if ledger == Ledger::Unique {
                "unique"
            } else {
                "idempotency"
            };
            fail(
                "ZF005",
                format!(
                    "{what} key \"{key}\" of kind \"{}\" is held by job {holder}",
                    order.kind.name
                ),
                "Use on_conflict => 'keep' to get that job's id, or 'replace' to change it while it waits.",
            );
        }
        return Some(holder);
    }
    let id = (PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(&body.id)));
    match ledger {
        Ledger::Unique => spi::execute(
            "INSERT INTO forge_private.unique_key VALUES ($1, $2)",
            &[digest, id],
        ),
        Ledger::Idempotency => spi::execute(
            "INSERT INTO forge_private.idempotency_key VALUES ($1, $2, $3) \
             ON CONFLICT (digest) DO UPDATE SET id = EXCLUDED.id, expires_at = EXCLUDED.expires_at",
            &[
                digest,
                id,
                (
                    PgBuiltInOids::TIMESTAMPTZOID.value(),
                    Some(Datum::from(now() + order.kind.retention_us)),
                ),
            ],
        ),
    };
    None
}

/// Gives a waiting job new arguments and a new time; a running one goes on as it was.
fn replace(order: &Order, holder: &Uuid, body: &mut Body, key: &str) {
    if let Withdrawn::Waiting(..) = cancel::withdraw(holder, "1234") {
        body.id = *holder;
        body.digest = Some(digest(order.kind.id, key));
        order.add(std::slice::from_ref(body));
    }
}

/// `forge.enqueue_many(kind, args[], queue, priority, run_at, delay, max_attempts, concurrency_key, tags)`.
pub fn enqueue_many(call: &Call) -> Value {
    let places = Places {
        queue: 2,
        priority: 3,
        run_at: 4,
        delay: 5,
        max_attempts: 6,
        concurrency_key: 7,
        tags: 8,
    };
    let order = Order::read(call, &places);
    let args = call.array(1).unwrap_or_else(|| {
        invalid(
            "args must not be null",
            "Pass an array of jsonb, one per job.",
        )
    });
    if args.is_empty() {
        invalid("args is an empty array", "Pass at least one element.");
    }
    if args.len() > MAX_BATCH {
        invalid(
            format!("args has {} elements", args.len()),
            format!("Enqueue at most {MAX_BATCH} jobs per call."),
        );
    }
    let results = call.scalar_set();
    let bodies: Vec<Body> = args
        .into_iter()
        .map(|a| {
            order.body(a.unwrap_or_else(|| {
                invalid(
                    "args contains null",
                    "Use '{}' for a job without arguments.",
                )
            }))
        })
        .collect();
    order.add(&bodies);
    for body in &bodies {
        results.push(&[Some(uuid_datum(&body.id))]);
    }
    None
}
