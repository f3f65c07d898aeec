//! Real daemons on a real server.
//!
//! One binary, a module per subject, a database per test. `FORGE_TEST_CLUSTER` names a running
//! cluster to use; without it one is started. Tests that crash or stop the server start their own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod capabilities;
mod chaos;
mod cli;
mod command;
mod conduit;
mod crash_reinit;
mod db_away;
mod drain;
mod dump_restore;
mod edge;
mod functions;
mod gateway_grpc;
mod handlers;
mod hooks;
mod identity;
mod jobs_http;
mod key_server;
mod latency;
mod leader;
mod limits;
mod native;
mod no_preload;
mod outbound;
mod prepared;
mod python;
mod queue_torture;
mod receiver;
mod schedules;
mod session;
mod sign;
mod stage;
mod upgrade;
