//! What a transaction has done to shared memory, applied when it commits and undone when it, or the savepoint that did
//! it, aborts.

use crate::pg::shmem::{self, Count, Delta, Place};
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
    /// Lanes whose frontier this transaction wrote down.
    checkpoints: Vec<Step<i32>>,
    /// Something that nodes should hear of happened.
    wake: bool,
    /// It took entries without shared memory: their lanes stay locked to its end.
    claimed: bool,
    /// It stamped every entry anew.
    restamped: Vec<Step<()>>,
}

struct Step<T> {
    subxact: pg_sys::SubTransactionId,
    what: T,
}

struct Taken {
    lane: i32,
    /// Taken in turn.
    rows: Vec<(u64, u64)>,
    /// Taken out of turn, and deleted.
    picked: Vec<(u64, u64)>,
    place: Place,
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

/// The place that this subtransaction's claims of a lane have in shared memory already.
pub fn place(lane: i32) -> Option<Place> {
    let subxact = unsafe { pg_sys::GetCurrentSubTransactionId() };
    PENDING.with_borrow(|p| {
        let mut own = p.taken.iter().rev();
        own.find(|s| s.subxact == subxact && s.what.lane == lane)
            .map(|s| s.what.place)
    })
}

/// This transaction took rows from a lane, in turn or (`out_of_turn`) to delete them; `place` is what
/// [`shmem::Shared::begin_claim`] gave.
pub fn took(lane: i32, rows: Vec<(u64, u64)>, out_of_turn: bool, place: Place) {
    let mut new = step(Taken {
        lane,
        rows: Vec::new(),
        picked: Vec::new(),
        place,
    });
    PENDING.with_borrow_mut(|p| {
        let known = p
            .taken
            .iter_mut()
            .rev()
            .find(|s| s.subxact == new.subxact && s.what.place == place);
        let taken = known.map_or(&mut new.what, |s| &mut s.what);
        if out_of_turn {
            taken.picked.extend(rows);
        } else {
            taken.rows.extend(rows);
        }
        if !new.what.rows.is_empty() || !new.what.picked.is_empty() {
            p.taken.push(new);
        }
    });
}

/// This transaction took entries without shared memory.
pub fn claimed() {
    PENDING.with_borrow_mut(|p| p.claimed = true);
}

/// This transaction stamps every entry anew: what shared memory learns of this database until its end is void if it aborts.
pub fn restamped() {
    PENDING.with_borrow_mut(|p| p.restamped.push(step(())));
}

/// Whether this transaction has stamped every entry anew.
pub fn has_restamped() -> bool {
    PENDING.with_borrow(|p| !p.restamped.is_empty())
}

/// This transaction wrote a lane's frontier down.
pub fn checkpointed(lane: i32) {
    PENDING.with_borrow_mut(|p| p.checkpoints.push(step(lane)));
}

/// This transaction took places of a gate.
pub fn entered_gate(key: u64, count: u32) {
    let new = step((key, count));
    PENDING.with_borrow_mut(|p| match p.entered.last_mut() {
        Some(last) if last.subxact == new.subxact && last.what.0 == key => last.what.1 += count,
        _ => p.entered.push(new),
    });
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
        XACT_EVENT_PRE_PREPARE => refuse_prepare(),
        XACT_EVENT_PREPARE => prepare(),
        _ => {}
    }
}

fn refuse_prepare() {
    let refused = PENDING.with_borrow(|p| {
        p.claimed
            || !p.restamped.is_empty()
            || !p.taken.is_empty()
            || !p.entered.is_empty()
            || !p.left.is_empty()
    });
    if refused {
        pgrx::error!(
            "a transaction that has claimed or finished Forge jobs cannot be prepared for two-phase commit"
        );
    }
}

/// What the transaction changed will be true when somebody, somewhere, commits it: without a callback. The worker watches.
fn prepare() {
    let pending = PENDING.take();
    if !pending.enqueued.is_empty() || !pending.counts.is_empty() || pending.wake {
        alert(shmem::with(shmem::Shared::prepared).flatten());
    }
}

fn commit() {
    let pending = PENDING.take();
    if pending.enqueued.is_empty()
        && pending.counts.is_empty()
        && pending.taken.is_empty()
        && pending.left.is_empty()
        && pending.restamped.is_empty()
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
        if !pending.restamped.is_empty() {
            shared.uncount();
        }
        for lane in &pending.enqueued {
            shared.enqueued(lane.what, now);
        }
        for taken in &pending.taken {
            shared.forget_skips(taken.what.lane, &taken.what.picked);
            shared.end_claim(taken.what.place);
        }
        for gate in &pending.left {
            shared.leave_gate(gate.what.0, gate.what.1);
        }
        if pending.wake { shared.wake() } else { None }
    });
    alert(worker.flatten());
}

fn abort() {
    let pending = PENDING.take();
    undo(&pending.taken, &pending.entered, &pending.checkpoints);
    forget_stamps(&pending.restamped);
}

/// Frontiers that shared memory learnt after entries were stamped anew are void when the stamps are.
fn forget_stamps(restamped: &[Step<()>]) {
    if !restamped.is_empty() {
        shmem::with(shmem::Shared::reset);
    }
}

/// Undoes what an aborted transaction or savepoint did. Nodes are told: there is work again.
fn undo(taken: &[Step<Taken>], entered: &[Step<(u64, u32)>], checkpoints: &[Step<i32>]) {
    if taken.is_empty() && entered.is_empty() && checkpoints.is_empty() {
        return;
    }
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let worker = shmem::with(|shared| {
        for step in taken {
            let taken = &step.what;
            shared.give_back(taken.lane, &taken.rows, now);
            shared.give_back(taken.lane, &taken.picked, now);
            shared.end_claim(taken.place);
        }
        for gate in entered {
            shared.leave_gate(gate.what.0, gate.what.1);
        }
        for lane in checkpoints {
            shared.checkpointed(lane.what, 0);
        }
        shared.wake()
    });
    alert(worker.flatten());
}

/// Sets the latch of the database's background worker.
fn alert(process: Option<usize>) {
    if let Some(process) = process {
        // SAFETY: PGPROC structures live in shared memory for the server's whole life.
        unsafe { pg_sys::SetLatch(&raw mut (*(process as *mut pg_sys::PGPROC)).procLatch) };
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
            hand_up(&mut pending.checkpoints, own, parent);
            hand_up(&mut pending.restamped, own, parent);
        }
        SUBXACT_EVENT_ABORT_SUB => {
            pending.enqueued.retain(|s| s.subxact != own);
            pending.counts.retain(|s| s.subxact != own);
            pending.left.retain(|s| s.subxact != own);
            let taken: Vec<_> = pending.taken.extract_if(.., |s| s.subxact == own).collect();
            let entered: Vec<_> = pending
                .entered
                .extract_if(.., |s| s.subxact == own)
                .collect();
            let checkpoints: Vec<_> = pending
                .checkpoints
                .extract_if(.., |s| s.subxact == own)
                .collect();
            let restamped: Vec<_> = pending
                .restamped
                .extract_if(.., |s| s.subxact == own)
                .collect();
            undo(&taken, &entered, &checkpoints);
            forget_stamps(&restamped);
        }
        _ => {}
    });
}
