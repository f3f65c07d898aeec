//! The server: services, keep-alive, limits, stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::server::{HealthReporter, health_reporter};

use super::{
    door::Connections,
    gateway::GatewayService,
    proto::{DESCRIPTORS, gateway_server::GatewayServer, worker_server::WorkerServer},
    worker::WorkerService,
};
use crate::app::Context;

/// Calls in progress on one connection at most.
const CALLS_PER_CONNECTION: usize = 128;
/// Largest metadata of a call.
const HEAD: u32 = 64 * 1024;
/// How long connections may take to end after the stop.
const LINGER: Duration = Duration::from_secs(2);

type Work = Option<WorkerServer<WorkerService>>;
type Jobs = Option<GatewayServer<GatewayService>>;

/// Serves until `stop`, and a little longer for what is being answered.
pub(super) async fn serve(
    context: Context,
    connections: Connections,
    work: Work,
    jobs: Jobs,
    stop: CancellationToken,
) {
    let address = context.addresses.grpc;
    let served = run(&context, connections, work, jobs, stop.clone());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::error!(?address, %error, "the gRPC server ended");
        },
        () = late => tracing::debug!("gRPC connections cut"),
    }
}

async fn run(
    context: &Context,
    connections: Connections,
    work: Work,
    jobs: Jobs,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let config = &context.config.grpc;
    let (health, health_service) = health_reporter();
    report(&health, work.is_some(), jobs.is_some(), true).await;
    let (has_work, has_jobs) = (work.is_some(), jobs.is_some());
    let drain = context.drain.clone();
    context.tasks.spawn("grpc health", |stop| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = drain.cancelled() => report(&health, has_work, has_jobs, false).await,
        }
        // Dropping the reporter would end the watchers.
        stop.cancelled().await;
    });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Server::builder()
        .http2_keepalive_interval(Some(config.keepalive.get()))
        .http2_keepalive_timeout(Some(config.keepalive_timeout.get()))
        .timeout(context.config.http.request_timeout.get())
        .http2_max_header_list_size(HEAD)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .max_concurrent_streams(u32::try_from(CALLS_PER_CONNECTION).unwrap_or(u32::MAX))
        .add_service(health_service)
        .add_service(reflection)
        .add_optional_service(work)
        .add_optional_service(jobs)
        .serve_with_incoming_shutdown(connections, stop.cancelled_owned())
        .await?;
    Ok(())
}

/// Says by `grpc.health.v1` whether the services take calls.
async fn report(health: &HealthReporter, work: bool, jobs: bool, serving: bool) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    let status = if serving { Serving } else { NotServing };
    health.set_service_status("", status).await;
    if work {
        health.set_service_status("forge.v1.Worker", status).await;
    }
    if jobs {
        health.set_service_status("forge.v1.Gateway", status).await;
    }
}
