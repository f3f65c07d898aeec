//! What a transaction has done to shared memory, applied when it commits and undone when it, or the savepoint that did
//! it, aborts.

use crate::pg::shmem::{self, Count, Delta};
use pgrx::pg_sys;
use std::cell::RefCell;

#[derive(Default)]
struct Pending {
    /// Lanes that got entries.
    enqueued: Vec<Step<i32>>,
    /// Rows taken from lanes.
    taken: Vec<Step<Taken>>,
    /// Gate places taken: undone by an abort.
    entered: Vec<Step<(u64, u32)>>,
    /// Gate places to give back at commit.
    left: Vec<Step<(u64, u32)>>,
    /// Changes of counts, by lane.
    counts: Vec<Step<(i32, Count, i64)>>,
    /// Something that nodes should hear of happened.
    wake: bool,
}

struct Step<T> {
    subxact: pg_sys::SubTransactionId,
    what: T,
}

struct Taken {
    lane: i32,
    rows: Vec<(u64, u64)>,
    place: Option<usize>,
}

thread_local! {
    static PENDING: RefCell<Pending> = RefCell::new(Pending::default());
}

fn step<T>(what: T) -> Step<T> {
    Step {
        subxact: unsafe { pg_sys::GetCurrentSubTransactionId() },
        what,
    }
}

/// Registers the callbacks; once per backend or in the postmaster before it forks.
pub fn register() {
    unsafe {
        pg_sys::RegisterXactCallback(Some(on_xact), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(on_subxact), std::ptr::null_mut());
    }
}

/// This transaction added entries to a lane.
pub fn enqueued(lane: i32) {
    PENDING.with_borrow_mut(|p| {
        if !p.enqueued.iter().any(|s| s.what == lane) {
            p.enqueued.push(step(lane));
        }
        p.wake = true;
    });
}

/// A count of a lane changes when this transaction commits.
pub fn count(lane: i32, what: Count, by: i64) {
    if lane < 0 || by == 0 || !shmem::present() {
        return;
    }
    let new = step((lane, what, by));
    PENDING.with_borrow_mut(|p| {
        let same = p
            .counts
            .iter_mut()
            .rev()
            .take(16)
            .find(|s| s.subxact == new.subxact && s.what.0 == lane && s.what.1 == what);
        match same {
            Some(known) => known.what.2 += by,
            None => p.counts.push(new),
        }
    });
}

/// Nodes should look, once this transaction has committed.
pub fn wake() {
    PENDING.with_borrow_mut(|p| p.wake = true);
}

/// This transaction took rows from a lane; `place` is what [`shmem::Shared::begin_claim`] gave.
pub fn took(lane: i32, rows: Vec<(u64, u64)>, place: Option<usize>) {
    PENDING.with_borrow_mut(|p| p.taken.push(step(Taken { lane, rows, place })));
}

/// This transaction took places of a gate.
pub fn entered_gate(key: u64, count: u32) {
    PENDING.with_borrow_mut(|p| p.entered.push(step((key, count))));
}

/// Gives places back at once that this transaction has just taken and not used.
pub fn return_gate(key: u64, count: u32) {
    let subxact = unsafe { pg_sys::GetCurrentSubTransactionId() };
    PENDING.with_borrow_mut(|p| {
        let taken = p
            .entered
            .iter_mut()
            .rev()
            .find(|s| s.subxact == subxact && s.what.0 == key);
        if let Some(step) = taken {
            let returned = count.min(step.what.1);
            step.what.1 -= returned;
            shmem::with(|shared| shared.leave_gate(key, returned));
        }
    });
}

/// Gives places of a gate back when this transaction commits.
pub fn leave_gate(key: u64, count: u32) {
    PENDING.with_borrow_mut(|p| p.left.push(step((key, count))));
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_xact(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_COMMIT => commit(),
        XACT_EVENT_ABORT => abort(),
        XACT_EVENT_PRE_PREPARE => {
            if PENDING
                .with_borrow(|p| !p.taken.is_empty() || !p.entered.is_empty() || !p.left.is_empty())
            {
                pgrx::error!(
                    "a transaction that has claimed or finished Forge jobs cannot be prepared for two-phase commit"
                );
            }
        }
        XACT_EVENT_PREPARE => PENDING.with_borrow_mut(|p| *p = Pending::default()),
        _ => {}
    }
}

fn commit() {
    let pending = PENDING.take();
    if pending.enqueued.is_empty()
        && pending.counts.is_empty()
        && pending.taken.is_empty()
        && pending.left.is_empty()
        && !pending.wake
    {
        return;
    }
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let xid = unsafe { pg_sys::GetTopFullTransactionIdIfAny() }.value;
    let deltas: Vec<Delta> = pending
        .counts
        .iter()
        .map(|c| Delta {
            xid,
            lane: c.what.0,
            what: c.what.1 as u32,
            by: c.what.2,
        })
        .collect();
    let worker = shmem::with(|shared| {
        shared.count(&deltas, now);
        for lane in &pending.enqueued {
            shared.enqueued(lane.what, now);
        }
        for place in pending.taken.iter().filter_map(|t| t.what.place) {
            shared.end_claim(place);
        }
        for gate in &pending.left {
            shared.leave_gate(gate.what.0, gate.what.1);
        }
        if pending.wake { shared.wake() } else { None }
    });
    if let Some(Some(process)) = worker {
        // SAFETY: PGPROC structures live in shared memory for the server's whole life.
        unsafe { pg_sys::SetLatch(&raw mut (*(process as *mut pg_sys::PGPROC)).procLatch) };
    }
}

fn abort() {
    let pending = PENDING.take();
    if pending.taken.is_empty() && pending.entered.is_empty() {
        return;
    }
    shmem::with(|shared| {
        for taken in &pending.taken {
            undo_taken(shared, &taken.what);
        }
        for gate in &pending.entered {
            shared.leave_gate(gate.what.0, gate.what.1);
        }
    });
}

fn undo_taken(shared: &mut shmem::Shared, taken: &Taken) {
    shared.give_back(taken.lane, &taken.rows);
    if let Some(place) = taken.place {
        shared.end_claim(place);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_subxact(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::SubXactEvent::*;
    PENDING.with_borrow_mut(|pending| match event {
        SUBXACT_EVENT_COMMIT_SUB => {
            fn hand_up<T>(steps: &mut [Step<T>], own: u32, parent: u32) {
                steps
                    .iter_mut()
                    .filter(|s| s.subxact == own)
                    .for_each(|s| s.subxact = parent);
            }
            hand_up(&mut pending.enqueued, own, parent);
            hand_up(&mut pending.counts, own, parent);
            hand_up(&mut pending.taken, own, parent);
            hand_up(&mut pending.entered, own, parent);
            hand_up(&mut pending.left, own, parent);
        }
        SUBXACT_EVENT_ABORT_SUB => {
            pending.enqueued.retain(|s| s.subxact != own);
            pending.counts.retain(|s| s.subxact != own);
            pending.left.retain(|s| s.subxact != own);
            let undone: Vec<Step<Taken>> =
                pending.taken.extract_if(.., |s| s.subxact == own).collect();
            let left: Vec<Step<(u64, u32)>> = pending
                .entered
                .extract_if(.., |s| s.subxact == own)
                .collect();
            if !undone.is_empty() || !left.is_empty() {
                shmem::with(|shared| {
                    for taken in &undone {
                        undo_taken(shared, &taken.what);
                    }
                    for gate in &left {
                        shared.leave_gate(gate.what.0, gate.what.1);
                    }
                });
            }
        }
        _ => {}
    });
}
