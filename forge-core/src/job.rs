//! Job states and priorities.
//!
//! The state machine of a job:
//!
//! ```text
//!                enqueue with a delay          enqueue
//!                        │                        │
//!                        ▼        due             ▼
//!                   scheduled ───────────────▶ ready ◀──────────────┐
//!                        ▲    ◀───────────────   │ ▲                │
//!                        │     parked by a limit │ │ due, or retry  │
//!                 snooze │                 claim │ │ asked for      │ retry, redrive
//!                        │                       ▼ │                │
//!        completed ◀──── running ──────────▶ retrying               │
//!                        │ │ │  failed, attempts left               │
//!                        │ │ └── released or rescued ──▶ ready      │
//!                        │ └──── failed for good ─────────▶ dead ───┤
//!                        └────── cancel obeyed ──────▶ cancelled ───┘
//! ```
//!
//! `scheduled`, `ready` and `retrying` may also be cancelled (→ `cancelled`) or discarded (→ `dead`) at
//! once; a running job is asked, and its handler obeys or finishes. Invariants: a job has one state;
//! `completed` is never left; `dead` and `cancelled` are left only by an explicit retry or redrive, to `ready`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its time, or for a limit to let it through.
    Scheduled,
    /// May be claimed.
    Ready,
    /// Claimed; an attempt is under way.
    Running,
    /// Failed, waits for its next attempt.
    Retrying,
    /// Done.
    Completed,
    /// Failed for good or discarded.
    Dead,
    /// Cancelled before or while it ran.
    Cancelled,
}

impl State {
    /// All states, in the order of a job's life.
    pub const ALL: [State; 7] = [
        State::Scheduled,
        State::Ready,
        State::Running,
        State::Retrying,
        State::Completed,
        State::Dead,
        State::Cancelled,
    ];

    /// The states this one may become next. The whole state machine is this table.
    pub const fn next(self) -> &'static [State] {
        match self {
            State::Scheduled => &[State::Ready, State::Cancelled, State::Dead],
            State::Ready => &[
                State::Running,
                State::Scheduled,
                State::Cancelled,
                State::Dead,
            ],
            State::Running => &[
                State::Completed,
                State::Retrying,
                State::Dead,
                State::Cancelled,
                State::Ready,
                State::Scheduled,
            ],
            State::Retrying => &[State::Ready, State::Cancelled, State::Dead],
            State::Dead | State::Cancelled => &[State::Ready],
            State::Completed => &[],
        }
    }

    /// Whether a job in this state may become `to` in one step.
    pub fn can_become(self, to: State) -> bool {
        self.next().contains(&to)
    }

    /// Whether the job needs nothing more: it holds no unique key and its retention runs.
    pub const fn is_finished(self) -> bool {
        matches!(self, State::Completed | State::Dead | State::Cancelled)
    }

    /// The name used in SQL and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            State::Scheduled => "scheduled",
            State::Ready => "ready",
            State::Running => "running",
            State::Retrying => "retrying",
            State::Completed => "completed",
            State::Dead => "dead",
            State::Cancelled => "cancelled",
        }
    }

    /// Reads a state by its exact name.
    ///
    /// # Errors
    /// [`Invalid`] naming the text and listing the states.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        named(&Self::ALL, Self::name, text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Invalid::new(
                "job state",
                text,
                "there is no such state",
                format!("use one of: {names}"),
            )
        })
    }
}

/// The priority of a job: strict order, softened by aging so that none waits forever.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Rank 0.
    Critical,
    /// Rank 1.
    High,
    /// Rank 2, the default.
    #[default]
    Normal,
    /// Rank 3.
    Low,
    /// Rank 4.
    Background,
}

impl Priority {
    /// All priorities, the most urgent first; the index is the rank.
    pub const ALL: [Priority; 5] = [
        Priority::Critical,
        Priority::High,
        Priority::Normal,
        Priority::Low,
        Priority::Background,
    ];

    /// 0 (critical) to 4 (background): the number stored in the database, lower runs first.
    pub const fn rank(self) -> i16 {
        self as i16
    }

    /// The priority of a stored rank; `None` outside 0..=4.
    pub fn from_rank(rank: i16) -> Option<Self> {
        usize::try_from(rank)
            .ok()
            .and_then(|rank| Self::ALL.get(rank))
            .copied()
    }

    /// The name used in SQL and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Priority::Critical => "critical",
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
            Priority::Background => "background",
        }
    }

    /// Reads a priority by its exact name.
    ///
    /// # Errors
    /// [`Invalid`] naming the text and listing the priorities.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        named(&Self::ALL, Self::name, text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Invalid::new(
                "priority",
                text,
                "there is no such priority",
                format!("use one of: {names}"),
            )
        })
    }
}

fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|value| name(*value) == text)
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Priority {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
