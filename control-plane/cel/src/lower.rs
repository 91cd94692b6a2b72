//! From the parser's tree to [`Node`]s: names are resolved, macros recognised, patterns compiled.

use std::sync::Arc;

use cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators,
};

use crate::NESTING_MAX;
use crate::environment::Environment;
use crate::library::{self, Function};
use crate::node::{Call, Entry, How, Item, Macro, MacroKind, Node, Select, Step};
use crate::types::Type;
use crate::value::{Text, Value};

/// What is wrong, and where.
pub(crate) type Refusal = (usize, String);

/// Resolves names against an environment.
pub(crate) fn lower(tree: IdedExpr, source: &SourceInfo, environment: &Environment) -> Result<Node, Refusal> {
    Lowering { source, environment, locals: Vec::new(), depth: 0 }.node(tree)
}

struct Lowering<'e> {
    source: &'e SourceInfo,
    environment: &'e Environment,
    locals: Vec<String>,
    depth: usize,
}

impl Lowering<'_> {
    fn node(&mut self, tree: IdedExpr) -> Result<Node, Refusal> {
        if self.depth >= NESTING_MAX {
            return Err((0, format!("expression recursion limit exceeded. limit: {NESTING_MAX}")));
        }
        self.depth += 1;
        let node = self.resolved(tree);
        self.depth -= 1;
        node
    }

    fn resolved(&mut self, tree: IdedExpr) -> Result<Node, Refusal> {
        let at = self.source.offset_for(tree.id).map_or(0, |(start, _)| start as usize);
        let step = match tree.expr {
            Expr::Literal(literal) => Step::Literal(value(literal)),
            Expr::Ident(name) => self.ident(at, &name)?,
            Expr::Select(select) => self.select(at, select)?,
            Expr::Call(call) => self.call(at, call)?,
            Expr::List(list) => {
                let mut items = Vec::with_capacity(list.elements.len());
                for (index, element) in list.elements.into_iter().enumerate() {
                    let optional = list.optional_indices.contains(&index);
                    items.push(Item { value: self.node(element)?, optional });
                }
                Step::List(items)
            }
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in map.entries {
                    let EntryExpr::MapEntry(entry) = entry.expr else {
                        return Err((at, "invalid map entry".into()));
                    };
                    let (key, value) = (self.node(entry.key)?, self.node(entry.value)?);
                    entries.push(Entry { key, value, optional: entry.optional });
                }
                Step::Map(entries)
            }
            Expr::Struct(given) => {
                let known = given.type_name == "Object"
                    || given.type_name.starts_with("Object.")
                    || given.type_name == "JSONPatch";
                if !(known && self.environment.mutation) {
                    return Err((
                        at,
                        format!("undeclared reference to '{}' (in container '')", given.type_name),
                    ));
                }
                let mut fields = Vec::with_capacity(given.entries.len());
                for entry in given.entries {
                    let EntryExpr::StructField(field) = entry.expr else {
                        return Err((at, "invalid field".into()));
                    };
                    fields.push((field.field.into(), self.node(field.value)?, field.optional));
                }
                Step::Struct { name: given.type_name, fields }
            }
            Expr::Comprehension(_) | Expr::Unspecified => return Err((at, "unsupported expression".into())),
        };
        Ok(Node { step, at })
    }

    fn ident(&self, at: usize, name: &str) -> Result<Step, Refusal> {
        let plain = name.strip_prefix('.').unwrap_or(name);
        if plain.len() == name.len()
            && let Some(local) = self.locals.iter().rposition(|local| local == name)
        {
            return Ok(Step::Local(local));
        }
        if let Some((name, _)) = self.environment.get(plain) {
            return Ok(Step::Variable(name.clone()));
        }
        let ty = type_name(plain);
        ty.map(Step::TypeName)
            .ok_or_else(|| (at, format!("undeclared reference to '{plain}' (in container '')")))
    }

    fn select(&mut self, at: usize, select: SelectExpr) -> Result<Step, Refusal> {
        if let Expr::Ident(root) = &select.operand.expr
            && !self.locals.contains(root)
        {
            if let Some((name, _)) = self.environment.get(&format!("{root}.{}", select.field)) {
                return Ok(Step::Variable(name.clone()));
            }
            if root == "variables" && self.environment.get(root).is_none() {
                let found = self.environment.composited(&select.field);
                return found
                    .map(Step::Composited)
                    .ok_or_else(|| (at, format!("undefined field '{}'", select.field)));
            }
            if let Some(ty) = type_name(&format!("{root}.{}", select.field)) {
                return Ok(Step::TypeName(ty));
            }
        }
        let how = if select.test { How::Test } else { How::Value };
        self.selected(*select.operand, select.field.into(), how)
    }

    fn selected(&mut self, of: IdedExpr, field: Arc<str>, how: How) -> Result<Step, Refusal> {
        Ok(Step::Select(Box::new(Select { of: self.node(of)?, field, how })))
    }

    fn call(&mut self, at: usize, mut call: CallExpr) -> Result<Step, Refusal> {
        if let Some(step) = self.operator(&mut call)? {
            return Ok(step);
        }
        let Some(target) = call.target.take() else {
            let name = call.func_name.strip_prefix('.').unwrap_or(&call.func_name).to_owned();
            if name == "has" && call.args.len() == 1 {
                return self.has(call.args.remove(0));
            }
            let function = self.function(at, &name)?;
            return self.called(function, false, call.args);
        };
        if let Some(space) = self.namespace(&target.expr) {
            if space == "cel" && call.func_name == "bind" && call.args.len() == 3 {
                return self.bind(call.args);
            }
            if let Some(function) =
                library::find(&format!("{space}.{}", call.func_name), self.environment.mutation)
            {
                return self.called(function, false, call.args);
            }
        }
        match (&*call.func_name, call.args.len()) {
            ("optMap" | "optFlatMap", 2) => {
                let of = Box::new(self.node(*target)?);
                let [variable, body] = take(call.args);
                let body = Box::new(self.within([variable], body)?);
                Ok(Step::OptMap { of, body, flat: call.func_name == "optFlatMap" })
            }
            (name, count) => match macro_kind(name, count) {
                Some((kind, two)) => self.looped(kind, two, *target, call.args),
                None => {
                    let function = self.function(at, name)?;
                    call.args.insert(0, *target);
                    self.called(function, true, call.args)
                }
            },
        }
    }

    fn operator(&mut self, call: &mut CallExpr) -> Result<Option<Step>, Refusal> {
        let args = &mut call.args;
        Ok(Some(match (&*call.func_name, args.len()) {
            (operators::LOGICAL_AND, 2) => {
                Step::And(self.flat(operators::LOGICAL_AND, std::mem::take(args))?)
            }
            (operators::LOGICAL_OR, 2) => Step::Or(self.flat(operators::LOGICAL_OR, std::mem::take(args))?),
            (operators::CONDITIONAL, 3) => {
                let [condition, then, otherwise] = take(std::mem::take(args));
                Step::Conditional(Box::new([self.node(condition)?, self.node(then)?, self.node(otherwise)?]))
            }
            (name @ (operators::INDEX | operators::OPT_INDEX), 2) => {
                let optional = name == operators::OPT_INDEX;
                let [of, key] = take(std::mem::take(args));
                Step::Index { of: Box::new(self.node(of)?), key: Box::new(self.node(key)?), optional }
            }
            (operators::OPT_SELECT, 2) => {
                let [of, field] = take(std::mem::take(args));
                let Expr::Literal(LiteralValue::String(field)) = field.expr else { return Ok(None) };
                self.selected(of, field.inner().into(), How::Optional)?
            }
            _ => return Ok(None),
        }))
    }

    /// `a && b && c` is balanced by the parser; here it is one step of many operands.
    fn flat(&mut self, operator: &str, args: Vec<IdedExpr>) -> Result<Vec<Node>, Refusal> {
        let mut nodes = Vec::new();
        let mut left: Vec<IdedExpr> = args.into_iter().rev().collect();
        while let Some(next) = left.pop() {
            match next.expr {
                Expr::Call(call) if call.func_name == operator && call.target.is_none() => {
                    left.extend(call.args.into_iter().rev());
                }
                expr => nodes.push(self.node(IdedExpr { id: next.id, expr })?),
            }
        }
        Ok(nodes)
    }

    fn has(&mut self, of: IdedExpr) -> Result<Step, Refusal> {
        match of.expr {
            Expr::Select(select) => self.selected(*select.operand, select.field.into(), How::Test),
            _ => {
                let at = self.source.offset_for(of.id).map_or(0, |(start, _)| start as usize);
                Err((at, "invalid argument to has() macro".to_owned()))
            }
        }
    }

    fn bind(&mut self, args: Vec<IdedExpr>) -> Result<Step, Refusal> {
        let [variable, init, body] = take(args);
        let init = Box::new(self.node(init)?);
        Ok(Step::Bind { init, body: Box::new(self.within([variable], body)?) })
    }

    fn looped(
        &mut self,
        kind: MacroKind,
        two: bool,
        target: IdedExpr,
        mut args: Vec<IdedExpr>,
    ) -> Result<Step, Refusal> {
        let range = self.node(target)?;
        let last = args.pop();
        let variables: Vec<IdedExpr> = args.drain(..if two { 2 } else { 1 }).collect();
        let between = args.pop();
        let depth = self.locals.len();
        for variable in variables {
            self.declare(variable)?;
        }
        let mut lower = |expr: Option<IdedExpr>| expr.map(|expr| self.node(expr)).transpose();
        let (between, last) = (lower(between)?, lower(last)?);
        self.locals.truncate(depth);
        let (predicate, transform) = match kind {
            MacroKind::All | MacroKind::Exists | MacroKind::ExistsOne | MacroKind::Filter => (last, None),
            MacroKind::Map | MacroKind::TransformMap | MacroKind::TransformMapEntry => (between, last),
        };
        Ok(Step::Macro(Box::new(Macro { kind, range, two, predicate, transform })))
    }

    fn within<const N: usize>(&mut self, variables: [IdedExpr; N], body: IdedExpr) -> Result<Node, Refusal> {
        let depth = self.locals.len();
        for variable in variables {
            self.declare(variable)?;
        }
        let body = self.node(body);
        self.locals.truncate(depth);
        body
    }

    fn declare(&mut self, variable: IdedExpr) -> Result<(), Refusal> {
        let at = self.source.offset_for(variable.id).map_or(0, |(start, _)| start as usize);
        match variable.expr {
            Expr::Ident(name) if !name.starts_with('.') => self.locals.push(name),
            _ => return Err((at, "argument must be a simple name".to_owned())),
        }
        Ok(())
    }

    /// The name, where it may be one of functions' namespaces (`sets.contains`) and not of a variable.
    fn namespace<'t>(&self, tree: &'t Expr) -> Option<&'t str> {
        let Expr::Ident(name) = tree else { return None };
        let free = !self.locals.contains(name) && self.environment.get(name).is_none();
        free.then_some(name)
    }

    fn function(&self, at: usize, name: &str) -> Result<&'static Function, Refusal> {
        let found = library::find(name, self.environment.mutation).filter(|_| !name.contains('.'));
        found.ok_or_else(|| (at, format!("undeclared reference to '{name}' (in container '')")))
    }

    fn called(
        &mut self,
        function: &'static Function,
        member: bool,
        args: Vec<IdedExpr>,
    ) -> Result<Step, Refusal> {
        let args = args.into_iter().map(|arg| self.node(arg)).collect::<Result<Vec<_>, _>>()?;
        let mut regex = None;
        if matches!(function.name, "matches" | "find" | "findAll")
            && let Some(Node { step: Step::Literal(Value::String(pattern)), at }) = args.get(1)
        {
            let compiled = library::regex::compile(pattern);
            regex = Some(compiled.map_err(|error| (*at, format!("invalid matches argument: {error}")))?);
        }
        Ok(Step::Call(Box::new(Call { function, member, args, regex })))
    }
}

/// As many as were counted.
fn take<const N: usize>(args: Vec<IdedExpr>) -> [IdedExpr; N] {
    let mut args = args.into_iter();
    std::array::from_fn(|_| args.next().unwrap_or_default())
}

fn macro_kind(name: &str, count: usize) -> Option<(MacroKind, bool)> {
    Some(match (name, count) {
        ("all", 2 | 3) => (MacroKind::All, count == 3),
        ("exists", 2 | 3) => (MacroKind::Exists, count == 3),
        ("exists_one" | "existsOne", 2 | 3) => (MacroKind::ExistsOne, count == 3),
        ("map", 2 | 3) => (MacroKind::Map, false),
        ("filter", 2) => (MacroKind::Filter, false),
        ("transformList", 3 | 4) => (MacroKind::Map, true),
        ("transformMap", 3 | 4) => (MacroKind::TransformMap, true),
        ("transformMapEntry", 3 | 4) => (MacroKind::TransformMapEntry, true),
        _ => return None,
    })
}

fn value(literal: LiteralValue) -> Value<'static> {
    match literal {
        LiteralValue::Boolean(value) => Value::Bool(value.into_inner()),
        LiteralValue::Bytes(bytes) => Value::Bytes(bytes.into_inner().into()),
        LiteralValue::Double(value) => Value::Double(value.into_inner()),
        LiteralValue::Int(value) => Value::Int(value.into_inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(text) => Value::String(Text::Own(text.into_inner().into())),
        LiteralValue::UInt(value) => Value::Uint(value.into_inner()),
    }
}

fn type_name(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::STRING,
        "bytes" => Type::BYTES,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map_of(Type::Dyn, Type::Dyn, None),
        "null_type" => Type::Null,
        "type" => Type::Type,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "optional_type" => Type::optional(Type::Dyn),
        "net.IP" => Type::Library(crate::types::Library::Ip),
        "net.CIDR" => Type::Library(crate::types::Library::Cidr),
        _ => return None,
    })
}
