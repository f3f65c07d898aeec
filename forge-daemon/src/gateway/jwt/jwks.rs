//! A key set that is fetched: kept, refreshed, and fetched again when a token names a key that is not in it.
//!
//! Invariants: at most one fetch at a time and none within the configured interval of the last, whatever tokens say; a
//! set that cannot be fetched again serves on for a day; a size and a time limit on every fetch.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use forge_core::Code;
use http_body_util::{BodyExt, Limited};
use tokio::{sync::Mutex, time::Instant};

use super::{keys::Keys, refuse};
use crate::{
    config::{Algorithm, Auth},
    gateway::problem::Problem,
};

const LARGEST: usize = 1 << 20;
/// How long a set serves whose issuer cannot be reached.
const OLDEST: Duration = Duration::from_secs(24 * 3600);

/// A key set at a URL. Clones share it.
#[derive(Clone)]
pub(super) struct KeySet {
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    algorithm: Algorithm,
    client: reqwest::Client,
    refresh: Duration,
    interval: Duration,
    kept: RwLock<Option<(Keys, Instant)>>,
    /// When the last fetch began. Held while one is under way.
    fetching: Mutex<Option<Instant>>,
}

impl KeySet {
    /// Nothing is fetched yet.
    pub fn new(url: &str, algorithm: Algorithm, config: &Auth) -> Result<Self, String> {
        Ok(Self {
            shared: Arc::new(Shared {
                url: url.to_owned(),
                algorithm,
                client: client(config.jwks_timeout.get())?,
                refresh: config.jwks_refresh.get(),
                interval: config.jwks_min_interval.get(),
                kept: RwLock::default(),
                fetching: Mutex::default(),
            }),
        })
    }

    /// The set, fetched again when it may help to find `kid`. ZF007 while there is none.
    pub async fn with(&self, kid: Option<&str>) -> Result<Keys, Problem> {
        let shared = &self.shared;
        if let Some((keys, age)) = shared.kept()
            && keys.knows(kid)
        {
            if age > shared.refresh {
                // Old but good: whoever needs it does not wait for the new one.
                let again = self.clone();
                tokio::spawn(async move { again.shared.fetch(again.shared.refresh).await });
            }
            return Ok(keys);
        }
        shared.fetch(Duration::ZERO).await;
        match shared.kept() {
            Some((keys, _)) if keys.knows(kid) => Ok(keys),
            Some(_) => Err(refuse(
                "the token is signed with a key that its issuer does not name (kid)",
            )),
            None => Err(Problem::new(
                Code::Unavailable,
                "the issuer's keys cannot be fetched at the moment; try again",
            )),
        }
    }
}

impl Shared {
    /// The set and its age, unless it is too old to be believed.
    fn kept(&self) -> Option<(Keys, Duration)> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, since) = kept.as_ref()?;
        let age = since.elapsed();
        (age < OLDEST).then(|| (keys.clone(), age))
    }

    /// Fetches, unless the set is younger than `older`, or a fetch began within the interval.
    async fn fetch(&self, older: Duration) {
        let mut last = self.fetching.lock().await;
        let young = self.kept().is_some_and(|(_, age)| age < older);
        if young || last.is_some_and(|began| began.elapsed() < self.interval) {
            return;
        }
        let began = Instant::now();
        *last = Some(began);
        match self.load().await {
            Ok(keys) => {
                tracing::debug!(url = self.url, "key set fetched");
                *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some((keys, began));
            }
            Err(error) => tracing::warn!(
                url = self.url,
                error,
                "the issuer's key set cannot be fetched"
            ),
        }
    }

    async fn load(&self) -> Result<Keys, String> {
        let answer = self
            .client
            .get(&self.url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| error.without_url().to_string())?;
        let body = Limited::new(reqwest::Body::from(answer), LARGEST);
        let bytes = body
            .collect()
            .await
            .map_err(|error| format!("its body cannot be read: {error}"))?
            .to_bytes();
        let keys = Keys::set(&bytes, self.algorithm)?;
        if keys.is_empty() {
            return Err(format!("it has no key for {:?}", self.algorithm));
        }
        Ok(keys)
    }
}

fn client(limit: Duration) -> Result<reqwest::Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .user_agent(concat!("forge/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .timeout(limit)
        .connect_timeout(limit)
        .redirect(reqwest::redirect::Policy::limited(3))
        .no_proxy()
        .build()
        .map_err(|error| format!("the HTTP client cannot be made: {error}"))
}
