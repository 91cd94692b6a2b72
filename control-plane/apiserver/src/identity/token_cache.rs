//! Tokens that were believed a moment ago. Bounds how often signatures are checked, and how long a revoked one lives.

use keelson_auth::UserInfo;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Tokens remembered at a time.
const TOKENS_MAX: usize = 4096;
/// How long a token is believed unseen (upstream's success TTL).
const TTL: Duration = Duration::from_secs(10);

/// Remembers users by the hash of their token, so that a memory dump holds no credentials.
#[derive(Default)]
pub(crate) struct TokenCache(Mutex<HashMap<Hash, Known>>);

type Hash = [u8; 32];
/// When the token was believed, and whose it is.
type Known = (Instant, Arc<UserInfo>);

impl TokenCache {
    pub(crate) fn get(&self, token: &str) -> Option<Arc<UserInfo>> {
        let key: Hash = Sha256::digest(token).into();
        let known = self.0.lock();
        known.get(&key).filter(|(at, _)| at.elapsed() < TTL).map(|(_, user)| user.clone())
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    pub(crate) fn put(&self, token: &str, user: Arc<UserInfo>) {
        let key: Hash = Sha256::digest(token).into();
        let mut known = self.0.lock();
        if known.len() >= TOKENS_MAX {
            known.retain(|_, (at, _)| at.elapsed() < TTL);
        }
        if known.len() < TOKENS_MAX {
            known.insert(key, (Instant::now(), user));
        }
    }
}
