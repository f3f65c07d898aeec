//! The heartbeat: its own task on its own connection, so that neither a busy pool nor a busy worker can stop it.
//!
//! Invariants: between two heartbeats that the database answered at most the node's lease passes, else the life is over
//! here too, whatever the database still believes; a life that is over is followed by another under a new id; every
//! wait is bounded by the lease.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    leader::{Ballot, Duty, Pace},
    life::{Life, Trust},
    query::{self, Pulse},
};
use crate::{
    app::{Context, Phase},
    config::Role,
    db::{Error, Link, Subscription, Wakeup, backoff},
};

/// Longest that one call may take.
const CALL: Duration = Duration::from_secs(5);
/// Hints make heartbeats at most this often.
const HINT_PAUSE: Duration = Duration::from_millis(200);

/// Why a life ended.
enum End {
    /// Declared dead, or the database was out of reach for as long as the lease.
    Lost,
    /// The node was asked to leave, or to stop at once.
    Left,
}

/// One answered heartbeat.
struct Beat {
    sent: Instant,
    pulse: Pulse,
    ballot: Ballot,
}

pub(super) struct Heart {
    context: Context,
    shared: Arc<Shared>,
    link: Link,
    hints: Subscription,
    pace: Pace,
    /// The state told last.
    told: &'static str,
}

impl Heart {
    pub fn new(context: &Context, shared: Arc<Shared>) -> Self {
        let scheduler = &context.config.scheduler;
        Self {
            context: context.clone(),
            shared,
            link: Link::new(context.db.clone(), "heartbeat", query::ALL),
            hints: context.wakeups.subscribe(),
            pace: Pace {
                ttl: scheduler.lease.get(),
                renew: scheduler.renew.get(),
                margin: scheduler.margin.get(),
            },
            told: "starting",
        }
    }

    /// Lives one life after the other until the node leaves or `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let shared = self.shared.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.lives() => {}
        }
        shared.end_life();
        shared.left.cancel();
    }

    async fn lives(&mut self) {
        let mut former: Option<Arc<Life>> = None;
        while let Some((life, beat)) = self.register(former.take()).await {
            match self.live(&life, beat).await {
                End::Lost => {
                    self.shared.end_life();
                    former = Some(life);
                }
                End::Left => return self.leave(&life).await,
            }
        }
    }

    /// Begins a life: registers and beats once; `None` when asked to leave first. What `former` held, and what came of
    /// registrations that were answered too late, is returned before.
    async fn register(&mut self, mut former: Option<Arc<Life>>) -> Option<(Arc<Life>, Beat)> {
        let leave = self.shared.leave.clone();
        let mut pauses = backoff();
        loop {
            let life = Arc::new(Life::begin());
            let joined = tokio::select! {
                () = leave.cancelled() => return None,
                joined = self.join(&life, &mut former) => joined,
            };
            match joined {
                Ok(beat) => {
                    let id = life.id();
                    tracing::info!(node_id = %id, "registered");
                    return Some((life, beat));
                }
                Err(error) => {
                    let pause = pauses.next().unwrap_or(CALL);
                    tracing::warn!(%error, retry_in = ?pause, "registration failed");
                    former.get_or_insert(life);
                    tokio::select! {
                        () = leave.cancelled() => return None,
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }

    async fn join(&mut self, life: &Life, former: &mut Option<Arc<Life>>) -> Result<Beat, Error> {
        if let Some(life) = former.as_ref() {
            self.link.rows(CALL, &query::LEAVE, &[&life.id()]).await?;
            *former = None;
        }
        let context = &self.context;
        let node = &context.config.node;
        let roles: Vec<&str> = node.roles.iter().map(|role| role.as_str()).collect();
        let http = context.http_address().filter(|_| node.has(Role::Gateway));
        self.link
            .rows(
                CALL,
                &query::REGISTER,
                &[
                    &life.id(),
                    &node.display_name(),
                    &roles,
                    &node.capabilities,
                    &http,
                    &context.grpc_address(),
                    &env!("CARGO_PKG_VERSION"),
                ],
            )
            .await?;
        self.beat(life, CALL).await
    }

    /// Beats until the life ends.
    async fn live(&mut self, life: &Arc<Life>, first: Beat) -> End {
        let mut trust = Trust::node(first.sent);
        let mut next = self.heed(life, &first);
        self.shared.life.send_replace(Some(life.clone()));
        let mut pauses = backoff();
        let leave = self.shared.leave.clone();
        loop {
            tokio::select! {
                () = leave.cancelled() => return End::Left,
                () = sleep_until(next.min(trust.until())) => {}
                () = self.hint() => {}
            }
            let left = trust.until().saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::error!(node_id = %life.id(), "no heartbeat reached the database within the lease: jobs stop");
                return End::Lost;
            }
            match self.beat(life, left.min(CALL)).await {
                Ok(beat) if beat.pulse.state == "dead" => {
                    tracing::error!(node_id = %life.id(), "declared dead by the others: jobs stop");
                    return End::Lost;
                }
                Ok(beat) => {
                    trust = Trust::node(beat.sent);
                    if beat.pulse.state == "draining" && !self.context.drain.is_cancelled() {
                        tracing::info!("asked to drain");
                        self.context.request_drain();
                    }
                    next = self.heed(life, &beat);
                    pauses = backoff();
                }
                Err(error) => {
                    let pause = pauses.next().unwrap_or(CALL);
                    tracing::warn!(%error, retry_in = ?pause, "heartbeat failed");
                    next = Instant::now() + pause;
                }
            }
        }
    }

    /// A reason to beat early: something was registered, paused or cancelled, or the node changed its phase. Waits a
    /// little, so that many reasons are one.
    async fn hint(&mut self) {
        let mut phases = self.context.phases();
        let told = self.told;
        tokio::select! {
            _ = self.hints.next_of(&[Wakeup::Control]) => {}
            Ok(_) = phases.wait_for(|phase| state(*phase) != told) => {}
            () = self.shared.poke.notified() => {}
        }
        sleep(HINT_PAUSE).await;
    }

    async fn beat(&mut self, life: &Life, limit: Duration) -> Result<Beat, Error> {
        let sent = Instant::now();
        let ttl = i32::try_from(self.pace.ttl.as_millis()).unwrap_or(i32::MAX);
        let load = self.shared.load.to_json();
        let duties = self.duties();
        let state = state(self.context.phase());
        let rows = self
            .link
            .rows(
                limit,
                &query::BEAT,
                &[&life.id(), &state, &load, &duties, &ttl],
            )
            .await?;
        self.told = state;
        let row = rows
            .first()
            .ok_or_else(|| query::BEAT.unexpected("no row"))?;
        let json = |column| {
            row.try_get::<_, Option<serde_json::Value>>(column)
                .map_err(|e| query::BEAT.unexpected(e))
        };
        let pulse = serde_json::from_value(json(0)?.unwrap_or_default())
            .map_err(|e| query::BEAT.unexpected(e))?;
        let ballot = match json(1)? {
            Some(ballot) => {
                serde_json::from_value(ballot).map_err(|e| query::BEAT.unexpected(e))?
            }
            None => Ballot::default(),
        };
        Ok(Beat {
            sent,
            pulse,
            ballot,
        })
    }

    /// Tells the others here what an answer says; when to beat next.
    fn heed(&self, life: &Life, beat: &Beat) -> Instant {
        let shared = &self.shared;
        shared
            .leadership
            .apply(life.id(), &beat.ballot, beat.sent, &self.pace);
        // Told again even when nothing changed: the job may have been claimed only now.
        if !beat.pulse.cancel.is_empty() {
            shared.cancels.send_replace(beat.pulse.cancel.clone());
        }
        shared.catalog.send_if_modified(|known| {
            std::mem::replace(known, beat.pulse.catalog) != beat.pulse.catalog
        });
        if beat.pulse.ready {
            self.context.wakeups.wake(Wakeup::Jobs);
        }
        let heartbeat = self.context.config.node.heartbeat.get();
        let pause = if self.duties().is_empty() {
            heartbeat
        } else {
            heartbeat.min(self.pace.next(&beat.ballot))
        };
        beat.sent + pause
    }

    /// Duties to ask for: all that this node may have; once it drains only those it holds until it resigns.
    fn duties(&self) -> Vec<&'static str> {
        if !self.context.config.node.has(Role::Scheduler) {
            return Vec::new();
        }
        if self.context.drain.is_cancelled() {
            return self
                .shared
                .leadership
                .held()
                .into_iter()
                .map(|(duty, _)| duty.as_str())
                .collect();
        }
        Duty::ALL.iter().map(|duty| duty.as_str()).collect()
    }

    async fn leave(&mut self, life: &Life) {
        for (duty, term) in self.shared.leadership.held() {
            if let Err(error) = self
                .link
                .rows(CALL, &query::RESIGN, &[&duty.as_str(), &life.id(), &term])
                .await
            {
                tracing::warn!(%error, duty = duty.as_str(), "resigning failed; the lease will run out");
            }
        }
        self.shared.end_life();
        match self.link.rows(CALL, &query::LEAVE, &[&life.id()]).await {
            Ok(_) => tracing::info!(node_id = %life.id(), "left the cluster"),
            Err(error) => {
                tracing::warn!(%error, "leaving failed; the others will notice within the lease")
            }
        }
    }
}

/// What a heartbeat reports: a registered node takes work until it drains.
fn state(phase: Phase) -> &'static str {
    if phase == Phase::Draining {
        "draining"
    } else {
        "active"
    }
}
