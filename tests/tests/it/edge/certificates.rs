//! TLS on both doors: protocols, renewal without a gap, client certificates, mistakes at the start.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use forge_tests::{Node, NodeOptions, http, process, until};
use hyper_util::rt::TokioIo;
use nix::sys::signal::Signal;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    authority::{Authority, Pair},
    problem,
    socket::LIMIT,
};
use crate::{session::SOON, stage::Stage};

/// Where a node of this stage finds its certificate.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Files {
    fn new(stage: &Stage) -> Self {
        let directory = std::env::temp_dir().join(format!("forge-tls-{}", stage.database().name()));
        fs::create_dir_all(&directory).unwrap();
        Self {
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
            authority: directory.join("authority.pem"),
        }
    }

    fn set(&self, node: NodeOptions, section: &str) -> NodeOptions {
        node.set(
            &format!("FORGE_{section}__TLS_CERTIFICATE"),
            self.certificate.display(),
        )
        .set(&format!("FORGE_{section}__TLS_KEY"), self.key.display())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(directory) = self.certificate.parent() {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, work).await.unwrap() })
}

async fn connect(
    address: SocketAddr,
    config: rustls::ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// The certificate that the next connection is greeted with.
fn shown(address: SocketAddr, authority: &Authority) -> anyhow::Result<Vec<u8>> {
    block_on(async {
        let stream = connect(address, authority.client(&["h2", "http/1.1"], None)).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(chain
            .first()
            .map(|first| first.to_vec())
            .unwrap_or_default())
    })
}

fn https(authority: &Authority, protocols: &[&str]) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(authority.client(protocols, None))
        .timeout(LIMIT)
        .build()
        .unwrap()
}

/// A node whose HTTP door is encrypted, once it is ready.
fn encrypted(stage: &mut Stage, files: &Files, authority: &Authority) -> SocketAddr {
    let options = files
        .set(stage.node_options("n1"), "HTTP")
        .set("FORGE_HTTP__HSTS", "1h");
    let node = Node::spawn(options).unwrap();
    let address = node.http();
    stage.nodes.push(node);
    let client = https(authority, &["http/1.1"]);
    until(SOON, "the node to be ready", || {
        let ready =
            block_on(async { client.get(format!("https://{address}/readyz")).send().await });
        Ok(ready.is_ok_and(|answer| answer.status().as_u16() == 200))
    })
    .unwrap();
    address
}

#[test]
fn https_speaks_both_protocols() {
    let mut stage = Stage::new();
    let (authority, files) = (Authority::new(), Files::new(&stage));
    authority.issue().write(&files.certificate, &files.key);
    let address = encrypted(&mut stage, &files, &authority);
    for (protocols, version) in [
        (&["h2", "http/1.1"][..], reqwest::Version::HTTP_2),
        (&["http/1.1"][..], reqwest::Version::HTTP_11),
    ] {
        let client = https(&authority, protocols);
        let url = format!("https://localhost:{}/nope", address.port());
        let answer = block_on(async { client.get(url).send().await }).unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (version, 404));
        assert_eq!(
            answer.headers()["strict-transport-security"],
            "max-age=3600"
        );
    }
    assert!(
        http::get(address, "/healthz").is_err(),
        "no plain text here"
    );
    assert!(
        shown(address, &Authority::new()).is_err(),
        "another authority"
    );
}

#[test]
fn certificates_are_renewed_without_a_gap() {
    let mut stage = Stage::new();
    let (authority, files) = (Authority::new(), Files::new(&stage));
    let first = authority.issue();
    first.write(&files.certificate, &files.key);
    let address = encrypted(&mut stage, &files, &authority);
    assert_eq!(shown(address, &authority).unwrap(), first.der().to_vec());

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut old = runtime
        .block_on(connect(address, authority.client(&["http/1.1"], None)))
        .unwrap();
    let mut ask = || {
        runtime.block_on(async {
            old.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            let mut answer = [0; 2048];
            let length = old.read(&mut answer).await.unwrap();
            http::parse(&answer[..length]).unwrap().status
        })
    };
    assert_eq!(ask(), 200);

    // Changed files are found, and the connection of before lives on.
    let second = authority.issue();
    second.write(&files.certificate, &files.key);
    let shows = |pair: &Pair| {
        let expected = pair.der().to_vec();
        until(SOON, "the new certificate", || {
            Ok(shown(address, &authority)? == expected)
        })
        .unwrap();
    };
    shows(&second);
    assert_eq!(ask(), 200);

    // Files that do not fit change nothing but the log.
    fs::write(&files.key, authority.issue().key).unwrap();
    let pid = stage.nodes[0].pid().cast_signed();
    process::send(pid, Signal::SIGHUP).unwrap();
    until(SOON, "the mistake in the log", || {
        Ok(stage.nodes[0]
            .log()?
            .contains("the old certificate stays in use"))
    })
    .unwrap();
    assert_eq!(shown(address, &authority).unwrap(), second.der().to_vec());
    assert_eq!(ask(), 200);

    let third = authority.issue();
    third.write(&files.certificate, &files.key);
    process::send(pid, Signal::SIGHUP).unwrap();
    shows(&third);
    assert_eq!(ask(), 200);
    drop(old);
    assert_eq!(stage.nodes[0].stop().unwrap(), 0);
}

#[test]
fn a_silent_handshake_is_cut_off() {
    let mut stage = Stage::new();
    let (authority, files) = (Authority::new(), Files::new(&stage));
    authority.issue().write(&files.certificate, &files.key);
    let options = files
        .set(stage.node_options("n1"), "HTTP")
        .set("FORGE_HTTP__HEADER_TIMEOUT", "1s");
    let node = Node::spawn(options).unwrap();
    let address = node.http();
    stage.nodes.push(node);
    until(SOON, "the door to open", || {
        Ok(std::net::TcpStream::connect(address).is_ok())
    })
    .unwrap();
    assert_eq!(super::socket::Socket::open(address).rest(), b"");
}

#[test]
fn mistakes_end_the_start_and_are_named_together() {
    let stage = Stage::new();
    let (authority, files) = (Authority::new(), Files::new(&stage));
    authority.issue().write(&files.certificate, &files.key);
    fs::write(&files.key, authority.issue().key).unwrap();
    let options = files
        .set(stage.node_options("n1"), "HTTP")
        .set("FORGE_GRPC__TLS_CERTIFICATE", "/nowhere/grpc.pem")
        .set("FORGE_GRPC__TLS_KEY", files.key.display());
    let mut node = Node::spawn(options).unwrap();
    assert_eq!(node.wait_end(SOON).unwrap(), 64);
    let log = node.log().unwrap();
    for part in [
        "http.tls_certificate",
        "does not go with key",
        "grpc.tls_certificate",
        "/nowhere/grpc.pem",
    ] {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
    assert!(!log.contains("PRIVATE"), "{log}");
}

/// Asks a gRPC door for its health.
fn health(address: SocketAddr, config: rustls::ClientConfig) -> Result<i32, String> {
    block_on(async {
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let config = config.clone();
            async move { connect(address, config).await.map(TokioIo::new) }
        });
        let channel: Channel = Endpoint::from_static("http://localhost")
            .timeout(Duration::from_secs(10))
            .connect_with_connector(connector)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let request = HealthCheckRequest {
            service: "forge.v1.Gateway".into(),
        };
        let answer = HealthClient::new(channel).check(request).await;
        answer
            .map(|answer| answer.into_inner().status)
            .map_err(|status| format!("{status:?}"))
    })
}

#[test]
fn grpc_asks_for_client_certificates() {
    let mut stage = Stage::new();
    let (authority, files) = (Authority::new(), Files::new(&stage));
    authority.issue().write(&files.certificate, &files.key);
    let members = Authority::new();
    fs::write(&files.authority, members.pem()).unwrap();
    let secure = |node: NodeOptions| {
        files
            .set(node, "GRPC")
            .set("FORGE_GRPC__TLS_CLIENT_CA", files.authority.display())
    };
    stage.start_nodes(1, secure);
    stage.start_nodes(1, |node| {
        secure(node).set("FORGE_GRPC__TLS_CLIENT_REQUIRED", false)
    });
    let (strict, lenient) = (stage.nodes[0].grpc(), stage.nodes[1].grpc());
    let (member, stranger) = (members.issue(), Authority::new().issue());
    let ask = |address, pair: Option<&Pair>| health(address, authority.client(&["h2"], pair));
    assert_eq!(ask(strict, Some(&member)), Ok(1));
    assert!(ask(strict, None).is_err());
    assert!(ask(strict, Some(&stranger)).is_err());
    assert_eq!(ask(lenient, Some(&member)), Ok(1));
    assert_eq!(ask(lenient, None), Ok(1));
    assert!(ask(lenient, Some(&stranger)).is_err());

    // Renewed like the other door's, authorities included.
    let newer = Authority::new();
    let renewed = newer.issue();
    fs::write(&files.authority, newer.pem()).unwrap();
    until(SOON, "the new authority to be known", || {
        Ok(ask(strict, Some(&renewed)) == Ok(1))
    })
    .unwrap();
    assert!(ask(strict, Some(&member)).is_err());
    // The doors without TLS stay as they are.
    problem(&http::get(stage.nodes[0].http(), "/nope").unwrap(), 404);
}
