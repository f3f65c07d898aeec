//! A client without manners: bytes out, bytes in.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use forge_tests::http::{self, Answer};

/// Deadline of everything: far beyond the limits that the tests set.
pub const LIMIT: Duration = Duration::from_secs(30);

pub struct Socket(TcpStream);

impl Socket {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Everything until the server closes. A reset counts as the end.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                panic!("{error}: the connection is still open")
            }
            _ => rest,
        }
    }

    /// The only answer of a connection that the server closes after it.
    pub fn last_answer(&mut self) -> Answer {
        http::parse(&self.rest()).unwrap()
    }

    /// One answer with a Content-Length; the connection stays.
    pub fn answer(&mut self) -> Answer {
        let mut raw = Vec::new();
        let mut byte = [0];
        while !raw.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            raw.push(byte[0]);
        }
        let head = http::parse(&raw).unwrap();
        let length = head
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        let start = raw.len();
        raw.resize(start + length, 0);
        self.0.read_exact(&mut raw[start..]).unwrap();
        http::parse(&raw).unwrap()
    }

    /// Sends one byte of `text` after the other, again and again, until the server ends it.
    pub fn trickle(&mut self, text: &[u8]) {
        self.0
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let began = Instant::now();
        for byte in text.iter().cycle() {
            assert!(began.elapsed() < LIMIT, "never cut off");
            let mut answer = [0; 1024];
            if self.0.write_all(&[*byte]).is_err() {
                return;
            }
            match self.0.read(&mut answer) {
                Ok(0) => return,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                _ => {}
            }
        }
    }
}
