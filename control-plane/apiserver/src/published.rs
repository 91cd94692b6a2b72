//! Discovery and OpenAPI of the kinds that are served now. They follow the kind table: whoever asks after it was replaced
//! makes them anew, everybody else takes what is there, without a lock.

use crate::{discovery::Discovery, openapi::OpenApi};
use arc_swap::ArcSwap;
use keelson_registry::table::KindTable;
use parking_lot::Mutex;
use std::sync::Arc;

/// The documents of one kind table.
pub(crate) struct Documents {
    table: Arc<KindTable>,
    pub(crate) discovery: Discovery,
    pub(crate) openapi: OpenApi,
}

/// The newest documents.
pub(crate) struct Published {
    address: String,
    newest: ArcSwap<Documents>,
    making: Mutex<()>,
}

impl Published {
    /// `address` is `HOST:PORT` of the server as clients reach it.
    pub(crate) fn new(table: Arc<KindTable>, address: &str) -> Self {
        let documents = Documents {
            discovery: Discovery::new(&table, address),
            openapi: OpenApi::new(&table, None),
            table,
        };
        Self { address: address.to_owned(), newest: ArcSwap::from_pointee(documents), making: Mutex::new(()) }
    }

    /// The documents of a table.
    pub(crate) fn of(&self, table: &Arc<KindTable>) -> Arc<Documents> {
        let newest = self.newest.load_full();
        if Arc::ptr_eq(&newest.table, table) {
            return newest;
        }
        let _making = self.making.lock();
        let newest = self.newest.load_full();
        if Arc::ptr_eq(&newest.table, table) {
            return newest;
        }
        let next = Arc::new(Documents {
            table: table.clone(),
            discovery: Discovery::new(table, &self.address),
            openapi: OpenApi::new(table, Some(&newest.openapi)),
        });
        self.newest.store(next.clone());
        next
    }
}
