//! Signatures as text: `string.(int) -> string` of a receiver, `(string, list(A)) -> bool` of none.

use crate::types::{Library, Type};

/// What a function takes and gives.
#[derive(Debug)]
pub(crate) struct Signature {
    /// Called on its first parameter.
    pub(crate) member: bool,
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
}

/// Reads one.
///
/// # Panics
/// When it cannot be read: the tables are part of the program, and a test reads them all.
pub(crate) fn parse(text: &str) -> Signature {
    let (args, result) = text.split_once(" -> ").unwrap_or_else(|| panic!("no result: {text}"));
    let open = receiver_end(args).unwrap_or_else(|| panic!("no parameters: {text}"));
    let receiver = args[..open].strip_suffix('.');
    let inner = args[open..].strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.unwrap_or_else(|| panic!("no brackets: {text}"));
    let params = receiver.into_iter().chain(split(inner)).map(ty).collect();
    Signature { member: receiver.is_some(), params, result: ty(result) }
}

/// Where the parameters' bracket opens: at the start, or behind the receiver's dot.
fn receiver_end(args: &str) -> Option<usize> {
    if args.starts_with('(') { Some(0) } else { args.find(".(").map(|dot| dot + 1) }
}

/// At the commas that are in no bracket.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn ty(text: &str) -> Type {
    let inner =
        |name: &str| text.strip_prefix(name).and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
    if let Some(element) = inner("list") {
        return Type::list(ty(element));
    }
    if let Some(of) = inner("optional") {
        return Type::optional(ty(of));
    }
    if let Some(pair) = inner("map") {
        let [key, value] = split(pair)[..] else { panic!("a map has two types: {text}") };
        return Type::map_of(ty(key), ty(value), None);
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::STRING,
        "bytes" => Type::BYTES,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "type" => Type::Type,
        "A" => Type::Param('A'),
        "B" => Type::Param('B'),
        "Quantity" => Type::Library(Library::Quantity),
        "IP" => Type::Library(Library::Ip),
        "CIDR" => Type::Library(Library::Cidr),
        "URL" => Type::Library(Library::Url),
        "Semver" => Type::Library(Library::Semver),
        "Format" => Type::Library(Library::Format),
        "Authorizer" => Type::Library(Library::Authorizer),
        "PathCheck" => Type::Library(Library::PathCheck),
        "GroupCheck" => Type::Library(Library::GroupCheck),
        "ResourceCheck" => Type::Library(Library::ResourceCheck),
        "Decision" => Type::Library(Library::Decision),
        other => panic!("{other:?} is no type"),
    }
}
