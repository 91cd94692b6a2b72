//! How answers are written: the object in the negotiated encoding, compression, headers that every answer carries.

mod answer;
mod finish;
mod indent;
mod warning;
pub(crate) mod yaml;

pub(crate) use answer::{Answer, unencodable};
pub(crate) use finish::{Finish, finish, gunzip, gzip};
pub(crate) use indent::Indent;
