//! DAGs: `/squall/v1/dags` and `/squall/v1/dags/NAME`. Their runs are in `calls`.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Serialize;
use squall_workflow::dag::{DagError, Dags, Node, Spec, Topology};

use super::calls::decoded;
use crate::authenticate::Authentic;
use crate::authorize::Asked;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};

/// A DAG of the most functions and edges, with long names.
pub(super) const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Whether the caller may call every function of a DAG: who runs it later calls them by it.
///
/// # Errors
/// AWS's AccessDeniedException.
pub(super) fn permit_functions(gateway: &Gateway, authentic: &Authentic) -> Result<(), ApiError> {
    // What is no DAG is refused later, in the operation's own words.
    let Ok(spec) = serde_json::from_slice::<Spec>(authentic.peek()) else {
        return Ok(());
    };
    let own = spec
        .functions
        .iter()
        .map(|node| node.function.as_ref().unwrap_or(&node.name));
    let holding = spec.fused.as_ref().map(|fused| &fused.function);
    for function in own.chain(holding) {
        let asked = Asked::on_function("lambda:InvokeFunction", &gateway.config.home, function, None);
        authentic.permit(gateway, &asked)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct DagShape<'a> {
    name: &'a str,
    functions: &'a [Node],
    edges: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    fused: Option<FusedShape<'a>>,
}

#[derive(Serialize)]
struct FusedShape<'a> {
    function: &'a str,
    /// False where a function has changed since: runs run them by themselves until the DAG is kept again.
    current: bool,
}

impl<'a> DagShape<'a> {
    async fn of(dags: &Dags, name: &'a str, dag: &'a Topology) -> Self {
        let fused = match &dag.spec.fused {
            None => None,
            Some(fused) => Some(FusedShape {
                function: &fused.function,
                current: dags.runs_fused(dag).await,
            }),
        };
        Self {
            name,
            functions: &dag.spec.functions,
            edges: &dag.spec.edges,
            fused,
        }
    }
}

#[derive(Serialize)]
struct DagsShape<'a> {
    dags: Vec<DagShape<'a>>,
}

/// Answers for all DAGs, or for the one of a name.
pub(super) async fn serve(
    gateway: &Gateway,
    method: &Method,
    name: Option<&str>,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    let dags = super::calls::engine(gateway)?;
    let Some(name) = name.map(decoded) else {
        let all = dags.all();
        let mut shapes = Vec::with_capacity(all.len());
        for (name, dag) in &all {
            shapes.push(DagShape::of(dags, name, dag).await);
        }
        return Ok(reply::json(StatusCode::OK, &DagsShape { dags: shapes }));
    };
    match *method {
        Method::PUT => {
            let spec: Spec = serde_json::from_slice(&body)
                .map_err(|error| ApiError::validation(format!("the body is not a DAG: {error}")))?;
            let dag = dags.register(&name, spec).await?;
            Ok(reply::json(
                StatusCode::OK,
                &DagShape::of(dags, &name, &dag).await,
            ))
        }
        Method::DELETE => {
            dags.delete(&name).await?;
            Ok(reply::plain(StatusCode::NO_CONTENT, Bytes::new()))
        }
        _ => {
            let dag = dags.get(&name)?;
            Ok(reply::json(
                StatusCode::OK,
                &DagShape::of(dags, &name, &dag).await,
            ))
        }
    }
}

impl From<DagError> for ApiError {
    fn from(error: DagError) -> Self {
        let text = error.to_string();
        match error {
            DagError::NotFound(_) => Self::not_found(text),
            DagError::Topology(_) | DagError::Invalid(_) => Self::validation(text),
            DagError::Throttled(_) => Self::throttled(text),
            DagError::Exists(_) | DagError::Conflict(_) => {
                Self::new(StatusCode::CONFLICT, "ResourceConflictException", text)
            }
            DagError::ShuttingDown => squall_types::InvokeError::ShuttingDown.into(),
            DagError::Store(_) | DagError::Record { .. } => Self::platform(text),
        }
    }
}
