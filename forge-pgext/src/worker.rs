//! The background worker: one per database in use, with preload only.
//!
//! It turns commits that made work ready into at most one NOTIFY per interval, outside user transactions and without
//! waiting for the disk, makes day tables ahead, and watches prepared transactions ([`prepared`]). It is asked for by the
//! first backend that uses Forge in a database, comes back after a crash of the server, and ends for good when it is
//! terminated.

mod prepared;

use crate::pg::{extra, shmem, spi, subtransaction, xact};
use pgrx::FromDatum;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, SignalWakeFlags};
use pgrx::pg_sys::{self, Datum, Oid};
use std::time::Duration;

/// Shortest time between two notifications, and what each commit in between adds: who is that busy looks by itself.
const INTERVAL: Duration = Duration::from_micros(500);
const INTERVAL_PER_WAKE: Duration = Duration::from_micros(125);
const LONGEST_INTERVAL: Duration = Duration::from_millis(4);
/// How often day tables are looked after without any other reason.
const UPKEEP_EVERY_US: i64 = 600_000_000;
/// How long the worker sleeps when nothing happens.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often, while there is work, the floor is raised below which no claim is open.
const FLOOR_EVERY_US: i64 = 2_000_000;

/// Lets nodes know, once this transaction has committed, that there may be work: through the worker where one runs,
/// otherwise by a notification of the transaction's own.
pub fn announce() {
    xact::wake();
    if shmem::with(shmem::Shared::worker_pid).unwrap_or(0) == 0 {
        extra::notify(c"forge_jobs");
    }
    ensure();
}

/// Nodes should look again at `at`, microseconds; where no worker runs, they find out by polling.
pub fn announce_at(at: i64) {
    if let Some(Some(process)) = shmem::with(|shared| shared.wake_at(at)) {
        // SAFETY: PGPROC structures live in shared memory for the server's whole life.
        unsafe { pg_sys::SetLatch(&raw mut (*(process as *mut pg_sys::PGPROC)).procLatch) };
    }
}

/// Asks for this database's worker unless it runs or was asked for just now.
pub fn ensure() {
    let now = crate::job::now();
    let start = shmem::with(|shared| shared.should_start_worker(now)).unwrap_or(false);
    if start && unsafe { pg_sys::MyBgworkerEntry.is_null() } {
        // Without a free worker slot everything still works by polling; forge.status() tells.
        let _ = BackgroundWorkerBuilder::new("forge worker")
            .set_type("forge worker")
            .set_library("forge")
            .set_function("forge_worker_main")
            .enable_spi_access()
            .set_restart_time(Some(Duration::from_secs(5)))
            .set_argument(Some(Datum::from(unsafe { pg_sys::MyDatabaseId })))
            .load_dynamic();
    }
}

/// Entry point of the worker process.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn forge_worker_main(argument: Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGTERM | SignalWakeFlags::SIGHUP);
    let database = unsafe { Oid::from_datum(argument, false) };
    BackgroundWorker::connect_worker_to_spi_by_oid(database, None);
    let first = shmem::with(|shared| {
        let first = !is_alive(shared.worker_pid());
        if first {
            shared.set_worker(unsafe { pg_sys::MyProcPid }, unsafe { pg_sys::MyProc }
                as usize);
        }
        first
    });
    if first == Some(true) {
        serve();
        shmem::with(|shared| shared.set_worker(0, 0));
    }
    // Exit code 0 tells the postmaster not to start this worker again.
    unsafe { pg_sys::proc_exit(0) };
}

/// Whether a process of this id exists.
pub fn is_alive(pid: i32) -> bool {
    pid != 0 && unsafe { libc_kill(pid, 0) } == 0
}

unsafe extern "C" {
    #[link_name = "kill"]
    fn libc_kill(pid: i32, signal: i32) -> i32;
}

fn serve() {
    // Losing a notification in a crash costs nothing: whoever listened has to connect again and then catches up. A short
    // wait for locks lets a DROP EXTENSION have its way.
    BackgroundWorker::transaction(|| {
        spi::execute(
            "SELECT pg_catalog.set_config('synchronous_commit', 'off', false), \
             pg_catalog.set_config('lock_timeout', '200ms', false)",
            &[],
        );
    });
    let (mut upkeep_at, mut floor_at) = (i64::MIN, i64::MIN);
    let mut prepared = prepared::Watch::new();
    loop {
        let now = crate::job::now();
        if now.saturating_sub(upkeep_at) > UPKEEP_EVERY_US {
            upkeep_at = now;
            chore(MAKE_DAYS);
        }
        if shmem::with(shmem::Shared::is_counted) == Some(false) {
            recount();
        }
        prepared.look();
        let wakes = shmem::with(|shared| shared.take_wakes(now)).unwrap_or(0);
        if wakes > 0 {
            BackgroundWorker::transaction(|| extra::notify(c"forge_jobs"));
            if now.saturating_sub(floor_at) > FLOOR_EVERY_US {
                floor_at = now;
                chore("SELECT forge_private.raise_claim_floor()");
            }
            let more = u32::try_from(wakes - 1).unwrap_or(u32::MAX);
            std::thread::sleep(
                INTERVAL
                    .saturating_add(INTERVAL_PER_WAKE.saturating_mul(more))
                    .min(LONGEST_INTERVAL),
            );
        }
        // The flag that a termination sets is cleared by whoever reads it: here alone.
        let woken_at = shmem::with(shmem::Shared::next_wake).flatten();
        let until = [woken_at, prepared.look_at()].into_iter().flatten().min();
        if !BackgroundWorker::wait_latch(Some(pause(until, crate::job::now()))) {
            return;
        }
    }
}

/// How long to sleep until an instant, if there is one.
fn pause(until: Option<i64>, now: i64) -> Duration {
    let left = until.map(|at| at.saturating_sub(now).max(0).unsigned_abs());
    // A millisecond more, as the sleep is counted in whole ones.
    let left = left.map(|us| Duration::from_micros(us) + Duration::from_millis(1));
    left.map_or(LONGEST_PAUSE, |left| left.min(LONGEST_PAUSE))
}

/// Counts the jobs of this database; false when it has to be tried again.
fn recount() -> bool {
    BackgroundWorker::transaction(|| {
        let mut done = false;
        if installed() {
            let _ = subtransaction::attempt(|| done = crate::job::count::recount());
        }
        done
    })
}

const MAKE_DAYS: &str = "SELECT forge_private.make_day(d) FROM (VALUES ((now() AT TIME ZONE 'UTC')::date), \
                         ((now() AT TIME ZONE 'UTC')::date + 1)) v(d)";

/// Runs one statement in a transaction of its own; what fails, for example for a lock, is tried again next time.
fn chore(sql: &'static str) {
    BackgroundWorker::transaction(|| {
        if installed() {
            let _ = subtransaction::attempt(|| {
                spi::execute(sql, &[]);
            });
        }
    });
}

fn installed() -> bool {
    crate::pg::table::oid("entry").is_some()
}
