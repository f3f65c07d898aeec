//! Shared memory, present when the library is preloaded: frontiers of lanes, claims in flight, concurrency gates, rate
//! buckets, and who is to be woken.
//!
//! Everything here can be rebuilt from tables and starts as zeroes, so a crash that re-initialises shared memory loses
//! nothing. One LWLock protects all of it; it is held for arithmetic only, never across a call that can raise.

mod lanes;

use forge_core::Window;
pub use lanes::{Loaded, Place, Seen, Ticket};
use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

const LANES: usize = 16384;
/// How many ranges all frontiers together may have.
pub const RANGES: usize = 65536;
const IN_FLIGHT: usize = 4096;
const DATABASES: usize = 1024;
const GATES: usize = 65536;
const RATES: usize = 8192;
/// How many places a rate bucket may have.
const RATE_PLACES: usize = 64;
const LOG: usize = 16384;
/// Width of the window over which completions per second are measured, microseconds.
const WINDOW_US: i64 = 10_000_000;

/// What is counted per lane: the first five are how many are in a state now, the rest are totals since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Ready,
    Running,
    Scheduled,
    Retrying,
    Dead,
    Enqueued,
    Completed,
    Failed,
}

/// How many things are counted per lane.
pub const COUNTS: usize = 8;

/// A change of one count by one transaction.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Delta {
    pub xid: u64,
    pub lane: i32,
    pub what: u32,
    pub by: i64,
}

/// One lane's numbers.
#[derive(Clone, Copy, Debug)]
pub struct LaneCounts {
    pub lane: i32,
    pub counts: [i64; COUNTS],
    pub waiting_since: i64,
    pub completed_per_s: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Lane {
    database: u32,
    lane: i32,
    /// Unused, unknown (to be rebuilt), known, or spilled (worked without shared memory).
    state: u32,
    /// Changes when the lane becomes unknown.
    epoch: u32,
    first_range: u32,
    /// What was given back since the frontier was stored, newest first.
    first_returned: u32,
    returned_count: u32,
    xid: u64,
    seq: u64,
    /// Commits that added entries, and the value of that counter when a scan last found nothing more.
    enqueued: u64,
    seen: u64,
    seen_at: i64,
    /// When the lane's oldest waiting entry came, microseconds; 0 when none is known to wait.
    waiting_since: i64,
    checkpoint_at: i64,
    counts: [i64; COUNTS],
    window_at: i64,
    window: i64,
    window_before: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Node {
    range: RawRange,
    next: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawRange {
    xid: u64,
    from: u64,
    to: u64,
    skip: u32,
}

/// An uncommitted claim: the lowest row its main scan took, so that checkpoints stay below it.
#[repr(C)]
#[derive(Clone, Copy)]
struct InFlight {
    used: u32,
    database: u32,
    lane: i32,
    /// It took rows that lie behind the frontier: no checkpoint of the lane until it ends.
    behind: u32,
    xid: u64,
    seq: u64,
    at: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Database {
    oid: u32,
    worker_pid: i32,
    /// Bumped at every commit that made work ready.
    wakes: u64,
    worker_proc: usize,
    gates_ready: u32,
    /// 0 not counted, 1 being counted, 2 counted.
    counted: u32,
    start_requested: i64,
    notified: u64,
    /// There was no place for a rate bucket: from then on buckets that are not here are in the table.
    rates_spilled: u32,
    /// When the worker has to wake nodes without being told, microseconds; 0 never.
    wake_at: i64,
    /// Transactions that were prepared with changes of Forge's.
    prepares: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Gate {
    key: u64,
    database: u32,
    running: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Rate {
    key: u64,
    database: u32,
    used: u32,
    window: Window,
}

/// The whole segment. All zeroes is its initial state.
#[repr(C)]
pub struct Shared {
    lanes: [Lane; LANES],
    nodes: [Node; RANGES],
    free_node: u32,
    fresh_nodes: u32,
    used_nodes: u32,
    in_flight: [InFlight; IN_FLIGHT],
    databases: [Database; DATABASES],
    gates: [Gate; GATES],
    rates: [Rate; RATES],
    /// Changes that committed while a database was being counted.
    log: [Delta; LOG],
    logged: u32,
    log_database: u32,
}

static SEGMENT: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());
static LOCK: AtomicPtr<pg_sys::LWLock> = AtomicPtr::new(std::ptr::null_mut());
static HOOKED: AtomicBool = AtomicBool::new(false);
static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;
const NAME: &std::ffi::CStr = c"forge";

/// Asks for the segment; to be called while the postmaster loads the library.
pub fn request() {
    if HOOKED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the postmaster runs _PG_init alone.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(on_request);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_startup);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_request() {
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
        pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1);
    }
}

/// Runs at start and again after every crash that re-initialises shared memory.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_startup() {
    unsafe {
        if let Some(previous) = PREVIOUS_STARTUP {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        let mut found = false;
        let segment = pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<Shared>(), &mut found)
            .cast::<Shared>();
        if !found {
            std::ptr::write_bytes(segment, 0, 1);
        }
        SEGMENT.store(segment, Ordering::Release);
        LOCK.store(
            &raw mut (*pg_sys::GetNamedLWLockTranche(NAME.as_ptr())).lock,
            Ordering::Release,
        );
    }
}

/// Whether the library was preloaded, so that there is shared memory.
pub fn present() -> bool {
    !SEGMENT.load(Ordering::Acquire).is_null()
}

/// Runs `work` under the segment's lock; `None` when there is no segment. `work` must not call into Postgres.
pub fn with<R>(work: impl FnOnce(&mut Shared) -> R) -> Option<R> {
    let segment = SEGMENT.load(Ordering::Acquire);
    if segment.is_null() {
        return None;
    }
    let lock = LOCK.load(Ordering::Acquire);
    unsafe {
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let result = work(&mut *segment);
        pg_sys::LWLockRelease(lock);
        Some(result)
    }
}

fn database() -> u32 {
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

fn spread(a: u32, b: u64) -> usize {
    let mut h = b ^ (u64::from(a) << 32 | u64::from(a));
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h as usize
}

impl Shared {
    fn database_index(&mut self) -> Option<usize> {
        let oid = database();
        let i = self
            .databases
            .iter()
            .position(|d| d.oid == oid || d.oid == 0)?;
        self.databases[i].oid = oid;
        Some(i)
    }

    /// Work became ready in this database; answers the worker's process to wake, if there is one.
    pub fn wake(&mut self) -> Option<usize> {
        let i = self.database_index()?;
        let slot = &mut self.databases[i];
        slot.wakes += 1;
        (slot.worker_proc != 0).then_some(slot.worker_proc)
    }

    /// Nodes should look at an instant to come, `at`; answers the worker's process when it has to know now.
    pub fn wake_at(&mut self, at: i64) -> Option<usize> {
        let i = self.database_index()?;
        let slot = &mut self.databases[i];
        let sooner = slot.wake_at == 0 || at < slot.wake_at;
        if sooner {
            slot.wake_at = at;
        }
        (sooner && slot.worker_proc != 0).then_some(slot.worker_proc)
    }

    /// When the worker has to wake nodes without being told.
    pub fn next_wake(&mut self) -> Option<i64> {
        let i = self.database_index()?;
        Some(self.databases[i].wake_at).filter(|at| *at != 0)
    }

    /// How many things made something ready since the last call, or were to be looked at by now.
    pub fn take_wakes(&mut self, now: i64) -> u64 {
        let Some(i) = self.database_index() else {
            return 0;
        };
        let slot = &mut self.databases[i];
        let due = slot.wake_at != 0 && slot.wake_at <= now;
        if due {
            slot.wake_at = 0;
        }
        let news = slot.wakes.wrapping_sub(slot.notified);
        slot.notified = slot.wakes;
        news + u64::from(due)
    }

    /// A transaction with changes of Forge's was prepared; answers the worker's process, if there is one.
    pub fn prepared(&mut self) -> Option<usize> {
        let i = self.database_index()?;
        let slot = &mut self.databases[i];
        slot.prepares += 1;
        (slot.worker_proc != 0).then_some(slot.worker_proc)
    }

    /// How many transactions were prepared with changes of Forge's since the start.
    pub fn prepares(&mut self) -> u64 {
        self.database_index()
            .map_or(0, |i| self.databases[i].prepares)
    }

    /// Any lane of this database may have got entries.
    pub fn suspect_lanes(&mut self) {
        let database = database();
        for lane in self
            .lanes
            .iter_mut()
            .filter(|l| l.state != 0 && l.database == database)
        {
            lane.enqueued += 1;
        }
    }

    /// The background worker of this database has started, or stopped (`process` 0).
    pub fn set_worker(&mut self, pid: i32, process: usize) {
        if let Some(i) = self.database_index() {
            self.databases[i].worker_pid = pid;
            self.databases[i].worker_proc = process;
        }
    }

    /// Pid of the database's background worker, 0 when none runs.
    pub fn worker_pid(&mut self) -> i32 {
        self.database_index()
            .map_or(0, |i| self.databases[i].worker_pid)
    }

    /// Whether to start a worker now: none runs and nobody asked for one in the last ten seconds.
    pub fn should_start_worker(&mut self, now: i64) -> bool {
        let Some(i) = self.database_index() else {
            return false;
        };
        let slot = &mut self.databases[i];
        let start =
            slot.worker_pid == 0 && !(0..10_000_000).contains(&(now - slot.start_requested));
        if start {
            slot.start_requested = now;
        }
        start
    }

    /// Whether this database's gates have been counted since shared memory was made.
    pub fn gates_ready(&mut self) -> bool {
        self.database_index()
            .is_some_and(|i| self.databases[i].gates_ready != 0)
    }

    /// Replaces the counts of this database's gates.
    pub fn set_gates(&mut self, running: &[(u64, u32)]) {
        let database = database();
        for gate in self.gates.iter_mut().filter(|g| g.database == database) {
            gate.running = 0;
        }
        for &(key, count) in running {
            if let Some(gate) = self.gate(key) {
                gate.running = count;
            }
        }
        if let Some(i) = self.database_index() {
            self.databases[i].gates_ready = 1;
        }
    }

    fn gate(&mut self, key: u64) -> Option<&mut Gate> {
        let database = database();
        let start = spread(database, key);
        let mut idle = None;
        let mut found = None;
        for i in 0..GATES {
            let at = (start + i) % GATES;
            let gate = &self.gates[at];
            if gate.database == database && gate.key == key {
                found = Some(at);
                break;
            }
            if gate.running == 0 && idle.is_none() {
                idle = Some(at);
            }
            if gate.database == 0 {
                break;
            }
        }
        let at = found.or(idle)?;
        let gate = &mut self.gates[at];
        if found.is_none() {
            *gate = Gate {
                key,
                database,
                running: 0,
            };
        }
        Some(gate)
    }

    /// Takes up to `want` places of a gate that lets `limit` run; answers how many it got, `None` before the gates have
    /// been counted.
    pub fn enter_gate(&mut self, key: u64, limit: u32, want: u32) -> Option<u32> {
        if !self.gates_ready() {
            return None;
        }
        Some(self.gate(key).map_or(0, |gate| {
            let got = want.min(limit.saturating_sub(gate.running));
            gate.running += got;
            got
        }))
    }

    /// Gives places of a gate back.
    pub fn leave_gate(&mut self, key: u64, count: u32) {
        if let Some(gate) = self.gate(key) {
            gate.running = gate.running.saturating_sub(count);
        }
    }

    /// The window of a rate bucket, to be changed in place; `None` when it is kept in the table. The place of a bucket
    /// that has been idle for its period is another's to take.
    pub fn rate(&mut self, key: u64, now: i64) -> Option<&mut Window> {
        let database = database();
        let start = spread(database, key);
        let (mut found, mut free) = (None, None);
        for i in 0..RATE_PLACES {
            let at = (start + i) % RATES;
            let rate = &self.rates[at];
            if rate.used == 0 {
                free = free.or(Some(at));
                break;
            }
            if rate.database == database && rate.key == key {
                found = Some(at);
                break;
            }
            if free.is_none() && rate.window.is_idle(now) {
                free = Some(at);
            }
        }
        if found.is_none() {
            let home = self.database_index()?;
            if self.databases[home].rates_spilled != 0 || free.is_none() {
                self.databases[home].rates_spilled = 1;
                return None;
            }
            self.rates[free?] = Rate {
                key,
                database,
                used: 1,
                window: Window::EMPTY,
            };
        }
        Some(&mut self.rates[found.or(free)?].window)
    }

    /// Applies what a committed transaction changed.
    pub fn count(&mut self, deltas: &[Delta], now: i64) {
        let database = database();
        let counting = self.log_database == database;
        for delta in deltas {
            if counting {
                if (self.logged as usize) < LOG {
                    self.log[self.logged as usize] = *delta;
                }
                self.logged = self.logged.saturating_add(1);
            }
            self.add(delta, now);
        }
    }

    fn add(&mut self, delta: &Delta, now: i64) {
        let Some(i) = self.lane_index(delta.lane) else {
            return;
        };
        let lane = &mut self.lanes[i];
        lane.counts[delta.what as usize] += delta.by;
        if delta.what == Count::Completed as u32 && delta.by > 0 {
            lane.roll_window(now);
            lane.window += delta.by;
        }
    }

    /// Begins counting this database anew; false while another database is being counted.
    pub fn begin_recount(&mut self) -> bool {
        let database = database();
        if self.log_database != 0 && self.log_database != database {
            return false;
        }
        self.log_database = database;
        self.logged = 0;
        true
    }

    /// Ends counting: `base` is what a snapshot saw, `unseen` says of a transaction that it did not. False when too much
    /// happened meanwhile: then it has to be begun again.
    pub fn end_recount(
        &mut self,
        base: &[(i32, Count, i64)],
        unseen: impl Fn(u64) -> bool,
        now: i64,
    ) -> bool {
        let logged = self.logged as usize;
        self.log_database = 0;
        if logged > LOG {
            return false;
        }
        let database = database();
        for lane in self
            .lanes
            .iter_mut()
            .filter(|l| l.state != 0 && l.database == database)
        {
            lane.counts[..5].fill(0);
        }
        for (lane, what, count) in base {
            self.add(
                &Delta {
                    xid: 0,
                    lane: *lane,
                    what: *what as u32,
                    by: *count,
                },
                now,
            );
        }
        for i in 0..logged {
            let delta = self.log[i];
            if (delta.what as usize) < 5 && unseen(delta.xid) {
                self.add(&delta, now);
            }
        }
        if let Some(i) = self.database_index() {
            self.databases[i].counted = 2;
        }
        true
    }

    /// Whether this database's jobs have been counted.
    pub fn is_counted(&mut self) -> bool {
        self.database_index()
            .is_some_and(|i| self.databases[i].counted == 2)
    }

    /// The numbers of this database's jobs are wrong: they are counted again.
    pub fn uncount(&mut self) {
        if let Some(i) = self.database_index() {
            self.databases[i].counted = 0;
        }
    }

    /// Forgets everything about this database: its tables are new.
    pub fn reset(&mut self) {
        let database = database();
        for i in 0..self.lanes.len() {
            if self.lanes[i].state != 0 && self.lanes[i].database == database {
                self.forget_lane(i);
            }
        }
        for gate in self.gates.iter_mut().filter(|g| g.database == database) {
            gate.running = 0;
        }
        for rate in self.rates.iter_mut().filter(|r| r.database == database) {
            rate.window = Window::EMPTY;
        }
        if let Some(i) = self.database_index() {
            self.databases[i].gates_ready = 0;
            self.databases[i].counted = 0;
            self.databases[i].rates_spilled = 0;
        }
    }

    /// Numbers of all lanes of this database; `None` before they were counted.
    pub fn counts(&mut self, now: i64) -> Option<Vec<LaneCounts>> {
        let i = self.database_index()?;
        if self.databases[i].counted != 2 {
            return None;
        }
        let database = database();
        let lanes = self
            .lanes
            .iter_mut()
            .filter(|l| l.state != 0 && l.database == database);
        Some(
            lanes
                .map(|lane| {
                    lane.roll_window(now);
                    let share = (now - lane.window_at) as f64 / WINDOW_US as f64;
                    let seen = lane.window as f64 + lane.window_before as f64 * (1.0 - share);
                    LaneCounts {
                        lane: lane.lane,
                        counts: lane.counts,
                        waiting_since: lane.waiting_since,
                        completed_per_s: seen / (WINDOW_US as f64 / 1e6),
                    }
                })
                .collect(),
        )
    }
}

impl Lane {
    fn new(database: u32, lane: i32) -> Self {
        Self {
            database,
            lane,
            state: lanes::UNKNOWN,
            epoch: 0,
            first_range: 0,
            first_returned: 0,
            returned_count: 0,
            xid: 0,
            seq: 0,
            enqueued: 1,
            seen: 0,
            seen_at: 0,
            waiting_since: 0,
            checkpoint_at: 0,
            counts: [0; COUNTS],
            window_at: 0,
            window: 0,
            window_before: 0,
        }
    }

    /// Starts a new window when the current one is over.
    fn roll_window(&mut self, now: i64) {
        let passed = (now - self.window_at).div_euclid(WINDOW_US);
        if passed != 0 {
            self.window_before = if passed == 1 { self.window } else { 0 };
            self.window = 0;
            self.window_at = if passed == 1 {
                self.window_at + WINDOW_US
            } else {
                now
            };
        }
    }
}
