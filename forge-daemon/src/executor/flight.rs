//! One execution for many who ask the same at the same time.
//!
//! Invariants: a flight goes on when its first passenger leaves; an answer is shared with those it is right for, an
//! error only with the very same caller.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use super::{
    Error,
    memory::{Kept, Key},
};

/// What a flight brings: the answer as kept, or the error.
pub(super) type Outcome = Result<Arc<Kept>, Error>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Flights under way.
#[derive(Clone, Default)]
pub(super) struct Flights {
    under_way: Arc<Mutex<HashMap<Key, Flight>>>,
}

impl Flights {
    /// Joins the flight of `key`, or starts it with `run`. True when it was started here.
    pub async fn join<F>(&self, key: Key, run: impl FnOnce() -> F) -> (bool, Outcome)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (first, flight) = {
            let mut under_way = self.lock();
            match under_way.get(&key) {
                Some(flight) => (false, flight.clone()),
                None => {
                    let landing = Landing {
                        flights: self.clone(),
                        key,
                    };
                    let work = run();
                    let task = tokio::spawn(async move {
                        let _landing = landing;
                        work.await
                    });
                    // A panic has been logged by its task.
                    let flight = task
                        .map(|ended| ended.unwrap_or(Err(Error::Strange)))
                        .boxed()
                        .shared();
                    under_way.insert(key, flight.clone());
                    (true, flight)
                }
            }
        };
        (first, flight.await)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a flight, however it ended.
struct Landing {
    flights: Flights,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}
