//! Runs `http:` and `https:` handlers: one signed POST per attempt.
//!
//! Invariants: no call reaches an address that is not public unless `outbound.allow_private`, neither by name, nor by
//! literal, nor by redirect; a host that keeps failing is left alone for a while, and jobs for it are put off without
//! using an attempt.

mod address;
mod answer;
mod breaker;
mod call;
mod client;
mod host;
mod sign;
mod target;

use std::{collections::HashMap, sync::Arc, time::Instant};

use forge_core::Handler;
use tokio::sync::Notify;

use super::{
    catalog::Catalog,
    claim::{Offer, Runner, Slots},
    desk::{Desk, Ticket},
    job::{Batch, Claimed, Lease},
    kind::Kind,
    outcome::Outcome,
    supervise::supervise,
};
use call::Caller;
use host::Hosts;
use target::Target;

/// A registration and the destination read from it, or what is wrong with it.
type Known = (Arc<Kind>, Result<Arc<Target>, String>);

/// The lane of HTTP jobs.
pub struct HttpRunner {
    desk: Arc<Desk>,
    slots: Slots,
    caller: Arc<Caller>,
    hosts: Hosts,
    targets: HashMap<Arc<str>, Known>,
}

impl HttpRunner {
    /// A lane; `wake` is told when a saturated host has room again.
    ///
    /// # Errors
    /// A sentence when the client cannot be made.
    pub fn new(desk: Arc<Desk>, slots: Slots, wake: Arc<Notify>) -> Result<Self, String> {
        let caller = Caller::new(&desk.context.config.outbound, desk.result_limit())?;
        let hosts = Hosts::new(&desk.context.config.outbound, wake);
        Ok(Self {
            desk,
            slots,
            caller: Arc::new(caller),
            hosts,
            targets: HashMap::new(),
        })
    }

    /// Where jobs of `kind` go; read once per registration.
    fn target(&mut self, kind: &Arc<Kind>) -> Result<Arc<Target>, String> {
        if let Some((known, target)) = self.targets.get(&kind.name)
            && Arc::ptr_eq(known, kind)
        {
            return target.clone();
        }
        let target = Target::read(kind, &mut self.hosts).map(Arc::new);
        self.targets
            .insert(kind.name.clone(), (kind.clone(), target.clone()));
        target
    }

    /// Kinds that may be called now; the shortest wait of the others goes into the offer.
    fn callable(&mut self, offer: &mut Offer, kind: &Arc<Kind>, now: Instant) -> bool {
        let Ok(target) = self.target(kind) else {
            // Its jobs fail with the reason.
            return true;
        };
        let wait = target.host.wait(now);
        if !wait.is_zero() {
            offer.again = Some(offer.again.map_or(wait, |again| again.min(wait)));
        }
        wait.is_zero() && !target.host.is_saturated()
    }
}

impl Runner for HttpRunner {
    async fn room(&mut self) -> usize {
        self.slots.reserve().await
    }

    fn vacate(&mut self) {
        self.slots.vacate();
    }

    fn offer(&mut self, catalog: &Catalog) -> Offer {
        let now = Instant::now();
        let mut offer = Offer::default();
        let capabilities = &self.desk.context.config.node.capabilities.clone();
        for kind in catalog.open() {
            if matches!(kind.handler, Handler::Http(_))
                && capabilities.contains(&kind.capability)
                && self.callable(&mut offer, kind, now)
            {
                offer.kinds.insert(kind.name.clone(), kind.clone());
            }
        }
        self.targets.retain(|name, _| catalog.get(name).is_some());
        offer
    }

    async fn run(&mut self, batch: Batch) {
        let mut permit = self.slots.take();
        for job in batch.jobs {
            let target = self.target(&job.kind);
            let one = permit.as_mut().and_then(|permit| permit.split(1));
            let work = attempt(
                self.desk.clone(),
                self.caller.clone(),
                batch.lease.clone(),
                job,
                target,
            );
            self.desk.tracker.spawn(async move {
                work.await;
                drop(one);
            });
        }
    }
}

async fn attempt(
    desk: Arc<Desk>,
    caller: Arc<Caller>,
    lease: Arc<Lease>,
    job: Claimed,
    target: Result<Arc<Target>, String>,
) {
    let ticket = Ticket::new(&lease, &job);
    let stop = ticket.stop.clone();
    let work = async {
        let target = match target {
            Ok(target) => target,
            Err(message) => return Outcome::dead(message),
        };
        // A call has nothing to clean up: being told to stop is the end of it.
        tokio::select! {
            outcome = caller.call(&target, &job) => outcome,
            () = stop.token().cancelled() => Outcome::retry("interrupted"),
        }
    };
    supervise(&desk, &ticket, work).await;
}
