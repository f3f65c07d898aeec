//! The HTTP client: only public addresses, few redirects, the system's authorities, no proxy.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::{Attempt, Policy},
};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::address::is_public;
use crate::config::Outbound;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Idle connections to one host kept at most.
const IDLE_PER_HOST: usize = 16;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// An address that must not be called.
#[derive(Debug, Clone)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is not a public address; set outbound.allow_private to call it",
            self.0
        )
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// Finds the refusal in the causes of a client error.
    pub fn within(error: &reqwest::Error) -> Option<&Refused> {
        let mut source: Option<&(dyn std::error::Error + 'static)> =
            std::error::Error::source(error);
        while let Some(cause) = source {
            if let Some(refused) = cause.downcast_ref::<Refused>() {
                return Some(refused);
            }
            source = cause.source();
        }
        None
    }
}

/// Makes the client.
///
/// # Errors
/// A sentence when TLS cannot be set up.
pub fn build(config: &Outbound) -> Result<Client, String> {
    let allow_private = config.allow_private;
    Client::builder()
        .user_agent(concat!("forge/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls()?)
        .dns_resolver(Arc::new(Resolver { allow_private }))
        .redirect(redirects(config.max_redirects, allow_private))
        .connect_timeout(config.connect_timeout.get())
        .timeout(config.timeout.get())
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .pool_idle_timeout(IDLE)
        .referer(false)
        .no_proxy()
        .build()
        .map_err(|error| format!("the HTTP client cannot be made: {error}"))
}

/// Refuses a URL that names a private address outright. Names are judged when they are resolved.
///
/// # Errors
/// The refusal.
pub fn check_literal(url: &Url, allow_private: bool) -> Result<(), Refused> {
    let address = match url.host() {
        Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
        Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
        _ => return Ok(()),
    };
    if allow_private || is_public(address) {
        Ok(())
    } else {
        Err(Refused(address.to_string()))
    }
}

fn tls() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let (usable, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 {
        tracing::warn!(
            "no certificate authorities found on this system: https: handlers will fail"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Follows only redirects that keep the method and the body (307, 308), never from https to http, never to a private
/// address. What is not followed is the answer.
fn redirects(most: usize, allow_private: bool) -> Policy {
    Policy::custom(move |attempt: Attempt<'_>| {
        let keeps = matches!(
            attempt.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        let downgrade = attempt.url().scheme() != "https"
            && attempt.previous().iter().any(|url| url.scheme() == "https");
        if !keeps || downgrade || attempt.previous().len() > most {
            return attempt.stop();
        }
        match check_literal(attempt.url(), allow_private) {
            Ok(()) => attempt.follow(),
            Err(refused) => attempt.error(refused),
        }
    })
}

/// Resolves names by the system and leaves only public addresses.
struct Resolver {
    allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            let allowed: Vec<SocketAddr> = found
                .iter()
                .copied()
                .filter(|address| allow_private || is_public(address.ip()))
                .collect();
            if allowed.is_empty() {
                let refused = match found.first() {
                    Some(address) => {
                        Box::new(Refused(format!("{} ({})", name.as_str(), address.ip())))
                            as BoxError
                    }
                    None => format!("{} has no address", name.as_str()).into(),
                };
                return Err(refused);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_judged_in_every_notation() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/x",
        ] {
            let url: Url = url.parse().unwrap();
            assert!(check_literal(&url, false).is_err(), "{url}");
            assert!(check_literal(&url, true).is_ok(), "{url}");
        }
        assert!(check_literal(&"https://1.1.1.1/".parse().unwrap(), false).is_ok());
        assert!(
            check_literal(&"https://localhost/".parse().unwrap(), false).is_ok(),
            "judged when resolved"
        );
    }

    #[tokio::test]
    async fn names_of_private_addresses_are_refused() {
        let client = build(&Outbound::default()).unwrap();
        let error = client.post("http://localhost:9/").send().await.unwrap_err();
        let refused = Refused::within(&error).unwrap();
        assert!(
            refused.to_string().contains("localhost")
                && refused.to_string().contains("allow_private")
        );
    }
}
