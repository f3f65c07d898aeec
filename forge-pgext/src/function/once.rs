//! Calls with an Idempotency-Key: the first answer is kept in the mutation's own transaction, so that a caller who lost the
//! answer gets it again and nothing is done twice.
//!
//! The key's lock is held to the end of the transaction: of two calls at once the second waits and then finds the first's
//! answer, or runs when that one failed.

use crate::error::invalid;
use crate::identity::current::Identity;
use crate::pg::function::{bytea_datum, text_datum};
use crate::pg::lock::{self, Class};
use crate::pg::{role, spi};
use forge_core::limits::check_key;
use pgrx::{FromDatum, PgBuiltInOids};
use sha2::{Digest, Sha256};

/// A call that is to have its effect once.
pub struct Once {
    digest: Vec<u8>,
    args: Vec<u8>,
}

/// What was answered before.
pub struct Earlier {
    pub body: Option<String>,
    pub meta: Option<String>,
}

impl Once {
    /// Enters the key of a caller for a function; answers the first answer when there is one already. ZF002 when it was for
    /// other arguments.
    pub fn begin(
        key: &str,
        function: &str,
        caller: &Identity,
        args: &str,
    ) -> (Self, Option<Earlier>) {
        check_key("idempotency key", key).unwrap_or_else(|e| invalid(&e, e.hint()));
        let subject = caller.subject.as_deref().or(caller.name.as_deref());
        let once = Self {
            digest: digest(&[function, &caller.role, subject.unwrap_or_default(), key]),
            args: digest(&[args]),
        };
        let lock_key = once.digest[..8]
            .iter()
            .fold(0u64, |n, b| n << 8 | u64::from(*b));
        lock::acquire(Class::Call, lock_key | 1 << 63);
        let earlier = role::as_owner(|| once.look_up(key));
        (once, earlier)
    }

    fn look_up(&self, key: &str) -> Option<Earlier> {
        let mut found = None;
        spi::query(
            "SELECT args, body, meta FROM forge_private.first_answer WHERE digest = $1 AND expires_at > clock_timestamp()",
            &[(
                PgBuiltInOids::BYTEAOID.value(),
                Some(bytea_datum(&self.digest)),
            )],
            |row| {
                let text = |i: usize| row[i].and_then(|d| unsafe { String::from_datum(d, false) });
                let args = row[0].and_then(|d| unsafe { Vec::<u8>::from_datum(d, false) });
                found = Some((args, text(1), text(2)));
            },
        );
        let (args, body, meta) = found?;
        if args.as_deref() != Some(&self.args) {
            invalid(
                format!("idempotency key \"{key}\" was used with other arguments"),
                "Use a new key for a new call; repeat a call with the same arguments.",
            );
        }
        Some(Earlier { body, meta })
    }

    /// Keeps the answer for a day.
    pub fn keep(&self, body: Option<&str>, meta: Option<&str>) {
        let text = |t: Option<&str>| (PgBuiltInOids::TEXTOID.value(), t.map(text_datum));
        let bytes = |b: &[u8]| (PgBuiltInOids::BYTEAOID.value(), Some(bytea_datum(b)));
        role::as_owner(|| {
            spi::execute(
                "INSERT INTO forge_private.first_answer VALUES ($1, $2, $3, $4, clock_timestamp() + interval '24 hours') \
                 ON CONFLICT (digest) DO UPDATE SET args = EXCLUDED.args, body = EXCLUDED.body, meta = EXCLUDED.meta, \
                 expires_at = EXCLUDED.expires_at",
                &[
                    bytes(&self.digest),
                    bytes(&self.args),
                    text(body),
                    text(meta),
                ],
            )
        });
    }
}

fn digest(parts: &[&str]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().to_vec()
}
