//! The jobs running on this node that can be told to stop.
//!
//! Invariants: a job is in the registry from before its handler's first wait until its outcome is handed over;
//! handlers that end without waiting never get in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use uuid::Uuid;

use super::{
    job::Lease,
    stop::{Reason, Stop},
};
use crate::cluster::{Cluster, Life};

#[derive(Debug)]
struct Job {
    lease: Uuid,
    life: Arc<Life>,
    stop: Arc<Stop>,
}

/// Running jobs by id.
#[derive(Debug)]
pub struct Running {
    jobs: Mutex<HashMap<Uuid, Job>>,
    cluster: Cluster,
}

impl Running {
    /// An empty registry.
    pub fn new(cluster: Cluster) -> Arc<Self> {
        Arc::new(Self {
            jobs: Mutex::default(),
            cluster,
        })
    }

    /// Enters a job; it leaves when the guard is dropped. When its lease was lost meanwhile it is told to stop at once.
    pub fn enter(self: &Arc<Self>, id: Uuid, lease: &Lease, stop: Arc<Stop>) -> Entry {
        self.cluster.load().running.fetch_add(1, Relaxed);
        let job = Job {
            lease: lease.id,
            life: lease.life.clone(),
            stop: stop.clone(),
        };
        self.lock().insert(id, job);
        if lease.life.is_lost() {
            stop.now(Reason::LeaseLost);
        }
        Entry {
            running: self.clone(),
            id,
            lease: lease.id,
        }
    }

    /// Tells one job to stop; false when it does not run here.
    pub fn stop(&self, id: Uuid, reason: Reason) -> bool {
        let stop = self.lock().get(&id).map(|job| job.stop.clone());
        stop.inspect(|stop| stop.now(reason)).is_some()
    }

    /// Tells every job to stop.
    pub fn stop_all(&self, reason: Reason) {
        let stops: Vec<_> = self.lock().values().map(|job| job.stop.clone()).collect();
        stops.iter().for_each(|stop| stop.now(reason));
    }

    /// Tells every job to stop whose lease was lost with the life it was claimed in.
    pub fn stop_lost(&self) {
        let jobs = self.lock();
        let lost: Vec<_> = jobs
            .values()
            .filter(|job| job.life.is_lost())
            .map(|job| job.stop.clone())
            .collect();
        drop(jobs);
        lost.iter().for_each(|stop| stop.now(Reason::LeaseLost));
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a job in the registry.
#[derive(Debug)]
pub struct Entry {
    running: Arc<Running>,
    id: Uuid,
    lease: Uuid,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.cluster.load().running.fetch_sub(1, Relaxed);
        let mut jobs = self.running.lock();
        // After a lost lease the same job may already run here again.
        if jobs
            .get(&self.id)
            .is_some_and(|job| job.lease == self.lease)
        {
            jobs.remove(&self.id);
        }
    }
}
