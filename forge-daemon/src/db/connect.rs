//! From a URL to what the client library needs.

use std::{str::FromStr, time::Duration};

use tokio_postgres::config::{Config as Options, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{self, Trust};
use crate::config::Database;

/// A parsed URL with the TLS connector it asks for.
#[derive(Clone)]
pub(super) struct Target {
    pub options: Options,
    pub tls: MakeRustlsConnect,
}

impl Target {
    /// Parses `url`; the limits of `database` go along. Errors never contain the password.
    pub fn new(url: &str, database: &Database, purpose: &str) -> Result<Self, String> {
        let (url, trust) = split_tls(url);
        let mut options = Options::from_str(&url)
            .map_err(|error| format!("the database URL cannot be read: {error}; write postgres://user:password@host:port/database"))?;
        if trust != Trust::Anyone {
            options.ssl_mode(SslMode::Require);
        }
        options
            .application_name(format!("forge-daemon {purpose}"))
            .connect_timeout(database.connect_timeout.get())
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(30));
        // A pooler in transaction mode refuses start-up options; there only the limit on this side holds.
        if database.prepared_statements && options.get_options().is_none() {
            let limit = database.statement_timeout.get().as_millis();
            options.options(format!(
                "-c statement_timeout={limit} -c idle_in_transaction_session_timeout=60000 -c client_min_messages=warning"
            ));
        }
        Ok(Self {
            options,
            tls: tls::connector(&trust)?,
        })
    }
}

/// Takes `sslmode=verify-*` and `sslrootcert=…` out of the query string: the client library does not know them.
fn split_tls(text: &str) -> (String, Trust) {
    let Ok(mut url) = url::Url::parse(text) else {
        return (text.to_owned(), Trust::Anyone);
    };
    let mut verify = false;
    let mut file = None;
    let mut rest = Vec::new();
    for (name, value) in url.query_pairs() {
        match (name.as_ref(), value.as_ref()) {
            ("sslmode", "verify-ca" | "verify-full") => verify = true,
            ("sslrootcert", path) => file = Some(path.to_owned()),
            _ => rest.push((name.into_owned(), value.into_owned())),
        }
    }
    if !verify && file.is_none() {
        return (text.to_owned(), Trust::Anyone);
    }
    url.set_query(None);
    if !rest.is_empty() {
        url.query_pairs_mut().extend_pairs(rest);
    }
    (url.into(), Trust::Verify(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_verification_out_of_the_url() {
        let (url, trust) = split_tls(
            "postgres://u:p@h:1/d?sslmode=verify-full&sslrootcert=/ca.pem&application_name=x",
        );
        assert_eq!(url, "postgres://u:p@h:1/d?application_name=x");
        assert_eq!(trust, Trust::Verify(Some("/ca.pem".into())));
        let plain = "postgres://u@h/d?sslmode=require";
        assert_eq!(split_tls(plain), (plain.to_owned(), Trust::Anyone));
    }

    #[test]
    fn a_bad_url_is_named_without_its_password() {
        let error = Target::new(
            "postgres://u:hunter2@h:notaport/d",
            &Database::default(),
            "test",
        )
        .err()
        .unwrap();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
