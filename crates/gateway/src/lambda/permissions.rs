//! A function's policy: AddPermission, GetPolicy, RemovePermission.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use squall_access::Policy;

use super::{Answer, Call, no_content};
use crate::error::ApiError;
use crate::reply;

/// What AddPermission brings. `EventSourceToken` and `PrincipalOrgID` are refused: nothing here could fit them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    source_arn: Option<String>,
    source_account: Option<String>,
    event_source_token: Option<String>,
    #[serde(rename = "PrincipalOrgID")]
    principal_org_id: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
    revision_id: Option<String>,
}

impl Call<'_> {
    pub(super) async fn add_permission(&self) -> Answer {
        let target = self.target()?;
        let input: Input = self.input()?;
        let id = required(input.statement_id.as_ref(), "statementId")?;
        let is_of_ids = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if id.is_empty() || id.len() > 100 || !id.chars().all(is_of_ids) {
            return Err(ApiError::validation(format!(
                "1 validation error detected: Value '{id}' at 'statementId' failed to satisfy constraint: \
                 Member must satisfy regular expression pattern: ([a-zA-Z0-9-_]+)"
            )));
        }
        let home = &self.gateway.config.home;
        let arn = home.function_arn(&target.name, target.qualifier.as_ref());
        let statement = statement(&input, &id, &arn)?;
        let registry = &self.gateway.registry;
        let revision = input.revision_id.clone();
        registry
            .add_permission(&target, id, statement.clone(), revision)
            .await?;
        let shape = json!({ "Statement": statement.to_string() });
        Ok(reply::json(StatusCode::CREATED, &shape))
    }

    pub(super) fn get_policy(&self) -> Answer {
        let target = self.target()?;
        let absent = || ApiError::not_found("The resource you requested does not exist.");
        let policy = self.gateway.registry.policy(&target).ok_or_else(absent)?;
        let shape = json!({
            "Policy": policy.document().to_string(),
            "RevisionId": policy.revision_id,
        });
        Ok(reply::json(StatusCode::OK, &shape))
    }

    pub(super) async fn remove_permission(&self) -> Answer {
        let revision = self.query.get("RevisionId").cloned();
        let registry = &self.gateway.registry;
        let id = self.parameter("statement");
        registry.remove_permission(&self.target()?, id, revision).await?;
        Ok(no_content())
    }
}

fn required(given: Option<&String>, member: &str) -> Result<String, ApiError> {
    given.cloned().ok_or_else(|| {
        ApiError::validation(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: \
             Member must not be null"
        ))
    })
}

/// The statement in IAM's language, as Lambda writes it; one that does not read as a policy is refused.
fn statement(input: &Input, id: &str, arn: &str) -> Result<Value, ApiError> {
    let action = required(input.action.as_ref(), "action")?;
    if !action.starts_with("lambda:") && action != "*" {
        return Err(ApiError::invalid_parameter(format!(
            "{action} is not an action of Lambda; write lambda:InvokeFunction or lambda:InvokeFunctionUrl"
        )));
    }
    for (name, given) in [
        ("EventSourceToken", &input.event_source_token),
        ("PrincipalOrgID", &input.principal_org_id),
    ] {
        if given.is_some() {
            return Err(ApiError::invalid_parameter(format!(
                "{name} is not supported by Squall."
            )));
        }
    }
    let mut shape = json!({
        "Sid": id,
        "Effect": "Allow",
        "Principal": principal(&required(input.principal.as_ref(), "principal")?)?,
        "Action": action,
        "Resource": arn,
    });
    let conditions = conditions(input);
    if !conditions.is_empty() {
        shape["Condition"] = Value::Object(conditions);
    }
    let document = json!({ "Statement": [shape] }).to_string();
    Policy::of_resource(&document).map_err(|error| ApiError::invalid_parameter(error.to_string()))?;
    Ok(shape)
}

/// `*`, an account, the ARN of a user or role, or a service.
fn principal(given: &str) -> Result<Value, ApiError> {
    let is_account = given.len() == 12 && given.bytes().all(|digit| digit.is_ascii_digit());
    match given {
        "*" => Ok(json!("*")),
        _ if is_account => Ok(json!({ "AWS": format!("arn:aws:iam::{given}:root") })),
        _ if given.starts_with("arn:aws:iam::") || given.starts_with("arn:aws:sts::") => {
            Ok(json!({ "AWS": given }))
        }
        _ if given.ends_with(".amazonaws.com") => Ok(json!({ "Service": given })),
        _ => Err(ApiError::invalid_parameter(
            "The provided principal was invalid. Please check the principal and try again.",
        )),
    }
}

fn conditions(input: &Input) -> Map<String, Value> {
    let mut conditions = Map::new();
    let mut add = |operator: &str, key: &str, value: Option<String>| {
        if let Some(value) = value {
            let comparisons = conditions.entry(operator).or_insert_with(|| json!({}));
            comparisons[key] = Value::from(value);
        }
    };
    add("ArnLike", "AWS:SourceArn", input.source_arn.clone());
    add("StringEquals", "AWS:SourceAccount", input.source_account.clone());
    add(
        "StringEquals",
        "lambda:FunctionUrlAuthType",
        input.function_url_auth_type.clone(),
    );
    let via_url = input.invoked_via_function_url.map(|truth| truth.to_string());
    add("Bool", "lambda:InvokedViaFunctionUrl", via_url);
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

    fn of(json: Value) -> Result<Value, ApiError> {
        statement(&serde_json::from_value(json).expect("members"), "one", ARN)
    }

    #[test]
    fn a_statement_is_what_lambda_writes() {
        let written = of(json!({
            "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com",
            "SourceArn": "arn:aws:s3:::photos", "SourceAccount": "000000000000",
        }));
        let expected = json!({
            "Sid": "one", "Effect": "Allow", "Principal": { "Service": "s3.amazonaws.com" },
            "Action": "lambda:InvokeFunction", "Resource": ARN,
            "Condition": {
                "ArnLike": { "AWS:SourceArn": "arn:aws:s3:::photos" },
                "StringEquals": { "AWS:SourceAccount": "000000000000" },
            },
        });
        assert_eq!(written.expect("a statement"), expected);
        let account = of(json!({ "Action": "lambda:InvokeFunctionUrl", "Principal": "111122223333" }));
        let account = account.expect("a statement");
        assert_eq!(
            account["Principal"],
            json!({ "AWS": "arn:aws:iam::111122223333:root" })
        );
        assert!(account.get("Condition").is_none());
    }

    #[test]
    fn what_could_never_fit_is_refused() {
        for given in [
            json!({ "Principal": "*" }),
            json!({ "Action": "s3:GetObject", "Principal": "*" }),
            json!({ "Action": "lambda:InvokeFunction", "Principal": "somebody" }),
            json!({ "Action": "lambda:InvokeFunction", "Principal": "*", "PrincipalOrgID": "o-1" }),
        ] {
            assert!(of(given.clone()).is_err(), "{given}");
        }
    }
}
