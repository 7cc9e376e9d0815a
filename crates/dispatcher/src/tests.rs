//! The dispatcher as its callers see it, on scripted instances and in paused time.

mod calls;
mod drain;
mod events;
pub(crate) mod fake;
mod handover;
mod life;
mod simulation;
