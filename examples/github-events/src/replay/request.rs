//! One HTTP request of a planned delivery, right or wrong as planned.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    payload::Payload,
    plan::{Forgery, Item, Malformation, Manner},
    sign,
};

const OTHER_SECRET: &str = "not the secret of this webhook";
const TOO_LARGE: usize = 3 << 20;

/// Makes requests.
#[derive(Debug)]
pub struct Factory {
    client: Client,
    secret: String,
    oversized: Bytes,
}

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// A delivery was taken; `duplicate` when it had been before.
    Taken { job: Uuid, duplicate: bool },
    /// Any other answer.
    Status(StatusCode),
    /// The node refuses for now, and has done nothing.
    Later(Duration),
    /// No connection: nothing was sent.
    Unreachable,
    /// Sent, but the answer never came: nobody knows.
    Lost,
}

#[derive(Deserialize)]
struct Taken {
    job_id: Uuid,
    duplicate: bool,
}

impl Factory {
    /// `secret` is the webhook's.
    pub fn new(client: Client, secret: String) -> Self {
        let oversized = serde_json::Value::String("x".repeat(TOO_LARGE)).to_string();
        Self {
            client,
            secret,
            oversized: format!("{{\"zen\":{oversized}}}").into(),
        }
    }

    /// Sends `item` to the node at `base` and reads the answer.
    pub async fn send(&self, base: &str, item: &Item, payload: &Payload) -> Answer {
        let request = self.request(base, item, payload);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Answer::Unreachable,
            Err(_) => return Answer::Lost,
        };
        let status = response.status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let after = response
                .headers()
                .get("retry-after")
                .and_then(|value| value.to_str().ok()?.parse().ok());
            return Answer::Later(Duration::from_secs(after.unwrap_or(1)));
        }
        if !status.is_success() {
            return Answer::Status(status);
        }
        match response.json::<Taken>().await {
            Ok(taken) => Answer::Taken {
                job: taken.job_id,
                duplicate: taken.duplicate,
            },
            Err(error) if error.is_decode() => Answer::Status(status),
            Err(_) => Answer::Lost,
        }
    }

    fn request(&self, base: &str, item: &Item, payload: &Payload) -> RequestBuilder {
        let body = self.body(item.manner, payload);
        let mut request = self
            .client
            .post(format!("{base}/v1/hooks/github"))
            .header("content-type", "application/json")
            .header("x-github-hook-id", "1");
        if item.manner != Manner::Malformed(Malformation::NoDelivery) {
            request = request.header("x-github-delivery", item.id.to_string());
        }
        match item.manner {
            Manner::Malformed(Malformation::NoEvent) => {}
            Manner::Malformed(Malformation::UnknownEvent) => {
                request = request.header("x-github-event", "no_such_event");
            }
            _ => request = request.header("x-github-event", &*payload.event),
        }
        if let Some((name, value)) = self.signature(item.manner, &body) {
            request = request.header(name, value);
        }
        request.body(body)
    }

    fn body(&self, manner: Manner, payload: &Payload) -> Bytes {
        match manner {
            Manner::Malformed(Malformation::Truncated) => {
                payload.body.slice(..payload.body.len() / 2)
            }
            Manner::Malformed(Malformation::NotText) => {
                Bytes::from_static(b"{\"zen\":\"\xff\xfe\"}")
            }
            Manner::Malformed(Malformation::Empty) => Bytes::new(),
            Manner::Malformed(Malformation::TooLarge) => self.oversized.clone(),
            Manner::Malformed(_) | Manner::Good(_) | Manner::Forged(_) => payload.body.clone(),
        }
    }

    fn signature(&self, manner: Manner, body: &[u8]) -> Option<(&'static str, String)> {
        let header = "x-hub-signature-256";
        match manner {
            Manner::Good(_) | Manner::Malformed(_) => {
                Some((header, sign::github(&self.secret, body)))
            }
            Manner::Forged(Forgery::OtherSecret) => {
                Some((header, sign::github(OTHER_SECRET, body)))
            }
            Manner::Forged(Forgery::OtherBody) => {
                Some((header, sign::github(&self.secret, b"another body")))
            }
            Manner::Forged(Forgery::Zero) => Some((header, format!("sha256={}", "0".repeat(64)))),
            Manner::Forged(Forgery::OnlySha1) => {
                Some(("x-hub-signature", format!("sha1={}", "0".repeat(40))))
            }
            Manner::Forged(Forgery::Missing) => None,
        }
    }
}
