//! Named formats: `format.dns1123Label().validate(name)`.

use keelson_semantics::names;

use super::{Args, Row, time as clock, url};
use crate::EvalError;
use crate::value::Value;

/// A format that texts are checked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the library's own")]
pub enum Format {
    Dns1123Label,
    Dns1123Subdomain,
    Dns1035Label,
    QualifiedName,
    Dns1123LabelPrefix,
    Dns1123SubdomainPrefix,
    Dns1035LabelPrefix,
    LabelValue,
    Uri,
    Uuid,
    Byte,
    Date,
    Datetime,
}

pub(crate) const ROWS: &[Row] = &[
    ("format.dns1123Label", MADE, |_| Ok(Value::Format(Format::Dns1123Label))),
    ("format.dns1123Subdomain", MADE, |_| Ok(Value::Format(Format::Dns1123Subdomain))),
    ("format.dns1035Label", MADE, |_| Ok(Value::Format(Format::Dns1035Label))),
    ("format.qualifiedName", MADE, |_| Ok(Value::Format(Format::QualifiedName))),
    ("format.dns1123LabelPrefix", MADE, |_| Ok(Value::Format(Format::Dns1123LabelPrefix))),
    ("format.dns1123SubdomainPrefix", MADE, |_| Ok(Value::Format(Format::Dns1123SubdomainPrefix))),
    ("format.dns1035LabelPrefix", MADE, |_| Ok(Value::Format(Format::Dns1035LabelPrefix))),
    ("format.labelValue", MADE, |_| Ok(Value::Format(Format::LabelValue))),
    ("format.uri", MADE, |_| Ok(Value::Format(Format::Uri))),
    ("format.uuid", MADE, |_| Ok(Value::Format(Format::Uuid))),
    ("format.byte", MADE, |_| Ok(Value::Format(Format::Byte))),
    ("format.date", MADE, |_| Ok(Value::Format(Format::Date))),
    ("format.datetime", MADE, |_| Ok(Value::Format(Format::Datetime))),
    ("format.named", &["(string) -> optional(Format)"], |args| {
        let name = args.values[0].as_str().ok_or(EvalError::NoOverload)?;
        Ok(Format::named(name).map_or(Value::Optional(None), |format| Value::some(Value::Format(format))))
    }),
    ("validate", &["Format.(string) -> optional(list(string))"], validate),
];

const MADE: &[&str] = &["() -> Format"];

impl Format {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "dns1123Label" => Self::Dns1123Label,
            "dns1123Subdomain" => Self::Dns1123Subdomain,
            "dns1035Label" => Self::Dns1035Label,
            "qualifiedName" => Self::QualifiedName,
            "dns1123LabelPrefix" => Self::Dns1123LabelPrefix,
            "dns1123SubdomainPrefix" => Self::Dns1123SubdomainPrefix,
            "dns1035LabelPrefix" => Self::Dns1035LabelPrefix,
            "labelValue" => Self::LabelValue,
            "uri" => Self::Uri,
            "uuid" => Self::Uuid,
            "byte" => Self::Byte,
            "date" => Self::Date,
            "datetime" => Self::Datetime,
            _ => return None,
        })
    }

    fn problems(self, text: &str) -> Vec<String> {
        // A prefix may end in the dash to which a suffix is put.
        let prefix = |check: fn(&str) -> Vec<String>| match text.strip_suffix('-') {
            Some(head) if !head.is_empty() => check(&format!("{head}a")),
            _ => check(text),
        };
        let unless = |good: bool, why: &str| if good { Vec::new() } else { vec![why.to_owned()] };
        match self {
            Self::Dns1123Label => names::dns1123_label(text),
            Self::Dns1123Subdomain => names::dns1123_subdomain(text),
            Self::Dns1035Label => names::dns1035_label(text),
            Self::QualifiedName => names::qualified_name(text),
            Self::Dns1123LabelPrefix => prefix(names::dns1123_label),
            Self::Dns1123SubdomainPrefix => prefix(names::dns1123_subdomain),
            Self::Dns1035LabelPrefix => prefix(names::dns1035_label),
            Self::LabelValue => names::label_value(text),
            Self::Uri => unless(url::is_url(text), "invalid URI"),
            Self::Uuid => unless(
                text.len() == 36 && uuid::Uuid::parse_str(text).is_ok(),
                "does not match the UUID format",
            ),
            Self::Byte => {
                use base64::Engine as _;
                unless(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
            }
            Self::Date => unless(clock::is_date(text), "invalid date"),
            Self::Datetime => unless(clock::timestamp(text).is_some(), "invalid datetime"),
        }
    }
}

fn validate<'a>(args: &mut Args<'_, '_, 'a>) -> Result<Value<'a>, EvalError> {
    let [Value::Format(format), Value::String(text)] = args.values else { return Err(EvalError::NoOverload) };
    args.meter.walk(text.len())?;
    let problems = format.problems(text);
    if problems.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(problems.into_iter().map(Value::text).collect())))
}
