//! The other queues' own workers, each draining a backlog of no-op jobs as its documentation
//! recommends for throughput.

pub mod awa;
pub mod graphile_worker;
