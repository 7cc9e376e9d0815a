//! What tools read about features that do not exist here, answered with what is true: there is none, or the default.

use http::StatusCode;
use serde_json::json;

use super::{Answer, Call, shapes};
use crate::error::ApiError;
use crate::reply;

impl Call<'_> {
    /// No code is signed. Terraform reads this of every function and stops at an error.
    /// `null`, which clients read as absent: the model wants the member and allows no empty ARN.
    pub(super) fn get_code_signing_config(&self) -> Answer {
        let name = self.gateway.registry.function(&self.target()?)?.config.name;
        let shape = json!({ "CodeSigningConfigArn": null, "FunctionName": name });
        Ok(reply::json(StatusCode::OK, &shape))
    }

    /// The host's runtime is what it is: updated when the host is.
    pub(super) fn get_runtime_management_config(&self) -> Answer {
        let config = self.gateway.registry.function(&self.target()?)?.config;
        let home = self.gateway.registry.home();
        let shape = json!({
            "UpdateRuntimeOn": "Auto",
            "FunctionArn": shapes::configuration(home, &config)["FunctionArn"],
            "RuntimeVersionArn": shapes::runtime_version_arn(home, &config),
        });
        Ok(reply::json(StatusCode::OK, &shape))
    }

    pub(super) fn put_runtime_management_config(&self) -> Answer {
        let input: serde_json::Value = self.input()?;
        match input["UpdateRuntimeOn"].as_str() {
            Some("Auto") => self.get_runtime_management_config(),
            Some(other @ ("Manual" | "FunctionUpdate")) => Err(ApiError::invalid_parameter(format!(
                "UpdateRuntimeOn {other} is not supported by Squall: functions run on the host's runtime (Auto)."
            ))),
            _ => Err(ApiError::validation(
                "1 validation error detected: Value at 'updateRuntimeOn' failed to satisfy constraint: \
                 Member must satisfy enum value set: [Auto, Manual, FunctionUpdate]",
            )),
        }
    }

    /// Loops are not looked for, so they are allowed.
    pub(super) fn get_recursion_config(&self) -> Answer {
        self.gateway.registry.function(&self.target()?)?;
        Ok(reply::json(StatusCode::OK, &json!({ "RecursiveLoop": "Allow" })))
    }

    pub(super) fn put_recursion_config(&self) -> Answer {
        let input: serde_json::Value = self.input()?;
        match input["RecursiveLoop"].as_str() {
            Some("Allow") => self.get_recursion_config(),
            Some("Terminate") => Err(ApiError::invalid_parameter(
                "RecursiveLoop Terminate is not supported by Squall: loops are not looked for (Allow).",
            )),
            _ => Err(ApiError::validation(
                "1 validation error detected: Value at 'recursiveLoop' failed to satisfy constraint: \
                 Member must satisfy enum value set: [Allow, Terminate]",
            )),
        }
    }
}
