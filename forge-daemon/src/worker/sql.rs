//! Runs `sql:` handlers: the handler's writes and the job's completion are one transaction of the database.
//!
//! Kinds that are quick run many to a transaction, within a time budget; kinds observed to be slow run one to a
//! transaction on connections of their own, where they can be cancelled and timed out one by one. Invariant: what the
//! database did not say has ended is run again under the same lease, which it refuses when it had ended after all.

mod cost;
mod quick;
mod slow;
mod transaction;

use std::sync::Arc;

use forge_core::Handler;

pub(super) use cost::Costs;
pub(super) use quick::Quick;
pub(super) use slow::Slow;

use super::{catalog::Catalog, claim::Offer, desk::Desk, kind::Kind};

/// The `sql:` kinds this node may run that are slow, or that are not.
fn offer(desk: &Desk, catalog: &Catalog, costs: &Costs, slow: bool) -> Offer {
    let capabilities = &desk.context.config.node.capabilities;
    let runs = |kind: &&Arc<Kind>| {
        matches!(kind.handler, Handler::Sql { .. })
            && capabilities.contains(&kind.capability)
            && costs.is_slow(&kind.name) == slow
    };
    Offer::of(catalog.open().filter(runs).cloned())
}
