//! The gRPC door: remote workers, jobs, health, reflection.
//!
//! Invariants: every call is by an API key whose role may do it; messages, streams and waiting times are bounded; while
//! the node drains health says so, no worker gets another job, and streams end once their jobs are answered for.

mod convert;
mod credential;
mod door;
mod gateway;
mod server;
mod session;
mod status;
mod worker;

/// What `proto/forge/v1` compiles to, client stubs included.
#[allow(missing_docs, clippy::all, rustdoc::all)]
pub mod proto {
    tonic::include_proto!("forge.v1");

    /// Descriptors of all services.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/forge.bin"));
}

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::{
    app::Context, config::Role, executor::Executor, gateway::identity::Identities,
    tls::Certificates, worker::Worker,
};
use credential::Credentials;

/// Serves the gRPC services on `listener`, encrypted with `certificates`, until the node stops.
pub(crate) fn serve(
    context: &Context,
    listener: TcpListener,
    certificates: Option<Certificates>,
    worker: Option<&Worker>,
    executor: Executor,
    identities: Arc<Identities>,
) {
    let credentials = Arc::new(Credentials::new(identities));
    let limit = context.config.grpc.message_limit.get();
    let work = worker.map(|worker| {
        worker::WorkerService::new(context, worker, credentials.clone()).into_server(limit)
    });
    let jobs =
        context.config.node.has(Role::Gateway).then(|| {
            gateway::GatewayService::new(context, credentials, executor).into_server(limit)
        });
    let connections = door::open(context, listener, certificates);
    let context = context.clone();
    context.clone().tasks.spawn("grpc", |stop| {
        server::serve(context, connections, work, jobs, stop)
    });
}
