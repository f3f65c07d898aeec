//! Rules that types cannot say.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use tracing_subscriber::EnvFilter;

use super::{Bytes, Config, Mistake, Mistakes, Secret, Source, Span};
use crate::tls::Files;

/// A node is declared dead this long after its last heartbeat (contract, section 4).
const DEAD_AFTER: Duration = Duration::from_secs(15);

impl Config {
    /// Checks everything and reports every mistake.
    pub fn check(&self) -> Result<(), Mistakes> {
        let mut rules = Rules::default();
        self.database_rules(&mut rules);
        self.node_rules(&mut rules);
        self.door_rules(&mut rules);
        self.worker_rules(&mut rules);
        self.outbound_rules(&mut rules);
        self.auth_rules(&mut rules);
        rules.require(
            EnvFilter::try_new(&self.log.level).is_ok(),
            "log.level",
            || {
                format!(
                    "`{}` is no level or filter; write for example info or info,forge_daemon=debug",
                    self.log.level
                )
            },
        );
        if rules.0.is_empty() {
            Ok(())
        } else {
            Err(Mistakes(rules.0))
        }
    }

    fn database_rules(&self, rules: &mut Rules) {
        let database = &self.database;
        rules.require(!database.url.is_empty(), "database.url", || {
            "missing; set it here or as FORGE_DATABASE__URL: postgres://user:password@host:port/database".into()
        });
        rules.count("database.pool_size", database.pool_size, 1, 1000);
        rules.positive("database.connect_timeout", database.connect_timeout);
        rules.positive("database.acquire_timeout", database.acquire_timeout);
        rules.positive("database.statement_timeout", database.statement_timeout);
        rules.require(database.prepared_statements || database.listen_url.is_some(), "database.listen_url", || {
            "missing; with prepared_statements off (a pooler) name the server itself, so that LISTEN works".into()
        });
    }

    fn node_rules(&self, rules: &mut Rules) {
        let node = &self.node;
        rules.require(!node.roles.is_empty(), "node.roles", || {
            "empty; leave it out for all roles".into()
        });
        rules.require(!node.capabilities.is_empty(), "node.capabilities", || {
            "empty; the usual one is general".into()
        });
        for word in &node.capabilities {
            rules.require(is_word(word), "node.capabilities", || {
                format!("`{word}` is no capability; use 1 to 63 letters, digits, _ and -")
            });
        }
        let heartbeat = node.heartbeat.get();
        rules.require(heartbeat >= Duration::from_millis(100) && heartbeat * 2 < DEAD_AFTER, "node.heartbeat", || {
            format!("{} is out of range; from 100ms to 7s, since a node is dead 15s after its last heartbeat", node.heartbeat)
        });
        let scheduler = &self.scheduler;
        let room = scheduler.renew.get() + scheduler.margin.get();
        rules.require(scheduler.lease.get() > room, "scheduler.lease", || {
            format!(
                "{} is too short; it must be longer than renew + margin ({})",
                scheduler.lease,
                Span::from(room)
            )
        });
        rules.positive("scheduler.renew", scheduler.renew);
        rules.positive("scheduler.rescue_interval", scheduler.rescue_interval);
        rules.positive("scheduler.maintain_interval", scheduler.maintain_interval);
        rules.count("scheduler.promote_max", scheduler.promote_max, 1, 1_000_000);
    }

    fn door_rules(&self, rules: &mut Rules) {
        let (http, grpc) = (&self.http, &self.grpc);
        rules.require(
            http.listen != grpc.listen || http.listen.port() == 0,
            "grpc.listen",
            || format!("{} is http.listen too; choose another port", grpc.listen),
        );
        rules.size("http.body_limit", http.body_limit);
        rules.size("hooks.body_limit", self.hooks.body_limit);
        rules.size("grpc.message_limit", grpc.message_limit);
        rules.require(
            (4096..=1 << 20).contains(&http.header_limit.get()),
            "http.header_limit",
            || format!("{} is out of range; from 4KiB to 1MiB", http.header_limit),
        );
        for (field, span) in [
            ("http.request_timeout", http.request_timeout),
            ("http.header_timeout", http.header_timeout),
            ("http.idle_timeout", http.idle_timeout),
            ("http.body_idle_timeout", http.body_idle_timeout),
            ("grpc.keepalive", grpc.keepalive),
            ("grpc.keepalive_timeout", grpc.keepalive_timeout),
        ] {
            rules.positive(field, span);
        }
        rules.require(
            http.credential_ttl <= Span::secs(5),
            "http.credential_ttl",
            || {
                format!(
                    "{} is too long; at most 5s, so that a revoked key stops working soon",
                    http.credential_ttl
                )
            },
        );
        rules.count("http.max_connections", http.max_connections, 1, 1_000_000);
        rules.count("http.max_requests", http.max_requests, 1, 1_000_000);
        rules.count("grpc.max_workers", grpc.max_workers, 1, 1_000_000);
        rules.count("grpc.max_connections", grpc.max_connections, 1, 1_000_000);
        self.cors_rules(rules);
        self.tls_rules(rules);
    }

    fn cors_rules(&self, rules: &mut Rules) {
        let http = &self.http;
        for origin in &http.cors_origins {
            rules.require(is_origin(origin), "http.cors_origins", || {
                format!("`{origin}` is no origin; write for example https://app.example.com, https://*.example.com or *")
            });
        }
        let any = http.cors_origins.iter().any(|origin| origin == "*");
        rules.require(
            !(any && http.cors_credentials),
            "http.cors_credentials",
            || "not possible with origin `*`; name the origins that may send cookies".into(),
        );
    }

    /// The files are read here, so that `config check` finds what would stop a start.
    fn tls_rules(&self, rules: &mut Rules) {
        let (http, grpc) = (&self.http, &self.grpc);
        for mistake in [
            Files::of_http(http).and_then(|files| files.map_or(Ok(()), |files| files.check())),
            Files::of_grpc(grpc).and_then(|files| files.map_or(Ok(()), |files| files.check())),
        ]
        .into_iter()
        .filter_map(Result::err)
        {
            rules.0.push(mistake);
        }
    }

    fn worker_rules(&self, rules: &mut Rules) {
        let worker = &self.worker;
        rules.count("worker.concurrency", worker.concurrency, 1, 100_000);
        rules.count("worker.claim_max", worker.claim_max, 1, 10_000);
        rules.count("worker.flush_max", worker.flush_max, 1, 100_000);
        rules.count("worker.sql_lanes", worker.sql_lanes, 1, 1000);
        rules.count("worker.sql_slow_lanes", worker.sql_slow_lanes, 1, 1000);
        rules.positive("worker.sql_budget", worker.sql_budget);
        rules.positive("worker.poll_min", worker.poll_min);
        rules.require(
            worker.poll_max >= worker.poll_min,
            "worker.poll_max",
            || {
                format!(
                    "{} is shorter than worker.poll_min ({})",
                    worker.poll_max, worker.poll_min
                )
            },
        );
        rules.require(
            worker
                .queues
                .as_ref()
                .is_none_or(|queues| !queues.is_empty()),
            "worker.queues",
            || "empty; leave it out for all queues".into(),
        );
    }

    fn outbound_rules(&self, rules: &mut Rules) {
        let outbound = &self.outbound;
        rules.positive("outbound.timeout", outbound.timeout);
        rules.positive("outbound.connect_timeout", outbound.connect_timeout);
        rules.size("outbound.response_limit", outbound.response_limit);
        rules.count("outbound.max_redirects", outbound.max_redirects, 0, 20);
        rules.count("outbound.per_host", outbound.per_host, 1, 100_000);
        rules.require(
            outbound.breaker_failures > 0,
            "outbound.breaker_failures",
            || "0 would open every circuit".into(),
        );
        rules.require(
            outbound.signing_secret.as_ref().is_none_or(usable),
            "outbound.signing_secret",
            || {
                "too weak or not base64 after whsec_; use 24 random bytes: whsec_ and their base64"
                    .into()
            },
        );
    }
}

impl Config {
    fn auth_rules(&self, rules: &mut Rules) {
        let auth = &self.auth;
        rules.require(auth.leeway <= Span::secs(300), "auth.leeway", || {
            format!("{} is too long; at most 5m", auth.leeway)
        });
        for (field, span) in [
            ("auth.jwks_refresh", auth.jwks_refresh),
            ("auth.jwks_min_interval", auth.jwks_min_interval),
            ("auth.jwks_timeout", auth.jwks_timeout),
            ("auth.session_ttl", auth.session_ttl),
        ] {
            rules.positive(field, span);
        }
        rules.require(is_word(&auth.cookie), "auth.cookie", || {
            format!(
                "`{}` is no cookie name; use 1 to 63 letters, digits, _ and -",
                auth.cookie
            )
        });
        for origin in &auth.trusted_origins {
            rules.require(is_one_origin(origin), "auth.trusted_origins", || {
                format!("`{origin}` is no origin; write for example https://app.example.com")
            });
        }
        rules.size("cache.memory", self.cache.memory);
        for (index, issuer) in auth.issuers.iter().enumerate() {
            let twice = auth.issuers[..index]
                .iter()
                .any(|known| known.issuer == issuer.issuer);
            rules.require(!twice, "auth.issuers", || {
                format!(
                    "`{}` is there twice; an issuer has one algorithm and one key set",
                    issuer.issuer
                )
            });
            if let Err(message) = issuer.check() {
                rules.require(false, "auth.issuers", || {
                    format!("issuer `{}`: {message}", issuer.issuer)
                });
            }
        }
    }
}

impl super::Issuer {
    /// Keys that fit the algorithm, and only those.
    fn check(&self) -> Result<(), String> {
        if self.issuer.is_empty() {
            return Err("issuer is empty; write what the iss claim says".into());
        }
        let given = [
            self.jwks_url.is_some(),
            self.public_key.is_some(),
            self.secret.is_some(),
        ];
        let wanted = if self.algorithm.is_symmetric() {
            "secret"
        } else {
            "one of jwks_url and public_key"
        };
        let count = given.iter().filter(|given| **given).count();
        if count != 1 || given[2] != self.algorithm.is_symmetric() {
            return Err(format!(
                "{:?} needs {wanted} and nothing else",
                self.algorithm
            ));
        }
        if let Some(secret) = &self.secret
            && secret.expose().len() < 32
        {
            return Err("secret is too short to be safe; use 32 random bytes or more".into());
        }
        if let Some(url) = &self.jwks_url {
            let parsed = url::Url::parse(url).ok();
            if !parsed.is_some_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
            {
                return Err(format!("jwks_url `{url}` is no http or https URL"));
            }
        }
        if self.role_claim.is_empty() {
            return Err("role_claim is empty; the usual one is role".into());
        }
        Ok(())
    }
}

/// One origin exactly: whoever is trusted with the cookie is named.
fn is_one_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text)
}

#[derive(Default)]
struct Rules(Vec<Mistake>);

impl Rules {
    fn require(&mut self, holds: bool, field: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Mistake {
                field: field.into(),
                source: Source::Program,
                message: message(),
            });
        }
    }

    fn positive(&mut self, field: &str, span: Span) {
        self.require(!span.get().is_zero(), field, || {
            "0s is not possible; give a length of time".into()
        });
    }

    fn count(&mut self, field: &str, number: usize, least: usize, most: usize) {
        self.require((least..=most).contains(&number), field, || {
            format!("{number} is out of range; from {least} to {most}")
        });
    }

    fn size(&mut self, field: &str, size: Bytes) {
        self.require((1024..=1 << 30).contains(&size.get()), field, || {
            format!("{size} is out of range; from 1KiB to 1GiB")
        });
    }
}

/// `*`, or scheme and host without a path; the host may begin with `*.`.
fn is_origin(text: &str) -> bool {
    let plain = text.replacen("://*.", "://", 1);
    text == "*"
        || url::Url::parse(&plain).is_ok_and(|url| {
            !plain.contains('*')
                && matches!(url.scheme(), "http" | "https")
                && url.origin().ascii_serialization() == plain
        })
}

fn is_word(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn usable(secret: &Secret) -> bool {
    match secret.expose().strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).is_ok_and(|key| key.len() >= 16),
        None => secret.expose().len() >= 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_need_only_a_url() {
        let mut config = Config::default();
        let Mistakes(found) = config.check().unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        config.database.url = Secret::new("postgres://db/app");
        config.check().unwrap();
    }

    #[test]
    fn rules_between_fields_hold() {
        let mut config = Config::default();
        config.database.url = Secret::new("postgres://db/app");
        config.grpc.listen = config.http.listen;
        config.node.heartbeat = Span::secs(9);
        config.scheduler.lease = Span::secs(2);
        config.http.credential_ttl = Span::secs(60);
        config.http.cors_origins = vec!["*".into(), "app.example.com".into()];
        config.http.cors_credentials = true;
        config.http.tls_certificate = Some("cert.pem".into());
        config.grpc.tls_certificate = Some("/nowhere/cert.pem".into());
        config.grpc.tls_key = Some("/nowhere/key.pem".into());
        config.log.level = "info,=".into();
        config.outbound.signing_secret = Some(Secret::new("whsec_?"));
        let Mistakes(found) = config.check().unwrap_err();
        let fields: Vec<&str> = found.iter().map(|mistake| mistake.field.as_str()).collect();
        let expected = [
            "node.heartbeat",
            "scheduler.lease",
            "grpc.listen",
            "http.credential_ttl",
            "http.cors_origins",
            "http.cors_credentials",
            "http.tls_key",
            "grpc.tls_certificate",
            "outbound.signing_secret",
            "log.level",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn origins_have_scheme_and_host_only() {
        for good in [
            "*",
            "https://app.example.com",
            "http://localhost:3000",
            "https://*.example.com",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "app.example.com",
            "https://app.example.com/",
            "https://a.example.com/x",
            "ftp://a.example.com",
            "https://A.example.com",
            "https://a.*.example.com",
            "null",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
