//! The table of fields. A section is declared once, with `section!`; its struct, its defaults, how it is
//! read, how it is printed and its reference page all come from that declaration.

use super::setting::Setting;

/// A stop on the walk through a configuration, fields of a section before its sub-sections.
pub(crate) enum Node<'a> {
    /// A section begins.
    Section { path: &'a str, doc: &'static [&'static str] },
    /// A field of the section begun last.
    Field { path: &'a str, doc: &'static [&'static str], value: &'a mut dyn Setting },
}

/// A part of the configuration whose fields can be walked.
pub(crate) trait Section {
    /// Calls `step` for the section, its fields and its sub-sections. `path` is the section's own.
    fn walk(&mut self, path: &str, step: &mut dyn FnMut(Node<'_>));
}

/// The full path of a field, such as `server.tls.cert`.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Declares a section: a documented struct whose fields each have a type and a default, then its sub-sections.
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        pub struct $name:ident {
            $( $(#[doc = $field_doc:literal])+ $field:ident: $type:ty = $default:expr, )*
            $( sections { $( $(#[doc = $sub_doc:literal])+ $sub:ident: $sub_type:ty, )+ } )?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $field_doc])+ pub $field: $type, )*
            $( $( $(#[doc = $sub_doc])+ pub $sub: $sub_type, )+ )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* $( $( $sub: Default::default(), )+ )? }
            }
        }

        impl $crate::config::section::Section for $name {
            fn walk(&mut self, path: &str, step: &mut dyn FnMut($crate::config::section::Node<'_>)) {
                use $crate::config::section::{Node, join};
                step(Node::Section { path, doc: &[$($doc),+] });
                $( step(Node::Field {
                    path: &join(path, stringify!($field)),
                    doc: &[$($field_doc),+],
                    value: &mut self.$field,
                }); )*
                $( $( self.$sub.walk(&join(path, stringify!($sub)), step); )+ )?
                // The root has no field of its own, and then nothing uses these.
                let _ = (join, path);
            }
        }
    };
}

pub(crate) use section;
