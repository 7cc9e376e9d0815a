//! What a caller may do. A service names the action and what it is done to, and has the request's body only then.
//!
//! Actions are AWS's where AWS has the operation (`lambda:InvokeFunction`), and `squall:…` where it has none.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use squall_access::{Caller, Denial, Policy, Request};
use squall_types::{FunctionRef, Home};

use crate::authenticate::Authentic;
use crate::error::ApiError;
use crate::gateway::Gateway;

/// What a caller wants to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked<'a> {
    /// As in `lambda:InvokeFunction`.
    pub(crate) action: Cow<'a, str>,
    /// An ARN; `*` for what is about no single resource.
    pub(crate) resource: String,
    /// The function that it is about, whose own policy counts, too.
    pub(crate) function: Option<FunctionRef>,
    /// What conditions may ask about.
    pub(crate) context: &'a [(&'a str, &'a str)],
}

impl<'a> Asked<'a> {
    /// About no single resource.
    pub(crate) fn of(action: impl Into<Cow<'a, str>>) -> Self {
        Self::on(action, "*")
    }

    /// About one.
    pub(crate) fn on(action: impl Into<Cow<'a, str>>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            ..Self::default()
        }
    }

    /// About a function, by the text that names it. What names none is refused later, in the operation's own words,
    /// if the caller may do it to any function.
    pub(crate) fn on_function(action: &'a str, home: &Home, name: &str, qualifier: Option<&str>) -> Self {
        let target = name.parse::<FunctionRef>();
        let target = target.and_then(|target| target.with_qualifier(qualifier));
        match target {
            Ok(target) => Self {
                resource: home.function_arn(&target.name, target.qualifier.as_ref()),
                function: Some(target),
                ..Self::of(action)
            },
            Err(_) => Self::of(action),
        }
    }
}

impl Authentic {
    /// Gives the body out, if the caller may do what it asks for.
    ///
    /// # Errors
    /// AWS's AccessDeniedException, which names the caller, the action and the resource.
    pub(crate) fn authorize(self, gateway: &Gateway, asked: &Asked<'_>) -> Result<Bytes, ApiError> {
        self.permit(gateway, asked)?;
        Ok(self.body)
    }

    /// Whether the caller may have messages sent to what it names as a target. Who sets a schedule on a function calls
    /// that function in the end: AWS asks for a role to be passed there, whose policies here count for functions alone.
    ///
    /// # Errors
    /// AWS's AccessDeniedException.
    pub(crate) fn permit_target(&self, gateway: &Gateway, arn: &str) -> Result<(), ApiError> {
        let home = &gateway.config.home;
        let asked = match arn.split(':').nth(2) {
            Some("lambda") => Asked::on_function("lambda:InvokeFunction", home, arn, None),
            Some("sqs") => Asked::on("sqs:SendMessage", arn),
            Some("events") => Asked::on("events:PutEvents", arn),
            // Nothing is delivered to others: the operation says so.
            _ => return Ok(()),
        };
        self.permit(gateway, &asked)
    }

    /// Whether the caller may let a service have a role.
    ///
    /// # Errors
    /// AWS's AccessDeniedException.
    pub(crate) fn permit_pass_role(
        &self,
        gateway: &Gateway,
        role: &str,
        service: &str,
    ) -> Result<(), ApiError> {
        let roles = &gateway.access.roles;
        let arn = roles
            .get(role)
            .map_or_else(|| role.to_owned(), |role| roles.arn(&role));
        let has_powers = if roles.has_powers(role) { "true" } else { "false" };
        let context = [
            ("iam:PassedToService", service),
            ("squall:RoleHasPowers", has_powers),
        ];
        let asked = Asked {
            context: &context,
            ..Asked::on("iam:PassRole", arn)
        };
        self.permit(gateway, &asked)
    }

    /// Whether the caller may do something, of several things that it asks for.
    ///
    /// # Errors
    /// AWS's AccessDeniedException.
    pub(crate) fn permit(&self, gateway: &Gateway, asked: &Asked<'_>) -> Result<(), ApiError> {
        let policy = match &asked.function {
            Some(function) if !self.caller.is_root() => policy_of(gateway, function)?,
            _ => None,
        };
        self.decide(gateway, asked, |caller, request| {
            caller.may(request, policy.as_ref())
        })
    }

    /// Whether the caller may have the credentials of the role that is asked for: it must trust them, too.
    ///
    /// # Errors
    /// AWS's AccessDeniedException.
    pub(crate) fn permit_assume(&self, gateway: &Gateway, asked: &Asked<'_>) -> Result<(), ApiError> {
        let roles = &gateway.access.roles;
        self.decide(gateway, asked, |caller, request| {
            roles.trusts(&asked.resource, caller, request)
        })
    }

    /// Decides, and writes down what was decided.
    fn decide(
        &self,
        gateway: &Gateway,
        asked: &Asked<'_>,
        decide: impl FnOnce(&Caller, Request<'_>) -> Result<(), Denial>,
    ) -> Result<(), ApiError> {
        let peer = self.peer.map(|peer| peer.to_string());
        let mut context = asked.context.to_vec();
        // Nothing here is encrypted on its way.
        context.push(("aws:SecureTransport", "false"));
        context.extend(peer.as_deref().map(|peer| ("aws:SourceIp", peer)));
        let request = Request {
            action: &asked.action,
            resource: &asked.resource,
            account: &gateway.config.home.account,
            context: &context,
        };
        let decided = decide(&self.caller, request);
        let principal = self.caller.principal();
        let about = (request.action, request.resource);
        let audit = &gateway.access.audit;
        let recorded = audit.record(&self.access_key_id, principal, about, decided.as_ref().copied());
        recorded.map_err(|error| ApiError::platform(format!("could not write the audit log: {error}")))?;
        decided.map_err(ApiError::from)
    }

    /// The body before it is known what is asked: for protocols that say so in the body alone.
    pub(crate) fn peek(&self) -> &Bytes {
        &self.body
    }
}

fn policy_of(gateway: &Gateway, function: &FunctionRef) -> Result<Option<Policy>, ApiError> {
    let kept = gateway.registry.policy(function);
    let read = kept.map(|kept| Policy::of_resource(&kept.document().to_string()));
    read.transpose().map_err(ApiError::platform)
}

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", denial.to_string())
    }
}
