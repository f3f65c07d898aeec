//! The native handlers of this process by name.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc};

use serde_json::Value;

use super::{Failure, Job};

/// A handler at work.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>;

/// A native handler, type-erased.
#[derive(Clone)]
pub struct Native(Arc<dyn Fn(Job) -> Work + Send + Sync>);

impl Native {
    /// Wraps an async function from a job to a JSON result.
    pub fn new<F, T>(handler: F) -> Self
    where
        F: Fn(Job) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        Self(Arc::new(move |job| Box::pin(handler(job))))
    }

    /// Begins a run.
    pub(super) fn call(&self, job: Job) -> Work {
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

    /// Adds a handler; the last of a name wins.
    pub fn insert(&mut self, name: String, handler: Native) {
        self.0.insert(name, handler);
    }
}
