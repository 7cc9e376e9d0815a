//! The addresses of a server: where it listens, and by which URL whom reaches it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use squall_gateway::Listeners;
use tokio::net::TcpListener;

use crate::endpoint;
use crate::tls;
use crate::up::UpArgs;

/// Addresses that are taken.
pub(crate) struct Listening {
    pub(crate) listeners: Listeners,
    /// Of the public listener.
    pub(crate) address: SocketAddr,
    /// What others are told.
    pub(crate) url: String,
    /// For functions that have the host's network.
    pub(crate) functions_url: String,
}

/// Takes the addresses. With TLS, functions that have the host's network get one without it, on the loopback: the
/// certificate need not name an address that they can reach.
///
/// # Errors
/// When an address is taken, or the certificate cannot be used.
pub(crate) async fn listen(args: &UpArgs) -> anyhow::Result<Listening> {
    let tls = tls::of(args)?;
    let public = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "could not listen on {}; choose another address with --listen",
            args.listen
        )
    })?;
    let address = public.local_addr()?;
    let (scheme, local) = match &tls {
        None => ("http", None),
        Some(_) => ("https", Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?)),
    };
    let functions = local.as_ref().unwrap_or(&public).local_addr()?;
    let of_address = || endpoint::url(scheme, address);
    Ok(Listening {
        address,
        url: args.public_url.clone().unwrap_or_else(of_address),
        functions_url: endpoint::url("http", functions),
        listeners: Listeners { public, tls, local },
    })
}
