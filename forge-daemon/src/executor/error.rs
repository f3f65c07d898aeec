//! Why a call has no answer.

use std::sync::Arc;

use uuid::Uuid;

use crate::db;

/// A call that failed. Cheap to clone: callers of one flight share it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The database said no, or could not be asked.
    #[error(transparent)]
    Database(Arc<db::Error>),
    /// The function exists, but is no query: it needs POST.
    #[error("function `{0}` is a {1}, not a query; call it with POST")]
    NotAQuery(String, &'static str),
    /// Only an action can be answered later.
    #[error("function `{0}` is a {1}; only an action can be answered later")]
    NotAnAction(String, &'static str),
    /// The action's job is still running.
    #[error(
        "action `{name}` still runs as job {job}; ask for the job, or send `Prefer: respond-async`"
    )]
    StillRunning {
        /// The action.
        name: String,
        /// Its job.
        job: Uuid,
    },
    /// The action's job ended without a result.
    #[error("action `{name}` ended as {state} (job {job})")]
    ActionFailed {
        /// The action.
        name: String,
        /// Its job.
        job: Uuid,
        /// `dead` or `cancelled`.
        state: String,
        /// What the handler said.
        error: Option<String>,
    },
    /// The database answered in another form than expected; it is in the log.
    #[error("the database answered in another form than expected")]
    Strange,
}

impl Error {
    /// Whether the database could not be asked, so that an older answer is better than none.
    pub fn is_outage(&self) -> bool {
        match self {
            Error::Database(error) => error.is_outage() || matches!(**error, db::Error::Busy(_)),
            _ => false,
        }
    }

    /// The SQLSTATE when the server sent one.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Error::Database(error) => error.sqlstate(),
            _ => None,
        }
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Error::Database(Arc::new(error))
    }
}
