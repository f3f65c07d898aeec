//! What the senders saw: every answer to every delivery.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};
use uuid::Uuid;

/// Live counts, for showing progress.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that were answered, with anything but 503.
    pub sent: AtomicU64,
    /// Good deliveries accepted for the first time.
    pub accepted: AtomicU64,
    /// Requests sent again, for want of an answer or after 503.
    pub resent: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// All answers to one good delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The delivery.
    pub id: Uuid,
    /// Its payload's index.
    pub payload: usize,
    /// How often it was to be sent.
    pub copies: u32,
    /// Answers "taken, new".
    pub accepted: u32,
    /// Answers "taken, known already".
    pub duplicates: u32,
    /// Requests whose answer was lost, so that the resend may have been a duplicate.
    pub lost_answers: u32,
    /// The jobs named in the answers; one, or something is wrong.
    pub jobs: Vec<Uuid>,
}

/// The books of one or all senders.
#[derive(Debug, Default)]
pub struct Book {
    /// Requests that were answered.
    pub sent: u64,
    /// Good deliveries.
    pub good: Vec<Outcome>,
    /// Forged requests sent, and of these refused with 401.
    pub forged: (u64, u64),
    /// Malformed requests sent, and of these refused as they should be.
    pub malformed: (u64, u64),
    /// Requests that could not connect.
    pub unreachable: u64,
    /// Requests whose answer never came.
    pub lost_answers: u64,
    /// Answers 503.
    pub later: u64,
    /// Answers nobody should have got, by what they were.
    pub odd: BTreeMap<String, u64>,
}

impl Book {
    /// Adds another sender's books.
    pub fn absorb(&mut self, other: Book) {
        self.sent += other.sent;
        self.good.extend(other.good);
        self.forged = (
            self.forged.0 + other.forged.0,
            self.forged.1 + other.forged.1,
        );
        self.malformed = (
            self.malformed.0 + other.malformed.0,
            self.malformed.1 + other.malformed.1,
        );
        self.unreachable += other.unreachable;
        self.lost_answers += other.lost_answers;
        self.later += other.later;
        for (what, times) in other.odd {
            *self.odd.entry(what).or_default() += times;
        }
    }

    /// Counts an answer that should not have come.
    pub fn note_odd(&mut self, what: String) {
        *self.odd.entry(what).or_default() += 1;
    }

    /// Good deliveries whose first acceptance a sender saw.
    pub fn accepted(&self) -> u64 {
        self.good.iter().map(|one| u64::from(one.accepted)).sum()
    }

    /// Good deliveries known to be accepted only from a later duplicate: the first answer died with a node.
    pub fn recovered(&self) -> u64 {
        self.good
            .iter()
            .filter(|one| one.accepted == 0 && one.duplicates > 0)
            .count() as u64
    }

    /// Requests refused as duplicates.
    pub fn duplicates(&self) -> u64 {
        self.good.iter().map(|one| u64::from(one.duplicates)).sum()
    }

    /// Everything in these books that does not add up.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.good.iter().filter_map(Outcome::complaint).collect();
        for (what, (sent, refused)) in [("forged", self.forged), ("malformed", self.malformed)] {
            if sent != refused {
                complaints.push(format!(
                    "{sent} {what} requests were sent, but {refused} refused"
                ));
            }
        }
        for (what, times) in &self.odd {
            complaints.push(format!("unexpected answer, {times} times: {what}"));
        }
        complaints
    }

    /// The books in short.
    pub fn summary(&self) -> Value {
        json!({
            "sent": self.sent,
            "deliveries": self.good.len(),
            "accepted": self.accepted(),
            "accepted_but_answer_lost": self.recovered(),
            "duplicates_refused": self.duplicates(),
            "bad_signatures_refused": self.forged.1,
            "malformed_refused": self.malformed.1,
            "unreachable": self.unreachable,
            "answers_lost": self.lost_answers,
            "answers_503": self.later,
            "complaints": self.complaints(),
        })
    }
}

impl Outcome {
    /// What does not add up about this delivery.
    fn complaint(&self) -> Option<String> {
        let mut jobs = self.jobs.clone();
        jobs.sort_unstable();
        jobs.dedup();
        let wrong = if self.accepted > 1 {
            format!("was accepted as new {} times", self.accepted)
        } else if jobs.len() > 1 {
            format!("became {} different jobs", jobs.len())
        } else if self.accepted + self.duplicates < self.copies {
            format!(
                "was taken {} times, sent {} times",
                self.accepted + self.duplicates,
                self.copies
            )
        } else if self.accepted == 0 && self.lost_answers == 0 {
            "was called a duplicate from the first".to_owned()
        } else {
            return None;
        };
        Some(format!("delivery {} {wrong}", self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(accepted: u32, duplicates: u32, lost_answers: u32, copies: u32) -> Outcome {
        Outcome {
            id: Uuid::nil(),
            payload: 0,
            copies,
            accepted,
            duplicates,
            lost_answers,
            jobs: vec![Uuid::nil(); (accepted + duplicates) as usize],
        }
    }

    #[test]
    fn what_adds_up_is_not_complained_about() {
        assert_eq!(outcome(1, 0, 0, 1).complaint(), None);
        assert_eq!(outcome(1, 1, 0, 2).complaint(), None);
        // The node died after the commit and before the answer.
        assert_eq!(outcome(0, 1, 1, 1).complaint(), None);
        assert_eq!(outcome(0, 2, 1, 2).complaint(), None);
    }

    #[test]
    fn double_missing_and_false_answers_are() {
        assert!(outcome(2, 0, 0, 2).complaint().is_some());
        assert!(outcome(0, 1, 0, 1).complaint().is_some());
        assert!(outcome(1, 0, 0, 2).complaint().is_some());
        assert!(outcome(0, 0, 3, 1).complaint().is_some());
        let mut two_jobs = outcome(1, 1, 0, 2);
        two_jobs.jobs[0] = Uuid::max();
        assert!(two_jobs.complaint().is_some());
    }

    #[test]
    fn forgeries_that_pass_are_complained_about() {
        let book = Book {
            forged: (3, 2),
            ..Book::default()
        };
        assert_eq!(book.complaints().len(), 1);
    }
}
