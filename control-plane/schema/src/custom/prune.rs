//! Cutting an object down to what its schema declares.
//!
//! As upstream's structural pruning: unknown fields go unless a schema preserves them; declared ones below a preserving
//! place are pruned still. What every object has stays, of embedded ones too: that is `embedded`'s. Types are not looked
//! at: a value of the wrong one stays, for validation to tell.

use serde_json::{Map, Value};

use super::schema::{Additional, Schema};

/// Takes out what is not declared and tells each path, e.g. `spec.foo`.
pub(super) fn prune(schema: &Schema, object: &mut Value, dropped: &mut dyn FnMut(String)) {
    Walk { dropped, path: String::new() }.value(schema, object, true);
}

struct Walk<'d> {
    dropped: &'d mut dyn FnMut(String),
    path: String,
}

impl Walk<'_> {
    /// `resource`: the object has apiVersion, kind and metadata, which no schema needs to declare.
    fn value(&mut self, schema: &Schema, value: &mut Value, resource: bool) {
        match value {
            Value::Object(object) => self.object(schema, object, resource || schema.embedded),
            Value::Array(items) => {
                if let Some(below) = &schema.items {
                    for (index, item) in items.iter_mut().enumerate() {
                        self.below(&format!("[{index}]"), |walk| walk.value(below, item, false));
                    }
                } else if !schema.preserve {
                    // A list where none is declared: its objects are as unknown as itself.
                    let nothing = Schema::default();
                    for (index, item) in items.iter_mut().enumerate() {
                        self.below(&format!("[{index}]"), |walk| walk.value(&nothing, item, false));
                    }
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, schema: &Schema, object: &mut Map<String, Value>, resource: bool) {
        let free = matches!(schema.additional, Some(Additional::Any | Additional::Of(_)));
        object.retain(|name, value| {
            if resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                return true;
            }
            let step = if self.path.is_empty() { name.clone() } else { format!(".{name}") };
            if let Some(below) = schema.entry(name) {
                self.below(&step, |walk| walk.value(below, value, false));
                return true;
            }
            if free || schema.preserve {
                return true;
            }
            (self.dropped)(format!("{}{step}", self.path));
            false
        });
    }

    fn below(&mut self, step: &str, look: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(step);
        look(self);
        self.path.truncate(length);
    }
}
