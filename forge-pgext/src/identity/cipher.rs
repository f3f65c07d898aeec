//! `forge.encrypt` and `forge.decrypt`: AES-256-GCM under named, versioned keys.
//!
//! Form: `$forge$1$KEY$VERSION$BASE64(nonce, ciphertext, tag)`. Key, version and context are authenticated with it, so a value moved
//! to another row (context) or key does not decrypt. Nonces are 96 random bits of the operating system's.

use crate::error::{invalid, not_found};
use crate::pg::function::{Call, Value, text_datum};
use crate::pg::{role, spi};
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use pgrx::pg_sys::Datum;
use pgrx::{FromDatum, PgBuiltInOids};

const NONCE: usize = 12;

/// `forge.encrypt(plaintext text, key text, context text) returns text`.
pub fn encrypt(call: &Call) -> Value {
    let plaintext = call.text(0)?;
    let name = call.need_text(1, "key");
    let context = call.need_text(2, "context");
    let Some((version, secret)) = secret(&name, None) else {
        not_found(
            format!("encryption key \"{name}\" does not exist"),
            format!("Make it: SELECT forge.create_key('{name}')."),
        )
    };
    let mut sealed = super::secret::random(NONCE);
    let bound = bound(&name, version, &context);
    let payload = Payload {
        msg: plaintext.as_bytes(),
        aad: bound.as_bytes(),
    };
    let nonce = nonce(&sealed);
    match cipher(&secret).encrypt(&nonce, payload) {
        Ok(body) => sealed.extend(body),
        Err(_) => invalid(
            format!("a plaintext of {} bytes is too large", plaintext.len()),
            "Encrypt smaller values.",
        ),
    }
    Some(text_datum(&format!(
        "$forge$1${name}${version}${}",
        BASE64.encode(sealed)
    )))
}

/// `forge.decrypt(ciphertext text, context text) returns text`.
pub fn decrypt(call: &Call) -> Value {
    let ciphertext = call.text(0)?;
    let context = call.need_text(1, "context");
    let (name, version, sealed) = parse(&ciphertext).unwrap_or_else(|| {
        invalid(
            format!(
                "ciphertext \"{}\" was not made by forge.encrypt",
                ciphertext.chars().take(40).collect::<String>()
            ),
            "Pass what forge.encrypt answered, unchanged.",
        )
    });
    let Some((_, secret)) = secret(name, Some(version)) else {
        not_found(
            format!("version {version} of encryption key \"{name}\" does not exist"),
            "Decrypt in the database that encrypted, or one restored from its dump.",
        )
    };
    let bound = bound(name, version, &context);
    let payload = Payload {
        msg: &sealed[NONCE..],
        aad: bound.as_bytes(),
    };
    let plain = cipher(&secret)
        .decrypt(&nonce(&sealed), payload)
        .ok()
        .and_then(|plain| String::from_utf8(plain).ok());
    let Some(plain) = plain else {
        invalid(
            "the ciphertext does not decrypt: it was changed, or the context is another",
            "Pass the ciphertext unchanged, and the context that it was encrypted with.",
        )
    };
    Some(text_datum(&plain))
}

fn cipher(secret: &[u8]) -> Aes256Gcm {
    // The table's check keeps the length.
    Aes256Gcm::new_from_slice(secret)
        .unwrap_or_else(|_| pgrx::error!("an encryption key has {} bytes", secret.len()))
}

fn nonce(sealed: &[u8]) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = Nonce::default();
    nonce.copy_from_slice(&sealed[..NONCE]);
    nonce
}

/// What is authenticated with the text.
fn bound(name: &str, version: i32, context: &str) -> String {
    format!("forge$1${name}${version}${context}")
}

fn parse(ciphertext: &str) -> Option<(&str, i32, Vec<u8>)> {
    let mut parts = ciphertext.strip_prefix("$forge$1$")?.splitn(3, '$');
    let name = parts.next()?;
    let version = parts.next()?.parse().ok()?;
    let sealed = BASE64.decode(parts.next()?).ok()?;
    (sealed.len() > NONCE).then_some((name, version, sealed))
}

/// Version and bytes of a key: the newest version, or this one.
fn secret(name: &str, version: Option<i32>) -> Option<(i32, Vec<u8>)> {
    let mut found = None;
    role::as_owner(|| {
        spi::query(
            "SELECT version, secret FROM forge_private.encryption_key WHERE name = $1 AND version = coalesce($2, version) \
             ORDER BY version DESC LIMIT 1",
            &[
                (PgBuiltInOids::TEXTOID.value(), Some(text_datum(name))),
                (PgBuiltInOids::INT4OID.value(), version.map(Datum::from)),
            ],
            |row| {
                let version = row[0].map(|d| d.value() as i32);
                let bytes = row[1].and_then(|d| unsafe { Vec::<u8>::from_datum(d, false) });
                found = version.zip(bytes);
            },
        )
    });
    found
}
