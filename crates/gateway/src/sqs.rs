//! SQS's API, in both its protocols: JSON (`X-Amz-Target: AmazonSQS.…`) and Query (a form in, XML out).
//!
//! [`serve`] reads either into one JSON value, calls the action, and writes its answer in the protocol of the request.
//! What a queue does is behind `events::queue`; this module knows names, shapes and errors.

mod error;
mod input;
mod messages;
mod query;
mod queues;

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};
use squall_events::queue::Queues;
use squall_types::{Home, RequestId};

use self::error::SqsError;
use self::input::Input;
use crate::authenticate::{Authentic, authenticate};
use crate::authorize::Asked;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};
use crate::scheme::Scheme;

const SERVICES: &[&str] = &["sqs"];
/// A batch of a mebibyte, escaped by a form as badly as can be.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One authenticated request.
struct Call<'a> {
    queues: &'a Queues,
    input: Input,
    /// The host that the client knows us by: queue URLs carry it.
    host: String,
    /// How it has come.
    scheme: Scheme,
    account: String,
    sender: String,
}

type Answer = Result<Value, SqsError>;

/// How a request was written, and its answer is to be.
enum Protocol {
    Json,
    Query,
}

/// Answers a request to SQS's API.
pub(crate) async fn serve(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
    let request_id = RequestId::random();
    let (head, body) = request.into_parts();
    let target = head.headers.get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok()).map(str::to_owned);
    let protocol = match target {
        Some(_) => Protocol::Json,
        None => Protocol::Query,
    };
    let too_large = || ApiError::validation("The request is too large");
    let authentic = authenticate(gateway, &head, body, SERVICES, REQUEST_BYTES_MAX, too_large).await;
    let answer = match authentic {
        Err(error) => Err(SqsError::from(error)),
        Ok(authentic) => perform(gateway, &head, target, authentic, request_id).await,
    };
    let mut response = match (protocol, answer) {
        (Protocol::Json, Ok((_, value))) => json_answer(StatusCode::OK, &value),
        (Protocol::Json, Err(error)) => error.json_response(),
        (Protocol::Query, Ok((action, value))) => xml_answer(
            StatusCode::OK,
            query::answer(&action, &value, &request_id.to_string()),
        ),
        (Protocol::Query, Err(error)) => {
            let (status, text) = error.xml(&request_id.to_string());
            xml_answer(status, text)
        }
    };
    reply::name_request(&mut response, request_id);
    response
}

async fn perform(
    gateway: &Gateway,
    head: &Parts,
    target: Option<String>,
    authentic: Authentic,
    request_id: RequestId,
) -> Result<(String, Value), SqsError> {
    let body = authentic.peek();
    let (action, input) = match target {
        Some(target) => {
            let action = target.strip_prefix("AmazonSQS.").unwrap_or(&target).to_owned();
            (action, read_json(body)?)
        }
        None => query::read(head.uri.query().unwrap_or(""), body, head.uri.path())?,
    };
    let sender = authentic.access_key_id.clone();
    tracing::debug!(operation = action, %request_id, key = sender, "called");
    authentic.authorize(gateway, &asked(&gateway.config.home, &action, &input))?;
    let host = head.headers.get(header::HOST);
    let call = Call {
        queues: &gateway.engines.queues,
        input: Input(input),
        host: host
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost")
            .to_owned(),
        scheme: Scheme::of(&head.extensions),
        account: gateway.config.home.account.clone(),
        sender,
    };
    let value = call.perform(&action).await?;
    Ok((action, value))
}

/// What an action is in the language of policies: a batch is what it is a batch of.
fn asked(home: &Home, action: &str, input: &Value) -> Asked<'static> {
    let action = format!("sqs:{}", action.strip_suffix("Batch").unwrap_or(action));
    let name = match (&input["QueueUrl"], &input["QueueName"]) {
        (Value::String(url), _) => url.trim_end_matches('/').rsplit('/').next(),
        (_, Value::String(name)) => Some(name.as_str()),
        _ => None,
    };
    let arn = |name| format!("arn:aws:sqs:{}:{}:{name}", home.region, home.account);
    Asked::on(action, name.map_or("*".to_owned(), arn))
}

fn read_json(body: &[u8]) -> Result<Value, SqsError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(SqsError::serialization("the request is not a JSON object")),
        Err(error) => Err(SqsError::serialization(&error.to_string())),
    }
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = reply::json(status, value);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.0"),
    );
    response
}

fn xml_answer(status: StatusCode, text: String) -> Response<Body> {
    let mut response = reply::plain(status, text);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

impl Call<'_> {
    async fn perform(&self, action: &str) -> Answer {
        match action {
            "CreateQueue" => self.create_queue().await,
            "GetQueueUrl" => self.get_queue_url(),
            "ListQueues" => self.list_queues(),
            "DeleteQueue" => self.delete_queue().await,
            "PurgeQueue" => self.purge_queue().await,
            "GetQueueAttributes" => self.get_queue_attributes(),
            "SetQueueAttributes" => self.set_queue_attributes().await,
            "ListQueueTags" => self.list_queue_tags(),
            "TagQueue" => self.tag_queue().await,
            "UntagQueue" => self.untag_queue().await,
            "ListDeadLetterSourceQueues" => self.list_dead_letter_sources(),
            "StartMessageMoveTask" => self.start_move(),
            "CancelMessageMoveTask" => self.cancel_move(),
            "ListMessageMoveTasks" => self.list_moves(),
            "SendMessage" => self.send_message().await,
            "SendMessageBatch" => self.send_message_batch().await,
            "ReceiveMessage" => self.receive_message().await,
            "DeleteMessage" => self.delete_message().await,
            "DeleteMessageBatch" => self.delete_message_batch().await,
            "ChangeMessageVisibility" => self.change_visibility().await,
            "ChangeMessageVisibilityBatch" => self.change_visibility_batch().await,
            "AddPermission" | "RemovePermission" => Err(SqsError::unsupported(&format!(
                "{action} is not supported by Squall: every key of the server may use every queue."
            ))),
            other => Err(SqsError::invalid_action(other)),
        }
    }

    fn url(&self, name: &str) -> String {
        format!("{}://{}/{}/{name}", self.scheme.as_str(), self.host, self.account)
    }

    /// The name of the queue that `QueueUrl` is the address of, whatever host it names.
    fn queue(&self) -> Result<String, SqsError> {
        let url = self.input.required("QueueUrl")?;
        let mut parts = url.rsplit('/').filter(|part| !part.is_empty());
        match (parts.next(), parts.next()) {
            (Some(name), Some(account)) if account == self.account => Ok(name.to_owned()),
            // A name alone is what some tools send.
            (Some(name), None) => Ok(name.to_owned()),
            _ => Err(SqsError::new(
                "InvalidAddress",
                format!("The address {url} is not valid for this endpoint."),
            )),
        }
    }
}
