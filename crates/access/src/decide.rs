//! The decision about one call, as AWS makes it: a deny anywhere denies; else an allow is needed. Within one account
//! an allow of the caller's policies or of the resource's is enough; from another account it takes both.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>.

use std::fmt;

use crate::policy::{Effect, Policy, Principals, Statement};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// `arn:aws:iam::ACCOUNT:user/NAME`, `arn:aws:iam::ACCOUNT:root`, or a role's.
    pub arn: String,
    /// Twelve digits.
    pub account: String,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// As in `lambda:InvokeFunction`.
    pub action: &'a str,
    /// An ARN, or `*` for what is about no single resource.
    pub resource: &'a str,
    /// The account that the resource is in.
    pub account: &'a str,
    /// What conditions may ask about beside the caller, by their keys.
    pub context: &'a [(&'a str, &'a str)],
}

/// Why a call is denied, in AWS's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    principal: String,
    action: String,
    resource: String,
    reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Explicit(Kind),
    NothingAllows(Kind),
}

/// The two places where policies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Identity,
    Resource,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Resource => "resource-based policy",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            principal,
            action,
            resource,
            reason,
        } = self;
        write!(
            f,
            "User: {principal} is not authorized to perform: {action} on resource: {resource} "
        )?;
        match reason {
            Reason::Explicit(Kind::Identity) => {
                write!(f, "with an explicit deny in an identity-based policy")
            }
            Reason::Explicit(Kind::Resource) => write!(f, "with an explicit deny in a resource-based policy"),
            Reason::NothingAllows(kind) => write!(f, "because no {} allows the {action} action", kind.name()),
        }
    }
}

impl std::error::Error for Denial {}

/// Decides. `identity` are the caller's policies, `resource` that of what is called.
///
/// # Errors
/// Why it is denied.
pub fn decide(
    principal: &Principal,
    identity: &[Policy],
    resource: Option<&Policy>,
    request: Request<'_>,
) -> Result<(), Denial> {
    let deny = |reason| Denial {
        principal: principal.arn.clone(),
        action: request.action.to_owned(),
        resource: request.resource.to_owned(),
        reason,
    };
    let call = Call { principal, request };
    let by_identity = call.verdict(identity.iter().flat_map(|policy| &policy.statements));
    let by_resource = call.verdict(resource.into_iter().flat_map(|policy| &policy.statements));
    for (verdict, kind) in [(by_identity, Kind::Identity), (by_resource, Kind::Resource)] {
        if verdict == Some(Effect::Deny) {
            return Err(deny(Reason::Explicit(kind)));
        }
    }
    match (by_identity.is_some(), by_resource.is_some()) {
        (true, true) => Ok(()),
        (true, false) | (false, true) if principal.account == request.account => Ok(()),
        (true, false) => Err(deny(Reason::NothingAllows(Kind::Resource))),
        (false, _) => Err(deny(Reason::NothingAllows(Kind::Identity))),
    }
}

struct Call<'a> {
    principal: &'a Principal,
    request: Request<'a>,
}

impl Call<'_> {
    /// What the statements say of it; `None` where none is about it.
    fn verdict<'s>(&self, statements: impl Iterator<Item = &'s Statement>) -> Option<Effect> {
        let mut verdict = None;
        for statement in statements.filter(|statement| self.fits(statement)) {
            if statement.effect == Effect::Deny {
                return Some(Effect::Deny);
            }
            verdict = Some(Effect::Allow);
        }
        verdict
    }

    fn fits(&self, statement: &Statement) -> bool {
        let Request { action, resource, .. } = self.request;
        let by_whom = statement.principals.as_ref();
        by_whom.is_none_or(|principals| self.is_one_of(principals))
            && statement.is_about(action, resource)
            && statement
                .conditions
                .iter()
                .all(|condition| condition.holds(|key| self.value_of(key)))
    }

    fn is_one_of(&self, principals: &Principals) -> bool {
        let Principal { arn, account } = self.principal;
        match principals {
            Principals::Anyone => true,
            Principals::Aws(list) => list
                .iter()
                .any(|one| one == arn || one == account || *one == format!("arn:aws:iam::{account}:root")),
            Principals::Service(list) => list.contains(arn),
        }
    }

    fn value_of(&self, key: &str) -> Option<String> {
        if key.eq_ignore_ascii_case("aws:PrincipalArn") {
            return Some(self.principal.arn.clone());
        }
        if key.eq_ignore_ascii_case("aws:PrincipalAccount") {
            return Some(self.principal.account.clone());
        }
        let mut context = self.request.context.iter();
        let found = context.find(|(known, _)| known.eq_ignore_ascii_case(key));
        found.map(|(_, value)| (*value).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "000000000000";
    const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:shop";

    fn user(account: &str) -> Principal {
        Principal {
            arn: format!("arn:aws:iam::{account}:user/ada"),
            account: account.to_owned(),
        }
    }

    fn identity(statements: &str) -> Policy {
        Policy::of_identity(&format!("{{\"Statement\": [{statements}]}}")).expect(statements)
    }

    fn resource(statements: &str) -> Policy {
        Policy::of_resource(&format!("{{\"Statement\": [{statements}]}}")).expect(statements)
    }

    fn asked(principal: &Principal, identity: &[Policy], resource: Option<&Policy>) -> Result<(), String> {
        let request = Request {
            action: "lambda:InvokeFunction",
            resource: FUNCTION,
            account: HOME,
            context: &[("aws:SourceArn", "arn:aws:s3:::photos")],
        };
        decide(principal, identity, resource, request).map_err(|denial| denial.to_string())
    }

    const ALLOW: &str = r#"{"Effect": "Allow", "Action": "lambda:Invoke*", "Resource": "*"}"#;
    const DENY: &str = r#"{"Effect": "Deny", "Action": "*", "Resource": "*:function:shop"}"#;
    const ALLOW_ADA: &str = r#"{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:user/ada"},
        "Action": "lambda:InvokeFunction", "Resource": "*"}"#;
    const ALLOW_STRANGERS: &str = r#"{"Effect": "Allow", "Principal": {"AWS": "111122223333"},
        "Action": "lambda:InvokeFunction", "Resource": "*"}"#;

    #[test]
    fn silence_denies_and_says_what_was_asked() {
        let words = asked(&user(HOME), &[], None).expect_err("denied");
        assert_eq!(
            words,
            "User: arn:aws:iam::000000000000:user/ada is not authorized to perform: lambda:InvokeFunction \
             on resource: arn:aws:lambda:us-east-1:000000000000:function:shop \
             because no identity-based policy allows the lambda:InvokeFunction action"
        );
    }

    #[test]
    fn in_one_account_either_side_may_allow() {
        assert_eq!(asked(&user(HOME), &[identity(ALLOW)], None), Ok(()));
        assert_eq!(asked(&user(HOME), &[], Some(&resource(ALLOW_ADA))), Ok(()));
        asked(&user(HOME), &[], Some(&resource(ALLOW_STRANGERS))).expect_err("it is about others");
    }

    #[test]
    fn from_another_account_both_sides_must() {
        let stranger = user("111122223333");
        let alone = asked(&stranger, &[identity(ALLOW)], None).expect_err("the function does not");
        assert!(alone.ends_with("because no resource-based policy allows the lambda:InvokeFunction action"));
        asked(&stranger, &[], Some(&resource(ALLOW_STRANGERS))).expect_err("the key does not");
        let both = asked(&stranger, &[identity(ALLOW)], Some(&resource(ALLOW_STRANGERS)));
        assert_eq!(both, Ok(()));
    }

    #[test]
    fn a_deny_wins_wherever_it_stands() {
        let policies = [identity(ALLOW), identity(DENY)];
        let denied = asked(&user(HOME), &policies, None).expect_err("denied");
        assert!(
            denied.ends_with("with an explicit deny in an identity-based policy"),
            "{denied}"
        );
        let on_resource = resource(&DENY.replace("\"Action\"", "\"Principal\": \"*\", \"Action\""));
        let denied = asked(&user(HOME), &[identity(ALLOW)], Some(&on_resource)).expect_err("denied");
        assert!(
            denied.ends_with("with an explicit deny in a resource-based policy"),
            "{denied}"
        );
    }

    #[test]
    fn conditions_narrow() {
        let with = |condition: &str| {
            let allow = ALLOW.replace('}', &format!(", \"Condition\": {{{condition}}}}}"));
            asked(&user(HOME), &[identity(&allow)], None).is_ok()
        };
        assert!(with(r#""ArnLike": {"aws:sourcearn": "arn:aws:s3:::*"}"#));
        assert!(!with(r#""ArnEquals": {"aws:SourceArn": "arn:aws:s3:::*"}"#));
        assert!(
            !with(r#""StringEquals": {"aws:SourceAccount": "000000000000"}"#),
            "the call has none"
        );
        assert!(with(
            r#""StringNotEquals": {"aws:SourceAccount": "000000000000"}"#
        ));
        assert!(with(
            r#""StringEquals": {"aws:PrincipalAccount": ["1", "000000000000"]}"#
        ));
    }

    #[test]
    fn all_but_some_actions() {
        let all_but = identity(r#"{"Effect": "Allow", "NotAction": "lambda:Invoke*", "Resource": "*"}"#);
        asked(&user(HOME), &[all_but], None).expect_err("it allows everything else");
    }
}
