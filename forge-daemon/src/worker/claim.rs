//! Claims: the loop that finds room, asks for as many jobs, and hands them to a runner.
//!
//! Invariants: never more is claimed than there is room for; a claim asked for is always waited for, and one whose
//! answer was lost is given back; once the node drains nothing is started.

mod lane;
mod pace;
mod slots;
mod stray;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(super) use lane::{Lane, Source};
pub(super) use slots::Slots;

use super::{catalog::Catalog, job::Batch, kind::Kind};

/// Runs the jobs that a lane claims.
pub(super) trait Runner: Send + Sync + 'static {
    /// Waits until there is room for at least one job and sets it aside; how many jobs it is for.
    fn room(&mut self) -> impl Future<Output = usize> + Send;

    /// Gives back the room that was set aside: nothing was claimed.
    fn vacate(&mut self);

    /// What may be claimed now.
    fn offer(&mut self, catalog: &Catalog) -> Offer;

    /// Starts or runs the jobs, and gives back the room that they do not need.
    fn run(&mut self, batch: Batch) -> impl Future<Output = ()> + Send;
}

/// The kinds a runner takes at this moment.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// By name.
    pub kinds: BTreeMap<Arc<str>, Arc<Kind>>,
    /// When to look again although nothing happened: some kind is held back for this long.
    pub again: Option<Duration>,
}

impl Offer {
    /// An offer of `kinds`.
    pub fn of(kinds: impl Iterator<Item = Arc<Kind>>) -> Self {
        Self {
            kinds: kinds.map(|kind| (kind.name.clone(), kind)).collect(),
            again: None,
        }
    }
}
