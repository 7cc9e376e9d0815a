//! Bodies on their way in, with what they are to be checked by, and on their way out.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};
use squall_objects::{Algorithm, Checksum, Objects, Reading, Received};

use super::error;

/// A client that sends nothing for so long is not waited for.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The checksums that a request has members for, in the order of [`Algorithm`].
pub(super) type Sums = [(Algorithm, Option<String>); 5];

/// Takes them out of an input.
macro_rules! sums {
    ($input:expr) => {
        [
            (squall_objects::Algorithm::Crc32, $input.checksum_crc32.take()),
            (squall_objects::Algorithm::Crc32c, $input.checksum_crc32c.take()),
            (
                squall_objects::Algorithm::Crc64nvme,
                $input.checksum_crc64nvme.take(),
            ),
            (squall_objects::Algorithm::Sha1, $input.checksum_sha1.take()),
            (squall_objects::Algorithm::Sha256, $input.checksum_sha256.take()),
        ]
    };
}
pub(super) use sums;

/// Sets the member of an answer that has a checksum.
macro_rules! tell_sum {
    ($output:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            let checksum: &squall_objects::Checksum = checksum;
            let value = Some(checksum.value.clone());
            match checksum.algorithm {
                squall_objects::Algorithm::Crc32 => $output.checksum_crc32 = value,
                squall_objects::Algorithm::Crc32c => $output.checksum_crc32c = value,
                squall_objects::Algorithm::Crc64nvme => $output.checksum_crc64nvme = value,
                squall_objects::Algorithm::Sha1 => $output.checksum_sha1 = value,
                squall_objects::Algorithm::Sha256 => $output.checksum_sha256 = value,
            }
        }
    };
}
pub(super) use tell_sum;

/// The one checksum that a request names, if it names one.
pub(super) fn one_sum(sums: Sums) -> S3Result<Option<(Algorithm, String)>> {
    let mut named = sums
        .into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value?)));
    let first = named.next();
    if named.next().is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        ));
    }
    if let Some((algorithm, value)) = &first {
        // A composite one ends with the number of its parts.
        let digits = value.split_once('-').map_or(value.as_str(), |(digits, _)| digits);
        STANDARD.decode(digits).map_err(|_| {
            s3_error!(
                InvalidRequest,
                "Value for x-amz-checksum-{} header is invalid.",
                algorithm.name().to_ascii_lowercase()
            )
        })?;
    }
    Ok(first)
}

/// An algorithm by its name.
pub(super) fn algorithm(name: Option<&s3s::dto::ChecksumAlgorithm>) -> S3Result<Option<Algorithm>> {
    let known = |name: &s3s::dto::ChecksumAlgorithm| {
        let found = Algorithm::of(name.as_str());
        found.ok_or_else(|| error::unsupported(&format!("The checksum algorithm {}", name.as_str())))
    };
    name.map(known).transpose()
}

/// The name of a checksum's kind.
pub(super) fn kind(checksum: &Checksum) -> s3s::dto::ChecksumType {
    use s3s::dto::ChecksumType;
    ChecksumType::from_static(match checksum.kind {
        squall_objects::ChecksumKind::FullObject => ChecksumType::FULL_OBJECT,
        squall_objects::ChecksumKind::Composite => ChecksumType::COMPOSITE,
    })
}

/// A body that comes, and all that was said about it.
pub(super) struct Coming {
    pub(super) body: Option<StreamingBlob>,
    pub(super) bytes: Option<i64>,
    pub(super) md5: Option<String>,
    pub(super) sums: Sums,
    /// What it is to be checked by, where its checksum is not named.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) trailers: Option<TrailingHeaders>,
}

impl Coming {
    /// Receives it.
    pub(super) async fn receive(self, objects: &Objects, headers: &HeaderMap) -> S3Result<Received> {
        if let Some(md5) = &self.md5
            && !STANDARD.decode(md5).is_ok_and(|bytes| bytes.len() == 16)
        {
            return Err(s3_error!(
                InvalidDigest,
                "The Content-MD5 you specified was invalid."
            ));
        }
        let named = one_sum(self.sums)?;
        let trailer = headers
            .get("x-amz-trailer")
            .and_then(|value| value.to_str().ok())
            .map(str::trim);
        let trailer = trailer.and_then(|name| {
            let name = name.to_ascii_lowercase();
            Some((Algorithm::of(name.strip_prefix("x-amz-checksum-")?)?, name))
        });
        let of_trailer = trailer.as_ref().map(|(algorithm, _)| *algorithm);
        let algorithm = named
            .as_ref()
            .map(|(algorithm, _)| *algorithm)
            .or(of_trailer)
            .or(self.algorithm);
        let bytes = self.bytes.map(u64::try_from).transpose();
        let bytes = bytes.map_err(|_| error::invalid("Invalid Content-Length"))?;
        let mut incoming = objects.receive(bytes, algorithm).map_err(error::of)?;
        let mut body = self.body;
        while let Some(blob) = &mut body {
            let piece = tokio::time::timeout(PAUSE_MAX, blob.next()).await;
            let late = |_| {
                s3_error!(
                    RequestTimeout,
                    "Your socket connection to the server was not read from or written to within the timeout period."
                )
            };
            match piece.map_err(late)? {
                Some(piece) => incoming
                    .write(piece.map_err(|error| broken(&*error))?)
                    .await
                    .map_err(error::of)?,
                None => break,
            }
        }
        let sent = trailer.as_ref().and_then(|(_, name)| {
            let trailers = self.trailers.as_ref()?;
            trailers.read(|headers| headers.get(name)?.to_str().ok().map(str::to_owned))?
        });
        if trailer.is_some() && sent.is_none() {
            return Err(error::custom(
                "MalformedTrailerError",
                StatusCode::BAD_REQUEST,
                "The trailer that was announced did not come.",
            ));
        }
        let checksum = named.map(|(_, value)| value).or(sent);
        incoming
            .finish(self.md5.as_deref(), checksum.as_deref())
            .await
            .map_err(error::of)
    }
}

/// Why a body did not come whole. `s3s` keeps the types of these errors to itself, and tells them apart by their words.
fn broken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> S3Error {
    let text = error.to_string();
    tracing::debug!(error = text, "an upload broke off");
    if text.contains("Sha256Mismatch") {
        return error::custom(
            "XAmzContentSHA256Mismatch",
            StatusCode::BAD_REQUEST,
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
    }
    if text.contains("SignatureMismatch") {
        return s3_error!(
            SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        );
    }
    s3_error!(IncompleteBody, "The request body terminated unexpectedly")
}

/// A body on its way out. It is read as fast as the client takes it.
pub(super) fn outgoing(reading: Reading) -> StreamingBlob {
    StreamingBlob::wrap(futures_util::stream::unfold(reading, |mut reading| async move {
        let piece = reading.next().await?;
        let piece = piece.inspect_err(|error| tracing::error!(%error, "could not read a body"));
        Some((piece, reading))
    }))
}
