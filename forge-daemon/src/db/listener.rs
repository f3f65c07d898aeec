//! The listening connection: hints that work may be ready or that something was changed.
//!
//! Invariants: the connection is never in a transaction and always drained; every (re)connect is followed by a
//! catch-up, so a hint lost while away costs nothing; a connection that no longer hears is replaced.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_postgres::{AsyncMessage, Client, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

use super::{Error, backoff, connect::Target};
use crate::{config::Database, service::Tasks};

const CHANNELS: &str = "LISTEN forge_jobs; LISTEN forge_control";
const LISTENING: &str =
    "SELECT c FROM pg_listening_channels() c WHERE c IN ('forge_jobs', 'forge_control')";
const SELF_TEST: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(5);

/// Something to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// Hints may have been missed: look at everything.
    CatchUp,
    /// Registrations, pauses, cancel requests or locks changed.
    Control,
    /// Work may be ready.
    Jobs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heard {
    jobs: u64,
    control: u64,
    catch_up: u64,
    connected: bool,
}

/// Where hints are heard. Clones share it.
#[derive(Clone, Debug)]
pub struct Wakeups {
    heard: Arc<watch::Sender<Heard>>,
}

impl Default for Wakeups {
    fn default() -> Self {
        Self {
            heard: Arc::new(watch::Sender::new(Heard::default())),
        }
    }
}

impl Wakeups {
    /// A subscription that has heard nothing yet; many hints of a kind are one.
    pub fn subscribe(&self) -> Subscription {
        let mut heard = self.heard.subscribe();
        let seen = *heard.borrow_and_update();
        Subscription { heard, seen }
    }

    /// Whether the listening connection is up: while it is not, only polling finds work.
    pub fn connected(&self) -> bool {
        self.heard.borrow().connected
    }

    /// Says that `wakeup` was heard; also for hints that arise inside this process.
    pub fn wake(&self, wakeup: Wakeup) {
        self.heard.send_modify(|heard| match wakeup {
            Wakeup::CatchUp => heard.catch_up += 1,
            Wakeup::Control => heard.control += 1,
            Wakeup::Jobs => heard.jobs += 1,
        });
    }

    fn set_connected(&self, connected: bool) {
        self.heard.send_if_modified(|heard| {
            std::mem::replace(&mut heard.connected, connected) != connected
        });
    }
}

/// One reader of hints.
#[derive(Clone, Debug)]
pub struct Subscription {
    heard: watch::Receiver<Heard>,
    seen: Heard,
}

impl Subscription {
    /// The next hint, the most sweeping first. Never ends; dropping the future loses nothing.
    pub async fn next(&mut self) -> Wakeup {
        loop {
            let now = *self.heard.borrow_and_update();
            if now.catch_up != self.seen.catch_up {
                self.seen = now;
                return Wakeup::CatchUp;
            }
            if now.control != self.seen.control {
                self.seen.control = now.control;
                return Wakeup::Control;
            }
            if now.jobs != self.seen.jobs {
                self.seen.jobs = now.jobs;
                return Wakeup::Jobs;
            }
            if self.heard.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for a hint that is one of `kinds` or a catch-up.
    pub async fn next_of(&mut self, kinds: &[Wakeup]) -> Wakeup {
        loop {
            let wakeup = self.next().await;
            if wakeup == Wakeup::CatchUp || kinds.contains(&wakeup) {
                return wakeup;
            }
        }
    }
}

/// Keeps the listening connection.
pub struct Listener {
    target: Target,
    wakeups: Wakeups,
}

impl Listener {
    /// Prepares the listener; the error names what is wrong with the URL.
    pub fn new(config: &Database, wakeups: Wakeups) -> Result<Self, String> {
        let url = config.listen_url.as_ref().unwrap_or(&config.url);
        Ok(Self {
            target: Target::new(url.expose(), config, "listener")?,
            wakeups,
        })
    }

    /// Starts the listening task.
    pub fn spawn(self, tasks: &Tasks) {
        tasks.spawn("db listener", |token| self.run(token));
    }

    async fn run(self, token: CancellationToken) {
        let mut pauses = backoff();
        let mut said = String::new();
        loop {
            let since = Instant::now();
            let ended = tokio::select! {
                () = token.cancelled() => return,
                ended = self.listen() => ended,
            };
            self.wakeups.set_connected(false);
            if since.elapsed() > SELF_TEST {
                pauses = backoff();
                said.clear();
            }
            let pause = pauses.next().unwrap_or(PATIENCE);
            if let Err(error) = ended {
                let reason = error.to_string();
                if reason == said {
                    tracing::debug!(reason, retry_in = ?pause, "still not listening");
                } else {
                    tracing::warn!(reason, retry_in = ?pause, "not listening; polling goes on");
                    said = reason;
                }
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Connects, proves that notifications arrive, and tells how long that took; for diagnosis.
    pub async fn hears(&self) -> Result<Duration, Error> {
        let since = Instant::now();
        self.live(async |client, channel| prove(client, channel).await)
            .await?;
        Ok(since.elapsed())
    }

    /// One life of the connection: connect, prove that notifications arrive, hear until it breaks.
    async fn listen(&self) -> Result<(), Error> {
        self.live(async |client, channel| self.hear(client, channel).await)
            .await
    }

    /// Connects and drains the connection while `work` goes on with the names of the channels notified.
    async fn live(
        &self,
        work: impl AsyncFnOnce(&Client, &mut mpsc::Receiver<String>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let connecting = self.target.options.connect(self.target.tls.clone());
        let (client, mut connection) = timeout(PATIENCE, connecting)
            .await
            .map_err(|_| silent("the server did not answer"))?
            .map_err(Error::connection)?;
        let (heard, mut channel) = mpsc::channel::<String>(1024);
        let mut drain = pin!(async {
            let mut messages =
                futures::stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(message) = messages.next().await {
                match message.map_err(Error::connection)? {
                    // A full channel only merges hints.
                    AsyncMessage::Notification(hint) => {
                        drop(heard.try_send(hint.channel().to_owned()))
                    }
                    AsyncMessage::Notice(notice) => {
                        tracing::debug!(%notice, "notice on the listening connection")
                    }
                    _ => {}
                }
            }
            Err::<(), Error>(silent("the server closed the connection"))
        });
        let mut work = pin!(work(&client, &mut channel));
        tokio::select! {
            ended = &mut drain => ended,
            ended = &mut work => ended,
        }
    }

    async fn hear(
        &self,
        client: &Client,
        channel: &mut mpsc::Receiver<String>,
    ) -> Result<(), Error> {
        statement(client, CHANNELS, "LISTEN").await?;
        prove(client, channel).await?;
        self.wakeups.set_connected(true);
        self.wakeups.wake(Wakeup::CatchUp);
        tracing::debug!("listening");
        let mut tests = interval_at(Instant::now() + SELF_TEST, SELF_TEST);
        tests.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                name = channel.recv() => match name.as_deref() {
                    Some("forge_jobs") => self.wakeups.wake(Wakeup::Jobs),
                    Some("forge_control") => self.wakeups.wake(Wakeup::Control),
                    Some(_) => {}
                    None => return Err(silent("the connection ended")),
                },
                _ = tests.tick() => still_listening(client).await?,
            }
        }
    }
}

/// Sends a notification to itself: behind a pooler in transaction mode it would never arrive.
async fn prove(client: &Client, channel: &mut mpsc::Receiver<String>) -> Result<(), Error> {
    let own = format!("forge_self_{}", uuid::Uuid::new_v4().simple());
    statement(client, &format!("LISTEN {own}"), "LISTEN").await?;
    statement(client, &format!("NOTIFY {own}"), "NOTIFY").await?;
    let arrived = timeout(PATIENCE, async {
        while let Some(name) = channel.recv().await {
            if name == own {
                return true;
            }
        }
        false
    });
    if !arrived.await.unwrap_or(false) {
        return Err(silent(
            "notifications do not arrive; behind a connection pooler set database.listen_url to the server itself",
        ));
    }
    statement(client, &format!("UNLISTEN {own}"), "UNLISTEN").await
}

/// The connection answers and is still the one that said LISTEN.
async fn still_listening(client: &Client) -> Result<(), Error> {
    let answer = timeout(PATIENCE, client.simple_query(LISTENING))
        .await
        .map_err(|_| silent("the self-test was not answered"))?
        .map_err(|error| Error::from_client("listen", error))?;
    let channels = answer
        .iter()
        .filter(|message| matches!(message, SimpleQueryMessage::Row(_)))
        .count();
    if channels == 2 {
        Ok(())
    } else {
        Err(silent("the connection no longer listens"))
    }
}

async fn statement(client: &Client, sql: &str, what: &str) -> Result<(), Error> {
    timeout(PATIENCE, client.batch_execute(sql))
        .await
        .map_err(|_| silent(&format!("{what} was not answered within {PATIENCE:?}")))?
        .map_err(|error| Error::from_client("listen", error))
}

fn silent(message: &str) -> Error {
    Error::Connection {
        message: message.to_owned(),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hints_merge_and_the_most_sweeping_comes_first() {
        let wakeups = Wakeups::default();
        let mut subscription = wakeups.subscribe();
        wakeups.wake(Wakeup::Jobs);
        wakeups.wake(Wakeup::Jobs);
        wakeups.wake(Wakeup::Control);
        assert_eq!(subscription.next().await, Wakeup::Control);
        assert_eq!(subscription.next().await, Wakeup::Jobs);
        wakeups.wake(Wakeup::Jobs);
        wakeups.wake(Wakeup::CatchUp);
        assert_eq!(subscription.next().await, Wakeup::CatchUp);
        wakeups.wake(Wakeup::Control);
        assert_eq!(
            subscription.next_of(&[Wakeup::Jobs, Wakeup::Control]).await,
            Wakeup::Control
        );
    }
}
