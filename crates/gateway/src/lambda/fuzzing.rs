//! Bodies of Lambda's API.

use serde::de::DeserializeOwned;

use super::input;
use crate::error::ApiError;

/// The first byte says which operation's body the rest is.
pub fn lambda_json(data: &[u8]) {
    let Some((which, json)) = data.split_first() else {
        return;
    };
    match which % 11 {
        0 => {
            if let Some(create) = parsed::<input::CreateFunction>(json) {
                blames_the_client(create.settings.unsupported.refuse());
                blames_the_client(create.code.package());
            }
        }
        1 => {
            if let Some(update) = parsed::<input::UpdateCode>(json) {
                blames_the_client(update.code.package());
            }
        }
        2 => {
            if let Some(settings) = parsed::<input::Settings>(json) {
                blames_the_client(settings.unsupported.refuse());
            }
        }
        3 => drop(parsed::<input::PublishVersion>(json)),
        4 => drop(parsed::<input::Alias>(json)),
        5 => drop(parsed::<input::Routing>(json)),
        6 => drop(parsed::<input::FunctionUrl>(json)),
        7 => drop(parsed::<input::Concurrency>(json)),
        8 => drop(parsed::<input::Tags>(json)),
        9 => drop(parsed::<input::EventInvoke>(json)),
        _ => drop(parsed::<input::Destinations>(json)),
    }
}

fn blames_the_client<T>(answer: Result<T, ApiError>) {
    if let Err(error) = answer {
        assert!(
            error.status().is_client_error(),
            "refused with {}",
            error.status()
        );
    }
}

fn parsed<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}
