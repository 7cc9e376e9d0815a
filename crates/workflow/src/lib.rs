//! Compositions of functions. It calls `types::Invoke` and does not know who implements it.
