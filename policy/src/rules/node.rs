//! YAML as a tree that knows its places. Reading it apart from judging it is what lets every mistake be named at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{Location, Spanned};

use super::error::{Place, PolicyErrors};

/// Longest text of policies or cases that is read, in bytes.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// Deepest nesting. The deepest policy that says anything has 9.
const MAX_DEPTH: usize = 32;
/// Most values in one text, those of repeated aliases included.
const MAX_NODES: usize = 100_000;

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Name, Node)>),
}

/// The name of a field with its place.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) place: Place,
    pub(crate) text: String,
}

fn place(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

/// The documents of a text. Empty ones are passed over.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, PolicyErrors> {
    if text.len() > MAX_TEXT {
        return Err(PolicyErrors::of_text(format!("the text has more than {MAX_TEXT} bytes"), ""));
    }
    let budget = serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES };
    let options = serde_saphyr::options! { budget: budget, with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let mut errors = PolicyErrors::default();
        let place = error.location().map(place).unwrap_or_default();
        errors.note(place, "", format!("this is no YAML that can be read: {}", error.without_snippet()), "");
        errors
    })
}

impl Node {
    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(fields) => fields.iter().find(|(key, _)| key.text == name).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        match self.content {
            Content::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match &self.content {
            Content::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    pub(crate) fn whole(&self) -> Option<u64> {
        match &self.content {
            Content::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The elements of a list; a value that is none is a list of itself.
    pub(crate) fn many(&self) -> &[Node] {
        match &self.content {
            Content::List(list) => list,
            Content::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// The fields of a map.
    pub(crate) fn fields(&self) -> &[(Name, Node)] {
        match &self.content {
            Content::Map(fields) => fields,
            _ => &[],
        }
    }

    /// What kind of value it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Flag(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Text(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "fields",
        }
    }

    /// The same as JSON: places and comments left out, names in order.
    pub(crate) fn json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Flag(flag) => Value::Bool(*flag),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(list) => Value::Array(list.iter().map(Self::json).collect()),
            Content::Map(fields) => {
                fields.iter().map(|(name, node)| (name.text.clone(), node.json())).collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { place: place(spanned.referenced), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Content, E> {
        Ok(Content::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Content, E> {
        Ok(Content::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Content, E> {
        Ok(Content::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Content, E> {
        Number::from_f64(number).map(Content::Number).ok_or_else(|| E::custom("the number is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Content, E> {
        Ok(Content::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Content::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            fields.push((Name { place: place(key.referenced), text: key.value }, map.next_value()?));
        }
        Ok(Content::Map(fields))
    }
}
