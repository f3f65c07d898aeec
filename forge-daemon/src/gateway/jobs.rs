//! `/v1/jobs`: enqueue, list, show, cancel, retry, as the role of the caller.

mod control;
mod enqueue;
mod options;
mod view;

pub(super) use control::{cancel, retry};
pub(super) use enqueue::enqueue;
use uuid::Uuid;
pub(super) use view::{list, show};

use super::problem::Problem;

/// The id in a path. ZF002 when it is none.
fn job_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text)
        .map_err(|_| Problem::field("id", format!("`{text}` is no job id; ids are UUIDs")))
}
