//! Checksums of bodies: the MD5 that an ETag is, and the one that a client may name beside it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What a client may have a body checked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// The CRC of zip files.
    Crc32,
    /// Castagnoli's.
    Crc32c,
    /// That of NVM Express, 64 bits.
    Crc64nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// What a multipart object's checksum is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChecksumKind {
    /// All bytes.
    FullObject,
    /// The parts' checksums.
    Composite,
}

/// A checksum as it is told: base64, for a composite one with `-` and the number of parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How it was made.
    pub algorithm: Algorithm,
    /// Of what.
    pub kind: ChecksumKind,
    /// The text.
    pub value: String,
}

impl Algorithm {
    /// By S3's name for it, in any case.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "CRC32" => Self::Crc32,
            "CRC32C" => Self::Crc32c,
            "CRC64NVME" => Self::Crc64nvme,
            "SHA1" => Self::Sha1,
            "SHA256" => Self::Sha256,
            _ => return None,
        })
    }

    /// S3's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// What a multipart upload's checksum is of where the client does not say.
    pub fn default_kind(self) -> ChecksumKind {
        match self {
            Self::Crc64nvme => ChecksumKind::FullObject,
            _ => ChecksumKind::Composite,
        }
    }

    /// Whether there can be such a checksum of a multipart object.
    pub fn allows(self, kind: ChecksumKind) -> bool {
        match kind {
            ChecksumKind::FullObject => self.crc().is_some(),
            ChecksumKind::Composite => self != Self::Crc64nvme,
        }
    }

    fn crc(self) -> Option<(CrcAlgorithm, usize)> {
        match self {
            Self::Crc32 => Some((CrcAlgorithm::Crc32IsoHdlc, 4)),
            Self::Crc32c => Some((CrcAlgorithm::Crc32Iscsi, 4)),
            Self::Crc64nvme => Some((CrcAlgorithm::Crc64Nvme, 8)),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// The checksum of all bytes from those of the parts, with the parts' lengths; `None` where that is not possible.
    pub(crate) fn combine(self, parts: &[(Vec<u8>, u64)]) -> Option<String> {
        let (algorithm, width) = self.crc()?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let mut parts = parts.iter().map(|(sum, length)| (number(sum), *length));
        let (mut whole, _) = parts.next()?;
        for (sum, length) in parts {
            whole = crc_fast::checksum_combine(algorithm, whole, sum, length);
        }
        Some(STANDARD.encode(&whole.to_be_bytes()[8 - width..]))
    }

    /// The checksum of the parts' checksums.
    pub(crate) fn compose(self, parts: &[(Vec<u8>, u64)]) -> String {
        let mut hasher = Hasher::new(self);
        parts.iter().for_each(|(sum, _)| hasher.update(sum));
        format!("{}-{}", STANDARD.encode(hasher.finish()), parts.len())
    }
}

/// One checksum that is being made.
enum Hasher {
    Crc(crc_fast::Digest, usize),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match (algorithm.crc(), algorithm) {
            (Some((crc, width)), _) => Self::Crc(crc_fast::Digest::new(crc), width),
            (None, Algorithm::Sha1) => Self::Sha1(Sha1::new()),
            (None, _) => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(digest, _) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(digest, width) => digest.finalize().to_be_bytes()[8 - width..].to_vec(),
            Self::Sha1(digest) => digest.finalize().to_vec(),
            Self::Sha256(digest) => digest.finalize().to_vec(),
        }
    }
}

/// All that is reckoned of a body while it passes.
pub(crate) struct Digests {
    md5: Md5,
    other: Option<(Algorithm, Hasher)>,
}

impl Digests {
    pub(crate) fn new(algorithm: Option<Algorithm>) -> Self {
        Self {
            md5: Md5::new(),
            other: algorithm.map(|algorithm| (algorithm, Hasher::new(algorithm))),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        if let Some((_, hasher)) = &mut self.other {
            hasher.update(bytes);
        }
    }

    /// The MD5, and the other checksum.
    pub(crate) fn finish(self) -> ([u8; 16], Option<Checksum>) {
        let other = self.other.map(|(algorithm, hasher)| Checksum {
            algorithm,
            kind: ChecksumKind::FullObject,
            value: STANDARD.encode(hasher.finish()),
        });
        (self.md5.finalize().into(), other)
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The ETag of a multipart object: the MD5 of its parts' MD5s, and how many they are.
pub(crate) fn multipart_etag(parts: &[[u8; 16]]) -> String {
    let mut md5 = Md5::new();
    parts.iter().for_each(|part| md5.update(part));
    format!("{}-{}", hex(&md5.finalize()), parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut digests = Digests::new(Some(algorithm));
        digests.update(bytes);
        digests.finish().1.expect("it was asked for").value
    }

    #[test]
    fn checksums_are_those_that_everybody_reckons() {
        // The check values of the CRC catalogue, and FIPS 180's of `abc`.
        let check = b"123456789";
        let of = |hex: &str| {
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
                .collect();
            STANDARD.encode(bytes)
        };
        assert_eq!(checksum(Algorithm::Crc32, check), of("cbf43926"));
        assert_eq!(checksum(Algorithm::Crc32c, check), of("e3069283"));
        assert_eq!(checksum(Algorithm::Crc64nvme, check), of("ae8b14860a799888"));
        assert_eq!(
            checksum(Algorithm::Sha1, b"abc"),
            of("a9993e364706816aba3e25717850c26c9cd0d89d")
        );
        assert_eq!(
            checksum(Algorithm::Sha256, b"abc"),
            of("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
    }

    #[test]
    fn the_crc_of_parts_is_that_of_the_whole() {
        let whole: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64nvme] {
            let parts: Vec<(Vec<u8>, u64)> = [&whole[..7], &whole[7..70_000], &whole[70_000..]]
                .iter()
                .map(|part| {
                    let sum = STANDARD.decode(checksum(algorithm, part)).expect("base64");
                    (sum, part.len() as u64)
                })
                .collect();
            assert_eq!(algorithm.combine(&parts), Some(checksum(algorithm, &whole)));
        }
        assert_eq!(Algorithm::Sha256.combine(&[(vec![0; 32], 1)]), None);
        assert!(
            Algorithm::Sha256
                .compose(&[(vec![0; 32], 1), (vec![1; 32], 1)])
                .ends_with("=-2")
        );
    }

    #[test]
    fn etags_are_md5() {
        let mut digests = Digests::new(None);
        digests.update(b"abc");
        let (md5, other) = digests.finish();
        assert_eq!(hex(&md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(other, None);
        assert_eq!(multipart_etag(&[md5]), "af5da9f45af7a300e3aded972f8ff687-1");
    }
}
