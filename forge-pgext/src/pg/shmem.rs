//! Shared memory, present when the library is preloaded: frontiers of lanes, claims in flight, concurrency gates, rate
//! buckets, and who is to be woken.
//!
//! Everything here can be rebuilt from tables and starts as zeroes, so a crash that re-initialises shared memory loses
//! nothing. One LWLock protects all of it; it is held for arithmetic only, never across a call that can raise.

use forge_core::frontier::{Frontier, Range};
use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

const LANES: usize = 16384;
const NODES: usize = 65536;
const IN_FLIGHT: usize = 4096;
const DATABASES: usize = 1024;
const GATES: usize = 65536;
const RATES: usize = 8192;
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
    /// 0 unused, 1 unknown (to be rebuilt), 2 valid.
    state: u32,
    first_range: u32,
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
    /// GCRA's theoretical arrival time, microseconds.
    tat: i64,
}

/// The whole segment. All zeroes is its initial state.
#[repr(C)]
pub struct Shared {
    lanes: [Lane; LANES],
    nodes: [Node; NODES],
    free_node: u32,
    fresh_nodes: u32,
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

/// What a claim needs to know of a lane before it scans.
#[derive(Clone, Copy, Debug)]
pub struct LaneHint {
    /// Nothing can be there: the last scan found it empty and no commit has added to it since.
    pub empty: bool,
    /// When its oldest waiting entry came, microseconds since 2000; 0 when unknown.
    pub waiting_since: i64,
}

/// A lane's state as [`Shared::load`] gives it.
pub enum Loaded {
    /// No slot is free for this lane: work without shared memory.
    Full,
    /// To be rebuilt from the tables.
    Unknown,
    /// `enqueued` is to be handed back to [`Shared::save`].
    Known {
        frontier: Frontier,
        enqueued: u64,
        checkpoint_at: i64,
    },
}

impl Shared {
    fn lane_index(&mut self, lane: i32) -> Option<usize> {
        let database = database();
        let start = spread(database, lane as u64);
        for i in 0..LANES {
            let at = (start + i) % LANES;
            let slot = &mut self.lanes[at];
            if slot.state == 0 {
                *slot = Lane {
                    database,
                    lane,
                    state: 1,
                    first_range: 0,
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
                };
                return Some(at);
            }
            if slot.database == database && slot.lane == lane {
                return Some(at);
            }
        }
        None
    }

    /// A quick look before scanning. A lane is looked at again a second after it was seen empty, whatever the
    /// counters say: prepared transactions commit without a callback of ours.
    pub fn hint(&mut self, lane: i32, now: i64) -> LaneHint {
        match self.lane_index(lane) {
            Some(i) => {
                let slot = &self.lanes[i];
                let empty = slot.state == 2
                    && slot.seen == slot.enqueued
                    && (0..1_000_000).contains(&(now - slot.seen_at));
                LaneHint {
                    empty,
                    waiting_since: if empty { 0 } else { slot.waiting_since },
                }
            }
            None => LaneHint {
                empty: false,
                waiting_since: 0,
            },
        }
    }

    /// A lane's frontier.
    pub fn load(&mut self, lane: i32) -> Loaded {
        let Some(i) = self.lane_index(lane) else {
            return Loaded::Full;
        };
        let slot = self.lanes[i];
        if slot.state != 2 {
            return Loaded::Unknown;
        }
        let mut ranges = Vec::new();
        let mut at = slot.first_range;
        while at != 0 {
            let node = &self.nodes[at as usize - 1];
            ranges.push(Range {
                xid: node.range.xid,
                from: node.range.from,
                to: node.range.to,
                skip: node.range.skip != 0,
            });
            at = node.next;
        }
        Loaded::Known {
            frontier: Frontier {
                xid: slot.xid,
                seq: slot.seq,
                ranges,
            },
            enqueued: slot.enqueued,
            checkpoint_at: slot.checkpoint_at,
        }
    }

    /// Stores a lane's frontier. `exhausted` is the counter that [`Self::load`] gave when the scan then found nothing
    /// more, `waiting_since` the time of the last entry taken when more may follow.
    pub fn save(
        &mut self,
        lane: i32,
        frontier: &Frontier,
        exhausted: Option<u64>,
        waiting_since: i64,
        now: i64,
    ) {
        let Some(i) = self.lane_index(lane) else {
            return;
        };
        self.free_ranges(i);
        let mut first = 0;
        for range in frontier.ranges.iter().rev() {
            let Some(node) = self.take_node() else {
                self.lanes[i].first_range = first;
                self.free_ranges(i);
                self.lanes[i].state = 1;
                return;
            };
            let raw = RawRange {
                xid: range.xid,
                from: range.from,
                to: range.to,
                skip: u32::from(range.skip),
            };
            self.nodes[node as usize - 1] = Node {
                range: raw,
                next: first,
            };
            first = node;
        }
        let slot = &mut self.lanes[i];
        slot.state = 2;
        slot.first_range = first;
        slot.xid = frontier.xid;
        slot.seq = frontier.seq;
        if let Some(counter) = exhausted {
            slot.seen = counter;
            slot.seen_at = now;
            slot.waiting_since = 0;
        } else {
            slot.seen = 0;
            slot.waiting_since = waiting_since;
        }
    }

    /// Notes when a checkpoint of the lane was written.
    pub fn checkpointed(&mut self, lane: i32, at: i64) {
        if let Some(i) = self.lane_index(lane) {
            self.lanes[i].checkpoint_at = at;
        }
    }

    fn take_node(&mut self) -> Option<u32> {
        if self.free_node != 0 {
            let node = self.free_node;
            self.free_node = self.nodes[node as usize - 1].next;
            return Some(node);
        }
        if (self.fresh_nodes as usize) < NODES {
            self.fresh_nodes += 1;
            return Some(self.fresh_nodes);
        }
        None
    }

    fn free_ranges(&mut self, lane: usize) {
        let mut at = self.lanes[lane].first_range;
        while at != 0 {
            let next = self.nodes[at as usize - 1].next;
            self.nodes[at as usize - 1].next = self.free_node;
            self.free_node = at;
            at = next;
        }
        self.lanes[lane].first_range = 0;
    }

    /// Gives rows back to a lane after the transaction that took them aborted.
    pub fn give_back(&mut self, lane: i32, rows: &[(u64, u64)]) {
        let Loaded::Known { mut frontier, .. } = self.load(lane) else {
            return;
        };
        for &(xid, seq) in rows {
            frontier.give_back(xid, seq);
        }
        self.save(lane, &frontier, None, 1, 0);
        if let Some(i) = self.lane_index(lane) {
            self.lanes[i].enqueued += 1;
        }
    }

    /// A commit added entries to the lane.
    pub fn enqueued(&mut self, lane: i32, now: i64) {
        if let Some(i) = self.lane_index(lane) {
            let slot = &mut self.lanes[i];
            if slot.waiting_since == 0 {
                slot.waiting_since = now;
            }
            slot.enqueued += 1;
        }
    }

    /// Registers an uncommitted claim; `None` when all places are used.
    pub fn begin_claim(
        &mut self,
        lane: i32,
        lowest: Option<(u64, u64)>,
        behind: bool,
        at: i64,
    ) -> Option<usize> {
        let i = self.in_flight.iter().position(|c| c.used == 0)?;
        let (xid, seq) = lowest.unwrap_or((u64::MAX, u64::MAX));
        self.in_flight[i] = InFlight {
            used: 1,
            database: database(),
            lane,
            behind: u32::from(behind),
            xid,
            seq,
            at,
        };
        Some(i)
    }

    /// Whether a lane has uncommitted claims.
    pub fn has_claims(&self, lane: i32) -> bool {
        let database = database();
        self.in_flight
            .iter()
            .any(|c| c.used != 0 && c.database == database && c.lane == lane)
    }

    /// The claim committed or aborted.
    pub fn end_claim(&mut self, place: usize) {
        self.in_flight[place].used = 0;
    }

    /// The position below which every claim of the lane has committed and the time since which claims may reach above
    /// it; `None` while that cannot be said.
    pub fn committed_floor(
        &self,
        lane: i32,
        frontier: &Frontier,
        now: i64,
    ) -> Option<(u64, u64, i64)> {
        let database = database();
        let (mut xid, mut seq, mut since) = (frontier.xid, frontier.seq, now);
        for claim in self
            .in_flight
            .iter()
            .filter(|c| c.used != 0 && c.database == database && c.lane == lane)
        {
            if claim.behind != 0 {
                return None;
            }
            // The row just below the claim's lowest.
            if (claim.xid, claim.seq) <= (xid, seq) {
                (xid, seq) = (claim.xid, claim.seq - 1);
            }
            since = since.min(claim.at);
        }
        Some((xid, seq, since))
    }

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

    /// Whether anything became ready since the last call.
    pub fn take_wakes(&mut self) -> bool {
        let Some(i) = self.database_index() else {
            return false;
        };
        let slot = &mut self.databases[i];
        let news = slot.wakes != slot.notified;
        slot.notified = slot.wakes;
        news
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

    /// Takes up to `want` places of a gate that lets `limit` run; answers how many it got.
    pub fn enter_gate(&mut self, key: u64, limit: u32, want: u32) -> u32 {
        match self.gate(key) {
            Some(gate) => {
                let got = want.min(limit.saturating_sub(gate.running));
                gate.running += got;
                got
            }
            None => 0,
        }
    }

    /// Gives places of a gate back.
    pub fn leave_gate(&mut self, key: u64, count: u32) {
        if let Some(gate) = self.gate(key) {
            gate.running = gate.running.saturating_sub(count);
        }
    }

    /// The stored arrival time of a rate bucket, to be changed in place.
    pub fn rate(&mut self, key: u64) -> Option<&mut i64> {
        let database = database();
        let start = spread(database, key);
        for i in 0..RATES {
            let at = (start + i) % RATES;
            let free = self.rates[at].used == 0;
            if free {
                self.rates[at] = Rate {
                    key,
                    database,
                    used: 1,
                    tat: 0,
                };
            }
            if self.rates[at].database == database && self.rates[at].key == key {
                return Some(&mut self.rates[at].tat);
            }
        }
        None
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
