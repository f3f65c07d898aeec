//! Taking leases away from those who will not finish: dead nodes, nodes that leave, pullers past their deadline.

use super::deferred::{self, DEAD, Deferred};
use super::finish::{self, End, LOST, RELEASED};
use super::kind::registry;
use super::lease;
use super::now;
use crate::pg::function::{Call, Value, uuid_of};
use crate::pg::lock::{self, Class};
use crate::pg::spi;
use pgrx::PgBuiltInOids;
use pgrx::pg_sys::Datum;
use uuid::Uuid;

const OPEN: &str = "NOT EXISTS (SELECT 1 FROM forge_private.lease_event e WHERE e.lease = c.lease AND e.kind IN (2, 3)) \
                    AND c.at >= coalesce((SELECT at FROM forge_private.claim_floor), '-infinity')";

/// `forge_private.release_node_leases(node uuid, lost boolean) returns bigint`: hands everything the node had to
/// others. A lost node's jobs have used the attempt they were in; a leaving node's have not.
pub fn release_node_leases(call: &Call) -> Value {
    let node = call.need_uuid(0, "node");
    let lost = call.get::<bool>(1).unwrap_or(true);
    let key = node.as_u128();
    // Claims of the node that are under way commit before this goes on, and are seen.
    lock::acquire(Class::Node, (key >> 64) as u64 ^ key as u64);
    let leases = leases(
        &format!("SELECT c.lease FROM forge_private.claim c WHERE c.node = $1 AND {OPEN}"),
        &[(
            PgBuiltInOids::UUIDOID.value(),
            Some(crate::pg::function::uuid_datum(&node)),
        )],
    );
    let count: usize = leases.iter().map(|id| take_away(id, lost, false)).sum();
    Some(Datum::from(count as i64))
}

/// `forge_private.release_expired_leases() returns bigint`: pullers that let their deadline pass.
pub fn release_expired_leases(_: &Call) -> Value {
    let leases = leases(
        &format!(
            "SELECT c.lease FROM forge_private.claim c WHERE c.deadline < clock_timestamp() AND {OPEN}"
        ),
        &[],
    );
    let count: usize = leases.iter().map(|id| take_away(id, true, true)).sum();
    Some(Datum::from(count as i64))
}

fn leases(sql: &str, params: &[spi::Param]) -> Vec<Uuid> {
    let mut found = Vec::new();
    spi::query(sql, params, |row| {
        found.extend(row[0].map(|d| unsafe { uuid_of(d) }))
    });
    found
}

/// Revokes a lease and puts its unfinished members back; answers how many there were.
fn take_away(id: &Uuid, lost: bool, expired: bool) -> usize {
    let Some(mut lease) = lease::lock_and_read(id) else {
        return 0;
    };
    if lease.revoked || (expired && lease.deadline.is_some_and(|d| d >= now())) {
        return 0;
    }
    let open = lease.open();
    if lost {
        let why = if expired {
            "the worker's lease expired"
        } else {
            "the node died"
        };
        lose(&mut lease, &open, why);
    } else {
        finish::give_back(&mut lease, &open, RELEASED, None);
    }
    lease.revoke();
    open.len()
}

/// Members whose worker is gone: the attempt counts, and the next one starts at once; after the last one the job is
/// dead.
fn lose(lease: &mut lease::Lease, positions: &[usize], why: &str) {
    let mut again = Vec::new();
    let mut dead = Vec::new();
    for position in positions {
        let member = lease.members[*position];
        let mut body = finish::entry_of(&member).body;
        if member.attempt < member.max_attempts {
            body.attempt += 1;
            again.push((member.lane, body));
        } else {
            dead.push((member.lane, body));
        }
    }
    let ends: Vec<End<'_>> = positions
        .iter()
        .map(|p| End {
            position: *p,
            outcome: LOST,
            error: Some(why),
            result: None,
        })
        .collect();
    finish::end(lease, &ends);
    super::entry::append_mixed(&again);
    let rows: Vec<Deferred<'_>> = dead
        .iter()
        .map(|(lane, body)| Deferred {
            reason: DEAD,
            due: None,
            lane: *lane,
            body,
            gate: None,
            error: Some(why),
        })
        .collect();
    deferred::insert(&rows);
    finish::free_keys(
        &dead
            .iter()
            .filter(|(_, b)| b.digest.is_some())
            .map(|(_, b)| b.id)
            .collect::<Vec<_>>(),
    );
}

/// `forge_private.kind_has_live_jobs(kind_id int) returns boolean`: whether any job of the kind has not ended.
pub fn kind_has_live_jobs(call: &Call) -> Value {
    let kind = call.get::<i32>(0)?;
    let known = registry();
    let lanes: Vec<i32> = known
        .channels
        .values()
        .filter(|c| c.kind.id == kind)
        .flat_map(|c| (0..5).map(move |p| c.lane(p)))
        .collect();
    let live = spi::query(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM forge_private.deferred WHERE lane = ANY($1)) OR EXISTS ( \
           SELECT 1 FROM forge_private.entry e WHERE e.lane = ANY($1) AND NOT EXISTS ( \
             SELECT 1 FROM forge_private.attempt a WHERE a.id = e.id AND a.seq = e.seq))",
        &[(
            PgBuiltInOids::INT4ARRAYOID.value(),
            pgrx::IntoDatum::into_datum(lanes),
        )],
        |_| {},
    ) > 0;
    Some(Datum::from(live))
}
