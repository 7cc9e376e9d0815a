//! Instances of real interpreters, driven through the traits as the dispatcher drives them.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod calls;
mod host;
mod leaks;
mod node;
mod provided;
mod python;
mod walls;
mod zygote;
