//! Leadership: one lease per duty, with a fencing term.
//!
//! Invariants: a tenure is acted on only while it is trusted on the monotonic clock; every write made under it carries
//! its term, which the database checks, so that a leader that was paused past its lease changes nothing; a loser asks
//! again when the winner's lease could end, not before.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::life::Trust;

/// Something exactly one node does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// Turns schedule instants into jobs.
    Schedules,
    /// Makes due deferred jobs ready.
    Promote,
    /// Takes back what dead nodes and late pullers hold.
    Rescue,
    /// Partitions, watermarks, rollups, retention.
    Maintain,
}

impl Duty {
    /// Every duty.
    pub const ALL: [Duty; 4] = [Duty::Schedules, Duty::Promote, Duty::Rescue, Duty::Maintain];

    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Duty::Schedules => "schedules",
            Duty::Promote => "promote",
            Duty::Rescue => "rescue",
            Duty::Maintain => "maintain",
        }
    }
}

/// A term of office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The node that holds it.
    pub node: Uuid,
    /// The fencing term, larger than every earlier holder's.
    pub term: i64,
    /// How long it may be relied on without renewal.
    pub trust: Trust,
}

/// What the database said about the duties this node stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Ballot {
    /// Term by duty held.
    #[serde(default)]
    pub held: BTreeMap<String, i64>,
    /// Milliseconds until the first lease of another holder could end.
    #[serde(default)]
    pub next_in_ms: Option<u64>,
}

/// Lengths of a leadership lease.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a lease lasts without renewal.
    pub ttl: Duration,
    /// Time between renewals.
    pub renew: Duration,
    /// The holder stops acting this long before the end.
    pub margin: Duration,
}

/// A loser asks so long after a lease could end. The holder renews at half the lease: asking at its very end would
/// find, again and again, that it was renewed half a lease ago; a little later it was renewed just now.
const SETTLE: Duration = Duration::from_millis(300);

impl Pace {
    /// When to ask again after `ballot`: the holder to renew, a loser when a lease could end.
    pub fn next(&self, ballot: &Ballot) -> Duration {
        let free = ballot.next_in_ms.map(Duration::from_millis);
        if ballot.held.is_empty() {
            return free
                .map_or(self.ttl, |free| free + SETTLE)
                .clamp(self.renew / 4, self.ttl + SETTLE);
        }
        free.map_or(self.renew, |free| free.clamp(self.renew / 4, self.renew))
    }
}

/// The seats this node may hold; the heartbeat fills and empties them.
#[derive(Debug)]
pub struct Leadership {
    seats: BTreeMap<Duty, watch::Sender<Option<Tenure>>>,
}

impl Default for Leadership {
    fn default() -> Self {
        Self {
            seats: Duty::ALL
                .into_iter()
                .map(|duty| (duty, watch::Sender::new(None)))
                .collect(),
        }
    }
}

impl Leadership {
    /// One reader of the seat of `duty`.
    pub fn seat(&self, duty: Duty) -> Seat {
        Seat {
            tenure: self.seats[&duty].subscribe(),
        }
    }

    /// Duties held and trusted now, with their terms.
    pub fn held(&self) -> Vec<(Duty, i64)> {
        let now = Instant::now();
        let term = |(duty, seat): (&Duty, &watch::Sender<Option<Tenure>>)| {
            seat.borrow()
                .filter(|tenure| tenure.trust.holds(now))
                .map(|tenure| (*duty, tenure.term))
        };
        self.seats.iter().filter_map(term).collect()
    }

    /// Takes over what `ballot`, asked for at `sent` by `node`, says.
    pub(super) fn apply(&self, node: Uuid, ballot: &Ballot, sent: Instant, pace: &Pace) {
        let trust = Trust::granted(sent, pace.ttl, pace.margin);
        for (duty, seat) in &self.seats {
            let held = ballot.held.get(duty.as_str()).map(|term| Tenure {
                node,
                term: *term,
                trust,
            });
            seat.send_if_modified(|seat| {
                log_change(*duty, *seat, held) || std::mem::replace(seat, held) != held
            });
        }
    }

    /// Empties every seat.
    pub(super) fn clear(&self) {
        for (duty, seat) in &self.seats {
            seat.send_if_modified(|seat| log_change(*duty, *seat, None) || seat.take().is_some());
        }
    }
}

/// Says who came and went; always false, so that it can stand in front of the change.
fn log_change(duty: Duty, before: Option<Tenure>, after: Option<Tenure>) -> bool {
    let duty = duty.as_str();
    match (before, after) {
        (None, Some(after)) => tracing::info!(duty, term = after.term, "leader"),
        (Some(before), None) => tracing::info!(duty, term = before.term, "no longer leader"),
        (Some(before), Some(after)) if before.term != after.term => {
            tracing::info!(
                duty,
                from = before.term,
                to = after.term,
                "leader again under a new term"
            );
        }
        _ => {}
    }
    metrics::gauge!("forge_leader", "duty" => duty).set(f64::from(u8::from(after.is_some())));
    false
}

/// The seat of one duty as its worker sees it.
#[derive(Clone, Debug)]
pub struct Seat {
    tenure: watch::Receiver<Option<Tenure>>,
}

impl Seat {
    /// Waits until this node holds the duty.
    pub async fn taken(&mut self) -> Tenure {
        loop {
            if let Some(tenure) = self.current() {
                return tenure;
            }
            self.changed().await;
        }
    }

    /// Waits until the tenure of `term` is over: resigned, superseded, or no longer trusted.
    pub async fn lost(&mut self, term: i64) {
        while let Some(tenure) = self.current().filter(|tenure| tenure.term == term) {
            tokio::select! {
                () = self.changed() => {}
                () = tokio::time::sleep_until(tenure.trust.until()) => {}
            }
        }
    }

    fn current(&mut self) -> Option<Tenure> {
        self.tenure
            .borrow_and_update()
            .filter(|tenure| tenure.trust.holds(Instant::now()))
    }

    async fn changed(&mut self) {
        if self.tenure.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        ttl: Duration::from_secs(4),
        renew: Duration::from_secs(2),
        margin: Duration::from_secs(1),
    };

    fn holding(term: i64) -> Ballot {
        Ballot {
            held: BTreeMap::from([("promote".into(), term)]),
            next_in_ms: None,
        }
    }

    #[test]
    fn the_holder_renews_and_a_loser_waits_for_the_end_of_the_lease() {
        let losing = |next_in_ms| Ballot {
            held: BTreeMap::new(),
            next_in_ms,
        };
        assert_eq!(PACE.next(&holding(1)), PACE.renew);
        assert_eq!(PACE.next(&losing(Some(3100))), Duration::from_millis(3400));
        assert_eq!(PACE.next(&losing(Some(0))), Duration::from_millis(500));
        assert_eq!(PACE.next(&losing(Some(60_000))), PACE.ttl + SETTLE);
        assert_eq!(PACE.next(&losing(None)), PACE.ttl);
        assert_eq!(
            PACE.next(&Ballot {
                next_in_ms: Some(700),
                ..holding(1)
            }),
            Duration::from_millis(700)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenure_without_renewal_is_lost_before_its_lease_ends() {
        let leadership = Leadership::default();
        let mut seat = leadership.seat(Duty::Promote);
        let start = Instant::now();
        leadership.apply(Uuid::nil(), &holding(7), start, &PACE);
        assert_eq!(seat.taken().await.term, 7);
        seat.lost(7).await;
        assert_eq!(start.elapsed().as_secs(), 3);
        assert_eq!(leadership.held(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn renewal_keeps_a_tenure_and_a_new_term_ends_it() {
        let leadership = Leadership::default();
        let mut seat = leadership.seat(Duty::Promote);
        leadership.apply(Uuid::nil(), &holding(7), Instant::now(), &PACE);
        tokio::time::advance(PACE.renew).await;
        leadership.apply(Uuid::nil(), &holding(7), Instant::now(), &PACE);
        let patience = Duration::from_millis(2500);
        assert!(tokio::time::timeout(patience, seat.lost(7)).await.is_err());
        leadership.apply(Uuid::nil(), &holding(8), Instant::now(), &PACE);
        seat.lost(7).await;
        assert_eq!(seat.taken().await.term, 8);
        leadership.clear();
        seat.lost(8).await;
    }
}
