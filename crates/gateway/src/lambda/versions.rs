//! Versions: publish, list.

use http::StatusCode;
use squall_registry::PublishVersion;

use super::{Answer, Call, input};
use crate::reply;

impl Call<'_> {
    pub(super) async fn publish_version(&self) -> Answer {
        let input: input::PublishVersion = self.input()?;
        let request = PublishVersion {
            code_sha256: input.code_sha256,
            description: input.description,
            revision_id: input.revision_id,
        };
        let config = self
            .gateway
            .registry
            .publish_version(&self.function()?, request)
            .await?;
        Ok(reply::json(StatusCode::CREATED, &self.configuration(&config)))
    }

    pub(super) fn list_versions(&self) -> Answer {
        let page =
            self.gateway
                .registry
                .list_versions(&self.function()?, self.marker(), self.max_items()?)?;
        Ok(self.configurations("Versions", page))
    }
}
