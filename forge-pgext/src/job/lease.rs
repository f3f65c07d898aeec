//! Leases: the right to finish the members of a claim.
//!
//! Whoever finishes members or takes a lease away first takes the lease's lock and then reads, with a snapshot of that
//! moment, the claim and everything that has happened to it. So nothing is finished under a revoked lease, and no
//! member twice.

use super::member::{Member, decode, decode_positions, encode_positions};
use super::{day_of, entry, instant_of, now};
use crate::error::lease_lost;
use crate::pg::function::{Value, bytea_datum, text_datum, uuid_datum, uuid_of};
use crate::pg::lock::{self, Class};
use crate::pg::snapshot::Snapshot;
use crate::pg::table::{Key, Operator, Table, oid, oid_of_day};
use pgrx::pg_sys::Datum;
use pgrx::{FromDatum, varlena};
use uuid::Uuid;

/// Kinds of events of a lease.
pub const DONE: i16 = 1;
pub const CLOSED: i16 = 2;
pub const REVOKED: i16 = 3;
pub const EXTENDED: i16 = 4;

/// A lease and what has become of it.
pub struct Lease {
    pub id: Uuid,
    pub at: i64,
    pub node: Option<Uuid>,
    pub worker: Option<String>,
    pub deadline: Option<i64>,
    pub members: Vec<Member>,
    /// By position: finished already.
    pub done: Vec<bool>,
    pub revoked: bool,
}

/// Locks a lease to the end of the transaction and reads it; `None` when there is none of that id.
pub fn lock_and_read(id: &Uuid) -> Option<Lease> {
    let key = id.as_u128();
    lock::acquire(Class::Lease, (key >> 64) as u64 ^ key as u64);
    read(id, &Snapshot::latest())
}

/// Reads a lease without locking it.
pub fn read(id: &Uuid, snapshot: &Snapshot) -> Option<Lease> {
    let mut found = None;
    of_lease("claim", id, snapshot, |row| {
        let bytes = entry::copy(row[6])
            .map(|d| unsafe { varlena::varlena_to_byte_slice(d.cast_mut_ptr()) }.to_vec())
            .unwrap_or_default();
        let members = decode(&bytes);
        found = Some(Lease {
            id: *id,
            at: row[1].map_or(0, |d| d.value() as i64),
            node: row[2].map(|d| unsafe { uuid_of(d) }),
            worker: row[3].and_then(|d| unsafe { String::from_datum(d, false) }),
            deadline: row[4].map(|d| d.value() as i64),
            done: vec![false; members.len()],
            members,
            revoked: false,
        });
    });
    let mut lease = found?;
    let mut extended = i64::MIN;
    of_lease("lease_event", id, snapshot, |row| {
        match row[2].map_or(0, |d| d.value() as i16) {
            DONE => {
                let bytes = entry::copy(row[3])
                    .map(|d| unsafe { varlena::varlena_to_byte_slice(d.cast_mut_ptr()) }.to_vec())
                    .unwrap_or_default();
                for position in decode_positions(&bytes) {
                    if let Some(done) = lease.done.get_mut(position) {
                        *done = true;
                    }
                }
            }
            CLOSED => lease.done.fill(true),
            REVOKED => lease.revoked = true,
            _ => extended = extended.max(row[4].map_or(i64::MIN, |d| d.value() as i64)),
        }
    });
    if extended > i64::MIN {
        lease.deadline = Some(extended);
    }
    Some(lease)
}

fn of_lease(parent: &str, id: &Uuid, snapshot: &Snapshot, mut visit: impl FnMut(&[Value])) {
    let key = [Key {
        column: 1,
        operator: Operator::UuidEq,
        value: uuid_datum(id),
    }];
    let day = oid_of_day(parent, day_of(instant_of(id)));
    let mut tables = vec![day];
    tables.extend(oid(parent).filter(|p| *p != day));
    for table in tables.into_iter().filter_map(Table::read) {
        table.scan(1, &key, snapshot, |row| {
            visit(row);
            true
        });
    }
}

impl Lease {
    /// ZF010 unless the lease is valid and belongs to `node` (when one is given).
    pub fn check(&self, node: Option<&Uuid>) {
        if self.revoked {
            lease_lost(&self.id, "its jobs were handed to others");
        }
        if self.deadline.is_some_and(|d| d < now()) {
            lease_lost(&self.id, "its deadline has passed");
        }
        if node.is_some() && self.node.as_ref() != node {
            lease_lost(&self.id, "it belongs to another node");
        }
    }

    /// Positions not finished yet.
    pub fn open(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|p| !self.done[*p]).collect()
    }

    /// Position of an unfinished member by its job id.
    pub fn position_of(&self, id: &Uuid) -> Option<usize> {
        (0..self.members.len()).find(|p| self.members[*p].id == *id)
    }

    /// Records members as finished, and the lease as closed when they were its last.
    pub fn finish(&mut self, positions: &[usize]) {
        if positions.is_empty() {
            return;
        }
        for position in positions {
            self.done[*position] = true;
        }
        let closed = self.done.iter().all(|d| *d);
        let (kind, which) = if closed {
            (CLOSED, None)
        } else {
            (DONE, Some(bytea_datum(&encode_positions(positions))))
        };
        event(&self.id, kind, which, None);
    }

    /// Takes the lease away from its holder.
    pub fn revoke(&mut self) {
        self.revoked = true;
        event(&self.id, REVOKED, None, None);
    }

    /// Moves the deadline.
    pub fn extend(&mut self, deadline: i64) {
        self.deadline = Some(deadline);
        event(&self.id, EXTENDED, None, Some(Datum::from(deadline)));
    }
}

fn event(lease: &Uuid, kind: i16, positions: Value, deadline: Value) {
    let row = vec![
        Some(uuid_datum(lease)),
        Some(Datum::from(now())),
        Some(Datum::from(kind)),
        positions,
        deadline,
    ];
    append("lease_event", lease, vec![row]);
}

/// Records a claim.
pub fn record(
    lease: &Uuid,
    node: Option<&Uuid>,
    worker: Option<&str>,
    deadline: Option<i64>,
    members: &[Member],
) {
    let row = vec![
        Some(uuid_datum(lease)),
        Some(Datum::from(now())),
        node.map(uuid_datum),
        worker.map(text_datum),
        deadline.map(Datum::from),
        Some(Datum::from(members.len() as i32)),
        Some(bytea_datum(&super::member::encode(members))),
    ];
    append("claim", lease, vec![row]);
}

/// Records members that were taken out of their lanes without being handed to anybody.
pub fn record_closed(members: &[Member]) {
    // Positions are two bytes wide.
    for chunk in members.chunks(60_000) {
        let lease = crate::job::new_id();
        record(&lease, None, None, None, chunk);
        event(&lease, CLOSED, None, None);
    }
}

fn append(parent: &str, lease: &Uuid, rows: Vec<Vec<Value>>) {
    match Table::write(oid_of_day(parent, day_of(instant_of(lease)))) {
        Some(table) => table.append(&rows),
        None => pgrx::error!("table {parent} was dropped while it was used"),
    }
}
