//! Connections: accepted within bounds, cut when they are slow, ended politely when the node stops.
//!
//! HTTP/1.1 and HTTP/2, the latter by prior knowledge on plain connections and by ALPN on encrypted ones. While all
//! places are taken a few more connections are let in, for as long as one request: health and metrics are answered
//! there, everything else is told to come again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    doorway::Doorway,
    pace::{Pace, Patience, Verdict},
    proxy::Proxies,
    stall::Stall,
};
use crate::{config::Http, tls::Certificates};

/// How long connections may take to end once the node stops, or once they are idle.
const FAREWELL: Duration = Duration::from_secs(2);
/// Heads are refused by the guard, with a reason, up to this above the configured limit; above it without one.
const HEAD_MARGIN: usize = 16 * 1024;
/// Requests in progress on one HTTP/2 connection.
const STREAMS: u32 = 128;
/// An HTTP/2 peer that is silent for this long is asked whether it is still there, and has as long to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Connections let in while all places are taken.
const CROWD: usize = 32;
/// What these may take: they are here for one short question.
const HURRY: Patience = Patience {
    head: Duration::from_secs(5),
    idle: Duration::from_secs(5),
};

/// What connections share.
pub(super) struct Server {
    router: Router,
    config: Http,
    proxies: Arc<Proxies>,
    certificates: Option<Certificates>,
    protocols: Builder<TokioExecutor>,
    drain: CancellationToken,
    stop: CancellationToken,
}

/// A place among the connections, or one in the crowd that waits for one.
struct Place {
    permit: OwnedSemaphorePermit,
    crowded: bool,
}

impl Server {
    /// Ends connections in order after `stop`; from `drain` on, those of HTTP/2 take no new requests.
    pub fn new(
        router: Router,
        config: Http,
        certificates: Option<Certificates>,
        drain: CancellationToken,
        stop: CancellationToken,
    ) -> Self {
        let head = config.header_limit.get() + HEAD_MARGIN;
        let mut protocols = Builder::new(TokioExecutor::new());
        // The time for a head is measured by `Pace`, which also covers what comes before the protocol is known.
        protocols
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None::<Duration>)
            .max_buf_size(head);
        protocols
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY);
        Self {
            router,
            proxies: Arc::new(Proxies::new(&config)),
            config,
            certificates,
            protocols,
            drain,
            stop,
        }
    }

    /// Serves until the stop, then lets the connections finish their answers.
    pub async fn serve(self, listener: TcpListener) {
        let server = Arc::new(self);
        let places = Arc::new(Semaphore::new(server.config.max_connections));
        let crowd = Arc::new(Semaphore::new(CROWD));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                () = server.stop.cancelled() => break,
                accepted = accept(&listener, &places, &crowd) => accepted,
            };
            if let Some((stream, peer, place)) = accepted {
                connections.spawn(server.clone().connection(stream, peer, place));
            }
        }
        drop(listener);
        let ended = timeout(FAREWELL, async {
            while connections.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::debug!(open = connections.len(), "connections cut at the stop");
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        let patience = if place.crowded {
            HURRY
        } else {
            Patience {
                head: self.config.header_timeout.get(),
                idle: self.config.idle_timeout.get(),
            }
        };
        let Some(certificates) = &self.certificates else {
            return self.converse(stream, peer, place, patience).await;
        };
        let greeted = tokio::select! {
            () = self.stop.cancelled() => return,
            greeted = timeout(patience.head, certificates.acceptor().accept(stream)) => greeted,
        };
        match greeted {
            Ok(Ok(stream)) => self.converse(stream, peer, place, patience).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake not finished in time"),
        }
    }

    /// Serves requests until one side ends the connection.
    async fn converse<S>(&self, stream: S, peer: SocketAddr, place: Place, patience: Patience)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pace = Pace::new(patience);
        let doorway = Doorway {
            router: self.router.clone(),
            proxies: self.proxies.clone(),
            peer: peer.ip(),
            pace: pace.clone(),
            crowded: place.crowded,
        };
        let limit = self.config.body_idle_timeout.get();
        let io = TokioIo::new(Stall::new(stream, limit, pace.clone(), place.permit));
        let connection = self.protocols.serve_connection_with_upgrades(io, doorway);
        tokio::pin!(connection);
        let mut drained = false;
        let ended = loop {
            let next = match pace.verdict() {
                Verdict::Wait(until) => until,
                Verdict::Cut => {
                    return tracing::debug!(%peer, "cut: the request's head did not end in time");
                }
                Verdict::Close => {
                    connection.as_mut().graceful_shutdown();
                    break timeout(FAREWELL, connection).await.unwrap_or(Ok(()));
                }
            };
            tokio::select! {
                ended = &mut connection => break ended,
                () = self.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    break connection.await;
                }
                // On HTTP/1.1 the answers say so.
                () = self.drain.cancelled(), if !drained => {
                    drained = true;
                    if pace.is_http2() {
                        connection.as_mut().graceful_shutdown();
                    }
                }
                () = sleep_until(next) => {}
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%peer, %error, "connection ended");
        }
    }
}

/// The next connection and its place. While both the places and the crowd are full nothing is accepted.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    crowd: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, Place)> {
    let place = tokio::select! {
        biased;
        permit = places.clone().acquire_owned() => Place { permit: permit.ok()?, crowded: false },
        permit = crowd.clone().acquire_owned() => Place { permit: permit.ok()?, crowded: true },
    };
    match listener.accept().await {
        Ok((stream, peer)) => {
            let _ = stream.set_nodelay(true);
            // A place may have become free while nobody came.
            let place = match place.crowded.then(|| places.clone().try_acquire_owned()) {
                Some(Ok(permit)) => Place {
                    permit,
                    crowded: false,
                },
                _ => place,
            };
            Some((stream, peer, place))
        }
        Err(error) => {
            // Out of file descriptors, most likely: give others the time to close some.
            tracing::warn!(%error, "cannot accept a connection");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
