//! Who calls: the role behind the API key in the metadata.

use tonic::{Status, metadata::MetadataMap};

use super::status;
use crate::gateway::identity::{Identities, Identity};

/// Turns metadata into roles.
pub(super) struct Credentials {
    identities: std::sync::Arc<Identities>,
}

impl Credentials {
    /// Believes what the HTTP door believes.
    pub fn new(identities: std::sync::Arc<Identities>) -> Self {
        Self { identities }
    }

    /// The identity of a call, which may be nobody's.
    pub async fn identity(&self, metadata: &MetadataMap) -> Result<Identity, Status> {
        self.identities
            .to_change(metadata.as_ref())
            .await
            .map_err(|problem| status::from_problem(&problem))
    }

    /// The role of a call, proven by a credential.
    pub async fn role(&self, metadata: &MetadataMap) -> Result<Identity, Status> {
        let identity = self.identity(metadata).await?;
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
