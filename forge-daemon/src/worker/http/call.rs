//! One attempt of an HTTP job.

use std::{error::Error as _, time::Duration};

use jiff::Timestamp;
use reqwest::{
    Client, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    answer::{Verdict, counts_against_host, judge},
    client::{self, Refused},
    host::Call,
    sign::SigningKey,
    target::{Target, shown},
};
use crate::{
    config::Outbound,
    worker::{job::Claimed, json::JsonText, outcome::Outcome},
};

/// How much of the body of a refusal is kept in the error, in characters.
const SNIPPET: usize = 300;

/// The body of a call.
#[derive(Serialize)]
struct Body<'a> {
    id: Uuid,
    kind: &'a str,
    args: &'a RawValue,
    attempt: i32,
}

/// Makes calls.
#[derive(Debug)]
pub struct Caller {
    client: Client,
    key: Option<SigningKey>,
    timeout: Duration,
    allow_private: bool,
    answer_limit: usize,
    result_limit: usize,
}

impl Caller {
    /// A caller.
    ///
    /// # Errors
    /// A sentence when the client or the signing key cannot be made.
    pub fn new(config: &Outbound, result_limit: usize) -> Result<Self, String> {
        let key = config
            .signing_secret
            .as_ref()
            .filter(|secret| !secret.is_empty());
        let key = key
            .map(|secret| SigningKey::parse(secret.expose()))
            .transpose();
        Ok(Self {
            client: client::build(config)?,
            key: key.map_err(|error| format!("outbound.signing_secret: {error}"))?,
            timeout: config.timeout.get(),
            allow_private: config.allow_private,
            answer_limit: config.response_limit.get(),
            result_limit,
        })
    }

    /// Makes the call of one attempt. Puts the job off while the host's circuit is open.
    pub async fn call(&self, target: &Target, job: &Claimed) -> Outcome {
        if let Err(refused) = client::check_literal(&target.url, self.allow_private) {
            return Outcome::dead(refused.to_string());
        }
        let call = match target.host.begin().await {
            Ok(call) => call,
            Err(wait) => return Outcome::Snoozed(spread(wait, job.id)),
        };
        match self.send(target, job).await {
            Ok(response) => self.answered(target, call, response).await,
            Err(error) => unanswered(target, call, &error),
        }
    }

    async fn send(&self, target: &Target, job: &Claimed) -> Result<Response, reqwest::Error> {
        let args = job.args.as_raw().unwrap_or(RawValue::NULL);
        let body = Body {
            id: job.id,
            kind: &job.kind.name,
            args,
            attempt: job.attempt,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let request = self
            .client
            .post(target.url.clone())
            .headers(target.headers.clone());
        request
            .headers(self.headers(target, job, &body))
            .timeout(job.timeout().min(self.timeout))
            .body(body)
            .send()
            .await
    }

    fn headers(&self, target: &Target, job: &Claimed, body: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let id = job.id.to_string();
        let timestamp = Timestamp::now().as_second();
        let signature = target
            .key
            .as_ref()
            .or(self.key.as_ref())
            .map(|key| key.sign(&id, timestamp, body));
        let mut set = |name: &'static str, value: Option<&str>| {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        };
        set("webhook-id", Some(&id));
        set("webhook-timestamp", Some(&timestamp.to_string()));
        set("webhook-signature", signature.as_deref());
        set("traceparent", job.traceparent.as_deref());
        headers
    }

    async fn answered(&self, target: &Target, call: Call<'_>, response: Response) -> Outcome {
        let status = response.status();
        let from = shown(response.url());
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let verdict = judge(
            status,
            retry_after,
            target.retry_client_errors,
            Timestamp::now(),
        );
        if counts_against_host(status) {
            call.fail();
        } else {
            call.succeed();
        }
        let (body, whole) = read(response, self.answer_limit).await;
        let refused = || format!("{from} answered {status}{}", snippet(&body));
        match verdict {
            Verdict::Completed if whole => Outcome::completed(result(body), self.result_limit),
            Verdict::Completed => {
                // The receiver has done its work: doing it again would be worse than losing its answer.
                tracing::warn!(
                    from,
                    limit = self.answer_limit,
                    "answer cut off; the job is done without a result"
                );
                Outcome::Completed(None)
            }
            Verdict::Retry(delay) => Outcome::retry_in(refused(), delay),
            Verdict::Dead => Outcome::dead(refused()),
        }
    }
}

/// Spreads jobs that wait for the same circuit over a tenth of the wait more, by their ids.
fn spread(wait: Duration, id: Uuid) -> Duration {
    wait + wait.mul_f64(f64::from(id.as_bytes()[15]) / 2550.0)
}

fn unanswered(target: &Target, call: Call<'_>, error: &reqwest::Error) -> Outcome {
    if let Some(refused) = Refused::within(error) {
        return Outcome::dead(refused.to_string());
    }
    call.fail();
    let mut message = format!("{} did not answer", target.shown());
    if error.is_timeout() {
        message.push_str(": timed out");
    }
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    Outcome::retry(message)
}

/// Reads up to `limit` bytes of the body; false when there was more, or the rest did not come.
async fn read(mut response: Response, limit: usize) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => return (body, false),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return (body, true),
            Err(_) => return (body, false),
        }
    }
}

/// A JSON body is the result; anything else is none.
fn result(body: Vec<u8>) -> Option<JsonText> {
    String::from_utf8(body)
        .ok()
        .and_then(|text| JsonText::parse(text).ok())
}

fn snippet(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(SNIPPET)
        .collect();
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_bodies_are_results_and_others_are_none() {
        assert_eq!(
            result(br#" {"a":1} "#.to_vec())
                .unwrap()
                .to_value()
                .unwrap()["a"],
            1
        );
        for body in [&b""[..], b"OK", b"<html>", b"\xff"] {
            assert_eq!(result(body.to_vec()), None);
        }
    }

    #[test]
    fn refusals_quote_the_start_of_the_body() {
        assert_eq!(snippet(b"  "), "");
        assert_eq!(snippet(b"no\x1b[31m such\n"), ": no[31m such");
        assert_eq!(
            snippet("é".repeat(1000).as_bytes()).chars().count(),
            SNIPPET + 2
        );
    }

    #[test]
    fn waiting_jobs_are_spread_over_a_tenth() {
        let wait = Duration::from_secs(10);
        assert_eq!(spread(wait, Uuid::nil()), wait);
        assert_eq!(spread(wait, Uuid::max()), Duration::from_secs(11));
    }
}
