//! How conversion webhooks of custom kinds are asked: over the server's own connections, bounded in time and bytes.
//!
//! What a review says and what its answer must be like is the registry's.

use async_trait::async_trait;
use bytes::Bytes;
use keelson_registry::ConversionWebhooks;
use keelson_webhook::{Client, ClientConfig, Limits, Transport};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// As upstream: not configurable.
const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(30),
    // A review holds 8 MiB of objects, which may grow.
    answer_bytes_max: 32 << 20,
};

/// Posts reviews.
pub(crate) struct Webhooks(Client);

impl Webhooks {
    pub(crate) fn over(calls: &Arc<Transport>) -> Arc<dyn ConversionWebhooks> {
        Arc::new(Self(Client::new(calls.clone())))
    }
}

#[async_trait]
impl ConversionWebhooks for Webhooks {
    async fn ask(&self, client_config: &Value, review: Bytes) -> Result<Bytes, String> {
        let config = ClientConfig::parse(client_config).map_err(|error| error.to_string())?;
        self.0.post(&config, review, LIMITS).await.map_err(|error| error.to_string())
    }
}
