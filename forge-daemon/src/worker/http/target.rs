//! Where the jobs of a kind go, and how: the handler's URL and the options given at registration.

use std::sync::Arc;

use forge_core::Handler;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::{
    host::{Host, Hosts},
    sign::SigningKey,
};
use crate::worker::kind::Kind;

/// Headers that a registration may not set: they are Forge's own or the connection's.
const RESERVED: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// A kind's destination.
#[derive(Debug)]
pub struct Target {
    /// Where to.
    pub url: Url,
    /// Shared by all kinds that go there.
    pub host: Arc<Host>,
    /// Signs instead of `outbound.signing_secret`.
    pub key: Option<SigningKey>,
    /// Sent with every call.
    pub headers: HeaderMap,
    /// Whether 4xx answers are retried.
    pub retry_client_errors: bool,
}

/// The options of an HTTP kind. Others are none of our business.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    secret: Option<String>,
    headers: std::collections::BTreeMap<String, String>,
    retry_client_errors: bool,
}

impl Target {
    /// Reads a registration.
    ///
    /// # Errors
    /// A sentence naming the kind and what is wrong; its jobs die with it.
    pub fn read(kind: &Kind, hosts: &mut Hosts) -> Result<Self, String> {
        let wrong = |what: String| format!("kind {}: {what}; register it again", kind.name);
        let Handler::Http(url) = &kind.handler else {
            return Err(wrong(format!("{} is not an HTTP handler", kind.handler)));
        };
        let url = Url::parse(url).map_err(|error| wrong(format!("URL `{url}`: {error}")))?;
        let options: Options = match &kind.options {
            serde_json::Value::Null => Options::default(),
            options => serde_json::from_value(options.clone())
                .map_err(|error| wrong(format!("options: {error}")))?,
        };
        let key = options
            .secret
            .as_deref()
            .map(SigningKey::parse)
            .transpose()
            .map_err(&wrong)?;
        Ok(Self {
            host: hosts.get(&url),
            key,
            headers: headers(&options).map_err(&wrong)?,
            retry_client_errors: options.retry_client_errors,
            url,
        })
    }

    /// The URL without what may be secret: no query, no fragment.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }
}

/// A URL for errors and logs.
pub fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

fn headers(options: &Options) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        let header: HeaderName = name
            .parse()
            .map_err(|_| format!("header name `{name}` is not valid"))?;
        if RESERVED.contains(&header.as_str()) {
            return Err(format!("header `{name}` cannot be set"));
        }
        let mut value: HeaderValue = value
            .parse()
            .map_err(|_| format!("the value of header `{name}` is not valid"))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{config::Outbound, worker::kind::tests::kind};

    fn read(options: serde_json::Value) -> Result<Target, String> {
        let mut kind = kind("mail", "https://example.com/hook?token=secret", "general");
        kind.options = options;
        Target::read(&kind, &mut Hosts::new(&Outbound::default(), Arc::default()))
    }

    #[test]
    fn reads_options_and_hides_the_query() {
        let target = read(
            json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "headers": {"X-Team": "a"}}),
        )
        .unwrap();
        assert!(target.key.is_some() && !target.retry_client_errors);
        assert_eq!(target.headers["x-team"], "a");
        assert_eq!(target.shown(), "https://example.com/hook");
        assert!(read(serde_json::Value::Null).unwrap().key.is_none());
        assert!(
            read(json!({"retry_client_errors": true, "other": 1}))
                .unwrap()
                .retry_client_errors
        );
    }

    #[test]
    fn bad_options_name_kind_and_reason() {
        for (options, word) in [
            (json!({"secret": "short"}), "5 bytes"),
            (json!({"headers": {"webhook-id": "1"}}), "webhook-id"),
            (json!({"headers": {"a b": "1"}}), "a b"),
            (json!({"retry_client_errors": "yes"}), "options"),
        ] {
            let error = read(options).unwrap_err();
            assert!(error.contains("mail") && error.contains(word), "{error}");
        }
    }
}
