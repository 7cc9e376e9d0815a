//! The commands' way to a server: signed HTTP/1.1 requests, one at a time.
//!
//! Called by `commands::*`. Bounded by: a time to connect, a time to answer (none for an invocation, which has its
//! function's own), and the most bytes that an answer may have.

pub(crate) mod lambda;
pub(crate) mod sqs;
mod target;
mod trust;

use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use squall_gateway::sigv4::{self, Signer};

pub(crate) use target::{ServerArgs, Target};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For everything but an invocation and a followed log. A large package on a slow disk takes its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Lambda answers 6 MB at most; a server with raised limits may send more, but not without end.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The name that Lambda's clients sign for; Squall's own API takes it too.
const SERVICE: &str = "lambda";
/// What RFC 3986 lets stand; Signature Version 4 wants everything else encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// One segment of a path, or one half of a query pair, as a URL carries it.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A request before it is signed.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// HTTP's verb.
    pub(crate) method: Method,
    /// Encoded, from the root.
    pub(crate) path: String,
    /// Pairs, not encoded.
    pub(crate) query: Vec<(&'static str, String)>,
    /// Beyond those of the signature; values must be printable ASCII.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Raw.
    pub(crate) body: Bytes,
    /// Until the whole answer is here.
    pub(crate) timeout: Option<Duration>,
    /// The name that its signature is for.
    pub(crate) service: &'static str,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: Some(ANSWER_TIMEOUT),
            service: SERVICE,
        }
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Bytes::from(body.to_string());
        self.header("content-type", "application/json")
    }

    fn path_and_query(&self) -> String {
        let pairs: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        if pairs.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, pairs.join("&"))
        }
    }
}

/// A whole answer of status 2xx.
#[derive(Debug)]
pub(crate) struct Answer {
    /// As sent.
    pub(crate) headers: HeaderMap,
    /// All of it.
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn json<T: for<'a> Deserialize<'a>>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body)
            .context("could not read the server's answer: it is not the JSON expected")
    }
}

/// The server's refusal, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({kind})")]
pub(crate) struct Refusal {
    /// HTTP's.
    pub(crate) status: StatusCode,
    /// Lambda's exception name.
    pub(crate) kind: String,
    /// For people.
    pub(crate) message: String,
}

impl Refusal {
    fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let fields: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| fields.get(name).and_then(|v| v.as_str()).map(str::to_owned);
        let kind = headers
            .get("x-amzn-errortype")
            .and_then(|v| v.to_str().ok())
            .map(|kind| kind.split(':').next().unwrap_or(kind).to_owned());
        Self {
            status,
            kind: kind
                .or_else(|| text("__type").map(|kind| kind.rsplit('#').next().unwrap_or(&kind).to_owned()))
                .unwrap_or_else(|| format!("HTTP {status}")),
            message: text("Message")
                .or_else(|| text("message"))
                .unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned()),
        }
    }
}

/// A connection to one server, with the key to sign with.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When the certificates to trust cannot be read, for an `https://` endpoint.
    pub(crate) fn new(target: Target) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let tls = trust::of(&target.endpoint)?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { target, http })
    }

    /// Where `args` and the environment point.
    pub(crate) fn connect(args: &ServerArgs) -> anyhow::Result<Self> {
        Self::new(Target::find(args)?)
    }

    /// Where requests go: `http://HOST:PORT`, or `https://`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.target.endpoint
    }

    /// Sends and waits for the whole answer.
    ///
    /// # Errors
    /// [`Refusal`] (to be found by downcast) for a status other than 2xx; else the way to the server failed.
    pub(crate) async fn send(&self, call: Call) -> anyhow::Result<Answer> {
        let timeout = call.timeout;
        let whole = async {
            let (status, headers, body) = self.open(call).await?;
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| anyhow!(error))
                .with_context(|| format!("the answer of `{}` broke off", self.target.endpoint))?
                .to_bytes();
            if !status.is_success() {
                return Err(Refusal::read(status, &headers, &body).into());
            }
            Ok(Answer { headers, body })
        };
        match timeout {
            None => whole.await,
            Some(limit) => match tokio::time::timeout(limit, whole).await {
                Ok(answer) => answer,
                Err(_) => bail!(
                    "`{}` did not answer within {} s",
                    self.target.endpoint,
                    limit.as_secs()
                ),
            },
        }
    }

    /// Sends and hands the answer's body over as it comes.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn stream(&self, call: Call) -> anyhow::Result<Incoming> {
        let (status, headers, body) = self.open(call).await?;
        if status.is_success() {
            return Ok(body);
        }
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow!(error))?;
        Err(Refusal::read(status, &headers, &body.to_bytes()).into())
    }

    async fn open(&self, call: Call) -> anyhow::Result<(StatusCode, HeaderMap, Incoming)> {
        let request = self.signed(&call)?;
        let answer = self
            .http
            .request(request)
            .await
            .map_err(|error| self.unreachable(error))?;
        let (parts, body) = answer.into_parts();
        Ok((parts.status, parts.headers, body))
    }

    fn signed(&self, call: &Call) -> anyhow::Result<Request<Full<Bytes>>> {
        let target = &self.target;
        let url = format!(
            "{}{}",
            target.endpoint.trim_end_matches('/'),
            call.path_and_query()
        );
        let attempted = || format!("could not make a request for `{url}`");
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&url)
            .header("host", target.authority()?)
            .header("user-agent", concat!("squall/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let (mut head, ()) = request.body(()).with_context(attempted)?.into_parts();
        let signer = Signer {
            access_key_id: target.access_key_id.clone(),
            secret_access_key: target.secret_access_key.clone(),
            region: target.region.clone(),
            service: call.service.to_owned(),
        };
        sigv4::sign(&signer, SystemTime::now(), &mut head, &call.body).with_context(attempted)?;
        Ok(Request::from_parts(head, Full::new(call.body.clone())))
    }

    fn unreachable(&self, error: legacy::Error) -> anyhow::Error {
        let endpoint = &self.target.endpoint;
        let refused = error.is_connect();
        let error = anyhow!(error);
        if error.chain().any(trust::is_mistrust) {
            error.context(format!(
                "the certificate of `{endpoint}` is not trusted: name a file with it, or with its authority's, in \
                 {}",
                trust::BUNDLE
            ))
        } else if refused {
            error.context(format!(
                "no server answers at `{endpoint}`: start one with `squall up`"
            ))
        } else {
            error.context(format!("the connection to `{endpoint}` broke"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_the_signature_wants_encoded() {
        assert_eq!(encode("$LATEST"), "%24LATEST");
        assert_eq!(encode("arn:aws:lambda"), "arn%3Aaws%3Alambda");
        assert_eq!(encode("a-b_c.d~e"), "a-b_c.d~e");
    }

    #[test]
    fn a_refusal_carries_lambdas_name_and_words() {
        let check = |kind: Option<&str>, body: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert("x-amzn-errortype", kind.parse().expect("a header value"));
            }
            let refusal = Refusal::read(StatusCode::BAD_REQUEST, &headers, body.as_bytes());
            assert_eq!(refusal.to_string(), expected);
        };
        check(
            Some("ResourceNotFoundException"),
            r#"{"Type":"User","Message":"Function not found: x"}"#,
            "Function not found: x (ResourceNotFoundException)",
        );
        check(
            Some("TooManyRequestsException:http://internal"),
            r#"{"message":"Rate Exceeded."}"#,
            "Rate Exceeded. (TooManyRequestsException)",
        );
        check(
            None,
            r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#,
            "The specified queue does not exist. (QueueDoesNotExist)",
        );
        check(None, "<html>", "<html> (HTTP 400 Bad Request)");
    }
}
