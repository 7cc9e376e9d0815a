//! Grants: what people give to a key by a word, and the policy that each word stands for.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::decide::{Principal, Request, decide};
use crate::keys::KeyError;
use crate::policy::{Effect, Policy, PolicyError};

/// What a key may do, in a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// `admin`: everything, also keys.
    Admin,
    /// `deploy`: everything but keys and roles. Functions can be given roles, but for those that allow that.
    Deploy,
    /// `read-only`: looking, also into state and logs; no calls.
    ReadOnly,
    /// `invoke` or `invoke:PATTERN`: calling the functions whose names fit, and nothing else.
    Invoke(String),
}

/// Why a text is not a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No grant of that name.
    #[error(
        "`{0}` is not a grant; there are admin, deploy, read-only, invoke and invoke:PATTERN, as in invoke:shop-*"
    )]
    Unknown(String),
    /// The pattern fits no function's name.
    #[error("`{0}` fits no function: its pattern may have letters, digits, `-`, `_`, `*` and `?`")]
    Pattern(String),
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "admin" => Ok(Self::Admin),
            "deploy" => Ok(Self::Deploy),
            "read-only" => Ok(Self::ReadOnly),
            "invoke" => Ok(Self::Invoke("*".to_owned())),
            _ => {
                let pattern = text.strip_prefix("invoke:");
                let pattern = pattern.ok_or_else(|| GrantError::Unknown(text.to_owned()))?;
                let is_of_names = |letter: char| letter.is_ascii_alphanumeric() || "-_*?".contains(letter);
                if pattern.is_empty() || pattern.len() > 140 || !pattern.chars().all(is_of_names) {
                    return Err(GrantError::Pattern(text.to_owned()));
                }
                Ok(Self::Invoke(pattern.to_owned()))
            }
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::Deploy => f.write_str("deploy"),
            Self::ReadOnly => f.write_str("read-only"),
            Self::Invoke(pattern) if pattern == "*" => f.write_str("invoke"),
            Self::Invoke(pattern) => write!(f, "invoke:{pattern}"),
        }
    }
}

/// What is about keys and roles: whoever may do it may do everything.
const POWERS: [&str; 19] = [
    "iam:Add*",
    "iam:Attach*",
    "iam:Create*",
    "iam:Delete*",
    "iam:Detach*",
    "iam:Put*",
    "iam:Remove*",
    "iam:Set*",
    "iam:Tag*",
    "iam:Untag*",
    "iam:Update*",
    "sts:AssumeRole",
    "sts:TagSession",
    "squall:CreateKey",
    "squall:RotateKey",
    "squall:RevokeKey",
    "squall:ListKeys",
    "squall:PutRole",
    "squall:DeleteRole",
];

impl Grant {
    /// The statements of the policy that it stands for.
    fn statements(&self) -> Value {
        let allow = |actions: &[&str], resources: &[String]| json!({ "Effect": "Allow", "Action": actions, "Resource": resources });
        let everything = ["*".to_owned()];
        let powers_are_for_admins = json!({
            "Sid": "PowersAreForAdmins", "Effect": "Deny", "Action": POWERS, "Resource": "*",
        });
        match self {
            Self::Admin => json!([allow(&["*"], &everything)]),
            Self::Deploy => json!([
                allow(&["*"], &everything),
                powers_are_for_admins,
                {
                    "Sid": "PowersAreNotPassedOn", "Effect": "Deny", "Action": "iam:PassRole", "Resource": "*",
                    "Condition": { "Bool": { "squall:RoleHasPowers": "true" } },
                },
            ]),
            Self::ReadOnly => json!([
                allow(
                    &[
                        "*:Get*",
                        "*:List*",
                        "*:Describe*",
                        "logs:FilterLogEvents",
                        "logs:StartLiveTail"
                    ],
                    &everything
                ),
                powers_are_for_admins,
            ]),
            Self::Invoke(pattern) => {
                let function = format!("arn:aws:lambda:*:*:function:{pattern}");
                let qualified = format!("{function}:*");
                json!([allow(
                    &["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"],
                    &[function, qualified]
                )])
            }
        }
    }

    /// The policy that it stands for.
    ///
    /// # Errors
    /// None that a parsed grant could have; a policy is always read, never put together.
    pub(crate) fn policy(&self) -> Result<Policy, PolicyError> {
        let document = json!({ "Version": "2012-10-17", "Statement": self.statements() });
        Policy::of_identity(&document.to_string())
    }

    /// Whether some policies allow any of what is about keys and roles.
    pub(crate) fn allows_powers(policies: &[Policy], account: &str) -> bool {
        let principal = Principal {
            arn: "*".to_owned(),
            account: account.to_owned(),
        };
        // One action stands for those that its pattern describes: a policy that allows one of them alone is as strong.
        POWERS.iter().any(|power| {
            policies
                .iter()
                .flat_map(|policy| &policy.statements)
                .any(|statement| statement.effect == Effect::Allow && statement.actions_overlap(power))
                && !denies_all(policies, &principal, power)
        })
    }
}

/// Whether a power is denied on everything, as to those who have `deploy` and `read-only`.
fn denies_all(policies: &[Policy], principal: &Principal, power: &str) -> bool {
    let request = Request {
        action: power,
        resource: "*",
        account: &principal.account,
        context: &[],
    };
    decide(principal, policies, None, request).is_err_and(|denial| denial.is_explicit())
}

/// What grants say together, as one document.
pub(crate) fn grants_document(allow: &[String]) -> String {
    let grants = allow.iter().filter_map(|word| word.parse::<Grant>().ok());
    let statements = grants.flat_map(|grant| match grant.statements() {
        Value::Array(statements) => statements,
        one => vec![one],
    });
    let statements: Vec<Value> = statements
        .map(|mut statement| {
            // Names are used once in a document; two grants may have the same.
            statement
                .as_object_mut()
                .and_then(|members| members.remove("Sid"));
            statement
        })
        .collect();
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// The policies of who has these grants, and perhaps a document beside them.
pub(crate) fn policies_of(allow: &[String], document: Option<&str>) -> Result<Vec<Policy>, KeyError> {
    let mut policies = Vec::new();
    for word in allow {
        policies.push(word.parse::<Grant>()?.policy()?);
    }
    if let Some(document) = document {
        policies.push(Policy::of_identity(document)?);
    }
    Ok(policies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Principal, Request, decide};

    #[track_caller]
    fn check(grant: &str, action: &str, resource: &str, expected: bool) {
        let grant: Grant = grant.parse().expect(grant);
        assert_eq!(grant.to_string().parse(), Ok(grant.clone()));
        let principal = Principal {
            arn: "arn:aws:iam::000000000000:user/ada".to_owned(),
            account: "000000000000".to_owned(),
        };
        let request = Request {
            action,
            resource,
            account: "000000000000",
            context: &[],
        };
        let decided = decide(&principal, &[grant.policy().expect("a policy")], None, request);
        assert_eq!(
            decided.is_ok(),
            expected,
            "{grant}: {action} on {resource}: {decided:?}"
        );
    }

    #[test]
    fn each_word_allows_what_it_says() {
        let shop = "arn:aws:lambda:us-east-1:000000000000:function:shop-cart";
        let other = "arn:aws:lambda:us-east-1:000000000000:function:billing";
        check("admin", "squall:CreateKey", "*", true);
        check("deploy", "lambda:CreateFunction", shop, true);
        check("deploy", "squall:CreateKey", "*", false);
        check("read-only", "lambda:ListFunctions", "*", true);
        check("read-only", "squall:GetLogs", shop, true);
        check("deploy", "squall:PutRole", "*", false);
        check("deploy", "squall:ListRoles", "*", true);
        check("read-only", "squall:ListKeys", "*", false);
        check("read-only", "lambda:InvokeFunction", shop, false);
        check("read-only", "lambda:UpdateFunctionCode", shop, false);
        check("invoke:shop-*", "lambda:InvokeFunction", shop, true);
        check(
            "invoke:shop-*",
            "lambda:InvokeFunctionUrl",
            &format!("{shop}:live"),
            true,
        );
        check("invoke:shop-*", "lambda:InvokeFunction", other, false);
        check("invoke:shop-*", "lambda:GetFunction", shop, false);
        check("invoke", "lambda:InvokeFunction", other, true);
    }

    #[test]
    fn what_is_no_grant_is_named() {
        assert_eq!(
            "root".parse::<Grant>(),
            Err(GrantError::Unknown("root".to_owned()))
        );
        for text in ["invoke:", "invoke:a:b", "invoke:a/b", "invoke:\u{e4}"] {
            assert_eq!(text.parse::<Grant>(), Err(GrantError::Pattern(text.to_owned())));
        }
    }
}
