//! What functions and routes are registered.
//!
//! Invariants: the catalog is a hint about how to call, never about who may; it is read again after every control
//! notification and after every reconnect, and at least every minute; names that are not in it cause at most four
//! readings a second, however many are asked for.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    caller::EVERYTHING,
    routes::{Route, Routes},
};
use crate::db::{Db, Error, Query, Wakeup, Wakeups};

const FUNCTIONS: Query = Query::new(
    "gateway_functions",
    "SELECT to_jsonb(f)::text FROM forge_private.gateway_functions() f",
    &[],
);
const ROUTES: Query = Query::new(
    "gateway_routes",
    "SELECT to_jsonb(r)::text FROM forge_private.gateway_routes() r",
    &[],
);
/// Between two readings that unknown names ask for.
const GAP: Duration = Duration::from_millis(250);
/// Between two readings that notifications ask for: a file of registrations is many.
const SETTLE: Duration = Duration::from_millis(20);
/// A reading in any case.
const SELDOM: Duration = Duration::from_secs(60);
/// A reading in any case while notifications cannot be heard.
const DEAF: Duration = Duration::from_secs(5);

/// What kind of function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Reads only.
    Query,
    /// One transaction that may be repeated.
    Mutation,
    /// Reaches outside, by a job.
    Action,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Query => "query",
            Kind::Mutation => "mutation",
            Kind::Action => "action",
        }
    }
}

/// One argument of a function.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Argument {
    /// The parameter's name.
    pub name: String,
    /// The Postgres type.
    #[serde(default)]
    pub r#type: Option<String>,
    /// Whether it has no default.
    #[serde(default)]
    pub required: bool,
    /// JSON Schema of its values.
    #[serde(default)]
    pub schema: Value,
    /// Whether the whole argument object goes to it.
    #[serde(default)]
    pub whole: bool,
}

/// A registered function.
#[derive(Debug, Deserialize)]
pub struct Function {
    /// The registered name.
    pub name: String,
    /// What kind.
    pub kind: Kind,
    /// SQL function, or an action's handler.
    #[serde(default)]
    pub handler: Option<String>,
    /// Of a mutation: `serializable`, `repeatable read`, `read committed`.
    #[serde(default)]
    pub isolation: Option<String>,
    /// How often a mutation is repeated after a conflict.
    #[serde(default)]
    pub max_retries: Option<u32>,
    /// Longest a call may take.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// How long answers are kept.
    #[serde(default)]
    pub cache_ttl_ms: Option<u64>,
    /// As registered.
    #[serde(default)]
    pub rate_limit: Option<String>,
    /// Calls at once.
    #[serde(default)]
    pub max_concurrency: Option<i32>,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// For people.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// The parameters in order.
    #[serde(default)]
    pub arguments: Option<Vec<Argument>>,
    /// JSON Schema of the answer.
    #[serde(default)]
    pub returns: Value,
    /// Tells definitions apart: another one under the same name has another number.
    #[serde(skip)]
    pub(super) number: u64,
    /// The sets of identity parts that answers were seen to depend on, one bit per mask.
    #[serde(skip)]
    pub(super) masks: AtomicU8,
    /// The last of them.
    #[serde(skip)]
    pub(super) likely: AtomicU8,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        let face = |f: &Self| {
            (
                f.name.clone(),
                f.kind,
                f.handler.clone(),
                f.isolation.clone(),
                (
                    f.max_retries,
                    f.timeout_ms,
                    f.cache_ttl_ms,
                    f.max_concurrency,
                ),
                f.rate_limit.clone(),
                f.description.clone(),
                f.tags.clone(),
                f.arguments.clone(),
                f.returns.clone(),
            )
        };
        face(self) == face(other)
    }
}

impl Function {
    /// Longest a call may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }

    /// How long answers are kept; `None` when they are not.
    pub fn cache_ttl(&self) -> Option<Duration> {
        let ttl = self.cache_ttl_ms.filter(|ttl| *ttl > 0)?;
        (self.kind == Kind::Query).then(|| Duration::from_millis(ttl))
    }

    /// The parameters.
    pub fn arguments(&self) -> &[Argument] {
        self.arguments.as_deref().unwrap_or_default()
    }

    /// Whether the whole argument object goes to its only parameter.
    pub fn takes_all(&self) -> bool {
        matches!(self.arguments(), [only] if only.whole)
    }
}

/// One reading of the registry.
#[derive(Default)]
pub struct Catalog {
    functions: HashMap<String, Arc<Function>>,
    listed: Vec<Route>,
    routes: Routes,
    /// Whether the database was ever asked.
    read: bool,
    /// What is made of it once, when first asked for.
    pub(crate) document: OnceLock<Arc<str>>,
}

impl Catalog {
    /// A catalog of these.
    pub fn new(functions: impl IntoIterator<Item = Function>, routes: Vec<Route>) -> Self {
        let shared = functions
            .into_iter()
            .map(|function| (function.name.clone(), Arc::new(function)));
        Self {
            functions: shared.collect(),
            routes: Routes::new(routes.iter().cloned()),
            listed: routes,
            read: true,
            document: OnceLock::new(),
        }
    }

    /// The function of this name.
    pub fn function(&self, name: &str) -> Option<&Arc<Function>> {
        self.functions.get(name)
    }

    /// Every function, by name.
    pub fn functions(&self) -> Vec<&Arc<Function>> {
        let mut all: Vec<_> = self.functions.values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The table of routes.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Whether this came from the database, rather than from before it was reached.
    pub fn is_read(&self) -> bool {
        self.read
    }

    /// Every route, in the order of the registry.
    pub fn listed(&self) -> &[Route] {
        &self.listed
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog")
            .field("functions", &self.functions.len())
            .field("routes", &self.listed.len())
            .finish()
    }
}

/// Keeps the newest catalog.
pub(super) struct Keeper {
    db: Db,
    current: RwLock<Arc<Catalog>>,
    /// When the last reading began. Held while one is under way.
    reading: Mutex<Option<Instant>>,
    numbers: AtomicU64,
}

impl Keeper {
    pub fn new(db: Db) -> Self {
        Self {
            db,
            current: RwLock::default(),
            reading: Mutex::new(None),
            numbers: AtomicU64::new(0),
        }
    }

    pub fn current(&self) -> Arc<Catalog> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The catalog as it is after this moment, read together with others who want that.
    pub async fn reread(&self) -> Result<Arc<Catalog>, Error> {
        let asked = Instant::now();
        let mut last = self.reading.lock().await;
        if last.is_none_or(|began| began <= asked) {
            if let Some(began) = *last {
                sleep_until(began + GAP).await;
            }
            self.read(&mut last).await?;
        }
        drop(last);
        Ok(self.current())
    }

    async fn read(&self, last: &mut Option<Instant>) -> Result<(), Error> {
        let began = Instant::now();
        let functions: Vec<String> = self.db.column(&FUNCTIONS, &[]).await?;
        let routes: Vec<String> = self.db.column(&ROUTES, &[]).await?;
        let catalog = self.assemble(&functions, &routes);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
        *last = Some(began);
        Ok(())
    }

    /// Keeps what has not changed: cached answers and what is known of them belong to a definition.
    fn assemble(&self, functions: &[String], routes: &[String]) -> Catalog {
        #[derive(Deserialize)]
        struct Registered {
            method: String,
            path: String,
            function: String,
        }
        let before = self.current();
        let mut catalog = Catalog::new(
            [],
            routes
                .iter()
                .filter_map(|row| understand::<Registered>(row))
                .map(|route| Route {
                    method: route.method.to_ascii_uppercase(),
                    path: route.path,
                    function: route.function,
                })
                .collect(),
        );
        for mut function in functions
            .iter()
            .filter_map(|row| understand::<Function>(row))
        {
            let shared = match before.functions.get(&function.name) {
                Some(known) if **known == function => known.clone(),
                _ => {
                    function.number = self.numbers.fetch_add(1, Ordering::Relaxed);
                    function.likely = AtomicU8::new(EVERYTHING);
                    Arc::new(function)
                }
            };
            catalog.functions.insert(shared.name.clone(), shared);
        }
        catalog
    }

    /// Reads whenever something was registered, until `stop`.
    pub async fn follow(&self, wakeups: Wakeups, stop: CancellationToken) {
        let mut hints = wakeups.subscribe();
        loop {
            let read = async {
                let mut last = self.reading.lock().await;
                self.read(&mut last).await
            };
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = read => if let Err(error) = outcome {
                    tracing::debug!(%error, "the function catalog cannot be read");
                },
            }
            let seldom = if wakeups.connected() { SELDOM } else { DEAF };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(seldom) => {}
                _ = hints.next_of(&[Wakeup::Control]) => sleep(SETTLE).await,
            }
        }
    }
}

fn understand<T: serde::de::DeserializeOwned>(row: &str) -> Option<T> {
    serde_json::from_str(row)
        .inspect_err(|error| tracing::error!(%error, "a row of the function catalog is unreadable; do the versions fit?"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper() -> Keeper {
        Keeper::new(crate::app::Context::unconnected().db)
    }

    #[tokio::test]
    async fn what_stays_the_same_keeps_its_number() {
        let keeper = keeper();
        let row = |name: &str, ttl: u64| {
            format!(
                r#"{{"name":"{name}","kind":"query","cache_ttl_ms":{ttl},"arguments":[],"returns":{{}}}}"#
            )
        };
        let first = keeper.assemble(&[row("a", 1), row("b", 1)], &[]);
        let number = |catalog: &Catalog, name: &str| catalog.function(name).unwrap().number;
        let (a, b) = (number(&first, "a"), number(&first, "b"));
        assert_ne!(a, b);
        *keeper.current.write().unwrap() = Arc::new(first);
        let second = keeper.assemble(&[row("a", 1), row("b", 2), "nonsense".into()], &[]);
        assert_eq!(number(&second, "a"), a);
        assert_ne!(number(&second, "b"), b);
        assert_eq!(second.functions().len(), 2);
    }

    #[test]
    fn only_queries_are_cached() {
        let function = |kind: &str, ttl: &str| -> Function {
            serde_json::from_str(&format!(
                r#"{{"name":"a","kind":"{kind}","cache_ttl_ms":{ttl}}}"#
            ))
            .unwrap()
        };
        assert_eq!(
            function("query", "5").cache_ttl(),
            Some(Duration::from_millis(5))
        );
        assert_eq!(function("query", "0").cache_ttl(), None);
        assert_eq!(function("query", "null").cache_ttl(), None);
        assert_eq!(function("mutation", "5").cache_ttl(), None);
    }
}
