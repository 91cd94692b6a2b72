//! The model passes the contract suite; and what is its own.

use async_trait::async_trait;
use keelson_store::{Store, contract_suite, model::Model, suite::Fixture};
use std::sync::Arc;

struct InMemory(Arc<Model>);

#[async_trait]
impl Fixture for InMemory {
    async fn open(&self) -> Arc<dyn Store> {
        self.0.clone()
    }
}

contract_suite!(Some(InMemory(Arc::new(Model::default()))));
