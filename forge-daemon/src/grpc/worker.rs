//! Service `Worker`: takes remote workers in.

use std::{collections::BTreeSet, pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::{
    credential::Credentials,
    proto::{
        Register, WorkRequest, WorkResponse, work_request,
        worker_server::{self, WorkerServer},
    },
    session,
};
use crate::{
    app::Context,
    cluster::Cluster,
    worker::{
        Worker,
        remote::{Registration, Remotes},
    },
};

/// How long a worker may take to register after opening its stream.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest name of a worker, in bytes.
const NAME_MAX: usize = 200;
/// Most kinds or capabilities of one worker.
const LIST_MAX: usize = 1000;
/// Most jobs of one worker at once.
const PLACES_MAX: usize = 10_000;

/// The service.
pub(super) struct WorkerService {
    context: Context,
    cluster: Cluster,
    remotes: Remotes,
    credentials: Arc<Credentials>,
}

impl WorkerService {
    pub fn new(context: &Context, worker: &Worker, credentials: Arc<Credentials>) -> Self {
        Self {
            context: context.clone(),
            cluster: worker.cluster().clone(),
            remotes: worker.remotes().clone(),
            credentials,
        }
    }

    /// With messages of at most `limit` bytes.
    pub fn into_server(self, limit: usize) -> WorkerServer<Self> {
        WorkerServer::new(self)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
    }

    /// The refusal of a worker that came at the wrong time.
    fn refusal(&self) -> Status {
        if self.context.drain.is_cancelled() {
            Status::unavailable("this node stops; connect to another")
        } else {
            let most = self.context.config.grpc.max_workers;
            Status::resource_exhausted(format!(
                "this node has grpc.max_workers = {most} workers; connect to another or raise the limit"
            ))
        }
    }
}

#[tonic::async_trait]
impl worker_server::Worker for WorkerService {
    type WorkStream = Pin<Box<dyn Stream<Item = Result<WorkResponse, Status>> + Send>>;

    async fn work(
        &self,
        request: Request<Streaming<WorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        self.credentials.service(request.metadata()).await?;
        let mut inbound = request.into_inner();
        let first = timeout(PATIENCE, inbound.message()).await.map_err(|_| {
            Status::deadline_exceeded(format!(
                "no Register within {PATIENCE:?} of opening the stream"
            ))
        })??;
        let registration = registration(first)?;
        let name = registration.worker.clone();
        let life = self.cluster.life().ok_or_else(|| {
            Status::unavailable("this node is not registered; try again or connect to another")
        })?;
        let (seat, out) = self
            .remotes
            .join(registration)
            .ok_or_else(|| self.refusal())?;
        tracing::info!(worker = name, "remote worker connected");
        let stream = session::begin(&self.context, name, life.id(), inbound, seat, out);
        Ok(Response::new(Box::pin(stream)))
    }
}

fn registration(first: Option<WorkRequest>) -> Result<Registration, Status> {
    match first.and_then(|request| request.message) {
        Some(work_request::Message::Register(register)) => checked(register),
        _ => Err(Status::invalid_argument(
            "the first message on the stream must be Register",
        )),
    }
}

fn checked(register: Register) -> Result<Registration, Status> {
    let places = usize::try_from(register.max_in_flight).unwrap_or(usize::MAX);
    if register.worker.is_empty() || register.worker.len() > NAME_MAX {
        return Err(Status::invalid_argument(format!(
            "worker `{}` must have 1 to {NAME_MAX} bytes",
            register.worker.chars().take(40).collect::<String>()
        )));
    }
    if !(1..=PLACES_MAX).contains(&places) {
        return Err(Status::invalid_argument(format!(
            "max_in_flight is {places}; use 1 to {PLACES_MAX}"
        )));
    }
    let mut capabilities = words("capabilities", register.capabilities)?;
    if capabilities.is_empty() {
        capabilities.insert("general".into());
    }
    Ok(Registration {
        worker: register.worker,
        kinds: words("kinds", register.kinds)?,
        capabilities,
        places,
    })
}

fn words(field: &'static str, words: Vec<String>) -> Result<BTreeSet<String>, Status> {
    if words.len() > LIST_MAX {
        let len = words.len();
        return Err(Status::invalid_argument(format!(
            "{field} has {len} entries; use at most {LIST_MAX}"
        )));
    }
    for word in &words {
        forge_core::limits::check_name(field, word)
            .map_err(|error| Status::invalid_argument(format!("{field}: {error}")))?;
    }
    Ok(words.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> Register {
        Register {
            worker: "w1".into(),
            kinds: vec!["a".into(), "b".into(), "a".into()],
            capabilities: Vec::new(),
            max_in_flight: 4,
        }
    }

    #[test]
    fn reads_a_registration() {
        let registration = checked(register()).unwrap();
        assert_eq!(registration.kinds.len(), 2);
        assert!(registration.capabilities.contains("general"));
        assert_eq!(registration.places, 4);
    }

    #[test]
    fn names_what_is_wrong() {
        let wrong = |change: fn(&mut Register)| {
            let mut register = register();
            change(&mut register);
            checked(register).unwrap_err().message().to_owned()
        };
        assert!(wrong(|r| r.worker.clear()).contains("worker"));
        assert!(wrong(|r| r.max_in_flight = 0).contains("max_in_flight is 0"));
        assert!(wrong(|r| r.max_in_flight = 10_001).contains("10001"));
        assert!(wrong(|r| r.kinds = vec!["a b\n".into()]).contains("kinds"));
        assert!(
            registration(None)
                .unwrap_err()
                .message()
                .contains("Register")
        );
    }
}
