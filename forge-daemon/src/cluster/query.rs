//! The statements of membership and leadership, and their answers.

use postgres_types::Type;
use serde::Deserialize;
use uuid::Uuid;

use crate::db::Query;

/// Every statement of the heartbeat's connection.
pub(super) const ALL: &[Query] = &[REGISTER, BEAT, RESIGN, LEAVE];

/// Registers `$1` named `$2` with roles, capabilities, addresses and version.
pub(super) const REGISTER: Query = Query::new(
    "node_register",
    "SELECT forge_private.node_register($1, $2, $3, $4, $5, $6, $7)",
    &[
        Type::UUID,
        Type::TEXT,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
    ],
);

/// Heartbeat of `$1` in state `$2` with load `$3`; renews or takes the duties `$4` for `$5` ms. One statement, because an
/// idle installation is to make almost no queries.
pub(super) const BEAT: Query = Query::new(
    "node_heartbeat",
    "SELECT forge_private.node_heartbeat($1, $2, $3), \
            CASE WHEN cardinality($4) > 0 THEN forge_private.leader_beat($1, $4, $5) END",
    &[
        Type::UUID,
        Type::TEXT,
        Type::JSONB,
        Type::TEXT_ARRAY,
        Type::INT4,
    ],
);

/// Gives up duty `$1` held by `$2` under term `$3`.
pub(super) const RESIGN: Query = Query::new(
    "leader_resign",
    "SELECT forge_private.leader_resign($1, $2, $3)",
    &[Type::TEXT, Type::UUID, Type::INT8],
);

/// Takes `$1` out of the cluster; what it still holds returns to the queue without using an attempt.
pub(super) const LEAVE: Query = Query::new(
    "node_leave",
    "SELECT forge_private.node_leave($1)",
    &[Type::UUID],
);

/// What the database answers to a heartbeat.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Pulse {
    /// The node's state as the database sees it; `dead` ends the life.
    pub state: String,
    /// Running jobs of this node that someone wants cancelled.
    #[serde(default)]
    pub cancel: Vec<Uuid>,
    /// Changes whenever the registered kinds do.
    #[serde(default)]
    pub catalog: Option<i64>,
    /// Whether claimable work may exist.
    #[serde(default)]
    pub ready: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_short_and_full_answers() {
        let short: Pulse = serde_json::from_str(r#"{"state":"active"}"#).unwrap();
        assert_eq!(
            short,
            Pulse {
                state: "active".into(),
                ..Pulse::default()
            }
        );
        let full = r#"{"state":"dead","cancel":["0190b9ea-4f0f-7c2e-8a57-1f4f3a1f7f2f"],"catalog":4,"ready":true,"new":1}"#;
        let full: Pulse = serde_json::from_str(full).unwrap();
        assert_eq!(
            (
                full.state.as_str(),
                full.cancel.len(),
                full.catalog,
                full.ready
            ),
            ("dead", 1, Some(4), true)
        );
    }
}
