//! Values that travel between functions, and the arguments of a call. The server never decodes a value.
//!
//! A call's arguments have one form, on the wire, in records and in the event of a function that takes arguments:
//! `u8` version, `u16` count, then per argument `u8` kind, `u32` length and the bytes; all big-endian.

use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Serialize};
use squall_types::Encoding;

use super::{DagError, RunId};

const VERSION: u8 = 1;
const REFERENCE: u8 = 16;
const RUN: u8 = 17;
/// The most arguments of one function.
const ARGUMENTS_MAX: usize = 1024;
/// The most functions that one run gives arguments to.
const FUNCTIONS_MAX: usize = 1024;

/// A value with its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// How to read it.
    pub encoding: Encoding,
    /// It.
    pub bytes: Bytes,
}

/// A key of the shared state, read beside the function that gets it as an argument.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The bucket.
    pub bucket: String,
    /// The key in it.
    pub key: String,
}

/// One argument of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// The value itself.
    Value(Value),
    /// What is under a key when the function runs.
    Reference(Reference),
    /// What another run ends with.
    Run(RunId),
}

/// Arguments by the name of the function that gets them; the empty name stands for the only source.
pub type Inputs = Vec<(String, Vec<Argument>)>;

/// Bytes of the values among arguments.
pub(crate) fn value_bytes(arguments: &[Argument]) -> usize {
    let of = |argument: &Argument| match argument {
        Argument::Value(value) => value.bytes.len(),
        Argument::Reference(reference) => reference.bucket.len() + reference.key.len(),
        Argument::Run(_) => size_of::<RunId>(),
    };
    arguments.iter().map(of).sum()
}

/// The arguments of one function, as it gets them.
pub fn write_arguments(arguments: &[Argument]) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 + 5 * arguments.len() + value_bytes(arguments));
    out.put_u8(VERSION);
    put_arguments(&mut out, arguments);
    out
}

/// Reads the arguments of one function.
///
/// # Errors
/// [`DagError::Invalid`] when the bytes do not have the form that [`write_arguments`] gives them.
pub fn read_arguments(mut bytes: Bytes) -> Result<Vec<Argument>, DagError> {
    check_version(&mut bytes)?;
    let arguments = take_arguments(&mut bytes)?;
    end(&bytes, arguments)
}

/// The arguments of a run: `u8` version, `u16` functions, then per function `u16` length, name, and its arguments.
pub fn write_inputs<'a>(inputs: impl ExactSizeIterator<Item = (&'a str, &'a [Argument])> + Clone) -> Vec<u8> {
    let bytes = inputs.clone().map(|(name, arguments)| {
        let heads = 4 + 5 * arguments.len();
        name.len() + heads + value_bytes(arguments)
    });
    let mut out = Vec::with_capacity(3 + bytes.sum::<usize>());
    out.put_u8(VERSION);
    out.put_u16(count(inputs.len()));
    for (name, arguments) in inputs {
        out.put_u16(count(name.len()));
        out.put_slice(name.as_bytes());
        put_arguments(&mut out, arguments);
    }
    out
}

/// Reads the arguments of a run.
///
/// # Errors
/// [`DagError::Invalid`] when the bytes do not have the form that [`write_inputs`] gives them.
pub fn read_inputs(mut bytes: Bytes) -> Result<Inputs, DagError> {
    check_version(&mut bytes)?;
    let functions = take(&mut bytes, 2)?.get_u16() as usize;
    if functions > FUNCTIONS_MAX {
        return Err(malformed("arguments for too many functions"));
    }
    let mut inputs = Vec::with_capacity(functions);
    for _ in 0..functions {
        let length = take(&mut bytes, 2)?.get_u16() as usize;
        let name = take(&mut bytes, length)?;
        inputs.push((text(&name)?, take_arguments(&mut bytes)?));
    }
    end(&bytes, inputs)
}

fn put_arguments(out: &mut Vec<u8>, arguments: &[Argument]) {
    out.put_u16(count(arguments.len()));
    for argument in arguments {
        match argument {
            Argument::Value(value) => put(out, value.encoding.code(), &value.bytes),
            Argument::Reference(reference) => {
                let json = serde_json::to_vec(reference).expect("two strings serialise");
                put(out, REFERENCE, &json);
            }
            Argument::Run(id) => put(out, RUN, id.0.as_bytes()),
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.put_u8(kind);
    out.put_u32(u32::try_from(bytes.len()).expect("a value is bounded far below 4 GiB"));
    out.put_slice(bytes);
}

fn count(number: usize) -> u16 {
    u16::try_from(number).expect("names and numbers of arguments are checked when they are read")
}

fn take_arguments(bytes: &mut Bytes) -> Result<Vec<Argument>, DagError> {
    let arguments = take(bytes, 2)?.get_u16() as usize;
    if arguments > ARGUMENTS_MAX {
        return Err(malformed("too many arguments"));
    }
    (0..arguments).map(|_| take_argument(bytes)).collect()
}

fn take_argument(bytes: &mut Bytes) -> Result<Argument, DagError> {
    let mut head = take(bytes, 5)?;
    let kind = head.get_u8();
    let content = take(bytes, head.get_u32() as usize)?;
    Ok(match kind {
        REFERENCE => Argument::Reference(
            serde_json::from_slice(&content).map_err(|_| malformed("a reference without bucket and key"))?,
        ),
        RUN => Argument::Run(RunId(
            uuid::Uuid::from_slice(&content).map_err(|_| malformed("a run without an id"))?,
        )),
        code => Argument::Value(Value {
            encoding: Encoding::from_code(code).ok_or_else(|| malformed("an argument of an unknown kind"))?,
            bytes: content,
        }),
    })
}

fn check_version(bytes: &mut Bytes) -> Result<(), DagError> {
    match take(bytes, 1)?[0] {
        VERSION => Ok(()),
        _ => Err(malformed("an unknown version")),
    }
}

fn take(bytes: &mut Bytes, count: usize) -> Result<Bytes, DagError> {
    if bytes.len() < count {
        return Err(malformed("fewer bytes than they say"));
    }
    Ok(bytes.split_to(count))
}

fn text(bytes: &[u8]) -> Result<String, DagError> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("a name that is not UTF-8"))?;
    Ok(text.to_owned())
}

fn end<T>(bytes: &Bytes, read: T) -> Result<T, DagError> {
    if bytes.is_empty() {
        Ok(read)
    } else {
        Err(malformed("more bytes than they say"))
    }
}

fn malformed(what: &str) -> DagError {
    DagError::Invalid(format!("the arguments could not be read: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn argument() -> impl Strategy<Value = Argument> {
        let encoding = prop::sample::select(Encoding::ALL.to_vec());
        let value = (encoding, any::<Vec<u8>>()).prop_map(|(encoding, bytes)| {
            let bytes = bytes.into();
            Argument::Value(Value { encoding, bytes })
        });
        let reference = (".*", ".*").prop_map(|(bucket, key)| Argument::Reference(Reference { bucket, key }));
        let run = any::<u128>().prop_map(|id| Argument::Run(RunId(uuid::Uuid::from_u128(id))));
        prop_oneof![value, reference, run]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(inputs in prop::collection::vec((".{0,20}", prop::collection::vec(argument(), 0..5)), 0..4)) {
            let written = write_inputs(inputs.iter().map(|(name, arguments)| (name.as_str(), arguments.as_slice())));
            prop_assert_eq!(read_inputs(written.into()).expect("our own form"), inputs.clone());
            for (_, arguments) in inputs {
                let written = write_arguments(&arguments);
                prop_assert_eq!(read_arguments(written.into()).expect("our own form"), arguments);
            }
        }

        #[test]
        fn bytes_of_any_kind_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            let bytes = Bytes::from(bytes);
            if let Ok(arguments) = read_arguments(bytes.clone()) {
                prop_assert_eq!(read_arguments(write_arguments(&arguments).into()).expect("our own form"), arguments);
            }
            let _ = read_inputs(bytes);
        }
    }

    #[test]
    fn the_form_does_not_change() {
        let arguments = [
            Argument::Value(Value {
                encoding: Encoding::Json,
                bytes: Bytes::from_static(b"3"),
            }),
            Argument::Reference(Reference {
                bucket: "b".to_owned(),
                key: "k".to_owned(),
            }),
        ];
        let written = write_arguments(&arguments);
        let expected =
            b"\x01\x00\x02\x00\x00\x00\x00\x013\x10\x00\x00\x00\x18{\"bucket\":\"b\",\"key\":\"k\"}";
        assert_eq!(written, expected);
    }
}
