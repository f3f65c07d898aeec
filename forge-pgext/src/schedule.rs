//! Schedules: the arithmetic of cron expressions and zones, for SQL.

pub mod next_runs;
