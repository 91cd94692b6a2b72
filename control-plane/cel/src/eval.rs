//! Evaluation: a walk over the nodes. Every step is charged before it is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::budget::Meter;
use crate::compare;
use crate::library::Args;
use crate::node::{Call, Entry, How, Item, Macro, MacroKind, Node, Select, Step};
use crate::program::Bindings;
use crate::value::{Key, List, Map, Text, Value};
use crate::{EvalError, Program};

/// What making a list, a map or an object costs (cel-go's `ListCreateBaseCost` and its sisters).
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const STRUCT_COST: u64 = 40;
/// How deep evaluation recurses: what one expression can nest, and composited variables in it. Tested to fit the stack
/// of a runtime's worker.
const DEPTH_MAX: usize = crate::NESTING_MAX;
/// How deep a value may nest that expressions make; JSON's own limit.
const VALUE_DEPTH_MAX: usize = 128;
/// What a loop's own bookkeeping costs an item.
const ITERATION_COST: u64 = 3;

pub(crate) type Evaluated<'a> = Result<Value<'a>, EvalError>;

pub(crate) struct Run<'r, 'b, 'a> {
    pub(crate) bindings: &'r Bindings<'a>,
    pub(crate) composited: &'r [(Arc<str>, Arc<Program>)],
    pub(crate) meter: &'r mut Meter<'b>,
    pub(crate) locals: Vec<Value<'a>>,
    pub(crate) depth: usize,
}

impl<'a> Run<'_, '_, 'a> {
    pub(crate) fn value(&mut self, node: &Node) -> Evaluated<'a> {
        if self.depth >= DEPTH_MAX {
            return Err(EvalError::TooDeep);
        }
        self.depth += 1;
        let value = self.step_of(node);
        self.depth -= 1;
        match value {
            Ok(value) if value.depth() > VALUE_DEPTH_MAX => Err(EvalError::TooDeep),
            value => value,
        }
    }

    fn step_of(&mut self, node: &Node) -> Evaluated<'a> {
        match &node.step {
            Step::Literal(value) => Ok(value.clone()),
            Step::Variable(name) => {
                self.meter.charge(1)?;
                self.bindings.get(name).cloned().ok_or_else(|| EvalError::Unbound(name.to_string()))
            }
            Step::Composited(index) => self.composited(*index),
            Step::Local(index) => {
                self.meter.charge(1)?;
                Ok(self.locals[*index].clone())
            }
            Step::TypeName(ty) => Ok(Value::Type(ty.clone())),
            Step::Select(select) => self.select(select),
            Step::Index { of, key, optional } => self.index(of, key, *optional),
            Step::Call(call) => self.call(call),
            Step::List(items) => self.list(items),
            Step::Map(entries) => self.map(entries),
            Step::Struct { fields, .. } => self.object(fields),
            Step::And(nodes) => self.logic(nodes, false),
            Step::Or(nodes) => self.logic(nodes, true),
            Step::Conditional(nodes) => self.conditional(nodes),
            Step::Macro(looped) => self.looped(looped),
            Step::Bind { init, body } => self.bind(init, body),
            Step::OptMap { of, body, flat } => self.opt_map(of, body, *flat),
        }
    }

    fn conditional(&mut self, nodes: &[Node; 3]) -> Evaluated<'a> {
        match self.value(&nodes[0])? {
            Value::Bool(true) => self.value(&nodes[1]),
            Value::Bool(false) => self.value(&nodes[2]),
            _ => Err(EvalError::NoOverload),
        }
    }

    fn bind(&mut self, init: &Node, body: &Node) -> Evaluated<'a> {
        let init = self.value(init)?;
        self.with(init, body)
    }

    fn opt_map(&mut self, of: &Node, body: &Node, flat: bool) -> Evaluated<'a> {
        match self.value(of)? {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(value)) => {
                let mapped = self.with(value.as_ref().clone(), body)?;
                Ok(if flat { mapped } else { Value::some(mapped) })
            }
            _ => Err(EvalError::NoOverload),
        }
    }

    fn with(&mut self, local: Value<'a>, body: &Node) -> Evaluated<'a> {
        self.locals.push(local);
        let value = self.value(body);
        self.locals.pop();
        value
    }

    /// Evaluated once for all programs that share the bindings; whoever is first pays.
    fn composited(&mut self, index: usize) -> Evaluated<'a> {
        self.meter.charge(2)?;
        let (name, program) = &self.composited[index];
        if let Some(known) = self.bindings.composited(name) {
            return known;
        }
        let locals = std::mem::take(&mut self.locals);
        let mut run = Run {
            bindings: self.bindings,
            composited: &program.environment.composited,
            meter: &mut *self.meter,
            locals: Vec::new(),
            depth: self.depth,
        };
        let value = run.value(&program.root);
        self.locals = locals;
        let value = value.map_err(|error| match error {
            error if error.is_final() => error,
            error => EvalError::Other(format!("composited variable \"{name}\" fails to evaluate: {error}")),
        });
        // What ended the evaluation says nothing of the variable.
        if !matches!(&value, Err(error) if error.is_final()) {
            self.bindings.keep(name, value.clone());
        }
        value
    }

    fn select(&mut self, select: &Select) -> Evaluated<'a> {
        let of = self.value(&select.of)?;
        self.meter.charge(1)?;
        let (of, chained) = match of {
            Value::Optional(None) => {
                return Ok(if select.how == How::Test { Value::Bool(false) } else { Value::Optional(None) });
            }
            Value::Optional(Some(value)) => (value.as_ref().clone(), true),
            of => (of, false),
        };
        let Value::Map(map) = of else {
            let null = matches!(of, Value::Null);
            return match select.how {
                How::Optional if null => Ok(Value::Optional(None)),
                _ if matches!(of, Value::Null) => Err(EvalError::NoSuchKey(select.field.to_string())),
                _ => Err(EvalError::NoOverload),
            };
        };
        let found = map.field(&select.field);
        match select.how {
            How::Test => Ok(Value::Bool(found.is_some())),
            How::Optional => Ok(Value::Optional(found.map(Arc::new))),
            How::Value if chained => Ok(Value::Optional(found.map(Arc::new))),
            How::Value => found.ok_or_else(|| EvalError::NoSuchKey(select.field.to_string())),
        }
    }

    fn index(&mut self, of: &Node, key: &Node, optional: bool) -> Evaluated<'a> {
        let (of, key) = (self.value(of)?, self.value(key)?);
        self.meter.charge(1)?;
        let (of, chained) = match of {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(value)) => (value.as_ref().clone(), true),
            of => (of, false),
        };
        let found = at(&of, &key);
        match found {
            Ok(value) if optional || chained => Ok(Value::some(value)),
            Err(EvalError::NoSuchKey(_) | EvalError::OutOfBounds(_)) if optional || chained => {
                Ok(Value::Optional(None))
            }
            found => found,
        }
    }

    fn call(&mut self, call: &Call) -> Evaluated<'a> {
        let mut values = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            values.push(self.value(arg)?);
        }
        self.meter.charge(1)?;
        (call.function.call)(&mut Args { values: &values, meter: self.meter, regex: call.regex.as_ref() })
    }

    fn list(&mut self, items: &[Item]) -> Evaluated<'a> {
        self.meter.charge(LIST_COST)?;
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            list.extend(self.present(&item.value, item.optional)?);
        }
        Ok(Value::list(list))
    }

    fn map(&mut self, entries: &[Entry]) -> Evaluated<'a> {
        self.meter.charge(MAP_COST)?;
        let mut map = BTreeMap::new();
        for entry in entries {
            let key = self.value(&entry.key)?.key().ok_or(EvalError::NoOverload)?;
            if let Some(value) = self.present(&entry.value, entry.optional)?
                && map.insert(key, value).is_some()
            {
                return Err(EvalError::other("duplicate key in map literal"));
            }
        }
        Ok(Value::map(map))
    }

    fn object(&mut self, fields: &[(Arc<str>, Node, bool)]) -> Evaluated<'a> {
        self.meter.charge(STRUCT_COST)?;
        let mut map = BTreeMap::new();
        for (name, value, optional) in fields {
            if let Some(value) = self.present(value, *optional)? {
                map.insert(Key::String(Text::Own(name.clone())), value);
            }
        }
        Ok(Value::map(map))
    }

    fn present(&mut self, node: &Node, optional: bool) -> Result<Option<Value<'a>>, EvalError> {
        match (self.value(node)?, optional) {
            (value, false) => Ok(Some(value)),
            (Value::Optional(value), true) => Ok(value.map(|value| value.as_ref().clone())),
            _ => Err(EvalError::NoOverload),
        }
    }

    /// `&&` (absorbed by false) and `||` (by true): the absorbing value wins over an error on either side.
    fn logic(&mut self, nodes: &[Node], absorbing: bool) -> Evaluated<'a> {
        let mut failed = None;
        for node in nodes {
            match self.value(node) {
                Ok(Value::Bool(value)) if value == absorbing => return Ok(Value::Bool(absorbing)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = failed.or(Some(EvalError::NoOverload)),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(Value::Bool(!absorbing)), Err)
    }

    fn looped(&mut self, looped: &Macro) -> Evaluated<'a> {
        let range = self.value(&looped.range)?;
        let mut result = Loop::new(looped.kind);
        let depth = self.locals.len();
        match range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let item = list.get(index).unwrap_or(Value::Null);
                    let first = looped.two.then(|| Value::Int(i64::try_from(index).unwrap_or(i64::MAX)));
                    if !self.iterate(looped, &mut result, first, item, depth)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                self.meter.charge(map.len() as u64)?;
                for key in map.keys() {
                    let (first, second) = if looped.two {
                        let value = key.key().and_then(|key| map.get(&key)).unwrap_or(Value::Null);
                        (Some(key), value)
                    } else {
                        (None, key)
                    };
                    if !self.iterate(looped, &mut result, first, second, depth)? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::NoOverload),
        }
        result.value()
    }

    /// One item; whether to go on.
    fn iterate(
        &mut self,
        looped: &Macro,
        result: &mut Loop<'a>,
        first: Option<Value<'a>>,
        second: Value<'a>,
        depth: usize,
    ) -> Result<bool, EvalError> {
        self.meter.charge(ITERATION_COST)?;
        let item = second.clone();
        let key = first.clone();
        self.locals.extend(first);
        self.locals.push(second);
        let stepped = self.step(looped, result, key, item);
        self.locals.truncate(depth);
        stepped
    }

    fn step(
        &mut self,
        looped: &Macro,
        result: &mut Loop<'a>,
        key: Option<Value<'a>>,
        item: Value<'a>,
    ) -> Result<bool, EvalError> {
        let holds = match &looped.predicate {
            None => true,
            Some(predicate) => match (self.value(predicate), looped.kind) {
                (Ok(Value::Bool(holds)), _) => holds,
                (Err(error), MacroKind::All | MacroKind::Exists) if !error.is_final() => {
                    result.failed.get_or_insert(error);
                    return Ok(true);
                }
                (Err(error), _) => return Err(error),
                (Ok(_), _) => return Err(EvalError::NoOverload),
            },
        };
        match looped.kind {
            MacroKind::All | MacroKind::Exists => {
                let decided = holds == (looped.kind == MacroKind::Exists);
                result.decided |= decided;
                return Ok(!decided);
            }
            MacroKind::ExistsOne => result.count += u64::from(holds),
            MacroKind::Filter if holds => result.list.push(item),
            _ if !holds => {}
            kind => {
                let value = match &looped.transform {
                    Some(transform) => self.value(transform)?,
                    None => return Err(EvalError::NoOverload),
                };
                match kind {
                    MacroKind::TransformMap => {
                        let key = key.and_then(|key| key.key()).ok_or(EvalError::NoOverload)?;
                        result.map.insert(key, value);
                    }
                    MacroKind::TransformMapEntry => {
                        let Value::Map(Map::Own(entries)) = value else { return Err(EvalError::NoOverload) };
                        for (key, value) in entries.iter() {
                            if result.map.insert(key.clone(), value.clone()).is_some() {
                                return Err(EvalError::other("insert failed: key already exists"));
                            }
                        }
                    }
                    _ => result.list.push(value),
                }
            }
        }
        Ok(true)
    }
}

/// What a loop has come to.
struct Loop<'a> {
    kind: MacroKind,
    decided: bool,
    failed: Option<EvalError>,
    count: u64,
    list: Vec<Value<'a>>,
    map: BTreeMap<Key<'a>, Value<'a>>,
}

impl<'a> Loop<'a> {
    fn new(kind: MacroKind) -> Self {
        Self { kind, decided: false, failed: None, count: 0, list: Vec::new(), map: BTreeMap::new() }
    }

    fn value(self) -> Evaluated<'a> {
        match (self.kind, self.failed) {
            (MacroKind::All | MacroKind::Exists, Some(error)) if !self.decided => Err(error),
            (MacroKind::All, _) => Ok(Value::Bool(!self.decided)),
            (MacroKind::Exists, _) => Ok(Value::Bool(self.decided)),
            (MacroKind::ExistsOne, _) => Ok(Value::Bool(self.count == 1)),
            (MacroKind::Map | MacroKind::Filter, _) => Ok(Value::list(self.list)),
            (MacroKind::TransformMap | MacroKind::TransformMapEntry, _) => Ok(Value::map(self.map)),
        }
    }
}

/// `of[key]`.
pub(crate) fn at<'a>(of: &Value<'a>, key: &Value<'_>) -> Evaluated<'a> {
    match (of, key.key()) {
        (Value::List(list), Some(Key::Int(index))) => {
            let found = usize::try_from(index).ok().and_then(|index| list.get(index));
            found.ok_or(EvalError::OutOfBounds(i64::try_from(index).unwrap_or(i64::MAX)))
        }
        (Value::Map(map), Some(key)) => map.get(&key).ok_or_else(|| {
            EvalError::NoSuchKey(match &key {
                Key::String(text) => text.to_string(),
                Key::Int(value) => value.to_string(),
                Key::Bool(value) => value.to_string(),
            })
        }),
        _ => Err(EvalError::NoOverload),
    }
}

/// `a + b` of lists: those that are sets or maps by key are merged, others joined.
pub(crate) fn joined<'a>(a: &List<'a>, b: &List<'a>, meter: &mut Meter<'_>) -> Evaluated<'a> {
    use crate::types::ListKind;
    meter.charge((a.len() + b.len()) as u64)?;
    let kind = a.declared().map_or(ListKind::Atomic, |list| list.kind.clone());
    let mut items: Vec<Value<'a>> = a.iter().collect();
    for item in b.iter() {
        let same = match &kind {
            ListKind::Atomic => None,
            ListKind::Set => position(&items, &item, &[], meter)?,
            ListKind::Map(keys) => position(&items, &item, keys, meter)?,
        };
        match same {
            Some(index) => items[index] = item,
            None => items.push(item),
        }
    }
    Ok(Value::list(items))
}

/// Where an item is that is the same by these fields, or as a whole.
fn position(
    items: &[Value<'_>],
    item: &Value<'_>,
    keys: &[String],
    meter: &mut Meter<'_>,
) -> Result<Option<usize>, EvalError> {
    let field = |value: &Value<'_>, key: &str| match value {
        Value::Map(map) => map.get(&Key::String(Text::Borrowed(key))).map(|value| value.to_json()),
        _ => None,
    };
    for (index, other) in items.iter().enumerate() {
        meter.charge(1)?;
        let same = if keys.is_empty() {
            compare::equal(other, item, meter)?
        } else {
            keys.iter().all(|key| field(other, key) == field(item, key))
        };
        if same {
            return Ok(Some(index));
        }
    }
    Ok(None)
}
