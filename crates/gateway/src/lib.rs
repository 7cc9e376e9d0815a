//! The HTTP edge: authenticate, Lambda's API, function URLs, Squall's own API.
