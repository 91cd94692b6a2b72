//! How a bad patch is refused: the texts and the HTTP statuses of the API server.

use serde_json::Value;

use super::{JSON_PATCH_COPY_BYTES_MAX, JSON_PATCH_OPERATIONS_MAX};

/// Why a patch was refused; [`PatchError::code`] says with which HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// Not JSON, or not a patch.
    #[error("error decoding patch: {0}")]
    Malformed(String),
    /// Too many operations.
    #[error("The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {0}")]
    TooManyOperations(usize),
    /// Its copy operations blow the object up.
    #[error("the copy operations of a JSON patch may copy at most {JSON_PATCH_COPY_BYTES_MAX} bytes")]
    CopiesTooMuch,
    /// An operation could not be applied, or a test failed; the Display says which and why.
    #[error("the server rejected our request due to an error in our request: {0}")]
    Unprocessable(String),
    /// A directive or list of a strategic merge patch is wrong.
    #[error(transparent)]
    Strategic(#[from] StrategicError),
    /// The kind has no merge rules.
    #[error(
        "strategic merge patch is not supported for {0}: use application/merge-patch+json or application/json-patch+json"
    )]
    StrategicUnsupported(String),
}

impl PatchError {
    /// The HTTP status of the answer.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            PatchError::Malformed(_) => 400,
            PatchError::TooManyOperations(_) | PatchError::CopiesTooMuch => 413,
            PatchError::StrategicUnsupported(_) => 415,
            PatchError::Unprocessable(_) => 422,
            PatchError::Strategic(error) => error.code(),
        }
    }
}

/// What is wrong with a strategic merge patch. The texts are those of the API server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// The patch is no object.
    #[error("invalid JSON document")]
    InvalidDocument,
    /// `$patch` with an unknown value, or one that does not go there.
    #[error("unknown patch type: {0} in map: {1}")]
    Directive(Value, Value),
    /// `$deleteFromPrimitiveList` is no list.
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    /// `$retainKeys` is no list of names, or leaves out a name that the patch sets.
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    /// `$setElementOrder` is no list.
    #[error("invalid patch format of setElementOrder list")]
    ElementOrder,
    /// The items of the patch are not ordered as `$setElementOrder` says, or not all named by it.
    #[error("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")]
    OrderMismatch {
        /// The list in the patch.
        patch: Value,
        /// The directive.
        order: Value,
    },
    /// An item cannot be told from the others.
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(Value, String),
    /// Lists in lists.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// `$patch: merge` in a list.
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirective,
    /// Objects and scalars in one list.
    #[error("list element types are not identical: {0}")]
    MixedList(Value),
}

impl StrategicError {
    fn code(&self) -> u16 {
        match self {
            StrategicError::NoMergeKey(..) | StrategicError::ListOfLists => 422,
            _ => 400,
        }
    }
}
