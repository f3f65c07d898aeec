//! The node under test, a process of its own, and a caller with a session.

use super::load::Request;
use super::{ITEMS, fixture};
use crate::bench::Bench;
use crate::session;
use anyhow::Context;
use forge_tests::{Node, NodeOptions, checkout};

/// A token that nobody signed with the node's key.
pub const MISSIGNED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJiZW5jaCIsInN1YiI6InUxIiwiZXhwIjo0MTAyNDQ0ODAwfQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const ISSUERS: &str = "[{issuer = \"bench\", algorithm = \"HS256\", secret = \"a secret of the benchmark, 32 bytes or more\"}]";

/// A running node; killed when dropped.
pub struct Service {
    pub node: Node,
    token: String,
}

impl Service {
    /// Makes the functions under test and starts a node that serves them.
    ///
    /// # Errors
    /// The functions cannot be registered, or the node is not ready within a minute.
    pub async fn start(bench: &Bench) -> anyhow::Result<Self> {
        let client = session::open(&bench.url).await?;
        fixture(&client).await?;
        let token = client
            .query_one("select forge.create_session('bench')", &[])
            .await
            .context("forge.create_session failed")?
            .get(0);
        let logs = checkout::target_dir().join("forge-bench-logs");
        std::fs::create_dir_all(&logs)?;
        let options = NodeOptions::new("bench", &bench.daemon_url, logs)
            .set("FORGE_AUTH__ISSUERS", ISSUERS)
            .set("FORGE_LOG__LEVEL", "warn");
        let node = tokio::task::spawn_blocking(|| Node::start(options)).await??;
        Ok(Self { node, token })
    }

    /// Calls of `function` by the session's owner.
    pub fn calls(&self, function: &str) -> Request {
        Request {
            address: self.node.http(),
            path: format!("/v1/call/{function}"),
            headers: format!("authorization: Bearer {}\r\n", self.token),
            ids: ITEMS,
            status: 200,
        }
    }

    /// The same with a token that is refused.
    pub fn rejected(&self, function: &str) -> Request {
        Request {
            headers: format!("authorization: Bearer {MISSIGNED}\r\n"),
            status: 401,
            ..self.calls(function)
        }
    }
}
