//! Connections for the gRPC server: accepted within bounds, encrypted where the door has a certificate.
//!
//! Invariants: a slow handshake delays nobody else; a connection keeps its place until it ends; one that fails its
//! handshake is logged and forgotten.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::{app::Context, tls::Certificates};

/// Connections that the server has not taken over yet.
const WAITING: usize = 16;

/// The connections as they come.
pub(super) type Connections = ReceiverStream<io::Result<Connection>>;

/// Accepts on `listener` until the node stops.
pub(super) fn open(
    context: &Context,
    listener: TcpListener,
    certificates: Option<Certificates>,
) -> Connections {
    let (hand_over, connections) = mpsc::channel(WAITING);
    let door = Door {
        places: Arc::new(Semaphore::new(context.config.grpc.max_connections)),
        patience: context.config.http.header_timeout.get(),
        certificates,
        hand_over,
    };
    context
        .tasks
        .spawn("grpc door", |stop| door.accept(listener, stop));
    ReceiverStream::new(connections)
}

#[derive(Clone)]
struct Door {
    places: Arc<Semaphore>,
    patience: Duration,
    certificates: Option<Certificates>,
    hand_over: mpsc::Sender<io::Result<Connection>>,
}

impl Door {
    async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        let mut greetings = JoinSet::new();
        loop {
            while greetings.try_join_next().is_some() {}
            let accepting = async {
                let place = self.places.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = accepting => accepted,
            };
            let Ok(place) = place else {
                return;
            };
            match accepted {
                Ok((stream, _)) => {
                    greetings.spawn(self.clone().greet(stream, place));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a gRPC connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn greet(self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let info = stream.connect_info();
        let stream: Box<dyn Stream> = match &self.certificates {
            None => Box::new(stream),
            Some(certificates) => {
                let peer = info.remote_addr;
                match timeout(self.patience, certificates.acceptor().accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => {
                        return tracing::debug!(?peer, %error, "gRPC TLS handshake failed");
                    }
                    Err(_) => {
                        return tracing::debug!(?peer, "gRPC TLS handshake not finished in time");
                    }
                }
            }
        };
        let connection = Connection {
            stream,
            info,
            _place: place,
        };
        let _ = self.hand_over.send(Ok(connection)).await;
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection, encrypted or not, and its place.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    info: TcpConnectInfo,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Poller<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
