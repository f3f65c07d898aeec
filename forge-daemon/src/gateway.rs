//! The HTTP door.

use tokio::net::TcpListener;

use crate::app::Context;

/// The running HTTP server.
#[derive(Debug)]
pub struct Gateway;

impl Gateway {
    /// Starts serving.
    pub fn spawn(_context: &Context, _listener: TcpListener) -> Self {
        Self
    }

    /// Waits until no request is in progress.
    pub async fn drained(&self) {}
}
