//! Where this installation says that it is: the account and the region in every ARN.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{FunctionName, Qualifier};

/// The account and region that this installation answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Twelve digits.
    pub account: String,
    /// A region name, such as `us-east-1`.
    pub region: String,
}

impl Default for Home {
    fn default() -> Self {
        Self {
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        }
    }
}

impl Home {
    /// `arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]`.
    pub fn function_arn(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> String {
        let base = format!("arn:aws:lambda:{}:{}:function:{name}", self.region, self.account);
        match qualifier {
            None => base,
            Some(qualifier) => format!("{base}:{qualifier}"),
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.region)
    }
}
