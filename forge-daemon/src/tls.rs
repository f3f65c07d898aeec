//! The certificates of the doors: read and checked at the start, renewed while running.
//!
//! Invariants: a start with files that do not fit is refused and says which; a renewal that does not fit changes nothing
//! but the log; connections keep the certificate they began with, new ones get the newest; keys are never logged.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use sha2::{Digest, Sha256};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::{Grpc, Http, Mistake, Mistakes, Source},
    service::Tasks,
};

/// The files are read this often: contents tell what times and links do not.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// No certificate chain or key is nearly as large.
const LARGEST: u64 = 1 << 20;

/// Where one door's certificate, key and client authorities are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    section: &'static str,
    certificate: PathBuf,
    key: PathBuf,
    clients: Option<Clients>,
    protocols: &'static [&'static [u8]],
}

#[derive(Clone, Debug)]
struct Clients {
    authorities: PathBuf,
    required: bool,
}

/// What the files held.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

impl Files {
    /// Those of the HTTP door; `None` when it speaks plain text.
    pub fn of_http(http: &Http) -> Result<Option<Self>, Mistake> {
        pair("http", &http.tls_certificate, &http.tls_key).map(|found| {
            found.map(|(certificate, key)| Self {
                section: "http",
                certificate,
                key,
                clients: None,
                protocols: &[b"h2", b"http/1.1"],
            })
        })
    }

    /// Those of the gRPC door; `None` when it speaks plain text.
    pub fn of_grpc(grpc: &Grpc) -> Result<Option<Self>, Mistake> {
        let found = pair("grpc", &grpc.tls_certificate, &grpc.tls_key)?;
        if found.is_none() && grpc.tls_client_ca.is_some() {
            return Err(mistake(
                "grpc.tls_certificate",
                "missing; clients show certificates only to a door that has one",
            ));
        }
        let clients = grpc.tls_client_ca.clone().map(|authorities| Clients {
            authorities,
            required: grpc.tls_client_required,
        });
        Ok(found.map(|(certificate, key)| Self {
            section: "grpc",
            certificate,
            key,
            clients,
            protocols: &[b"h2"],
        }))
    }

    /// Whether a door could be opened with them.
    pub fn check(&self) -> Result<(), Mistake> {
        self.read()
            .and_then(|contents| self.build(&contents))
            .map(drop)
    }

    fn read(&self) -> Result<Contents, Mistake> {
        let authorities = self
            .clients
            .as_ref()
            .map(|clients| self.file("tls_client_ca", &clients.authorities))
            .transpose()?;
        Ok(Contents {
            certificate: self.file("tls_certificate", &self.certificate)?,
            key: self.file("tls_key", &self.key)?,
            authorities,
        })
    }

    fn file(&self, field: &str, path: &Path) -> Result<Vec<u8>, Mistake> {
        let large = || {
            let detail = format!("larger than {LARGEST} bytes");
            Err(std::io::Error::other(detail))
        };
        std::fs::metadata(path)
            .and_then(|found| {
                if found.len() > LARGEST {
                    large()
                } else {
                    std::fs::read(path)
                }
            })
            .map_err(|error| self.bad(field, path, &format_args!("cannot be read: {error}")))
    }

    fn bad(&self, field: &str, path: &Path, what: &dyn Display) -> Mistake {
        mistake(
            &format!("{}.{field}", self.section),
            &format!("`{}` {what}", path.display()),
        )
    }

    fn build(&self, contents: &Contents) -> Result<ServerConfig, Mistake> {
        let bad = |what: &dyn Display| self.bad("tls_certificate", &self.certificate, what);
        let chain = certificates(&contents.certificate).map_err(|what| bad(&what))?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| {
            self.bad(
                "tls_key",
                &self.key,
                &"holds no private key; it must have one PEM block PRIVATE KEY that is not encrypted",
            )
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?;
        let builder = match self.clients.as_ref().zip(contents.authorities.as_ref()) {
            Some((clients, pem)) => builder.with_client_cert_verifier(self.verifier(clients, pem)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let key = self.key.display();
            bad(&format_args!("does not go with key `{key}`: {error}"))
        })?;
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }

    fn verifier(
        &self,
        clients: &Clients,
        pem: &[u8],
    ) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Mistake> {
        let bad = |what: &dyn Display| self.bad("tls_client_ca", &clients.authorities, what);
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem).map_err(|what| bad(&what))? {
            roots
                .add(certificate)
                .map_err(|error| bad(&format_args!("holds an authority that is none: {error}")))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if clients.required {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        builder
            .build()
            .map_err(|error| bad(&format_args!("cannot be used: {error}")))
    }
}

impl Contents {
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let none = Vec::new();
        for part in [
            &self.certificate,
            &self.key,
            self.authorities.as_ref().unwrap_or(&none),
        ] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err("holds no certificate; it must have PEM blocks CERTIFICATE".into())
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

fn pair(
    section: &str,
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
) -> Result<Option<(PathBuf, PathBuf)>, Mistake> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate.clone(), key.clone()))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(mistake(
            &format!("{section}.tls_key"),
            "missing; a certificate needs its key",
        )),
        (None, Some(_)) => Err(mistake(
            &format!("{section}.tls_certificate"),
            "missing; a key needs its certificate",
        )),
    }
}

fn mistake(field: &str, message: &str) -> Mistake {
    Mistake {
        field: field.into(),
        source: Source::Program,
        message: message.into(),
    }
}

/// One door's certificate as it is now. Clones share it.
#[derive(Clone)]
pub(crate) struct Certificates {
    files: Arc<Files>,
    current: Arc<RwLock<TlsAcceptor>>,
    digest: [u8; 32],
}

impl Certificates {
    /// Reads the files.
    pub fn load(files: Files) -> Result<Self, Mistakes> {
        let one = |mistake| Mistakes(vec![mistake]);
        let contents = files.read().map_err(one)?;
        let config = files.build(&contents).map_err(one)?;
        Ok(Self {
            current: Arc::new(RwLock::new(TlsAcceptor::from(Arc::new(config)))),
            digest: contents.digest(),
            files: Arc::new(files),
        })
    }

    /// What the next connection is greeted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Follows the files until the node stops; `reload` makes it look at once.
    pub fn follow(&self, tasks: &Tasks, mut reload: watch::Receiver<()>) {
        let certificates = self.clone();
        let name = format!("{} certificates", self.files.section);
        tasks.spawn(name, |stop| async move {
            let mut ticks = interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut seen = Seen::Contents(certificates.digest);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                    Ok(()) = reload.changed() => {
                        tracing::info!(door = certificates.files.section, "asked to read the certificate anew");
                        seen = Seen::Nothing;
                    }
                }
                let looking = certificates.clone();
                let look = tokio::task::spawn_blocking(move || looking.look(seen));
                match look.await {
                    Ok(now) => seen = now,
                    Err(_) => return,
                }
            }
        });
    }

    /// Takes the files over when they changed; says once what is wrong with them.
    fn look(&self, seen: Seen) -> Seen {
        let door = self.files.section;
        let contents = match self.files.read() {
            Ok(contents) => contents,
            Err(mistake) => {
                if !matches!(seen, Seen::Unreadable) {
                    tracing::error!(door, %mistake, "the old certificate stays in use");
                }
                return Seen::Unreadable;
            }
        };
        let digest = contents.digest();
        if matches!(seen, Seen::Contents(before) if before == digest) {
            return seen;
        }
        match self.files.build(&contents) {
            Ok(config) => {
                let acceptor = TlsAcceptor::from(Arc::new(config));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                tracing::info!(door, "a new certificate is in use");
            }
            Err(mistake) => {
                tracing::error!(door, %mistake, "the old certificate stays in use")
            }
        }
        Seen::Contents(digest)
    }
}

/// What the last look found, so that the same is not said twice.
#[derive(Clone, Copy)]
enum Seen {
    Nothing,
    Unreadable,
    Contents([u8; 32]),
}
