//! Ports for servers under test.

use std::{
    fs::File,
    io::Read,
    net::{Ipv4Addr, TcpListener},
};

use anyhow::{Result, bail};

/// Below the range the kernel takes ports for outgoing connections from, so that none of those
/// can take a port between the choice and its use.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port nobody listens on at this moment.
///
/// # Errors
/// When a hundred in a row are taken.
pub fn free_port() -> Result<u16> {
    let mut random = File::open("/dev/urandom")?;
    for _ in 0..100 {
        let mut bytes = [0; 2];
        random.read_exact(&mut bytes)?;
        let port = RANGE.start + u16::from_ne_bytes(bytes) % (RANGE.end - RANGE.start);
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!("found no free port in {RANGE:?}")
}

/// Whether nobody listens on `port` of 127.0.0.1.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
