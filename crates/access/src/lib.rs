//! Who may do what: access keys, the policies that they carry, and the decision about one call.
//!
//! [`Keys`] holds the keys: the installation's own, which may do everything, and named ones. A [`Policy`] is a document
//! in IAM's language. [`Roles`] say what functions may do, whose instances have the credentials of [`Sessions`], and
//! give credentials to others whom they trust. [`decide`] is pure: it reads the policies of who calls and of what is called, and answers.
//! The gateway names what is done (`lambda:InvokeFunction`) to what (an ARN); this crate knows no operation by name
//! but those in the grants that people can give by a word ([`Grant`]).

mod audit;
mod decide;
mod grant;
mod keys;
mod pattern;
mod policy;
mod record;
mod roles;
mod secret;
mod sessions;

pub use audit::Audit;
pub use decide::{Denial, Principal, Request, decide, trusts};
pub use grant::{Grant, GrantError};
pub use keys::{Caller, KeyError, KeyView, Keys, NewKey, RootKey};
pub use policy::{Effect, Policy, PolicyError, Principals, Statement};
pub use record::{Role, SharedPolicy};
pub use roles::{
    AssumeError, Assumed, Credentials, DEVELOPMENT_ROLE, NewPolicy, NewRole, PolicyView, RoleError, Roles,
    SQUALL_POLICY, name_of,
};
pub use secret::{AccessKey, SecretError};
pub use sessions::{Issued, Session, Sessions};
