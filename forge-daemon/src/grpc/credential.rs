//! Who calls: the role behind the API key in the metadata.

use tonic::{Status, metadata::MetadataMap};

use super::status;
use crate::{
    app::Context,
    db::Wakeup,
    gateway::identity::{Identities, Identity},
};

/// Turns metadata into roles.
pub(super) struct Credentials {
    identities: std::sync::Arc<Identities>,
}

impl Credentials {
    /// Believes good keys as long as the HTTP door does, and forgets them when something was revoked.
    pub fn new(context: &Context) -> Self {
        let ttl = context.config.http.credential_ttl.get();
        let identities = std::sync::Arc::new(Identities::new(context.db.clone(), ttl));
        let forgetting = identities.clone();
        let mut hints = context.wakeups.subscribe();
        context.tasks.spawn("grpc credentials", |stop| async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = hints.next_of(&[Wakeup::Control]) => forgetting.forget(),
                }
            }
        });
        Self { identities }
    }

    /// The role of a call, proven by a key.
    pub async fn role(&self, metadata: &MetadataMap) -> Result<Identity, Status> {
        let identity = self
            .identities
            .of(metadata.as_ref())
            .await
            .map_err(|problem| status::from_problem(&problem))?;
        if identity.proven {
            return Ok(identity);
        }
        Err(Status::unauthenticated(
            "no credential; send an API key as metadata `authorization: Bearer KEY` or `x-api-key: KEY`",
        ))
    }

    /// As [`role`](Self::role), for calls that only services may make.
    pub async fn service(&self, metadata: &MetadataMap) -> Result<Identity, Status> {
        let identity = self.role(metadata).await?;
        if identity.is_service() {
            return Ok(identity);
        }
        Err(Status::permission_denied(format!(
            "a key of role {} cannot work; use one of role forge_service",
            identity.role
        )))
    }
}
