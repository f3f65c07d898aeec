//! One call, from the order to the answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use postgres_types::Type;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    Error, Executor, Inner,
    caller::{EVERYTHING, Part, Sealed},
    catalog::{Function, Kind},
    flight::Outcome,
    memory::{Kept, Question},
    retry,
};
use crate::db::{Query, Session};

const CALL: Query = Query::new(
    "gateway_call",
    "SELECT body, meta FROM forge_private.gateway_call($1, $2, $3, $4)",
    &[Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT],
);
const ACTION: Query = Query::new(
    "gateway_action",
    "SELECT forge_private.gateway_action($1, $2, $3, $4)",
    &[Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT],
);
/// Shared flights that were of no use before a caller flies alone.
const FLIGHTS: usize = 3;

/// What the database should know about a request.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// The caller's key: the first answer under it is the answer.
    pub idempotency_key: Option<String>,
    /// Of the request.
    pub request_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Address of the client.
    pub ip: Option<String>,
    /// Name of the API key.
    pub key: Option<String>,
    /// HTTP method.
    pub method: Option<String>,
    /// Arguments that are text because they stood in a URL.
    pub text_args: Vec<String>,
}

/// The same as the database takes it.
#[derive(Serialize)]
struct Options<'a> {
    /// `query` when nothing else will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    text_args: &'a [String],
}

/// A call to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// The function.
    pub name: String,
    /// Arguments as JSON text.
    pub args: String,
    /// For whom.
    pub caller: Arc<Sealed>,
    /// Refuse anything but a query.
    pub only_query: bool,
    /// Answer an action with its job.
    pub later: bool,
    /// Longest the caller waits for an action.
    pub patience: Duration,
    /// What the database should know.
    pub circumstances: Circumstances,
}

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Just executed.
    New,
    /// Kept, and good for so long.
    Kept(Duration),
    /// Past its time by so long: the database cannot be asked.
    Stale(Duration),
}

/// What came of a call.
#[derive(Debug)]
pub enum Answer {
    /// The function's answer.
    Done(Reply, Freshness),
    /// The action runs as this job.
    Accepted(Uuid),
}

/// A function's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// JSON text.
    pub body: Bytes,
    /// HTTP status, when the function chose one.
    pub status: Option<u16>,
    /// HTTP headers that the function set: text, or a list of texts.
    pub headers: Map<String, Value>,
    /// An earlier answer under the same idempotency key.
    pub replayed: bool,
}

impl Reply {
    /// Bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.body.len() + self.headers.len() * 64
    }

    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self {
            body: Bytes::copy_from_slice(text.as_bytes()),
            ..Self::default()
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    status: Option<u16>,
    headers: Option<Map<String, Value>>,
    replayed: bool,
    dirty: bool,
    identity: Option<Vec<String>>,
}

impl Executor {
    /// Makes a call.
    ///
    /// # Errors
    /// What the database said, or that it could not be asked.
    pub async fn call(&self, order: Order) -> Result<Answer, Error> {
        let outcome = match self.find(&order.name).await? {
            Some(function) => {
                let started = Instant::now();
                let outcome = self.run_newest(&function, &order).await;
                count(&function, &outcome, started);
                outcome
            }
            // The database knows which names are near, and whether this caller may hear of them.
            None => self
                .inner
                .transact(None, &order)
                .await
                .map(|(reply, _)| Answer::Done(reply, Freshness::New)),
        };
        let sqlstate = outcome.as_ref().err().and_then(Error::sqlstate);
        self.inner.audit.note(&order, sqlstate);
        outcome
    }

    /// Runs, once more when the function was registered anew a moment ago, perhaps with another isolation level.
    async fn run_newest(&self, function: &Arc<Function>, order: &Order) -> Result<Answer, Error> {
        let outcome = self.run(function, order).await;
        if matches!(&outcome, Err(error) if error.sqlstate() == Some("ZF011")) {
            let newer = self.reread().await?.function(&order.name).cloned();
            if let Some(newer) = newer.filter(|newer| newer.number != function.number) {
                return self.run(&newer, order).await;
            }
        }
        outcome
    }

    async fn find(&self, name: &str) -> Result<Option<Arc<Function>>, Error> {
        if let Some(function) = self.catalog().function(name) {
            return Ok(Some(function.clone()));
        }
        Ok(self.reread().await?.function(name).cloned())
    }

    async fn run(&self, function: &Arc<Function>, order: &Order) -> Result<Answer, Error> {
        if order.only_query && function.kind != Kind::Query {
            return Err(Error::NotAQuery(order.name.clone(), function.kind.name()));
        }
        match function.kind {
            Kind::Query => self.query(function, order).await,
            Kind::Mutation => {
                let (reply, _) = self.inner.mutate(function, order).await?;
                Ok(Answer::Done(reply, Freshness::New))
            }
            Kind::Action => self.act(function, order).await,
        }
    }

    async fn query(&self, function: &Arc<Function>, order: &Order) -> Result<Answer, Error> {
        if let Some(ttl) = function.cache_ttl() {
            return self.remembered(function, order, ttl).await;
        }
        let (reply, _) = self.inner.read(function, order).await?;
        Ok(Answer::Done(reply, Freshness::New))
    }

    /// A query whose answers are kept.
    async fn remembered(
        &self,
        function: &Arc<Function>,
        order: &Order,
        ttl: Duration,
    ) -> Result<Answer, Error> {
        let Some(question) = Question::new(function, &order.caller, &order.args) else {
            let (reply, _) = self.inner.read(function, order).await?;
            return Ok(Answer::Done(reply, Freshness::New));
        };
        let mut stale = None;
        for _ in 0..FLIGHTS {
            match self.inner.memory.find(&question) {
                Some(kept) => match kept.left() {
                    Some(left) => {
                        note(function, "hit");
                        return Ok(Answer::Done(kept.reply.clone(), Freshness::Kept(left)));
                    }
                    None => stale = Some(kept),
                },
                None => stale = None,
            }
            let key = question.key(function.likely.load(std::sync::atomic::Ordering::Relaxed));
            let (first, outcome) = self
                .inner
                .flights
                .join(key, || {
                    self.inner.clone().fly(function.clone(), order.clone(), ttl)
                })
                .await;
            match outcome {
                Ok(kept) if first || question.key(kept.key.mask()) == kept.key => {
                    note(function, if first { "miss" } else { "shared" });
                    return Ok(Answer::Done(kept.reply.clone(), Freshness::New));
                }
                Err(error) if error.is_outage() => return Self::outage(function, stale, error),
                Err(error) if first => return Err(error),
                // Right for another caller, not for this one.
                Ok(_) | Err(_) => {}
            }
        }
        match self
            .inner
            .clone()
            .fly(function.clone(), order.clone(), ttl)
            .await
        {
            Ok(kept) => {
                note(function, "miss");
                Ok(Answer::Done(kept.reply.clone(), Freshness::New))
            }
            Err(error) if error.is_outage() => Self::outage(function, stale, error),
            Err(error) => Err(error),
        }
    }

    /// An answer past its time is better than none.
    fn outage(
        function: &Function,
        stale: Option<Arc<Kept>>,
        error: Error,
    ) -> Result<Answer, Error> {
        let Some(kept) = stale else {
            return Err(error);
        };
        note(function, "stale");
        let over = kept.born.elapsed().saturating_sub(kept.ttl);
        Ok(Answer::Done(kept.reply.clone(), Freshness::Stale(over)))
    }

    async fn act(&self, function: &Function, order: &Order) -> Result<Answer, Error> {
        let options = order.circumstances.options();
        let params: [&(dyn postgres_types::ToSql + Sync); 4] =
            [&order.caller.text, &order.name, &order.args, &options];
        let job: Uuid = self.inner.db.scalar(&ACTION, &params).await?;
        if order.later {
            return Ok(Answer::Accepted(job));
        }
        let limit = function
            .timeout()
            .unwrap_or(order.patience)
            .min(order.patience);
        let name = || order.name.clone();
        let Some(ended) = self.inner.desk.ending(job, limit).await else {
            return Err(Error::StillRunning { name: name(), job });
        };
        if ended.state != "completed" {
            return Err(Error::ActionFailed {
                name: name(),
                job,
                state: ended.state,
                error: ended.error,
            });
        }
        let body = ended
            .result
            .map_or_else(|| "null".to_owned(), |result| result.get().to_owned());
        let reply = Reply {
            body: body.into(),
            ..Reply::default()
        };
        Ok(Answer::Done(reply, Freshness::New))
    }
}

impl Inner {
    /// Runs a query and keeps its answer.
    async fn fly(self: Arc<Self>, function: Arc<Function>, order: Order, ttl: Duration) -> Outcome {
        let born = Instant::now();
        let (reply, meta) = self.read(&function, &order).await?;
        let question =
            Question::new(&function, &order.caller, &order.args).ok_or(Error::Strange)?;
        Ok(self
            .memory
            .keep(&question, mask(meta.identity.as_deref()), reply, ttl, born))
    }

    /// A query: one statement, repeated once when the connection turned out to be dead.
    async fn read(&self, function: &Function, order: &Order) -> Result<(Reply, Meta), Error> {
        match self.read_once(function, order).await {
            Err(error) if broke(&error) => self.read_once(function, order).await,
            outcome => outcome,
        }
    }

    async fn read_once(&self, function: &Function, order: &Order) -> Result<(Reply, Meta), Error> {
        let options = order.circumstances.query_options();
        let limit = function.timeout().unwrap_or(self.db.limit());
        let params: [&(dyn postgres_types::ToSql + Sync); 4] =
            [&order.caller.text, &order.name, &order.args, &options];
        let mut session = self.db.session().await?;
        let rows = if limit > self.db.limit() {
            let begin = begin("READ COMMITTED", Some(limit));
            session.bracketed(&begin, limit, &CALL, &params).await?
        } else {
            session.rows_limited(limit, &CALL, &params).await?
        };
        finish(session, &rows)
    }

    /// A mutation: repeated when the server rolled it back because of others, or when the connection broke and the
    /// idempotency key makes that safe.
    async fn mutate(&self, function: &Function, order: &Order) -> Result<(Reply, Meta), Error> {
        let limit = function.timeout().unwrap_or(self.db.limit());
        let deadline = Instant::now() + limit;
        let retries = function.max_retries.unwrap_or(3);
        let mut attempt = 0;
        loop {
            let error = match self.transact(Some((function, deadline)), order).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            attempt += 1;
            let keyed = order.circumstances.idempotency_key.is_some();
            let again =
                retry::is_conflict(error.sqlstate()) || (keyed && attempt == 1 && broke(&error));
            let pause = retry::pause(attempt);
            if !again || attempt > retries || Instant::now() + pause >= deadline {
                return Err(error);
            }
            metrics::counter!("forge_function_retries_total", "function" => function.name.clone())
                .increment(1);
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt in a transaction of the function's isolation level, within what is left of its time.
    async fn transact(
        &self,
        known: Option<(&Function, Instant)>,
        order: &Order,
    ) -> Result<(Reply, Meta), Error> {
        let options = order.circumstances.options();
        let params: [&(dyn postgres_types::ToSql + Sync); 4] =
            [&order.caller.text, &order.name, &order.args, &options];
        let level = isolation(known.and_then(|(function, _)| function.isolation.as_deref()));
        let mut session = self.db.session().await?;
        // The function's own limit is kept by the database; the connection's may be shorter, or none behind a pooler.
        let longer = |(function, _): &(&Function, Instant)| {
            !self.db.prepares() || function.timeout() > Some(self.db.limit())
        };
        let own = known.filter(longer);
        let limit = known.map_or(self.db.limit(), |(_, deadline)| {
            deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1))
        });
        let rows = if level == "READ COMMITTED" && own.is_none() {
            session.rows(&CALL, &params).await?
        } else {
            let begin = begin(level, own.map(|_| limit));
            session.bracketed(&begin, limit, &CALL, &params).await?
        };
        finish(session, &rows)
    }
}

/// Reads the answer; a connection on which the call left something behind is not used again.
fn finish(session: Session, rows: &[Row]) -> Result<(Reply, Meta), Error> {
    let outcome = reply(rows)?;
    if outcome.1.dirty {
        session.spoil();
    }
    Ok(outcome)
}

fn begin(level: &str, limit: Option<Duration>) -> String {
    match limit {
        Some(limit) => format!(
            "BEGIN ISOLATION LEVEL {level}; SET LOCAL statement_timeout = {}",
            limit.as_millis().clamp(1, i32::MAX as u128)
        ),
        None => format!("BEGIN ISOLATION LEVEL {level}"),
    }
}

/// The level as SQL; what is not known is the strictest.
fn isolation(registered: Option<&str>) -> &'static str {
    match registered {
        Some("read committed") => "READ COMMITTED",
        Some("repeatable read") => "REPEATABLE READ",
        _ => "SERIALIZABLE",
    }
}

impl Circumstances {
    /// For a call of any kind.
    fn options(&self) -> String {
        self.render(None, self.idempotency_key.as_deref())
    }

    /// For a query, which can be repeated without a key.
    fn query_options(&self) -> String {
        self.render(Some("query"), None)
    }

    fn render(&self, kind: Option<&str>, idempotency_key: Option<&str>) -> String {
        let options = Options {
            kind,
            idempotency_key,
            request_id: self.request_id.as_deref(),
            traceparent: self.traceparent.as_deref(),
            ip: self.ip.as_deref(),
            key: self.key.as_deref(),
            method: self.method.as_deref(),
            text_args: &self.text_args,
        };
        // Texts only: nothing here can fail.
        serde_json::to_string(&options).unwrap_or_else(|_| "{}".into())
    }
}

/// Whether the connection died, rather than the statement.
fn broke(error: &Error) -> bool {
    matches!(error, Error::Database(error) if error.is_outage() && !matches!(error.sqlstate(), Some("53300")))
}

fn reply(rows: &[Row]) -> Result<(Reply, Meta), Error> {
    let strange = |what: String| Error::from(CALL.unexpected(what));
    let row = rows.first().ok_or_else(|| strange("no row".into()))?;
    let text = |column: usize| -> Result<Option<&str>, Error> {
        row.try_get(column)
            .map_err(|error| strange(error.to_string()))
    };
    let meta: Meta = match text(1)? {
        Some(meta) => {
            serde_json::from_str(meta).map_err(|error| strange(format!("meta: {error}")))?
        }
        None => Meta::default(),
    };
    let body = match text(0)? {
        Some(body) => Bytes::copy_from_slice(body.as_bytes()),
        // An answer that chose its status may have no body at all.
        None if meta.status.is_some() => Bytes::new(),
        None => Bytes::from_static(b"null"),
    };
    let reply = Reply {
        body,
        status: meta.status,
        headers: meta.headers.clone().unwrap_or_default(),
        replayed: meta.replayed,
    };
    Ok((reply, meta))
}

/// The parts of the identity that an answer depends on. What is not told or not known is everything.
fn mask(read: Option<&[String]>) -> u8 {
    let Some(read) = read else {
        return EVERYTHING;
    };
    read.iter().fold(0, |mask, part| {
        mask | match part.as_str() {
            // Always told apart.
            "role" => 0,
            "subject" => Part::Subject as u8,
            "claims" => Part::Claims as u8,
            "token" => Part::Token as u8,
            _ => EVERYTHING,
        }
    })
}

fn count(function: &Function, outcome: &Result<Answer, Error>, started: Instant) {
    let outcome = match outcome {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.sqlstate().unwrap_or("error").to_owned(),
    };
    metrics::counter!("forge_function_calls_total", "function" => function.name.clone(), "kind" => function.kind.name(), "outcome" => outcome).increment(1);
    metrics::histogram!("forge_function_duration_seconds", "function" => function.name.clone(), "kind" => function.kind.name()).record(started.elapsed());
}

fn note(function: &Function, outcome: &'static str) {
    metrics::counter!("forge_function_cache_total", "function" => function.name.clone(), "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_begins_as_registered() {
        assert_eq!(
            begin(
                isolation(Some("repeatable read")),
                Some(Duration::from_millis(1500))
            ),
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL statement_timeout = 1500"
        );
        assert_eq!(
            begin(isolation(None), None),
            "BEGIN ISOLATION LEVEL SERIALIZABLE"
        );
        assert_eq!(isolation(Some("; DROP TABLE x")), "SERIALIZABLE");
    }

    #[test]
    fn parts_that_are_not_known_are_everything() {
        let mask = |parts: &[&str]| {
            super::mask(Some(
                &parts
                    .iter()
                    .map(|part| (*part).to_owned())
                    .collect::<Vec<_>>(),
            ))
        };
        assert_eq!(mask(&[]), 0);
        assert_eq!(mask(&["role"]), 0);
        assert_eq!(mask(&["subject", "role"]), Part::Subject as u8);
        assert_eq!(mask(&["something"]), EVERYTHING);
        assert_eq!(super::mask(None), EVERYTHING);
    }

    #[test]
    fn only_what_is_known_is_told() {
        let circumstances = Circumstances {
            ip: Some("10.0.0.1".into()),
            idempotency_key: Some("k".into()),
            ..Circumstances::default()
        };
        assert_eq!(
            circumstances.query_options(),
            r#"{"kind":"query","ip":"10.0.0.1"}"#
        );
        assert_eq!(
            circumstances.options(),
            r#"{"idempotency_key":"k","ip":"10.0.0.1"}"#
        );
    }
}
