//! S3's API, by the crate `s3s`: it knows S3's XML, headers and signatures; `objects` knows what buckets and objects are.
//!
//! [`serve`] refuses what S3 would not read at all, and hands the rest to `s3s`. That verifies the signature, asks
//! [`access`] whether the caller may do it, and calls the operation. Bodies stream both ways, so they do not go through
//! `authenticate`. What is not in `access::action`'s table is answered NotImplemented, by name.

mod access;
mod attributes;
mod body;
mod buckets;
mod error;
mod head;
mod list;
mod notifications;
mod objects;
mod operations;
mod rest;
mod tags;
mod uploads;

pub(crate) use head::is_link_v2;
pub(crate) use objects::whole;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use s3s::{S3Error, S3Result};
use squall_objects::{Objects, Origin};
use squall_types::{Home, RequestId};

use self::rest::Rest;
use crate::authenticate::Authentic;
use crate::authorize::Asked;
use crate::gateway::Gateway;
use crate::reply::Body;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
/// Ten thousand parts with their checksums, or a thousand keys badly escaped.
const XML_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What answers one request.
#[derive(Clone)]
struct Face {
    gateway: Arc<Gateway>,
    peer: SocketAddr,
    request_id: RequestId,
}

/// Answers a request to S3's API.
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    let request_id = RequestId::random();
    let face = Face {
        gateway: gateway.clone(),
        peer,
        request_id,
    };
    let (mut head, body) = request.into_parts();
    let rest = Rest::of(body, &head.headers);
    let mut response = match head::check(&head, &gateway.config.home) {
        Ok(()) => {
            head::lift(&mut head);
            answer(
                face,
                Request::from_parts(head, s3s::Body::http_body(rest.clone())),
            )
            .await
        }
        Err(error) => refusal(error),
    };
    rest.settle(&mut response).await;
    let value = HeaderValue::from_str(&request_id.to_string()).expect("a UUID is a header value");
    response.headers_mut().entry(REQUEST_ID).or_insert(value);
    response
}

async fn answer(face: Face, request: Request<s3s::Body>) -> Response<Body> {
    let mut config = S3Config::default();
    config.xml_max_body_size = XML_BYTES_MAX;
    let mut builder = S3ServiceBuilder::new(face.clone());
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(access::Secrets(face.gateway.clone()));
    builder.set_access(access::Decisions(face.gateway.clone()));
    builder.set_host(head::Hosts);
    match builder.build().call(request).await {
        Ok(response) => response.map(BodyExt::boxed_unsync),
        Err(error) => refusal(error::platform(format!("S3 could not answer: {error:?}"))),
    }
}

/// A refusal as XML.
fn refusal(error: S3Error) -> Response<Body> {
    match error.to_http_response() {
        Ok(response) => response.map(BodyExt::boxed_unsync),
        Err(error) => {
            tracing::error!(%error, "could not write a refusal as XML");
            crate::reply::plain(http::StatusCode::INTERNAL_SERVER_ERROR, "")
        }
    }
}

impl Face {
    fn objects(&self) -> &Objects {
        &self.gateway.engines.objects
    }

    fn home(&self) -> &Home {
        &self.gateway.config.home
    }

    /// Who makes a change, for the events that tell of it.
    fn origin(&self, caller: &Authentic) -> Origin {
        Origin {
            principal: caller.caller.principal().arn.clone(),
            address: self.peer.ip().to_string(),
            request_id: self.request_id.to_string(),
        }
    }

    /// Whether the caller may do something beside what the operation itself is.
    fn permit(&self, caller: &Authentic, action: &'static str, resource: String) -> S3Result<()> {
        let asked = Asked::on(action, resource);
        caller
            .permit(&self.gateway, &asked)
            .map_err(|denied| error::denied(&denied))
    }

    /// Whether the caller may give an object tags while making it.
    fn permit_tags(&self, caller: &Authentic, bucket: &str, key: &str) -> S3Result<()> {
        self.permit(caller, "s3:PutObjectTagging", object_arn(bucket, key))
    }
}

/// Who calls: put there by [`access`], without which no operation is called.
fn caller<T>(request: &s3s::S3Request<T>) -> S3Result<Arc<Authentic>> {
    let caller = request.extensions.get::<Arc<Authentic>>().cloned();
    caller.ok_or_else(|| s3s::s3_error!(AccessDenied, "Access Denied"))
}

/// The ARN of an object.
fn object_arn(bucket: &str, key: &str) -> String {
    format!("{}/{key}", squall_objects::arn(bucket))
}
