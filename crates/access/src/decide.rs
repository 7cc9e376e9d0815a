//! The decision about one call, as AWS makes it: a deny anywhere denies; else an allow is needed. Within one account
//! an allow of the caller's policies or of the resource's is enough; from another account it takes both.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>.

use std::fmt;

use crate::policy::{Effect, Policy, Principals, Statement};
use crate::roles::name_of;

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
    /// What of a policy was not understood, and may be why.
    unsupported: Option<String>,
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
            unsupported,
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
        }?;
        match unsupported {
            None => Ok(()),
            Some(what) => write!(
                f,
                " ({what} is not supported by Squall: a statement that has it allows nothing, and denies what it is about)"
            ),
        }
    }
}

impl std::error::Error for Denial {}

impl Denial {
    /// Whether a statement denies it, and not only silence.
    pub(crate) fn is_explicit(&self) -> bool {
        matches!(self.reason, Reason::Explicit(_))
    }

    /// What is said where there is nothing that could allow it.
    pub(crate) fn nothing_allows(principal: &Principal, request: Request<'_>) -> Self {
        Call { principal, request }.denial(Reason::NothingAllows(Kind::Resource), None)
    }
}

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
    let call = Call { principal, request };
    let by_identity = call.verdict(identity.iter().flat_map(|policy| &policy.statements));
    let by_resource = call.verdict(resource.into_iter().flat_map(|policy| &policy.statements));
    let unsupported = by_identity.unsupported.or(by_resource.unsupported);
    let deny = |reason| call.denial(reason, unsupported);
    for (verdict, kind) in [
        (by_identity.effect, Kind::Identity),
        (by_resource.effect, Kind::Resource),
    ] {
        if verdict == Some(Effect::Deny) {
            return Err(deny(Reason::Explicit(kind)));
        }
    }
    match (by_identity.effect.is_some(), by_resource.effect.is_some()) {
        (true, true) => Ok(()),
        (true, false) | (false, true) if principal.account == request.account => Ok(()),
        (true, false) => Err(deny(Reason::NothingAllows(Kind::Resource))),
        (false, _) => Err(deny(Reason::NothingAllows(Kind::Identity))),
    }
}

/// Whether a role's trust policy lets somebody have its credentials. It must allow it in every case; who is not named
/// by it alone, but with all of an account, needs a policy of their own that allows it, too. `identity` are the
/// caller's policies, `None` of who may do everything.
///
/// # Errors
/// Why not.
pub fn trusts(
    principal: &Principal,
    identity: Option<&[Policy]>,
    trust: &Policy,
    request: Request<'_>,
) -> Result<(), Denial> {
    let call = Call { principal, request };
    let by_trust = call.verdict(trust.statements.iter());
    match by_trust.effect {
        Some(Effect::Allow) => {}
        Some(Effect::Deny) => {
            return Err(call.denial(Reason::Explicit(Kind::Resource), by_trust.unsupported));
        }
        None => return Err(call.denial(Reason::NothingAllows(Kind::Resource), by_trust.unsupported)),
    }
    let Some(identity) = identity else {
        return Ok(());
    };
    let named = trust.statements.iter().any(|statement| {
        let by_name = statement
            .principals
            .as_ref()
            .is_some_and(|all| call.is_named_by(all));
        statement.effect == Effect::Allow && by_name && call.fits(statement) == Ok(true)
    });
    let by_identity = call.verdict(identity.iter().flat_map(|policy| &policy.statements));
    match by_identity.effect {
        Some(Effect::Allow) => Ok(()),
        None if named && principal.account == request.account => Ok(()),
        Some(Effect::Deny) => Err(call.denial(Reason::Explicit(Kind::Identity), by_identity.unsupported)),
        None => Err(call.denial(Reason::NothingAllows(Kind::Identity), by_identity.unsupported)),
    }
}

#[derive(Clone, Copy)]
struct Call<'a> {
    principal: &'a Principal,
    request: Request<'a>,
}

/// What some statements say of a call.
struct Verdict<'s> {
    /// `None` where none is about it.
    effect: Option<Effect>,
    /// What was not understood of a statement that may be about it.
    unsupported: Option<&'s str>,
}

impl Call<'_> {
    fn verdict<'s>(&self, statements: impl Iterator<Item = &'s Statement>) -> Verdict<'s> {
        let mut verdict = Verdict {
            effect: None,
            unsupported: None,
        };
        for statement in statements {
            let fits = self.fits(statement).unwrap_or_else(|what| {
                verdict.unsupported = Some(what);
                statement.effect == Effect::Deny
            });
            match statement.effect {
                Effect::Deny if fits => {
                    verdict.effect = Some(Effect::Deny);
                    return verdict;
                }
                Effect::Allow if fits => verdict.effect = Some(Effect::Allow),
                _ => {}
            }
        }
        verdict
    }

    /// Whether a statement is about the call; the name of what is not understood of it where that cannot be known.
    fn fits<'s>(&self, statement: &'s Statement) -> Result<bool, &'s str> {
        let Request { action, resource, .. } = self.request;
        let by_whom = statement.principals.as_ref();
        if !by_whom.is_none_or(|principals| self.is_one_of(principals))
            || !statement.is_about(action, resource)
        {
            return Ok(false);
        }
        let mut unsupported = None;
        for condition in &statement.conditions {
            match condition.holds(|key| self.value_of(key)) {
                Ok(true) => {}
                // One that does not hold is enough, whatever the others are.
                Ok(false) => return Ok(false),
                Err(what) => unsupported = Some(what),
            }
        }
        unsupported.map_or(Ok(true), Err)
    }

    fn denial(&self, reason: Reason, unsupported: Option<&str>) -> Denial {
        Denial {
            principal: self.principal.arn.clone(),
            action: self.request.action.to_owned(),
            resource: self.request.resource.to_owned(),
            reason,
            unsupported: unsupported.map(str::to_owned),
        }
    }

    fn is_one_of(&self, principals: &Principals) -> bool {
        let account = &self.principal.account;
        let of_account = |one: &String| one == account || *one == format!("arn:aws:iam::{account}:root");
        match principals {
            Principals::Aws(list) if list.iter().any(of_account) => true,
            Principals::AnyOf(all) => all.iter().any(|principals| self.is_one_of(principals)),
            named => self.is_named_by(named),
        }
    }

    /// The same, where naming an account does not name all who are of it.
    fn is_named_by(&self, principals: &Principals) -> bool {
        let Principal { arn, .. } = self.principal;
        match principals {
            Principals::Anyone => true,
            Principals::Aws(list) => list.iter().any(|one| one == arn || self.is_session_of(one)),
            Principals::Service(list) => list.contains(arn),
            Principals::AnyOf(all) => all.iter().any(|principals| self.is_named_by(principals)),
        }
    }

    /// Whether the caller has the credentials of a role that is named by its ARN.
    fn is_session_of(&self, role: &str) -> bool {
        let Principal { arn, account } = self.principal;
        let session = arn.strip_prefix(&format!("arn:aws:sts::{account}:assumed-role/"));
        let of = session.and_then(|session| session.split('/').next());
        let is_role = role.starts_with(&format!("arn:aws:iam::{account}:role/"));
        is_role && of.is_some_and(|name| name == name_of(role))
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
            context: &[
                ("aws:SourceArn", "arn:aws:s3:::photos"),
                ("aws:SourceIp", "127.0.0.1"),
            ],
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
        assert!(
            with(r#""ArnEquals": {"aws:SourceArn": "arn:aws:s3:::*"}"#),
            "as in IAM"
        );
        assert!(!with(r#""StringEquals": {"aws:SourceArn": "arn:aws:s3:::*"}"#));
        assert!(with(r#""StringEqualsIfExists": {"aws:SourceAccount": "1"}"#));
        assert!(with(
            r#""Null": {"aws:SourceAccount": "true", "aws:SourceArn": false}"#
        ));
        assert!(with(
            r#""IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "127.0.0.1"]}"#
        ));
        assert!(!with(r#""NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}"#));
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

    #[test]
    fn what_is_not_understood_allows_nothing_and_denies_and_says_so() {
        let odd = r#", "Condition": {"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}}"#;
        let allow = Policy::of_role(&format!("{{\"Statement\": {}}}", ALLOW.replace('}', odd)));
        let deny = Policy::of_role(&format!("{{\"Statement\": {}}}", DENY.replace('}', odd)));
        let (allow, deny) = (allow.expect("a policy"), deny.expect("a policy"));
        let denied = asked(&user(HOME), std::slice::from_ref(&allow), None).expect_err("denied");
        let says = "the condition operator `DateLessThan` is not supported by Squall";
        assert!(
            denied.contains("because no identity-based") && denied.contains(says),
            "{denied}"
        );
        let denied = asked(&user(HOME), &[identity(ALLOW), deny], None).expect_err("denied");
        assert!(
            denied.contains("explicit deny") && denied.contains(says),
            "{denied}"
        );
        assert_eq!(asked(&user(HOME), &[allow, identity(ALLOW)], None), Ok(()));
    }

    #[track_caller]
    fn trusted(principal: &Principal, identity: Option<&[Policy]>, by: &str) -> bool {
        let statement = r#"{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "#;
        let trust = Policy::of_trust(&format!("{{\"Statement\": {statement}{by}}}}}")).expect(by);
        let request = Request {
            action: "sts:AssumeRole",
            resource: "arn:aws:iam::000000000000:role/shop",
            account: HOME,
            context: &[],
        };
        trusts(principal, identity, &trust, request).is_ok()
    }

    #[test]
    fn a_role_is_for_those_whom_it_trusts() {
        let may = [identity(
            r#"{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}"#,
        )];
        let (ada, stranger) = (user(HOME), user("111122223333"));
        let lambda = r#"{"Service": "lambda.amazonaws.com"}"#;
        let account = r#"{"AWS": "arn:aws:iam::000000000000:root"}"#;
        let by_name = r#"{"Service": "x", "AWS": "arn:aws:iam::000000000000:user/ada"}"#;
        assert!(!trusted(&ada, Some(&may), lambda), "whatever she may do");
        assert!(!trusted(&ada, None, lambda), "nor may the owner");
        assert!(trusted(&ada, Some(&may), account) && trusted(&ada, None, account));
        assert!(!trusted(&ada, Some(&[]), account), "her own policy must allow it");
        assert!(trusted(&ada, Some(&[]), by_name), "it names her");
        assert!(!trusted(&stranger, Some(&may), account));
        assert!(trusted(&stranger, Some(&may), r#"{"AWS": "111122223333"}"#));
        assert!(!trusted(
            &stranger,
            Some(&[]),
            r#"{"AWS": "arn:aws:iam::111122223333:user/ada"}"#
        ));
        let session = Principal {
            arn: "arn:aws:sts::000000000000:assumed-role/first/me".to_owned(),
            account: HOME.to_owned(),
        };
        assert!(trusted(
            &session,
            Some(&[]),
            r#"{"AWS": "arn:aws:iam::000000000000:role/path/first"}"#
        ));
        assert!(!trusted(
            &session,
            Some(&[]),
            r#"{"AWS": "arn:aws:iam::000000000000:role/other"}"#
        ));
    }
}
