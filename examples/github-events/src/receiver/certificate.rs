//! The receiver's own certificate: made at its start, good for this machine only.
//!
//! Invariant: the private key never leaves the process; what is written to disk is public.

use std::path::Path;

use anyhow::{Context, Result};
use axum_server::tls_rustls::RustlsConfig;
use rcgen::{CertifiedKey, generate_simple_self_signed};

/// Makes a certificate for 127.0.0.1 and localhost, writes it to `path` as PEM for callers to trust, and returns
/// what the server needs.
///
/// # Errors
/// When the file cannot be written.
pub async fn make(path: &Path) -> Result<RustlsConfig> {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    let pem = cert.pem();
    std::fs::write(path, &pem).with_context(|| format!("writing {}", path.display()))?;
    let key = signing_key.serialize_pem().into_bytes();
    Ok(RustlsConfig::from_pem(pem.into_bytes(), key).await?)
}
