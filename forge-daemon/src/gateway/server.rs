//! Connections: accepted within bounds, cut when they are slow, ended politely when the node stops.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::stall::Stall;
use crate::config::Http;

/// How long connections may take to end once the node stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// Largest request head.
const HEAD: usize = 64 * 1024;

/// Serves until `token`, then lets the connections finish their answers.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    config: Http,
    token: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(config.max_connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = tokio::select! {
            () = token.cancelled() => break,
            stream = accept(&listener, &places) => stream,
        };
        let Some((stream, place)) = stream else {
            continue;
        };
        let (router, config, token) = (router.clone(), config.clone(), token.clone());
        connections.spawn(async move {
            connection(stream, router, &config, token).await;
            drop(place);
        });
    }
    drop(listener);
    if timeout(FAREWELL, async {
        while connections.join_next().await.is_some() {}
    })
    .await
    .is_err()
    {
        tracing::debug!(open = connections.len(), "connections cut at the stop");
    }
}

/// The next connection and its place; while all places are taken nothing is accepted.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            // Out of file descriptors, most likely: give others the time to close some.
            tracing::warn!(%error, "cannot accept a connection");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, router: Router, config: &Http, token: CancellationToken) {
    let io = TokioIo::new(Stall::new(stream, config.body_idle_timeout.get()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout.get())
        .max_buf_size(HEAD)
        .serve_connection(io, TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = token.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "connection ended");
    }
}
