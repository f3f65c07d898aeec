//! What is known about a host that is called: its circuit breaker and how many calls are under way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use url::Url;

use super::breaker::{Breaker, Permit};
use crate::config::Outbound;

/// Hosts by origin. Only those that some kind names are kept.
#[derive(Debug)]
pub struct Hosts {
    hosts: HashMap<String, Weak<Host>>,
    breaker_failures: u32,
    breaker_open: Duration,
    per_host: usize,
    wake: Arc<Notify>,
}

/// One host and port.
#[derive(Debug)]
pub struct Host {
    origin: String,
    breaker: Mutex<Breaker>,
    calls: Semaphore,
    wake: Arc<Notify>,
}

impl Hosts {
    /// No hosts yet; `wake` is told when a saturated host has room again.
    pub fn new(config: &Outbound, wake: Arc<Notify>) -> Self {
        Self {
            hosts: HashMap::new(),
            breaker_failures: config.breaker_failures,
            breaker_open: config.breaker_open.get(),
            per_host: config.per_host,
            wake,
        }
    }

    /// The host of `url`.
    pub fn get(&mut self, url: &Url) -> Arc<Host> {
        let origin = url.origin().ascii_serialization();
        if let Some(host) = self.hosts.get(&origin).and_then(Weak::upgrade) {
            return host;
        }
        self.hosts.retain(|_, host| host.strong_count() > 0);
        let host = Arc::new(Host {
            origin: origin.clone(),
            breaker: Mutex::new(Breaker::new(self.breaker_failures, self.breaker_open)),
            calls: Semaphore::new(self.per_host.max(1)),
            wake: self.wake.clone(),
        });
        self.hosts.insert(origin, Arc::downgrade(&host));
        host
    }
}

impl Host {
    /// How long its circuit refuses calls; zero when it does not.
    pub fn wait(&self, now: Instant) -> Duration {
        self.lock().wait(now)
    }

    /// Whether as many calls are under way as are allowed.
    pub fn is_saturated(&self) -> bool {
        self.calls.available_permits() == 0
    }

    /// Waits for a place, then asks the breaker.
    ///
    /// # Errors
    /// How long the circuit refuses calls.
    pub async fn begin(&self) -> Result<Call<'_>, Duration> {
        let permit = self.calls.acquire().await.ok();
        match self.lock().permit(Instant::now()) {
            Permit::Wait(wait) => Err(wait),
            Permit::Call | Permit::Probe => Ok(Call {
                host: self,
                permit,
                told: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way. Dropped without a word it says nothing about the host.
#[derive(Debug)]
pub struct Call<'a> {
    host: &'a Host,
    permit: Option<SemaphorePermit<'a>>,
    told: bool,
}

impl Call<'_> {
    /// The host answered sensibly.
    pub fn succeed(mut self) {
        self.told = true;
        self.host.lock().succeed();
    }

    /// The host failed.
    pub fn fail(mut self) {
        self.told = true;
        let now = Instant::now();
        let mut breaker = self.host.lock();
        let was_closed = breaker.wait(now).is_zero();
        breaker.fail(now);
        let wait = breaker.wait(now);
        drop(breaker);
        if was_closed && !wait.is_zero() {
            tracing::warn!(host = self.host.origin, wait = ?wait, "circuit opened: the host keeps failing");
            metrics::counter!("forge_circuits_opened_total").increment(1);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.host.lock().abandon(Instant::now());
        }
        let was_saturated = self.host.is_saturated();
        self.permit = None;
        if was_saturated {
            self.host.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        let config = Outbound {
            breaker_failures: 2,
            per_host: 1,
            ..Outbound::default()
        };
        Hosts::new(&config, Arc::default())
    }

    #[tokio::test]
    async fn kinds_of_one_origin_share_breaker_and_places() {
        let mut hosts = hosts();
        let a = hosts.get(&"https://example.com/a".parse().unwrap());
        let b = hosts.get(&"https://example.com:443/b".parse().unwrap());
        let other = hosts.get(&"https://example.com:8443/a".parse().unwrap());
        a.begin().await.unwrap().fail();
        b.begin().await.unwrap().fail();
        assert!(a.begin().await.is_err() && !b.wait(Instant::now()).is_zero());
        assert!(other.begin().await.is_ok());
    }

    #[tokio::test]
    async fn a_freed_place_wakes_the_lane() {
        let mut hosts = hosts();
        let host = hosts.get(&"http://example.com/".parse().unwrap());
        let call = host.begin().await.unwrap();
        assert!(host.is_saturated());
        drop(call);
        assert!(!host.is_saturated());
        hosts.wake.notified().await;
    }
}
