//! The connected workers by group.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::{Notify, mpsc};

use super::{
    group::{Group, GroupRunner},
    stream::{Seat, Stream, ToWorker},
};
use crate::worker::{
    claim::{Lane, Source},
    desk::Desk,
};

/// What a worker says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// For people.
    pub worker: String,
    /// Kinds it takes; empty means every kind whose capability it has.
    pub kinds: BTreeSet<String>,
    /// Its capabilities.
    pub capabilities: BTreeSet<String>,
    /// Jobs it runs at once.
    pub places: usize,
}

/// What makes two workers members of one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Takes {
    pub kinds: BTreeSet<String>,
    pub capabilities: BTreeSet<String>,
}

/// All connected workers of this node. Clones share them.
#[derive(Clone, Debug)]
pub struct Remotes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    desk: Arc<Desk>,
    source: Source,
    groups: Mutex<Groups>,
    next: AtomicU64,
    most: usize,
}

#[derive(Debug, Default)]
struct Groups {
    by_takes: BTreeMap<Takes, Arc<Group>>,
    by_stream: HashMap<u64, Arc<Group>>,
}

impl Remotes {
    /// No workers yet; at most `most` may connect.
    pub(in crate::worker) fn new(desk: Arc<Desk>, source: Source, most: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                desk,
                source,
                groups: Mutex::default(),
                next: AtomicU64::new(0),
                most,
            }),
        }
    }

    /// Takes a worker in; nothing when there are too many already or the node drains.
    pub fn join(&self, registration: Registration) -> Option<(Seat, mpsc::Receiver<ToWorker>)> {
        if self.inner.desk.is_draining() {
            return None;
        }
        let takes = Takes {
            kinds: registration.kinds,
            capabilities: registration.capabilities,
        };
        let (stream, sending) = Stream::new(registration.worker, registration.places);
        let id = self.inner.next.fetch_add(1, Relaxed);
        let mut groups = self.lock();
        if groups.by_stream.len() >= self.inner.most {
            return None;
        }
        let group = match groups.by_takes.get(&takes) {
            Some(group) => group.clone(),
            None => {
                let group = Arc::new(Group::new(takes.clone()));
                groups.by_takes.insert(takes, group.clone());
                self.spawn(&group);
                group
            }
        };
        group.add(id, stream.clone());
        groups.by_stream.insert(id, group.clone());
        self.inner
            .desk
            .cluster
            .load()
            .remote_workers
            .store(groups.by_stream.len(), Relaxed);
        drop(groups);
        group.wake.notify_one();
        Some((
            Seat {
                stream,
                remotes: self.clone(),
                id,
            },
            sending,
        ))
    }

    /// Work may be ready.
    pub(in crate::worker) fn wake(&self) {
        self.lock()
            .by_takes
            .values()
            .for_each(|group| group.wake.notify_one());
    }

    /// A place of the worker may be free.
    pub(super) fn freed(&self, id: u64) {
        if let Some(group) = self.lock().by_stream.get(&id) {
            group.freed.notify_one();
        }
    }

    pub(super) fn leave(&self, id: u64) {
        let mut groups = self.lock();
        if let Some(group) = groups.by_stream.remove(&id)
            && group.remove(id)
        {
            group.ended.cancel();
            groups
                .by_takes
                .retain(|_, known| !Arc::ptr_eq(known, &group));
        }
        self.inner
            .desk
            .cluster
            .load()
            .remote_workers
            .store(groups.by_stream.len(), Relaxed);
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.inner.desk
    }

    fn spawn(&self, group: &Arc<Group>) {
        let desk = self.inner.desk.clone();
        let wake: Arc<Notify> = group.wake.clone();
        let runner = GroupRunner::new(desk.clone(), group.clone());
        let lane = Lane {
            desk: desk.clone(),
            runner,
            source: self.inner.source.clone(),
            wake,
            polls: true,
        };
        let ended = group.ended.clone();
        desk.tracker.spawn(lane.run_until(ended));
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.inner
            .groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
