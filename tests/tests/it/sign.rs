//! Signatures of webhook senders, written anew here to check the daemon's against.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// `X-Hub-Signature-256`.
pub fn github(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex(&mac(secret.as_bytes(), &[body])))
}

/// `webhook-signature`, for a secret of the form `whsec_…`.
pub fn standard(secret: &str, id: &str, timestamp: u64, body: &[u8]) -> String {
    let key = BASE64_STANDARD
        .decode(secret.trim_start_matches("whsec_"))
        .unwrap();
    let head = format!("{id}.{timestamp}.");
    format!(
        "v1,{}",
        BASE64_STANDARD.encode(mac(&key, &[head.as_bytes(), body]))
    )
}

/// `Stripe-Signature`.
pub fn stripe(secret: &str, timestamp: u64, body: &[u8]) -> String {
    let head = format!("{timestamp}.");
    format!(
        "t={timestamp},v1={}",
        hex(&mac(secret.as_bytes(), &[head.as_bytes(), body]))
    )
}

/// `X-Slack-Signature`.
pub fn slack(secret: &str, timestamp: u64, body: &[u8]) -> String {
    let head = format!("v0:{timestamp}:");
    format!(
        "v0={}",
        hex(&mac(secret.as_bytes(), &[head.as_bytes(), body]))
    )
}

/// Plain HMAC in hexadecimal.
pub fn plain(secret: &str, body: &[u8]) -> String {
    hex(&mac(secret.as_bytes(), &[body]))
}
