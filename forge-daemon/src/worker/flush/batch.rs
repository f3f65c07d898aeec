//! Gathers outcomes by lease, so that each lease costs one statement per way of ending.

use std::{collections::HashMap, sync::Arc};

use uuid::Uuid;

use super::{
    super::{job::Lease, json::JsonText, outcome::Outcome},
    Report,
    operation::{Ends, Operation},
};

/// Outcomes to be written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    leases: HashMap<Uuid, OfLease>,
    len: usize,
}

#[derive(Debug)]
struct OfLease {
    lease: Arc<Lease>,
    completed: Vec<i32>,
    /// As long as `completed` once one member has a result; empty until then.
    results: Vec<Option<JsonText>>,
    released: Vec<i32>,
    others: Vec<(i32, Outcome)>,
}

impl Batch {
    /// Adds a report.
    pub fn add(&mut self, report: Report) {
        self.len += report.ends.len();
        let of_lease = self
            .leases
            .entry(report.lease.id)
            .or_insert_with(|| OfLease::new(report.lease));
        for (pos, outcome) in report.ends {
            of_lease.add(pos, outcome);
        }
    }

    /// How many outcomes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The statements that write it.
    pub fn into_operations(self) -> Vec<Operation> {
        self.leases
            .into_values()
            .flat_map(OfLease::into_operations)
            .collect()
    }
}

impl OfLease {
    fn new(lease: Arc<Lease>) -> Self {
        Self {
            lease,
            completed: Vec::new(),
            results: Vec::new(),
            released: Vec::new(),
            others: Vec::new(),
        }
    }

    fn add(&mut self, pos: i32, outcome: Outcome) {
        match outcome {
            Outcome::Completed(result) => {
                if result.is_some() || !self.results.is_empty() {
                    self.results.resize(self.completed.len(), None);
                    self.results.push(result);
                }
                self.completed.push(pos);
            }
            Outcome::Released => self.released.push(pos),
            other => self.others.push((pos, other)),
        }
    }

    fn into_operations(self) -> impl Iterator<Item = Operation> {
        let results = (!self.results.is_empty()).then_some(self.results);
        let completed =
            (!self.completed.is_empty()).then_some(Ends::Completed(self.completed, results));
        let released = (!self.released.is_empty()).then_some(Ends::Released(self.released));
        let others = self
            .others
            .into_iter()
            .map(|(pos, outcome)| Ends::One(pos, outcome));
        let lease = self.lease;
        completed
            .into_iter()
            .chain(released)
            .chain(others)
            .map(move |ends| Operation {
                lease: lease.clone(),
                ends,
            })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::cluster::Life;

    fn lease() -> Arc<Lease> {
        Arc::new(Lease {
            id: Uuid::now_v7(),
            life: Arc::new(Life::for_test()),
            claimed_at: Instant::now(),
        })
    }

    fn ends(batch: Batch) -> Vec<Ends> {
        batch
            .into_operations()
            .into_iter()
            .map(|operation| operation.ends)
            .collect()
    }

    fn result(text: &str) -> Option<JsonText> {
        Some(JsonText::parse(text.into()).unwrap())
    }

    #[test]
    fn completions_of_a_lease_are_one_statement_without_results_when_there_are_none() {
        let lease = lease();
        let mut batch = Batch::default();
        batch.add(Report {
            lease: lease.clone(),
            ends: vec![(0, Outcome::Completed(None)), (2, Outcome::Completed(None))],
        });
        batch.add(Report {
            lease,
            ends: vec![(1, Outcome::Completed(None))],
        });
        assert_eq!(batch.len(), 3);
        assert_eq!(ends(batch), [Ends::Completed(vec![0, 2, 1], None)]);
    }

    #[test]
    fn results_stay_with_their_positions() {
        let mut batch = Batch::default();
        let outcomes = [None, result("1"), None, result("3")].map(Outcome::Completed);
        batch.add(Report {
            lease: lease(),
            ends: (0..).zip(outcomes).collect(),
        });
        let results = vec![None, result("1"), None, result("3")];
        assert_eq!(
            ends(batch),
            [Ends::Completed(vec![0, 1, 2, 3], Some(results))]
        );
    }

    #[test]
    fn leases_and_other_ends_are_kept_apart() {
        let mut batch = Batch::default();
        batch.add(Report {
            lease: lease(),
            ends: vec![
                (0, Outcome::Released),
                (1, Outcome::Completed(None)),
                (2, Outcome::Released),
            ],
        });
        assert_eq!(
            ends(batch),
            [Ends::Completed(vec![1], None), Ends::Released(vec![0, 2])]
        );
        let mut batch = Batch::default();
        batch.add(Report {
            lease: lease(),
            ends: vec![(0, Outcome::retry("x")), (1, Outcome::Cancelled)],
        });
        batch.add(Report {
            lease: lease(),
            ends: vec![(0, Outcome::Completed(None))],
        });
        assert_eq!(ends(batch).len(), 3);
    }

    #[test]
    fn a_refused_batch_falls_apart_until_an_unstorable_result_is_a_failure() {
        let mut batch = Batch::default();
        batch.add(Report {
            lease: lease(),
            ends: vec![
                (4, Outcome::Completed(result("1"))),
                (5, Outcome::Completed(None)),
            ],
        });
        let refused = crate::db::Error::Busy(std::time::Duration::ZERO);
        let whole = batch.into_operations().remove(0);
        let parts = whole.instead(&refused);
        assert_eq!(parts[0].ends, Ends::One(4, Outcome::Completed(result("1"))));
        assert_eq!(parts[1].ends, Ends::One(5, Outcome::Completed(None)));
        assert!(matches!(
            &parts[0].instead(&refused)[0].ends,
            Ends::One(4, Outcome::Failed { retry: false, .. })
        ));
        assert!(parts[1].instead(&refused).is_empty());
    }
}
