//! Finishing members of a lease: completed, failed, released, snoozed, cancelled; and telling of progress.
//!
//! Every member that leaves a lease gets one row in the attempt log with its outcome. Whatever else follows (a retry,
//! a dead letter, a key that becomes free, a gate that opens) is in the same transaction.

use super::deferred::{self, DEAD, Deferred, RETRY, SNOOZE};
use super::entry::{self, Entry};
use super::kind::registry;
use super::lease::{self, Lease};
use super::member::{HOLDS_KEY, Member};
use super::{day_of, gate, now};
use crate::error::{invalid, lease_lost, not_found};
use crate::pg::function::{Call, Value, text_datum, uuid_datum, uuid_of};
use crate::pg::shmem::Count;
use crate::pg::snapshot::Snapshot;
use crate::pg::table::{Table, oid, oid_of_day};
use crate::pg::{spi, xact};
use forge_core::limits::MAX_BATCH;
use pgrx::pg_sys::{self, Datum};
use pgrx::{FromDatum, IntoDatum, PgBuiltInOids};
use std::collections::HashMap;
use uuid::Uuid;

/// Outcomes: up to 9 the job ends with it, from 10 on it goes on as another entry or deferred.
pub const COMPLETED: i16 = 1;
pub const CANCELLED: i16 = 2;
pub const FAILED: i16 = 10;
pub const RELEASED: i16 = 11;
pub const SNOOZED: i16 = 12;
pub const LOST: i16 = 13;
pub const PARKED: i16 = 14;

/// Longest error text kept, in bytes.
const MAX_ERROR: usize = 16 * 1024;

/// Who held a lease, for the attempt log.
#[derive(Clone, Copy, Default)]
pub struct Holder<'a> {
    pub node: Option<&'a Uuid>,
    pub worker: Option<&'a str>,
    pub started_at: Option<i64>,
}

/// Writes attempts of members that nobody held.
pub fn record_outcome(members: &[Member], outcome: i16, error: Option<&str>) {
    let rows = members
        .iter()
        .map(|m| attempt_row(m, Holder::default(), outcome, error, None, now()))
        .collect::<Vec<_>>();
    append(&rows);
}

fn append(rows: &[Vec<Value>]) {
    if rows.is_empty() {
        return;
    }
    match Table::write(oid_of_day("attempt", day_of(now()))) {
        Some(table) => table.append(rows),
        None => pgrx::error!("the attempt table was dropped while it was used"),
    }
}

fn attempt_row(
    m: &Member,
    holder: Holder<'_>,
    outcome: i16,
    error: Option<&str>,
    result: Value,
    at: i64,
) -> Vec<Value> {
    vec![
        Some(uuid_datum(&m.id)),
        Some(Datum::from(m.seq as i64)),
        Some(Datum::from(m.attempt)),
        Some(Datum::from(m.lane)),
        holder.node.map(uuid_datum),
        holder.worker.map(text_datum),
        holder.started_at.map(Datum::from),
        Some(Datum::from(at)),
        Some(Datum::from(outcome)),
        error.map(|e| text_datum(shorten(e))),
        result,
    ]
}

fn shorten(error: &str) -> &str {
    let mut end = error.len().min(MAX_ERROR);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    &error[..end]
}

/// How one member ends.
pub struct End<'a> {
    pub position: usize,
    pub outcome: i16,
    pub error: Option<&'a str>,
    pub result: Value,
}

/// Ends members of a locked, checked lease: attempt log, lease, keys and gates. Those finished before are left out;
/// answers how many were not.
pub fn end(lease: &mut Lease, ends: &[End<'_>]) -> usize {
    let at = now();
    let holder = (lease.node, lease.worker.clone(), lease.at);
    let holder = Holder {
        node: holder.0.as_ref(),
        worker: holder.1.as_deref(),
        started_at: Some(holder.2),
    };
    let mut positions = Vec::with_capacity(ends.len());
    let mut rows = Vec::with_capacity(ends.len());
    let mut gates: HashMap<u64, u32> = HashMap::new();
    let mut keys = Vec::new();
    let mut seen = vec![false; lease.members.len()];
    for end in ends {
        if lease.done[end.position] || std::mem::replace(&mut seen[end.position], true) {
            continue;
        }
        let member = lease.members[end.position];
        positions.push(end.position);
        xact::count(member.lane, Count::Running, -1);
        match end.outcome {
            COMPLETED => xact::count(member.lane, Count::Completed, 1),
            FAILED | LOST => xact::count(member.lane, Count::Failed, 1),
            _ => {}
        }
        rows.push(attempt_row(
            &member,
            holder,
            end.outcome,
            end.error,
            end.result,
            at,
        ));
        if member.gate != 0 {
            *gates.entry(member.gate).or_default() += 1;
        }
        if member.flags & HOLDS_KEY != 0 && end.outcome < FAILED {
            keys.push(member.id);
        }
    }
    append(&rows);
    lease.finish(&positions);
    forget_cancels(positions.iter().map(|p| lease.members[*p].id));
    free_keys(&keys);
    for (key, count) in gates {
        gate::leave(key, count);
        deferred::unpark(key, count);
    }
    positions.len()
}

/// Requests to cancel that came too late are gone with the attempt they were for. The table is almost always empty.
fn forget_cancels(ids: impl Iterator<Item = Uuid>) {
    let table = oid("cancel_request").and_then(Table::read);
    if table.is_some_and(|t| !t.has_no_pages()) {
        let ids: Vec<pgrx::Uuid> = ids
            .map(|id| pgrx::Uuid::from_bytes(*id.as_bytes()))
            .collect();
        spi::execute(
            "DELETE FROM forge_private.cancel_request WHERE id = ANY($1)",
            &[(PgBuiltInOids::UUIDARRAYOID.value(), ids.into_datum())],
        );
    }
}

/// Jobs no longer hold their unique keys.
pub fn free_keys(ids: &[Uuid]) {
    for id in ids {
        spi::execute(
            "DELETE FROM forge_private.unique_key WHERE id = $1",
            &[(PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(id)))],
        );
    }
}

fn checked(lease: &Uuid, node: Option<&Uuid>) -> Lease {
    let found =
        lease::lock_and_read(lease).unwrap_or_else(|| lease_lost(lease, "there is no such lease"));
    found.check(node);
    found
}

/// `forge.complete(lease, ids, results)`.
pub fn complete(call: &Call) -> Value {
    let id = call.need_uuid(0, "lease");
    let ids = call
        .array(1)
        .unwrap_or_else(|| invalid("ids must not be null", "Pass the ids of the finished jobs."));
    batch(ids.len(), "ids");
    let results = results(call, 2, ids.len());
    let mut lease = checked(&id, None);
    let by_id: HashMap<Uuid, usize> = lease
        .members
        .iter()
        .enumerate()
        .map(|(p, m)| (m.id, p))
        .collect();
    let ends: Vec<End<'_>> = ids
        .iter()
        .enumerate()
        .map(|(i, job)| {
            let job = job.map_or_else(
                || invalid("ids contains null", "Pass job ids only."),
                |d| unsafe { uuid_of(d) },
            );
            let position = *by_id.get(&job).unwrap_or_else(|| foreign(&job, &id));
            End {
                position,
                outcome: COMPLETED,
                error: None,
                result: results.as_ref().and_then(|r| r[i]),
            }
        })
        .collect();
    Some(Datum::from(end(&mut lease, &ends) as i32))
}

/// `forge_private.worker_complete(node, lease, positions, results)`.
pub fn worker_complete(call: &Call) -> Value {
    let node = call.need_uuid(0, "node");
    let id = call.need_uuid(1, "lease");
    let positions = call.ints(2, "positions").unwrap_or_default();
    batch(positions.len(), "positions");
    let results = results(call, 3, positions.len());
    let mut lease = checked(&id, Some(&node));
    let ends: Vec<End<'_>> = positions
        .iter()
        .enumerate()
        .map(|(i, p)| End {
            position: position(&lease, *p),
            outcome: COMPLETED,
            error: None,
            result: results.as_ref().and_then(|r| r[i]),
        })
        .collect();
    Some(Datum::from(end(&mut lease, &ends) as i32))
}

fn results(call: &Call, argument: usize, count: usize) -> Option<Vec<Value>> {
    let results = call.array(argument)?;
    if results.len() != count {
        invalid(
            format!("results has {} elements for {count} jobs", results.len()),
            "Pass one result per job, or null for none at all.",
        );
    }
    Some(results)
}

fn batch(count: usize, name: &str) {
    if count == 0 {
        invalid(format!("{name} is empty"), "Pass at least one.");
    }
    if count > MAX_BATCH {
        invalid(
            format!("{name} has {count} elements"),
            format!("Pass at most {MAX_BATCH} at once."),
        );
    }
}

/// A position of a lease, or ZF002.
pub fn position(lease: &Lease, position: i32) -> usize {
    match usize::try_from(position)
        .ok()
        .filter(|p| *p < lease.members.len())
    {
        Some(position) => position,
        None => invalid(
            format!(
                "position {position} is not in lease {}, which has {} jobs",
                lease.id,
                lease.members.len()
            ),
            "Pass positions as the claim answered them.",
        ),
    }
}

fn foreign(job: &Uuid, lease: &Uuid) -> ! {
    not_found(
        format!("job {job} is not in lease {lease}"),
        "Pass ids of jobs that this lease was claimed for.",
    )
}

/// `forge.fail(lease, id, error, retry, retry_in)`.
pub fn fail(call: &Call) -> Value {
    let (id, job) = (call.need_uuid(0, "lease"), call.need_uuid(1, "id"));
    let mut lease = checked(&id, None);
    let position = lease
        .position_of(&job)
        .unwrap_or_else(|| foreign(&job, &id));
    let wait = call
        .datum(4)
        .map(|d| super::deadline(Some(d), "retry_in", 0) - now());
    let error = call.text(2).unwrap_or_default();
    Some(text_datum(&fail_member(
        &mut lease,
        position,
        &error,
        call.get(3).unwrap_or(true),
        wait,
    )))
}

/// `forge_private.worker_fail(node, lease, pos, error, retry, retry_in_ms)`.
pub fn worker_fail(call: &Call) -> Value {
    let (node, id) = (call.need_uuid(0, "node"), call.need_uuid(1, "lease"));
    let mut lease = checked(&id, Some(&node));
    let position = position(&lease, call.get(2).unwrap_or(-1));
    let wait = call.get::<i32>(5).map(|ms| i64::from(ms.max(0)) * 1000);
    let error = call.text(3).unwrap_or_default();
    Some(text_datum(&fail_member(
        &mut lease,
        position,
        &error,
        call.get(4).unwrap_or(true),
        wait,
    )))
}

/// Fails a member; answers the job's new state.
pub fn fail_member(
    lease: &mut Lease,
    position: usize,
    error: &str,
    retry: bool,
    wait_us: Option<i64>,
) -> String {
    let member = lease.members[position];
    if lease.done[position] {
        return state_of(&member.id);
    }
    if cancel_requested(&member.id) {
        end(
            lease,
            &[End {
                position,
                outcome: CANCELLED,
                error: Some(error),
                result: None,
            }],
        );
        return "cancelled".into();
    }
    let entry = entry_of(&member);
    let again = retry && member.attempt < member.max_attempts;
    end(
        lease,
        &[End {
            position,
            outcome: FAILED,
            error: Some(error),
            result: None,
        }],
    );
    let backoff = || {
        let known = registry();
        let backoff = known
            .channel_of(member.lane)
            .map(|c| c.kind.backoff)
            .unwrap_or_default();
        backoff.delay(member.attempt as u32, random()).as_micros() as i64
    };
    let mut body = entry.body;
    if again {
        body.attempt += 1;
        let due = now() + wait_us.unwrap_or_else(backoff);
        defer(RETRY, Some(due), member.lane, &body, Some(error));
        "retrying".into()
    } else {
        if member.flags & HOLDS_KEY != 0 {
            free_keys(&[member.id]);
        }
        defer(DEAD, None, member.lane, &body, Some(error));
        "dead".into()
    }
}

fn defer(reason: i16, due: Option<i64>, lane: i32, body: &entry::Body, error: Option<&str>) {
    deferred::insert(&[Deferred {
        reason,
        due,
        lane,
        body,
        gate: None,
        error: error.map(shorten),
    }]);
}

fn random() -> f64 {
    let mut bytes = [0u8; 4];
    unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) };
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// The entry of a member; raises when its day table has been dropped under an unfinished job.
pub fn entry_of(member: &Member) -> Entry {
    entry::of_member(member, &Snapshot::latest()).unwrap_or_else(|| {
        pgrx::error!(
            "the entry of job {} is gone from forge_private.entry",
            member.id
        )
    })
}

fn cancel_requested(id: &Uuid) -> bool {
    spi::query(
        "DELETE FROM forge_private.cancel_request WHERE id = $1 RETURNING 1",
        &[(PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(id)))],
        |_| {},
    ) > 0
}

/// A job's state as the view `forge.jobs` says it.
pub fn state_of(id: &Uuid) -> String {
    let mut state = String::from("unknown");
    spi::query(
        "SELECT state FROM forge.jobs WHERE id = $1",
        &[(PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(id)))],
        |row| {
            state = row[0]
                .and_then(|d| unsafe { String::from_datum(d, false) })
                .unwrap_or_default()
        },
    );
    state
}

/// Puts members back in their lanes under their attempt number.
pub fn give_back(
    lease: &mut Lease,
    positions: &[usize],
    outcome: i16,
    error: Option<&str>,
) -> usize {
    let open: Vec<usize> = positions
        .iter()
        .copied()
        .filter(|p| !lease.done[*p])
        .collect();
    let bodies: Vec<(i32, entry::Body)> = open
        .iter()
        .map(|p| (lease.members[*p].lane, entry_of(&lease.members[*p]).body))
        .collect();
    let ends: Vec<End<'_>> = open
        .iter()
        .map(|p| End {
            position: *p,
            outcome,
            error,
            result: None,
        })
        .collect();
    end(lease, &ends);
    entry::append_mixed(&bodies);
    open.len()
}

/// `forge_private.worker_release(node, lease, positions)`; null positions are all of the lease. A lease that is not
/// there any more has nothing to release.
pub fn worker_release(call: &Call) -> Value {
    let (node, id) = (call.need_uuid(0, "node"), call.need_uuid(1, "lease"));
    let Some(mut lease) = lease::lock_and_read(&id) else {
        return Some(Datum::from(0i32));
    };
    lease.check(Some(&node));
    let positions = match call.ints(2, "positions") {
        Some(given) => given.iter().map(|p| position(&lease, *p)).collect(),
        None => lease.open(),
    };
    let count = give_back(&mut lease, &positions, RELEASED, None);
    Some(Datum::from(count as i32))
}

/// `forge.snooze(lease, id, delay)`.
pub fn snooze(call: &Call) -> Value {
    let (id, job) = (call.need_uuid(0, "lease"), call.need_uuid(1, "id"));
    let due = super::deadline(call.datum(2), "delay", 0);
    let mut lease = checked(&id, None);
    let position = lease
        .position_of(&job)
        .unwrap_or_else(|| foreign(&job, &id));
    snooze_member(&mut lease, position, due);
    None
}

/// `forge_private.worker_snooze(node, lease, pos, delay_ms)`.
pub fn worker_snooze(call: &Call) -> Value {
    let (node, id) = (call.need_uuid(0, "node"), call.need_uuid(1, "lease"));
    let mut lease = checked(&id, Some(&node));
    let position = position(&lease, call.get(2).unwrap_or(-1));
    snooze_member(
        &mut lease,
        position,
        now() + i64::from(call.get::<i32>(3).unwrap_or(0).max(0)) * 1000,
    );
    None
}

fn snooze_member(lease: &mut Lease, position: usize, due: i64) {
    let member = lease.members[position];
    if lease.done[position] {
        return;
    }
    let body = entry_of(&member).body;
    end(
        lease,
        &[End {
            position,
            outcome: SNOOZED,
            error: None,
            result: None,
        }],
    );
    defer(SNOOZE, Some(due), member.lane, &body, None);
}

/// `forge_private.worker_cancelled(node, lease, pos)`.
pub fn worker_cancelled(call: &Call) -> Value {
    let (node, id) = (call.need_uuid(0, "node"), call.need_uuid(1, "lease"));
    let mut lease = checked(&id, Some(&node));
    let position = position(&lease, call.get(2).unwrap_or(-1));
    let job = lease.members[position].id;
    cancel_requested(&job);
    end(
        &mut lease,
        &[End {
            position,
            outcome: CANCELLED,
            error: Some("cancelled while running"),
            result: None,
        }],
    );
    None
}

/// `forge.extend(lease, by)`.
pub fn extend(call: &Call) -> Value {
    let id = call.need_uuid(0, "lease");
    let deadline = super::end_of(call.datum(1), "by", 30_000_000);
    let mut lease = checked(&id, None);
    lease.extend(deadline);
    Some(Datum::from(deadline))
}

/// `forge.progress(lease, id, percent, message)`.
pub fn progress(call: &Call) -> Value {
    let (id, job) = (call.need_uuid(0, "lease"), call.need_uuid(1, "id"));
    let lease = checked(&id, None);
    if lease.position_of(&job).is_none() {
        foreign(&job, &id);
    }
    note_progress(&job, call.datum(2), call.datum(3));
    None
}

/// `forge_private.worker_progress(node, lease, pos, percent, message)`: false when a cancel was requested.
pub fn worker_progress(call: &Call) -> Value {
    let (node, id) = (call.need_uuid(0, "node"), call.need_uuid(1, "lease"));
    let lease = checked(&id, Some(&node));
    let job = lease.members[position(&lease, call.get(2).unwrap_or(-1))].id;
    note_progress(&job, call.datum(3), call.datum(4));
    let asked = spi::query(
        "SELECT 1 FROM forge_private.cancel_request WHERE id = $1",
        &[(PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(&job)))],
        |_| {},
    ) > 0;
    Some(Datum::from(!asked))
}

fn note_progress(job: &Uuid, percent: Value, message: Value) {
    if let Some(p) = percent.and_then(|d| unsafe { f32::from_datum(d, false) })
        && !(0.0..=100.0).contains(&p)
    {
        invalid(
            format!("percent {p} is out of range"),
            "Pass a percentage from 0 to 100.",
        );
    }
    spi::execute(
        "INSERT INTO forge_private.progress VALUES ($1, $2, left($3, 2000), clock_timestamp()) \
         ON CONFLICT (id) DO UPDATE SET percent = EXCLUDED.percent, message = EXCLUDED.message, at = EXCLUDED.at",
        &[
            (PgBuiltInOids::UUIDOID.value(), Some(uuid_datum(job))),
            (PgBuiltInOids::FLOAT4OID.value(), percent),
            (PgBuiltInOids::TEXTOID.value(), message),
        ],
    );
}
