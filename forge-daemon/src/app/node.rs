//! One running node: start in order, stop in order.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{Addresses, Context, Natives, Phase};
use crate::{
    cluster::Cluster,
    config::{Config, Mistake, Mistakes, Role},
    db::{Db, Listener, Wakeups},
    error::Error,
    executor::Executor,
    gateway::{Gateway, identity::Identities},
    grpc, observe,
    scheduler::{self, Scheduler},
    service::Tasks,
    tls::{Certificates, Files},
    worker::Worker,
};

/// How long the last tasks may take to write what they hold.
const FLUSH: Duration = Duration::from_secs(5);
/// How long each step may take after the second signal.
const FORCED: Duration = Duration::from_secs(2);

/// The parts that need the database.
struct Parts {
    cluster: Cluster,
    worker: Option<Worker>,
    scheduler: Option<Scheduler>,
}

/// The gRPC door to be.
struct Rpc {
    listener: TcpListener,
    certificates: Option<Certificates>,
    executor: Executor,
    identities: Arc<Identities>,
}

/// How far joining is.
#[derive(Clone)]
enum Joining {
    /// Waiting for the database or the registration.
    Pending,
    /// The node has joined.
    Done(Arc<Parts>),
    /// A stop came first.
    Given,
    /// The login role, named here, must not serve.
    Refused(String),
}

/// A node that was started.
pub struct Running {
    context: Context,
    gateway: Gateway,
    joining: watch::Receiver<Joining>,
}

/// Opens the doors and begins to join; returns at once, the database may come later.
pub(super) async fn start(config: Config, natives: Natives) -> Result<Running, Error> {
    config.check()?;
    let http_files = Files::of_http(&config.http).map_err(one)?;
    let grpc_files = Files::of_grpc(&config.grpc).map_err(one)?;
    let http_certificates = http_files.map(Certificates::load).transpose()?;
    let grpc_certificates = grpc_files.map(Certificates::load).transpose()?;
    let wrong_url =
        |message: String| Error::Config(crate::config::Mistakes::one("database.url", message));
    let db = Db::new(&config.database).map_err(wrong_url)?;
    let wakeups = Wakeups::default();
    let listener = Listener::new(&config.database, wakeups.clone()).map_err(wrong_url)?;
    let http = bind("http", config.http.listen).await?;
    let serves_grpc = config.node.has(Role::Worker) || config.node.has(Role::Gateway);
    let rpc = if serves_grpc {
        Some(bind("grpc", config.grpc.listen).await?)
    } else {
        None
    };
    let addresses = Addresses {
        http: http.local_addr().ok(),
        grpc: rpc.as_ref().and_then(|listener| listener.local_addr().ok()),
    };
    let context = Context {
        config: Arc::new(config),
        db,
        wakeups,
        natives: Arc::new(natives),
        addresses,
        tasks: Tasks::new(),
        drain: CancellationToken::new(),
        force: CancellationToken::new(),
        reload: Arc::new(watch::Sender::new(())),
        asked: CancellationToken::new(),
        phase: Arc::new(watch::Sender::new(Phase::Starting)),
    };
    tracing::info!(
        name = context.config.node.display_name(),
        http = ?addresses.http,
        grpc = ?addresses.grpc,
        version = env!("CARGO_PKG_VERSION"),
        "node starting"
    );
    observe::metrics::install();
    observe::metrics::spawn_upkeep(&context.tasks);
    listener.spawn(&context.tasks);
    for certificates in [&http_certificates, &grpc_certificates]
        .into_iter()
        .flatten()
    {
        certificates.follow(&context.tasks, context.reload.subscribe());
    }
    let identities = Identities::new(&context)
        .map_err(|message| Error::Config(Mistakes::one("auth.issuers", message)))?;
    let identities = Arc::new(identities);
    identities.follow(&context);
    let executor = Executor::start(&context);
    let gateway = Gateway::spawn(
        &context,
        http,
        http_certificates,
        executor.clone(),
        identities.clone(),
    );
    let (settle, joining) = watch::channel(Joining::Pending);
    let shared = context.clone();
    context.tasks.spawn("start", |token| async move {
        let rpc = rpc.map(|listener| Rpc {
            listener,
            certificates: grpc_certificates,
            executor,
            identities,
        });
        let outcome = join(&shared, rpc).await;
        // A drain that began meanwhile keeps its phase.
        shared.phase.send_if_modified(|phase| {
            let active = *phase == Phase::Starting && matches!(outcome, Joining::Done(_));
            if active {
                *phase = Phase::Active;
                tracing::info!("node active");
            }
            active
        });
        settle.send_replace(outcome);
        // Keeps the sender, so that the outcome stays readable until the end.
        token.cancelled().await;
    });
    Ok(Running {
        context,
        gateway,
        joining,
    })
}

fn one(mistake: Mistake) -> Mistakes {
    Mistakes(vec![mistake])
}

async fn bind(section: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen {
            section,
            address,
            source,
        })
}

/// Waits for the database and starts what needs it. Ends soon after a drain begins.
async fn join(context: &Context, rpc: Option<Rpc>) -> Joining {
    let Some(found) = context.db.wait_ready(&context.drain).await else {
        return Joining::Given;
    };
    if !found.unrestricted.is_empty() && !context.config.database.allow_superuser {
        return Joining::Refused(match found.unrestricted == found.role {
            true => found.role,
            false => format!("{} (through {})", found.role, found.unrestricted),
        });
    }
    tracing::info!(
        server = found.server,
        extension = found.extension,
        role = found.role,
        "database ready"
    );
    let Some(cluster) = Cluster::start(context).await else {
        return Joining::Given;
    };
    let node = &context.config.node;
    let worker = node
        .has(Role::Worker)
        .then(|| Worker::start(context, &cluster));
    let scheduler = node
        .has(Role::Scheduler)
        .then(|| scheduler::start(context, &cluster));
    if let Some(rpc) = rpc {
        grpc::serve(
            context,
            rpc.listener,
            rpc.certificates,
            worker.as_ref(),
            rpc.executor,
            rpc.identities,
        );
    }
    Joining::Done(Arc::new(Parts {
        cluster,
        worker,
        scheduler,
    }))
}

impl Running {
    /// The shared parts of the node.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Ends when someone asked this node to drain: call [`Running::stop`] then.
    pub async fn asked_to_stop(&self) {
        self.context.asked.cancelled().await;
    }

    /// Ends when the node cannot go on.
    pub async fn failed(&mut self) -> Error {
        let refused = async {
            let settled = self
                .joining
                .wait_for(|joining| matches!(joining, Joining::Refused(_)));
            match settled.await.as_deref() {
                Ok(Joining::Refused(role)) => Error::Unrestricted(role.clone()),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            error = refused => error,
            () = self.context.tasks.failed() => Error::Failed,
        }
    }

    /// Takes the node apart in the order of the module's description.
    pub async fn stop(mut self) {
        let context = &self.context;
        let config = &context.config;
        context.phase.send_replace(Phase::Draining);
        context.drain.cancel();
        step(
            context,
            "requests",
            config.node.drain_timeout.get(),
            self.gateway.drained(),
        )
        .await;
        // A node caught while joining must still leave what it joined.
        let settled = self
            .joining
            .wait_for(|joining| !matches!(joining, Joining::Pending));
        let joining = tokio::time::timeout(FLUSH, settled)
            .await
            .ok()
            .and_then(Result::ok)
            .map(|joining| joining.clone());
        if let Some(Joining::Done(parts)) = joining {
            if let Some(worker) = &parts.worker {
                let within = config.worker.drain_timeout.get();
                // The worker keeps the limit itself, since what is left must still be returned after it.
                let grace = config.worker.cancel_grace.get();
                step(
                    context,
                    "jobs",
                    within + grace + FLUSH,
                    worker.drain(within),
                )
                .await;
            }
            if let Some(scheduler) = &parts.scheduler {
                step(context, "resign", FLUSH, scheduler.resign()).await;
            }
            step(context, "leave", FLUSH, parts.cluster.leave()).await;
        }
        context.tasks.stop(FLUSH).await;
        context.db.close();
        tracing::info!("node stopped");
    }
}

/// Waits for one step, at most `within`, and hardly longer once forced.
async fn step(context: &Context, name: &str, within: Duration, work: impl Future<Output = ()>) {
    let forced = async {
        context.force.cancelled().await;
        tokio::time::sleep(FORCED).await;
    };
    let done = tokio::select! {
        () = work => true,
        () = tokio::time::sleep(within) => false,
        () = forced => false,
    };
    if done {
        tracing::debug!(step = name, "done");
    } else {
        tracing::warn!(step = name, ?within, "not finished in time; going on");
    }
}
