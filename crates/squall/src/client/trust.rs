//! Which certificates the commands trust: as the AWS tools do, those of `AWS_CA_BUNDLE`, else the system's.
//!
//! The system's are also those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, where these are set.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

pub(super) const BUNDLE: &str = "AWS_CA_BUNDLE";

/// What to verify the server at `endpoint` with; nothing is read for one that speaks no TLS.
///
/// # Errors
/// When `AWS_CA_BUNDLE` names no file of certificates, or the system has none.
pub(super) fn of(endpoint: &str) -> anyhow::Result<ClientConfig> {
    let roots = match std::env::var_os(BUNDLE).filter(|path| !path.is_empty()) {
        _ if !endpoint.starts_with("https://") => RootCertStore::empty(),
        Some(path) => of_bundle(Path::new(&path))?,
        None => of_system()?,
    };
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// Whether an error, or what is wrapped in it, says that a certificate was not accepted.
pub(super) fn is_mistrust(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<rustls::Error>() {
        Some(error) => matches!(error, rustls::Error::InvalidCertificate(_)),
        None => {
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            wrapped.is_some_and(|wrapped| is_mistrust(wrapped))
        }
    }
}

fn of_bundle(path: &Path) -> anyhow::Result<RootCertStore> {
    let attempted = || format!("could not read certificates from {BUNDLE}, `{}`", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(attempted)? {
        roots
            .add(certificate.with_context(attempted)?)
            .with_context(attempted)?;
    }
    if roots.is_empty() {
        bail!("{}: there is none in it", attempted());
    }
    Ok(roots)
}

fn of_system() -> anyhow::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        bail!(
            "this system has no certificates to trust; name a file of them in {BUNDLE} {}",
            why.join("; ")
        );
    }
    Ok(roots)
}
