//! A gate: what a row must reach, and the row it becomes once measured.

use serde::Serialize;

/// What a measured value is held against.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At least this many times the peer's value, measured in the same run.
    AtLeast(f64),
    /// Below this limit, in the row's own unit.
    Below(f64),
    /// At most this limit, in the row's own unit.
    AtMost(f64),
    /// Nothing: the peer is shown for comparison.
    Shown,
}

/// One row of a suite, before it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    pub name: &'static str,
    pub unit: &'static str,
    /// What the value is held against: another system, Forge without the burden, or `limit`.
    pub peer: &'static str,
    pub goal: Goal,
}

/// One measured row, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub value: Option<f64>,
    pub unit: &'static str,
    pub peer: &'static str,
    pub peer_value: Option<f64>,
    pub ratio: Option<f64>,
    pub goal: String,
    pub pass: bool,
    /// How it was measured where that is not plain from the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why it could not be measured; such a row has not passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Gate {
    /// A row held against a peer's `peer_value`, both in the gate's unit.
    pub fn against(&self, value: f64, peer_value: f64) -> Row {
        let ratio = value / peer_value;
        self.row(
            Some(value),
            Some(peer_value),
            ratio.is_finite().then_some(ratio),
        )
    }

    /// A row of what two sides answered; failed where either of them did.
    pub fn compared(&self, value: &anyhow::Result<f64>, peer: &anyhow::Result<f64>) -> Row {
        match (value, peer) {
            (Ok(value), Ok(peer)) => self.against(*value, *peer),
            (Err(error), peer) => {
                let peer_value = peer.as_ref().ok().copied();
                Row {
                    peer_value,
                    ..self.failed(None, error)
                }
            }
            (Ok(value), Err(error)) => self.failed(Some(*value), error),
        }
    }

    /// A row held against the limit its goal names.
    pub fn limited(&self, value: f64) -> Row {
        let limit = match self.goal {
            Goal::Below(limit) | Goal::AtMost(limit) | Goal::AtLeast(limit) => limit,
            Goal::Shown => f64::NAN,
        };
        self.against(value, limit)
    }

    /// A row that could not be measured. `value` is what there was nevertheless.
    pub fn failed(&self, value: Option<f64>, error: &anyhow::Error) -> Row {
        Row {
            error: Some(format!("{error:#}")),
            ..self.row(value, None, None)
        }
    }

    fn row(&self, value: Option<f64>, peer_value: Option<f64>, ratio: Option<f64>) -> Row {
        let pass = match self.goal {
            Goal::AtLeast(times) => ratio.is_some_and(|ratio| ratio >= times),
            Goal::Below(limit) => value.is_some_and(|value| value < limit),
            Goal::AtMost(limit) => value.is_some_and(|value| value <= limit),
            Goal::Shown => ratio.is_some(),
        };
        let goal = match self.goal {
            Goal::AtLeast(times) => format!("≥ {times}×"),
            Goal::Below(limit) => format!("< {limit} {}", self.unit),
            Goal::AtMost(limit) => format!("≤ {limit} {}", self.unit),
            Goal::Shown => "shown".to_owned(),
        };
        Row {
            name: self.name,
            value,
            unit: self.unit,
            peer: self.peer,
            peer_value,
            ratio,
            goal,
            pass,
            note: None,
            error: None,
        }
    }
}

impl Row {
    /// The same row with a remark on how it was measured.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FASTER: Gate = Gate {
        name: "a",
        unit: "jobs/s",
        peer: "pgmq",
        goal: Goal::AtLeast(2.5),
    };
    const QUICK: Gate = Gate {
        name: "b",
        unit: "ms",
        peer: "limit",
        goal: Goal::Below(2.0),
    };

    #[test]
    fn a_ratio_at_the_goal_passes_and_one_under_it_does_not() {
        assert!(FASTER.against(250.0, 100.0).pass);
        assert!(!FASTER.against(249.0, 100.0).pass);
        assert_eq!(FASTER.against(250.0, 100.0).ratio, Some(2.5));
    }

    #[test]
    fn a_limit_is_a_peer_value_and_must_not_be_reached() {
        let row = QUICK.limited(1.0);
        assert_eq!(
            (row.peer_value, row.ratio, row.pass),
            (Some(2.0), Some(0.5), true)
        );
        assert!(!QUICK.limited(2.0).pass);
    }

    #[test]
    fn nothing_measured_has_not_passed_and_says_why() {
        let row = FASTER.failed(None, &anyhow::anyhow!("no node"));
        assert!(!row.pass);
        assert_eq!(row.error.as_deref(), Some("no node"));
        let json = serde_json::to_value(&row).expect("a row is plain data");
        assert_eq!(json["ratio"], serde_json::Value::Null);
        assert_eq!(json["goal"], "≥ 2.5×");
    }

    #[test]
    fn a_peer_that_did_nothing_gives_no_ratio() {
        let row = FASTER.against(1.0, 0.0);
        assert!(row.ratio.is_none() && !row.pass);
    }
}
