//! Rate and concurrency limits of calls, exact across nodes because the database counts.
//!
//! A rate is drawn before the call runs and stays drawn when it fails. A place of a concurrency limit is a lock, held to the
//! end of the transaction: nothing has to be given back after a crash.

use super::registry::Registered;
use crate::error::Failure;
use crate::identity::current::Identity;
use crate::job::gate;
use crate::pg::lock::{self, Class};
use crate::pg::{role, shmem};
use forge_core::{Rate, Scope};
use sha2::{Digest, Sha256};

/// Who calls, for limits.
pub struct Caller<'a> {
    pub identity: &'a Identity,
    pub ip: Option<&'a str>,
    pub key: Option<&'a str>,
}

/// ZF006 when the rate is used up.
pub fn draw(registered: &Registered, caller: &Caller<'_>) {
    let Some(rate) = &registered.rate else {
        return;
    };
    let bucket = number("rate", &registered.name, &share(rate, caller));
    // Microseconds until the next one, when there is none now.
    let draw = || (gate::draw(bucket, rate, 1) == 0).then(|| gate::retry_after_us(bucket, rate));
    let wait_us = if shmem::present() {
        draw()
    } else {
        role::as_owner(draw)
    };
    if let Some(wait_us) = wait_us {
        let wait_ms = u64::try_from(wait_us).unwrap_or(0).div_ceil(1000).max(1);
        refuse(
            "ZF006",
            format!("\"{}\" may be called {rate}", registered.name),
            wait_ms,
        );
    }
}

/// What of a rate's scope this caller shares.
fn share(rate: &Rate, caller: &Caller<'_>) -> String {
    let ip = || format!("ip:{}", caller.ip.unwrap_or_default());
    match rate.scope {
        Some(Scope::User) => match &caller.identity.subject {
            Some(subject) => format!("user:{subject}"),
            None => caller
                .identity
                .name
                .as_ref()
                .map_or_else(ip, |name| format!("key:{name}")),
        },
        Some(Scope::Ip) => ip(),
        Some(Scope::Key) => caller
            .key
            .or(caller.identity.name.as_deref())
            .map_or_else(ip, |key| format!("key:{key}")),
        _ => String::new(),
    }
}

/// Takes one of the places of a concurrency limit until the transaction ends; ZF007 when all are taken.
pub fn enter(registered: &Registered) {
    let Some(places) = registered.max_concurrency else {
        return;
    };
    // Callers start looking at different places.
    let start = unsafe { pgrx::pg_sys::MyProcPid } as u32;
    let free = (0..places).find(|i| {
        let place = start.wrapping_add(*i) % places;
        lock::try_acquire(
            Class::Call,
            number("place", &registered.name, &place.to_string()),
        )
        .is_some()
    });
    if free.is_none() {
        refuse(
            "ZF007",
            format!(
                "{places} calls of \"{}\" are running already",
                registered.name
            ),
            1000,
        );
    }
}

fn refuse(sqlstate: &'static str, message: String, wait_ms: u64) -> ! {
    std::panic::panic_any(Failure {
        sqlstate,
        message,
        detail: format!("{{\"retry_after_ms\":{wait_ms}}}"),
        hint: format!("Call again in {wait_ms} ms."),
    })
}

fn number(what: &str, name: &str, part: &str) -> u64 {
    let mut digest = Sha256::new();
    for text in [what, name, part] {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    let bytes = digest.finalize();
    bytes[..8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b)) | 1
}
