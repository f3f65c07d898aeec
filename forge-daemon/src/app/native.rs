//! Native handlers: Rust code linked with the daemon that runs jobs of kinds with handler `native:NAME`.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A job handed to a native handler.
#[derive(Debug)]
pub struct Job {
    /// The job.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its arguments.
    pub args: Value,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Attempts it has in all.
    pub max_attempts: u32,
    /// W3C trace context, when the job has one.
    pub traceparent: Option<String>,
    /// Cancelled when the job was cancelled, timed out, or the node must stop: end soon.
    pub cancel: CancellationToken,
    /// Where progress goes; used through [`Job::progress`].
    pub reports: mpsc::Sender<Progress>,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// 0 to 100.
    pub percent: f32,
    /// For people.
    pub message: String,
}

impl Job {
    /// The arguments as a type of the handler's own. Wrong ones fail the job for good: no retry mends them.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(&self.args).map_err(|error| Failure::permanent(format!("arguments do not fit: {error}")))
    }

    /// Reports progress in percent. Reports that come faster than they can be written are dropped.
    pub fn progress(&self, percent: f32, message: impl Into<String>) {
        let _ = self.reports.try_send(Progress { percent, message: message.into() });
    }
}

/// Why a handler failed and what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Kept as the attempt's error.
    pub message: String,
    /// What follows.
    pub then: Then,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Another attempt by the kind's backoff, while there are attempts left.
    Retry,
    /// Another attempt after this long.
    RetryIn(Duration),
    /// No other attempt: the job is dead.
    Dead,
    /// Not a failure: the same attempt again after this long.
    Snooze(Duration),
    /// The handler obeyed a cancel request.
    Cancelled,
}

impl Failure {
    /// Tried again by the kind's backoff. Errors turn into this by `?`.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { message: message.into(), then: Then::Retry }
    }

    /// Never tried again.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), then: Then::Dead }
    }

    /// Put off by `delay` without using an attempt.
    pub fn snooze(delay: Duration) -> Self {
        Self { message: String::new(), then: Then::Snooze(delay) }
    }

    /// Ended because of a cancel request.
    pub fn cancelled() -> Self {
        Self { message: "cancelled".into(), then: Then::Cancelled }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(error.to_string())
    }
}

type Running = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>;

/// A native handler, type-erased.
#[derive(Clone)]
pub struct Native(Arc<dyn Fn(Job) -> Running + Send + Sync>);

impl Native {
    /// Wraps an async function from a job to a JSON result.
    pub fn new<F, T>(handler: F) -> Self
    where
        F: Fn(Job) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        Self(Arc::new(move |job| Box::pin(handler(job))))
    }

    /// Runs the handler.
    pub fn call(&self, job: Job) -> Running {
        (self.0)(job)
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Native")
    }
}

/// The handlers of this process by name.
#[derive(Debug, Default)]
pub struct Natives(BTreeMap<String, Native>);

impl Natives {
    /// The handler called `name` (the part after `native:`).
    pub fn get(&self, name: &str) -> Option<&Native> {
        self.0.get(name)
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, name: String, handler: Native) {
        self.0.insert(name, handler);
    }
}
