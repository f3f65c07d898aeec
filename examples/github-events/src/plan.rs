//! What will be sent: every payload many times over, some twice, and among them forged and malformed ones.
//!
//! Invariants: the order and the shares follow from the seed; delivery ids are fresh in every plan; every
//! payload appears in good deliveries exactly `repeat` times.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use uuid::Uuid;

/// Share of good deliveries that are sent twice.
const TWICE: f64 = 0.05;
/// Forged requests per good delivery.
const FORGED: f64 = 0.03;
/// Malformed requests per good delivery.
const MALFORMED: f64 = 0.02;

/// Requests in the order they are sent.
#[derive(Debug)]
pub struct Plan {
    /// What to send.
    pub items: Vec<Item>,
    /// How many of them are good.
    pub good: usize,
}

/// One entry of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `X-GitHub-Delivery`.
    pub id: Uuid,
    /// Index of the payload.
    pub payload: usize,
    /// What is right or wrong with it.
    pub manner: Manner,
}

/// How a delivery is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Correct, and sent this often.
    Good(Copies),
    /// Not signed with the webhook's secret. The id is that of a good delivery, which must not suffer.
    Forged(Forgery),
    /// Signed well, but not a delivery.
    Malformed(Malformation),
}

/// How often a good delivery is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Once.
    One,
    /// Again after the first was answered.
    TwoInTurn,
    /// Twice at the same time, to different nodes.
    TwoAtOnce,
}

impl Copies {
    /// As a number.
    pub fn count(self) -> u32 {
        match self {
            Copies::One => 1,
            Copies::TwoInTurn | Copies::TwoAtOnce => 2,
        }
    }
}

/// What is wrong with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Signed with another secret.
    OtherSecret,
    /// The signature of another body.
    OtherBody,
    /// Well-formed, all zero.
    Zero,
    /// Only GitHub's old SHA-1 header.
    OnlySha1,
    /// No signature at all.
    Missing,
}

/// What is wrong with a signed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformation {
    /// Half of a JSON document.
    Truncated,
    /// Bytes that are not UTF-8.
    NotText,
    /// No body.
    Empty,
    /// No `X-GitHub-Delivery`.
    NoDelivery,
    /// No `X-GitHub-Event`.
    NoEvent,
    /// An event no job kind is registered for.
    UnknownEvent,
    /// A body of more than a megabyte.
    TooLarge,
}

impl Malformation {
    /// Answers that refuse it properly.
    pub fn statuses(self) -> &'static [u16] {
        match self {
            Self::Truncated | Self::NotText | Self::Empty => &[400, 422],
            Self::NoDelivery | Self::NoEvent => &[400, 422],
            Self::UnknownEvent => &[404, 422],
            Self::TooLarge => &[413],
        }
    }
}

const FORGERIES: [Forgery; 5] = [
    Forgery::OtherSecret,
    Forgery::OtherBody,
    Forgery::Zero,
    Forgery::OnlySha1,
    Forgery::Missing,
];

const MALFORMATIONS: [Malformation; 7] = [
    Malformation::Truncated,
    Malformation::NotText,
    Malformation::Empty,
    Malformation::NoDelivery,
    Malformation::NoEvent,
    Malformation::UnknownEvent,
    Malformation::TooLarge,
];

impl Plan {
    /// Plans `repeat` rounds over `payloads` payloads.
    pub fn new(payloads: usize, repeat: usize, seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let good = payloads * repeat;
        let mut items: Vec<Item> = (0..good)
            .map(|n| Item {
                id: Uuid::new_v4(),
                payload: n % payloads,
                manner: Manner::Good(copies(&mut chance)),
            })
            .collect();
        for n in 0..share(good, FORGED) {
            let victim = items[chance.random_range(0..good)].clone();
            let manner = Manner::Forged(FORGERIES[n % FORGERIES.len()]);
            items.push(Item { manner, ..victim });
        }
        for n in 0..share(good, MALFORMED) {
            items.push(Item {
                id: Uuid::new_v4(),
                payload: chance.random_range(0..payloads),
                manner: Manner::Malformed(MALFORMATIONS[n % MALFORMATIONS.len()]),
            });
        }
        items.shuffle(&mut chance);
        Self { items, good }
    }

    /// Requests that reach an answer when nothing has to be sent again.
    pub fn requests(&self) -> usize {
        self.items
            .iter()
            .map(|item| match item.manner {
                Manner::Good(copies) => copies.count() as usize,
                Manner::Forged(_) | Manner::Malformed(_) => 1,
            })
            .sum()
    }
}

fn copies(chance: &mut StdRng) -> Copies {
    match chance.random::<f64>() {
        luck if luck < TWICE / 2.0 => Copies::TwoInTurn,
        luck if luck < TWICE => Copies::TwoAtOnce,
        _ => Copies::One,
    }
}

fn share(of: usize, part: f64) -> usize {
    (of as f64 * part).ceil() as usize
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn every_payload_is_delivered_repeat_times_under_fresh_ids() {
        let plan = Plan::new(329, 30, 1);
        assert_eq!(plan.good, 9_870);
        let mut times = HashMap::new();
        let mut ids = HashSet::new();
        for item in &plan.items {
            if let Manner::Good(_) = item.manner {
                *times.entry(item.payload).or_insert(0) += 1;
                assert!(ids.insert(item.id), "{} twice", item.id);
            }
        }
        assert_eq!(times.len(), 329);
        assert!(times.values().all(|n| *n == 30));
        assert_ne!(plan.items[0].id, Plan::new(329, 30, 1).items[0].id);
    }

    #[test]
    fn shares_and_kinds_are_all_there() {
        let plan = Plan::new(329, 30, 1);
        let count = |wanted: fn(&Manner) -> bool| {
            plan.items
                .iter()
                .filter(|item| wanted(&item.manner))
                .count()
        };
        assert_eq!(count(|m| matches!(m, Manner::Forged(_))), 297);
        assert_eq!(count(|m| matches!(m, Manner::Malformed(_))), 198);
        let twice = count(|m| matches!(m, Manner::Good(Copies::TwoAtOnce | Copies::TwoInTurn)));
        assert!((350..650).contains(&twice), "{twice}");
        assert_eq!(plan.requests(), 9_870 + 297 + 198 + twice);
        for forgery in FORGERIES {
            assert!(
                plan.items
                    .iter()
                    .any(|item| item.manner == Manner::Forged(forgery))
            );
        }
        for malformation in MALFORMATIONS {
            assert!(
                plan.items
                    .iter()
                    .any(|item| item.manner == Manner::Malformed(malformation))
            );
        }
    }

    #[test]
    fn forgeries_use_the_ids_of_good_deliveries() {
        let plan = Plan::new(10, 5, 3);
        let good: HashSet<Uuid> = plan
            .items
            .iter()
            .filter(|item| matches!(item.manner, Manner::Good(_)))
            .map(|item| item.id)
            .collect();
        for item in &plan.items {
            match item.manner {
                Manner::Forged(_) => assert!(good.contains(&item.id)),
                Manner::Malformed(_) => assert!(!good.contains(&item.id)),
                Manner::Good(_) => {}
            }
        }
    }

    #[test]
    fn the_seed_decides_order_and_manner() {
        let shape = |seed| -> Vec<(usize, Manner)> {
            Plan::new(20, 10, seed)
                .items
                .iter()
                .map(|item| (item.payload, item.manner))
                .collect()
        };
        assert_eq!(shape(5), shape(5));
        assert_ne!(shape(5), shape(6));
    }
}
