//! How a capsule is written down: a version byte, then the fields in postcard's form.

use bytes::Bytes;

use super::Capsule;

/// Changes with the format; older ones stay readable.
const VERSION: u8 = 1;

impl Capsule {
    /// The capsule as bytes.
    pub fn encode(&self) -> Bytes {
        let start = Vec::with_capacity(self.bytes() + 64);
        let mut bytes = start;
        bytes.push(VERSION);
        postcard::to_extend(self, bytes)
            .expect("a capsule is made of what postcard writes")
            .into()
    }

    /// The capsule that bytes hold.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| error.to_string()),
            Some((version, _)) => Err(format!("format {version} is not known, {VERSION} is")),
            None => Err("no bytes".to_owned()),
        }
    }
}
