//! ServiceAccount. Tokens are the API server's, bound to the account by its uid.

use crate::strategy::Strategy;

/// ServiceAccount.
pub struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn unconditional_update(&self) -> bool {
        false
    }
}
