//! An object of each kind, as the registry's tests have them, with its type.

use keelson_schema::{FieldValidation, Schemas, TypeRef, coerce, defaults};
use serde_json::Value;
use std::{fs, path::Path, sync::LazyLock};

/// A kind and an object of it in canonical form, with its defaults.
pub(crate) struct Fixture {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) ty: TypeRef<'static>,
    pub(crate) object: Value,
}

static FIXTURES: LazyLock<Vec<Fixture>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../control-plane/registry/fixtures");
    let entries = fs::read_dir(&folder).expect("the fixtures are in the tree");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a folder that can be read").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files.iter().map(|file| fixture(&fs::read_to_string(file).expect("a text"))).collect()
});

fn fixture(text: &str) -> Fixture {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("fixtures are YAML");
    let object = documents.into_iter().next().expect("the first is the object");
    let text = |key: &str| object[key].as_str().expect("it says what it is").to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let ty = Schemas::builtin().kind(group, version, &kind).expect("a built-in kind");
    let mut object = coerce(object, ty, FieldValidation::Strict).expect("fixtures are right").value;
    defaults::apply(ty, &mut object);
    Fixture { ty, object, kind, api_version }
}

/// The one that a byte names.
pub(crate) fn by(byte: u8) -> &'static Fixture {
    &FIXTURES[usize::from(byte) % FIXTURES.len()]
}

/// The one of a kind.
pub(crate) fn of(kind: &str) -> &'static Fixture {
    FIXTURES.iter().find(|fixture| fixture.kind == kind).expect("each kind has one")
}
