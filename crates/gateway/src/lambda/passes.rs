//! What an operation asks for beside itself: roles that it passes on, and functions and queues that it has called,
//! read and sent to. None of it may be had by a detour by who may not have it.

use serde::Deserialize;
use squall_types::Home;

use crate::authenticate::Authentic;
use crate::authorize::Asked;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::operation::Operation;

const LAMBDA: &str = "lambda.amazonaws.com";

/// The members of requests that name somebody else. All else, such as code, is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Named {
    role: Option<String>,
    function_name: Option<String>,
    event_source_arn: Option<String>,
    dead_letter_config: Option<DeadLetter>,
    destination_config: Option<Destinations>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DeadLetter {
    target_arn: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Destinations {
    on_success: Destination,
    on_failure: Destination,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Destination {
    destination: Option<String>,
}

/// Whether the caller may do what the operation does beside itself.
///
/// # Errors
/// AWS's AccessDeniedException.
pub(super) fn permit(gateway: &Gateway, operation: Operation, authentic: &Authentic) -> Result<(), ApiError> {
    use Operation as Op;
    let named: Named = match operation {
        Op::CreateFunction
        | Op::UpdateFunctionConfiguration
        | Op::CreateEventSourceMapping
        | Op::UpdateEventSourceMapping
        | Op::PutFunctionEventInvokeConfig
        | Op::UpdateFunctionEventInvokeConfig => {
            // What is no such request is refused later, in the operation's own words.
            serde_json::from_slice(authentic.peek()).unwrap_or_default()
        }
        _ => return Ok(()),
    };
    let home = &gateway.config.home;
    match operation {
        Op::CreateFunction | Op::UpdateFunctionConfiguration => {
            if let Some(role) = named.role.as_deref().filter(|role| !role.is_empty()) {
                authentic.permit_pass_role(gateway, role, LAMBDA)?;
            }
        }
        Op::CreateEventSourceMapping | Op::UpdateEventSourceMapping => {
            if let Some(function) = &named.function_name {
                let asked = Asked::on_function("lambda:InvokeFunction", home, function, None);
                authentic.permit(gateway, &asked)?;
            }
            if let Some(source) = named.event_source_arn {
                authentic.permit(gateway, &reading(source))?;
            }
        }
        _ => {}
    }
    let dead_letter = named
        .dead_letter_config
        .and_then(|dead_letter| dead_letter.target_arn);
    let destinations = named.destination_config.unwrap_or_default();
    let targets = [
        dead_letter,
        destinations.on_success.destination,
        destinations.on_failure.destination,
    ];
    for arn in targets.iter().flatten().filter(|arn| !arn.is_empty()) {
        authentic.permit_target(gateway, arn)?;
    }
    Ok(())
}

/// What a mapping does to its source.
fn reading(source_arn: String) -> Asked<'static> {
    let action = match source_arn.split(':').nth(2) {
        Some("sqs") => "sqs:ReceiveMessage",
        _ => "squall:GetState",
    };
    Asked::on(action, source_arn)
}

/// Refuses a role that functions cannot have. What is no ARN at all is refused by the registry, in its own words.
///
/// # Errors
/// Lambda's words, and what can be done.
pub(super) fn check_role(gateway: &Gateway, home: &Home, role: &str, function: &str) -> Result<(), ApiError> {
    if role.splitn(6, ':').count() < 6 {
        return Ok(());
    }
    let function_arn = format!(
        "arn:aws:lambda:{}:{}:function:{function}",
        home.region, home.account
    );
    let hint = match gateway.access.roles.lend(role, LAMBDA, Some(&function_arn)) {
        Ok(_) => return Ok(()),
        Err(None) => format!(
            "There is no role `{role}`: make it with iam:CreateRole or `squall roles put`, or use \
             arn:aws:iam::{}:role/squall, which is always there.",
            home.account
        ),
        Err(Some(_)) => format!("The trust policy of `{role}` does not let {LAMBDA} assume it."),
    };
    Err(ApiError::invalid_parameter(format!(
        "The role defined for the function cannot be assumed by Lambda. {hint}"
    )))
}
