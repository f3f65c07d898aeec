//! A local issuer: keys that can be rotated, the key set over HTTP, tokens.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp, jwk::Jwk};
use serde_json::{Value, json};

const ES: &[u8] = include_bytes!("../../../forge-daemon/src/gateway/jwt/fixtures/ec.pem");
const RSA: &[u8] = include_bytes!("../../../forge-daemon/src/gateway/jwt/fixtures/rsa.pem");

/// Serves a key set until the test ends.
pub struct KeyServer {
    pub address: SocketAddr,
    keys: Arc<Mutex<Value>>,
    fetches: Arc<AtomicUsize>,
}

impl KeyServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let keys = Arc::new(Mutex::new(json!({"keys": []})));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (served, count) = (keys.clone(), fetches.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines();
                while lines
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                count.fetch_add(1, Ordering::SeqCst);
                let body = served.lock().unwrap().to_string();
                let _ = write!(
                    &stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self {
            address,
            keys,
            fetches,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Publishes the elliptic key under these names, and a key of another kind beside them.
    pub fn publish(&self, kids: &[&str]) {
        let named = |key: &EncodingKey, algorithm, kid: &str| {
            let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
            jwk.common.key_id = Some(kid.to_owned());
            serde_json::to_value(&jwk).unwrap()
        };
        let mut keys: Vec<Value> = kids
            .iter()
            .map(|kid| {
                named(
                    &EncodingKey::from_ec_pem(ES).unwrap(),
                    Algorithm::ES256,
                    kid,
                )
            })
            .collect();
        keys.push(named(
            &EncodingKey::from_rsa_pem(RSA).unwrap(),
            Algorithm::RS256,
            "rsa",
        ));
        *self.keys.lock().unwrap() = json!({ "keys": keys });
    }
}

/// A token of the elliptic key, named `kid`.
pub fn token(kid: &str, claims: Value) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    encode(&header, &claims, &EncodingKey::from_ec_pem(ES).unwrap()).unwrap()
}

/// Seconds since 1970, so many from now.
pub fn in_seconds(seconds: i64) -> i64 {
    i64::try_from(get_current_timestamp()).unwrap() + seconds
}
