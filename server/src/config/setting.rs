//! One field's value: read from TOML or from text, shown again, and what it may be.
//!
//! How to add a type: implement [`Setting`] for it, or give it `FromStr` and `Display` and name it in
//! `text_setting!` below.

use std::net::SocketAddr;
use std::path::PathBuf;

use rreg_oci::Glob;
use toml::Value;

use super::secret::{DatabaseUrl, MASK, Secret, printable};
use super::units::{ByteSize, HumanDuration};

/// The value of one field, as the table of fields sees it.
pub(crate) trait Setting {
    /// What the field may hold, as an error or the reference page says it.
    fn allowed(&self) -> String;
    /// Takes a value from a TOML file. The error says why it cannot.
    fn assign(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::String(text) => self.assign_text(text),
            other => Err(format!("is of type {}", other.type_str())),
        }
    }
    /// Takes a value from an environment variable or a flag.
    fn assign_text(&mut self, text: &str) -> Result<(), String>;
    /// The value for printing, secrets masked; `None` when not set.
    fn show(&self) -> Option<Value>;
    /// Whether a rejected value must not be repeated in an error.
    fn is_secret(&self) -> bool {
        false
    }
}

impl Setting for bool {
    fn allowed(&self) -> String {
        "true or false".into()
    }
    fn assign(&mut self, value: &Value) -> Result<(), String> {
        *self = value.as_bool().ok_or_else(|| format!("is of type {}", value.type_str()))?;
        Ok(())
    }
    fn assign_text(&mut self, text: &str) -> Result<(), String> {
        *self = text.parse().map_err(|_| "is neither true nor false".to_owned())?;
        Ok(())
    }
    fn show(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Setting for u32 {
    fn allowed(&self) -> String {
        "a whole number, 0 or more".into()
    }
    fn assign(&mut self, value: &Value) -> Result<(), String> {
        let number = value.as_integer().ok_or_else(|| format!("is of type {}", value.type_str()))?;
        *self = number.try_into().map_err(|_| "is out of range".to_owned())?;
        Ok(())
    }
    fn assign_text(&mut self, text: &str) -> Result<(), String> {
        *self = text.parse().map_err(|e: std::num::ParseIntError| e.to_string())?;
        Ok(())
    }
    fn show(&self) -> Option<Value> {
        Some(Value::Integer((*self).into()))
    }
}

impl Setting for ByteSize {
    fn allowed(&self) -> String {
        Self::ALLOWED.into()
    }
    fn assign(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Integer(n) => {
                *self = Self(u64::try_from(*n).map_err(|_| "is negative".to_owned())?);
                Ok(())
            }
            Value::String(text) => self.assign_text(text),
            other => Err(format!("is of type {}", other.type_str())),
        }
    }
    fn assign_text(&mut self, text: &str) -> Result<(), String> {
        *self = text.parse()?;
        Ok(())
    }
    fn show(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }
}

impl Setting for Vec<String> {
    fn allowed(&self) -> String {
        "an array of texts; as a variable, separated by commas".into()
    }
    fn assign(&mut self, value: &Value) -> Result<(), String> {
        let Value::Array(entries) = value else { return Err(format!("is of type {}", value.type_str())) };
        let text = |entry: &Value| entry.as_str().map(str::to_owned).ok_or("has an entry that is no text");
        *self = entries.iter().map(text).collect::<Result<_, _>>()?;
        Ok(())
    }
    fn assign_text(&mut self, text: &str) -> Result<(), String> {
        *self = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Ok(())
    }
    fn show(&self) -> Option<Value> {
        Some(Value::Array(self.iter().map(|text| Value::String(printable(text))).collect()))
    }
}

impl Setting for Vec<Glob> {
    fn allowed(&self) -> String {
        "an array of patterns such as [\"library/*\", \"team/**\"]: * and ? stay within one part of a name, ** crosses \
         slashes; as a variable, separated by commas"
            .into()
    }
    fn assign(&mut self, value: &Value) -> Result<(), String> {
        let mut texts = Vec::<String>::new();
        texts.assign(value)?;
        let globs =
            texts.iter().map(|text| text.parse().map_err(|why| format!("{text:?} is no pattern: {why}")));
        *self = globs.collect::<Result<_, _>>()?;
        Ok(())
    }
    fn assign_text(&mut self, text: &str) -> Result<(), String> {
        let texts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        self.assign(&Value::Array(texts.map(Value::from).collect()))
    }
    fn show(&self) -> Option<Value> {
        Some(Value::Array(self.iter().map(|glob| glob.to_string().into()).collect()))
    }
}

/// Types that are text in TOML: parsed by `FromStr`, printed by `Display`.
macro_rules! text_setting {
    ($($type:ty: $allowed:expr;)*) => {$(
        impl Setting for $type {
            fn allowed(&self) -> String {
                $allowed.into()
            }
            fn assign_text(&mut self, text: &str) -> Result<(), String> {
                *self = text.parse().map_err(|e| format!("{e}"))?;
                Ok(())
            }
            fn show(&self) -> Option<Value> {
                Some(Value::String(self.to_string()))
            }
        }
    )*};
}

text_setting! {
    SocketAddr: "an IP address and a port, such as 127.0.0.1:5000 or [::1]:5000";
    HumanDuration: HumanDuration::ALLOWED;
    super::storage::Backend: "directory, s3, gcs or azure";
    super::auth::AuthMode: "open or local";
    super::policy::ForeignImages: "allow, warn or deny";
    super::policy::RevocationCheck: "off, strict or lenient";
    super::sbom::AttachSbom: "off, cyclonedx, spdx or both";
    super::observe::LogFormat: "auto, text or json";
    super::observe::LogLevel: "error, warn, info, debug, trace or off, or directives such as info,rreg_server=debug";
}

impl Setting for PathBuf {
    fn allowed(&self) -> String {
        "a path".into()
    }
    fn assign_text(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Err("is empty".into());
        }
        *self = text.into();
        Ok(())
    }
    fn show(&self) -> Option<Value> {
        Some(Value::String(self.display().to_string()))
    }
}

/// Optional types: an empty text means "not set", so that an environment can undo what a file says.
macro_rules! optional_setting {
    ($($type:ty: $allowed:expr, $secret:expr, |$text:ident| $parse:expr, |$value:ident| $show:expr;)*) => {$(
        impl Setting for Option<$type> {
            fn allowed(&self) -> String {
                $allowed.into()
            }
            fn assign_text(&mut self, $text: &str) -> Result<(), String> {
                *self = if $text.is_empty() { None } else { Some($parse) };
                Ok(())
            }
            fn show(&self) -> Option<Value> {
                self.as_ref().map(|$value| Value::String($show))
            }
            fn is_secret(&self) -> bool {
                $secret
            }
        }
    )*};
}

optional_setting! {
    SocketAddr: "an IP address and a port, such as 0.0.0.0:5001", false,
        |text| text.parse().map_err(|error| format!("{error}"))?, |address| address.to_string();
    PathBuf: "a path", false, |text| text.into(), |path| path.display().to_string();
    HumanDuration: HumanDuration::ALLOWED, false, |text| text.parse()?, |value| value.to_string();
    String: "a text", false, |text| text.to_owned(), |value| printable(value);
    Secret: "a text; it is never printed", true, |text| Secret::new(text), |_value| MASK.to_owned();
    DatabaseUrl: DatabaseUrl::ALLOWED, true, |text| text.parse()?, |url| url.to_string();
}
