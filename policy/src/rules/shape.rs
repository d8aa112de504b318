//! Which fields there are and what they hold. The tables in [`super::tables`] are written in these words, and both the
//! check of a text and the published schema are made from them, so the two cannot drift apart.

use super::error::PolicyErrors;
use super::node::{Content, Node};

/// An object's fields.
pub(crate) struct Table {
    /// Its name in the schema.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) fields: &'static [Field],
    /// Of each of these groups exactly one field must be there.
    pub(crate) one_of: &'static [&'static [&'static str]],
    /// How many fields there must be at least.
    pub(crate) min_fields: usize,
}

pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
    pub(crate) about: &'static str,
}

/// What a value looks like.
pub(crate) enum Shape {
    Text(Form),
    Flag,
    /// Only `false`: what must be said aloud.
    False,
    Whole {
        min: u64,
        max: u64,
    },
    Number {
        min: f64,
        max: f64,
    },
    Choice(&'static [&'static str]),
    List(&'static Shape),
    OneOrMany(&'static Shape),
    /// Any names, each with such a value.
    Named(&'static Shape),
    Object(&'static Table),
    /// Whatever it is: what is read elsewhere.
    Any,
    /// The first where the value is no object, else the second.
    Either(&'static Shape, &'static Shape),
}

/// A form of text.
pub(crate) struct Form {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// A regular expression for the schema: necessary, not always sufficient.
    pub(crate) pattern: Option<&'static str>,
    /// What is wrong with it.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

/// Most elements of a list.
const MAX_LIST: usize = 1000;
/// Longest text of a field, in bytes.
const MAX_FIELD: usize = 4096;

impl Table {
    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Notes everything that is wrong with `node` as this object.
    pub(crate) fn check(&self, node: &Node, path: &str, errors: &mut PolicyErrors) {
        let Content::Map(fields) = &node.content else {
            let names: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
            let fix = format!("it has the fields {}", names.join(", "));
            errors.note(node.place, path, format!("this is {}, not fields", node.kind()), fix);
            return;
        };
        for (name, value) in fields {
            match self.field(&name.text) {
                Some(field) => field.shape.check(value, &join(path, field.name), errors),
                None => {
                    let problem = format!("there is no field {:?}", name.text);
                    errors.note(name.place, path, problem, self.nearest(&name.text));
                }
            }
        }
        let given = |name: &str| fields.iter().any(|(key, _)| key.text == name);
        for field in self.fields.iter().filter(|field| field.required && !given(field.name)) {
            errors.note(node.place, path, format!("{:?} is missing", field.name), field.about);
        }
        // A field that is misspelt is not missing as well.
        let misspelt = fields.iter().any(|(name, _)| self.field(&name.text).is_none());
        for group in self.one_of.iter().filter(|_| !misspelt) {
            let given: Vec<&str> = group.iter().copied().filter(|name| given(name)).collect();
            let wanted = format!("give one of {}", group.join(", "));
            match given.len() {
                0 => errors.note(node.place, path, "something is missing", wanted),
                1 => {}
                _ => {
                    // Groups overlap; the same two fields are told of once.
                    let problem = format!("{} exclude each other", given.join(" and "));
                    if !errors.0.iter().any(|known| known.path == path && known.problem == problem) {
                        errors.note(node.place, path, problem, wanted);
                    }
                }
            }
        }
        if fields.len() < self.min_fields {
            let names: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
            errors.note(node.place, path, "it asks for nothing", format!("give one of {}", names.join(", ")));
        }
    }

    fn nearest(&self, name: &str) -> String {
        let near = nearest(name, self.fields.iter().map(|field| field.name));
        near.map(|near| format!("did you mean {near:?}?")).unwrap_or_else(|| {
            let names: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
            format!("the fields here are {}", names.join(", "))
        })
    }
}

/// The name among `known` that is most like `name`, where one is like it: by slips of the pen, else by its beginning.
pub(crate) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    let short: String = name.chars().take(64).collect::<String>().to_lowercase();
    let slips =
        known.clone().map(|known| (strsim::damerau_levenshtein(&short, &known.to_lowercase()), known));
    let slip =
        slips.filter(|(slips, known)| *slips <= 1.max(known.len() / 3)).min_by_key(|(slips, _)| *slips);
    let alike = known.map(|known| (strsim::jaro_winkler(&short, &known.to_lowercase()), known));
    let alike = alike.filter(|(likeness, _)| *likeness > 0.85).max_by(|a, b| a.0.total_cmp(&b.0));
    slip.map(|(_, known)| known).or(alike.map(|(_, known)| known))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

impl Shape {
    fn check(&self, node: &Node, path: &str, errors: &mut PolicyErrors) {
        match (self, &node.content) {
            (Self::Any, _) => {}
            (Self::Object(table), _) => table.check(node, path, errors),
            (Self::Either(_, object), Content::Map(_)) => object.check(node, path, errors),
            (Self::Either(other, _), _) => other.check(node, path, errors),
            (Self::List(shape) | Self::OneOrMany(shape), Content::List(list)) => {
                if list.len() > MAX_LIST {
                    errors.note(node.place, path, format!("the list has more than {MAX_LIST} elements"), "");
                }
                if list.is_empty() {
                    errors.note(
                        node.place,
                        path,
                        "the list is empty",
                        "leave the field out, or name something",
                    );
                }
                for (index, element) in list.iter().enumerate().take(MAX_LIST) {
                    shape.check(element, &format!("{path}[{index}]"), errors);
                }
            }
            (Self::OneOrMany(shape), _) => shape.check(node, path, errors),
            (Self::Named(shape), Content::Map(fields)) => {
                for (name, value) in fields {
                    shape.check(value, &join(path, &name.text), errors);
                }
            }
            (Self::Text(form), Content::Text(text)) => form.complain(text, node, path, errors),
            (Self::Choice(choices), Content::Text(text)) if !choices.contains(&text.as_str()) => {
                let fix = match nearest(text, choices.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("it is one of {}", choices.join(", ")),
                };
                errors.note(node.place, path, format!("{text:?} is not known here"), fix);
            }
            (Self::Choice(_), Content::Text(_)) | (Self::Flag, Content::Flag(_)) => {}
            (Self::False, Content::Flag(false)) => {}
            (Self::Whole { min, max }, Content::Number(n))
                if n.as_u64().is_some_and(|n| (*min..=*max).contains(&n)) => {}
            (Self::Number { min, max }, Content::Number(n))
                if n.as_f64().is_some_and(|n| (*min..=*max).contains(&n)) => {}
            _ => self.mismatch(node, path, errors),
        }
    }

    fn mismatch(&self, node: &Node, path: &str, errors: &mut PolicyErrors) {
        let quoted =
            matches!(self, Self::Text(_)) && matches!(node.content, Content::Number(_) | Content::Flag(_));
        let fix = if quoted { "put it in quotes" } else { "" };
        errors.note(node.place, path, format!("this is {}, not {}", node.kind(), self.describe()), fix);
    }

    fn describe(&self) -> String {
        match self {
            Self::Text(form) => form.name.into(),
            Self::Flag => "true or false".into(),
            Self::False => "false, the only value that it may have".into(),
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Choice(choices) => format!("one of {}", choices.join(", ")),
            Self::List(shape) => format!("a list of {}", shape.describe()),
            Self::OneOrMany(shape) => format!("{}, or a list", shape.describe()),
            Self::Named(shape) => format!("names that each have {}", shape.describe()),
            Self::Object(_) => "fields".into(),
            Self::Any => "a value".into(),
            Self::Either(one, other) => format!("{} or {}", one.describe(), other.describe()),
        }
    }
}

impl Form {
    fn complain(&self, text: &str, node: &Node, path: &str, errors: &mut PolicyErrors) {
        if text.len() > MAX_FIELD {
            errors.note(node.place, path, format!("the text has more than {MAX_FIELD} bytes"), "");
        } else if let Err(problem) = (self.check)(text) {
            errors.note(node.place, path, problem, format!("{} is wanted", self.name));
        }
    }
}
