//! AWS's own policies that deploying tools attach: those whose actions exist here, with the actions that AWS gives them.
//!
//! A short list, by what it says and not a copy of AWS's documents: what is not in it does not exist, so that no role
//! claims powers that nothing gives it. Source: <https://docs.aws.amazon.com/aws-managed-policy/latest/reference/>.

use std::collections::BTreeMap;

use serde_json::json;

use super::shared::PolicyView;
use crate::policy::Policy;
use crate::record::SharedPolicy;

/// What stands behind `arn:aws:iam::aws:policy/`, and what it allows on everything.
const POLICIES: [(&str, &[&str]); 21] = [
    ("AdministratorAccess", &["*"]),
    (
        "ReadOnlyAccess",
        &[
            "*:Get*",
            "*:List*",
            "*:Describe*",
            "logs:FilterLogEvents",
            "logs:StartLiveTail",
        ],
    ),
    (
        "AWSLambda_FullAccess",
        &[
            "lambda:*",
            "logs:DescribeLogGroups",
            "logs:DescribeLogStreams",
            "logs:GetLogEvents",
            "logs:FilterLogEvents",
            "iam:GetPolicy",
            "iam:GetPolicyVersion",
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
            "iam:ListRoles",
        ],
    ),
    (
        "AWSLambda_ReadOnlyAccess",
        &[
            "lambda:Get*",
            "lambda:List*",
            "logs:DescribeLogGroups",
            "logs:DescribeLogStreams",
            "logs:GetLogEvents",
            "logs:FilterLogEvents",
        ],
    ),
    (
        "service-role/AWSLambdaBasicExecutionRole",
        &["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
    ),
    ("service-role/AWSLambdaRole", &["lambda:InvokeFunction"]),
    (
        "service-role/AWSLambdaSQSQueueExecutionRole",
        &[
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ],
    ),
    (
        "service-role/AWSLambdaVPCAccessExecutionRole",
        &["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
    ),
    (
        "AWSXRayDaemonWriteAccess",
        &["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
    ),
    ("AmazonS3FullAccess", &["s3:*", "s3-object-lambda:*"]),
    (
        "AmazonS3ReadOnlyAccess",
        &[
            "s3:Get*",
            "s3:List*",
            "s3:Describe*",
            "s3-object-lambda:Get*",
            "s3-object-lambda:List*",
        ],
    ),
    ("AmazonSQSFullAccess", &["sqs:*"]),
    (
        "AmazonSQSReadOnlyAccess",
        &[
            "sqs:GetQueueAttributes",
            "sqs:GetQueueUrl",
            "sqs:ListQueues",
            "sqs:ListDeadLetterSourceQueues",
            "sqs:ListMessageMoveTasks",
            "sqs:ListQueueTags",
        ],
    ),
    ("AmazonEventBridgeFullAccess", &["events:*", "scheduler:*"]),
    (
        "AmazonEventBridgeReadOnlyAccess",
        &[
            "events:Describe*",
            "events:List*",
            "events:TestEventPattern",
            "scheduler:Get*",
            "scheduler:List*",
        ],
    ),
    ("AmazonEventBridgeSchedulerFullAccess", &["scheduler:*"]),
    (
        "AmazonEventBridgeSchedulerReadOnlyAccess",
        &["scheduler:Get*", "scheduler:List*"],
    ),
    ("CloudWatchLogsFullAccess", &["logs:*"]),
    (
        "CloudWatchLogsReadOnlyAccess",
        &[
            "logs:Describe*",
            "logs:Get*",
            "logs:List*",
            "logs:FilterLogEvents",
            "logs:StartLiveTail",
            "logs:TestMetricFilter",
        ],
    ),
    ("IAMFullAccess", &["iam:*"]),
    ("IAMReadOnlyAccess", &["iam:Get*", "iam:List*"]),
];
const PREFIX: &str = "arn:aws:iam::aws:policy/";
/// When AWS began with them: they have always been there.
const CREATED_MS: i64 = 1_423_180_800_000;

/// The ARNs of all.
pub(super) fn arns() -> impl Iterator<Item = String> {
    POLICIES.iter().map(|(name, _)| format!("{PREFIX}{name}"))
}

fn find(arn: &str) -> Option<(&'static str, String)> {
    let wanted = arn.strip_prefix(PREFIX)?;
    let (name, actions) = POLICIES.iter().find(|(name, _)| *name == wanted)?;
    let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    let document = json!({ "Version": "2012-10-17", "Statement": [statement] });
    Some((name, document.to_string()))
}

/// What one says.
pub(super) fn policy(arn: &str) -> Option<Policy> {
    let (name, document) = find(arn)?;
    Some(Policy::of_role(&document).unwrap_or_else(|error| unreachable!("`{name}` is a policy: {error}")))
}

/// One as people see it.
pub(super) fn view(arn: &str, attachments: usize) -> Option<PolicyView> {
    let (name, document) = find(arn)?;
    let (path, name) = name
        .rsplit_once('/')
        .map_or((String::new(), name), |(path, name)| (format!("{path}/"), name));
    let policy = SharedPolicy {
        name: name.to_owned(),
        id: id(name),
        path: format!("/{path}"),
        description: None,
        versions: BTreeMap::from([(1, (document, CREATED_MS))]),
        default_version: 1,
        next_version: 2,
        tags: BTreeMap::new(),
        created_ms: CREATED_MS,
        updated_ms: CREATED_MS,
    };
    Some(PolicyView {
        arn: arn.to_owned(),
        policy,
        attachments,
        is_aws: true,
    })
}

/// An id of the name's own, in the form of AWS's.
fn id(name: &str) -> String {
    let letters = name
        .bytes()
        .filter(u8::is_ascii_alphanumeric)
        .chain(std::iter::repeat(b'A'));
    let letters: String = letters
        .take(17)
        .map(|b| char::from(b.to_ascii_uppercase()))
        .collect();
    format!("ANPA{letters}")
}
