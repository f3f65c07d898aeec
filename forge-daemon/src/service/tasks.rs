//! The registry of running tasks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// What [`Tasks::stop`] found: the names of the tasks that had to be left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Tasks that did not end in time and were aborted.
    pub late: Vec<String>,
}

/// Starts tasks by name and stops them together. Clones share the registry.
#[derive(Clone, Debug)]
pub struct Tasks {
    token: CancellationToken,
    failed: CancellationToken,
    running: Arc<watch::Sender<BTreeMap<u64, String>>>,
    aborts: Arc<Mutex<BTreeMap<u64, tokio::task::AbortHandle>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty registry.
    pub fn new() -> Self {
        Self {
            token: CancellationToken::new(),
            failed: CancellationToken::new(),
            running: Arc::new(watch::Sender::new(BTreeMap::new())),
            aborts: Arc::default(),
        }
    }

    /// The token that every task of this registry must watch.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Ends when a task has panicked: the daemon should stop.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Starts `task` under `name`. The future gets a token and must end soon after it is cancelled.
    pub fn spawn<F, T>(&self, name: impl Into<String>, task: F)
    where
        F: FnOnce(CancellationToken) -> T,
        T: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let id = self.enter(&name);
        let work = std::panic::AssertUnwindSafe(task(self.token.clone())).catch_unwind();
        let guard = Leave {
            id,
            tasks: self.clone(),
        };
        let failed = self.failed.clone();
        let handle = tokio::spawn(async move {
            let _guard = guard;
            if work.await.is_err() {
                tracing::error!(task = name, "task panicked; the node stops");
                failed.cancel();
            }
        });
        if !handle.is_finished() {
            self.lock().insert(id, handle.abort_handle());
        }
    }

    /// Names of the tasks running now.
    pub fn running(&self) -> Vec<String> {
        self.running.borrow().values().cloned().collect()
    }

    /// Cancels every task, waits up to `within`, then aborts and names those still running.
    pub async fn stop(&self, within: Duration) -> Stopped {
        self.token.cancel();
        let deadline = Instant::now() + within;
        let mut running = self.running.subscribe();
        let ended = tokio::time::timeout_at(deadline, running.wait_for(BTreeMap::is_empty)).await;
        if ended.is_ok() {
            return Stopped::default();
        }
        let late = self.running();
        for abort in self.lock().values() {
            abort.abort();
        }
        tracing::warn!(tasks = ?late, ?within, "tasks did not stop in time and were aborted");
        Stopped { late }
    }

    fn enter(&self, name: &str) -> u64 {
        let mut id = 0;
        self.running.send_modify(|running| {
            id = running.last_key_value().map_or(0, |(last, _)| last + 1);
            running.insert(id, name.to_owned());
        });
        id
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, tokio::task::AbortHandle>> {
        self.aborts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a task off the registry however it ends.
struct Leave {
    id: u64,
    tasks: Tasks,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.tasks.lock().remove(&self.id);
        self.tasks.running.send_modify(|running| {
            running.remove(&self.id);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stops_what_listens_and_names_what_does_not() {
        let tasks = Tasks::new();
        tasks.spawn("polite", |token| async move { token.cancelled().await });
        tasks.spawn("deaf", |_| std::future::pending());
        assert_eq!(tasks.running(), ["polite", "deaf"]);
        let stopped = tasks.stop(Duration::from_millis(50)).await;
        assert_eq!(stopped.late, ["deaf"]);
    }

    #[tokio::test]
    async fn a_panic_is_reported() {
        let tasks = Tasks::new();
        tasks.spawn("broken", |_| async { panic!("on purpose") });
        tokio::time::timeout(Duration::from_secs(5), tasks.failed())
            .await
            .unwrap();
        assert_eq!(tasks.stop(Duration::from_secs(5)).await, Stopped::default());
    }
}
