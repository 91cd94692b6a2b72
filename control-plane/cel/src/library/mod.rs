//! The functions: CEL's own, cel-go's extensions that Kubernetes has, and Kubernetes' libraries.
//! <https://kubernetes.io/docs/reference/using-api/cel/>
//!
//! A function is a name, its signatures as the documentation writes them, and one implementation for all of them, which
//! sees from its arguments which is meant.

pub(crate) mod authorizer;
pub(crate) mod convert;
pub(crate) mod core;
pub(crate) mod format;
pub(crate) mod lists;
pub(crate) mod net;
pub(crate) mod optional;
pub(crate) mod quantity;
pub(crate) mod regex;
pub(crate) mod sets;
pub(crate) mod signature;
pub(crate) mod strings;
pub(crate) mod strings_format;
pub(crate) mod time;
pub(crate) mod url;
pub(crate) mod version;
mod zones;

use std::collections::HashMap;
use std::sync::LazyLock;

use ::regex::Regex;

use crate::EvalError;
use crate::budget::Meter;
use crate::value::Value;

pub(crate) use signature::Signature;

/// A function.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) signatures: Vec<Signature>,
    pub(crate) call: Implementation,
    /// Only in mutations.
    mutation: bool,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What a function does.
pub(crate) type Implementation = for<'a> fn(&mut Args<'_, '_, 'a>) -> Result<Value<'a>, EvalError>;

/// What a function is given; a receiver is the first.
pub(crate) struct Args<'r, 'b, 'a> {
    pub(crate) values: &'r [Value<'a>],
    pub(crate) meter: &'r mut Meter<'b>,
    pub(crate) regex: Option<&'r Regex>,
}

/// A row of a library's table: name, signatures, implementation.
pub(crate) type Row = (&'static str, &'static [&'static str], Implementation);

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let tables: [&[Row]; 14] = [
        core::ROWS,
        convert::ROWS,
        strings::ROWS,
        lists::ROWS,
        regex::ROWS,
        sets::ROWS,
        url::ROWS,
        quantity::ROWS,
        net::ROWS,
        version::ROWS,
        format::ROWS,
        time::ROWS,
        optional::ROWS,
        authorizer::ROWS,
    ];
    let mut functions: HashMap<&'static str, Function> = HashMap::new();
    for (name, signatures, call) in tables.into_iter().flatten() {
        let signatures: Vec<Signature> = signatures.iter().map(|text| signature::parse(text)).collect();
        let mutation = name.starts_with("jsonpatch.");
        let known = functions.insert(name, Function { name, signatures, call: *call, mutation });
        assert!(known.is_none(), "function {name:?} is in two tables");
    }
    functions
});

/// By name, with its namespace.
pub(crate) fn find(name: &str, mutation: bool) -> Option<&'static Function> {
    FUNCTIONS.get(name).filter(|function| mutation || !function.mutation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_can_be_read() {
        assert!(FUNCTIONS.len() > 100);
        assert!(find("jsonpatch.escapeKey", false).is_none());
        assert!(find("jsonpatch.escapeKey", true).is_some());
    }
}
