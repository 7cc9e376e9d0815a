//! What the gateway is made of, and which of its faces a request is for.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, header};
use hyper::body::Incoming;
use squall_access::{Audit, Keys, Roles, Sessions};
use squall_events::bus::Buses;
use squall_events::mapping::Mappings;
use squall_events::queue::Queues;
use squall_events::schedule::Schedules;
use squall_objects::Objects;
use squall_registry::Registry;
use squall_state::State;
use squall_store::logs::LogStore;
use squall_types::{AcceptedEvents, DeliverByService, Home, Invoke, InvokeOnce, Visitor};
use squall_workflow::dag::Dags;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::authenticate::Peer;
use crate::body::Room;
use crate::door::{self, Door};
use crate::reply::Body;
use crate::scheme::Scheme;
use crate::service::{self, Service};
use crate::sigv4::{Signer, Verifier};
use crate::{bus, iam, lambda, logs, native, s3, scheduler, sqs, sts, url};

/// Where the gateway stands.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Account and region.
    pub home: Home,
    /// Where it listens, for links to itself.
    pub address: SocketAddr,
    /// The most connections at once; further ones wait to be accepted.
    pub connections_max: usize,
}

impl GatewayConfig {
    /// The defaults for a server at `address`.
    pub fn new(home: Home, address: SocketAddr) -> Self {
        Self {
            home,
            address,
            connections_max: 4096,
        }
    }
}

/// Writes the metrics of all engines as they are now, in the text that Prometheus reads.
pub type WriteMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The engines behind the services beside Lambda. Each service's module adds its own.
#[derive(Clone)]
pub struct Engines {
    /// Compositions of functions.
    pub dags: Option<Dags>,
    /// The functions' state.
    pub state: Option<State>,
    /// Queues, for SQS's API.
    pub queues: Queues,
    /// Event buses and their rules, for EventBridge's API.
    pub buses: Buses,
    /// Schedules, for EventBridge Scheduler's API; rules have theirs there too.
    pub schedules: Schedules,
    /// Event source mappings.
    pub mappings: Mappings,
    /// Buckets and objects, for S3's API.
    pub objects: Objects,
    /// Takes what destinations and dead-letter queues are named for.
    pub deliver: DeliverByService,
    /// Keeps accepted events.
    pub events: Option<Arc<dyn AcceptedEvents>>,
    /// Makes calls that have an idempotency key.
    pub once: Arc<dyn InvokeOnce>,
    /// Writes what is counted.
    pub metrics: WriteMetrics,
}

/// Who may sign, and what functions may do.
#[derive(Clone)]
pub struct Access {
    /// Keys of people and programs.
    pub keys: Keys,
    /// What the functions' roles allow.
    pub roles: Roles,
    /// Credentials of running instances.
    pub sessions: Sessions,
    /// Who changed what.
    pub audit: Audit,
}

/// The HTTP edge of one server.
pub struct Gateway {
    pub(crate) config: GatewayConfig,
    pub(crate) registry: Registry,
    pub(crate) invoke: Arc<dyn Invoke>,
    pub(crate) logs: LogStore,
    /// What the services beside Lambda speak for.
    pub(crate) engines: Engines,
    pub(crate) access: Access,
    pub(crate) verifier: Verifier,
    /// Signs links to code packages.
    pub(crate) signer: Signer,
    pub(crate) room: Room,
    /// Those who come by doors in functions' walls.
    pub(crate) visitors: Option<mpsc::Receiver<Visitor>>,
    /// How everybody comes; known once it serves.
    pub(crate) scheme: Scheme,
    /// Cancelled when the server ends: answers without an end of their own end then.
    pub(crate) stop: CancellationToken,
}

impl Gateway {
    /// Puts the edge together. `signer` has one of the keys of `access`: it signs links that the gateway itself hands out.
    pub fn new(
        config: GatewayConfig,
        registry: Registry,
        invoke: Arc<dyn Invoke>,
        logs: LogStore,
        engines: Engines,
        access: Access,
        signer: Signer,
    ) -> Self {
        let known = access.clone();
        let secret_of = move |id: &str| {
            let of_session = || known.sessions.get(id).map(|session| session.secret.clone());
            let of_role = || known.roles.assumed(id).map(|assumed| assumed.secret);
            let of_key = known.keys.signing(id).map(|(secret, _)| secret);
            of_key.or_else(of_session).or_else(of_role)
        };
        let verifier = Verifier::new(Arc::new(secret_of), &config.home.region);
        Self {
            config,
            registry,
            invoke,
            logs,
            engines,
            access,
            verifier,
            signer,
            room: Room::default(),
            visitors: None,
            scheme: Scheme::Http,
            stop: CancellationToken::new(),
        }
    }

    /// Serves these too: functions that have no network.
    #[must_use]
    pub fn with_visitors(mut self, visitors: mpsc::Receiver<Visitor>) -> Self {
        self.visitors = Some(visitors);
        self
    }

    /// How and at which port everybody reaches this server.
    pub(crate) fn public(&self) -> (Scheme, u16) {
        (self.scheme, self.config.address.port())
    }

    /// Answers one request, whoever it is for.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        request.extensions_mut().insert(Peer(peer.ip()));
        let host = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("");
        let may_come = Door::admits(request.extensions(), None);
        if let Some(id) = url::id_of_host(host) {
            if !may_come {
                return door::refuse_unsigned();
            }
            let id = id.to_owned();
            return url::serve_host(self, &id, request, peer).await;
        }
        let path = request.uri().path();
        if path.starts_with("/lambda-url/") && !may_come {
            door::refuse_unsigned()
        } else if path.starts_with("/lambda-url/") {
            url::serve_path(self, request, peer).await
        } else {
            // On the heap: the connection moves this future for each request, with the room for its largest branch.
            Box::pin(self.answer_api(request, peer)).await
        }
    }

    /// Answers what is for one of the APIs.
    async fn answer_api(self: &Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if request.uri().path().starts_with("/squall/v1/") {
            return native::serve(self, request).await;
        }
        match service::of(&request) {
            Service::Sqs => sqs::serve(self, request).await,
            Service::Events => bus::serve(self, request).await,
            Service::Scheduler => scheduler::serve(self, request).await,
            Service::Logs => logs::serve(self, request).await,
            Service::Iam => iam::serve(self, request).await,
            Service::Sts => sts::serve(self, request).await,
            Service::S3 => s3::serve(self, request, peer).await,
            // Lambda's front door refuses what is signed for a service that nobody offers.
            Service::Lambda => lambda::serve(self, request).await,
        }
    }
}
