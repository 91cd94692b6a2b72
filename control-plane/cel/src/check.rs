//! The type checker, and with it the estimate of what an evaluation may cost: both go by the declared types.
//!
//! What is dyn fits everywhere and shows at evaluation. Sizes and costs are upper bounds that saturate.

use std::collections::HashMap;
use std::sync::Arc;

use crate::budget::REQUEST_BYTES_MAX;
use crate::environment::Environment;
use crate::library::{Function, Signature};
use crate::lower::Refusal;
use crate::node::{Call, Entry, How, Item, Macro, MacroKind, Node, Select, Step};
use crate::types::{Library, Type};
use crate::value::Value;

/// What is known of a node.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) ty: Type,
    /// The most characters, items or entries.
    size: u64,
    /// The most that it costs.
    pub(crate) cost: u64,
}

impl Facts {
    fn of(ty: Type, cost: u64) -> Self {
        let size = size_of(&ty);
        Self { ty, size, cost }
    }
}

/// The most that a value of the type can be long; a request bounds what is not declared.
fn size_of(ty: &Type) -> u64 {
    match ty {
        Type::String(max) | Type::Bytes(max) => max.unwrap_or(REQUEST_BYTES_MAX - 2),
        Type::List(list) => list.max_items.unwrap_or((REQUEST_BYTES_MAX - 2) / (smallest(&list.element) + 1)),
        Type::Map(map) => map.max_properties.unwrap_or((REQUEST_BYTES_MAX - 2) / (smallest(&map.value) + 6)),
        Type::Dyn => REQUEST_BYTES_MAX,
        _ => 1,
    }
}

/// The fewest bytes that a value of the type takes in JSON.
fn smallest(ty: &Type) -> u64 {
    match ty {
        Type::String(_) | Type::Bytes(_) | Type::List(_) | Type::Map(_) | Type::Object(_) => 2,
        Type::Bool | Type::Null => 4,
        Type::Timestamp => 22,
        Type::Duration => 4,
        _ => 1,
    }
}

type Checked = Result<Facts, Refusal>;

pub(crate) fn check(root: &Node, environment: &Environment) -> Checked {
    Checker { environment, locals: Vec::new(), mixed: false }.node(root)
}

struct Checker<'e> {
    environment: &'e Environment,
    locals: Vec<Type>,
    /// Lists may hold several types: what `format` is given.
    mixed: bool,
}

impl Checker<'_> {
    fn node(&mut self, node: &Node) -> Checked {
        let at = node.at;
        match &node.step {
            Step::Literal(value) => {
                let size = match value {
                    Value::String(text) => text.chars().count(),
                    Value::Bytes(bytes) => bytes.len(),
                    _ => 1,
                };
                Ok(Facts { ty: value.type_of(), size: size as u64, cost: 0 })
            }
            Step::Variable(name) => {
                let ty = self.environment.get(name).map_or(Type::Dyn, |(_, ty)| ty.clone());
                Ok(Facts::of(ty, 1))
            }
            Step::Composited(index) => {
                let program = &self.environment.composited[*index].1;
                Ok(Facts::of(program.result_type().clone(), program.cost_estimate().saturating_add(2)))
            }
            Step::Local(index) => Ok(Facts::of(self.locals[*index].clone(), 1)),
            Step::TypeName(_) => Ok(Facts::of(Type::Type, 0)),
            Step::Select(select) => self.select(at, select),
            Step::Index { of, key, optional } => self.index(at, of, key, *optional),
            Step::Call(call) => self.call(at, call),
            Step::List(items) => self.list(items),
            Step::Map(entries) => self.map(entries),
            Step::Struct { name, fields } => self.made(at, name, fields),
            Step::And(nodes) | Step::Or(nodes) => {
                let operator = if matches!(node.step, Step::And(_)) { "_&&_" } else { "_||_" };
                let mut cost = 0_u64;
                for operand in nodes {
                    let facts = self.node(operand)?;
                    if !fits(&Type::Bool, &facts.ty) {
                        return Err((at, no_overload(operator, false, &[Type::Bool, facts.ty])));
                    }
                    cost = cost.saturating_add(facts.cost);
                }
                Ok(Facts::of(Type::Bool, cost))
            }
            Step::Conditional(nodes) => {
                let (condition, then, other) =
                    (self.node(&nodes[0])?, self.node(&nodes[1])?, self.node(&nodes[2])?);
                let types = [condition.ty.clone(), then.ty.clone(), other.ty.clone()];
                let ty = join(&then.ty, &other.ty).filter(|_| fits(&Type::Bool, &condition.ty));
                let ty = ty.ok_or_else(|| (at, no_overload("_?_:_", false, &types)))?;
                let cost = condition.cost.saturating_add(then.cost.max(other.cost));
                Ok(Facts { ty, size: then.size.max(other.size), cost })
            }
            Step::Macro(looped) => self.looped(at, looped),
            Step::Bind { init, body } => {
                let init = self.node(init)?;
                let body = self.with(&[init.ty], body)?;
                Ok(Facts { cost: init.cost.saturating_add(body.cost), ..body })
            }
            Step::OptMap { of, body, flat } => {
                let of = self.node(of)?;
                let inner = match &of.ty {
                    Type::Optional(inner) => inner.as_ref().clone(),
                    Type::Dyn => Type::Dyn,
                    other => return Err((at, no_overload("optMap", true, std::slice::from_ref(other)))),
                };
                let body = self.with(&[inner], body)?;
                let ty = if *flat { body.ty } else { Type::optional(body.ty) };
                Ok(Facts { ty, size: body.size, cost: of.cost.saturating_add(body.cost) })
            }
        }
    }

    fn with(&mut self, locals: &[Type], body: &Node) -> Checked {
        let depth = self.locals.len();
        self.locals.extend_from_slice(locals);
        let facts = self.node(body);
        self.locals.truncate(depth);
        facts
    }

    fn select(&mut self, at: usize, select: &Select) -> Checked {
        let of = self.node(&select.of)?;
        let cost = of.cost.saturating_add(1);
        let (inner, chained) = match &of.ty {
            Type::Optional(inner) => (inner.as_ref(), true),
            ty => (ty, false),
        };
        let ty = match inner {
            Type::Dyn | Type::Library(Library::MutationObject) | Type::Null => Type::Dyn,
            Type::Map(map) => map.value.clone(),
            Type::Object(object) => match object.get(&select.field) {
                Some(field) => field.ty.clone(),
                None => return Err((at, format!("undefined field '{}'", select.field))),
            },
            other => return Err((at, format!("type '{other}' does not support field selection"))),
        };
        Ok(match select.how {
            How::Test => Facts::of(Type::Bool, cost),
            How::Value if !chained => Facts::of(ty, cost),
            How::Value | How::Optional => Facts::of(Type::optional(ty), cost),
        })
    }

    fn index(&mut self, at: usize, of: &Node, key: &Node, optional: bool) -> Checked {
        let (of, key) = (self.node(of)?, self.node(key)?);
        let (inner, chained) = match &of.ty {
            Type::Optional(inner) => (inner.as_ref(), true),
            ty => (ty, false),
        };
        let numeric = |ty: &Type| matches!(ty, Type::Int | Type::Uint | Type::Double | Type::Dyn);
        let ty = match inner {
            Type::Dyn => Some(Type::Dyn),
            Type::List(list) if numeric(&key.ty) => Some(list.element.clone()),
            Type::Map(map) if fits(&map.key, &key.ty) || (numeric(&map.key) && numeric(&key.ty)) => {
                Some(map.value.clone())
            }
            _ => None,
        };
        let name = if optional { "_[?_]" } else { "_[_]" };
        let ty = ty.ok_or_else(|| (at, no_overload(name, false, &[of.ty.clone(), key.ty.clone()])))?;
        let cost = of.cost.saturating_add(key.cost).saturating_add(1);
        Ok(if optional || chained { Facts::of(Type::optional(ty), cost) } else { Facts::of(ty, cost) })
    }

    fn call(&mut self, at: usize, call: &Call) -> Checked {
        let before = std::mem::replace(&mut self.mixed, call.function.name == "format");
        let args = call.args.iter().map(|arg| self.node(arg)).collect::<Result<Vec<_>, _>>();
        self.mixed = before;
        let args = args?;
        let types: Vec<Type> = args.iter().map(|arg| arg.ty.clone()).collect();
        let mut results =
            call.function.signatures.iter().filter_map(|signature| applied(signature, call.member, &types));
        let Some(first) = results.next() else {
            return Err((at, no_overload(call.function.name, call.member, &types)));
        };
        let ty = if results.all(|other| other.is_like(&first)) { first } else { Type::Dyn };
        let cost = args.iter().fold(1_u64, |sum, arg| sum.saturating_add(arg.cost));
        let cost = cost.saturating_add(walked(call.function, &args));
        let size = match &ty {
            Type::String(_) | Type::Bytes(_) | Type::List(_) | Type::Map(_) => {
                args.iter().fold(0_u64, |sum, arg| sum.saturating_add(arg.size))
            }
            other => size_of(other),
        };
        Ok(Facts { ty, size, cost })
    }

    /// Kubernetes' environment has lists and maps of one type only, but for what `format` is given.
    fn list(&mut self, items: &[Item]) -> Checked {
        let (mut element, mut cost) = (None, 10_u64);
        for item in items {
            let facts = self.node(&item.value)?;
            cost = cost.saturating_add(facts.cost);
            let ty = present(item.value.at, facts.ty, item.optional)?;
            element = Some(if self.mixed { Type::Dyn } else { same(item.value.at, element, ty)? });
        }
        Ok(Facts { ty: Type::list(element.unwrap_or(Type::Dyn)), size: items.len() as u64, cost })
    }

    fn map(&mut self, entries: &[Entry]) -> Checked {
        let (mut key, mut value, mut cost) = (None, None, 30_u64);
        for entry in entries {
            let (k, v) = (self.node(&entry.key)?, self.node(&entry.value)?);
            cost = cost.saturating_add(k.cost).saturating_add(v.cost);
            key = Some(same(entry.key.at, key, k.ty)?);
            value = Some(same(entry.value.at, value, present(entry.value.at, v.ty, entry.optional)?)?);
        }
        let ty = Type::map_of(key.unwrap_or(Type::Dyn), value.unwrap_or(Type::Dyn), None);
        Ok(Facts { ty, size: entries.len() as u64, cost })
    }

    fn made(&mut self, at: usize, name: &str, fields: &[(Arc<str>, Node, bool)]) -> Checked {
        let mut cost = 40_u64;
        for (field, node, optional) in fields {
            let facts = self.node(node)?;
            cost = cost.saturating_add(facts.cost);
            let ty = present(node.at, facts.ty, *optional)?;
            if name == "JSONPatch" {
                let text = matches!(&**field, "op" | "path" | "from");
                if !text && &**field != "value" {
                    return Err((at, format!("undefined field '{field}'")));
                }
                if text && !fits(&Type::STRING, &ty) {
                    return Err((
                        node.at,
                        format!("expected type of field '{field}' is 'string' but provided type is '{ty}'"),
                    ));
                }
            }
        }
        let library = if name == "JSONPatch" { Library::JsonPatch } else { Library::MutationObject };
        Ok(Facts::of(Type::Library(library), cost))
    }

    fn looped(&mut self, at: usize, looped: &Macro) -> Checked {
        let range = self.node(&looped.range)?;
        let (first, second) = match &range.ty {
            Type::List(list) => (Type::Int, list.element.clone()),
            Type::Map(map) if looped.two => (map.key.clone(), map.value.clone()),
            Type::Map(map) => (Type::Dyn, map.key.clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                return Err((
                    at,
                    format!(
                        "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                    ),
                ));
            }
        };
        let locals = if looped.two { vec![first.clone(), second.clone()] } else { vec![second.clone()] };
        let mut each = 3_u64;
        if let Some(predicate) = &looped.predicate {
            let facts = self.with(&locals, predicate)?;
            if !fits(&Type::Bool, &facts.ty) {
                return Err((predicate.at, format!("expected type 'bool' but found '{}'", facts.ty)));
            }
            each = each.saturating_add(facts.cost);
        }
        let mut transformed = Type::Dyn;
        if let Some(transform) = &looped.transform {
            let facts = self.with(&locals, transform)?;
            each = each.saturating_add(facts.cost);
            transformed = facts.ty;
        }
        let ty = match looped.kind {
            MacroKind::All | MacroKind::Exists | MacroKind::ExistsOne => Type::Bool,
            MacroKind::Map => Type::list(transformed),
            MacroKind::Filter => Type::list(second),
            MacroKind::TransformMap => Type::map_of(first, transformed, None),
            MacroKind::TransformMapEntry => match transformed {
                map @ (Type::Map(_) | Type::Dyn) => map,
                other => return Err((at, format!("expected type 'map(dyn, dyn)' but found '{other}'"))),
            },
        };
        let cost = range.cost.saturating_add(range.size.saturating_mul(each));
        Ok(Facts { size: if ty == Type::Bool { 1 } else { range.size }, ty, cost })
    }
}

/// What a function walks of its arguments.
fn walked(function: &Function, args: &[Facts]) -> u64 {
    let tenth = |facts: &Facts| match facts.ty {
        Type::String(_) | Type::Bytes(_) | Type::List(_) | Type::Map(_) | Type::Dyn => {
            facts.size.div_ceil(10)
        }
        _ => 0,
    };
    match (function.name, args) {
        ("matches" | "find" | "findAll", [text, pattern, ..]) => {
            tenth(text).max(1).saturating_mul(pattern.size.div_ceil(4).max(1))
        }
        ("contains" | "indexOf" | "lastIndexOf" | "replace", [text, part, ..]) => {
            tenth(text).max(1).saturating_mul(tenth(part).max(1))
        }
        ("sets.contains" | "sets.intersects" | "sets.equivalent", [a, b]) => a.size.saturating_mul(b.size),
        ("@in", [_, list]) => list.size,
        ("_==_" | "_!=_", [a, b]) => tenth(a).min(tenth(b)),
        ("size" | "type" | "dyn" | "_[_]", _) => 0,
        _ => args.iter().fold(0, |sum, arg| sum.saturating_add(tenth(arg))),
    }
}

/// The result of a function by one signature; none where the arguments do not fit.
fn applied(signature: &Signature, member: bool, args: &[Type]) -> Option<Type> {
    if signature.member != member || signature.params.len() != args.len() {
        return None;
    }
    let mut bound = HashMap::new();
    let fit = signature.params.iter().zip(args).all(|(param, arg)| unify(param, arg, &mut bound));
    fit.then(|| resolved(&signature.result, &bound))
}

fn unify(param: &Type, arg: &Type, bound: &mut HashMap<char, Type>) -> bool {
    match (param, arg) {
        (Type::Param(letter), _) => match bound.get(letter) {
            None => {
                bound.insert(*letter, arg.clone());
                true
            }
            Some(known) => match join(known, arg) {
                Some(joined) => {
                    bound.insert(*letter, joined);
                    true
                }
                None => false,
            },
        },
        (Type::Dyn, _) | (_, Type::Dyn) => true,
        (Type::List(a), Type::List(b)) => unify(&a.element, &b.element, bound),
        (Type::Map(a), Type::Map(b)) => unify(&a.key, &b.key, bound) && unify(&a.value, &b.value, bound),
        // An object is a map of its fields where a function wants a map.
        (Type::Map(_), Type::Object(_)) => true,
        (Type::Optional(a), Type::Optional(b)) => unify(a, b, bound),
        _ => param.is_like(arg),
    }
}

fn resolved(ty: &Type, bound: &HashMap<char, Type>) -> Type {
    match ty {
        Type::Param(letter) => bound.get(letter).cloned().unwrap_or(Type::Dyn),
        Type::List(list) => Type::list(resolved(&list.element, bound)),
        Type::Map(map) => Type::map_of(resolved(&map.key, bound), resolved(&map.value, bound), None),
        Type::Optional(of) => Type::optional(resolved(of, bound)),
        other => other.clone(),
    }
}

fn fits(wanted: &Type, given: &Type) -> bool {
    join(wanted, given).is_some()
}

/// The type of what may be either; none where the two have nothing to do with each other.
fn join(a: &Type, b: &Type) -> Option<Type> {
    let nullable =
        |ty: &Type| matches!(ty, Type::Object(_) | Type::Library(_) | Type::Duration | Type::Timestamp);
    match (a, b) {
        (Type::Dyn, _) | (_, Type::Dyn) => Some(Type::Dyn),
        (Type::Null, other) | (other, Type::Null) if nullable(other) => Some(other.clone()),
        (Type::List(x), Type::List(y)) => {
            let joined = join(&x.element, &y.element)?;
            Some(if joined.is_like(&x.element) { a.clone() } else { Type::list(joined) })
        }
        (Type::Map(x), Type::Map(y)) => {
            let (key, value) = (join(&x.key, &y.key)?, join(&x.value, &y.value)?);
            let same = key.is_like(&x.key) && value.is_like(&x.value);
            Some(if same { a.clone() } else { Type::map_of(key, value, None) })
        }
        (Type::Optional(x), Type::Optional(y)) => join(x, y).map(Type::optional),
        (Type::String(x), Type::String(y)) => Some(Type::String(x.zip(*y).map(|(x, y)| x.max(y)))),
        _ => a.is_like(b).then(|| a.clone()),
    }
}

fn present(at: usize, ty: Type, optional: bool) -> Result<Type, Refusal> {
    match (ty, optional) {
        (ty, false) => Ok(ty),
        (Type::Optional(inner), true) => Ok(inner.as_ref().clone()),
        (Type::Dyn, true) => Ok(Type::Dyn),
        (ty, true) => Err((at, format!("expected type 'optional_type({ty})' but found '{ty}'"))),
    }
}

fn same(at: usize, known: Option<Type>, ty: Type) -> Result<Type, Refusal> {
    match known {
        None => Ok(ty),
        Some(known) => {
            join(&known, &ty).ok_or_else(|| (at, format!("expected type '{known}' but found '{ty}'")))
        }
    }
}

/// cel-go's text: a receiver stands before the brackets.
fn no_overload(name: &str, member: bool, types: &[Type]) -> String {
    let names: Vec<String> = types.iter().map(Type::to_string).collect();
    let applied = match (member, &*names) {
        (true, [receiver, args @ ..]) => format!("{receiver}.({})", args.join(", ")),
        _ => format!("({})", names.join(", ")),
    };
    format!("found no matching overload for '{name}' applied to '{applied}'")
}
